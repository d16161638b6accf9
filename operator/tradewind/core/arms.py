"""What is shown of each arm. Shown, never decided on: pooled numbers are confounded once weights move."""

import math
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from tradewind.api.ab_experiment_status import ArmStatus, Comparison
from tradewind.api.common import WeightStatus
from tradewind.core.evidence import finite
from tradewind.trading.evidence import Requests, Status, TradeTable
from tradewind.trading.evidence.table import STATUSES, to_us
from tradewind.trading.performance import ArmMetrics, arm_metrics, compare

_CLOSED, _OPEN = STATUSES.index(Status.CLOSED), STATUSES.index(Status.OPEN)


def arm_statuses(
    table: TradeTable, requests: Requests, t0: datetime, look: datetime, names: tuple[str, str]
) -> tuple[ArmStatus, ...]:
    """Numbers of both arms, baseline first as in `names`, from the experiment's rows up to `look`."""
    t0_us, look_us = to_us(t0, "t0"), to_us(look, "look")
    mine = _mine(table, t0_us, look_us)
    asked = requests.decided_us <= look_us
    total = int(np.count_nonzero(mine))
    arms: list[ArmStatus] = []
    for role, name in zip(("baseline", "candidate"), names, strict=True):
        rows = mine & (table.candidate == (role == "candidate"))
        closed = rows & (table.status == _CLOSED) & (table.closed_us <= look_us)
        metrics = _metrics(table, closed)
        sent = asked & (requests.candidate == (role == "candidate"))
        latency = requests.latency_ms[sent]
        latency = latency[np.isfinite(latency)]
        cost = requests.cost_cny[sent]
        count = int(np.count_nonzero(rows))
        hours = (table.closed_us[closed] - table.decided_us[closed]) / 3.6e9
        arms.append(
            ArmStatus.model_validate(
                {
                    "name": name,
                    "role": role,
                    "weight": WeightStatus(observed=finite(count / total) if total else None),
                    "decisions": count,
                    "open_trades": int(np.count_nonzero(rows)) - int(np.count_nonzero(rows & _settled(table, look_us))),
                    "closed_trades": metrics.total_trades,
                    "win_rate": finite(metrics.win_rate),
                    "total_pnl": finite(metrics.total_pnl),
                    "avg_pnl": finite(metrics.avg_pnl),
                    "sharpe": finite(_sharpe_per_decision(table, rows, closed)),
                    "exposure": finite(float(np.mean(table.notional[closed]))) if closed.any() else None,
                    "exposure_hours": finite(float(hours.sum())),
                    "p50_ms": finite(float(np.percentile(latency, 50))) if latency.size else None,
                    "p99_ms": finite(float(np.percentile(latency, 99))) if latency.size else None,
                    "errors": int(np.count_nonzero(requests.failed[sent])),
                    "fallbacks": int(np.count_nonzero(requests.fallback[sent])),
                    "cost_cny": finite(float(np.nansum(cost))) if np.isfinite(cost).any() else None,
                }
            )
        )
    return tuple(arms)


def comparison(table: TradeTable, t0: datetime, look: datetime) -> Comparison:
    """The report that traders know: differences of win rate, total profit and annualised Sharpe ratio."""
    look_us = to_us(look, "look")
    closed = _mine(table, to_us(t0, "t0"), look_us) & (table.status == _CLOSED) & (table.closed_us <= look_us)
    difference = compare(_metrics(table, closed & ~table.candidate), _metrics(table, closed & table.candidate))
    return Comparison(
        win_rate_diff=finite(difference.win_rate_diff),
        pnl_diff=finite(difference.pnl_diff),
        sharpe_diff=finite(difference.sharpe_diff),
    )


def _mine(table: TradeTable, t0_us: int, look_us: int) -> NDArray[np.bool_]:
    drawn: NDArray[np.bool_] = (table.weight > 0.0) & (table.weight < 1.0)
    drawn &= (table.decided_us >= t0_us) & (table.decided_us <= look_us)
    return drawn


def _settled(table: TradeTable, look_us: int) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = (table.status != _CLOSED) | (table.closed_us <= look_us)
    known &= table.status != _OPEN
    return known


def _metrics(table: TradeTable, rows: NDArray[np.bool_]) -> ArmMetrics:
    order = np.argsort(table.closed_us[rows], kind="stable")
    return arm_metrics(table.pnl[rows][order])


def _sharpe_per_decision(table: TradeTable, rows: NDArray[np.bool_], closed: NDArray[np.bool_]) -> float:
    """Mean over standard deviation of returns of all decisions; those that opened nothing earned 0."""
    count = int(np.count_nonzero(rows))
    if count < 2:
        return math.nan
    filled = closed & (table.notional > 0.0)
    returns = np.zeros(count)
    position = np.cumsum(rows) - 1
    returns[position[filled]] = table.pnl[filled] / table.notional[filled]
    spread = float(np.std(returns, ddof=1))
    return float(np.mean(returns)) / spread if spread > 0.0 else math.nan
