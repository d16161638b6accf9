"""The scales that returns are divided by, each from the rows before its own.

Belongs here: the scale of an arm and of a symbol, and what an odd return counts in them. Does not belong here: what is made
of a return that has its scale (metrics/sharpe.py).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Ints
from tradewind.trading.evidence.confidence import Floats

_SIGMA_FLOOR = 1e-6
_COUNTS = 8.0
_MEDIAN_TO_SIGMA = 1.4826  # of a normal distribution
_PRIOR_ROWS, _SHRINKAGE = 10.0, 50.0


@dataclass(frozen=True)
class ScaleRule:
    """How one odd return is kept from making all later ones look small.

    Attributes:
        odd: a return beyond so many scales, as they stood at its row, counts as 8 of them.
        unknown: mean square before anything has moved.
    """

    odd: float
    unknown: float


ROBUST: Final = ScaleRule(odd=_COUNTS, unknown=1.0)
ANYTIME: Final = ScaleRule(odd=2.0 * _COUNTS, unknown=0.0)
"""The older rule: the published tables of `boundary: anytime` reach 14.5 scales."""


def sum_before(values: Floats | Bools) -> Floats:
    """Sum over the rows strictly before each row, along the last axis; a row's own value leaves no rounding in it."""
    result = np.zeros(values.shape)
    np.cumsum(values[..., :-1], axis=-1, out=result[..., 1:])
    return result


def arm_scales(candidate: Bools, ret: Floats, calibration: Bools, rule: ScaleRule) -> tuple[Floats, Floats]:
    """Scale of each arm at every row, baseline first: its own mean square, shrunk to both arms' pooled one.

    Runs in which a return is odd are walked row by row, to the same bits as the others.

    Args:
        candidate: the drawn arm is the candidate, shape (..., rows).
        ret: returns, nan where there is none, same shape.
        calibration: rows of the first block, whose returns give the first scale.
        rule: what is odd.
    """
    known = np.isfinite(ret)
    size = np.where(known, np.abs(ret), 0.0)
    first = _first_square(size, known & calibration, rule)
    square = size**2
    pooled = (sum_before(square) + _PRIOR_ROWS * first) / (sum_before(known) + _PRIOR_ROWS)

    def scale(arm: Bools) -> Floats:
        own = arm & known
        shrunk = (sum_before(square * own) + _SHRINKAGE * pooled) / (sum_before(own) + _SHRINKAGE)
        return np.maximum(np.sqrt(shrunk), _SIGMA_FLOOR)

    scales = scale(~candidate), scale(candidate)
    odd = size > rule.odd * np.where(candidate, scales[1], scales[0])
    odd &= pooled > 0.0  # before the first return there is no scale, and nothing is odd
    runs = odd.any(axis=-1)
    if runs.any():
        part = (runs, slice(None)) if ret.ndim > 1 else ...
        walked = _walked(candidate[part].T, size[part].T, known[part].T, first[part][..., 0], rule.odd)
        for scale_of_arm, found in zip(scales, walked, strict=True):
            scale_of_arm[part] = found.T
    return scales


def _walked(candidate: Bools, size: Floats, known: Bools, first: Floats, odd: float) -> tuple[Floats, Floats]:
    """The scales row by row; rows are the first axis here, all runs are walked at once."""
    if size.ndim == 1:
        return _walked_alone(candidate, size, known, float(first), odd)
    scales = np.empty_like(size), np.empty_like(size)
    squares, counts = np.zeros((3, *size.shape[1:])), np.zeros((3, *size.shape[1:]))  # baseline, candidate, both
    for row, (arm, amount, has) in enumerate(zip(candidate, size, known, strict=True)):
        pooled = (squares[2] + _PRIOR_ROWS * first) / (counts[2] + _PRIOR_ROWS)
        for which in (0, 1):
            shrunk = (squares[which] + _SHRINKAGE * pooled) / (counts[which] + _SHRINKAGE)
            scales[which][row] = np.maximum(np.sqrt(shrunk), _SIGMA_FLOOR)
        sigma = np.where(arm, scales[1][row], scales[0][row])
        is_odd = (amount > odd * sigma) & (pooled > 0.0)
        square = np.where(is_odd, _COUNTS * sigma, amount) ** 2 * has
        for which, rows in ((0, ~arm & has), (1, arm & has), (2, has)):
            squares[which] += square * rows
            counts[which] += rows
    return scales


