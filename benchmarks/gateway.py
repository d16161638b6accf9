"""What the gateway adds to a decision: its round trip against the least that any gateway with these guarantees must do.

    python benchmarks/gateway.py [--requests 400] [--rate 300]

Floor: a bare FastAPI app that commits two one-row inserts (autocommit, pooled) around one HTTP question (httpx) to the same trivial
arm. Gateway: `POST /v1/decisions` with the same arm, as an own model and as an API of somebody else. All are real uvicorn processes
on loopback, asked in turns so that the machine's mood hits all; ratios are what counts, not milliseconds. PostgreSQL is a real
one, started from its binaries for this run. The goals: the guarantees cost at most three tenths of the floor's processor time more,
sixteen callers get more done than one, and at `rate` questions a second an own model's 99th percentile is at most 5 ms later.
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
from workshop.callers import Caller, p99, paced
from workshop.postgres import running
from workshop.progress import say
from workshop.waiting import wait_for

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--requests", type=int, default=size(400, 8), help="per measurement (default: %(default)s)")
FLAGS.add_argument("--rate", type=float, default=size(300.0, 20.0), help="decisions a second of the last part (default: %(default)s)")  # fmt: skip
FLAGS.add_argument("--serve", choices=("arm", "floor"), help=argparse.SUPPRESS)

_PROCESSOR, _ADDED_MS, _LEAST_MS = 1 / 1.3, 5.0, 0.1
GATEWAYS = {"own model": False, "outside API": True}
"""What the arm is to a gateway, and whether it lies outside of the cluster."""

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
        return {"predictions": [HOLD | {"_probabilities": {"hold": 1.0}}]}

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


async def compare(
    ports: dict[str, int], pids: dict[str, int], flags: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Ratios of the gateways to the floor, each with its goal."""
    requests = flags.requests
    async with contextlib.AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30))
            for name, port in ports.items()
        }
        latencies: dict[str, list[float]] = {name: [] for name in ports}
        rates: dict[tuple[str, int], list[float]] = {}
        for name, client in clients.items():
            await measure(client, size(50, 4), 4, f"warm-{name}")
        run = os.getpid()
        cpu = dict.fromkeys(ports, 0.0)
        for turn in range(4):
            for name, client in clients.items():
                before = cpu_seconds(pids[name])
                for concurrency in (1, 16):
                    times, rate = await measure(client, requests // 4, concurrency, f"{run}-{turn}-{concurrency}")
                    rates.setdefault((name, concurrency), []).append(rate)
                    if concurrency == 1:
                        latencies[name] += times
                cpu[name] += cpu_seconds(pids[name]) - before
    best = {key: max(values) for key, values in rates.items()}
    for name, times in latencies.items():
        say(
            f"{name}: {cpu[name] / (2 * requests) * 1000:.2f} ms of processor time a request, p50 {statistics.median(times):.2f} "
            f"ms, p99 {p99(times):.2f} ms, {best[name, 1]:.0f} requests/s alone, {best[name, 16]:.0f} at 16 callers"
        )
    return {
        "floor_cpu_over_gateway_cpu": (cpu["floor"] / cpu["own model"], _PROCESSOR),
        "floor_cpu_over_gateway_cpu_outside_api": (cpu["floor"] / cpu["outside API"], _PROCESSOR),
        "gateway_rate_at_16_over_alone": (best["own model", 16] / best["own model", 1], 1.0),
        "five_ms_over_added_p99": (_ADDED_MS / max(_LEAST_MS, await added(ports, flags.rate)), 1.0),
    }


async def added(ports: dict[str, int], rate: float) -> float:
    """Milliseconds that the gateway adds to the floor's 99th percentile at a fixed rate: the median of some turns."""
    callers = {name: Caller(ports[name]) for name in ("floor", "own model")}
    times: dict[str, list[list[float]]] = {name: [] for name in callers}
    for turn in range(size(5, 1)):
        for name, caller in callers.items():
            times[name].append(await paced(caller, BODY, f"paced-{turn}", rate, size(5.0, 0.3)))
    for name, turns in times.items():
        say(f"{name} at {rate:g}/s: p99 by turn {', '.join(f'{p99(each):.1f}' for each in turns)} ms")
    return statistics.median(
        p99(ours) - p99(floor) for floor, ours in zip(times["floor"], times["own model"], strict=True)
    )


def main() -> None:
    flags = FLAGS.parse_args()
    if flags.serve:
        import uvicorn

        app = arm_app() if flags.serve == "arm" else floor_app()
        uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)
        return
    say("starting PostgreSQL, an arm, the floor and two gateways")
    with running(autovacuum=True) as server, tempfile.TemporaryDirectory() as folder:
        dsn = server.dsn(server.create_database("bench"))
        migrations.upgrade(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE benchmark_floor (id bigserial PRIMARY KEY, body jsonb)")
        with servers(dsn, Path(folder)) as (ports, pids):
            for name, port in ports.items():
                url = f"http://127.0.0.1:{port}"
                wait_for(f"{name} to answer", partial(readiness, url), lambda told: not told, say=say)
            ratios = asyncio.run(compare(ports, pids, flags))
    print_ratios(ratios)


@contextlib.contextmanager
def servers(dsn: str, folder: Path) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """The floor and the gateways in front of the same arm: ports and pids by name."""
    arm, ports = free_port(), {name: free_port() for name in ("floor", *GATEWAYS)}
    url, own = f"http://127.0.0.1:{arm}", [sys.executable, __file__]
    with contextlib.ExitStack() as stack:
        stack.enter_context(process([*own, "--serve", "arm"], {"PORT": str(arm)}))
        floor = {"TRADEWIND_DSN": dsn, "ARM_URL": url, "PORT": str(ports["floor"])}
        pids = {"floor": stack.enter_context(process([*own, "--serve", "floor"], floor))}
        for name, outside in GATEWAYS.items():
            endpoint = name.replace(" ", "-").lower()
            place = folder / endpoint
            place.mkdir()
            (place / "routing.json").write_text(json.dumps(routing(endpoint, url, outside=outside)))
            environment = {
                "TRADEWIND_DSN": dsn, "TRADEWIND_ROUTING": f"file:{place / 'routing.json'}", "TRADEWIND_NAMESPACE": "bench",
                "TRADEWIND_ENDPOINT": endpoint, "TRADEWIND_AUTH": "disabled", "TRADEWIND_HOST": "127.0.0.1",
                "TRADEWIND_PORT": str(ports[name]), "TRADEWIND_ROUTING_TRUST": "unsigned", "TRADEWIND_SPOOL_DIR": str(place),
            }  # fmt: skip
            pids[name] = stack.enter_context(process([sys.executable, "-m", "tradewind.gateway"], environment))
        yield ports, pids


def routing(endpoint: str, arm_url: str, *, outside: bool) -> dict[str, object]:
    now = datetime.now(UTC)
    arm = {"protocol": "kserve", "outside": outside, "baseURL": arm_url, "model": "v1", "networks": ["127.0.0.0/8"]}
    return {
        "version": 1, "endpoint": endpoint, "generation": 1, "publishedAt": now.isoformat(),
        "expiresAt": (now + timedelta(hours=1)).isoformat(), "clock": "live", "champion": "v1", "fallback": "v1",
        "arms": {"v1": arm},
    }  # fmt: skip


if __name__ == "__main__":
    main()
