"""A reader that keeps what it read finds what one that never read before finds, whatever was written between two looks."""

import random
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from tradewind.api.common import VersionStatusRef
from tradewind.core.decision import RecordExperiment
from tradewind.migrations.tenants import tenant_dsn
from tradewind.shell.database import Database
from tradewind.shell.evidence import LOG_KEPT
from tradewind.trading.evidence import StoredEvidence

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = {"installation": "tradewind", "namespace": "trading", "endpoint": "trader"}
WHERE = "installation = 'tradewind' AND namespace = 'trading' AND endpoint = 'trader'"

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def connection(postgres_dsn: str) -> Iterator[Connection]:
    with psycopg.connect(postgres_dsn, autocommit=True) as opened:
        yield opened


def insert(connection: Connection, table: str, **values: object) -> None:
    row = KEY | values
    marks = ", ".join(["%s"] * len(row))
    connection.execute(f"INSERT INTO tradewind.{table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))  # type: ignore[call-overload]


class Writer:
    """Writes at random what gateways, operators and people write."""

    def __init__(self, connection: Connection, seed: int) -> None:
        self.connection, self.draw = connection, random.Random(seed)
        self.names: list[str] = []
        self.done: dict[str, int] = {}

    def step(self) -> None:
        kind = self.draw.choice(["decide"] * 4 + ["answer", "open", "close", "correct", "shadow", "paper", "refuse", "reject", "release", "delete"])  # fmt: skip
        self.done[kind] = self.done.get(kind, 0) + bool(getattr(self, kind)())

    def _one(self, condition: str) -> str | None:
        sql = f"SELECT decision_id FROM tradewind.decisions d WHERE {WHERE} AND {condition} ORDER BY decision_id"
        found = [str(row[0]) for row in self.connection.execute(sql)]  # type: ignore[call-overload]
        return self.draw.choice(found) if found else None

    def _without(self, table: str) -> str:
        return f"NOT EXISTS (SELECT FROM tradewind.{table} t WHERE t.{' AND t.'.join(WHERE.split(' AND '))} AND t.decision_id = d.decision_id)"

    def _update(self, table: str, what: str, name: str | None) -> bool:
        if name is not None:
            self.connection.execute(f"UPDATE tradewind.{table} SET {what} WHERE {WHERE} AND decision_id = %s", [name])  # type: ignore[call-overload]
        return name is not None

    def decide(self) -> bool:
        name = f"{'long-name-' * self.draw.randint(0, 3)}{self.draw.randrange(10**9)}"
        at = T0 + self.draw.randint(-60, 240) * HOUR
        prior = at < T0 or self.draw.random() < 0.1
        arm = self.draw.choice(["baseline", "candidate"])
        outage = prior and at >= T0
        insert(
            self.connection, "decisions", decision_id=name, request_hash=b"x", request="{}", scope_symbol=self.draw.choice(["BTC", "ETHUSDT"]),
            experiment_uid=None if prior else self.draw.choice(["u"] * 9 + ["other"]), arm=None if prior else arm,
            candidate_weight=None if prior else self.draw.choice([0.25, 0.25, 0.0, 1.0]), epoch=1,
            drawn_version="v1" if arm == "candidate" else "api", assignment_key=name, decided_at=at, replay=False,
            bar_from_evidence="database_outage" if outage else None,
            parent_decision_id=self.draw.choice(self.names) if self.names and self.draw.random() < 0.1 else None,
            state="assigned",
        )  # fmt: skip
        self.names.append(name)
        return True

    def answer(self) -> bool:
        action = self.draw.choice(["open_long", "hold"])
        what = f"""state = 'answered', answer = '{{"action": "{action}", "size_usd": 100, "leverage": 2}}', answered_at = decided_at,
            latency_ms = 12, cost_cny = 0.01, reported_model = '{self.draw.choice(["m", "a-longer-name"])}',
            error_kind = {self.draw.choice(["NULL", "'timeout'"])}"""
        return self._update("decisions", what, self._one("state = 'assigned'"))

    def open(self) -> bool:
        name = self._one(f"state = 'answered' AND answer ->> 'action' = 'open_long' AND {self._without('executions')}")
        if name is not None:
            opened = {"status": "opened", "position_id": name, "opened_at": T0 - 90 * HOUR, "filled_notional_usd": 150}
            state: dict[str, object] = self.draw.choice([opened, {"status": "rejected"}])
            insert(self.connection, "executions", decision_id=name, logged=True, **state)
        return name is not None

    def close(self) -> bool:
        name = self._one(
            f"EXISTS (SELECT FROM tradewind.executions e WHERE e.decision_id = d.decision_id AND e.status = 'opened') AND {self._without('outcomes')}"
        )
        if name is not None:
            insert(self.connection, "outcomes", decision_id=name, closed_at=T0 + 300 * HOUR, pnl_usd=self.draw.uniform(-5, 5),
                   exit_reason="take_profit", label="neutral")  # fmt: skip
        return name is not None

    def correct(self) -> bool:
        return self._update("outcomes", "pnl_usd = 1, corrections = 1", self._one(f"NOT {self._without('outcomes')}"))

    def shadow(self) -> bool:
        name = self._one(f"arm = 'candidate' AND {self._without('shadows')}")
        if name is not None:
            insert(self.connection, "shadows", decision_id=name, arm="baseline", version="api", scope_symbol="BTC", scope_book="",
                   replay=False, decided_at=T0, state="absent", asked_at=T0, error_kind="timeout")  # fmt: skip
        return name is not None

    def paper(self) -> bool:
        name = self._one(f"experiment_uid = 'u' AND {self._without('papers')}")
        if name is not None:
            insert(self.connection, "papers", decision_id=name, arm="candidate", ret=0.01, exit_reason="horizon", exit_at=T0,
                   known_at=T0 + 400 * HOUR, source="requests")  # fmt: skip
        return name is not None

    def refuse(self) -> bool:
        name = self._one(f"state = 'answered' AND {self._without('outcomes')}")
        if name is not None:
            insert(self.connection, "refused_reports", decision_id=name, report_hash=self.draw.randbytes(8), code="c", message="m", body="{}")  # fmt: skip
        return name is not None

    def reject(self) -> bool:
        name = self._one(f"state = 'answered' AND answer ->> 'action' = 'open_long' AND {self._without('events')}")
        if name is not None:
            insert(
                self.connection, "events", decision_id=name, event_id="e", number=1, kind="rejected", at=T0, body="{}"
            )
        return name is not None

    def release(self) -> bool:
        what = "released_by = 'unpriced', released_at = decided_at"
        return self._update("decisions", what, self._one(self._without("outcomes")))

    def delete(self) -> bool:
        name = self._one("true") if self.draw.random() < 0.3 else None
        if name is not None:
            self.connection.execute(f"DELETE FROM tradewind.decisions WHERE {WHERE} AND decision_id = %s", [name])  # type: ignore[call-overload]
            self.names.remove(name)
        return name is not None


def same(one: StoredEvidence, other: StoredEvidence) -> None:
    for part in fields(StoredEvidence):
        mine, theirs = getattr(one, part.name), getattr(other, part.name)
        assert len(mine) == len(theirs), part.name
        if part.name != "requests":  # of these the order says something
            mine, theirs = (each.select(np.argsort(each.decision_id)) for each in (mine, theirs))
        for column in fields(mine):
            a, b = getattr(mine, column.name), getattr(theirs, column.name)
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), (part.name, column.name)


