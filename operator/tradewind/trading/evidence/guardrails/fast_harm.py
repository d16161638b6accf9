"""Fast harm: a candidate that loses far more often is taken out within days."""

from typing import ClassVar

import numpy as np

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Probability
from tradewind.trading.evidence.blocks import Bools, SettledRows
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.guardrails.base import Guardrail, GuardrailResult, Watched
from tradewind.trading.evidence.guardrails.bets import LOG_THRESHOLD, log_mean_bet

_BETS = (0.1, 0.2, 0.4)


class FastHarm(StrictModel):
    """Stops a candidate that loses clearly more often, within days."""

    enabled: bool = True
    """Whether the guardrail is on."""
    margin: Probability = "0.10"
    """How much lower the win rate may be."""


class FastHarmSettings(StrictModel):
    """Its field of `spec.guardrails`."""

    fast_harm: FastHarm = FastHarm()
    """Stops a candidate that loses clearly more often."""


class FastHarmGuardrail(Guardrail[FastHarmSettings]):
    """Watches the win rates, row by row over the settled prefix, without waiting for a complete block."""

    reason: ClassVar[str] = "FastHarm"
    settings: ClassVar[type[StrictModel]] = FastHarmSettings
    trips: ClassVar[str] = (
        "evidence of 100 that the win rate is lower by more than `fastHarm.margin`; a row settled by force counts as neither"
    )
    row: ClassVar[str] = "evidence row, in decision order"
    says: ClassVar[str] = "the candidate's win rate is lower by more than the margin"

    def watch(self, settings: FastHarmSettings, facts: Watched) -> GuardrailResult | None:
        """None where it is switched off."""
        rail = settings.fast_harm
        return fast_harm(facts.rows, float(rail.margin)) if rail.enabled else None


def fast_harm(rows: SettledRows, margin: float) -> GuardrailResult:
    """Watch for a candidate whose win rate is lower by more than the margin, row by row over the settled prefix.

    The prefix ends before the first open row. A row settled by force counts as neither win nor loss here: too short a max_hold is its own
    condition and no harm.

    Args:
        rows: settled rows in time order; rows after the watermark count too.
        margin: fall of the win rate that is no harm, as a probability.
    """
    count = int(np.argmax(rows.pending)) if rows.pending.any() else len(rows.win)
    win = np.where(rows.forced, 0.5, rows.win)[:count]
    return FAST_HARM.result(log_e_harm(rows.candidate[:count], rows.weight[:count], win, margin), LOG_THRESHOLD)


def log_e_harm(candidate: Bools, weight: Floats, win: Floats, margin: float) -> Floats:
    """Running logarithm of the evidence that the win rate is lower by more than the margin, shape (..., rows) as all here.

    u = -2 (A - w)(win - c) - 2 margin w (1 - w), with c the predictable centre of the win rate.
    """
    centre = (np.cumsum(win, axis=-1) - win + 10.0) / (np.arange(win.shape[-1]) + 20.0)
    harm = -2.0 * (candidate - weight) * (win - centre) - 2.0 * margin * weight * (1.0 - weight)
    return log_mean_bet(harm, _BETS)


FAST_HARM = FastHarmGuardrail()
