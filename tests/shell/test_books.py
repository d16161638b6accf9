"""What the operator reads from and writes into the database of an Endpoint, from a turn on: on a real PostgreSQL.

Who is gone is aborted, who exists never is; what is lost comes into the status; the first champion is recorded.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY
from server_double import PLATFORM, SIGNER, Server, key, thing

from tradewind.api.common import VersionStatusRef
from tradewind.core.decision import RecordExperiment
from tradewind.shell.cache import Cache, Key
from tradewind.shell.cluster import ClusterError
from tradewind.shell.database import Database
from tradewind.shell.operator import revisit
from tradewind.shell.reconcile import Reconciler
from tradewind.shell.shards import UNDIVIDED, Shard
from tradewind.shell.watch import refresh
from tradewind.shell.world import ClusterWorld

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
T0, HOUR = datetime(2026, 2, 28, tzinfo=UTC), timedelta(hours=1)
API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}
SPEC = {"endpointRef": {"name": "trader"}, "candidate": "v1"}
TRADER = thing("Endpoint", "trader", {"fallback": "api"})


def started(name: str, uid: str | None = None) -> RecordExperiment:
    return RecordExperiment(
        "trader",
        uid or f"uid-{name}",
        name,
        "Live",
        VersionStatusRef(name="api"),
        VersionStatusRef(name="v1"),
        NOW,
        0.05,
        {},
    )


class Books:
    """The operator on a double of the API server and a real database."""

    def __init__(self, database: Database, dsn: str) -> None:
        self.database, self._dsn = database, dsn

    async def reconciled(self, server: Server, *objects: Key, watched: bool = True) -> list[float | None]:
        cache = Cache()
        if watched:
            await refresh(cache, server, UNDIVIDED)  # type: ignore[arg-type]
        world = ClusterWorld(server, self.database, cache, SIGNER)  # type: ignore[arg-type]
        reconcile = Reconciler(world, PLATFORM, enqueue=lambda _: None, clock=lambda: NOW)
        return [await reconcile(of) for of in objects]

    def verdicts(self) -> list[tuple[Any, ...]]:
        sql = "SELECT experiment_uid, decision, decision_reason, decided_at FROM tradewind.experiments ORDER BY name, 1"
        with psycopg.connect(self._dsn) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
async def books(postgres_dsn: str) -> AsyncIterator[Books]:
    async with Database(postgres_dsn, "tradewind") as database:
        yield Books(database, postgres_dsn)


async def test_who_is_gone_is_aborted_and_who_exists_is_not(books: Books) -> None:
    for record in (
        started("deleted"),
        started("made-anew", "uid-of-before"),
        started("not-seen-yet"),
        started("running"),
        started("unreadable"),
    ):
        await books.database.record_experiment("trading", record)
    server = Server(
        TRADER,
        thing("ModelVersion", "api", API),
        thing("ABExperiment", "made-anew", SPEC),
        thing("ABExperiment", "running", SPEC),
        thing("ABExperiment", "unreadable", {"endpointRef": "trader"}),
    )
    cache = Cache()
    await refresh(cache, server, UNDIVIDED)  # type: ignore[arg-type]
    server.put(thing("ABExperiment", "not-seen-yet", SPEC))  # another operator has started it
    world = ClusterWorld(server, books.database, cache, SIGNER)  # type: ignore[arg-type]
    await Reconciler(world, PLATFORM, enqueue=lambda _: None, clock=lambda: NOW)(key("Endpoint", "trader"))
    assert books.verdicts() == [
        ("uid-deleted", "abort", "ObjectDeleted", NOW),
        ("uid-of-before", "abort", "ObjectDeleted", NOW),
        ("uid-not-seen-yet", None, None, None),
        ("uid-running", None, None, None),
        ("uid-unreadable", None, None, None),
    ]
    assert (await books.database.of_experiment("trading", "trader", "api", "v1", "next")).tested_before == 5


async def test_a_verdict_stays_when_the_object_is_deleted(books: Books) -> None:
    await books.database.record_experiment("trading", started("done"))
    with psycopg.connect(books._dsn, autocommit=True) as connection:
        connection.execute("UPDATE tradewind.experiments SET decision = 'promote', decided_at = t0")
    await books.reconciled(Server(TRADER, thing("ModelVersion", "api", API)), key("Endpoint", "trader"))
    assert [row[1] for row in books.verdicts()] == ["promote"]


async def test_an_endpoint_that_is_gone_takes_its_experiments_with_it(books: Books) -> None:
    await books.database.record_experiment("trading", started("deleted"))
    await books.database.record_experiment("trading", started("kept"))
    server = Server(thing("ABExperiment", "kept", SPEC))
    assert await books.reconciled(server, key("Endpoint", "trader")) == [None]
    assert [row[1] for row in books.verdicts()] == ["abort", None]


async def test_where_the_rights_are_gone_nothing_is_told(books: Books) -> None:
    await books.database.record_experiment("trading", started("deleted"))
    server = Server()

    async def refused(_: str, kind: str, *__: Any) -> None:
        if kind == "ABExperiment":
            raise ClusterError("GET: forbidden", 403)

    server.get = refused  # type: ignore[method-assign,assignment]
    assert await books.reconciled(server, key("Endpoint", "trader"), watched=False) == [None]
    assert [row[1] for row in books.verdicts()] == [None]


async def test_without_the_database_it_is_tried_again() -> None:
    async with Database("postgresql://tradewind@127.0.0.1:1/prices", "tradewind") as database:
        database._pool.timeout = 0.2
        assert await Books(database, "").reconciled(Server(), key("Endpoint", "trader")) == [60.0]


async def test_endpoints_that_went_while_nobody_looked_get_a_turn(books: Books) -> None:
    await books.database.record_experiment("trading", started("deleted"))
    await books.database.record_experiment("elsewhere", started("deleted"))
    found: asyncio.Queue[Key] = asyncio.Queue()
    task = asyncio.create_task(revisit(books.database, Cache(), Shard(among=("trading",)), found.put_nowait))
    assert await found.get() == key("Endpoint", "trader")
    task.cancel()
    assert found.empty()


async def test_a_look_counts_what_is_lost(books: Books) -> None:
    """An outage before the start is not of this experiment, and one of another Endpoint neither."""
    await books.database.record_experiment("trading", started("ab"))
    with psycopg.connect(books._dsn, autocommit=True) as connection:
        for number, (endpoint, hour) in enumerate((("trader", 1), ("trader", 2), ("trader", -1), ("other", 1))):
            connection.execute(
                """INSERT INTO tradewind.decisions (installation, namespace, endpoint, decision_id, request_hash, request,
                          scope_symbol, drawn_version, assignment_key, decided_at, received_at, bar_from_evidence)
                   VALUES ('tradewind', 'trading', %s, %s, 'x', '{}', 'BTC', 'api', 'k', %s, %s, 'database_outage')""",
                (endpoint, f"d{number}", *[T0 + hour * HOUR] * 2),
            )
    status = {"phase": "Running", "t0": T0.isoformat(), "baselineRef": {"name": "api"}, "weight": {"desired": "0.5"}}
    server = Server(
        TRADER,
        thing("ModelVersion", "api", API),
        thing("ModelVersion", "v1", API),
        thing("ABExperiment", "ab", SPEC | {"traffic": {"policy": "fixed", "weight": "0.5"}}, status),
    )
    await books.reconciled(server, key("ABExperiment", "ab"))
    evidence = server.status("ABExperiment", "ab")["evidence"]
    assert (evidence["lost"]["outage"], evidence["lost"]["decisions"], evidence["lostShare"]) == (2, 2, 1.0)
    thin = server.condition("ABExperiment", "ab", "EvidenceThin")
    assert thin is not None
    assert thin["status"] == "True"
    assert "2 answered during an outage" in thin["message"]


async def test_the_first_champion_is_recorded_and_found_again(books: Books) -> None:
    server = Server(TRADER, thing("ModelVersion", "api", API), thing("ModelVersion", "another", API))
    for _ in range(2):
        await books.reconciled(server, key("Endpoint", "trader"))
    server.put(thing("Endpoint", "trader", {"fallback": "another"}))  # restored without its status
    await books.reconciled(server, key("Endpoint", "trader"))
    assert server.status("Endpoint", "trader")["championRef"]["name"] == "api"
    with psycopg.connect(books._dsn) as connection:
        rows = connection.execute("SELECT version, previous_version, reason FROM tradewind.promotions").fetchall()
    assert rows == [("api", None, "FirstChampion")]


async def test_a_champion_by_hand_ends_the_experiment_and_is_recorded(books: Books) -> None:
    """Both kinds turn by turn, on a real database; a status that is lost in between changes nothing of what is recorded."""
    await books.database.record_experiment("trading", started("ab"))
    annotations = {"tradewind.dev/promote": "v2/r1", "tradewind.dev/by": "ada", "tradewind.dev/reason": "v1 fails"}
    point = thing(
        "Endpoint",
        "trader",
        {"fallback": "api"},
        {"championRef": {"name": "api"}, "activeExperiment": {"name": "ab", "uid": "uid-ab"}},
    )
    point["metadata"]["annotations"] = annotations
    running = {"phase": "Running", "t0": T0.isoformat(), "baselineRef": {"name": "api"}, "weight": {"desired": "0.5"}}
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "x", "lastTransitionTime": T0.isoformat()}]}
    server = Server(
        point,
        *(thing("ModelVersion", name, API, ready) for name in ("api", "v1", "v2")),
        thing("ABExperiment", "ab", SPEC, running),
    )
    turns = [key("Endpoint", "trader"), key("ABExperiment", "ab")]
    await books.reconciled(server, *turns)
    assert books.verdicts() == [("uid-ab", "abort", "ChampionByHand", NOW)]
    before = server.objects["Endpoint", "trader"]
    for _ in range(2):  # the second time as if the status had not been written
        await books.reconciled(server, *turns)
        status = server.status("Endpoint", "trader")
        assert (status["championRef"]["name"], status["previousChampionRef"]["name"]) == ("v2", "api")
        assert status["history"][-1]["reason"] == "PromotedByHand"
        server.put(before)
    with psycopg.connect(books._dsn) as connection:
        rows = connection.execute(
            "SELECT version, previous_version, reason, requested_by, message FROM tradewind.promotions ORDER BY id"
        ).fetchall()
    assert rows == [
        ("api", None, "FirstChampion", None, None),
        ("v2", "api", "PromotedByHand", "ada", "v1 fails"),
    ]


async def test_what_is_lost_is_a_number_a_reason_until_the_experiment_is_over(books: Books) -> None:
    lost = {"refused": 40, "followUp": 3, "decisions": 100}
    running = {"phase": "Paused", "t0": "2026-02-27T00:00:00Z", "evidence": {"lost": lost, "lostShare": 0.4}}
    server = Server(thing("ABExperiment", "ab", SPEC, running))

    def number(reason: str) -> float | None:
        labels = {"namespace": "trading", "experiment": "ab", "reason": reason}
        return REGISTRY.get_sample_value("tradewind_lost_decisions", labels)

    await books.reconciled(server, key("ABExperiment", "ab"))
    assert (number("refused"), number("follow_up"), number("late")) == (40.0, 3.0, 0.0)
    server.remove("ABExperiment", "ab")
    await books.reconciled(server, key("ABExperiment", "ab"))
    assert number("refused") is None
