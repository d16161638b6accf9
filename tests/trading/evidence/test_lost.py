"""What is no evidence: each decision counts once, by what was known at the look, and too much of it holds promotion."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from specs import ANYTIME, spec
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import (
    LOSSES,
    Judgement,
    LostCounts,
    LostDecisions,
    LostReason,
    LostRow,
    Status,
    TradeRow,
    Verdict,
    VerdictReason,
    judge,
)

SPEC = ANYTIME
DAY = timedelta(days=1)
R = LostReason


def counted(judgement: Judgement) -> dict[str, int]:
    return {reason.value: count for reason, count in judgement.lost.by_reason.items() if count}


@pytest.fixture
def lost(t0) -> Any:
    """`lost(id=(reason, hours at which it was decided, hours at which it was known))`."""

    def of(**rows: tuple[LostReason, float, float]) -> LostDecisions:
        hour = timedelta(hours=1)
        return LostDecisions.from_rows(
            LostRow(name, reason, t0 + decided * hour, t0 + known * hour)
            for name, (reason, decided, known) in rows.items()
        )

    return of


def test_without_any_loss_the_share_is_zero(make, t0) -> None:
    cases: tuple[list[TradeRow], ...] = ([], make.rows(5, 1))
    for rows in cases:
        judgement = judge(make.table(rows), t0, t0 + 10 * DAY, SPEC)
        assert (counted(judgement), judgement.lost.share, judgement.lost.decisions) == ({}, 0.0, len(rows))


def test_follow_ups_are_shown_and_no_part_of_the_share(make, t0, lost) -> None:
    found = lost(a=(R.FOLLOW_UP, 1, 1), b=(R.FOLLOW_UP, 2, 2), c=(R.OPENED_INSIDE, 3, 3))
    judgement = judge(make.table([make.row(n, n) for n in range(9)]), t0, t0 + 10 * DAY, SPEC, lost=found)
    assert counted(judgement) == {"follow_up": 2, "opened_inside": 1}
    assert (judgement.lost.lost, judgement.lost.decisions, judgement.lost.share) == (1, 10, 0.1)


def test_late_and_forced_follow_from_the_table_as_it_was_known(make, t0) -> None:
    late = make.row(1, 0, received_at=t0 + timedelta(hours=30))
    table = make.table([late, make.row(2, 1, status=Status.OPEN), make.row(3, 2)])
    looks = {12: {}, 24.5: {"forced": 1}, 29: {"forced": 2}, 31: {"late": 1, "forced": 1}}
    for hours, expected in looks.items():
        assert counted(judge(table, t0, t0 + timedelta(hours=hours), SPEC)) == expected, hours


def test_a_decision_is_lost_once_under_its_first_reason(make, t0, lost) -> None:
    """A refused or unpriced trade is an open row that is settled by force later; it stays one loss, and a row."""
    rows = [make.row(n, n, status=Status.OPEN if n < 3 else Status.CLOSED) for n in range(10)]
    found = lost(d000000=(R.REFUSED, 0, 5), d000001=(R.NO_PRICE, 1, 4), x=(R.OUTAGE, 2, 2))
    twice = replace(found, **{name: np.repeat(getattr(found, name), 2) for name in found.__dataclass_fields__})
    twice.reason[0] = [*R].index(R.NO_PRICE)
    judgement = judge(make.table(rows), t0, t0 + 10 * DAY, SPEC, lost=twice)
    assert counted(judgement) == {"no_price": 2, "outage": 1, "forced": 1}
    assert (judgement.lost.lost, judgement.lost.decisions) == (4, 11)


def test_a_look_knows_what_was_known_and_decided_by_then(make, t0, lost) -> None:
    found = lost(a=(R.REFUSED, 1, 30), b=(R.OUTAGE, 40, 40), c=(R.OUTAGE, -1, 0))
    table = make.table([make.row(1, 0)])
    seen = {hours: judge(table, t0, t0 + timedelta(hours=hours), SPEC, lost=found).lost.lost for hours in (2, 31, 41)}
    assert seen == {2: 0, 31: 1, 41: 2}


def test_draws_for_certain_are_no_evidence_by_design(make, t0, lost) -> None:
    table = make.table([make.row(1, 0), make.row(2, 1, candidate_weight=1.0, status=Status.OPEN)])
    judgement = judge(table, t0, t0 + 10 * DAY, SPEC, lost=lost(d000002=(R.REFUSED, 1, 2)))
    assert (counted(judgement), judgement.lost.decisions) == ({}, 1)


@pytest.mark.parametrize("seed", range(5))
def test_counts_equal_a_count_by_hand(make, t0, lost, seed) -> None:
    rng = np.random.default_rng(seed)
    rows: list[TradeRow] = make.rows(8, seed, messy=True)
    reasons = [R.FOLLOW_UP, R.OPENED_INSIDE, R.OUTAGE, R.NO_PRICE, R.REFUSED]
    names = [*(row.decision_id for row in rows), *(f"x{n}" for n in range(40))]
    found = {name: (reasons[rng.integers(5)], *rng.uniform(-20, 220, 2)) for name in names if rng.random() < 0.2}
    now = t0 + timedelta(hours=float(rng.uniform(20, 260)))
    judgement = judge(make.table(rows), t0, now, SPEC, lost=lost(**found))

    hours, whole = (now - t0) / timedelta(hours=1), set()
    expected: dict[str, int] = {}
    known = {name: why for name, (why, decided, at) in found.items() if 0 <= decided <= hours and at <= hours}
    for row in rows:
        if not 0 < row.candidate_weight < 1:
            known.pop(row.decision_id, None)
        elif row.decided_at <= now:
            received = row.received_at or row.closed_at or row.decided_at
            is_open, deadline = row.status is Status.OPEN, row.decided_at + DAY
            in_time = not is_open and received <= min(now, deadline)
            whole.add(row.decision_id)
            if not in_time and deadline <= now and row.decision_id not in known:
                known[row.decision_id] = R.LATE if not is_open and received <= now else R.FORCED
    for why in known.values():
        expected[why.value] = expected.get(why.value, 0) + 1
    assert counted(judgement) == expected
    assert judgement.lost.decisions == len(whole | {name for name, why in known.items() if why is not R.FOLLOW_UP})


def test_thin_evidence_holds_promotion_and_says_what_to_mend(published, t0) -> None:
    table, now, _ = published("better")
    rows = len(table)
    for lost_rows, thin in ((rows // 9 - 1, False), (rows // 9 + 2, True)):
        counts = LostCounts({R.REFUSED: lost_rows - 5, R.OUTAGE: 5, R.FOLLOW_UP: 9 * rows}, rows + lost_rows)
        judgement = judge(table, t0, t0 + 60 * DAY, SPEC, lost=counts)
        assert judgement.evidence.decision is Verdict.PROMOTE
        assert judgement.verdict.reason == (VerdictReason.EVIDENCE_THIN if thin else VerdictReason.BETTER)
        assert judgement.verdict.verdict is (Verdict.CONTINUE if thin else Verdict.PROMOTE)
    message = judgement.verdict.message
    for text in (
        "but promotion waits: 10.1% of",
        f"{rows // 9 - 3} with refused reports, 5 answered",
        "refused_reports",
    ):
        assert text in message
    assert "that continue" not in message
    assert judge(table, t0, now, SPEC, lost=counts).verdict.verdict is Verdict.INCONCLUSIVE
    off = spec(evidence={"maxLostShare": "1"})
    everything = LostCounts({R.OUTAGE: 10 * rows}, 10 * rows)
    assert judge(table, t0, now, off, lost=everything).verdict.reason == VerdictReason.BETTER


def test_thin_evidence_takes_no_rollback_back(published, t0) -> None:
    table, now, _ = published("worse")
    counts = LostCounts({R.OUTAGE: 10 * len(table)}, 11 * len(table))
    assert judge(table, t0, now, SPEC, lost=counts).verdict.reason == VerdictReason.WORSE


def test_every_reason_has_words_and_a_remedy() -> None:
    assert list(LOSSES) == [*R]
    for reason in R:
        told = LostCounts({reason: 3}, 4).sentence(0.1)
        assert (LOSSES[reason].mend in told) is (reason is not R.FOLLOW_UP)


def test_corrected_rows_of_evidence_are_counted(make, t0) -> None:
    rows = [make.row(n, n, Arm.CANDIDATE, corrected=n % 2 == 0) for n in range(6)]
    rows.append(make.row(6, 6, candidate_weight=0.0, corrected=True))
    assert judge(make.table(rows), t0, t0 + DAY, SPEC).corrected == 3
