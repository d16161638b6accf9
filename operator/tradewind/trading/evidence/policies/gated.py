"""gated: up and down a ladder of levels, on the evidence and the trades at the level."""

from datetime import timedelta
from enum import StrEnum
from typing import ClassVar, Final

from tradewind.trading.evidence.policies.base import Ladder, PolicyFacts, Use, WeightDecision, WeightPolicy

DEFAULT_LEVELS: Final = (0.10, 0.25, 0.50)
MIN_AT_LEVEL: Final = timedelta(days=3)
MIN_NEW_TRADES: Final = 10
_UP_ABOVE = -1.0
_DOWN_BELOW = -1.645


class Reason(StrEnum):
    """Why a block of the policy gated has its weight."""

    START = "Start"
    """The first level, before there is evidence."""
    NO_NEW_BLOCK = "NoNewBlock"
    """No block was completed since the weight was last asked for."""
    TOO_SOON = "TooSoonAtLevel"
    """The level has not lasted 3 days."""
    TOO_FEW_TRADES = "TooFewTradesAtLevel"
    """Fewer than 10 new closed trades of the candidate at the level."""
    NOT_CONVINCING = "EvidenceTooWeak"
    """Z is at most -1: too weak to go up."""
    UP = "LevelUp"
    """One level up."""
    TOP = "TopLevel"
    """The highest level."""
    DOWN = "LevelDown"
    """Z is below -1.645: one level down."""
    BOTTOM = "BottomLevel"
    """Z is below -1.645, at the lowest level already."""


class Gated(WeightPolicy):
    """The default."""

    name: ClassVar[str] = "gated"
    about: ClassVar[str] = "up and down the steps on evidence"
    steps: ClassVar[Use] = Use.OPTIONAL
    adaptive: ClassVar[bool] = True

    def next_weight(self, ladder: Ladder, facts: PolicyFacts) -> WeightDecision:
        """A level up, a level down, or the same one."""
        levels = _levels(ladder)
        if facts.level is None:
            return WeightDecision(levels[0], Reason.START, f"the first level, {levels[0]:g}")
        # A weight off the ladder (the policy was another one) counts as the level below it.
        at = max((i for i, level in enumerate(levels) if level <= facts.level + 1e-9), default=0)
        here = levels[at]
        if not facts.watermark_grew:
            why = (
                f"stays at {here:g}: no block was completed since the last one began, open positions hold the watermark"
            )
            return WeightDecision(here, Reason.NO_NEW_BLOCK, why)
        if facts.at_level < MIN_AT_LEVEL:
            days = facts.at_level / timedelta(days=1)
            return WeightDecision(
                here, Reason.TOO_SOON, f"stays at {here:g}: {days:g} of {MIN_AT_LEVEL.days} days there"
            )
        z = f"z = {facts.z:+.2f}"
        if facts.z < _DOWN_BELOW and at:
            why = f"down from {here:g} to {levels[at - 1]:g}: {z}, below {_DOWN_BELOW}"
            return WeightDecision(levels[at - 1], Reason.DOWN, why)
        if facts.z < _DOWN_BELOW:
            why = f"stays at {here:g}, the lowest level: {z}, below {_DOWN_BELOW}"
            return WeightDecision(here, Reason.BOTTOM, why)
        if at + 1 == len(levels):
            return WeightDecision(here, Reason.TOP, f"stays at {here:g}, the highest level")
        trades = f"{facts.new_candidate_trades} of {MIN_NEW_TRADES} closed trades of the candidate"
        if facts.new_candidate_trades < MIN_NEW_TRADES:
            return WeightDecision(here, Reason.TOO_FEW_TRADES, f"stays at {here:g}: {trades} there")
        if facts.z <= _UP_ABOVE:
            why = f"stays at {here:g}: {z}, not above {_UP_ABOVE:g}"
            return WeightDecision(here, Reason.NOT_CONVINCING, why)
        why = f"up from {here:g} to {levels[at + 1]:g}: {z}, above {_UP_ABOVE:g}, and {trades}"
        return WeightDecision(levels[at + 1], Reason.UP, why)

    def largest(self, ladder: Ladder) -> float:
        """The highest level."""
        return max(_levels(ladder))


def _levels(ladder: Ladder) -> tuple[float, ...]:
    return tuple(step.weight for step in ladder.steps) or DEFAULT_LEVELS