def _walked_alone(candidate: Bools, size: Floats, known: Bools, first: float, odd: float) -> tuple[Floats, Floats]:
    """The same of one run: plain numbers are faster than arrays of one."""
    scales: tuple[list[float], list[float]] = [], []
    squares, counts = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    for arm, amount, has in zip(candidate.tolist(), size.tolist(), known.tolist(), strict=True):
        pooled = (squares[2] + _PRIOR_ROWS * first) / (counts[2] + _PRIOR_ROWS)
        for which in (0, 1):
            shrunk = (squares[which] + _SHRINKAGE * pooled) / (counts[which] + _SHRINKAGE)
            scales[which].append(max(math.sqrt(shrunk), _SIGMA_FLOOR))
        if has:
            sigma = scales[arm][-1]
            amount = _COUNTS * sigma if amount > odd * sigma and pooled > 0.0 else amount  # noqa: PLW2901
            for which in (int(arm), 2):
                squares[which] += amount * amount
                counts[which] += 1.0
    return np.array(scales[0]), np.array(scales[1])


def _first_square(size: Floats, rows: Bools, rule: ScaleRule) -> Floats:
    """Mean square of the first block's returns, each at most 8 times a scale that its median gives; shape (..., 1)."""
    if not size.shape[-1]:
        return np.full((*size.shape[:-1], 1), rule.unknown)
    bound = _first_bound(size, rows)
    total = np.sum(np.minimum(size, bound) ** 2 * rows, axis=-1, keepdims=True)
    mean = total / np.maximum(np.sum(rows, axis=-1, keepdims=True), 1)
    return np.where(bound > 0.0, mean, rule.unknown)


def _first_bound(size: Floats, rows: Bools) -> Floats:
    """8 times the scale that the median of the returns that moved gives; 0 where none did; shape (..., 1)."""
    moved = np.where(rows & (size > 0.0), size, np.nan)
    some = np.isfinite(moved).any(axis=-1, keepdims=True)
    median = np.nanmedian(np.where(some, moved, 0.0), axis=-1, keepdims=True)
    return np.where(some, _COUNTS * _MEDIAN_TO_SIGMA * median, 0.0)


def symbol_scale(symbol: Ints, ret: Floats, calibration: Bools) -> Floats:
    """Scale of the symbol at every row, shape (..., rows); what symbols without a row in the first block start with is all
    symbols' scale there.

    Args:
        symbol: number of the row's symbol, from 0.
        ret, calibration: as in `arm_scales`.
    """
    known = np.isfinite(ret)
    size = np.where(known, np.abs(ret), 0.0)
    scale = np.ones_like(size)
    for number in range(int(symbol.max(initial=-1)) + 1):
        own = known & (symbol == number)
        first = own & calibration
        first = np.where(first.any(axis=-1, keepdims=True), first, known & calibration)
        bound = _first_bound(size, first)
        square = np.minimum(size, np.where(bound > 0.0, bound, np.inf)) ** 2
        start = np.sum(square * first, axis=-1, keepdims=True) / np.maximum(np.sum(first, axis=-1, keepdims=True), 1)
        start = np.where(bound > 0.0, start, 1.0)
        mean = (sum_before(square * own) + _PRIOR_ROWS * start) / (sum_before(own) + _PRIOR_ROWS)
        np.copyto(scale, np.maximum(np.sqrt(mean), _SIGMA_FLOOR), where=symbol == number)
    return scale
