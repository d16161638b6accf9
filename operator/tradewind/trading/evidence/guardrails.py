"""Guardrails: what takes the candidate out at once, without waiting for a verdict.

Belongs here: the four watches and their evidence. Does not belong here: what a trip leads to (verdict.py) and the
comparison of the arms' exposure (checks.py), which only holds promotion. The arms' drawdowns are never compared with
each other: equal arms differ by half in every fourth experiment.

Fast harm and the rates are bets (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
2024): under "no harm" each product below reaches 100 with probability at most 1 %, at any time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.assignment import Arm
from tradewind.trading.evidence.blocks import SettledRows
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.spec import EvidenceSpec
from tradewind.trading.evidence.table import CLOSED, TradeTable

LOG_THRESHOLD = math.log(100.0)

_HARM_BETS = (0.1, 0.2, 0.4)
_RATE_BETS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_ROWS_FOR_BUDGET = 30
_DAY_US = 86_400_000_000


class Guardrail(StrEnum):
    """The watches."""

    FAST_HARM = "FastHarm"
    ERROR_RATE = "ErrorRate"
    LATENCY = "LatencyOverObjective"
    RISK_BUDGET = "RiskBudget"


@dataclass(frozen=True)
class GuardrailResult:
    """State of one watch.

    Attributes:
        guardrail: which.
        tripped: the evidence reached the threshold at some row.
        evidence: at the row that tripped, or after the last row; logarithm of a bet, or USD for the risk budget.
        threshold: in the unit of the evidence; nan: not watched.
        first_row: 1-based number of the row that tripped, in the order that the watch reads: decision time (fast
            harm), request time (rates), time of the report (risk budget).
        rows: number of rows read.
    """

    guardrail: Guardrail
    tripped: bool
    evidence: float
    threshold: float
    first_row: int | None
    rows: int


@dataclass(frozen=True, slots=True)
class ArmChange:
    """An arm began to call itself something that it had not called itself in the first block.

    Attributes:
        arm: which.
        known: what it called itself until then, model and fingerprint.
        now: the new name.
        since: time of the first decision under it.
    """

    arm: Arm
    known: tuple[str, ...]
    now: str
    since: datetime


@dataclass(frozen=True)
class RequestLog:
    """The candidate's requests in the order of their answers, shapes (requests,), and what both arms called themselves.

    Attributes:
        failed: the arm erred, timed out or answered with invalid or over-limit JSON.
        slow: it took longer than the latency objective.
        changes: the first change of each arm, baseline first.
    """

    failed: NDArray[np.bool_]
    slow: NDArray[np.bool_]
    changes: tuple[ArmChange, ...] = ()


def check_guardrails(
    table: TradeTable,
    rows: SettledRows,
    t0_us: int,
    now_us: int,
    *,
    spec: EvidenceSpec,
    requests: RequestLog | None = None,
) -> tuple[GuardrailResult, ...]:
    """All watches that the spec asks for and the data allow.

    Args:
        table: the trade table; baseline rows before t0 give the default risk budget.
        rows: `settle(table, t0_us, now_us, spec)`.
        t0_us: start of the experiment, microseconds since the epoch.
        now_us: instant of the look.
        spec: names the watches.
        requests: the candidate's requests; None: the rates are not watched.
    """
    rails = spec.guardrails
    results = []
    if rails.fast_harm:
        results.append(fast_harm(rows, rails.fast_harm_margin))
    if requests is not None and rails.error_rate is not None:
        results.append(rate_guardrail(Guardrail.ERROR_RATE, requests.failed, rails.error_rate))
    if requests is not None and rails.slow_rate is not None:
        results.append(rate_guardrail(Guardrail.LATENCY, requests.slow, rails.slow_rate))
    budget = rails.risk_budget_usd if rails.risk_budget_usd is not None else frozen_risk_budget(table, t0_us, spec)
    if budget is not None:
        results.append(risk_budget(table, t0_us, now_us, budget))
    return tuple(results)


def fast_harm(rows: SettledRows, margin: float = 0.10) -> GuardrailResult:
    """Watch for a candidate whose win rate is lower by more than the margin, row by row over the settled prefix.

    u = -2 (A - w)(win - c) - 2 margin w (1 - w), with c the predictable centre of the win rate. The prefix ends before
    the first open row. A row settled by force counts as neither win nor loss here: too short a max_hold is its own
    condition and no harm.

    Args:
        rows: settled rows in time order; rows after the watermark count too.
        margin: fall of the win rate that is no harm, as a probability.
    """
    count = int(np.argmax(rows.pending)) if rows.pending.any() else len(rows.win)
    win = np.where(rows.forced, 0.5, rows.win)[:count]
    candidate, weight = rows.candidate[:count], rows.weight[:count]
    centre = (np.cumsum(win) - win + 10.0) / (np.arange(count) + 20.0)
    harm = -2.0 * (candidate - weight) * (win - centre) - 2.0 * margin * weight * (1.0 - weight)
    return _watch(Guardrail.FAST_HARM, _log_mean_bet(harm, _HARM_BETS))


def rate_guardrail(guardrail: Guardrail, bad: Sequence[bool] | NDArray[np.bool_], accepted: float) -> GuardrailResult:
    """Watch for a share of bad requests above the accepted one.

    Args:
        guardrail: ERROR_RATE or LATENCY.
        bad: one value a request of the candidate, in time order.
        accepted: p0, the share that is accepted.
    """
    return _watch(guardrail, log_e_rate(bad, accepted))


def log_e_rate(bad: Sequence[bool] | Sequence[int] | NDArray[np.bool_], accepted: float) -> Floats:
    """Running logarithm of the evidence that the rate of bad requests is above the accepted one, shape (requests,).

    Args:
        bad: 1 or True where a request was bad, in time order.
        accepted: p0, inside (0, 1).
    """
    bets = tuple(bet for bet in _RATE_BETS if bet * accepted < 0.9)
    return _log_mean_bet(np.asarray(bad, dtype=np.float64) - accepted, bets)


def risk_budget(table: TradeTable, t0_us: int, now_us: int, budget_usd: float) -> GuardrailResult:
    """Watch the drawdown of the candidate's cumulative profit since t0, its start at 0 included.

    A loss of the budget from the start is such a drawdown too. All its closed trades known at `now` count, in the
    order of their reports: also those that came too late for the evidence or have a notional of 0.

    Args:
        table: the trade table.
        t0_us: start of the experiment, microseconds since the epoch.
        now_us: instant of the look.
        budget_usd: loss that ends the experiment, > 0.
    """
    mine = table.candidate & (table.status == CLOSED) & (table.decided_us >= t0_us) & (table.received_us <= now_us)
    index = np.flatnonzero(mine)
    index = index[np.lexsort((table.decision_id[index], table.received_us[index]))]
    total = np.cumsum(table.pnl[index])
    drawdown = np.maximum(np.maximum.accumulate(total), 0.0) - total
    return _watch(Guardrail.RISK_BUDGET, drawdown, budget_usd)


def default_risk_budget(sigma: float, notional_usd: float, rows_expected: float) -> float:
    """Budget in USD that a driftless candidate exceeds in about 1 of 200 experiments: 3 sigma sqrt(rows) notional.

    Args:
        sigma: standard deviation of the baseline's returns per decision.
        notional_usd: the baseline's mean filled notional.
        rows_expected: decisions that the candidate will get.
    """
    return 3.0 * sigma * math.sqrt(rows_expected) * notional_usd


def frozen_risk_budget(table: TradeTable, t0_us: int, spec: EvidenceSpec) -> float | None:
    """Default budget from the baseline's decisions known at t0; None where there are fewer than 30.

    Expected rows: the baseline's rate of decisions before t0, over max_duration, times the largest weight of the
    traffic policy. Only rows before t0 enter, so that the budget never changes while the experiment runs.
    """
    before = ~table.candidate & (table.decided_us < t0_us) & (table.received_us <= t0_us)
    filled = before & (table.status == CLOSED) & (table.notional > 0.0)
    count = int(np.count_nonzero(before))
    if count < _ROWS_FOR_BUDGET or not filled.any():
        return None
    returns = np.zeros(len(table))
    returns[filled] = table.pnl[filled] / table.notional[filled]
    sigma = float(np.std(returns[before], ddof=1))
    days = (t0_us - int(table.decided_us[before].min())) / _DAY_US
    traffic = spec.traffic
    largest = max((*traffic.levels, traffic.weight, *(step.weight for step in traffic.steps)))
    expected = count / max(days, 1.0) * (spec.max_blocks * spec.block_length.days) * largest
    budget = default_risk_budget(sigma, float(np.mean(table.notional[filled])), expected)
    return budget if budget > 0.0 else None


def _watch(guardrail: Guardrail, path: Floats, threshold: float = LOG_THRESHOLD) -> GuardrailResult:
    if not len(path):
        return GuardrailResult(guardrail, tripped=False, evidence=0.0, threshold=threshold, first_row=None, rows=0)
    hit = path >= threshold
    tripped = bool(hit.any())
    at = int(np.argmax(hit)) if tripped else len(path) - 1
    return GuardrailResult(
        guardrail,
        tripped=tripped,
        evidence=float(path[at]),
        threshold=threshold,
        first_row=at + 1 if tripped else None,
        rows=len(path),
    )


def _log_mean_bet(values: Floats, bets: tuple[float, ...]) -> Floats:
    """Logarithm of the mean over the bets of the running product of 1 + bet * value."""
    total = np.full(len(values), -np.inf)
    for bet in bets:
        np.logaddexp(total, np.cumsum(np.log1p(bet * values)), out=total)
    return total - math.log(len(bets))
