"""fixed: one weight from beginning to end."""

from enum import StrEnum
from typing import ClassVar

from typing_extensions import override

from tradewind.trading.evidence.policies.base import Ladder, PolicyFacts, Use, WeightDecision, WeightPolicy


class Reason(StrEnum):
    """Why a block of the policy fixed has its weight."""

    FIXED = "Fixed"
    """The one weight, `traffic.weight`."""


class Fixed(WeightPolicy):
    """Looks at nothing."""

    name: ClassVar[str] = "fixed"
    about: ClassVar[str] = "one weight"
    weight: ClassVar[Use] = Use.REQUIRED

    @override
    def next_weight(self, ladder: Ladder, facts: PolicyFacts) -> WeightDecision:
        """The weight that is given."""
        return WeightDecision(self.largest(ladder), Reason.FIXED, f"traffic.weight is {self.largest(ladder):g}")

    def largest(self, ladder: Ladder) -> float:
        """The weight that is given."""
        assert ladder.weight is not None
        return ladder.weight
