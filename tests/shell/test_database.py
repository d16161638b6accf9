"""The operator's SQL on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pytest

from tradewind.api.common import VersionStatusRef
from tradewind.core.decision import PublishEpoch, RecordExperiment, RecordPromotion, RecordVerdict
from tradewind.core.world import DatabaseUnavailableError
from tradewind.shell.database import Database
from tradewind.trading.evidence import LOST_REASONS, LostDecisions, LostReason, Requests, TradeTable
from tradewind.trading.evidence.table import NEVER, from_us, to_us

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PASSWORD = "s3cret-of-the-tests"


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with Database(postgres_dsn, "tradewind") as opened:
        yield opened


@pytest.fixture
def sql(postgres_dsn: str) -> Any:
    """Insert a row: `sql("decisions", column=value, ...)`, with the key of trading/trader."""
    key = {"installation": "tradewind", "namespace": "trading", "endpoint": "trader"}
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:

        def insert(table: str, **values: Any) -> None:
            row = key | values
            columns, marks = ", ".join(row), ", ".join(["%s"] * len(row))
            connection.execute(f"INSERT INTO tradewind.{table} ({columns}) VALUES ({marks})", list(row.values()))  # type: ignore[call-overload]

        insert.query = lambda text: connection.execute(text).fetchall()  # type: ignore[attr-defined]
        yield insert


def decided(sql: Any, number: int, arm: str | None, weight: float | None, *, at: datetime, **changes: Any) -> str:
    """One decision; with arm None outside of any experiment, by the champion."""
    name = f"d{number:03d}"
    row = {
        "decision_id": name,
        "request_hash": b"x",
        "request": "{}",
        "scope_symbol": "BTC",
        "experiment_uid": "u" if arm else None,
        "arm": arm,
        "candidate_weight": weight,
        "block": 0 if arm else None,
        "epoch": 1,
        "drawn_version": "v1" if arm == "candidate" else "api",
        "assignment_key": name,
        "decided_at": at,
        "state": "answered",
        "answer": '{"action": "open_long", "size_usd": 100, "leverage": 2}',
        "answered_at": at,
        "latency_ms": 40.0,
        "replay": False,
    } | changes
    sql("decisions", **row)
    return name


def traded(sql: Any, name: str, *, opened: datetime, closed: datetime | None, pnl: float = 1.0, **outcome: Any) -> None:
    sql(
        "executions",
        decision_id=name,
        status="opened",
        position_id=f"p-{name}",
        opened_at=opened,
        filled_notional_usd=200,
    )
    if closed is not None:
        values = {"closed_at": closed, "pnl_usd": pnl, "exit_reason": "take_profit", "label": "neutral"} | outcome
        sql("outcomes", decision_id=name, **values)


def experiment(uid: str = "u", baseline: str = "api", candidate: str = "v1") -> RecordExperiment:
    return RecordExperiment(
        "trader",
        uid,
        uid,
        "Live",
        VersionStatusRef(name=baseline, spec_sha256="c" * 64),
        VersionStatusRef(name=candidate, sha256="a" * 64, spec_sha256="d" * 64),
        T0,
        0.05,
        {"candidate": candidate},
    )


async def evidence(database: Database) -> tuple[TradeTable, Requests, LostDecisions]:
    stored = await database.evidence("trading", "trader", "u", T0)
    return stored.table, stored.requests, stored.lost


# --- records ---------------------------------------------------------------------------------------------------------


async def test_the_first_epoch_of_a_block_stays(database: Database) -> None:
    for weight in ("0.1", "0.5"):
        await database.publish_epoch(
            "trading", PublishEpoch("trader", "e", "u", 0, Decimal(weight), "Start", "the first", {"blocks": 0})
        )
    await database.publish_epoch("trading", PublishEpoch("trader", "e", "u", 1, Decimal("0.00001"), "Fixed", "", {}))
    rows = (await database.of_endpoint("trading", "trader", "u", ())).epochs
    assert [(row.block, row.candidate_weight) for row in rows] == [(0, Decimal("0.1")), (1, Decimal("0.00001"))]
    assert rows[0].epoch < rows[1].epoch
    assert [(row.reason, row.message) for row in rows] == [("Start", "the first"), ("Fixed", "")]
    assert f"{rows[1].candidate_weight:f}" == "0.00001"
    assert (await database.of_endpoint("trading", "trader", "other", ())).epochs == ()
    assert (await database.of_endpoint("elsewhere", "trader", "u", ())).epochs == ()


async def test_epochs_of_many_operators_at_once_are_one(database: Database) -> None:
    weights = [Decimal(n) / 10 for n in range(1, 9)]
    await asyncio.gather(
        *(
            database.publish_epoch("trading", PublishEpoch("trader", "e", "u", 0, weight, "Start", "", {}))
            for weight in weights
        )
    )
    assert len((await database.of_endpoint("trading", "trader", "u", ())).epochs) == 1


async def test_a_promotion_is_recorded_once_an_experiment(database: Database, sql: Any) -> None:
    assert (await database.of_endpoint("trading", "trader", None, ())).promotion is None
    first = RecordPromotion("trader", "v1", "a" * 64, "api", "u1", "Better", spec_sha256="e" * 64)
    for _ in range(2):
        await database.record_promotion("trading", first)
    assert sql.query("SELECT count(*) FROM tradewind.promotions") == [(1,)]
    await database.record_promotion(
        "trading", RecordPromotion("trader", "api", None, "v1", "u2", "Better", spec_sha256="e" * 64)
    )
    newest = (await database.of_endpoint("trading", "trader", None, ())).promotion
    assert newest is not None
    assert (newest.version, newest.sha256, newest.spec_sha256) == ("api", None, "e" * 64)
    assert (await database.of_endpoint("trading", "other", None, ())).promotion is None


async def test_whom_a_rollback_leads_to_is_known_from_the_promotions_alone(database: Database) -> None:
    """As it was when it became champion: neither as somebody else's record of the name, nor as a later one."""

    async def promoted(version: str, previous: str | None, spec: str, request: str | None) -> VersionStatusRef | None:
        record = RecordPromotion("trader", version, None, previous, None, "By", request, spec_sha256=spec * 64)
        await database.record_promotion("trading", replace(record, endpoint="other", spec_sha256="9" * 64))
        await database.record_promotion("trading", record)
        newest = (await database.of_endpoint("trading", "trader", None, ())).promotion
        assert newest is not None
        assert newest.spec_sha256 == spec * 64
        return newest.previous

    def ref(name: str, spec: str) -> VersionStatusRef:
        return VersionStatusRef(name=name, spec_sha256=spec * 64)

    assert await promoted("api", None, "a", None) is None
    assert await promoted("v2", "api", "b", "promote=v2/r1") == ref("api", "a")
    assert await promoted("v2", "v2", "c", "promote=v2/r2") == ref("api", "a")  # another spec under its name
    assert await promoted("v3", "v2", "d", "promote=v3/r3") == ref("v2", "c")
    assert await promoted("v2", "v3", "c", "rollback=r4") == ref("v3", "d")


