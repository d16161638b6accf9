"""thompsonCapped: the weight follows the chance that the candidate is better, within bounds."""

import math
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar

from typing_extensions import override

from tradewind.trading.evidence.confidence import normal_cdf
from tradewind.trading.evidence.policies.base import Ladder, PolicyFacts, WeightDecision, WeightPolicy

_PRIOR = 44.4
_LOW, _HIGH = 0.10, 0.50
_START = 0.25
_WAIT = timedelta(days=2)


class Reason(StrEnum):
    """Why a block of the policy thompsonCapped has its weight."""

    START = "Start"
    """0.25, for the first two days and while there is no evidence."""
    THOMPSON = "ThompsonCapped"
    """The chance that the candidate is better, within 0.10 and 0.50."""


class ThompsonCapped(WeightPolicy):
    """Phi(S / sqrt(V + prior)), from 0.10 to 0.50."""

    name: ClassVar[str] = "thompsonCapped"
    about: ClassVar[str] = "with the evidence, from 0.10 to 0.50"
    adaptive: ClassVar[bool] = True

    @override
    def next_weight(self, ladder: Ladder, facts: PolicyFacts) -> WeightDecision:
        """The chance that the candidate is better, capped."""
        # Without any evidence Phi(0) would give the candidate half of the traffic: the start weight stays.
        if facts.elapsed < _WAIT or facts.variance <= 0.0:
            why = f"{_START:g} for the first {_WAIT.days} days, and while there is no evidence"
            return WeightDecision(_START, Reason.START, why)
        chance = normal_cdf(facts.score / math.sqrt(facts.variance + _PRIOR))
        why = f"the chance that the candidate is better is {chance:.3f}, within {_LOW:g} to {_HIGH:g}"
        return WeightDecision(min(max(chance, _LOW), _HIGH), Reason.THOMPSON, why)

    @override
    def largest(self, ladder: Ladder) -> float:
        """The upper bound."""
        return _HIGH
