"""The running sum of an experiment as a random walk: the chance to cross its boundary, and when.

Belongs here: the walk and its bounds. Does not belong here: what the walk grows by (forecast.py).

A block's score is taken for normal. The sum is followed on a grid, block by block, and leaves it where it crosses the bound or
becomes futile. Left aside: the other metrics, guardrails, fat tails, blocks that depend on each other.
"""

import math
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Final

import numpy as np

from tradewind.trading.evidence.boundary import BlockScores, Path
from tradewind.trading.evidence.confidence import Floats, normal_cdf
from tradewind.trading.evidence.settings import MIN_BLOCKS
from tradewind.trading.evidence.spec import EvidenceSpec

LONGEST: Final = 3650
"""Blocks that are looked ahead."""

_DAY = timedelta(days=1)
_GRID, _COARSE, _MANY = 401, 201, 120  # coarse where there are many blocks, each small


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


@dataclass(frozen=True, eq=False)
class Found:
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
class Walk:
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
    def after(cls, spec: EvidenceSpec, so_far: SoFar, theta: float) -> "Walk":
        """What may follow on the evidence so far, if it goes on as it went."""
        blocks, past = min(spec.looks, LONGEST), so_far.blocks
        square = so_far.variance / past
        means = np.full(blocks, theta * so_far.info / past)
        variance: Floats = square * np.arange(1, blocks + 1, dtype=np.float64)
        return cls(spec, means, np.full(blocks, square), variance, min(past, blocks), so_far.score)

    def follow(self) -> Found:
        """Where it goes."""
        blocks, length = len(self.means), self.spec.block_length / _DAY
        bound, futile = self._bound(), self._futile()
        spread = np.sqrt(np.maximum(self.squares - self.means**2, 0.0))
        top = max(float(np.max(bound[np.isfinite(bound)], initial=1.0)), self.score, 1e-9)
        low = min(-top, self.score - 1.0, -4.0 * math.sqrt(float((spread**2).sum())))
        grid = np.linspace(low, top, _GRID if blocks <= _MANY else _COARSE)
        mass = np.zeros(len(grid))
        mass[int(np.argmin(np.abs(grid - self.score)))] = 1.0
        crossed, done, left = np.zeros(blocks), 0.0, 0.0
        for look in range(self.start, blocks):
            left += float(mass.sum()) * length
            mass, over = _step(mass, grid, float(self.means[look]), float(spread[look]), float(bound[look]))
            done += over
            crossed[look] = done
            mass[grid < futile[look]] = 0.0
        return Found(min(done, 1.0), left, crossed)

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
