"""The weight policies, a file each. A new one is its file and a line in `POLICIES`."""

from typing import Final

from tradewind.trading.evidence.policies.base import Ladder, PolicyFacts, Step, Use, WeightDecision, WeightPolicy
from tradewind.trading.evidence.policies.fixed import Fixed
from tradewind.trading.evidence.policies.gated import Gated
from tradewind.trading.evidence.policies.schedule import Schedule
from tradewind.trading.evidence.policies.thompson import ThompsonCapped

__all__ = ["POLICIES", "Fixed", "Ladder", "PolicyFacts", "Step", "Use", "WeightDecision", "WeightPolicy"]

POLICIES: Final[tuple[WeightPolicy, ...]] = (
    Gated(),
    Fixed(),
    Schedule(),
    ThompsonCapped(),
)
"""The first one is the default."""
