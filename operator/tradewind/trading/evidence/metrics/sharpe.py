"""The per-decision Sharpe: returns divided by a scale that only rows before gave."""

import math
from typing import ClassVar

import numpy as np

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Probability
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.metrics.base import Metric, ScoredRows

_FORCED_Z = -3.0
_Z_LOW, _Z_HIGH = -8.0, 4.0


class SharpeMargin(StrictModel):
    """How much lower the Sharpe may be."""

    sharpe: Probability | None = None
    """Margin of the per-decision Sharpe ratio; absent: 0.05, with objective notInferior 0.075."""


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
        z = self.outcome(rows)
        before = rows.running.before
        centre = before("sharpe.z", z) / (before("sharpe.rows", np.ones_like(z)) + 20.0)
        score = np.where(rows.calibration, 0.0, (rows.candidate - rows.weight) * (z - centre))
        return score, np.where(rows.calibration, 0.0, rows.weight * (1.0 - rows.weight))

    def outcome(self, rows: ScoredRows) -> Floats:
        """The return in units of the drawn arm's scale; a row settled by force counts against the candidate alone."""
        known = np.isfinite(rows.ret)
        z = np.clip(np.where(known, rows.ret, 0.0) / rows.own(rows.scales), _Z_LOW, _Z_HIGH)
        return np.where(known, z, np.where(rows.candidate, _FORCED_Z, 0.0))

    def on_paper(self, rows: ScoredRows, arm: int, paper: Floats) -> Floats:
        """The paper's return in units of the arm's scale, clipped as a real one is."""
        return np.clip(np.nan_to_num(paper) / rows.scales[arm], _Z_LOW, _Z_HIGH)

    def show(self, number: float) -> str:
        """A plain number."""
        return f"{number:+.3f}" if math.isfinite(number) else "unknown"
