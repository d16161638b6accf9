"""timid: a twentieth, whatever happens."""

from enum import StrEnum
from typing import ClassVar

from typing_extensions import override

from tradewind.trading.evidence.policies.base import Ladder, PolicyFacts, WeightDecision, WeightPolicy


class Reason(StrEnum):
    """Why a block has its weight."""

    TIMID = "Timid"
    """The policy never gives more."""


class Timid(WeightPolicy):
    """Looks at nothing."""

    name: ClassVar[str] = "timid"
    about: ClassVar[str] = "a twentieth"

    @override
    def next_weight(self, ladder: Ladder, facts: PolicyFacts) -> WeightDecision:
        """A twentieth."""
        return WeightDecision(0.05, Reason.TIMID, "a twentieth")

    @override
    def largest(self, ladder: Ladder) -> float:
        """A twentieth."""
        return 0.05
