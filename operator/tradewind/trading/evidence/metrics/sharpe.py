"""The per-decision Sharpe: returns divided by a scale that only rows before gave."""

from typing import ClassVar

import numpy as np

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Probability
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.metrics.base import Metric, ScoredRows, sum_before

_FORCED_Z = -3.0
_Z_LOW, _Z_HIGH = -8.0, 4.0
_SIGMA_FLOOR = 1e-6


class SharpeMargin(StrictModel):
    """How much lower the Sharpe may be."""

    sharpe: Probability = "0.05"
    """Margin of the per-decision Sharpe ratio, where winRate is primary."""


class Sharpe(Metric):
    """Mean over standard deviation of the return of a decision."""

    name: ClassVar[str] = "sharpe"
    key: ClassVar[str] = "sharpe"
    title: ClassVar[str] = "per-decision Sharpe"
    unit: ClassVar[float] = 1.0
    settings: ClassVar[type[StrictModel]] = SharpeMargin

    def scores(self, rows: ScoredRows) -> tuple[Floats, Floats]:
        """Each return is divided by a predictable scale, shrunk to both arms' pooled one, and clipped.

        The rows of the first block give the first scale and carry no evidence of their own.
        """
        candidate, ret, calibration = rows.candidate, rows.ret, rows.calibration
        known = np.isfinite(ret)
        square = np.where(known, ret, 0.0) ** 2
        calibrating = known & calibration
        first = np.sum(square * calibrating, axis=-1, keepdims=True) / np.maximum(
            np.sum(calibrating, axis=-1, keepdims=True), 1
        )
        pooled = (sum_before(square) + 10.0 * first) / (sum_before(known) + 10.0)
        variance = np.empty_like(square)
        for arm in (candidate, ~candidate):
            own = arm & known
            scale = (sum_before(square * own) + 50.0 * pooled) / (sum_before(own) + 50.0)
            np.copyto(variance, scale, where=arm)
        sigma = np.maximum(np.sqrt(variance), _SIGMA_FLOOR)
        z = np.clip(np.where(known, ret, 0.0) / sigma, _Z_LOW, _Z_HIGH)
        z = np.where(known, z, np.where(candidate, _FORCED_Z, 0.0))
        centre = sum_before(z) / (np.arange(z.shape[-1]) + 20.0)
        score = np.where(calibration, 0.0, (candidate - rows.weight) * (z - centre))
        return score, np.where(calibration, 0.0, rows.weight * (1.0 - rows.weight))
