"""Guardrails: published numbers, what trips them and what must not."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from specs import ANYTIME, spec
from tradewind.trading.evidence import EvidenceSpec, Guardrail, GuardrailResult, RequestLog, Status, judge
from tradewind.trading.evidence.guardrails.bets import LOG_THRESHOLD, log_e_rate
from tradewind.trading.evidence.guardrails.error_rate import ERROR_RATE
from tradewind.trading.evidence.guardrails.fast_harm import FAST_HARM
from tradewind.trading.evidence.guardrails.latency import LATENCY
from tradewind.trading.evidence.guardrails.risk_budget import RISK_BUDGET, default_risk_budget

SPEC = ANYTIME


def tripped(judgement) -> list[Guardrail]:
    """What takes the candidate out."""
    return [result.guardrail for result in judgement.guardrails if result.tripped and not result.guardrail.holds]


def watched(judgement, guardrail: Guardrail) -> GuardrailResult:
    return next(result for result in judgement.guardrails if result.guardrail is guardrail)


def rate(guardrail: Guardrail, bad, accepted: float) -> GuardrailResult:
    return guardrail.result(log_e_rate(bad, accepted), LOG_THRESHOLD)


def test_published_rate_evidence() -> None:
    expected = [1.815639, 1.594375, 1.394779, 3.594082, 6.134380]
    assert log_e_rate([1, 0, 0, 1, 1], 0.02).tolist() == pytest.approx(expected, abs=1e-6)


def test_bets_that_could_go_bankrupt_are_left_out() -> None:
    """At p0 = 0.3 only bets below 3 are placed; 1 - 4 * 0.3 would be negative."""
    assert np.isfinite(log_e_rate([0] * 50, 0.3)).all()
    bets = (0.5, 1.0, 2.0)
    expected = math.log(sum(1 + bet * 0.7 for bet in bets) / len(bets))
    assert log_e_rate([1], 0.3)[0] == pytest.approx(expected)


def test_median_requests_to_a_trip() -> None:
    """63 requests at an error rate of 10 % against 2 % (published); the tolerance is two standard errors."""
    rng = np.random.default_rng(1)
    first = [rate(ERROR_RATE, rng.random(600) < 0.10, 0.02).first_row or 600 for _ in range(2000)]
    assert np.median(first) == pytest.approx(63, abs=3)


def test_an_accepted_rate_seldom_trips() -> None:
    rng = np.random.default_rng(2)
    trips = [rate(LATENCY, rng.random(2000) < 0.05, 0.05).tripped for _ in range(400)]
    assert np.mean(trips) <= 0.01 + 2 * math.sqrt(0.01 * 0.99 / 400)


def test_rates_are_watched_where_requests_are_given(make, t0) -> None:
    table, now = make.table(make.rows(10, 1)), t0 + timedelta(days=10)
    requests = RequestLog(failed=np.arange(300) % 5 == 4, slow=np.zeros(300, dtype=bool))
    judgement = judge(table, t0, now, SPEC, requests)
    assert tripped(judgement) == [ERROR_RATE]
    assert judgement.verdict.reason == "ErrorRate"
    assert {FAST_HARM, ERROR_RATE, LATENCY} <= {result.guardrail for result in judgement.guardrails}
    assert tripped(judge(table, t0, now, SPEC)) == []
    slow = RequestLog(failed=requests.slow, slow=requests.failed)
    assert tripped(judge(table, t0, now, SPEC, slow)) == [LATENCY]
    assert tripped(judge(table, t0, now, spec(replay=True), slow)) == []


def test_fast_harm_is_published_at_row_117_and_needs_no_complete_block(published, t0) -> None:
    table, _, _ = published("catastrophe")
    early = t0 + timedelta(hours=121)
    judgement = judge(table, t0, early, SPEC)
    assert tripped(judgement) == [FAST_HARM]
    assert watched(judgement, FAST_HARM).first_row == 117
    assert not watched(judge(table, t0, t0 + timedelta(hours=119), SPEC), FAST_HARM).tripped
    off = spec(guardrails={"fastHarm": {"enabled": False}})
    assert tripped(judge(table, t0, early, off)) == []


def test_fast_harm_reads_the_settled_prefix_and_resumes_after_a_forced_row(make, t0) -> None:
    rows = [make.row(i, i, ["candidate", "baseline"][i % 2], pnl_usd=[-9.0, 9.0][i % 2]) for i in range(200)]
    plain = watched(judge(make.table(rows), t0, t0 + timedelta(days=8), SPEC), FAST_HARM)
    assert plain.tripped
    rows[4] = make.row(4, 4, status=Status.OPEN)
    held = watched(judge(make.table(rows), t0, t0 + timedelta(hours=27), SPEC), FAST_HARM)
    assert (held.rows, held.tripped) == (4, False)
    resumed = watched(judge(make.table(rows), t0, t0 + timedelta(days=8), SPEC), FAST_HARM)
    assert resumed.first_row is not None
    assert plain.first_row is not None
    assert resumed.first_row >= plain.first_row


def test_positions_that_outlive_max_hold_are_no_harm(make, t0) -> None:
    rows = [make.row(i, i, ["candidate", "baseline"][i % 2], status=Status.OPEN) for i in range(400)]
    assert not watched(judge(make.table(rows), t0, t0 + timedelta(days=20), SPEC), FAST_HARM).tripped


def test_fast_harm_seldom_trips_on_equal_arms(make, t0) -> None:
    trips = sum(
        watched(
            judge(make.table(make.rows(30, seed, weights=(0.1, 0.1, 0.5))), t0, t0 + timedelta(days=31), SPEC),
            FAST_HARM,
        ).tripped
        for seed in range(40)
    )
    assert trips <= 1


@pytest.mark.parametrize(
    ("profits", "first", "evidence"),
    [
        ([-40.0, -60.0, 5.0], 2, 100.0),
        ([80.0, 20.0, -50.0, -51.0], 4, 101.0),
        ([-40.0, 30.0, -40.0, 30.0], None, 20.0),
    ],
)
def test_risk_budget_is_a_drawdown_from_zero_or_from_the_top(profits, first, evidence, make, t0) -> None:
    rows = [make.row(i, 5 * i, pnl_usd=profit) for i, profit in enumerate(profits)]
    rows.append(make.row(99, 0, "baseline", pnl_usd=-1e6))
    budget = spec(guardrails={"riskBudgetUSD": "100"})
    result = watched(judge(make.table(rows), t0, t0 + timedelta(days=1), budget), RISK_BUDGET)
    assert (result.first_row, result.tripped) == (first, first is not None)
    assert result.evidence == pytest.approx(evidence)
    assert result.threshold == 100.0


def test_risk_budget_sees_losses_that_come_too_late_for_the_evidence(make, t0) -> None:
    rows = [make.row(0, 0, pnl_usd=-500.0, received_at=t0 + timedelta(days=5))]
    budget = spec(guardrails={"riskBudgetUSD": "100"})
    assert tripped(judge(make.table(rows), t0, t0 + timedelta(days=4), budget)) == []
    assert tripped(judge(make.table(rows), t0, t0 + timedelta(days=5), budget)) == [RISK_BUDGET]


def test_the_default_budget_is_frozen_at_t0(make, t0) -> None:
    assert default_risk_budget(0.01, 1000.0, 900.0) == pytest.approx(900.0)
    before = [
        replace(
            row,
            arm=type(row.arm).BASELINE,
            candidate_weight=0.0,
            decided_at=row.decided_at - timedelta(days=20),
            closed_at=row.closed_at - timedelta(days=20),
        )
        for row in make.rows(20, 4)
    ]
    during = [replace(row, decision_id=f"x{i}", pnl_usd=9 * row.pnl_usd) for i, row in enumerate(make.rows(20, 5))]

    def budget_of(rows, asked: EvidenceSpec = SPEC) -> float | None:
        found = judge(make.table(rows), t0, t0 + timedelta(days=1), asked).guardrails
        return next((result.threshold for result in found if result.guardrail is RISK_BUDGET), None)

    budget = budget_of(before)
    # About 3 * 1 % * sqrt(24 a day * 84 days * the largest weight 0.5) * 1,000 USD.
    assert budget is not None
    assert budget == pytest.approx(30 * math.sqrt(24 * 84 * 0.5), rel=0.15)
    assert budget_of(before + during) == budget
    assert budget_of(before[:29]) is None
    # A policy that never gives more than a tenth has a tenth of the decisions, not half of them.
    tenth = budget_of(before, spec(traffic={"policy": "fixed", "weight": "0.1"}))
    assert tenth == pytest.approx(budget * math.sqrt(0.1 / 0.5))