async def test_a_request_by_hand_is_recorded_once_with_who_and_why(database: Database, sql: Any) -> None:
    await database.record_promotion(
        "trading", RecordPromotion("trader", "api", None, None, None, "FirstChampion", spec_sha256="e" * 64)
    )
    by_hand = RecordPromotion(
        "trader",
        "v2",
        "b" * 64,
        "api",
        None,
        "PromotedByHand",
        "promote=v2/r1",
        "ada",
        "v2 is cheaper",
        spec_sha256="f" * 64,
    )
    await asyncio.gather(*(database.record_promotion("trading", by_hand) for _ in range(4)))
    await database.record_promotion("trading", replace(by_hand, version="v3"))  # the same request
    await database.record_promotion("trading", replace(by_hand, endpoint="other"))
    columns = "version, previous_version, experiment_uid, reason, request, requested_by, message"
    assert sql.query(f"SELECT {columns} FROM tradewind.promotions WHERE endpoint = 'trader' ORDER BY id") == [
        ("api", None, None, "FirstChampion", None, None, None),
        ("v2", "api", None, "PromotedByHand", "promote=v2/r1", "ada", "v2 is cheaper"),
    ]
    newest = (await database.of_endpoint("trading", "trader", None, ())).promotion
    assert newest is not None
    assert (newest.version, newest.first, newest.request) == ("v2", False, "promote=v2/r1")
    asked = ["promote=v2/r1", "rollback=r1"]
    assert (await database.of_endpoint("trading", "trader", None, asked)).used == {"promote=v2/r1"}
    assert (await database.of_endpoint("trading", "trader", None, [])).used == frozenset()
    assert (await database.of_endpoint("trading", "nobody", None, asked)).used == frozenset()