async def anew(dsn: str) -> StoredEvidence:
    async with Database(dsn, "tradewind") as fresh:
        return await fresh.evidence("trading", "trader", "u", T0)


def experiment() -> RecordExperiment:
    return RecordExperiment(
        "trader",
        "u",
        "u",
        "Live",
        VersionStatusRef(name="api"),
        VersionStatusRef(name="v1"),
        T0,
        0.05,
        {},
        (7.2, 0.0, 0.002),
    )


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_kept_is_what_would_be_read_anew(postgres_dsn: str, connection: Connection, seed: int) -> None:
    writer = Writer(connection, seed)
    async with Database(postgres_dsn, "tradewind") as database:
        for look in range(40):
            if look == 12:
                await database.record_experiment("trading", experiment())
            for _ in range(writer.draw.choice([0, 1, 10, 40])):
                writer.step()
            kept = await database.evidence("trading", "trader", "u", T0)
            if look % 3 == 0:
                same(kept, await anew(postgres_dsn))
        same(await database.evidence("trading", "trader", "u", T0), await anew(postgres_dsn))
        before = database.reader.rows_read
        await database.evidence("trading", "trader", "u", T0)
        assert database.reader.rows_read - before == 1
    assert (
        min(
            writer.done[kind]
            for kind in ("decide", "answer", "open", "close", "shadow", "paper", "refuse", "reject", "delete")
        )
        > 0
    )
    assert len(kept.table) > 20
    assert (kept.table.weight == 0).any()
    assert len(kept.lost)


