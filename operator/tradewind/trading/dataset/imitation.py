"""What is imitated, and how strongly.

Belongs here: the settings as a dataset takes them, and weights. Does not belong here: which rows there are, and what is read.
"""

from dataclasses import dataclass, field
from typing import Final

from tradewind.trading.duplicates import Dedupe
from tradewind.trading.labels import Label
from tradewind.trading.settings.labels import DatasetLabels

_LEAST_FACTOR: Final = 0.5
_MOST_FACTOR: Final = 2.0
_PAPER_WEIGHT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Imitation:
    """What is imitated and how strongly.

    Attributes:
        max_samples: the newest decisions that are kept; None for all.
        avoid_bad: bad decisions are samples to avoid (kto) instead of none.
    """

    labels: DatasetLabels = field(default_factory=DatasetLabels)
    include_replay: bool = False
    include_fallback: bool = False
    dedupe: Dedupe = Dedupe.EXACT
    max_samples: int | None = None
    avoid_bad: bool = False

    def weight(self, label: Label) -> float:
        """Sample weight of a label; 0 gives no sample, as neutral decisions never do and bad ones only to be avoided."""
        weights = self.labels.weights
        match label:
            case Label.EXCELLENT:
                return float(weights.excellent)
            case Label.GOOD:
                return float(weights.good)
            case Label.ACCEPTABLE_LOSS:
                return float(weights.acceptable_loss)
            case Label.BAD:
                return float(weights.bad) if self.avoid_bad else 0.0
            case Label.NEUTRAL:
                return 0.0

    @property
    def hold_weight(self) -> float:
        """Weight of holds that were logged, of which nobody knows what trading would have earned, and of counterfactual ones."""
        return float(self.labels.hold_weight)

    @property
    def paper_weight(self) -> float:
        """What a paper result counts beside a real one, 0..1."""
        stated = self.labels.paper_weight
        return _PAPER_WEIGHT if stated is None else float(stated)

    @property
    def right_hold_weight(self) -> float:
        """Weight of a hold beside which the other arm lost: from a hold's on the way to a good trade's as far as papers count."""
        hold = self.hold_weight
        return hold + self.paper_weight * max(float(self.labels.weights.good) - hold, 0.0)


def return_factor(earned: float, typical: float, exponent: float, *, imitated: bool) -> float:
    """What a trade's weight is multiplied with for its net return, 1/2 to 2; 1 where `exponent` or `typical` is 0.

    A gain counts the more the larger it is, and so does a loss that is avoided; a loss that is imitated the less.

    Args:
        earned: net profit by the size of the trade.
        typical: median size of that of its symbol's trades.
        exponent: 0..1.
        imitated: whether the decision is imitated, or avoided.
    """
    if not exponent or not typical:
        return 1.0
    power = -exponent if imitated and earned < 0 else exponent
    ratio = min(max(abs(earned) / typical, 1e-9), 1e9)
    factor: float = ratio**power
    return min(max(factor, _LEAST_FACTOR), _MOST_FACTOR)
