"""From rows to blocks: settlement and watermark.

Belongs here: which rows count at an instant and in which block. Does not belong here: reading rows (table.py), what each
contributes to a metric (metrics/) and what the block sums lead to (evaluate.py).
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.table import CLOSED, TradeTable

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Settlement:
    """How long a position may stay open, and the length of a block that follows from it.

    Attributes:
        max_hold: open rows older than that are settled by force.

    Raises:
        ValueError: max_hold is not above 0.
    """

    max_hold: timedelta = _DAY

    def __post_init__(self) -> None:
        if self.max_hold <= timedelta(0):
            raise ValueError("maxHold: 0; give the longest time that a position may stay open, such as 24h")

    @property
    def block_length(self) -> timedelta:
        """L: whole days, at least one and at least max_hold."""
        return max(1, -(-self.max_hold // _DAY)) * _DAY

    @property
    def block_us(self) -> int:
        """L in microseconds."""
        return self.block_length // _MICROSECOND

    @property
    def max_hold_us(self) -> int:
        """max_hold in microseconds."""
        return self.max_hold // _MICROSECOND


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
    unrandomised: int
    before_start: int


def settle(table: TradeTable, t0_us: int, now_us: int, rule: Settlement) -> SettledRows:
    """Rows that count at `now`, as they were known at `now`.

    A report received later than `now` is not known yet; one received later than decided_at + max_hold comes too late
    for the evidence, now and at every later evaluation, so that a look never changes afterwards.

    Args:
        table: the trade table, rows in any order.
        t0_us: start of the experiment, microseconds since the epoch.
        now_us: instant of the evaluation, microseconds since the epoch.
        rule: max_hold and the length of a block.
    """
    length, hold = rule.block_us, rule.max_hold_us
    decided = table.decided_us
    seen = decided <= now_us
    started = decided >= t0_us
    randomised = (table.weight > 0.0) & (table.weight < 1.0)
    deadline = decided + hold
    in_time = table.received_us <= np.minimum(deadline, now_us)
    traded = in_time & (table.status == CLOSED)
    row = seen & started & randomised
    keep = np.flatnonzero(row)
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
        unrandomised=int(np.count_nonzero(seen & started & ~randomised)),
        before_start=int(np.count_nonzero(seen & ~started)),
    )


def block_sums(block: Ints, values: Floats, blocks: int) -> Floats:
    """Sum of the values of each block, shape (blocks,); a block without rows has 0."""
    sums: Floats = np.bincount(block, weights=values, minlength=blocks).astype(np.float64, copy=False)
    return sums
