"""The mean return of a decision, in percent."""

import math
from typing import ClassVar

import numpy as np
from typing_extensions import override

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Probability
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.metrics.base import Metric, ScoredRows


class MeanReturnMargin(StrictModel):
    """How much lower the mean return may be."""

    mean_return: Probability = "0.5"
    """Margin of the mean return in percent, where another metric is primary."""


class MeanReturn(Metric):
    """Returns around their predictable centre."""

    name: ClassVar[str] = "meanReturn"
    key: ClassVar[str] = "mean_return"
    title: ClassVar[str] = "mean return"
    unit: ClassVar[float] = 1.0
    settings: ClassVar[type[StrictModel]] = MeanReturnMargin

    def scores(self, rows: ScoredRows) -> tuple[Floats, Floats]:
        """Percent of the notional; a row settled by force counts as 0."""
        value = self.outcome(rows)
        before = rows.running.before
        centre = before("mean.value", value) / (before("mean.rows", np.ones_like(value)) + 20.0)
        return (rows.candidate - rows.weight) * (value - centre), rows.weight * (1.0 - rows.weight)

    def outcome(self, rows: ScoredRows) -> Floats:
        """The same percent."""
        return 100.0 * np.nan_to_num(rows.ret)

    @override
    def on_paper(self, rows: ScoredRows, arm: int, paper: Floats) -> Floats:
        """Percent of the notional on paper."""
        return 100.0 * np.nan_to_num(paper)

    def show(self, number: float) -> str:
        """In percent."""
        return f"{number:+.3f} %" if math.isfinite(number) else "unknown"
