"""The operator's verdict: what overrules, what delays, and that its words carry the numbers."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from specs import ANYTIME, spec
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import Verdict, VerdictReason, judge
from tradewind.trading.evidence.checks import arm_exposures, check_sample_ratio
from tradewind.trading.evidence.guardrails.exposure import EXPOSURE
from tradewind.trading.evidence.guardrails.fast_harm import FAST_HARM
from tradewind.trading.evidence.table import to_us

SPEC = ANYTIME
DAY = timedelta(days=1)


def outcome(judgement) -> tuple[Verdict, str]:
    return judgement.verdict.verdict, judgement.verdict.reason


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("null", Verdict.INCONCLUSIVE, VerdictReason.MAX_DURATION),
        ("better", Verdict.PROMOTE, VerdictReason.BETTER),
        ("worse", Verdict.ROLLBACK, VerdictReason.WORSE),
        ("catastrophe", Verdict.ROLLBACK, FAST_HARM.reason),
        ("open_trade_holds_watermark", Verdict.CONTINUE, VerdictReason.UNDECIDED),
        ("never_closed_candidate", Verdict.INCONCLUSIVE, VerdictReason.MAX_HOLD_TOO_SHORT),
    ],
)
def test_published_tables(name, verdict, reason, published, t0) -> None:
    table, now, _ = published(name)
    assert outcome(judge(table, t0, now, SPEC)) == (verdict, reason)


def test_min_duration_delays_promotion_only(published, t0) -> None:
    patient = spec(evidence={"minDuration": "40d"})
    table, _, _ = published("better")
    early, late = (judge(table, t0, t0 + days * DAY, patient) for days in (39, 40))
    assert outcome(early) == (Verdict.CONTINUE, VerdictReason.MIN_DURATION)
    assert early.evidence.decision is Verdict.PROMOTE
    assert outcome(late) == (Verdict.PROMOTE, VerdictReason.BETTER)
    table, _, _ = published("worse")
    assert outcome(judge(table, t0, t0 + 26 * DAY, patient)) == (Verdict.ROLLBACK, VerdictReason.WORSE)


def test_exposure_holds_promotion_and_ends_inconclusive(published, t0) -> None:
    table, now, _ = published("better")
    doubled = np.where(table.candidate, 2.1, 1.0)
    table = replace(table, notional=table.notional * doubled, pnl=table.pnl * doubled)
    judgement = judge(table, t0, t0 + 40 * DAY, SPEC)
    assert judgement.evidence.block == 25
    assert outcome(judgement) == (Verdict.CONTINUE, EXPOSURE.reason)
    assert "2.10, outside 0.5 to 2" in judgement.verdict.message
    assert outcome(judge(table, t0, now, SPEC)) == (Verdict.INCONCLUSIVE, EXPOSURE.reason)
    wide = spec(guardrails={"exposureRatio": ["0.3", "3"]})
    assert outcome(judge(table, t0, now, wide)) == (Verdict.PROMOTE, VerdictReason.BETTER)


def test_a_candidate_that_never_trades_is_not_promoted(make, t0) -> None:
    table = make.table([make.row(0, 0, "baseline")])
    check = arm_exposures(table, to_us(t0, ""), to_us(t0 + DAY, ""))
    assert judge(table, t0, t0 + DAY, SPEC).guardrails[-1].tripped
    assert (check.baseline.mean_notional_usd, check.baseline.notional_hours) == (1000.0, 4000.0)
    assert check.candidate.mean_notional_usd == 0.0


def test_draws_that_do_not_match_their_weights_hold_promotion(published, t0) -> None:
    table, now, _ = published("better")
    fine = check_sample_ratio(table, to_us(t0, ""), to_us(now, ""))
    assert not fine.alarm
    # The log says 0.45 where the draw used 0.5.
    wrong = replace(table, weight=np.full(len(table), 0.40))
    judgement = judge(wrong, t0, now, SPEC)
    assert judgement.sample_ratio.alarm
    if judgement.evidence.decision is Verdict.PROMOTE:
        assert outcome(judgement) == (Verdict.INCONCLUSIVE, VerdictReason.SAMPLE_RATIO)


def test_sample_ratio_level(make, t0) -> None:
    def p_value(drawn: int, of: int, weight: float) -> float:
        rows = [
            make.row(i, 0, Arm.CANDIDATE if i < drawn else Arm.BASELINE, candidate_weight=weight) for i in range(of)
        ]
        return check_sample_ratio(make.table(rows), to_us(t0, ""), to_us(t0, "")).p_value

    assert p_value(500, 1000, 0.5) == 1.0
    # (53 - 0.5) / sqrt(250) = 3.32 standard deviations
    assert p_value(553, 1000, 0.5) == pytest.approx(0.0009, abs=1e-5)
    assert p_value(0, 10, 0.05) > 0.1
    assert check_sample_ratio(make.table([]), 0, 1).p_value == 1.0


def test_too_little_data_is_said_with_numbers(make, t0) -> None:
    judgement = judge(make.table(make.rows(5, 1)), t0, t0 + 5 * DAY + timedelta(hours=4), SPEC)
    assert outcome(judgement) == (Verdict.CONTINUE, VerdictReason.NOT_ENOUGH_DATA)
    assert "5 of at least 7 blocks" in judgement.verdict.message


def test_open_trades_at_the_end_are_waited_for(make, t0) -> None:
    short = spec(evidence={"maxDuration": "14d", "futility": False})
    table = make.table(make.rows(20, 1))
    judgement = judge(table, t0, t0 + 14 * DAY + timedelta(hours=2), short)
    assert outcome(judgement) == (Verdict.CONTINUE, VerdictReason.AWAITING_SETTLEMENT)
    later = judge(table, t0, t0 + 15 * DAY, short)
    assert outcome(later) == (Verdict.INCONCLUSIVE, VerdictReason.MAX_DURATION)


def test_max_hold_too_short_is_said_while_it_lasts(published, t0) -> None:
    table, _, _ = published("never_closed_candidate")
    judgement = judge(table, t0, t0 + 30 * DAY, SPEC)
    assert outcome(judgement) == (Verdict.CONTINUE, VerdictReason.MAX_HOLD_TOO_SHORT)
    assert "9.1% of the candidate's" in judgement.verdict.message


def test_messages_carry_the_numbers(published, t0) -> None:
    table, now, _ = published("better")
    message = judge(table, t0, now, SPEC).verdict.message
    for text in ("block 25", "+0.300", "+0.183", "of 20", "1025 baseline", "991 candidate"):
        assert text in message
