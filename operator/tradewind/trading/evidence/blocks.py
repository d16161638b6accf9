"""From rows to block sums: settlement, watermark, predictable centring and scaling.

Belongs here: which rows count at an instant and what each contributes. Does not belong here: reading rows (table.py)
and what the block sums lead to (evaluate.py). The score functions take any leading shape and work along the last
axis, so that a simulation scores all its runs at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.spec import EvidenceSpec
from tradewind.trading.evidence.table import CLOSED, TradeTable

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_FORCED_Z = -3.0
_Z_LOW, _Z_HIGH = -8.0, 4.0
_SIGMA_FLOOR = 1e-6


@dataclass(frozen=True)
class SettledRows:
    """The evidence rows visible at an instant, ordered by (decided_at, decision_id).

    Attributes:
        index: position of each row in the table, shape (n,), as have all arrays here.
        candidate: drawn arm is the candidate.
        weight: probability of the candidate at this draw, inside (0, 1).
        block: number of the block that the row was decided in.
        ret: pnl / notional; 0 for hold, rejected, not filled; nan where forced or pending.
        win: 1, 0, or 0.5 for hold, rejected, not filled; forced: 0 for the candidate, 1 for the baseline.
        forced: settled by max_hold, not by a report.
        pending: open and younger than max_hold.
        trade: closed in time (the arm traded).
        blocks: nb, number of complete blocks; rows of later blocks are no evidence yet.
        complete: number of leading rows that lie in complete blocks.
        refused: closed rows left out because their notional is not positive.
        unrandomised: rows left out because their weight was 0 or 1.
        before_start: rows left out because they were decided before t0.
    """

    index: Ints
    candidate: Bools
    weight: Floats
    block: Ints
    ret: Floats
    win: Floats
    forced: Bools
    pending: Bools
    trade: Bools
    blocks: int
    complete: int
    refused: int
    unrandomised: int
    before_start: int


def settle(table: TradeTable, t0_us: int, now_us: int, spec: EvidenceSpec) -> SettledRows:
    """Rows that count at `now`, as they were known at `now`.

    A report received later than `now` is not known yet; one received later than decided_at + max_hold comes too late
    for the evidence, now and at every later evaluation, so that a look never changes afterwards.

    Args:
        table: the trade table, rows in any order.
        t0_us: start of the experiment, microseconds since the epoch.
        now_us: instant of the evaluation, microseconds since the epoch.
        spec: gives max_hold and the length of a block.
    """
    length, hold = spec.block_us, spec.max_hold_us
    decided = table.decided_us
    seen = decided <= now_us
    started = decided >= t0_us
    randomised = (table.weight > 0.0) & (table.weight < 1.0)
    deadline = decided + hold
    in_time = table.received_us <= np.minimum(deadline, now_us)
    traded = in_time & (table.status == CLOSED)
    refused = traded & ~(table.notional > 0.0)
    row = seen & started & randomised
    keep = np.flatnonzero(row & ~refused)
    keep = keep[np.lexsort((table.decision_id[keep], decided[keep]))]

    candidate, in_time, trade = table.candidate[keep], in_time[keep], traded[keep]
    pending = ~in_time & (now_us < deadline[keep])
    forced = ~in_time & ~pending
    block = (decided[keep] - t0_us) // length
    blocks = max(0, (now_us - t0_us) // length)
    if pending.any():
        blocks = min(blocks, int(block[np.argmax(pending)]))

    ret = np.zeros(len(keep))
    ret[trade] = table.pnl[keep[trade]] / table.notional[keep[trade]]
    win = np.full(len(keep), 0.5)
    win[trade] = table.pnl[keep[trade]] > 0.0
    unsettled = forced | pending
    ret[unsettled] = np.nan
    win[unsettled] = np.where(candidate[unsettled], 0.0, 1.0)
    return SettledRows(
        index=keep,
        candidate=candidate,
        weight=table.weight[keep],
        block=block,
        ret=ret,
        win=win,
        forced=forced,
        pending=pending,
        trade=trade,
        blocks=int(blocks),
        complete=int(np.searchsorted(block, blocks)),
        refused=int(np.count_nonzero(row & refused)),
        unrandomised=int(np.count_nonzero(seen & started & ~randomised)),
        before_start=int(np.count_nonzero(seen & ~started)),
    )


def win_scores(candidate: Bools, weight: Floats, win: Floats) -> tuple[Floats, Floats]:
    """Scores and infos of the win rate, shapes as given; the unit is twice a difference of probabilities."""
    before = np.arange(win.shape[-1])
    centre = (_sum_before(win) + 10.0) / (before + 20.0)
    return 2.0 * (candidate - weight) * (win - centre), weight * (1.0 - weight)


def sharpe_scores(candidate: Bools, weight: Floats, ret: Floats, calibration: Bools) -> tuple[Floats, Floats]:
    """Scores and infos of the per-decision Sharpe, shapes as given; the unit is that Sharpe.

    Each return is divided by a scale that only rows before it gave, shrunk to both arms' pooled scale, and clipped.

    Args:
        candidate: drawn arm, rows along the last axis, in time order.
        weight: probability of the candidate at this draw.
        ret: pnl / notional; nan where the row was settled by force.
        calibration: True on the rows of the first block that has rows. They give the first scale and carry no
            evidence of their own.
    """
    known = np.isfinite(ret)
    square = np.where(known, ret, 0.0) ** 2
    calibrating = known & calibration
    first = np.sum(square * calibrating, axis=-1, keepdims=True) / np.maximum(
        np.sum(calibrating, axis=-1, keepdims=True), 1
    )
    pooled = (_sum_before(square) + 10.0 * first) / (_sum_before(known) + 10.0)
    variance = np.empty_like(square)
    for arm in (candidate, ~candidate):
        own = arm & known
        scale = (_sum_before(square * own) + 50.0 * pooled) / (_sum_before(own) + 50.0)
        np.copyto(variance, scale, where=arm)
    sigma = np.maximum(np.sqrt(variance), _SIGMA_FLOOR)
    z = np.clip(np.where(known, ret, 0.0) / sigma, _Z_LOW, _Z_HIGH)
    z = np.where(known, z, np.where(candidate, _FORCED_Z, 0.0))
    centre = _sum_before(z) / (np.arange(z.shape[-1]) + 20.0)
    score = np.where(calibration, 0.0, (candidate - weight) * (z - centre))
    return score, np.where(calibration, 0.0, weight * (1.0 - weight))


def block_sums(block: Ints, values: Floats, blocks: int) -> Floats:
    """Sum of the values of each block, shape (blocks,); a block without rows has 0."""
    sums: Floats = np.bincount(block, weights=values, minlength=blocks).astype(np.float64, copy=False)
    return sums


def _sum_before(values: NDArray[np.float64] | Bools) -> Floats:
    """Sum over the rows strictly before each row, along the last axis."""
    result: Floats = np.cumsum(values, axis=-1, dtype=np.float64)
    result -= values
    return result
