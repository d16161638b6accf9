"""What the gateway adds to a decision: its round trip against the least that any gateway with these guarantees must do.

    python benchmarks/gateway.py [--requests 400]

Floor: a bare FastAPI app that commits two one-row inserts (autocommit, pooled) around one HTTP question to the same trivial arm.
Gateway: `POST /v1/decisions` with the same arm. Both are real uvicorn processes on loopback, asked in turns so that the machine's
mood hits both; ratios are what counts, not milliseconds. PostgreSQL is a real one, started from its binaries for this run. The
goals: the guarantees cost no more than the floor once more in processor time, and sixteen callers get more done than one.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path

import httpx
import psycopg
from fastapi import FastAPI, Request
from psycopg_pool import AsyncConnectionPool

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from tradewind import migrations
from workshop.benchmark import print_ratios, size
from workshop.postgres import running
from workshop.progress import say
from workshop.waiting import wait_for

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--requests", type=int, default=size(400, 8), help="per measurement (default: %(default)s)")
FLAGS.add_argument("--serve", choices=("arm", "floor"), help=argparse.SUPPRESS)

HOLD = {
    "action": "hold", "symbol": "BTC", "size_usd": 0.0, "leverage": 1, "stop_loss_pct": 0.0, "take_profit_pct": 0.0,
    "confidence": 0.5,
}  # fmt: skip
BODY = {
    "scope": {"symbol": "BTC"},
    "market_data": {"BTC": {"price": 68500.0, "change_24h": 0.025, "trend": "bullish", "rsi": 62.5}},
    "account_state": {"balance": 600.0, "positions": [], "permission_level": "L2"},
}


def arm_app() -> FastAPI:
    app = FastAPI()

    @app.post("/v1/models/v1:predict")
    async def predict(request: Request) -> dict[str, list[dict[str, object]]]:
        await request.json()
        return {"predictions": [HOLD]}

    return app


def floor_app() -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            AsyncConnectionPool(
                os.environ["TRADEWIND_DSN"], min_size=2, max_size=16, kwargs={"autocommit": True}
            ) as pool,
            httpx.AsyncClient(base_url=os.environ["ARM_URL"]) as client,
        ):
            app.state.pool, app.state.client = pool, client
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/decisions")
    async def decide(request: Request) -> dict[str, object]:
        body = await request.json()
        for step in range(2):
            if step == 1:
                answer = (await app.state.client.post("/v1/models/v1:predict", json={"instances": [body]})).json()
            async with app.state.pool.connection() as connection:
                await connection.execute("INSERT INTO benchmark_floor (body) VALUES (%s)", (json.dumps(body),))
        return dict(answer["predictions"][0])

    return app


@contextlib.contextmanager
def process(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    child = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL)
    try:
        yield child.pid
    finally:
        child.terminate()
        child.wait(30)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; unlike latency it does not depend on what else runs here."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def measure(client: httpx.AsyncClient, requests: int, concurrency: int, prefix: str) -> tuple[list[float], float]:
    """Milliseconds of every request, and requests a second. Each caller has a scope of its own: in one they wait in turn."""
    times: list[float] = []
    numbers = iter(range(requests))

    async def worker(caller: int) -> None:
        scope = {"symbol": "BTC", "book": f"caller-{caller}"}
        for number in numbers:
            started = time.perf_counter()
            asked = BODY | {"decision_id": f"{prefix}-{number}", "scope": scope}
            response = await client.post("/v1/decisions", json=asked)
            response.raise_for_status()
            times.append((time.perf_counter() - started) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*map(worker, range(concurrency)))
    return times, requests / (time.perf_counter() - started)


def readiness(url: str) -> str:
    """Why a server does not answer as it should yet; empty when it does."""
    try:
        answer = httpx.post(f"{url}/v1/decisions", json=BODY, timeout=5)
        if answer.status_code != HTTPStatus.OK:
            return f"{answer.status_code} {answer.text[:200]}"
        return "no database" if "database_up 0.0" in httpx.get(f"{url}/metrics", timeout=5).text else ""
    except httpx.HTTPError as error:
        return f"{type(error).__name__} {error}"


async def compare(urls: dict[str, str], pids: dict[str, int], requests: int) -> dict[str, tuple[float, float]]:
    """Ratios of the gateway to the floor, each with its goal."""
    async with contextlib.AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30))
            for name, url in urls.items()
        }
        latencies: dict[str, list[float]] = {name: [] for name in urls}
        rates: dict[tuple[str, int], list[float]] = {}
        for name, client in clients.items():
            await measure(client, size(50, 4), 4, f"warm-{name}")
        run = os.getpid()
        cpu = dict.fromkeys(urls, 0.0)
        for turn in range(4):
            for name, client in clients.items():
                before = cpu_seconds(pids[name])
                for concurrency in (1, 16):
                    times, rate = await measure(client, requests // 4, concurrency, f"{run}-{turn}-{concurrency}")
                    rates.setdefault((name, concurrency), []).append(rate)
                    if concurrency == 1:
                        latencies[name] += times
                cpu[name] += cpu_seconds(pids[name]) - before
    p50 = {name: statistics.median(times) for name, times in latencies.items()}
    best = {key: max(values) for key, values in rates.items()}
    for name in urls:
        p99 = statistics.quantiles(latencies[name], n=100)[98]
        say(
            f"{name}: {cpu[name] / (2 * requests) * 1000:.2f} ms of processor time a request, p50 {p50[name]:.2f} ms, "
            f"p99 {p99:.2f} ms, {best[name, 1]:.0f} requests/s alone, {best[name, 16]:.0f} at 16 callers"
        )
    say(f"round trip of the gateway over the floor: {p50['gateway'] / p50['floor']:.2f}")
    return {
        "floor_cpu_over_gateway_cpu": (cpu["floor"] / cpu["gateway"], 0.5),
        "gateway_rate_at_16_over_alone": (best["gateway", 16] / best["gateway", 1], 1.0),
    }


def main() -> None:
    flags = FLAGS.parse_args()
    if flags.serve:
        import uvicorn

        app = arm_app() if flags.serve == "arm" else floor_app()
        uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)
        return
    say("starting PostgreSQL, an arm, the floor and the gateway")
    with running(autovacuum=True) as server, tempfile.TemporaryDirectory() as folder:
        dsn = server.dsn(server.create_database("bench"))
        migrations.upgrade(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE benchmark_floor (id bigserial PRIMARY KEY, body jsonb)")
        with servers(dsn, Path(folder)) as (urls, pids):
            for name, url in urls.items():
                wait_for(f"the {name} to answer", partial(readiness, url), lambda told: not told, say=say)
            ratios = asyncio.run(compare(urls, pids, flags.requests))
    print_ratios(ratios)


@contextlib.contextmanager
def servers(dsn: str, folder: Path) -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """Floor and gateway in front of the same arm: URLs and pids by name."""
    ports = {name: free_port() for name in ("arm", "floor", "gateway")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    now = datetime.now(UTC)
    routing = {
        "version": 1, "endpoint": "bench", "generation": 1, "publishedAt": now.isoformat(),
        "expiresAt": (now + timedelta(hours=1)).isoformat(), "clock": "live", "champion": "v1", "fallback": "v1",
        "arms": {"v1": {"protocol": "kserve", "baseURL": urls["arm"], "model": "v1", "networks": ["127.0.0.0/8"]}},
    }  # fmt: skip
    file = folder / "routing.json"
    file.write_text(json.dumps(routing))
    common = {"TRADEWIND_DSN": dsn, "ARM_URL": urls["arm"]}
    gateway = common | {
        "TRADEWIND_ROUTING": f"file:{file}", "TRADEWIND_NAMESPACE": "bench", "TRADEWIND_ENDPOINT": "bench",
        "TRADEWIND_AUTH": "disabled", "TRADEWIND_HOST": "127.0.0.1", "TRADEWIND_PORT": str(ports["gateway"]),
        "TRADEWIND_ROUTING_TRUST": "unsigned", "TRADEWIND_SPOOL_DIR": str(folder),
    }  # fmt: skip
    own = [sys.executable, __file__]
    with (
        process([*own, "--serve", "arm"], {"PORT": str(ports["arm"])}),
        process([*own, "--serve", "floor"], common | {"PORT": str(ports["floor"])}) as floor_pid,
        process([sys.executable, "-m", "tradewind.gateway"], gateway) as gateway_pid,
    ):
        yield {name: urls[name] for name in ("floor", "gateway")}, {"floor": floor_pid, "gateway": gateway_pid}


if __name__ == "__main__":
    main()
