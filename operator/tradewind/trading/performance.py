"""What each arm earned: the seven-day report's numbers and the exposure beside the verdict.

Belongs here: descriptive numbers per arm and their differences. Does not belong here: anything that decides. Pooled
numbers per arm are confounded once weights move with the market, so they are shown and never tested.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TRADING_DAYS = 252


@dataclass(frozen=True)
class ArmMetrics:
    """Numbers of one arm's closed trades.

    Attributes:
        total_trades: number of closed trades.
        win_rate: share with pnl > 0, 0 without trades.
        total_pnl: sum in USD.
        avg_pnl: mean in USD, 0 without trades.
        sharpe_ratio: mean / standard deviation (ddof 1) * sqrt(252); 0 where that is not defined.
    """

    total_trades: int
    win_rate: float
    total_pnl: float
    avg_pnl: float
    sharpe_ratio: float


@dataclass(frozen=True)
class Differences:
    """Candidate minus baseline."""

    win_rate_diff: float
    pnl_diff: float
    sharpe_diff: float


@dataclass(frozen=True)
class Exposure:
    """Capital that an arm used.

    Attributes:
        mean_notional_usd: mean filled notional of its trades, 0 without trades.
        notional_hours: sum of notional times hours open, in USD hours.
    """

    mean_notional_usd: float
    notional_hours: float


def arm_metrics(pnl: Sequence[float] | NDArray[np.float64]) -> ArmMetrics:
    """Metrics of closed trades from their net profits in USD, shape (trades,)."""
    profits = np.asarray(pnl, dtype=np.float64)
    count = len(profits)
    if not count:
        return ArmMetrics(total_trades=0, win_rate=0.0, total_pnl=0.0, avg_pnl=0.0, sharpe_ratio=0.0)
    mean = float(np.mean(profits))
    # Equal profits have no spread, whatever the rounding of their mean says.
    spread = float(np.std(profits, ddof=1)) if count > 1 and np.ptp(profits) > 0.0 else 0.0
    return ArmMetrics(
        total_trades=count,
        win_rate=float(np.count_nonzero(profits > 0.0)) / count,
        total_pnl=float(np.sum(profits)),
        avg_pnl=mean,
        sharpe_ratio=mean / spread * math.sqrt(TRADING_DAYS) if spread > 0.0 else 0.0,
    )


def compare(baseline: ArmMetrics, candidate: ArmMetrics) -> Differences:
    """Differences of win rate, total profit and Sharpe ratio, candidate minus baseline."""
    return Differences(
        win_rate_diff=candidate.win_rate - baseline.win_rate,
        pnl_diff=candidate.total_pnl - baseline.total_pnl,
        sharpe_diff=candidate.sharpe_ratio - baseline.sharpe_ratio,
    )


def exposure(notional_usd: NDArray[np.float64], hours: NDArray[np.float64]) -> Exposure:
    """Exposure of an arm's filled trades.

    Args:
        notional_usd: filled exposure of each trade, shape (trades,).
        hours: time that each was open, shape (trades,).
    """
    if not len(notional_usd):
        return Exposure(mean_notional_usd=0.0, notional_hours=0.0)
    return Exposure(float(np.mean(notional_usd)), float(notional_usd @ hours))
