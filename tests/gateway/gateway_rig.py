"""Real gateways on loopback, real HTTP arms, real PostgreSQL."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from psycopg.rows import dict_row

from tradewind.gateway.app import create_app
from tradewind.gateway.settings import Settings
from tradewind.migrations import tenants
from tradewind.trading.signature import Signer, Verifier

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OPEN = {
    "action": "open_long", "symbol": "BTC", "size_usd": 60.0, "leverage": 2, "stop_loss_pct": 0.02, "take_profit_pct": 0.05,
    "confidence": 0.75, "reasoning": "trend",
}  # fmt: skip
HOLD = OPEN | {"action": "hold", "size_usd": 0.0}


async def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Waits for something that other threads or tasks bring about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """Runs an ASGI app on a loopback port, in a thread and loop of its own; its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@dataclass
class Arm:
    """A tiny arm that speaks every protocol. `behave` may change the answer, sleep, or return a Response."""

    name: str
    answer: dict[str, Any] = field(default_factory=lambda: dict(OPEN))
    behave: Callable[[dict[str, Any]], Awaitable[Response | None]] | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def content(self, text: str) -> None:
        """Makes the OpenAI protocol say exactly this."""

        async def behave(_: dict[str, Any]) -> Response:
            return JSONResponse({"choices": [{"message": {"content": text}}]})

        self.behave = behave

    def status(self, code: int) -> None:
        async def behave(_: dict[str, Any]) -> Response:
            return JSONResponse({"error": "sk-very-secret is not a key"}, code)

        self.behave = behave

    def sleeps(self, seconds: float) -> None:
        async def behave(_: dict[str, Any]) -> None:
            await asyncio.sleep(seconds)

        self.behave = behave


def arms_app(arms: dict[str, Arm]) -> FastAPI:
    """All arms behind one port: `/<arm>/chat/completions`, `/<arm>/messages`, `/<arm>/v1/models/<model>:predict`, `/<arm>/v1/completions`."""
    app = FastAPI()

    async def receive(arm: Arm, request: Request) -> Response | None:
        body = await request.json()
        arm.seen.append(body)
        arm.headers.append(dict(request.headers))
        return await arm.behave(body) if arm.behave else None

    @app.post("/{name}/chat/completions")
    async def chat(name: str, request: Request) -> Response:
        said = await receive(arms[name], request)
        message = {"role": "assistant", "content": json.dumps(arms[name].answer)}
        return said or JSONResponse(
            {"model": "chat-7", "system_fingerprint": "fp_1", "choices": [{"message": message}]}
        )

    @app.post("/{name}/messages")
    async def message(name: str, request: Request) -> Response:
        said = await receive(arms[name], request)
        text = {"type": "text", "text": json.dumps(arms[name].answer)}
        return said or JSONResponse(
            {"type": "message", "model": "claude-7", "content": [text], "stop_reason": "end_turn"}
        )

    @app.post("/{name}/v1/models/{model}:predict")
    async def predict(name: str, model: str, request: Request) -> Response:
        said = await receive(arms[name], request)
        extra = {"_probabilities": {"hold": 0.25, "open_long": 0.75}, "_forward_passes": 9, "_latency_ms": 1.5}
        return said or JSONResponse({"predictions": [arms[name].answer | extra]})

    @app.post("/{name}/v1/completions")
    async def complete(name: str, request: Request) -> Response:
        said = await receive(arms[name], request)
        choice = {"index": 0, "text": json.dumps(arms[name].answer), "finish_reason": "stop"}
        return said or JSONResponse({"object": "text_completion", "model": "m", "choices": [choice]})

    return app


def ask(decision_id: str | None = None, **extra: Any) -> dict[str, Any]:
    body = {
        "scope": {"symbol": "BTC"},
        "market_data": {"BTC": {"price": 68500.0, "rsi": 62.5}},
        "account_state": {"balance": 600.0, "positions": [], "permission_level": "L2"},
    }
    return body | ({} if decision_id is None else {"decision_id": decision_id}) | extra


