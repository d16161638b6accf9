"""Before the rows are there: will this experiment find the smallest difference of interest, and when.

Belongs here: the variance that each way of pairing leaves, and the chance to cross the boundary. Does not belong here: where rate
and agreement come from (core/ab_experiment/forecast.py), and looks at rows (evaluate.py).

A block's score is taken for normal with mean theta I and variance I: that is what the scores are made for. The running sum is
followed on a grid, block by block, and leaves it where it crosses the bound or becomes futile. Left aside: the other metrics,
guardrails, fat tails, blocks that depend on each other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Final, get_args

import numpy as np

from tradewind.trading.evidence.blocks import Pairing
from tradewind.trading.evidence.boundary import BlockScores, Path
from tradewind.trading.evidence.confidence import Floats, normal_cdf
from tradewind.trading.evidence.policies import PolicyFacts
from tradewind.trading.evidence.settings import MIN_BLOCKS, Shadow
from tradewind.trading.evidence.spec import Basis, EvidenceSpec

ENOUGH: Final = 0.8
"""Chance of a verdict below which an experiment is underpowered."""
AGREEMENT: Final = 0.5
"""Share of decisions at which arms give the same answer, where nothing is known of them yet."""
CORRELATION: Final = 0.9
"""Of papers with real trades, where nothing is known of them yet."""
MARKET_CORRELATION: Final = 0.7
"""Of the market's move with a return, where nothing is known of it yet."""

_DAY = timedelta(days=1)
_LONGEST = 3650  # days that are looked ahead for what would be needed
_GRID, _COARSE = 401, 201  # coarse where there are many blocks, each small
_LEAST_NOISE = 0.05  # arms and papers are never that much alike
_SETTLED = 120  # blocks after which no weight moves any more
_HALF = 0.5
_LARGEST = 8.0
_SHADOWS: tuple[Shadow, ...] = get_args(Shadow)


@dataclass(frozen=True)
class SoFar:
    """An experiment's evidence on its primary metric.

    Attributes:
        blocks: complete blocks.
        score: S against the difference that must be exceeded.
        variance: V.
        info: J.
    """

    blocks: int
    score: float
    variance: float
    info: float

    @property
    def tells(self) -> bool:
        """Whether rate and variance can be read off it."""
        return self.blocks > 1 and self.info > 0.0 and self.variance > 0.0


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
    walk = _Walk.after(spec, facts.so_far, theta) if known and facts.so_far is not None else expected.walk()
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


@dataclass(frozen=True, eq=False)
class _Found:
    """Where a walk went.

    Attributes:
        chance: that it crossed the bound.
        days_left: mean days until it ends.
        crossed: chance to have crossed after each look, shape (looks,).
    """

    chance: float
    days_left: float
    crossed: Floats