async def test_a_commit_that_comes_after_a_look_is_in_the_next(postgres_dsn: str, connection: Connection) -> None:
    """It was written before the look, and what was written after it is older in the log."""
    writer = Writer(connection, 1)
    async with Database(postgres_dsn, "tradewind") as database:
        with psycopg.connect(postgres_dsn) as slow:
            Writer(slow, 2).decide()
            for _ in range(5):
                writer.decide()
                await database.evidence("trading", "trader", "u", T0)
            slow.commit()
        same(await database.evidence("trading", "trader", "u", T0), await anew(postgres_dsn))


async def change(database: Database, key: tuple[str, ...], how: Callable[..., dict[str, object]]) -> None:
    kept = database.reader._kept[key]
    database.reader._kept[key] = replace(kept, moment=replace(kept.moment, **how(kept.moment)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "how",
    [
        lambda moment: {"server": moment.server - HOUR},
        lambda moment: {"at": moment.at - LOG_KEPT},
        lambda moment: {"at": moment.at + HOUR},
        lambda moment: {"xmin": str(int(moment.xmin) + 10**6)},
        lambda moment: {"record": {"baseline": "another"}},
    ],
    ids=["another server", "too long ago", "a clock set back", "an older copy", "another record"],
)
async def test_where_the_log_may_not_have_it_all_it_is_read_anew(
    postgres_dsn: str, connection: Connection, how: Callable[..., dict[str, object]]
) -> None:
    writer = Writer(connection, 3)
    for _ in range(60):
        writer.step()
    async with Database(postgres_dsn, "tradewind") as database:
        await database.evidence("trading", "trader", "u", T0)
        for _ in range(20):
            writer.step()
        connection.execute("DELETE FROM tradewind.changes")
        await change(database, ("tradewind", "trading", "trader", "u"), how)
        same(await database.evidence("trading", "trader", "u", T0), await anew(postgres_dsn))


async def test_a_role_that_may_not_write_the_log_may_decide(postgres_dsn: str, connection: Connection) -> None:
    """A gateway of the version before, whose role knows nothing of the table, goes on through the migration."""
    connection.execute("CREATE ROLE old_gateway LOGIN PASSWORD 'p'")
    try:
        connection.execute("GRANT USAGE ON SCHEMA tradewind TO old_gateway")
        connection.execute("GRANT SELECT, INSERT, UPDATE ON tradewind.decisions TO old_gateway")
        connection.execute("INSERT INTO tradewind.tenants (role) VALUES ('old_gateway')")  # as the migration finds it
        with psycopg.connect(tenant_dsn(postgres_dsn, "old_gateway", "p"), autocommit=True) as gateway:
            Writer(gateway, 4).decide()
        assert connection.execute("SELECT count(*) FROM tradewind.changes").fetchone() == (1,)
    finally:
        connection.execute("DELETE FROM tradewind.tenants WHERE role = 'old_gateway'")
        connection.execute("DROP OWNED BY old_gateway")
        connection.execute("DROP ROLE old_gateway")
