"""What the gateway adds to a decision: its round trip against the least that any gateway with these guarantees must do.

    python benchmarks/gateway.py --dsn postgresql://... [--requests 400]

Floor: a bare FastAPI app that commits two one-row inserts (autocommit, pooled) around one HTTP question to the same trivial arm.
Gateway: `POST /v1/decisions` with the same arm. Both are real uvicorn processes on loopback, asked in turns so that the machine's
mood hits both; ratios are what counts, not milliseconds. Without --dsn a throwaway PostgreSQL is not started: give one.
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
from pathlib import Path

import httpx
import psycopg
from fastapi import FastAPI, Request
from psycopg_pool import AsyncConnectionPool

from tradewind import migrations

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument(
    "--dsn", default=os.environ.get("TRADEWIND_DSN"), help="PostgreSQL; gets the schema and a table of ours"
)
FLAGS.add_argument("--requests", type=int, default=400, help="per measurement (default: %(default)s)")
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
    """Milliseconds of every request, and requests a second."""
    times: list[float] = []
    numbers = iter(range(requests))

    async def worker() -> None:
        for number in numbers:
            started = time.perf_counter()
            response = await client.post("/v1/decisions", json=BODY | {"decision_id": f"{prefix}-{number}"})
            response.raise_for_status()
            times.append((time.perf_counter() - started) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return times, requests / (time.perf_counter() - started)


async def ready(client: httpx.AsyncClient) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx.HTTPError):
            response = await client.post("/v1/decisions", json=BODY)
            if response.status_code == 200 and (await client.get("/metrics")).text.find("database_up 0.0") < 0:
                return
        await asyncio.sleep(0.1)
    raise SystemExit("a server did not become ready")


async def compare(urls: dict[str, str], pids: dict[str, int], requests: int) -> dict[str, object]:
    async with contextlib.AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30))
            for name, url in urls.items()
        }
        latencies: dict[str, list[float]] = {name: [] for name in urls}
        rates: dict[tuple[str, int], list[float]] = {}
        for name, client in clients.items():
            await ready(client)
            await measure(client, 50, 4, f"warm-{name}")
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
    return {
        "requests": requests,
        "gateway_p50_over_floor": round(p50["gateway"] / p50["floor"], 2),
        "gateway_cpu_over_floor": round(cpu["gateway"] / cpu["floor"], 2),
        "gateway_rate_16_over_1": round(best["gateway", 16] / best["gateway", 1], 2),
        "gateway_rate_16_over_floor_16": round(best["gateway", 16] / best["floor", 16], 2),
        "cpu_ms_a_request_here": {name: round(seconds / (2 * requests) * 1000, 2) for name, seconds in cpu.items()},
        "p50_ms_here": {name: round(value, 2) for name, value in p50.items()},
        "p99_ms_here": {name: round(statistics.quantiles(times, n=100)[98], 2) for name, times in latencies.items()},
    }


def main() -> None:
    flags = FLAGS.parse_args()
    if flags.serve:
        import uvicorn

        app = arm_app() if flags.serve == "arm" else floor_app()
        uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)
        return
    if not flags.dsn:
        raise SystemExit("give --dsn or TRADEWIND_DSN: the benchmark commits to a real PostgreSQL")
    migrations.upgrade(flags.dsn)
    with psycopg.connect(flags.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS benchmark_floor (id bigserial PRIMARY KEY, body jsonb)")
    ports = {name: free_port() for name in ("arm", "floor", "gateway")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    now = datetime.now(UTC)
    routing = {
        "version": 1, "endpoint": "bench", "generation": 1, "publishedAt": now.isoformat(),
        "expiresAt": (now + timedelta(hours=1)).isoformat(), "clock": "live", "champion": "v1", "fallback": "v1",
        "arms": {"v1": {"protocol": "kserve", "baseURL": urls["arm"], "model": "v1"}},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "routing.json"
        file.write_text(json.dumps(routing))
        common = {"TRADEWIND_DSN": flags.dsn, "ARM_URL": urls["arm"]}
        gateway = common | {
            "TRADEWIND_ROUTING": f"file:{file}", "TRADEWIND_NAMESPACE": "bench", "TRADEWIND_ENDPOINT": "bench",
            "TRADEWIND_AUTH": "disabled", "TRADEWIND_HOST": "127.0.0.1", "TRADEWIND_PORT": str(ports["gateway"]),
            "TRADEWIND_SPOOL_DIR": folder,
        }  # fmt: skip
        own = [sys.executable, __file__]
        with (
            process([*own, "--serve", "arm"], {"PORT": str(ports["arm"])}),
            process([*own, "--serve", "floor"], common | {"PORT": str(ports["floor"])}) as floor_pid,
            process([sys.executable, "-m", "tradewind.gateway"], gateway) as gateway_pid,
        ):
            pids = {"floor": floor_pid, "gateway": gateway_pid}
            result = asyncio.run(compare({name: urls[name] for name in pids}, pids, flags.requests))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
