"""The checks of the chaos see each fault that they are there for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import chaos_checks as checks
import pytest
from chaos_clients import Ledger, Report, Trade

from tradewind.trading.assignment import Arm, draw_arm

NOW = datetime(2026, 11, 27, tzinfo=UTC)
VERSIONS = {"baseline": "api", "candidate": "v1"}
NAME = next(each for each in map(str, range(99)) if draw_arm("u", each, 0.5) is Arm.CANDIDATE)
HOLD = {"action": "hold", "symbol": "BTC", "size_usd": 0.0, "leverage": 1, "reasoning": "a"}
OPEN = HOLD | {"action": "open_long", "size_usd": 10.0, "stop_loss_pct": 0.1, "take_profit_pct": 0.1}
ROW: dict[str, Any] = {
    "decision_id": NAME, "arm": "candidate", "candidate_weight": 0.5, "epoch": 3, "drawn_version": "v1", "parent_decision_id": None,
    "received_at": NOW, "state": "answered", "answer": OPEN, "answered_by": "v1", "fallback": False, "bar_from_evidence": None,
    "experiment_uid": "u", "flipped_from": None, "stored_weight": 0.5, "stored_at": NOW - timedelta(seconds=1),
}  # fmt: skip
BODY = OPEN | {
    "decision_id": NAME, "_model_used": "v1", "_arm": "candidate", "_experiment": "u", "_epoch": 3, "_fallback": False,
}  # fmt: skip


def drawn(**changes: Any) -> list[str]:
    return list(checks.draws([ROW | changes], VERSIONS))


def test_a_row_as_it_should_be_is_no_fault() -> None:
    assert drawn() == []
    assert drawn(answered_by="safe", fallback=True) == []
    assert (
        drawn(arm="baseline", drawn_version="api", answered_by="api", candidate_weight=0.0) == []
    )  # the weight ran out


@pytest.mark.parametrize(
    "changes",
    [
        {"arm": "baseline", "drawn_version": "api", "answered_by": "api"},
        {"drawn_version": "api", "answered_by": "api"},
        {"candidate_weight": 0.9},
        {"stored_at": NOW + timedelta(seconds=1)},
        {"stored_at": None, "stored_weight": None},
        {"flipped_from": "p", "stored_at": NOW + timedelta(seconds=3), "answered_at": NOW + timedelta(seconds=2)},
        {"answered_by": "api"},
        {"parent_decision_id": "p", "parent_arm": "baseline", "parent_epoch": 3, "parent_experiment": "u", "parent_version": "v1"},
    ],
)  # fmt: skip
def test_another_arm_weight_or_answer_than_drawn_is_seen(changes: dict[str, Any]) -> None:
    assert len(drawn(**changes)) == 1


def test_a_flip_may_have_a_weight_that_came_after_its_request() -> None:
    later = {"stored_at": NOW + timedelta(seconds=1), "answered_at": NOW + timedelta(seconds=2)}
    assert drawn(flipped_from="p", **later) == []
    assert len(drawn(**later)) == 1


def heard(body: dict[str, Any], row: dict[str, Any] | None, *kept: dict[str, Any], lost: bool = False) -> list[str]:
    ledger = Ledger(heard={NAME: [("r0", body)]})
    rows = {} if row is None else {NAME: row}
    return list(checks.answers(ledger, rows, {NAME: list(kept)}, {NAME} if lost else set()))


def test_an_answer_is_its_row_or_kept_beside_it() -> None:
    barred = ROW | {"bar_from_evidence": "conflicting_answers", "answer": HOLD}
    assert heard(BODY, ROW) == []
    assert heard(BODY, barred, {"answer": OPEN, "answered_by": "v1"}) == []
    assert heard(BODY, None, lost=True) == []
    assert heard(BODY, ROW | {"bar_from_evidence": "database_outage", "answer": OPEN | {"reasoning": "b"}}) == []


def test_the_close_that_a_hold_becomes_at_a_flip_is_looked_for_as_the_hold_that_was_said() -> None:
    hold = OPEN | {"action": "hold", "size_usd": 0.0}
    close = BODY | hold | {"action": "close", "_flipped": "p"}
    barred = ROW | {"flipped_from": "p", "bar_from_evidence": "conflicting_answers", "answered_by": "api"}
    kept = {"answer": hold, "answered_by": "v1"}
    assert heard(close, ROW | {"flipped_from": "p", "answer": hold}) == []
    assert heard(close, barred, kept) == []
    assert len(heard(close, barred, kept | {"answer": OPEN})) == 1
    assert len(heard(close | {"_flipped": None}, barred, kept)) == 1


@pytest.mark.parametrize(
    ("body", "row"),
    [
        (BODY, None),
        (BODY, ROW | {"answer": HOLD}),
        (BODY | {"_arm": "baseline"}, ROW),
        (BODY | {"_epoch": 2}, ROW),
        (BODY | {"_model_used": "api"}, ROW),
        (BODY, ROW | {"bar_from_evidence": "database_outage", "answer": HOLD}),
        (BODY, ROW | {"bar_from_evidence": "conflicting_answers", "answer": HOLD}),
        (BODY, ROW | {"state": "failed", "answer": None, "answered_by": None}),
    ],
)
def test_an_answer_that_is_lost_or_another_one_is_seen(body: dict[str, Any], row: dict[str, Any] | None) -> None:
    assert len(heard(body, row)) == 1


def reported(*, accepted: int = 1, **changes: Any) -> list[str]:
    opened = {"status": "opened", "filled_notional_usd": 5.0}
    bodies = [opened, {"pnl": 1.0}, {"pnl": 2.0}]
    trade = Trade(NAME, "b", "p", [Report("", body, 0, accepted=accepted) for body in bodies])
    stored = {
        "executions": 1, "status": "opened", "opens": 1, "closes": 1, "corrections": 1, "filled_notional_usd": 5, "pnl_usd": 2,
        "first_pnl_usd": 1, "position_id": "p",
    }  # fmt: skip
    return list(checks.reports([trade], {NAME: stored | changes}, {NAME: ROW}, set()))


def test_reports_that_stand_as_they_were_said_are_no_fault() -> None:
    assert reported() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"accepted": 0}, {"executions": 0}, {"opens": 2}, {"closes": 2}, {"corrections": 0}, {"pnl_usd": 1}, {"first_pnl_usd": 2},
        {"filled_notional_usd": 10}, {"position_id": "q"}, {"status": "rejected"},
    ],
)  # fmt: skip
def test_a_report_that_is_lost_doubled_or_not_corrected_is_seen(changes: dict[str, Any]) -> None:
    assert len(reported(**changes)) == 1
