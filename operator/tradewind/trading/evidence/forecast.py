"""Before the rows are there: will this experiment find the smallest difference of interest, and when.

Belongs here: the variance that each way of pairing leaves, and the chance to cross the boundary. Does not belong here: where rate
and agreement come from (core/ab_experiment/forecast.py), and looks at rows (evaluate.py).

A block's score is taken to have mean theta I and variance I: that is what the scores are made for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Final, NamedTuple, get_args

import numpy as np

from tradewind.trading.evidence.blocks import Pairing
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.policies import PolicyFacts
from tradewind.trading.evidence.settings import MIN_BLOCKS, Shadow
from tradewind.trading.evidence.spec import Basis, EvidenceSpec
from tradewind.trading.evidence.walk import LONGEST, SoFar, Walk

ENOUGH: Final = 0.8
"""Chance of a verdict below which an experiment is underpowered."""
AGREEMENT: Final = 0.5
"""Share of decisions at which arms give the same answer, where nothing is known of them yet."""
CORRELATION: Final = 0.9
"""Of papers with real trades, where nothing is known of them yet."""
MARKET_CORRELATION: Final = 0.7
"""Of the market's move with a return, where nothing is known of it yet."""

_DAY = timedelta(days=1)
_LEAST_NOISE = 0.05  # arms and papers are never that much alike
_SETTLED = 120  # blocks after which no weight moves any more
_HALF = 0.5
_FEWEST = 30
_LARGEST = 8.0
_SHADOWS: tuple[Shadow, ...] = get_args(Shadow)


@dataclass(frozen=True)
class ForecastFacts:
    """What is known of the decisions to come.

    Attributes:
        decisions_per_day: of both arms together.
        holds: share of decisions at which nothing is opened.
        agreement: share of decisions at which the arms give the same answer.
        correlation: of papers with real trades.
        so_far: the evidence; None: before the start.

    Raises:
        ValueError: an attribute is out of bounds.
    """

    decisions_per_day: float
    holds: float = 0.0
    agreement: float = AGREEMENT
    correlation: float = CORRELATION
    so_far: SoFar | None = None

    def __post_init__(self) -> None:
        if not (0.0 <= self.decisions_per_day < math.inf):
            raise ValueError(f"decisions_per_day: {self.decisions_per_day}; give a number from 0 up")
        for name in ("holds", "agreement", "correlation"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}: {getattr(self, name)}; give a number from 0 to 1")


class PastDecisions(NamedTuple):
    """What the baseline did before the start.

    Attributes:
        decisions: newest ones, of at most two weeks.
        holds: of these, nothing was opened.
        days: that they lie in.
    """

    decisions: int
    holds: int
    days: float

    @property
    def facts(self) -> ForecastFacts | None:
        """What they say of the decisions to come; None: too little, fewer than 30 or less than a day of them."""
        if self.decisions < _FEWEST or self.days < 1.0:
            return None
        return ForecastFacts(self.decisions / self.days, holds=self.holds / self.decisions)


@dataclass(frozen=True)
class Prospect:
    """What one way to run the experiment leads to if the difference is the smallest one of interest.

    Attributes:
        chance: of a verdict by maxDuration.
        days: on which half of such experiments have theirs, were maxDuration long enough; inf: not in ten years.
    """

    chance: float
    days: float


@dataclass(frozen=True)
class Forecast:
    """The experiment's prospect if the difference is the smallest one of interest.

    Attributes:
        effect: that difference, in the unit that users read; with objective notInferior 0.
        chance: of a verdict by maxDuration, given the evidence so far.
        days: on which half of such experiments have their verdict, from the start; inf: not in ten years.
        expected_days_left: until it ends, however it does; given the evidence so far.
        by_shadow: the same experiment from its start with each kind of shadow.
        detectable: smallest difference that would be found by maxDuration with a chance of 0.8; inf: none.
    """

    effect: float
    chance: float
    days: float
    expected_days_left: float
    by_shadow: Mapping[Shadow, Prospect] = field(default_factory=dict)
    detectable: float = math.inf

    @property
    def underpowered(self) -> bool:
        """Whether a difference of interest will hardly be found."""
        return self.chance < ENOUGH


def forecast(spec: EvidenceSpec, facts: ForecastFacts) -> Forecast:
    """Prospect of an experiment."""
    effect = 0.0 if spec.not_inferior else float(spec.rules.evidence.min_effect)
    theta = effect / spec.primary.unit - spec.shift
    known = facts.so_far is not None and facts.so_far.tells
    expected = _Plan(spec, facts, theta)
    walk = Walk.after(spec, facts.so_far, theta) if known and facts.so_far is not None else expected.walk()
    found = walk.follow()
    return Forecast(
        effect=effect,
        chance=found.chance,
        days=expected.days(),
        expected_days_left=found.days_left,
        by_shadow={shadow: _prospect(spec, facts, shadow, theta) for shadow in _SHADOWS},
        detectable=expected.detectable() * spec.primary.unit,
    )


def _prospect(spec: EvidenceSpec, facts: ForecastFacts, shadow: Shadow, theta: float) -> Prospect:
    plan = _Plan(replace(spec, basis=replace(spec.basis or Basis(), shadow=shadow)), facts, theta)
    return Prospect(plan.walk().follow().chance, plan.days())