async def test_the_first_champion_is_recorded_once_however_many_operators_see_none(
    database: Database, postgres_dsn: str, sql: Any
) -> None:
    def first(version: str) -> RecordPromotion:
        return RecordPromotion("trader", version, None, None, None, "FirstChampion", spec_sha256="e" * 64)

    async with Database(postgres_dsn, "tradewind") as other:
        both = [one for _ in range(8) for one in (database, other)]
        await asyncio.gather(*(one.record_promotion("trading", first("api")) for one in both))
    await database.record_promotion("trading", first("another"))
    assert sql.query("SELECT version, previous_version, experiment_uid, reason FROM tradewind.promotions") == [
        ("api", None, None, "FirstChampion")
    ]
    found = (await database.of_endpoint("trading", "trader", None, ())).promotion
    assert found is not None
    assert (found.version, found.first) == ("api", True)
    await database.record_promotion(
        "trading", RecordPromotion("trader", "v1", "a" * 64, "api", "u", "Better", spec_sha256="e" * 64)
    )
    await database.record_promotion("trading", first("api"))  # an operator that has seen nothing of it
    found = (await database.of_endpoint("trading", "trader", None, ())).promotion
    assert found is not None
    assert (found.version, found.first) == ("v1", False)
    await database.record_promotion("trading", replace(first("api"), endpoint="other"))
    assert sql.query("SELECT count(*) FROM tradewind.promotions") == [(3,)]


async def test_undecided_are_those_without_a_verdict(database: Database) -> None:
    await database.record_experiment("trading", experiment("u1"))
    await database.record_experiment("trading", experiment("u2"))
    assert [one.uid for one in await database.undecided("trading", "trader")] == ["u1", "u2"]
    assert await database.undecided_endpoints() == (("trading", "trader"),)
    await database.record_verdict("trading", RecordVerdict("trader", "u1", "abort", "ObjectDeleted", "", T0, {}))
    assert [one.name for one in await database.undecided("trading", "trader")] == ["u2"]
    assert await database.undecided("elsewhere", "trader") == ()
    assert (await database.of_experiment("trading", "trader", "api", "v1", "u3")).tested_before == 2, "it stays tested"


async def test_installations_do_not_see_each_other(database: Database, postgres_dsn: str) -> None:
    await database.record_promotion(
        "trading", RecordPromotion("trader", "v1", None, None, "u", "Better", spec_sha256="e" * 64)
    )
    async with Database(postgres_dsn, "another") as other:
        assert (await other.of_endpoint("trading", "trader", None, ())).promotion is None


async def test_the_first_verdict_stays_but_a_promotion_may_be_taken_back(database: Database, sql: Any) -> None:
    await database.record_experiment("trading", experiment())
    await database.record_experiment("trading", experiment(candidate="v2"))

    async def verdict(decision: str, at: datetime) -> tuple[Any, ...]:
        record = RecordVerdict("trader", "u", decision, "Why", "said", at, {"blocks": 3})
        await database.record_verdict("trading", record)
        (row,) = sql.query("SELECT candidate, decision, decided_at FROM tradewind.experiments")
        return tuple(row)

    assert await verdict("promote", T0 + HOUR) == ("v1", "promote", T0 + HOUR)
    assert await verdict("promote", T0 + 2 * HOUR) == ("v1", "promote", T0 + HOUR)
    assert await verdict("rollback", T0 + 3 * HOUR) == ("v1", "rollback", T0 + 3 * HOUR)
    assert await verdict("promote", T0 + 4 * HOUR) == ("v1", "rollback", T0 + 3 * HOUR)


async def test_tested_before_counts_other_experiments_of_the_pair_that_started_earlier(database: Database) -> None:
    async def before(uid: str, baseline: str = "api", candidate: str = "v1") -> int:
        return (await database.of_experiment("trading", "trader", baseline, candidate, uid)).tested_before

    assert await before("u1") == 0
    await database.record_experiment("trading", experiment("u1"))
    assert await before("u1") == 0
    assert await before("u2") == 1
    await database.record_experiment("trading", experiment("u2"))
    await database.record_experiment("trading", experiment("u3", candidate="v3"))
    assert (await before("u1"), await before("u2"), await before("u4")) == (0, 1, 2)
    assert await before("u4", candidate="v3") == 1
    assert await before("u4", baseline="v1", candidate="api") == 0


