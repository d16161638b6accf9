"""What answers would have earned on bars, and whether one version's earn more than another's on the same rows.

Belongs here: papers of rows and their statistics. Does not belong here: the rule of a paper (trading/paper.py), reading bars (bars.py).

The difference is that of paired.md with both answers known, so that no draw stands between: d = z_1 - z_0 of each row, returns in units
of each arm's own standard deviation, summed over blocks of whole days; its variance is that of the blocks with the guard for blocks
that depend on the one before. This is one look at a fixed time, so the interval is Student's, and no evidence that accumulates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tradewind.evaluation.bars import Bars
from tradewind.evaluation.rows import Row
from tradewind.trading.decision import Action, TradeDecision
from tradewind.trading.paper import NoPaper, Paper, PaperRule, hold, settled
from tradewind.trading.standing import Trade

MIN_BLOCKS = 7
"""Fewer say nothing: below, there is no interval."""
LEVEL = 0.95
DRAWS = 2_000
_SEED = 20260101
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval at 95 %; bounds are None below seven blocks."""

    value: float
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True)
class Earned:
    """What one version's answers would have earned.

    Attributes:
        trades: answers that open.
        profit: sum of the returns on notional, one unit of notional each, after cost; 0.01 is 1 % of one notional.
        sharpe: mean by standard deviation of one decision's return, holds with 0; None where nothing varies.
    """

    trades: int
    profit: Estimate
    sharpe: Estimate | None


@dataclass(frozen=True, slots=True)
class Simulated:
    """Both on the same rows; `baseline` and `difference` are None where there is none to compare with.

    Attributes:
        rows: that have prices from entry to horizon, and an answer of each.
        left_out: rows without one or the other.
        blocks: that have rows.
        difference: Sharpe of one decision, version less baseline.
        wins: stated confidence of an opening and whether it earned.
    """

    rows: int
    left_out: int
    blocks: int
    version: Earned
    baseline: Earned | None
    difference: Estimate | None
    wins: tuple[tuple[float, bool], ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A row that counts: the version's decision and return, then the baseline's where there is one."""

    row: Row
    decisions: tuple[TradeDecision, ...]
    returns: tuple[float, ...]


def simulate(
    rows: Sequence[Row],
    version: Sequence[TradeDecision | None],
    baseline: Sequence[TradeDecision | None] | None,
    bars: Bars,
    rule: PaperRule,
) -> Simulated | None:
    """Settles the answers of one or two versions.

    Whether a row counts does not depend on what was answered to it: a trade without stop and target must have prices to its horizon.

    Args:
        rows: in the order of their times.
        version, baseline: an answer a row; None: no valid one, which leaves the row out for both.
        bars: prices by symbol.
        rule: horizon, cost and gaps.

    Returns:
        None where no row has prices and answers.
    """
    kept: list[_Kept] = []
    for number, row in enumerate(rows):
        decisions = [version[number]] if baseline is None else [version[number], baseline[number]]
        entry = bars.entry(row.symbol, row.decided_at, rule.max_gap)
        through = settled(Trade(1, 0.0, 0.0), row.decided_at, entry, bars.of(row.symbol), rule)
        papers = [_paper(decision, row.decided_at, entry, bars, rule) for decision in decisions if decision is not None]
        returns = [paper.ret for paper in papers if isinstance(paper, Paper)]
        if isinstance(through, Paper) and len(returns) == len(decisions):
            kept.append(_Kept(row, tuple(decision for decision in decisions if decision is not None), tuple(returns)))
    if not kept:
        return None
    days = max(1, ceil(rule.horizon / timedelta(days=1)))
    starts = [(each.row.decided_at - _EPOCH) // timedelta(days=days) for each in kept]
    blocks = np.unique(starts, return_inverse=True)[1]
    columns: list[Floats] = [np.array(column) for column in zip(*(each.returns for each in kept), strict=True)]
    earned = [
        _earned(column, blocks, sum(each.decisions[arm].action.opens for each in kept))
        for arm, column in enumerate(columns)
    ]
    return Simulated(
        rows=len(kept),
        left_out=len(rows) - len(kept),
        blocks=int(blocks.max()) + 1,
        version=earned[0],
        baseline=earned[1] if baseline is not None else None,
        difference=sharpe_difference(columns[0], columns[1], blocks) if baseline is not None else None,
        wins=tuple(
            (each.decisions[0].confidence, each.returns[0] > 0) for each in kept if each.decisions[0].action.opens
        ),
    )


def sharpe_difference(version: Floats, baseline: Floats, blocks: NDArray[np.int64]) -> Estimate | None:
    """Mean of the row's differences in units of each arm's standard deviation, with Student's interval over blocks.

    Args:
        version, baseline: returns of the same rows, shape (n,).
        blocks: number of each row's block, from 0, ascending in time, shape (n,).

    Returns:
        None where an arm's returns do not vary: it then has no Sharpe.
    """
    scales = [float(np.std(returns)) for returns in (version, baseline)]
    if min(scales) <= 0:
        return None
    difference = version / scales[0] - baseline / scales[1]
    value, count = float(np.mean(difference)), int(blocks.max()) + 1
    if count < MIN_BLOCKS:
        return Estimate(value)
    sums = np.bincount(blocks, weights=difference - value, minlength=count)
    guarded = float(sums @ sums) + 2 * max(0.0, float(sums[1:] @ sums[:-1]))
    spread = students(LEVEL, count - 1) * sqrt(guarded * count / (count - 1)) / len(difference)
    return Estimate(value, value - spread, value + spread)


def students(level: float, freedom: int) -> float:
    """Two-sided quantile of Student's t; Abramowitz and Stegun 26.7.5, within 0.2 % from 6 degrees of freedom on at 95 %."""
    x, n = NormalDist().inv_cdf(0.5 + level / 2), freedom
    return (
        x
        + (x**3 + x) / (4 * n)
        + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * n**2)
        + (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / (384 * n**3)
    )


def _earned(returns: Floats, blocks: NDArray[np.int64], trades: int) -> Earned:
    """Profit and Sharpe with percentile intervals of blocks drawn again with replacement (Künsch 1989), always the same draws."""
    spread, total = float(np.std(returns)), float(np.sum(returns))
    sharpe = None if spread <= 0 else float(np.mean(returns)) / spread
    count = int(blocks.max()) + 1
    if count < MIN_BLOCKS:
        return Earned(trades, Estimate(total), None if sharpe is None else Estimate(sharpe))
    parts = np.stack([np.bincount(blocks, weights=values) for values in (np.ones_like(returns), returns, returns**2)])
    drawn = np.random.default_rng(_SEED).integers(0, count, size=(DRAWS, count))
    number, sums, squares = parts[:, drawn].sum(axis=2)
    mean = sums / number
    deviation = np.sqrt(np.maximum(squares / number - mean**2, 0.0))
    ratios = np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0)
    tails = (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)
    low, high = (float(bound) for bound in np.quantile(mean * len(returns), tails))
    profit = Estimate(total, low, high)
    if sharpe is None:
        return Earned(trades, profit, None)
    low, high = (float(bound) for bound in np.quantile(ratios, tails))
    return Earned(trades, profit, Estimate(sharpe, low, high))


def _paper(
    decision: TradeDecision, decided_at: datetime, entry: float | None, bars: Bars, rule: PaperRule
) -> Paper | NoPaper | None:
    if not decision.action.opens:
        return hold(decided_at)
    side = 1 if decision.action is Action.OPEN_LONG else -1
    trade = Trade(side, decision.stop_loss_pct, decision.take_profit_pct)
    return settled(trade, decided_at, entry, bars.of(decision.symbol), rule)
