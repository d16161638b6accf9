"""What a look shows, and when: new numbers soon, the same ones again only before their age would stop the weight."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from golden_worlds import Case, load

from tradewind.core.endpoint.routing import UNWATCHED_AFTER


def _running() -> Case:
    case = load("ab_experiment", "running")
    for _ in range(2):
        case = case.after(case.decide())
    return case


def _later(case: Case, **after: float) -> Case:
    return replace(case, now=case.now + timedelta(**after))


def _looked(case: Case) -> Any:
    status: Any = case.decide().status
    return status.last_evaluated_time


def test_the_same_numbers_are_not_written_with_each_look() -> None:
    case = _running()
    again = _later(case, seconds=30)
    assert again.decide().status == case.resource.status  # type: ignore[attr-defined]


def test_they_are_shown_again_before_their_age_would_stop_the_weight() -> None:
    case = _running()
    first = _looked(case)
    later = _later(case, seconds=61)
    assert _looked(later) == first + timedelta(seconds=61)
    assert timedelta(seconds=61 + 30) < UNWATCHED_AFTER / 1.5


def test_a_new_row_is_shown_at_the_next_look() -> None:
    case = load("ab_experiment", "running")
    table = case.seen.table
    fewer = replace(case.seen, table=table.select(table.decided_us < table.decided_us.max()))
    case = replace(case, seen=fewer)
    for _ in range(2):
        case = case.after(case.decide())
    first = _looked(case)
    more = replace(_later(case, seconds=30), seen=replace(case.seen, table=table))
    assert _looked(more) == first + timedelta(seconds=30)