async def test_a_change_that_was_accepted_was_another_test_of_the_pair(database: Database) -> None:
    await database.record_experiment("trading", experiment("u1"))
    evidence = {"accepted": [{"block": 3}, {"block": 9}]}
    ended = RecordVerdict("trader", "u1", "inconclusive", "MaxDurationReached", "", T0 + HOUR, evidence)
    await database.record_verdict("trading", ended)
    assert (await database.of_experiment("trading", "trader", "api", "v1", "u2")).tested_before == 3


# --- facts -----------------------------------------------------------------------------------------------------------


async def test_evidence_rows_become_a_table(database: Database, sql: Any) -> None:
    won = decided(sql, 1, "candidate", 0.25, at=T0 + HOUR)
    traded(sql, won, opened=T0 + HOUR, closed=T0 + 3 * HOUR, pnl=4.5, received_at=T0 + 5 * HOUR)
    still_open = decided(sql, 2, "baseline", 0.25, at=T0 + 2 * HOUR)
    traded(sql, still_open, opened=T0 + 2 * HOUR, closed=None)
    decided(sql, 3, "candidate", 0.25, at=T0 + 3 * HOUR, answer='{"action": "hold"}')
    failed = {"state": "failed", "answer": None, "error_kind": "timeout", "latency_ms": None, "fallback": True}
    decided(sql, 4, "candidate", 0.25, at=T0 + 4 * HOUR, **failed)
    decided(sql, 5, "baseline", 0.25, at=T0 + 5 * HOUR, parent_decision_id="d002")
    decided(sql, 6, "candidate", 0.25, at=T0 + 6 * HOUR, bar_from_evidence="DatabaseOutage")
    decided(sql, 7, "baseline", 0.0, at=T0 + 7 * HOUR)
    decided(sql, 8, "candidate", 0.25, at=T0 + 8 * HOUR, state="assigned", answer=None, answered_at=None)
    table, requests, _ = await evidence(database)
    order = np.argsort(table.decision_id)
    assert table.decision_id[order].tolist() == ["d001", "d002", "d003", "d004", "d008"]
    assert table.candidate[order].tolist() == [True, False, True, True, True]
    assert set(table.weight.tolist()) == {0.25}
    first = order[0]
    assert (table.notional[first], table.pnl[first]) == (200.0, 4.5)
    assert table.received_us[first] == to_us(T0 + 5 * HOUR, "")
    assert table.received_us[order[1]] == NEVER
    assert requests.candidate.tolist() == [True, False, True, True]
    assert requests.failed.tolist() == [False, False, False, True]
    assert requests.fallback.tolist() == [False, False, False, True]
    assert np.isnan(requests.latency_ms[3])


async def test_on_recorded_data_an_outcome_is_known_when_it_closed(database: Database, sql: Any) -> None:
    name = decided(sql, 1, "candidate", 0.5, at=T0, replay=True)
    traded(sql, name, opened=T0, closed=T0 + 3 * HOUR)  # received now, in another year
    table, _, _ = await evidence(database)
    assert table.received_us.tolist() == [to_us(T0 + 3 * HOUR, "")]


async def test_decisions_before_the_start_come_with_weight_0(database: Database, sql: Any) -> None:
    await database.record_experiment("trading", experiment())
    await database.record_experiment("trading", experiment("other"))
    name = decided(sql, 1, None, None, at=T0 - 5 * HOUR)
    traded(sql, name, opened=T0 - 5 * HOUR, closed=T0 - HOUR, pnl=-2.0, received_at=T0 - HOUR)
    other = decided(sql, 2, None, None, at=T0 - 5 * HOUR, drawn_version="another")
    traded(sql, other, opened=T0 - 5 * HOUR, closed=T0 - HOUR)
    after = decided(sql, 3, None, None, at=T0 + HOUR)
    traded(sql, after, opened=T0 + HOUR, closed=T0 + 2 * HOUR)
    decided(sql, 4, None, None, at=T0 - 4 * HOUR, answer='{"action": "hold"}')
    decided(sql, 5, None, None, at=T0 - 3 * HOUR, bar_from_evidence="DatabaseOutage")
    table, requests, _ = await evidence(database)
    assert table.decision_id.tolist() == ["d001", "d004"]
    assert (table.weight.tolist(), table.candidate.tolist()) == ([0.0, 0.0], [False, False])
    assert len(requests) == 0


