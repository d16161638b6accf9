"""From the last release to this one under traffic, and back: no decision fails, no arm changes, the verdict is the same.

Gateways of both releases as processes on one real PostgreSQL, in the order of `helm upgrade` (the schema, then the operator's
documents, then pod after pod) and of `helm rollback` (documents, then pods; the schema stays).
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_process import Process
from gateway_rig import OPEN, Arm, Rig, ask, build_rig, tenant_dsn

from tradewind import migrations
from tradewind.trading.assignment import draw_arm
from tradewind.trading.signature import Signer
from workshop.postgres import PostgresServer
from workshop.release import earlier, unpack

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
SINCE = frozenset({"networks", "plainHttp"})
"""What documents of the last release do not have of an arm."""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(earlier(), tmp_path_factory.mktemp("earlier"), "operator", "jobs")


@pytest.fixture
def database(postgres_server: PostgresServer, before: Path) -> Iterator[str]:
    name = postgres_server.create_database()
    dsn = postgres_server.dsn(name)
    _run(before, "-m", "tradewind.main", "migrate", TRADEWIND_DSN=dsn)
    assert migrations.current(dsn) != migrations.head(), "the last release has this schema: nothing is tried"
    yield dsn
    postgres_server.drop_database(name)


@pytest.fixture
async def rig(database: str, tmp_path: Path, arms_server: tuple[dict[str, Arm], str]) -> AsyncIterator[Rig]:
    rig = await build_rig(database, tmp_path, *arms_server, tenant=False)
    rig.arms["v1"].answer = OPEN | {"action": "open_short"}
    yield rig
    await rig._stack.aclose()


def _run(source: Path, *command: str, **environment: str) -> str:
    """A Python program of a release."""
    path = os.pathsep.join([str(source / "operator"), str(source)])
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Traffic:
    """Decisions that go on all the while, each to a gateway that is ready, with the reports of its trade."""

    rig: Rig
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    given: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    stop: bool = False

    async def run(self) -> None:
        number = 0
        while not self.stop:
            number += 1
            await self.one(f"d{number}", self.clients[number % len(self.clients)])

    async def one(self, name: str, client: httpx.AsyncClient) -> None:
        scope = {"symbol": "BTC", "book": name}
        answer = await client.post("/v1/decisions", json=ask(name, scope=scope))
        if answer.status_code != 200:
            self.failed.append(f"{name}: {answer.status_code} {answer.text}")
            return
        self.given[name] = answer.json()
        opened = {"status": "opened", "opened_at": _now(), "filled_notional_usd": 100, "position_id": name}
        closed = {"closed_at": _now(), "pnl": int(name[1:]) % 7 - 3, "fees": 0, "exit_reason": "take_profit"}
        for path, report in (("execution", opened), ("outcome", closed)):
            told = await client.post(f"/v1/decisions/{name}/{path}", json=report)
            # While the migration holds the tables, and until the spool is written: "send the report again".
            while told.status_code in (404, 503):
                self.waits.append(f"{name} {path}: {told.status_code} {told.text}")
                await asyncio.sleep(0.2)
                told = await client.post(f"/v1/decisions/{name}/{path}", json=report)
            if told.status_code != 200:
                self.failed.append(f"{name} {path}: {told.status_code} {told.text}")

    async def more(self, count: int = 25) -> None:
        """Waits for so many more decisions."""
        wanted = len(self.given) + count
        try:
            async with asyncio.timeout(90):
                while len(self.given) < wanted:
                    assert not self.failed, self.failed
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{len(self.given)} of {wanted} decisions; {self.waits[-2:]}") from None


def _now() -> str:
    return datetime.now(UTC).isoformat()


@asynccontextmanager
async def _gateway(rig: Rig, source: Path, name: str, **environment: str) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway of a release; at its end it is told to stop, as a pod is, and must have ended well."""
    folder = rig.folder / name
    folder.mkdir()
    path = os.pathsep.join([str(source / "operator"), str(source)])
    place = {
        "PYTHONPATH": path, "TRADEWIND_SPOOL_DIR": str(folder), "TRADEWIND_REPLICA": name,
        "TRADEWIND_ROUTING": f"file:{rig.routing_file}",
    }  # fmt: skip
    process = Process(replace(rig, folder=folder), **place, **environment)
    async with httpx.AsyncClient(base_url=process.url, timeout=30) as client:
        try:
            await process.ready(client)
            yield client
        finally:
            process.process.terminate()
            process.process.wait(30)
    assert not list(folder.glob("decisions*.jsonl")), "decisions were kept in a spool: the database was not reached"


def _as_before(document: dict[str, Any]) -> dict[str, Any]:
    arms = {name: {k: v for k, v in arm.items() if k not in SINCE} for name, arm in document["arms"].items()}
    return {**document, "arms": arms}


