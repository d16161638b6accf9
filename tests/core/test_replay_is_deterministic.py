"""A replay gives the same weights, epochs and verdict however often, and when, the operator looked or was killed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from golden_worlds import Case, build, recorded

from tradewind.core.decision import PublishEpoch, RecordVerdict

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def experiment(table: str, policy: dict[str, Any], end: datetime, start: str = "2026-01-01T00:00:00Z") -> Case:
    case = build(
        "ab_experiment",
        {
            "resource": {
                "spec": {
                    "mode": "Replay",
                    "replay": {"startTime": start, "endTime": end.isoformat()},
                    "traffic": policy,
                },
                "status": {"t0": start, "weight": {"desired": "0"}, "epoch": None},
            },
            "facts": {
                "endpoint": {"spec": {"clock": "replay"}},
                "epochs": None,
                "table": {"csv": table, "until": None},
            },
        },
    )
    return case


def play(case: Case, table: str, looks: list[datetime], *, killed: bool = False) -> tuple[list[Any], Any, str]:
    """Let the operator look at these clock readings. `killed`: every other status write is lost, its effects are not."""
    published: list[Any] = []
    verdict: RecordVerdict | None = None
    lost = False
    for clock in looks:
        rows, requests = recorded(table, clock)
        case = replace(case, seen=replace(case.seen, clock=clock, table=rows, requests=requests))
        decision = case.decide()
        published += [
            (e.block, e.candidate_weight, e.reason, e.evidence) for e in decision.effects if isinstance(e, PublishEpoch)
        ]
        verdict = next((e for e in decision.effects if isinstance(e, RecordVerdict)), verdict)
        lost = killed and not lost
        after = case.after(decision)
        case = replace(after, resource=case.resource) if lost else after
        if verdict is not None and not lost:
            break
    assert verdict is not None
    return (
        published,
        (verdict.decision, verdict.reason, verdict.decided_at, verdict.message),
        case.resource.status.phase,
    )  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("table", "days", "policy", "expected"),
    [
        ("better", 40, {"policy": "fixed", "weight": "0.5"}, ("promote", "Better", T0 + 27 * DAY)),
        ("worse", 40, {"policy": "fixed", "weight": "0.5"}, ("rollback", "Worse", T0 + 26 * DAY)),
        ("catastrophe", 20, {"policy": "fixed", "weight": "0.5"}, ("rollback", "FastHarm", T0 + 5 * DAY)),
        ("null", 12, {"policy": "gated", "weight": None}, ("inconclusive", "ReplayEnded", T0 + 12 * DAY)),
    ],
)
def test_every_block_or_many_at_once_give_the_same(
    table: str, days: int, policy: dict[str, Any], expected: Any
) -> None:
    end = T0 + days * DAY
    case = experiment(table, policy, end)
    by_block = [T0 + i * DAY for i in range(days)] + [end]
    once = play(case, table, by_block)
    assert once[1][:3] == expected
    assert play(case, table, [end]) == once
    assert play(case, table, [T0 + 11 * DAY, T0 + 12 * DAY, end]) == once
    assert play(case, table, [t + timedelta(minutes=7 * i) for t in by_block for i in (0, 3)][-20:] + [end] * 2) == once


def test_a_killed_operator_finds_the_same() -> None:
    end = T0 + 10 * DAY
    case = experiment("catastrophe", {"policy": "gated", "weight": None}, end)
    looks = [T0 + i * DAY / 2 for i in range(20)] + [end, end]
    killed, whole = play(case, "catastrophe", looks, killed=True), play(case, "catastrophe", looks)
    assert killed == whole
    assert [block for block, *_ in killed[0]] == list(range(len(killed[0])))


def test_the_zone_in_which_the_start_is_written_changes_nothing() -> None:
    end = T0 + 10 * DAY
    policy = {"policy": "fixed", "weight": "0.5"}
    in_utc = play(experiment("catastrophe", policy, end), "catastrophe", [end])
    in_shanghai = play(experiment("catastrophe", policy, end, "2026-01-01T08:00:00+08:00"), "catastrophe", [end])
    assert in_shanghai == in_utc


def test_weights_have_no_exponent() -> None:
    end = T0 + 3 * DAY
    published, *_ = play(experiment("null", {"policy": "fixed", "weight": "0.00001"}, end), "null", [end])
    assert {f"{weight:f}" for _, weight, *_ in published} == {"0.00001"}
    assert all(isinstance(weight, Decimal) for _, weight, *_ in published)