async def test_requests_come_in_the_order_of_their_answers(database: Database, sql: Any) -> None:
    decided(sql, 1, "candidate", 0.5, at=T0, answered_at=T0 + 3 * HOUR, error_kind="timeout", fallback=True)
    decided(sql, 2, "candidate", 0.5, at=T0 + HOUR, answered_at=T0 + 2 * HOUR)
    _, requests, _ = await evidence(database)
    assert requests.failed.tolist() == [False, True]
    assert requests.log(T0 + 3 * HOUR, 1e9, T0).failed.tolist() == [False]


async def test_what_is_judged_is_what_is_shown(database: Database, sql: Any) -> None:
    """A report and a look read the same view, so that both come to the same numbers."""
    traded(
        sql, decided(sql, 1, "candidate", 0.5, at=T0, cost_cny="0.5", reported_model="m/a"), opened=T0, closed=T0 + HOUR
    )
    (row,) = await database.judged_rows("trading", "trader", "u")
    table, requests, _ = await evidence(database)
    assert (row["decision_id"], row["status"], row["pnl_usd"]) == ("d001", "closed", 1.0)
    assert (table.pnl.tolist(), requests.cost_cny.tolist()) == ([1.0], [0.5])
    assert requests.reported_model.tolist() == [row["reported_model"]] == ["m/a"]


async def test_guardrails_see_the_end_of_the_ramp(database: Database, sql: Any) -> None:
    lost = decided(sql, 1, "candidate", 1.0, at=T0 + HOUR)
    traded(sql, lost, opened=T0 + HOUR, closed=T0 + 2 * HOUR, pnl=-50.0, received_at=T0 + 2 * HOUR)
    decided(
        sql, 2, "candidate", 1.0, at=T0 + 2 * HOUR, answer='{"action": "hold"}', error_kind="timeout", fallback=True
    )
    table, requests, _ = await evidence(database)
    assert (table.decision_id.tolist(), table.weight.tolist()) == (["d001", "d002"], [1.0, 1.0])
    assert table.pnl.tolist()[0] == -50.0
    assert requests.failed.tolist() == [False, True]


async def test_a_trading_system_whose_clock_is_behind_blinds_nobody(database: Database, sql: Any) -> None:
    name = decided(sql, 1, "candidate", 0.5, at=T0)
    traded(sql, name, opened=T0 - timedelta(seconds=3), closed=T0 - timedelta(seconds=1), received_at=T0 + HOUR)
    table, _, _ = await evidence(database)
    assert table.closed_us.tolist() == table.decided_us.tolist()


async def test_lost_decisions_come_with_why_and_since_when(database: Database, sql: Any) -> None:
    opened = decided(sql, 1, "candidate", 0.5, at=T0)
    traded(sql, opened, opened=T0, closed=None)
    decided(sql, 2, "candidate", 0.5, at=T0 + HOUR, parent_decision_id=opened, received_at=T0 + HOUR)
    inside = decided(sql, 3, "candidate", 0.5, at=T0 + 2 * HOUR, parent_decision_id=opened)
    traded(sql, inside, opened=T0 + 2 * HOUR, closed=None)
    decided(sql, 4, None, None, at=T0 + 3 * HOUR, bar_from_evidence="database_outage", received_at=T0 + 9 * HOUR)
    decided(sql, 5, None, None, at=T0 - HOUR, bar_from_evidence="database_outage")
    unpriced = {"released_by": "unpriced", "released_at": T0 + 5 * HOUR}
    decided(sql, 6, "baseline", 0.5, at=T0 + 4 * HOUR, **unpriced)
    refused = decided(sql, 7, "baseline", 0.5, at=T0 + 5 * HOUR)
    for number in (8, 7):
        at = T0 + number * HOUR
        row = {"report_hash": bytes([number]), "code": "out_of_bounds", "message": "m", "body": "{}", "received_at": at}
        sql("refused_reports", decision_id=refused, **row)
    accepted = decided(sql, 8, "baseline", 0.5, at=T0 + 6 * HOUR)
    traded(sql, accepted, opened=T0 + 6 * HOUR, closed=T0 + 7 * HOUR)
    sql("refused_reports", decision_id=accepted, **(row | {"report_hash": b"x"}))
    decided(sql, 9, "candidate", 1.0, at=T0 + 7 * HOUR, **unpriced)
    decided(sql, 10, "baseline", 0.0, at=T0 + 7 * HOUR, **unpriced)
    decided(sql, 11, "candidate", 0.5, at=T0 + 7 * HOUR, experiment_uid="another", **unpriced)
    _, _, lost = await evidence(database)
    reasons = [LOST_REASONS[code] for code in lost.reason]
    known = [None if reason is LostReason.OPENED_INSIDE else (from_us(int(us)) - T0) / HOUR
             for reason, us in zip(reasons, lost.known_us, strict=True)]  # fmt: skip
    assert sorted(zip(lost.decision_id.tolist(), reasons, known, strict=True)) == [
        ("d002", LostReason.FOLLOW_UP, 1.0),
        ("d003", LostReason.OPENED_INSIDE, None),
        ("d004", LostReason.OUTAGE, 9.0),
        ("d006", LostReason.NO_PRICE, 5.0),
        ("d007", LostReason.REFUSED, 7.0),
    ]
    assert from_us(int(lost.decided_us[lost.decision_id == "d004"][0])) == T0 + 3 * HOUR
    assert len((await database.evidence("trading", "other", "u", T0)).lost) == 0


