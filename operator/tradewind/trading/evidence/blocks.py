"""From rows to blocks: settlement and watermark.

Belongs here: which rows count at an instant and in which block. Does not belong here: reading rows (table.py), what each
contributes to a metric (metrics/) and what the block sums lead to (evaluate.py).
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.table import CLOSED, TIMEOUT, TradeTable

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


class Pairing(StrEnum):
    """What tells, beside a row's own outcome, what the other arm would have had."""

    UNPAIRED = "unpaired"
    BOTH = "both"
    """The papers of both arms."""
    CANDIDATE = "candidate"
    """The candidate's paper; the baseline's exists only where it was drawn."""
    MARKET = "market"
    """The market's move over a fixed horizon."""


@dataclass(frozen=True)
class Reading:
    """What is read of a row besides its outcome.

    Attributes:
        pairing: what a pair is.
        reference_notional: R in USD: a return is net of answer_cost / R; None: of trading costs only.
        blocks: rows of later blocks never count; None: all do.
    """

    pairing: Pairing = Pairing.UNPAIRED
    reference_notional: float | None = None
    blocks: int | None = None


@dataclass(frozen=True)
class SettledRows:
    """The evidence rows visible at an instant, ordered by (decided_at, decision_id).

    Attributes:
        index: position of each row in the table, shape (n,), as have all arrays here.
        candidate: drawn arm is the candidate.
        weight: probability of the candidate at this draw, inside (0, 1).
        block: number of the block that the row was decided in.
        ret: pnl / notional, net of the answer's price where that is asked for; without a trade 0 before that price; nan where
            forced or pending.
        win: 1, 0, or 0.5 for hold, rejected, not filled; forced: 0 for the candidate, 1 for the baseline.
        forced: settled by max_hold, not by a report.
        pending: open and younger than max_hold.
        trade: closed in time (the arm traded).
        symbol: what was decided on.
        paper_baseline, paper_candidate, market: returns that may tell what the other arm would have had, nan where unknown.
        paired: what the pairing needs was known in time.
        failed: each arm, baseline first, was asked and failed, drawn or as shadow.
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
    symbol: NDArray[np.str_]
    paper_baseline: Floats
    paper_candidate: Floats
    market: Floats
    paired: Bools
    failed: tuple[Bools, Bools]
    blocks: int
    complete: int
    unrandomised: int
    before_start: int


def settle(table: TradeTable, t0_us: int, now_us: int, rule: Settlement, reading: Reading | None = None) -> SettledRows:
    """Rows that count at `now`, as they were known at `now`.

    A report received later than `now` is not known yet; one received later than decided_at + max_hold comes too late
    for the evidence, now and at every later evaluation, so that a look never changes afterwards. For the same reason a row
    whose pair may still come holds the watermark as an open trade does.

    Args:
        table: the trade table, rows in any order.
        t0_us: start of the experiment, microseconds since the epoch.
        now_us: instant of the evaluation, microseconds since the epoch.
        rule: max_hold and the length of a block.
        reading: what is read besides outcomes; None: nothing.

    Raises:
        ValueError: returns are to be net of the price of answers, and a row does not say its price.
    """
    reading = reading or Reading()
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
    paired, awaited = _pairs(table, keep, deadline[keep], reading.pairing)
    held = pending | (awaited & (now_us < deadline[keep]))
    if held.any():
        blocks = min(blocks, int(block[np.argmax(held)]))
    if reading.blocks is not None:
        blocks = min(blocks, reading.blocks)

    ret = np.zeros(len(keep))
    ret[trade] = table.pnl[keep[trade]] / table.notional[keep[trade]]
    if reading.reference_notional is not None:
        ret -= _prices(table, keep) / reading.reference_notional
    win = np.full(len(keep), 0.5)
    win[trade] = ret[trade] > 0.0
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
        symbol=table.symbol[keep],
        paper_baseline=table.paper_baseline[keep],
        paper_candidate=table.paper_candidate[keep],
        market=table.market[keep],
        paired=paired,
        failed=(
            np.where(candidate, table.shadow_failed[keep], table.failed[keep]) > 0,
            np.where(candidate, table.failed[keep], table.shadow_failed[keep]) > 0,
        ),
        blocks=int(blocks),
        complete=int(np.searchsorted(block, blocks)),
        unrandomised=int(np.count_nonzero(seen & started & ~randomised)),
        before_start=int(np.count_nonzero(seen & ~started)),
    )


def _pairs(table: TradeTable, keep: Ints, deadline: Ints, pairing: Pairing) -> tuple[Bools, Bools]:
    """Which rows have what the pairing needs, and which may still get it.

    What came in time counts whatever `now` is, as rows that lack it wait for it: a look finds the same at any later time.
    """
    baseline, candidate = np.isfinite(table.paper_baseline[keep]), np.isfinite(table.paper_candidate[keep])
    late = table.failed[keep] == TIMEOUT, table.shadow_failed[keep] == TIMEOUT
    drawn = table.candidate[keep]
    match pairing:
        case Pairing.UNPAIRED:
            nothing = np.zeros(len(keep), np.bool_)
            return nothing, nothing
        case Pairing.BOTH:
            known, never, at = baseline & candidate, late[0] | late[1], table.paper_us[keep]
        case Pairing.CANDIDATE:
            known, never, at = candidate, np.where(drawn, late[0], late[1]), table.paper_us[keep]
        case Pairing.MARKET:
            known, at = np.isfinite(table.market[keep]), table.market_us[keep]
            never = np.zeros(len(keep), np.bool_)
    return known & (at <= deadline), ~known & ~never


def _prices(table: TradeTable, keep: Ints) -> Floats:
    """Price of each row's answer in USD."""
    cost: Floats = table.answer_cost[keep]
    unknown = ~np.isfinite(cost)
    if unknown.any():
        name = table.decision_id[keep[int(np.argmax(unknown))]]
        raise ValueError(
            f"{name}, column answer_cost_usd: empty, and evidence.netOfCost counts the price of every answer; give it, 0 "
            "where an answer was free"
        )
    return cost


def block_sums(block: Ints, values: Floats, blocks: int) -> Floats:
    """Sum of the values of each block, shape (blocks,); a block without rows has 0."""
    sums: Floats = np.bincount(block, weights=values, minlength=blocks).astype(np.float64, copy=False)
    return sums
