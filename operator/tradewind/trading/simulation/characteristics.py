"""What became of simulated experiments, in shares and days.

Belongs here: rows to endings, endings to numbers. Does not belong here: how rows come to be (draws.py).
"""

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import IntEnum

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Ints
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.evaluate import look_back
from tradewind.trading.evidence.guardrails.bets import LOG_THRESHOLD
from tradewind.trading.evidence.guardrails.fast_harm import log_e_harm
from tradewind.trading.evidence.guardrails.risk_budget import default_risk_budget
from tradewind.trading.evidence.spec import EvidenceSpec
from tradewind.trading.evidence.sums import BlockSums
from tradewind.trading.simulation.draws import Rows
from tradewind.trading.simulation.scenarios import Market, Prices

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Share:
    """A share of runs with its Monte-Carlo standard error."""

    value: float
    standard_error: float

    @classmethod
    def of(cls, hits: Bools) -> "Share":
        """Share of the runs, shape (runs,), with the error of a binomial share; of a share of 0 or 1 that of 1 hit."""
        runs = len(hits)
        value = float(np.mean(hits))
        kept = min(max(value, 1.0 / runs), 1.0 - 1.0 / runs)
        return cls(value, math.sqrt(max(kept * (1.0 - kept), 0.0) / runs))


@dataclass(frozen=True)
class Characteristics:
    """What the spec does at one true difference.

    Attributes:
        effect: true per-decision Sharpe of the candidate minus that of the baseline (which is 0).
        runs: simulated experiments.
        promote: share that is promoted: by the statistic, not stopped by a guardrail before, minDuration over.
        rollback: share that is rolled back statistically.
        median_block: median block of the promotions' decisions, or of the rollbacks' for a negative effect; None without any.
        median_block_error: standard error of that median, from its order statistics; None for fewer than 10.
        guardrail: share that fast harm or the risk budget ended.
        futile: share that was given up early.
        median_day: median day of the promotions, or of the rollbacks for a negative effect; None without any.
        mean_days: mean day on which an experiment ends, however it does.
        unpaired: the same experiments with their pairs left aside; None: there are none.
    """

    effect: float
    runs: int
    promote: Share
    rollback: Share
    median_block: float | None
    median_block_error: float | None
    guardrail: Share
    futile: Share
    median_day: float | None
    mean_days: float
    unpaired: "Characteristics | None" = None


class Ending(IntEnum):
    """How an experiment ends."""

    INCONCLUSIVE = 0
    PROMOTED = 1
    ROLLED_BACK = 2
    FUTILE = 3
    GUARDRAIL = 4


@dataclass(frozen=True, eq=False)
class Endings:
    """Endings of all runs, arrays of shape (runs,).

    Attributes:
        how: an `Ending`.
        block: at whose end the statistic decided; the number of looks: never.
        day: when the experiment ended.
    """

    how: Ints
    block: Ints
    day: Floats

    @classmethod
    def joined(cls, parts: list["Endings"]) -> "Endings":
        """Those of several chunks of runs."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("how", "block", "day")))

    def summary(self, effect: float, unpaired: Characteristics | None = None) -> Characteristics:
        """In numbers."""
        told = self.how == (Ending.ROLLED_BACK if effect < 0.0 else Ending.PROMOTED)
        at = self.block[told]
        return Characteristics(
            effect=effect,
            runs=len(self.how),
            promote=Share.of(self.how == Ending.PROMOTED),
            rollback=Share.of(self.how == Ending.ROLLED_BACK),
            median_block=float(np.median(at)) if len(at) else None,
            median_block_error=_median_error(np.sort(at)),
            guardrail=Share.of(self.how == Ending.GUARDRAIL),
            futile=Share.of(self.how == Ending.FUTILE),
            median_day=float(np.median(self.day[told])) if len(at) else None,
            mean_days=float(np.mean(self.day)),
            unpaired=unpaired,
        )


def endings(rows: Rows, market: Market, prices: Prices) -> tuple[Endings, Endings | None]:
    """What becomes of the runs, and what would have without their pairs; None: there are none."""
    sums, spec = rows.sums(), rows.spec
    tripped = _tripped(rows, market, prices)
    found = _ended(sums, spec, tripped)
    return found, None if sums.paired is None else _ended(replace(sums, paired=None), spec, tripped)


def _ended(sums: BlockSums, spec: EvidenceSpec, tripped: Floats) -> Endings:
    looks = look_back(sums, spec)
    ends = looks.ends
    length, count = spec.block_length / _DAY, ends.shape[-1]
    block = np.where(ends.any(axis=-1), ends.argmax(axis=-1), count)
    at = np.minimum(block, count - 1)[:, None]

    def called(path: Bools) -> Bools:
        result: Bools = np.take_along_axis(path, at, axis=-1)[:, 0] & (block < count)
        return result

    how = np.select(
        [called(looks.rollback), called(looks.promote), called(looks.futile)],
        [Ending.ROLLED_BACK, Ending.PROMOTED, Ending.FUTILE],
        Ending.INCONCLUSIVE,
    )
    day = np.minimum(block + 1, count) * length
    day = np.where(how == Ending.PROMOTED, np.maximum(day, spec.min_duration / _DAY), day)
    stopped = tripped <= day
    return Endings(np.where(stopped, Ending.GUARDRAIL, how), block, np.where(stopped, tripped, day))


def _tripped(rows: Rows, market: Market, prices: Prices) -> Floats:
    """Day on which the first guardrail trips, shape (runs,); infinite: none does. A row is known when its position closes."""
    settings = rows.spec.rules.guardrails
    trips = np.zeros(rows.candidate.shape, np.bool_)
    if settings.fast_harm.enabled:
        margin = float(settings.fast_harm.margin)
        trips |= log_e_harm(rows.candidate, rows.weight, rows.win, margin) >= LOG_THRESHOLD
    budget = _budget(rows, market, prices)
    if budget is not None:
        total = np.cumsum(np.where(rows.candidate, rows.chances.ret[1], 0.0), axis=-1)
        trips |= np.maximum(np.maximum.accumulate(total, axis=-1), 0.0) - total >= budget
    days: Floats = np.arange(rows.blocks * rows.per_block) / market.decisions_per_day + market.hold / _DAY
    found: Floats = np.where(trips.any(axis=-1), np.take(days, trips.argmax(axis=-1)), math.inf)
    return found


def _budget(rows: Rows, market: Market, prices: Prices) -> float | None:
    """Risk budget in units of a trade's standard deviation; None: it is in USD, and a trade's size is not known."""
    given = rows.spec.rules.guardrails.risk_budget_usd
    if given is None:
        spec = rows.spec
        expected = (
            market.decisions_per_day * spec.max_blocks * spec.block_length.days * spec.policy.largest(spec.ladder)
        )
        return default_risk_budget(float(np.std(rows.chances.ret[0])), 1.0, expected)
    if prices.reference_notional_usd is None:
        return None
    return float(given) / (prices.reference_notional_usd * prices.volatility)


def _median_error(ordered: Ints) -> float | None:
    """Half the distance of the order statistics one standard error around the median."""
    count = len(ordered)
    if count < 10:
        return None
    spread = 0.5 * math.sqrt(count)
    low, high = math.floor(0.5 * count - spread), math.ceil(0.5 * count + spread)
    return float(ordered[min(high, count - 1)] - ordered[max(low, 0)]) / 2.0
