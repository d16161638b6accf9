"""One odd trade must not silence the test, and names that an API leaves out are no other model."""

from datetime import UTC, datetime, timedelta

import pytest

from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import EvidenceSpec, RequestRow, Requests, Verdict, evaluate

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize("pnl", ["358.9", "-358.9", "1000", "10000", "100000"])
@pytest.mark.parametrize("decision_id", ["d000005", "d000400"])
def test_one_odd_trade_does_not_hide_all_others(pnl, decision_id, published) -> None:
    """A candidate that is rolled back stays so, whatever one of its trades is said to have earned."""
    table, now, expected = published("worse")
    assert evaluate(table, T0, now, EvidenceSpec()).block == expected["block"]
    at = list(table.decision_id).index(decision_id)
    table.pnl[at] = float(pnl)
    table.candidate[at] = True
    found = evaluate(table, T0, now, EvidenceSpec())
    assert found.decision is Verdict.ROLLBACK
    assert found.block is not None
    assert found.block < 60


def change(*names: str) -> str | None:
    """The new name, where the baseline called itself these, two on the first day and one on each day after it."""
    times = [T0, T0 + timedelta(hours=1), *(T0 + day * DAY for day in range(1, 20))]
    rows = [
        RequestRow(f"d{i}", Arm.BASELINE, time, reported_model=name)
        for i, (name, time) in enumerate(zip(names, times, strict=False))
    ]
    log = Requests.from_rows(rows).log(T0 + 30 * DAY, 1e9, T0 + DAY)
    return log.changes[0].now if log.changes else None


@pytest.mark.parametrize(
    ("names", "now"),
    [
        (("m/a", "m/a", "m", "m/a"), None),
        (("m/a", "m", "m"), None),
        (("m", "m", "m/a", "m", "m/a"), None),
        (("m", "m", "m/a", "m/b"), "m/b"),
        (("m/a", "m/a", "m/b"), "m/b"),
        (("m/a", "m/b", "m/b", "m/a"), None),
        (("m/a", "m/a", "m", "m/b"), "m/b"),
        (("m/a", "m/a", "n"), "n"),
        (("m", "m", "n/a"), "n/a"),
        (("m7", "m7", "m70"), "m70"),
        (("org/m/fp_1", "org/m", "org/m", "org/m/fp_2"), "org/m/fp_2"),
        (("org/m", "org/m", "org/m-2"), "org/m-2"),
    ],
)
def test_what_is_not_said_is_no_other_model(names, now) -> None:
    assert change(*names) == now
