"""The scales that returns are divided by, each from the rows before its own.

Belongs here: the scale of an arm and of a symbol, and what an odd return counts in them. Does not belong here: what is made
of a return that has its scale (metrics/sharpe.py).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.evidence.blocks import Bools
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.running import Running

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


def arm_scales(
    candidate: Bools, ret: Floats, calibration: Bools, rule: ScaleRule, running: Running | None = None
) -> tuple[Floats, Floats]:
    """Scale of each arm at every row, baseline first: its own mean square, shrunk to both arms' pooled one.

    Runs in which a return is odd are walked row by row, to the same bits as the others.

    Args:
        candidate: the drawn arm is the candidate, shape (..., rows).
        ret: returns, nan where there is none, same shape.
        calibration: rows of the first block, whose returns give the first scale.
        rule: what is odd.
        running: sums of the rows before these; None: these are the first.
    """
    running = running or Running()
    known = np.isfinite(ret)
    size = np.where(known, np.abs(ret), 0.0)
    first = running.once("scale.first", lambda: _first_square(size, known & calibration, rule))
    own = ~candidate & known, candidate & known, known
    baseline, other, pooled = _scales(size, own, first, running)
    # Before the first return there is no scale, and nothing is odd.
    odd = (size > rule.odd * np.where(candidate, other, baseline)) & (pooled > 0.0)
    if odd.any():
        size = _capped(candidate, size, own, first, rule.odd, running)
        baseline, other, _ = _scales(size, own, first, running)
    return baseline, other


def _scales(
    size: Floats, own: tuple[Bools, Bools, Bools], first: Floats, running: Running
) -> tuple[Floats, Floats, Floats]:
    """Scale of baseline and candidate, and the pooled mean square."""
    square = size * size
    squares = [running.before(f"scale.squares.{which}", square * rows) for which, rows in enumerate(own)]
    counts = [running.before(f"scale.counts.{which}", rows) for which, rows in enumerate(own)]
    pooled = (squares[2] + _PRIOR_ROWS * first) / (counts[2] + _PRIOR_ROWS)
    baseline, candidate = (
        np.maximum(np.sqrt((squares[arm] + _SHRINKAGE * pooled) / (counts[arm] + _SHRINKAGE)), _SIGMA_FLOOR)
        for arm in (0, 1)
    )
    return baseline, candidate, pooled


def _capped(
    candidate: Bools, size: Floats, own: tuple[Bools, Bools, Bools], first: Floats, odd: float, running: Running
) -> Floats:
    """Absolute returns as they count in the scale; which one is odd depends on how the ones before counted."""
    start = [[running.at_start(f"scale.{what}.{which}") for which in range(3)] for what in ("squares", "counts")]
    if size.ndim == 1:
        return _capped_alone(candidate, size, own[2], float(first[0]), odd, [[float(x) for x in row] for row in start])
    counted = size.copy()
    squares, counts = ([np.broadcast_to(x, size.shape[:-1]).copy() for x in row] for row in start)
    for row in range(size.shape[-1]):
        pooled = (squares[2] + _PRIOR_ROWS * first[..., 0]) / (counts[2] + _PRIOR_ROWS)
        arm, amount, has = candidate[..., row], size[..., row], own[2][..., row]
        mine = np.where(arm, squares[1], squares[0]), np.where(arm, counts[1], counts[0])
        sigma = np.maximum(np.sqrt((mine[0] + _SHRINKAGE * pooled) / (mine[1] + _SHRINKAGE)), _SIGMA_FLOOR)
        counted[..., row] = np.where((amount > odd * sigma) & (pooled > 0.0), _COUNTS * sigma, amount)
        square = counted[..., row] ** 2
        for which, rows in ((0, ~arm & has), (1, arm & has), (2, has)):
            squares[which] += square * rows
            counts[which] += rows
    return counted


def _capped_alone(
    candidate: Bools, size: Floats, known: Bools, first: float, odd: float, start: list[list[float]]
) -> Floats:
    """The same of one run: plain numbers are faster than arrays of one."""
    counted = size.tolist()
    squares, counts = start
    for row, (arm, amount, has) in enumerate(zip(candidate.tolist(), counted, known.tolist(), strict=True)):
        if not has:
            continue
        pooled = (squares[2] + _PRIOR_ROWS * first) / (counts[2] + _PRIOR_ROWS)
        shrunk = (squares[arm] + _SHRINKAGE * pooled) / (counts[arm] + _SHRINKAGE)
        sigma = max(math.sqrt(shrunk), _SIGMA_FLOOR)
        if amount > odd * sigma and pooled > 0.0:
            amount = counted[row] = _COUNTS * sigma  # noqa: PLW2901
        square = amount * amount
        squares[arm] += square
        squares[2] += square
        counts[arm] += 1.0
        counts[2] += 1.0
    return np.array(counted)


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


def symbol_scale(symbol: NDArray[np.str_], ret: Floats, calibration: Bools, running: Running) -> Floats:
    """Scale of the symbol at every row, shape (..., rows); what symbols without a row in the first block start with is all
    symbols' scale there.

    Args:
        symbol: of each row, shape (rows,).
        ret, calibration, running: as in `arm_scales`.
    """
    known = np.isfinite(ret)
    size = np.where(known, np.abs(ret), 0.0)
    scale = np.ones_like(size)
    if not size.shape[-1]:
        return scale
    everywhere = _first_of_symbol("", size, known & calibration, running)
    for name in np.unique(symbol):
        own = known & (symbol == name)
        # Of a symbol without rows in the first block it is all symbols', now and in every later part.
        first = own & calibration
        there = running.once(f"symbol.{name}.there", partial(_any_row, first))
        of_symbol = _first_of_symbol(str(name), size, first, running)
        bound, start = (np.where(there > 0.0, mine, all_) for mine, all_ in zip(of_symbol, everywhere, strict=True))
        square = np.minimum(size, np.where(bound > 0.0, bound, np.inf)) ** 2
        squares, counts = (
            running.before(f"symbol.{name}.squares", square * own),
            running.before(f"symbol.{name}.counts", own),
        )
        mean = (squares + _PRIOR_ROWS * start) / (counts + _PRIOR_ROWS)
        np.copyto(scale, np.maximum(np.sqrt(mean), _SIGMA_FLOOR), where=symbol == name)
    return scale


def _any_row(rows: Bools) -> Floats:
    some: Floats = np.where(rows.any(axis=-1, keepdims=True), 1.0, 0.0)
    return some


def _first_of_symbol(name: str, size: Floats, rows: Bools, running: Running) -> tuple[Floats, Floats]:
    """Bound of a return and first mean square of a symbol, or ("") of all; shape (..., 1)."""
    bound = running.once(f"symbol.{name}.bound", lambda: _first_bound(size, rows))

    def mean() -> Floats:
        square = np.minimum(size, bound) ** 2
        count = np.maximum(np.sum(rows, axis=-1, keepdims=True), 1)
        total = np.sum(square * rows, axis=-1, keepdims=True) / count
        return np.where(bound > 0.0, total, 1.0)

    return bound, running.once(f"symbol.{name}.start", mean)
