"""Edges: nothing there, one arm, no variance, an outlier, retests, the other primary metric."""

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from specs import ANYTIME, anytime, spec
from tradewind.trading.evidence import EvidenceSpec, Status, Verdict, evaluate, judge

SPEC = ANYTIME


def test_no_rows(make, t0) -> None:
    for days in (0, 1, 30):
        evidence = evaluate(make.table([]), t0, t0 + timedelta(days=days), SPEC)
        assert (evidence.decision, evidence.blocks) == (Verdict.CONTINUE, days)
        assert math.isnan(evidence.metrics["sharpe"].estimate)
        assert evidence.metrics["sharpe"].log_e_better == pytest.approx(0.0)


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
def test_one_arm(arm, make, t0) -> None:
    rows = [make.row(i, i, arm, pnl_usd=10.0 + i % 3) for i in range(24 * 40)]
    assert evaluate(make.table(rows), t0, t0 + timedelta(days=40), SPEC).decision is Verdict.CONTINUE


def test_a_single_row(make, t0) -> None:
    evidence = evaluate(make.table([make.row(0, 0)]), t0, t0 + timedelta(days=40), SPEC)
    assert (evidence.decision, evidence.candidate.decisions) == (Verdict.CONTINUE, 1)


@pytest.mark.parametrize("changes", [{"pnl_usd": 0.0}, {"status": Status.HOLD}])
def test_zero_variance_never_promotes(changes, make, t0) -> None:
    rows = [make.row(i, i, ["candidate", "baseline"][i * i % 7 % 2], **changes) for i in range(24 * 90)]
    evidence = evaluate(make.table(rows), t0, t0 + timedelta(days=90), SPEC)
    assert evidence.decision is Verdict.INCONCLUSIVE
    assert evidence.metrics["sharpe"].log_e_better == pytest.approx(0.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_outlier_of_50_sigma_is_clipped(sign, make, t0) -> None:
    """Unclipped it would move S by 25 at once, half of 50 sigma."""
    rows = make.rows(84, 6)
    at = next(i for i in range(1000, 2000) if rows[i].arm == "candidate")
    plain = evaluate(make.table(rows), t0, t0 + timedelta(days=90), SPEC)
    rows[at] = replace(rows[at], pnl_usd=sign * 500.0)
    spiked = evaluate(make.table(rows), t0, t0 + timedelta(days=90), SPEC)
    assert plain.decision is spiked.decision is Verdict.INCONCLUSIVE
    assert abs(spiked.metrics["sharpe"].score - plain.metrics["sharpe"].score) < 10


def test_a_retest_needs_more_evidence(published, t0) -> None:
    assert [EvidenceSpec(retest=k).alpha for k in (0, 1, 3)] == [0.05, 0.025, 0.05 / 8]
    with pytest.raises(ValueError, match="retest: -1; give a whole number from 0 up"):
        EvidenceSpec(retest=-1)
    table, now, _ = published("better")
    blocks = [evaluate(table, t0, now, EvidenceSpec(retest=k)).block or 0 for k in (0, 2, 4)]
    assert blocks[0] == 25
    assert blocks == sorted(blocks)
    assert blocks[2] > 25
    assert evaluate(table, t0, now, EvidenceSpec(retest=40)).decision is Verdict.INCONCLUSIVE


def test_win_rate_as_primary_metric(published, t0) -> None:
    table, now, _ = published("better")
    evidence = evaluate(table, t0, now, spec(evidence={"primary": "winRate"}))
    assert evidence.decision is Verdict.PROMOTE
    assert evidence.looks.better[-1] != evaluate(table, t0, now, SPEC).looks.better[-1]
    table, now, _ = published("catastrophe")
    assert evaluate(table, t0, now, spec(evidence={"primary": "winRate"})).decision is Verdict.ROLLBACK


def test_the_other_metric_must_not_be_worse(make, t0) -> None:
    """Rare large wins: a better Sharpe, a far worse win rate: no promotion."""
    rows = make.rows(84, 3)
    rows = [
        replace(row, pnl_usd=(30.0 if i % 4 == 0 else -1.0) if row.arm == "candidate" else (6.0 if i % 3 else -9.0))
        for i, row in enumerate(rows)
    ]
    evidence = evaluate(make.table(rows), t0, t0 + timedelta(days=90), SPEC)
    assert (evidence.superior, evidence.not_inferior) == (True, False)
    not_inferior = evidence.log_e_not_inferior("winRate")
    assert not_inferior is not None
    assert not_inferior < 0
    assert evidence.decision is Verdict.INCONCLUSIVE


def test_no_look_after_max_duration(make, t0) -> None:
    rows = make.rows(40, 2) + [
        replace(
            row,
            decision_id=f"x{i}",
            decided_at=row.decided_at + timedelta(days=40),
            closed_at=row.closed_at + timedelta(days=40),
        )
        for i, row in enumerate(make.rows(60, 3, effect=0.8))
    ]
    short = anytime(evidence={"maxDuration": "40d"})
    table = make.table(rows)
    assert evaluate(table, t0, t0 + timedelta(days=101), SPEC).decision is Verdict.PROMOTE
    evidence = evaluate(table, t0, t0 + timedelta(days=101), short)
    assert (evidence.decision, evidence.blocks, len(evidence.looks.better)) == (Verdict.INCONCLUSIVE, 101, 40)


def test_now_must_be_after_t0_and_have_a_zone(make, t0) -> None:
    with pytest.raises(ValueError, match=r"now.*before t0"):
        evaluate(make.table([]), t0, t0 - timedelta(seconds=1), SPEC)
    with pytest.raises(ValueError, match=r"now.*time zone"):
        judge(make.table([]), t0, t0.replace(tzinfo=None), SPEC)