@dataclass
class Rig:
    """A gateway's surroundings: arms, routing file, database.

    Attributes:
        dsn: of the owner, for what tests look at and change. The gateways' own (`settings.dsn`) is a tenant's.
    """

    dsn: str
    folder: Path
    arms: dict[str, Arm]
    document: dict[str, Any]
    settings: Settings
    signer: Signer | None = None
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def routing_file(self) -> Path:
        return self.folder / "routing.json"

    def publish(self, **changes: Any) -> None:
        """Writes the routing document; the caller waits for it with `seen()`."""
        self.document |= changes
        now = datetime.now(UTC)
        self.document["generation"] += 1
        self.document["publishedAt"] = now.isoformat()
        if "expiresAt" not in changes:
            self.document["expiresAt"] = (now + timedelta(seconds=30)).isoformat()
        text = json.dumps(self.document)
        self.put(text, self.signer.sign(text, "ns", "trader") if self.signer else "")

    def put(self, text: str, signature: str = "") -> None:
        """Writes any text where the gateways look for the routing document; the signature first, so that it is there in time."""
        for suffix, content in ((".sig", signature), ("", text)):
            scratch = self.folder / "routing.tmp"
            scratch.write_text(content)
            scratch.replace(self.routing_file.with_name(f"routing.json{suffix}"))

    def sign(self) -> None:
        """From now on documents are signed, and gateways started from now on ask for that."""
        self.signer = Signer.generated()
        self.settings = replace(self.settings, verifier=Verifier(self.signer.public_keys))
        self.publish()

    def experiment(self, **changes: Any) -> dict[str, Any]:
        return {
            "uid": "exp-1", "name": "v1-against-api", "mode": "Live", "t0": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
            "blockSeconds": 86400, "baseline": "api", "candidate": "v1", "candidateWeight": "0.5", "epoch": 7, "blocks": [],
        } | changes  # fmt: skip

    async def gateway(self, **settings: Any) -> httpx.AsyncClient:
        """Starts a replica and waits until it is ready."""
        app = create_app(replace(self.settings, **settings))
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        client = httpx.AsyncClient(base_url="http://gateway", transport=httpx.ASGITransport(app), timeout=20)
        client.app = app  # type: ignore[attr-defined]
        self._stack.push_async_callback(client.aclose)
        self.clients.append(client)
        database = app.state.gateway.database
        for _ in range(1500):
            if (await client.get("/readyz")).status_code == 200 and database.up:
                return client
            await asyncio.sleep(0.01)
        raise AssertionError("the gateway did not become ready")

    async def served(self, **settings: Any) -> str:
        """Starts a replica on a port of its own, for clients that bring their own HTTP; its URL once it is ready."""
        url = self._stack.enter_context(serving(create_app(replace(self.settings, **settings))))
        async with httpx.AsyncClient(base_url=url) as client, asyncio.timeout(20):
            while (await client.get("/readyz")).status_code != 200 or not await _has_database(client):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return url

    async def seen(self) -> None:
        """Waits until every replica obeys the newest document."""
        for client in self.clients:
            watcher = client.app.state.gateway.watcher  # type: ignore[attr-defined]

            def obeyed(watcher: Any = watcher) -> bool:
                return bool(watcher.current and watcher.current.generation == self.document["generation"])

            await until(obeyed)

    async def rows(
        self, statement: str = "SELECT * FROM tradewind.decisions ORDER BY decided_at", *args: Any
    ) -> list[dict[str, Any]]:
        async with await psycopg.AsyncConnection.connect(self.dsn, row_factory=dict_row, autocommit=True) as connection:
            cursor = await connection.execute(statement, args or None)  # type: ignore[arg-type]
            return await cursor.fetchall() if cursor.description else []

    async def row(self, decision_id: str) -> dict[str, Any]:
        return (await self.rows("SELECT * FROM tradewind.decisions WHERE decision_id = %s", decision_id))[0]

    async def trade(self, client: httpx.AsyncClient, decision_id: str, position: str, **extra: Any) -> dict[str, Any]:
        """Asks, and reports the position as opened."""
        answer = await client.post("/v1/decisions", json=ask(decision_id, **extra))
        assert answer.status_code == 200, answer.text
        opened_at = extra.get("as_of") or datetime.now(UTC).isoformat()
        report = {"status": "opened", "opened_at": opened_at, "filled_notional_usd": 118.5, "position_id": position}
        opened = await client.post(f"/v1/decisions/{decision_id}/execution", json=report)
        assert opened.status_code == 200, opened.text
        return answer.json()

    async def close(
        self, client: httpx.AsyncClient, decision_id: str, pnl: float = 2.5, **extra: Any
    ) -> httpx.Response:
        report = {
            "closed_at": datetime.now(UTC).isoformat(),
            "pnl": pnl,
            "fees": 0.1,
            "exit_reason": "take_profit",
        } | extra
        return await client.post(f"/v1/decisions/{decision_id}/outcome", json=report)


