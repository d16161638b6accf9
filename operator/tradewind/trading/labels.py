"""Labels of closed trades by the seed's rule, on the margin that was risked (`size_usd`)."""

from enum import StrEnum
from typing import Final

from tradewind.trading.settings.labels import LabelThresholds


class Label(StrEnum):
    """Quality of a decision, known once its trade is closed."""

    EXCELLENT = "excellent_decision"
    GOOD = "good_decision"
    ACCEPTABLE_LOSS = "acceptable_loss"
    BAD = "bad_decision"
    NEUTRAL = "neutral"


SEED: Final = LabelThresholds()


def label_outcome(pnl_usd: float, size_usd: float, thresholds: LabelThresholds = SEED) -> Label:
    """The seed's `_auto_label`: > 5 % excellent, 0-5 % good, a loss of up to 3 % acceptable, beyond it bad, 0 neutral.

    Args:
        pnl_usd: net profit, USD.
        size_usd: margin of the decision, USD; must be above 0.
        thresholds: above `excellent` a gain is excellent, below -`bad` a loss is bad; the seed's by default.

    Raises:
        ValueError: size_usd is not above 0.
    """
    if not size_usd > 0:
        msg = f"size_usd must be above 0 to label an outcome, got {size_usd!r}"
        raise ValueError(msg)
    ratio = round(pnl_usd / size_usd, 12)  # a loss of exactly 3 % is acceptable, whatever binary fractions make of it
    if ratio > float(thresholds.excellent):
        return Label.EXCELLENT
    if ratio > 0:
        return Label.GOOD
    if ratio == 0:
        return Label.NEUTRAL
    return Label.BAD if ratio < -float(thresholds.bad) else Label.ACCEPTABLE_LOSS
