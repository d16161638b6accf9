"""When evidence suffices: precision and threshold of a test that ends at a known block, and of one that knows no end.

Belongs here: what a boundary makes of block sums. Does not belong here: the e-process itself (confidence.py), and what
follows from reaching a bound (evaluate.py).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from typing_extensions import override

from tradewind.trading.evidence.blocks import Bools
from tradewind.trading.evidence.confidence import RHO, RHO_ROLLBACK, Floats, Interval, interval, log_e_path

_WARM_UP = 6
"""Blocks that give the precision: no evidence before them."""
_RHO_PER_BLOCK = 0.12

_BLOCKS = (14, 21, 28, 42, 56, 84, 126, 168, 252, 365)
_ALPHAS = (0.10, 0.05, 0.025, 0.0125, 0.00625)
_LOG_BOUND: Final = np.array(
    [
        [1.1827, 1.5769, 1.9032, 2.2023, 2.4780],
        [1.3840, 1.7842, 2.1471, 2.4988, 2.8489],
        [1.4944, 1.9086, 2.3062, 2.6981, 3.0910],
        [1.6142, 2.0579, 2.5006, 2.9316, 3.3718],
        [1.6782, 2.1432, 2.6087, 3.0746, 3.5461],
        [1.7591, 2.2505, 2.7515, 3.2519, 3.7417],
        [1.8212, 2.3303, 2.8416, 3.3538, 3.8728],
        [1.8640, 2.3915, 2.9205, 3.4409, 3.9726],
        [1.9157, 2.4540, 2.9995, 3.5581, 4.1212],
        [1.9446, 2.4902, 3.0350, 3.5781, 4.1264],
    ]
)
"""ln c(K, alpha), a row for each of `_BLOCKS`: quantile of the largest ln E over looks 7 to K of independent standard normal
block sums at 0.7 alpha with rho = 0.12 K v; 400,000 to 800,000 paths each."""


@dataclass(frozen=True, eq=False)
class BlockScores:
    """Sums of one metric by block, all of shape (..., blocks).

    Attributes:
        scores: U.
        infos: I.
        after_first: a block before had rows.
    """

    scores: Floats
    infos: Floats
    after_first: Bools

    def until(self, blocks: int) -> "BlockScores":
        """The first blocks only."""
        part = (..., slice(0, blocks))
        return BlockScores(self.scores[part], self.infos[part], self.after_first[part])


@dataclass(frozen=True, eq=False)
class Path:
    """Running sums of one metric at each look, all of shape (..., looks).

    Attributes:
        score: S.
        variance: V.
        rho: precision of the mixture for better; nan before there is one.
        rho_worse: the same for worse.
    """

    score: Floats
    variance: Floats
    rho: Floats
    rho_worse: Floats

    @property
    def better(self) -> Floats:
        """Logarithm of the evidence that the mean is above 0; 0 before there is a precision."""
        return _evidence(self.score, self.variance, self.rho)

    @property
    def worse(self) -> Floats:
        """The same that it is below 0."""
        return _evidence(-self.score, self.variance, self.rho_worse)


class Boundary(ABC):
    """What a test makes of block sums."""

    futile: ClassVar[bool]
    """Whether it can end as futile."""
    guarded: ClassVar[bool]
    """Whether V counts what neighbouring blocks have in common."""

    @abstractmethod
    def log_threshold(self, alpha: float, blocks: int) -> float:
        """Logarithm of the evidence that suffices at level alpha in a test of so many blocks."""

    @abstractmethod
    def variance(self, scores: Floats) -> Floats:
        """V after each block of scores U, shape (..., blocks) as theirs."""

    @abstractmethod
    def precision(self, sums: BlockScores, blocks: int) -> tuple[Floats, Floats]:
        """Precision for better and for worse after each block, nan before there is one; blocks: K of the whole test."""

    def path(self, sums: BlockScores, shift: float, blocks: int) -> Path:
        """Running sums against a difference of `shift`: U_b - shift I_b."""
        shifted = sums.scores - shift * sums.infos
        return Path(np.cumsum(shifted, axis=-1), self.variance(shifted), *self.precision(sums, blocks))

    def interval(self, sums: BlockScores, threshold: float, blocks: int) -> Interval:
        """Estimate and bounds of one experiment at its last block; without a precision there is no bound."""
        rho = float(self.precision(sums, blocks)[0][-1]) if sums.scores.shape[-1] else math.nan
        return interval(sums.scores, sums.infos, threshold, rho, guarded=self.guarded)


class Anytime(Boundary):
    """Valid at any stopping time of an experiment without an end: thresholds 1/alpha, one precision."""

    futile: ClassVar[bool] = False
    guarded: ClassVar[bool] = False

    @override
    def log_threshold(self, alpha: float, blocks: int) -> float:
        """ln(1/alpha)."""
        return math.log(1.0 / alpha)

    def variance(self, scores: Floats) -> Floats:
        """Running sum of squares."""
        result: Floats = np.cumsum(scores**2, axis=-1)
        return result

    @override
    def precision(self, sums: BlockScores, blocks: int) -> tuple[Floats, Floats]:
        """The same everywhere."""
        return np.full(sums.scores.shape, RHO), np.full(sums.scores.shape, RHO_ROLLBACK)


class FixedHorizon(Boundary):
    """Uses that nothing counts after block K. A guard widens V where neighbouring blocks go together."""

    futile: ClassVar[bool] = True
    guarded: ClassVar[bool] = True

    def log_threshold(self, alpha: float, blocks: int) -> float:
        """Ln c(K, alpha): bilinear in ln K and ln alpha; beyond the table it only grows stricter."""
        grid = [math.log(k) for k in _BLOCKS]
        levels = [-math.log(a) for a in _ALPHAS]
        at, level = math.log(max(blocks, _BLOCKS[0])), -math.log(min(alpha, _ALPHAS[0]))
        column = np.array([np.interp(min(level, levels[-1]), levels, row) for row in _LOG_BOUND])
        bound = float(np.interp(min(at, grid[-1]), grid, column))
        # Longer than the table: the bound grows ever more slowly in ln K, so its last slope is more than enough.
        slope = float(column[-1] - column[-2]) / (grid[-1] - grid[-2])
        # Stricter than the table: an e-process exceeds e^c with probability at most e^-c, so a slope of 1 is enough.
        return bound + max(at - grid[-1], 0.0) * max(slope, 0.0) + max(level - levels[-1], 0.0)

    def variance(self, scores: Floats) -> Floats:
        """Running sum of squares, and twice what neighbouring blocks have in common where that is positive."""
        number = np.arange(1, scores.shape[-1] + 1)
        together = np.zeros(scores.shape)
        np.cumsum(scores[..., 1:] * scores[..., :-1], axis=-1, out=together[..., 1:])
        together -= np.cumsum(scores, axis=-1) ** 2 / number
        result: Floats = np.cumsum(scores**2, axis=-1) + 2.0 * np.maximum(together, 0.0)
        return result

    def precision(self, sums: BlockScores, blocks: int) -> tuple[Floats, Floats]:
        """0.12 K times the mean square of the first 6 blocks that tell something, once they are there.

        The first block with rows is none of them. Nor are blocks in which nothing moved: a test whose arms held in its
        first days would never have evidence.
        """
        telling = sums.after_first & (sums.infos > 0.0) & (sums.scores != 0.0)
        number = np.cumsum(telling, axis=-1)
        kept = np.where(telling & (number <= _WARM_UP), sums.scores**2, 0.0)
        rho = _RHO_PER_BLOCK * blocks * np.cumsum(kept, axis=-1) / _WARM_UP
        rho = np.where(number >= _WARM_UP, rho, np.nan)
        return rho, rho / 2.0


ANYTIME: Final = Anytime()
FIXED_HORIZON: Final = FixedHorizon()
BOUNDARIES: Final[dict[str, Boundary]] = {"fixedHorizon": FIXED_HORIZON, "anytime": ANYTIME}
"""By their names in `evidence.boundary`."""


def _evidence(score: Floats, variance: Floats, rho: Floats) -> Floats:
    """Ln E; 0, which is none, while there is no precision or nothing has varied."""
    known = (rho > 0.0) & (variance > 0.0)
    return np.where(known, log_e_path(score, variance, np.where(known, rho, 1.0)), 0.0)
