"""schedule: each step for its duration, the last one for ever."""

from datetime import timedelta
from enum import StrEnum
from typing import ClassVar

from tradewind.trading.evidence.policies.base import Ladder, PolicyFacts, Use, WeightDecision, WeightPolicy


class Reason(StrEnum):
    """Why a block of the policy schedule has its weight."""

    SCHEDULE = "Schedule"
    """The step whose time it is."""


class Schedule(WeightPolicy):
    """Looks at the clock alone."""

    name: ClassVar[str] = "schedule"
    about: ClassVar[str] = "each step for its duration"
    steps: ClassVar[Use] = Use.REQUIRED
    timed: ClassVar[bool] = True

    def next_weight(self, ladder: Ladder, facts: PolicyFacts) -> WeightDecision:
        """The weight of the step that the elapsed time lies in."""
        end, count = timedelta(0), len(ladder.steps)
        for number, step in enumerate(ladder.steps, 1):
            end += step.duration or timedelta(0)
            if facts.elapsed < end or number == count:
                days = facts.elapsed / timedelta(days=1)
                return WeightDecision(step.weight, Reason.SCHEDULE, f"step {number} of {count}, day {days:g}")
        raise AssertionError("a schedule has a step")

    def largest(self, ladder: Ladder) -> float:
        """The largest step."""
        return max(step.weight for step in ladder.steps)
