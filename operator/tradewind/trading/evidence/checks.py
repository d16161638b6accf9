"""Are the arms comparable: were they drawn as logged, and what exposure did they carry.

Belongs here: the sample-ratio check and the measured exposures. Does not belong here: what is made of them (verdict.py,
guardrails/exposure.py).
"""

import math
from dataclasses import dataclass

import numpy as np

from tradewind.trading.evidence.table import CLOSED, TradeTable
from tradewind.trading.performance import Exposure, exposure

SAMPLE_RATIO_LEVEL = 0.001

_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class SampleRatio:
    """Share of decisions drawn to the candidate against the logged weights.

    Attributes:
        decisions: rows with a weight inside (0, 1).
        share: drawn to the candidate; nan without rows.
        expected: mean logged weight; nan without rows.
        p_value: two-sided, normal with continuity correction; 1 without rows.
        alarm: p_value < 0.001: draws or logging are broken.
    """

    decisions: int
    share: float
    expected: float
    p_value: float
    alarm: bool


@dataclass(frozen=True)
class ArmExposures:
    """Exposure of both arms.

    Attributes:
        baseline: exposure of the baseline's trades known at now.
        candidate: the same of the candidate.
        trades: number of trades of both.
    """

    baseline: Exposure
    candidate: Exposure
    trades: int

    @property
    def ratio(self) -> float:
        """Mean notional, candidate over baseline; nan where an arm has not traded."""
        means = self.baseline.mean_notional_usd, self.candidate.mean_notional_usd
        return means[1] / means[0] if min(means) > 0.0 else math.nan


def check_sample_ratio(table: TradeTable, t0_us: int, now_us: int) -> SampleRatio:
    """Sample-ratio check over all decisions since t0 with a weight inside (0, 1), whatever became of them."""
    rows = _randomised(table, t0_us, now_us)
    weight = table.weight[rows]
    count = len(weight)
    if not count:
        return SampleRatio(0, math.nan, math.nan, 1.0, alarm=False)
    drawn, expected = int(np.count_nonzero(table.candidate[rows])), float(weight.sum())
    spread = math.sqrt(float((weight * (1.0 - weight)).sum()))
    p_value = math.erfc(max(abs(drawn - expected) - 0.5, 0.0) / spread / math.sqrt(2.0))
    return SampleRatio(count, drawn / count, expected / count, p_value, alarm=p_value < SAMPLE_RATIO_LEVEL)


def arm_exposures(table: TradeTable, t0_us: int, now_us: int) -> ArmExposures:
    """Exposure of both arms, over closed trades of the experiment known at now."""
    known = _randomised(table, t0_us, now_us) & (table.status == CLOSED)
    known &= (table.received_us <= now_us) & (table.notional > 0.0)
    arms = []
    for arm in (known & ~table.candidate, known & table.candidate):
        hours = (table.closed_us[arm] - table.decided_us[arm]) / _HOUR_US
        arms.append(exposure(table.notional[arm], hours))
    return ArmExposures(arms[0], arms[1], int(np.count_nonzero(known)))


def _randomised(table: TradeTable, t0_us: int, now_us: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mine = (table.weight > 0.0) & (table.weight < 1.0)
    return mine & (table.decided_us >= t0_us) & (table.decided_us <= now_us)
