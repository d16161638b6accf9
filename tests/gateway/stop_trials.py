"""Candidates that are stopped again and again while clients ask: two replicas hear of it, a third one is cut off and does not."""

import argparse
import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psycopg
from chaos_operator import put
from chaos_proxy import Proxy
from chaos_replica import Replica, arms, free_port
from gateway_rig import build_rig, tenant_dsn

from api_double import SignedHandler
from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.parse import parse
from tradewind.cli import stop
from tradewind.core.ab_experiment import Seen, decide
from tradewind.core.decision import PublishEpoch, RecordVerdict
from tradewind.shell.database import Database
from workshop.postgres import PostgresServer

WAYS = ("abort", "guardrail", "stop")
VALID_SECONDS, RENEWED_EVERY = 1.6, 0.4
SLOW_SECONDS = 0.4
OURS = "/apis/tradewind.dev/v1alpha1"


@dataclass
class Trial:
    """One stop.

    Attributes:
        asked_at: before it was asked for.
        stopped_at: before the document was published.
        expires_at: of the last weight that the replica knows that is cut off.
        stalled: seconds for which this machine ran nobody, or the database answered nothing, at most, since it was asked for.
    """

    uid: str
    way: str
    asked_at: datetime
    stopped_at: datetime
    expires_at: datetime
    stalled: float = 0.0


@dataclass
class Lag:
    """A replica's last answer of the candidate: seconds after the stop (or the expiry), and what the machine may have had to do with it."""

    trial: Trial
    seconds: float


@dataclass
class Trials:
    """A running experiment after the other.

    Attributes:
        asked: the replica of each id that was asked.
        heard: replica and experiment of each answer that the candidate gave.
    """

    dsn: str
    document: dict[str, Any]
    replicas: list[Replica]
    database: Database
    session: aiohttp.ClientSession
    double: "Double"
    asked: dict[str, str] = field(default_factory=dict)
    heard: set[tuple[str, str]] = field(default_factory=set)
    done: list[Trial] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    published_at: datetime = datetime.min

    @property
    def reachable(self) -> list[Replica]:
        return self.replicas[:-1]

    def publish(self, experiment: dict[str, Any] | None, replicas: list[Replica], valid: float) -> datetime:
        now = datetime.now(UTC)
        expires = now + timedelta(seconds=valid)
        self.published_at = now
        self.document["generation"] += 1
        self.document |= {"experiment": experiment, "publishedAt": now.isoformat(), "expiresAt": expires.isoformat()}
        put(self.document, replicas)
        return expires

    async def clients(self, at: Replica, number: int) -> None:
        for count in itertools.count():
            name = f"{at.name}-{number}-{count}"
            self.asked[name] = at.name
            body = {
                "decision_id": name, "scope": {"symbol": "BTC", "book": name}, "market_data": {"BTC": {"price": 1.0}},
                "account_state": {"balance": 600, "permission_level": "L2", "positions": []},
            }  # fmt: skip
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.session.post(f"{at.url}/v1/decisions", json=body) as response:
                    self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
                    said = await response.json()
                    if said.get("_model_used") == "v1":
                        self.heard.add((at.name, said["_experiment"]))
            await asyncio.sleep(0.03)

    async def trial(self, number: int) -> None:
        way, uid = WAYS[number % len(WAYS)], f"stop-{number}"
        experiment = {
            "uid": uid, "name": "ab", "mode": "Live", "t0": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
            "blockSeconds": 86400, "baseline": "api", "candidate": "v1", "candidateWeight": "0.9", "epoch": number, "blocks": [],
        }  # fmt: skip
        renewals = 0
        while renewals < 2 or not {(replica.name, uid) for replica in self.replicas} <= self.heard:
            expires = self.publish(experiment, self.replicas, VALID_SECONDS)
            renewals += 1
            assert renewals < 100, f"the candidate is not asked at every replica: {self.heard}"
            await asyncio.sleep(RENEWED_EVERY)
        trial = Trial(uid, way, datetime.now(UTC), datetime.now(UTC), expires)
        self.done.append(trial)
        if way == "stop":
            self.double.stops(uid, self.document, lambda: self.publish(None, self.reachable, 30))
            assert await asyncio.to_thread(_command) == 3  # of the one that is cut off it says until when it may ask
        else:
            if way == "guardrail":
                await self.database.publish_epoch(
                    "ns", PublishEpoch("trader", "ab", uid, 0, Decimal(0), "Guardrail", "", {})
                )
            decision = "abort" if way == "abort" else "rollback"
            await self.database.record_verdict(
                "ns", RecordVerdict("trader", uid, decision, "FastHarm", "", datetime.now(UTC), {})
            )
            self.publish(None, self.reachable, 30)
        trial.stopped_at = self.published_at
        await asyncio.sleep(max(1.3, (expires - datetime.now(UTC)).total_seconds() + 0.4))

    async def watch(self) -> None:
        """Notes in each trial how long this machine leaves somebody waiting who has next to nothing to do."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            while True:
                began = time.monotonic()
                await asyncio.sleep(0.02)
                await connection.execute("SELECT 1")
                for trial in self.done[-1:]:
                    trial.stalled = max(trial.stalled, time.monotonic() - began - 0.02)

    async def rows(self, statement: str) -> list[Any]:
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            return await (await connection.execute(statement)).fetchall()  # type: ignore[arg-type]

    async def after(self) -> dict[str, list[Lag]]:
        """From each stop to the last answer of the candidate, by way at the replicas that can be reached, and from the expiry at
        the one that cannot (`cut off`); a negative one came before."""
        found = await self.rows(
            "SELECT decision_id, experiment_uid, answered_at FROM tradewind.decisions WHERE answered_by = 'v1' AND state = 'answered'"
        )
        told: dict[str, list[Lag]] = {name: [] for name in (*WAYS, "cut off")}
        for trial in self.done:
            mine = [(self.asked[name], at) for name, uid, at in found if uid == trial.uid]
            for replica in self.replicas:
                cut = replica not in self.reachable
                limit = trial.expires_at if cut else trial.stopped_at
                times = [(at - limit).total_seconds() for name, at in mine if name == replica.name]
                assert times, f"{replica.name} asked nobody in {trial}"
                told["cut off" if cut else trial.way].append(Lag(trial, max(times)))
        return told


def _command() -> int:
    parser = argparse.ArgumentParser()
    stop.add_parser(parser.add_subparsers())
    args = parser.parse_args(["stop", "trader", "--reason", "a trial", "-n", "ns", "--timeout", "1"])
    return int(args.run(args))


class Double(ThreadingHTTPServer):
    """An API server whose operator takes its turn as soon as the verb has come, and whose pods are said to obey what was published."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.uid, self.document, self.publish = "", {}, lambda: None  # type: ignore[var-annotated]
        self.experiment: dict[str, Any] = {}

    def stops(self, uid: str, document: dict[str, Any], publish: Any) -> None:
        self.uid, self.document, self.publish = uid, document, publish
        self.experiment = {
            "apiVersion": "tradewind.dev/v1alpha1", "kind": "ABExperiment", "metadata": {"name": "ab", "namespace": "ns", "uid": uid},
            "spec": {"endpointRef": {"name": "trader"}, "candidate": "v1"}, "status": {"phase": "Running"},
        }  # fmt: skip

    def turn(self, annotations: dict[str, str]) -> None:
        """The operator's: the experiment obeys the verb, the Endpoint publishes without it."""
        self.experiment["metadata"]["annotations"] = annotations
        found = parse(ABExperiment, self.experiment)
        assert isinstance(found, ABExperiment)
        self.experiment["status"] = decide(found, Seen(), datetime.now(UTC)).status.to_manifest()  # type: ignore[attr-defined]
        assert self.experiment["status"]["verdict"]["decision"] == "abort"
        self.publish()

    def read(self, path: str) -> Any:
        if path in (OURS, "/api/v1"):
            kinds = [
                ("endpoints", "Endpoint"),
                ("abexperiments", "ABExperiment"),
                ("pods", "Pod"),
                ("configmaps", "ConfigMap"),
            ]
            return {"resources": [{"name": plural, "kind": kind, "namespaced": True} for plural, kind in kinds]}
        if path.endswith("/endpoints/trader"):
            held = {"name": "ab", "uid": self.uid}
            return {
                "metadata": {"name": "trader", "namespace": "ns"},
                "status": {"activeExperiment": held, "gateway": {}},
            }
        if path.endswith("/abexperiments/ab"):
            return self.experiment
        if path.endswith("/configmaps/trader-routing"):
            return {"metadata": {"name": "trader-routing"}, "data": {"routing.json": json.dumps(self.document)}}
        if path.endswith("/pods"):
            return {
                "metadata": {"resourceVersion": "1"},
                "items": [{"metadata": {"name": "r2"}, "status": {"phase": "Running"}}],
            }
        return None