@contextlib.asynccontextmanager
async def cut_off(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    """A replica that does not reach the database; what it answers lies in `other` afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    dsn = f"postgresql://u:s3cret@127.0.0.1:{port}/x"
    app = create_app(replace(rig.settings, dsn=dsn, spool_dir=rig.folder / "other", replica="other"))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://other", timeout=20) as client,
    ):
        await until(lambda: app.state.gateway.watcher.current)
        yield client


async def _has_database(client: httpx.AsyncClient) -> bool:
    return "tradewind_database_up 1.0" in (await client.get("/metrics")).text


@cache
def tenant_dsn(dsn: str) -> str:
    """The same database for the gateways of the rig: what they lack a right for fails in each test of theirs."""
    tenant = tenants.add(dsn, "tradewind", "ns", password="tenant-of-the-tests")
    return tenants.tenant_dsn(dsn, tenant.role, "tenant-of-the-tests")


async def build_rig(dsn: str, folder: Path, arms: dict[str, Arm], arms_url: str, *, tenant: bool = True) -> Rig:
    """`tenant`: gateways log in as a tenant, which the schema must know."""
    secret = folder / "api-key"
    secret.write_text("sk-very-secret\n")
    port = arms_url.rpartition(":")[2]
    (folder / "allowedHosts").write_text(f"127.0.0.1:{port}, 127.0.0.1:9, no-such-host.invalid\napi.test.invalid\n")
    environment = {
        "TRADEWIND_DSN": tenant_dsn(dsn) if tenant else dsn, "TRADEWIND_ROUTING": f"file:{folder / 'routing.json'}", "TRADEWIND_NAMESPACE": "ns",
        "TRADEWIND_ROUTING_TRUST": "unsigned", "TRADEWIND_ENDPOINT": "trader", "TRADEWIND_REPLICA": "r0", "TRADEWIND_AUTH": "disabled",
        "TRADEWIND_SPOOL_DIR": str(folder / "spool"), "TRADEWIND_POOL_SIZE": "8", "TRADEWIND_BREAKER_FAILURES": "50",
        "TRADEWIND_BREAKER_OPEN_SECONDS": "0.5",
        "TRADEWIND_DATABASE_TIMEOUT_SECONDS": "10",  # a busy machine is no outage; test_outage.py is stricter
    }  # fmt: skip
    settings = Settings.from_environment(environment)
    rig = Rig(dsn, folder, arms, {}, settings)
    arms |= {"api": Arm("api"), "v1": Arm("v1"), "safe": Arm("safe", answer=dict(HOLD))}
    rig.document = {
        "version": 1, "endpoint": "trader", "generation": 0, "clock": "live", "champion": "api", "fallback": "safe",
        "arms": {
            "api": {"protocol": "openai", "baseURL": f"{arms_url}/api", "model": "deepseek-chat", "credentialFile": str(secret),
                    "networks": ["127.0.0.0/8"], "plainHttp": True,
                    "timeoutSeconds": 2.5, "pricePerCallCNY": "0.5"},
            "v1": {"protocol": "kserve", "baseURL": f"{arms_url}/v1", "model": "v1", "timeoutSeconds": 2.5, "sha256": "ab" * 32,
                   "outside": False, "networks": ["127.0.0.0/8"], "plainHttp": True},
            "safe": {"protocol": "kserve", "baseURL": f"{arms_url}/safe", "model": "safe", "timeoutSeconds": 2.5, "outside": False},
        },
        "experiment": None, "limits": {"permissionLevels": {"L2": {"maxLeverage": 3, "maxSizeUSD": "100"}}, "symbols": ["BTC", "ETH"]},
        "externalFields": ["balance", "permission_level", "positions"], "onDatabaseOutage": "champion",
    }  # fmt: skip
    rig.publish()
    return rig
