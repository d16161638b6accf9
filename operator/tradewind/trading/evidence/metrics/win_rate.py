"""The win rate: the share of decisions that earned something."""

from typing import ClassVar

import numpy as np

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Probability
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.metrics.base import Metric, ScoredRows, sum_before


class WinRateMargin(StrictModel):
    """How much lower the win rate may be."""

    win_rate: Probability = "0.05"
    """Margin of the win rate, where sharpe is primary."""


class WinRate(Metric):
    """Share of decisions with a profit; the score's unit is twice a difference of probabilities."""

    name: ClassVar[str] = "winRate"
    key: ClassVar[str] = "win_rate"
    title: ClassVar[str] = "win rate"
    unit: ClassVar[float] = 0.5
    settings: ClassVar[type[StrictModel]] = WinRateMargin

    def scores(self, rows: ScoredRows) -> tuple[Floats, Floats]:
        """Wins around their predictable centre."""
        before = np.arange(rows.win.shape[-1])
        centre = (sum_before(rows.win) + 10.0) / (before + 20.0)
        return 2.0 * (rows.candidate - rows.weight) * (rows.win - centre), rows.weight * (1.0 - rows.weight)
