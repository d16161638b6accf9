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


def log_e_path(score: Floats, variance: Floats, rho: float = RHO) -> Floats:
    """`log_e` of arrays of any one shape."""
    total = variance + rho
    scaled = score / np.sqrt(total)
    result: Floats = _LN2 + 0.5 * np.log(rho / total) + 0.5 * scaled * scaled + _log_phi(scaled)
    return result


def normal_cdf(x: float) -> float:
    """Phi, the standard normal distribution function."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def interval(block_scores: Floats, block_infos: Floats, alpha: float, rho: float = RHO) -> Interval:
    """Estimate sum U / sum I and the bounds at level alpha on each side, valid at any stopping time.

    The lower bound is the largest shift below the estimate that the data speak against with evidence 1/alpha, the
    upper bound its mirror. Far from the estimate the evidence falls again (the shift inflates its own variance), so
    the bound is bracketed outwards from the estimate before it is bisected; with few blocks there is none.

    Args:
        block_scores: U, shape (blocks,).
        block_infos: I, shape (blocks,), >= 0.
        alpha: level of each side, 0 to 1.
        rho: precision of the mixture.
    """
    info = float(block_infos.sum())
    if info <= 0.0:
        return Interval(math.nan, -math.inf, math.inf)
    estimate = float(block_scores.sum()) / info
    centred = block_scores - estimate * block_infos
    # With d = estimate - shift, U_b(shift) = centred_b + d I_b: S = d * sum I, and V is a quadratic in d.
    moments = (info, float(centred @ centred), float(centred @ block_infos), float(block_infos @ block_infos))
    threshold = math.log(1.0 / alpha)
    return Interval(
        estimate,
        estimate - _distance(moments, 1.0, threshold, rho),
        estimate + _distance(moments, -1.0, threshold, rho),
    )


_STEPS: Floats = np.geomspace(1e-6, 1e6, 200)


def _distance(moments: tuple[float, float, float, float], side: float, threshold: float, rho: float) -> float:
    """Smallest distance from the estimate on one side at which the evidence reaches the threshold; inf if none."""
    info, constant, linear, quadratic = moments

    def evidence(distance: Floats) -> Floats:
        variance = constant + 2.0 * side * distance * linear + distance * distance * quadratic
        return log_e_path(distance * info, np.maximum(variance, 0.0), rho)

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
