"""Requests of an experiment: which lines of a table are some, in which order, and what a look knows of them."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import RequestRow, Requests
from tradewind.trading.evidence.guardrails.bets import log_e_rate

T0 = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HEADER = "decision_id,arm,candidate_weight,decided_at,answered_at,latency_ms,error_kind,fallback"


def request(number: int, *, answered: int, failed: bool = False) -> RequestRow:
    """A request of the candidate, decided at minute `number` and answered at minute `answered`."""
    return RequestRow(
        f"d{number:03}",
        Arm.CANDIDATE,
        T0 + number * MINUTE,
        T0 + answered * MINUTE,
        40.0,
        "timeout" if failed else None,
    )


def line(number: int, *cells: str) -> str:
    return ",".join((f"d{number}", "candidate", "0.5", (T0 + number * MINUTE).isoformat(), *cells))


def test_a_table_without_errors_has_no_requests() -> None:
    assert (
        Requests.from_csv(["decision_id,arm,candidate_weight,decided_at", "d1,candidate,0.5,2026-01-01T00:00:00Z"])
        is None
    )


def test_lines_become_requests() -> None:
    answered = (T0 + 5 * MINUTE).isoformat()
    lines = [
        HEADER,
        line(1, answered, "12.5", "", "f"),
        line(2, "", "", "", ""),  # it is being asked
        line(3, "", "", "breaker_open", "t"),
        line(4, "", "30", "", ""),
        f"prior,baseline,0.0,{T0.isoformat()},{answered},3.5,,f",
    ]
    found = Requests.from_csv(lines)
    assert found is not None
    assert found.latency_ms.tolist()[1:] == [30.0, 12.5]
    assert math.isnan(found.latency_ms[0])
    assert (found.failed.tolist(), found.fallback.tolist()) == ([True, False, False], [True, False, False])
    assert ((found.answered_us - found.decided_us) / 6e7).tolist() == [0.0, 0.0, 4.0]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("", "fast", "", ""), "row 1 (d1), column latency_ms: 'fast' is not a number"),
        (("noon", "1", "", ""), "row 1 (d1), column answered_at: 'noon' must be an ISO 8601 time"),
    ],
)
def test_what_cannot_be_read_is_named(cells: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Requests.from_csv([HEADER, line(1, *cells)])
    assert message in str(caught.value)


def test_a_look_knows_what_was_answered_before_it() -> None:
    found = Requests.from_rows([request(1, answered=9, failed=True), request(2, answered=3), request(3, answered=3)])
    assert found.log(T0 + 3 * MINUTE, 10.0, T0).failed.tolist() == []
    assert found.log(T0 + 9 * MINUTE, 10.0, T0).failed.tolist() == [False, False]
    later = found.log(T0 + 10 * MINUTE, 39.0, T0)
    assert (later.failed.tolist(), later.slow.tolist()) == ([False, False, True], [True, True, True])
    assert not found.log(T0 + 10 * MINUTE, math.inf, T0).slow.any()


def test_the_arms_of_others_are_not_watched() -> None:
    mine, theirs = request(1, answered=1), RequestRow("b", Arm.BASELINE, T0, T0, 40.0, "timeout")
    assert Requests.from_rows([theirs, mine]).log(T0 + 9 * MINUTE, 1.0, T0).failed.tolist() == [False]


def test_a_look_of_the_past_never_changes() -> None:
    """Slow answers come late, in the middle of what was decided: a watch that has tripped stays tripped, at its row."""
    dice = np.random.default_rng(3)
    rows = [request(n, answered=n + int(dice.integers(1, 30)), failed=dice.random() < 0.15) for n in range(200)]
    complete = Requests.from_rows(rows)
    for minute in range(20, 230, 7):
        look = T0 + minute * MINUTE
        then = Requests.from_rows(row for row in rows if row.answered_at is not None and row.answered_at < look)
        known = then.log(T0 + 999 * MINUTE, math.inf, T0).failed
        assert complete.log(look, math.inf, T0).failed.tolist() == known.tolist()
        path = log_e_rate(complete.log(T0 + 999 * MINUTE, math.inf, T0).failed, 0.02)
        assert path[: len(known)].tolist() == log_e_rate(known, 0.02).tolist()


def said(number: int, name: str | None, arm: Arm = Arm.BASELINE) -> RequestRow:
    at = T0 + number * MINUTE
    return RequestRow(f"d{number:03}", arm, at, at + MINUTE, 40.0, reported_model=name)


FIRST_BLOCK = T0 + 10 * MINUTE


@pytest.mark.parametrize(
    ("names", "change"),
    [
        ({1: "m/a", 20: "m/a", 30: "m/a"}, None),
        ({1: "m/a", 2: "m/b", 20: "m/b", 30: "m/a"}, None),  # several back ends at a time
        ({1: "m/a", 20: None, 30: "m/a"}, None),  # an error says no name
        ({20: "m/a", 30: "m/b"}, None),  # nothing to compare with
        ({1: "m/a", 20: "m/b", 30: "m/a"}, (("m/a",), "m/b", 20)),
        ({1: "m/b", 2: "m/a", 20: "m/c", 30: "m/d"}, (("m/a", "m/b"), "m/c", 20)),
    ],
)
def test_an_arm_that_calls_itself_something_new_has_changed(
    names: dict[int, str | None], change: tuple[tuple[str, ...], str, int] | None
) -> None:
    found = Requests.from_rows(said(number, name) for number, name in names.items())
    log = found.log(T0 + 99 * MINUTE, math.inf, FIRST_BLOCK)
    assert [(c.known, c.now, c.since) for c in log.changes] == (
        [] if change is None else [(change[0], change[1], T0 + change[2] * MINUTE)]
    )
    assert found.log(T0 + 15 * MINUTE, math.inf, FIRST_BLOCK).changes == ()


def test_each_arm_is_compared_with_itself() -> None:
    rows = [said(1, "m/a"), said(2, "n/a", Arm.CANDIDATE), said(20, "n/b", Arm.CANDIDATE), said(21, "m/a")]
    (change,) = Requests.from_rows(rows).log(T0 + 99 * MINUTE, math.inf, FIRST_BLOCK).changes
    assert (change.arm, change.known, change.now) == (Arm.CANDIDATE, ("n/a",), "n/b")