class _Handler(SignedHandler):
    server: Double

    def do_GET(self) -> None:
        with self.server.lock:
            found = self.server.read(urlsplit(self.path).path)
        self.answer(found or {"message": "not found"}, 404 if found is None else 200)

    def do_PATCH(self) -> None:
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.turn(patch["metadata"]["annotations"])
            self.answer(self.server.experiment)


@contextlib.contextmanager
def double() -> Iterator[Double]:
    made = Double()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


@contextlib.asynccontextmanager
async def trials(server: PostgresServer, folder: Path, api: Double) -> AsyncIterator[Trials]:
    """Three replicas that are ready and asked all the time."""
    dsn = server.dsn("tradewind")
    port = free_port()
    answering = arms(port, 1, SLOW_SECONDS)
    replicas: list[Replica] = []
    try:
        rig = await build_rig(dsn, folder, {}, f"http://127.0.0.1:{port}")
        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)))
            for number in range(3):
                proxy = await stack.enter_async_context(Proxy(server.port, number))
                replicas.append(Replica(f"r{number}", folder / f"r{number}", tenant_dsn(dsn), proxy))
            database = await stack.enter_async_context(Database(dsn, "tradewind"))
            made = Trials(dsn, rig.document | {"fallback": "safe"}, replicas, database, session, api)
            made.publish(None, replicas, 30)
            for replica in replicas:
                replica.start()
            for replica in replicas:
                await replica.ready(session)
            asking = [asyncio.create_task(made.clients(replica, n)) for replica in replicas for n in range(3)]
            asking.append(asyncio.create_task(made.watch()))
            try:
                yield made
            finally:
                for task in asking:
                    task.cancel()
                await asyncio.gather(*asking, return_exceptions=True)
    finally:
        for replica in replicas:
            replica.remove()
        answering.kill()
        answering.wait()
