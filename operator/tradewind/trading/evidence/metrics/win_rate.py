"""The win rate: the share of decisions that earned something."""

import math
from typing import ClassVar

import numpy as np
from typing_extensions import override

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Probability
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.metrics.base import Metric, ScoredRows


class WinRateMargin(StrictModel):
    """How much lower the win rate may be."""

    win_rate: Probability | None = None
    """Margin of the win rate, as a probability; absent: 0.05, with objective notInferior 0.075."""


class WinRate(Metric):
    """Share of decisions with a profit; the score's unit is twice a difference of probabilities."""

    name: ClassVar[str] = "winRate"
    key: ClassVar[str] = "win_rate"
    title: ClassVar[str] = "win rate"
    unit: ClassVar[float] = 0.5
    settings: ClassVar[type[StrictModel]] = WinRateMargin

    def scores(self, rows: ScoredRows) -> tuple[Floats, Floats]:
        """Wins around their predictable centre."""
        before = rows.running.before
        centre = (before("win.win", rows.win) + 10.0) / (before("win.rows", np.ones_like(rows.win)) + 20.0)
        return 2.0 * (rows.candidate - rows.weight) * (rows.win - centre), rows.weight * (1.0 - rows.weight)

    def outcome(self, rows: ScoredRows) -> Floats:
        """2 for a win, 0 for a loss, 1 where nothing was opened."""
        return 2.0 * rows.win

    @override
    def on_paper(self, rows: ScoredRows, arm: int, paper: Floats) -> Floats:
        """The same of a paper: one that earned nothing counts as 1."""
        return 1.0 + np.sign(np.nan_to_num(paper))

    def show(self, number: float) -> str:
        """In percentage points."""
        return f"{100.0 * number:+.1f} points" if math.isfinite(number) else "unknown"