async def test_on_recorded_data_a_decision_is_lost_at_once(database: Database, sql: Any) -> None:
    decided(sql, 1, "baseline", 0.5, at=T0, replay=True, released_by="unpriced", released_at=T0 + 400 * HOUR)
    _, _, lost = await evidence(database)
    assert lost.known_us.tolist() == lost.decided_us.tolist() == [to_us(T0, "")]


async def test_rows_that_were_corrected_are_known(database: Database, sql: Any) -> None:
    for number, corrections in enumerate((0, 2)):
        traded(sql, decided(sql, number, "candidate", 0.5, at=T0), opened=T0, closed=T0 + HOUR, corrections=corrections)
    table, _, _ = await evidence(database)
    assert table.corrected.tolist() == [False, True]
    assert [row["corrected"] for row in await database.judged_rows("trading", "trader", "u")] == [False, True]


async def test_replicas_clock_and_new_samples(database: Database, sql: Any) -> None:
    sql("gateway_replicas", replica="g1", generation=7, epoch=3)
    sql("gateway_replicas", replica="gone", generation=6, epoch=3, seen_at=datetime(2026, 1, 1, tzinfo=UTC))
    (report,) = (await database.of_endpoint("trading", "trader", None, ())).replicas
    assert (report.replica, report.generation, report.epoch) == ("g1", 7, 3)
    assert (await database.of_experiment("trading", "trader", "api", "v1", "u")).clock is None
    sql("replay_clock", as_of=T0)
    assert (await database.of_experiment("trading", "trader", "api", "v1", "u")).clock == T0
    for number, at in enumerate((T0, T0 + HOUR)):
        traded(sql, decided(sql, number, None, None, at=at), opened=at, closed=at + HOUR)
    assert await database.new_samples("trading", "trader", None) == 2
    assert await database.new_samples("trading", "trader", T0) == 1


async def test_versions_in_position_are_those_whose_trades_are_open(database: Database, sql: Any) -> None:
    traded(sql, decided(sql, 1, "candidate", 0.5, at=T0), opened=T0, closed=None)
    traded(sql, decided(sql, 2, "baseline", 0.5, at=T0), opened=T0, closed=T0 + HOUR)
    assert (await database.of_endpoint("trading", "trader", None, ())).in_position == {"v1"}


# --- trouble ---------------------------------------------------------------------------------------------------------


async def test_an_unreachable_database_is_named_without_its_password() -> None:
    async with Database(f"postgresql://tradewind:{PASSWORD}@127.0.0.1:1/prices", "tradewind") as database:
        database._pool.timeout = 0.2
        with pytest.raises(DatabaseUnavailableError) as caught:
            await database.of_endpoint("trading", "trader", None, ())
    message = str(caught.value)
    assert "127.0.0.1:1/prices does not answer" in message
    assert "TRADEWIND_DSN" in message
    assert PASSWORD not in message
    assert PASSWORD not in repr(caught.value)
    assert not caught.value.schema_missing


async def test_a_missing_schema_is_told_apart(empty_postgres_dsn: str) -> None:
    async with Database(empty_postgres_dsn, "tradewind") as database:
        with pytest.raises(DatabaseUnavailableError, match="tradewind migrate") as caught:
            await database.of_endpoint("trading", "trader", None, ())
    assert caught.value.schema_missing


async def test_notifications_arrive(database: Database, postgres_dsn: str) -> None:
    heard: list[str] = []
    listening = asyncio.create_task(database.listen(heard.append))
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        for _ in range(100):
            connection.execute("NOTIFY tradewind, 'trading/trader'")
            if heard:
                break
            await asyncio.sleep(0.02)
    listening.cancel()
    assert heard[0] == "trading/trader"
