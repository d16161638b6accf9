"""Losing streak: so many losses in a row that nobody waits for more."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from tradewind.schema.rules import StrictModel
from tradewind.trading.evidence.guardrails.base import Guardrail, GuardrailResult, Unit, Watched
from tradewind.trading.evidence.table import CLOSED


class LosingStreakSettings(StrictModel):
    """Its field of `spec.guardrails`."""

    losing_streak: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Losing trades in a row that end the experiment; absent: not watched."""


class LosingStreakGuardrail(Guardrail[LosingStreakSettings]):
    """Watches the candidate's closed trades in the order of their reports."""

    reason: ClassVar[str] = "LosingStreak"
    settings: ClassVar[type[StrictModel]] = LosingStreakSettings
    unit: ClassVar[Unit] = Unit.RATIO
    trips: ClassVar[str] = "the candidate lost `losingStreak` trades in a row"
    row: ClassVar[str] = "closed trade of the candidate, in the order of the reports"
    says: ClassVar[str] = "the candidate lost too often in a row"

    def watch(self, settings: LosingStreakSettings, facts: Watched) -> GuardrailResult | None:
        """None where it is not asked for."""
        if settings.losing_streak is None:
            return None
        table = facts.table
        mine = table.candidate & (table.status == CLOSED) & (table.received_us <= facts.now_us)
        lost = table.pnl[mine][np.argsort(table.received_us[mine], kind="stable")] < 0.0
        number = np.arange(1, len(lost) + 1)
        streak = number - np.maximum.accumulate(np.where(lost, 0, number))
        return self.result(streak.astype(np.float64), float(settings.losing_streak))


LOSING_STREAK = LosingStreakGuardrail()
