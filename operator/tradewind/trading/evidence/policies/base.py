"""What a weight policy is: which fields of `spec.traffic` it takes, and the weight that it gives on its facts.

Belongs here: the interface and its values. Does not belong here: any one policy, and where the facts come from (weights.py).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar


class Use(StrEnum):
    """Whether a policy takes a field."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True)
class Step:
    """A weight, and how long it holds; None: until the policy moves on."""

    weight: float
    duration: timedelta | None = None


@dataclass(frozen=True)
class Ladder:
    """What `spec.traffic` gives a policy.

    Attributes:
        weight: the one weight; None where none is given.
        steps: weights that rise; empty where none are given.
    """

    weight: float | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class PolicyFacts:
    """What a policy looks at, at the start of a block.

    Attributes:
        elapsed: time since t0.
        level: the last logged weight; None before the first row.
        at_level: time since the start of the block in which the last logged weight was first used without a break.
        new_candidate_trades: candidate trades at that level, closed, in complete blocks.
        score: S of the primary metric over complete blocks.
        variance: V of it.
        watermark_grew: a block was completed since the start of the previous block.
    """

    elapsed: timedelta
    level: float | None = None
    at_level: timedelta = timedelta(0)
    new_candidate_trades: int = 0
    score: float = 0.0
    variance: float = 0.0
    watermark_grew: bool = False

    @property
    def z(self) -> float:
        """S / sqrt(V); 0 without evidence."""
        return self.score / math.sqrt(self.variance) if self.variance > 0.0 else 0.0


@dataclass(frozen=True)
class WeightDecision:
    """Weight of a block and why: a fixed word, and a sentence with the numbers that it rests on."""

    weight: float
    reason: str
    message: str = ""


class WeightPolicy(ABC):
    """How the candidate's weight moves, block by block. It keeps no state: all is read off the logged weights."""

    name: ClassVar[str]
    """In `spec.traffic.policy`."""
    about: ClassVar[str]
    """What it does, for the documentation."""
    weight: ClassVar[Use] = Use.NONE
    """Whether it takes `traffic.weight`."""
    steps: ClassVar[Use] = Use.NONE
    """Whether it takes `traffic.steps`."""
    timed: ClassVar[bool] = False
    """Whether each step has a duration."""
    adaptive: ClassVar[bool] = False
    """Whether it looks at the evidence: facts other than the elapsed time."""

    @abstractmethod
    def next_weight(self, ladder: Ladder, facts: PolicyFacts) -> WeightDecision:
        """Weight of the block that begins."""

    @abstractmethod
    def largest(self, ladder: Ladder) -> float:
        """The largest weight that it may give."""
