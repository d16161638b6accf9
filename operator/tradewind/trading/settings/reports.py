"""What a report may say at most: bounds beyond which it is a mistake (a wrong unit, a wrong decision, a wrong clock)."""

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Duration, PositiveDecimal


class ReportBounds(StrictModel):
    """Bounds of what is reported about a decision. What lies beyond is refused, named, and kept in `refused_reports`."""

    max_fill: PositiveDecimal = "2"
    """Largest exposure of one fill, as a multiple of the decision's size times leverage."""
    max_position: PositiveDecimal = "10"
    """Largest exposure of the whole position after all fills, as a multiple of size times leverage."""
    max_loss: PositiveDecimal = "5"
    """Largest loss of a position, as a multiple of its largest exposure."""
    max_gain: PositiveDecimal = "20"
    """Largest gain of a position, as a multiple of its largest exposure."""
    max_fee_share: PositiveDecimal = "0.1"
    """Largest fees, paid or received, as a share of the largest exposure."""
    max_hold_time: Duration = "365d"
    """Longest time between opening and closing."""
    clock_skew: Duration = "60s"
    """How far the clock of the trading system may be off."""