def noise(spec: EvidenceSpec, facts: ForecastFacts, weight: float) -> float:
    """Variance of the estimated difference, times the number of decisions, in the unit of the primary metric's score.

    Args:
        spec: its pairing, and the share of decisions with a shadow.
        facts: agreement and correlation.
        weight: of the candidate, inside (0, 1).
    """
    unit = (
        1.0 if spec.primary.unit == 1.0 else max(1.0 - facts.holds, _LEAST_NOISE)
    )  # of returns by construction; of wins: 0, 1 or 2
    r, g = facts.correlation, facts.agreement
    if spec.primary.unit != 1.0:
        r = 2.0 / math.pi * math.asin(r)  # of the signs of what goes together so much
    drawn = weight * (1.0 - weight)
    alone = 1.0 / drawn
    match spec.pairing:
        case Pairing.UNPAIRED:
            return unit * alone
        case Pairing.MARKET:
            return unit * (1.0 - MARKET_CORRELATION**2) * alone
        case Pairing.BOTH:
            paired = (1.0 - r * r) / drawn + r * r * 2.0 * (1.0 - g)
        case Pairing.CANDIDATE:
            rest = (1.0 - r * r) / weight + (1.0 - (g * r) ** 2) / (1.0 - weight)
            paired = rest + (r * (1.0 - g)) ** 2
    share = spec.shadow_share
    found = 1.0 / (share / min(max(paired, _LEAST_NOISE), alone) + (1.0 - share) / alone)
    return max(unit * found, _LEAST_NOISE)


@dataclass(frozen=True)
class _Plan:
    """An experiment from its start, whenever it ends.

    Attributes:
        spec: policy, pairing, boundary.
        facts: what is known of the decisions.
        theta: difference beyond what must be exceeded, in the unit of the score.
    """

    spec: EvidenceSpec
    facts: ForecastFacts
    theta: float

    def walk(self, blocks: int | None = None, theta: float | None = None) -> Walk:
        """The walk of an experiment of so many blocks, or of its own number; theta: another difference, at the same weights."""
        infos = self._infos[: self._looks if blocks is None else blocks]
        blocks = len(infos)
        means = (self.theta if theta is None else theta) * infos
        squares = infos + means**2
        variance = np.cumsum(squares)
        if self.spec.boundary.guarded:
            # What the guard adds to V where blocks do not go together: the mean of a normal number above 0.
            number = np.arange(1, blocks + 1)
            variance = variance * (1.0 + math.sqrt(2.0 / math.pi) / np.sqrt(number) * (number > 1))
        return Walk(self.spec, means, squares, variance)

    def days(self) -> float:
        """Day on which half of such experiments have a verdict, were the end late enough; inf: not in ten years."""
        length, least = self.spec.block_length / _DAY, self.spec.min_duration / _DAY
        found = self.walk().follow()
        if found.chance >= _HALF:
            return max(float(np.argmax(found.crossed >= _HALF) + 1) * length, least)
        low, high = max(self._looks, MIN_BLOCKS), len(self._infos)
        if low >= high or not self.walk(high).reaches(_HALF):
            return math.inf
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.walk(middle).reaches(_HALF) else (middle, high)
        return max(high * length, least)

    def detectable(self) -> float:
        """Smallest difference, in the unit of the score, that is found by the end with a chance of 0.8; inf: none."""

        def found(difference: float) -> bool:
            return self.walk(self._looks, difference - self.spec.shift).reaches(ENOUGH)

        low, high = 0.0, _LARGEST
        if not found(high):
            return math.inf
        for _ in range(20):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if found(middle) else (middle, high)
        return high

    @property
    def _looks(self) -> int:
        return min(self.spec.looks, int(LONGEST / (self.spec.block_length / _DAY)))

    @cached_property
    def _infos(self) -> Floats:
        """I of each block of the longest experiment: once the weights have settled they stay."""
        blocks = int(LONGEST / (self.spec.block_length / _DAY))
        first = self._first(min(blocks, max(self._looks, _SETTLED)))
        return np.concatenate((first, np.full(blocks - len(first), first[-1])))

    def _first(self, blocks: int) -> Floats:
        """I of the first blocks as the weights are expected to go; the very first carries none."""
        spec = self.spec
        rows = self.facts.decisions_per_day * (spec.block_length / _DAY)
        infos, level, since, trades, total = np.zeros(blocks), None, 0, 0.0, 0.0
        for block in range(blocks):
            expected = PolicyFacts(
                elapsed=block * spec.block_length,
                level=level,
                at_level=(block - since) * spec.block_length,
                new_candidate_trades=int(trades),
                score=self.theta * total,
                variance=total,
                watermark_grew=block > 1,
            )
            weight = spec.policy.next_weight(spec.ladder, expected).weight
            if weight != level:
                level, since, trades = weight, block, 0.0
            trades += rows * weight * (1.0 - self.facts.holds)
            if block and 0.0 < weight < 1.0:
                infos[block] = rows / noise(spec, self.facts, weight)
                total += infos[block]
        return infos
