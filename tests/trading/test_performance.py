"""The seven-day report's numbers."""

import math
import statistics

import numpy as np
import pytest

from tradewind.trading.performance import arm_metrics, compare, exposure


def test_against_the_standard_library() -> None:
    pnl = [12.0, -3.5, 0.0, 7.25, -8.0, 4.0]
    metrics = arm_metrics(pnl)
    assert (metrics.total_trades, metrics.win_rate) == (6, 0.5)
    assert metrics.total_pnl == pytest.approx(sum(pnl))
    assert metrics.avg_pnl == pytest.approx(statistics.mean(pnl))
    assert metrics.sharpe_ratio == pytest.approx(statistics.mean(pnl) / statistics.stdev(pnl) * math.sqrt(252))


def test_no_trades() -> None:
    metrics = arm_metrics([])
    assert (metrics.total_trades, metrics.win_rate, metrics.total_pnl, metrics.avg_pnl, metrics.sharpe_ratio) == (
        0,
        0.0,
        0.0,
        0.0,
        0.0,
    )


@pytest.mark.parametrize("pnl", [[5.0], [0.1] * 7, [0.0, 0.0]])
def test_without_a_spread_there_is_no_sharpe(pnl) -> None:
    """Seven times 0.1 has a rounded mean and so a tiny spread; a Sharpe ratio of 1e16 would be nonsense."""
    assert arm_metrics(pnl).sharpe_ratio == 0.0


def test_differences_are_candidate_minus_baseline() -> None:
    difference = compare(baseline=arm_metrics([1.0, -1.0]), candidate=arm_metrics([2.0, 1.0, 3.0, -1.0]))
    assert (difference.win_rate_diff, difference.pnl_diff) == (0.25, 5.0)
    assert difference.sharpe_diff > 0


def test_exposure() -> None:
    used = exposure(np.array([1000.0, 3000.0]), np.array([4.0, 2.0]))
    assert (used.mean_notional_usd, used.notional_hours) == (2000.0, 10_000.0)
    assert exposure(np.zeros(0), np.zeros(0)).mean_notional_usd == 0.0
