"""The metrics that are tested, a file each. A new one is its file and a line in `METRICS`."""

from typing import Final

from tradewind.trading.evidence.metrics.base import Metric, ScoredRows
from tradewind.trading.evidence.metrics.sharpe import Sharpe
from tradewind.trading.evidence.metrics.win_rate import WinRate

__all__ = ["METRICS", "Metric", "ScoredRows"]

METRICS: Final[tuple[Metric, ...]] = (
    Sharpe(),
    WinRate(),
)
"""Any of them can be primary; the first one is by default."""