@dataclass(frozen=True, eq=False)
class _Walk:
    """The running sum S of an experiment, block by block; arrays of shape (blocks,).

    Attributes:
        spec: its boundary and futility.
        means: what S grows by.
        squares: mean square of what it grows by.
        variance: V after each block.
        start: blocks that are past.
        score: S after them.
    """

    spec: EvidenceSpec
    means: Floats
    squares: Floats
    variance: Floats
    start: int = 0
    score: float = 0.0

    @classmethod
    def after(cls, spec: EvidenceSpec, so_far: SoFar, theta: float) -> "_Walk":
        """What may follow on the evidence so far, if it goes on as it went."""
        blocks, past = min(spec.looks, _LONGEST), so_far.blocks
        square = so_far.variance / past
        means = np.full(blocks, theta * so_far.info / past)
        variance: Floats = square * np.arange(1, blocks + 1, dtype=np.float64)
        return cls(spec, means, np.full(blocks, square), variance, min(past, blocks), so_far.score)

    def follow(self) -> _Found:
        """Where it goes."""
        blocks, length = len(self.means), self.spec.block_length / _DAY
        bound, futile = self._bound(), self._futile()
        spread = np.sqrt(np.maximum(self.squares - self.means**2, 0.0))
        top = max(float(np.max(bound[np.isfinite(bound)], initial=1.0)), self.score, 1e-9)
        low = min(-top, self.score - 1.0, -4.0 * math.sqrt(float((spread**2).sum())))
        grid = np.linspace(low, top, _GRID if blocks <= _SETTLED else _COARSE)
        mass = np.zeros(len(grid))
        mass[int(np.argmin(np.abs(grid - self.score)))] = 1.0
        crossed, done, left = np.zeros(blocks), 0.0, 0.0
        for look in range(self.start, blocks):
            left += float(mass.sum()) * length
            mass, over = _step(mass, grid, float(self.means[look]), float(spread[look]), float(bound[look]))
            done += over
            crossed[look] = done
            mass[grid < futile[look]] = 0.0
        return _Found(min(done, 1.0), left, crossed)

    def reaches(self, chance: float) -> bool:
        """Whether S is above the bound at the end with that chance, about."""
        last = slice(-1, None)
        bound = float(_smallest(self.variance[last], self._rho[last], self._threshold)[0])
        mean = float(self.means.sum())
        spread = math.sqrt(max(float(self.squares.sum() - (self.means**2).sum()), 0.0))
        return math.isfinite(bound) and spread > 0.0 and normal_cdf((mean - bound) / spread) >= chance

    @cached_property
    def _rho(self) -> Floats:
        scores = BlockScores(np.sqrt(self.squares), self.squares, np.arange(len(self.squares)) > 0)
        return self.spec.boundary.precision(scores, len(self.squares))[0]

    @cached_property
    def _threshold(self) -> float:
        return self.spec.boundary.log_threshold(self.spec.alpha, len(self.means))

    def _bound(self) -> Floats:
        """S that suffices at each look; inf: none does."""
        ready = np.arange(1, len(self.variance) + 1) >= MIN_BLOCKS
        return np.where(ready, _smallest(self.variance, self._rho, self._threshold), math.inf)

    def _futile(self) -> Floats:
        """S below which it is given up at each look; -inf: it never is."""
        z, blocks = self.spec.futility_z, len(self.variance)
        if z is None:
            return np.full(blocks, -math.inf)
        look = np.arange(blocks)
        growth = np.maximum(blocks - 1 - look, 0) / np.maximum(look, 1)
        needed = _smallest(self.variance * (blocks - 1) / np.maximum(look, 1), self._rho, self._threshold)
        # S + (S + z sqrt V) growth must reach what is needed at the end.
        least = (needed - z * np.sqrt(self.variance) * growth) / (1.0 + growth)
        return np.where((look >= -(-blocks // 3)) & np.isfinite(needed), least, -math.inf)


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

    def walk(self, blocks: int | None = None, theta: float | None = None) -> _Walk:
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
        return _Walk(self.spec, means, squares, variance)

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
        return min(self.spec.looks, int(_LONGEST / (self.spec.block_length / _DAY)))

    @cached_property
    def _infos(self) -> Floats:
        """I of each block of the longest experiment: once the weights have settled they stay."""
        blocks = int(_LONGEST / (self.spec.block_length / _DAY))
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


def _smallest(variance: Floats, rho: Floats, threshold: float) -> Floats:
    """Smallest S with that evidence, by halving; arrays of one shape; inf where there can be none yet."""
    known = (rho > 0.0) & (variance > 0.0)
    v, r = np.where(known, variance, 1.0), np.where(known, rho, 1.0)
    low, high = np.zeros(v.shape), 40.0 * np.sqrt(v + r)
    for _ in range(40):
        middle = 0.5 * (low + high)
        enough = Path(middle, v, r, r).better >= threshold
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(known, high, math.inf)


def _step(mass: Floats, grid: Floats, drift: float, spread: float, bound: float) -> tuple[Floats, float]:
    """The distribution of S a block later, and what has crossed the bound."""
    if spread <= 0.0:
        return mass, 0.0
    width, count = float(grid[1] - grid[0]), len(grid)
    reach = np.arange(-count, count + 1) * width
    # A step that is narrower than the grid is spread over it.
    kernel = np.exp(-0.5 * ((reach - drift) / max(spread, 0.5 * width)) ** 2)
    kernel /= max(float(kernel.sum()), 1e-300)
    moved = np.convolve(mass, kernel)
    at = grid[0] + (np.arange(len(moved)) - count) * width
    over = float(moved[at >= bound].sum())
    inside: Floats = moved[count : 2 * count].copy()
    inside[0] += float(moved[:count].sum())  # so far below there is no way back
    inside[grid >= bound] = 0.0
    return inside, over
