"""The per-decision Sharpe: returns divided by a scale that only rows before gave."""

import math
from typing import ClassVar

import numpy as np

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Probability
from tradewind.trading.evidence.blocks import Bools
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.metrics.base import Metric, ScoredRows, sum_before

_FORCED_Z = -3.0
_Z_LOW, _Z_HIGH = -8.0, 4.0
_SIGMA_FLOOR = 1e-6
_ODD, _ODD_COUNTS = 16.0, 8.0  # in scales as they stood at the row
_MEDIAN_TO_SIGMA = 1.4826  # of a normal distribution


class SharpeMargin(StrictModel):
    """How much lower the Sharpe may be."""

    sharpe: Probability = "0.05"
    """Margin of the per-decision Sharpe ratio, where winRate is primary."""


class Sharpe(Metric):
    """Mean over standard deviation of the return of a decision."""

    name: ClassVar[str] = "sharpe"
    key: ClassVar[str] = "sharpe"
    title: ClassVar[str] = "per-decision Sharpe"
    unit: ClassVar[float] = 1.0
    settings: ClassVar[type[StrictModel]] = SharpeMargin

    def scores(self, rows: ScoredRows) -> tuple[Floats, Floats]:
        """Each return is divided by a predictable scale, shrunk to both arms' pooled one, and clipped.

        The rows of the first block give the first scale and carry no evidence of their own.
        """
        candidate, ret, calibration = rows.candidate, rows.ret, rows.calibration
        known = np.isfinite(ret)
        sigma = _scale(candidate, np.where(known, np.abs(ret), 0.0), known, calibration)
        z = np.clip(np.where(known, ret, 0.0) / sigma, _Z_LOW, _Z_HIGH)
        z = np.where(known, z, np.where(candidate, _FORCED_Z, 0.0))
        centre = sum_before(z) / (np.arange(z.shape[-1]) + 20.0)
        score = np.where(calibration, 0.0, (candidate - rows.weight) * (z - centre))
        return score, np.where(calibration, 0.0, rows.weight * (1.0 - rows.weight))


def _scale(candidate: Bools, size: Floats, known: Bools, calibration: Bools) -> Floats:
    """Scale of each row, from the rows before it: of its own arm, shrunk to both arms' pooled one.

    A return beyond 16 times the scale as it stood at its row counts as 8 times that scale: one odd profit must not make all
    later ones look small. Runs in which there is one are walked row by row, to the same bits as the others.

    Args:
        candidate, known, calibration: as in `ScoredRows`; known: the row has a return.
        size: absolute returns, 0 where there is none.
    """
    first = _first_scale(size, known & calibration)
    square = size**2
    pooled = (sum_before(square) + 10.0 * first) / (sum_before(known) + 10.0)
    variance = np.empty_like(square)
    for arm in (candidate, ~candidate):
        own = arm & known
        np.copyto(variance, (sum_before(square * own) + 50.0 * pooled) / (sum_before(own) + 50.0), where=arm)
    sigma: Floats = np.maximum(np.sqrt(variance), _SIGMA_FLOOR)
    odd = (size > _ODD * sigma) & (variance > 0.0)  # before the first return there is no scale, and nothing is odd
    for run in map(tuple, np.argwhere(odd.any(axis=-1))):
        sigma[run] = _walked(candidate[run], size[run], known[run], float(first[run][0]))
    return sigma


def _walked(candidate: Bools, size: Floats, known: Bools, first: float) -> Floats:
    """The scale of one run, row by row; all of shape (rows,)."""
    sigmas = np.empty(len(size))
    squares, counts = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]  # of the baseline, the candidate, both
    for row, (arm, amount, has) in enumerate(zip(candidate.tolist(), size.tolist(), known.tolist(), strict=True)):
        pooled = (squares[2] + 10.0 * first) / (counts[2] + 10.0)
        variance = (squares[arm] + 50.0 * pooled) / (counts[arm] + 50.0)
        sigma = max(math.sqrt(variance), _SIGMA_FLOOR)
        sigmas[row] = sigma
        if has:
            odd = variance > 0.0 and amount > _ODD * sigma
            square = (_ODD_COUNTS * sigma) ** 2 if odd else amount * amount
            for which in (arm, 2):
                squares[which] += square
                counts[which] += 1.0
    return sigmas


def _first_scale(size: Floats, rows: Bools) -> Floats:
    """Mean square of the first block's returns, each at most 8 times a scale that its median gives; 0 without any."""
    if not size.shape[-1]:
        return np.zeros((*size.shape[:-1], 1))
    moved = np.where(rows & (size > 0.0), size, np.nan)
    some = np.isfinite(moved).any(axis=-1, keepdims=True)
    median = np.nanmedian(np.where(some, moved, 0.0), axis=-1, keepdims=True)
    bound = np.where(some, _ODD_COUNTS * _MEDIAN_TO_SIGMA * median, 0.0)
    total = np.sum(np.minimum(size, bound) ** 2 * rows, axis=-1, keepdims=True)
    mean: Floats = total / np.maximum(np.sum(rows, axis=-1, keepdims=True), 1)
    return mean
