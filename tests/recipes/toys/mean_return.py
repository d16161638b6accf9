"""The mean return of a decision, in percent."""

from typing import ClassVar

import numpy as np

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Probability
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.metrics.base import Metric, ScoredRows, sum_before


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
        value = 100.0 * np.nan_to_num(rows.ret)
        centre = sum_before(value) / (np.arange(value.shape[-1]) + 20.0)
        return (rows.candidate - rows.weight) * (value - centre), rows.weight * (1.0 - rows.weight)
