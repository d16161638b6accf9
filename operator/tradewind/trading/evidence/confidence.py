"""The e-process of one metric: evidence against "no better than", and the interval it implies.

Belongs here: numbers from block sums (U, I) to evidence, estimate and bounds. Does not belong here: how rows become
block sums (blocks.py) and what evidence leads to (evaluate.py).

The evidence is the one-sided normal mixture e-process of Robbins (1970) and Howard, Ramdas, McAuliffe and Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences" (2021), on block sums with the variance estimated by
their squares. Under the null it exceeds 1/alpha at any time with probability at most about alpha.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RHO = 60.0
"""Mixture precision for promotion and intervals: tightest at V near 500, twelve weeks of 24 decisions a day."""
RHO_ROLLBACK = 30.0
"""Mixture precision for the statistical rollback: tighter earlier."""

_LN2 = math.log(2.0)
_HALF_LN_2PI = 0.5 * math.log(2.0 * math.pi)
_erfc = np.frompyfunc(math.erfc, 1, 1)


@dataclass(frozen=True)
class Interval:
    """Estimate of a difference with its confidence sequence; nan: no information, infinite: no bound yet."""

    estimate: float
    lower: float
    upper: float


def log_e(score: float, variance: float, rho: float = RHO) -> float:
    """Natural logarithm of the evidence that the mean of a score is above 0.

    ln 2 + 1/2 ln(rho/(V+rho)) + S^2/(2(V+rho)) + ln Phi(S/sqrt(V+rho)); 0 at S = V = 0.

    Args:
        score: S, the sum of the block sums.
        variance: V, the sum of their squares, >= 0.
        rho: precision of the mixture, > 0.
    """
    return float(log_e_path(np.array([score]), np.array([variance]), rho)[0])


def log_e_path(score: Floats, variance: Floats, rho: float | Floats = RHO) -> Floats:
    """`log_e` of arrays of any one shape."""
    total = variance + rho
    scaled = score / np.sqrt(total)
    result: Floats = _LN2 + 0.5 * np.log(rho / total) + 0.5 * scaled * scaled + _log_phi(scaled)
    return result


def normal_cdf(x: float) -> float:
    """Phi, the standard normal distribution function."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def interval(
    block_scores: Floats, block_infos: Floats, threshold: float, rho: float = RHO, *, guarded: bool = False
) -> Interval:
    """Estimate sum U / sum I and a bound on each side, valid at any look of the boundary that the threshold belongs to.

    The lower bound is the largest shift below the estimate that the data speak against with that evidence, the
    upper bound its mirror. Far from the estimate the evidence falls again (the shift inflates its own variance), so
    the bound is bracketed outwards from the estimate before it is bisected; with few blocks there is none.

    Args:
        block_scores: U, shape (blocks,).
        block_infos: I, shape (blocks,), >= 0.
        threshold: logarithm of the evidence that suffices.
        rho: precision of the mixture; nan: there is none yet, and no bound.
        guarded: V counts what neighbouring blocks have in common.
    """
    info = float(block_infos.sum())
    if info <= 0.0:
        return Interval(math.nan, -math.inf, math.inf)
    estimate = float(block_scores.sum()) / info
    if not rho > 0.0:
        return Interval(estimate, -math.inf, math.inf)
    moments = _Moments.of(block_scores - estimate * block_infos, block_infos, guarded=guarded)
    return Interval(
        estimate,
        estimate - _distance(moments, 1.0, threshold, rho),
        estimate + _distance(moments, -1.0, threshold, rho),
    )


@dataclass(frozen=True)
class _Moments:
    """Block sums around the estimate: with d = estimate - shift, U_b(shift) = c_b + d I_b, so S = d J and V is a quadratic in d.

    Attributes:
        info: J, the sum of I.
        square: coefficients of 1, d and d^2 in the sum of U_b^2.
        neighbours: the same in the sum of U_b U_(b-1); None: V has no guard.
        blocks: number of blocks.
    """

    info: float
    square: tuple[float, float, float]
    neighbours: tuple[float, float, float] | None
    blocks: int

    @classmethod
    def of(cls, centred: Floats, infos: Floats, *, guarded: bool) -> "_Moments":
        square = float(centred @ centred), 2.0 * float(centred @ infos), float(infos @ infos)
        before, after = slice(None, -1), slice(1, None)
        crossed = float(centred[after] @ infos[before]) + float(centred[before] @ infos[after])
        neighbours = float(centred[after] @ centred[before]), crossed, float(infos[after] @ infos[before])
        return cls(float(infos.sum()), square, neighbours if guarded else None, len(infos))

    def variance(self, d: Floats) -> Floats:
        """V at each distance."""
        result: Floats = np.maximum(_quadratic(self.square, d), 0.0)
        if self.neighbours is None:
            return result
        together = _quadratic(self.neighbours, d) - (d * self.info) ** 2 / self.blocks
        return result + 2.0 * np.maximum(together, 0.0)


def _quadratic(coefficients: tuple[float, float, float], d: Floats) -> Floats:
    constant, linear, quadratic = coefficients
    return constant + linear * d + quadratic * d * d


_STEPS: Floats = np.geomspace(1e-6, 1e6, 200)


def _distance(moments: _Moments, side: float, threshold: float, rho: float) -> float:
    """Smallest distance from the estimate on one side at which the evidence reaches the threshold; inf if none."""

    def evidence(distance: Floats) -> Floats:
        return log_e_path(distance * moments.info, moments.variance(side * distance), rho)

    grid = _STEPS
    values = evidence(grid)
    if not (values >= threshold).any():
        # A peak may pass between two steps: look closely around the highest one.
        peak = int(np.argmax(values))
        grid = np.geomspace(grid[max(peak - 1, 0)], grid[min(peak + 1, len(grid) - 1)], 200)
        values = evidence(grid)
        if not (values >= threshold).any():
            return math.inf
    first = int(np.argmax(values >= threshold))
    low, high = (float(grid[first - 1]) if first else 0.0), float(grid[first])
    for _ in range(3):
        # Three rounds of 64 parts narrow the bracket as 18 halvings do, with vector operations only.
        parts = np.linspace(low, high, 65)
        first = int(np.argmax(evidence(parts) >= threshold))
        low, high = float(parts[max(first - 1, 0)]), float(parts[first])
    return 0.5 * (low + high)


def _log_phi(x: Floats) -> Floats:
    """Logarithm of Phi(x); below -8 the leading term of its asymptotic series, which is too large by 1/x^2 there.

    So far below 0 the evidence only says "none"; the plain term keeps it equal to the published reference values.
    """
    central = np.maximum(x, -8.0)
    result: Floats = np.log(0.5 * np.asarray(_erfc(-central / math.sqrt(2.0)), dtype=np.float64))
    tail = x < -8.0
    if tail.any():
        result[tail] = -0.5 * x[tail] ** 2 - np.log(-x[tail]) - _HALF_LN_2PI
    return result