def _verdict(source: Path, rig: Rig, folder: Path) -> dict[str, Any]:
    """What a release's own programs say of the experiment, from its own export."""
    folder.mkdir()
    table, manifest, dsn = folder / "table.csv", folder / "experiment.json", {"TRADEWIND_DSN": rig.dsn}
    of = ("--namespace", "ns", "--endpoint", "trader", "--experiment", "exp-1")
    _run(
        source,
        str(source / "jobs" / "export.py"),
        "evidence",
        *of,
        "-o",
        str(table),
        "--result",
        f"{table}.json",
        **dsn,
    )
    experiment = {
        "apiVersion": "tradewind.dev/v1alpha1", "kind": "ABExperiment", "metadata": {"name": "v1-against-api", "uid": "exp-1"},
        "spec": {"endpointRef": {"name": "trader"}, "candidate": "v1", "traffic": {"policy": "fixed", "weight": "0.5", "shadow": "none"}},
        "status": {"t0": rig.document["experiment"]["t0"], "baselineRef": {"name": "api"}, "candidateRef": {"name": "v1"}},
    }  # fmt: skip
    manifest.write_text(json.dumps(experiment))
    later = datetime.fromisoformat(rig.document["experiment"]["t0"]) + timedelta(days=5)  # all of it is in whole blocks
    files = ("--trades", str(table), "--experiment", str(manifest), "--now", later.isoformat(), "-o", "json")
    return json.loads(_run(source, "-m", "tradewind.main", "evaluate", *files))


def _shared(newer: Any, older: Any) -> Any:
    """Of what this release says, what the one before has words for."""
    if isinstance(older, dict) and isinstance(newer, dict):
        return {key: _shared(newer.get(key), value) for key, value in older.items()}
    return newer


async def test_up_and_down_again_under_traffic(rig: Rig, before: Path) -> None:
    signer = Signer.generated()
    newest, old_document = dict(rig.document), _as_before(rig.document)
    route = rig.experiment()
    rig.document = old_document
    rig.publish(experiment=route)
    traffic = Traffic(rig)
    async with _gateway(rig, before, "old-1") as first, _gateway(rig, before, "old-2") as second:
        traffic.clients = [first, second]
        running = asyncio.create_task(traffic.run())
        await traffic.more()

        # helm upgrade: the schema, then the new operator's documents, then pod after pod.
        await asyncio.to_thread(migrations.upgrade, rig.dsn)
        await traffic.more()
        rig.signer = signer
        rig.document = {**newest, "generation": rig.document["generation"]}
        rig.publish(experiment=route)
        await traffic.more()
        keys = {"TRADEWIND_ROUTING_KEYS": " ".join(signer.public_keys), "TRADEWIND_DSN": tenant_dsn(rig.dsn)}
        async with _gateway(rig, ROOT, "new-1", **keys) as third, _gateway(rig, ROOT, "new-2", **keys) as fourth:
            traffic.clients = [first, third]
            await traffic.more()
            traffic.clients = [third, fourth]
            await traffic.more()

            # helm rollback: the documents of the operator before, then its pods.
            rig.signer = None
            upgraded = await asyncio.to_thread(_verdict, ROOT, rig, rig.folder / "upgraded")
            rig.document = {**old_document, "generation": rig.document["generation"]}
            rig.publish(experiment=route)
            traffic.clients = [first, third]
            await traffic.more()
            traffic.clients = [first, second]
            await traffic.more(3)  # what the others were asked is answered
        await traffic.more()
        traffic.stop = True
        await running
        assert not traffic.failed
        for name, answer in traffic.given.items():
            again = await first.post("/v1/decisions", json=ask(name, scope={"symbol": "BTC", "book": name}))
            assert again.json() == answer

    rows = {row["decision_id"]: row for row in await rig.rows()}
    assert rows.keys() == traffic.given.keys()
    for name, row in rows.items():
        # While the migration holds the tables, the champion answers: nobody was drawn.
        arm = None if row["bar_from_evidence"] == "database_outage" else draw_arm("exp-1", name, 0.5)
        assert row["arm"] == arm
        version = "v1" if arm == "candidate" else "api"
        assert (row["drawn_version"], traffic.given[name]["_model_used"]) == (version, version)
    closed = await rig.rows("SELECT decision_id FROM tradewind.outcomes WHERE NOT voided")
    assert {row["decision_id"] for row in closed} == rows.keys()
    assert sum(row["arm"] is None for row in rows.values()) < len(rows) / 4
    now, at = (_verdict(source, rig, rig.folder / name) for source, name in ((ROOT, "by-new"), (before, "by-old")))
    assert _shared(now, at) == at
    assert now["decisions"]["candidate"] > upgraded["decisions"]["candidate"] > 10
