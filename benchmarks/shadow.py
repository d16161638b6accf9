"""What the shadow adds to the caller's wait: the 99th percentile of an answer with a shadow beside each, against none.

    python benchmarks/shadow.py [--turns 10] [--seconds 10] [--rate 100] [--arm-ms 10]

Two gateways in front of the same arms and the same real PostgreSQL, real processes on loopback. One experiment has
`shadow: candidate`, the other none; the weight is 0, so that every decision of the first has a shadow. Both are asked at the same
rate, whether or not they keep up, in turns, so that the machine's mood hits both; the added time is the median of the
turns' differences. The goal: at most 1 ms, as a ratio 1 ms over what was added.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import psycopg
from fastapi import FastAPI, Request

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from benchmarks.gateway import BODY, HOLD, cpu_seconds, free_port, process, readiness

from tradewind import migrations
from workshop.benchmark import print_ratios, size
from workshop.postgres import running
from workshop.progress import say
from workshop.waiting import wait_for

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--turns", type=int, default=size(10, 2), help="of each gateway (default: %(default)s)")
FLAGS.add_argument("--seconds", type=float, default=size(10.0, 0.3), help="of a turn (default: %(default)s)")
FLAGS.add_argument("--rate", type=float, default=100.0, help="decisions a second (default: %(default)s)")
FLAGS.add_argument("--arm-ms", type=float, default=10.0, help="what an arm takes (default: %(default)s)")
FLAGS.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)

ALLOWED_MS = 1.0
_FLOOR_MS = 0.1  # a difference below it is noise: the ratio stops there
MODES = {"alone": "none", "with shadow": "candidate"}


def arms_app(seconds: float) -> FastAPI:
    app = FastAPI()

    @app.post("/v1/models/{name}:predict")
    async def predict(name: str, request: Request) -> dict[str, list[dict[str, object]]]:  # noqa: ARG001 - of the path
        await request.json()
        await asyncio.sleep(seconds)
        return {"predictions": [HOLD]}

    return app


async def turn(client: httpx.AsyncClient, prefix: str, rate: float, seconds: float) -> list[float]:
    """Milliseconds of each answer, asked at a fixed rate. Each question has a scope of its own: in one they wait in turn."""
    times: list[float] = []

    async def one(number: int) -> None:
        started = time.perf_counter()
        name = f"{prefix}-{number}"
        asked = BODY | {"decision_id": name, "scope": {"symbol": "BTC", "book": str(number % 500)}}
        (await client.post("/v1/decisions", json=asked)).raise_for_status()
        times.append((time.perf_counter() - started) * 1000)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(one(number))
    return times


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


async def compare(urls: dict[str, str], pids: dict[str, int], flags: argparse.Namespace) -> float:
    """Milliseconds that the shadow adds to the 99th percentile."""
    times: dict[str, list[list[float]]] = {name: [] for name in urls}
    cpu = dict.fromkeys(urls, 0.0)
    async with contextlib.AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30))
            for name, url in urls.items()
        }
        for client in clients.values():
            await turn(client, "warm", flags.rate / 2, min(flags.seconds, 5))
        for number in range(flags.turns):
            order = list(clients.items())
            for name, client in order if number % 2 else order[::-1]:
                before = cpu_seconds(pids[name])
                times[name].append(await turn(client, f"{number}", flags.rate, flags.seconds))
                await asyncio.sleep(0.2)  # the last shadows
                cpu[name] += cpu_seconds(pids[name]) - before
    for name, turns in times.items():
        everything = [t for each in turns for t in each]
        say(
            f"{name}: p50 {statistics.median(everything):.2f} ms, p99 {p99(everything):.2f} ms, by turn "
            f"{', '.join(f'{p99(each):.1f}' for each in turns)}; {cpu[name] / len(everything) * 1000:.2f} ms of processor "
            "time a decision"
        )
    return statistics.median(
        p99(beside) - p99(alone) for alone, beside in zip(times["alone"], times["with shadow"], strict=True)
    )


@contextlib.contextmanager
def servers(dsn: str, folder: Path, arm_ms: float) -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """Both gateways in front of the same arms: URLs and pids by name."""
    arms = free_port()
    with contextlib.ExitStack() as stack:
        command = [sys.executable, __file__, "--serve", "--arm-ms", str(arm_ms)]
        stack.enter_context(process(command, {"PORT": str(arms)}))
        urls, pids = {}, {}
        for name, mode in MODES.items():
            port, place = free_port(), folder / mode
            place.mkdir()
            file = place / "routing.json"
            file.write_text(json.dumps(routing(f"http://127.0.0.1:{arms}", mode)))
            environment = {
                "TRADEWIND_DSN": dsn, "TRADEWIND_ROUTING": f"file:{file}", "TRADEWIND_NAMESPACE": "bench",
                "TRADEWIND_ENDPOINT": mode, "TRADEWIND_AUTH": "disabled", "TRADEWIND_HOST": "127.0.0.1",
                "TRADEWIND_PORT": str(port), "TRADEWIND_SPOOL_DIR": str(place),
            }  # fmt: skip
            pids[name] = stack.enter_context(process([sys.executable, "-m", "tradewind.gateway"], environment))
            urls[name] = f"http://127.0.0.1:{port}"
        yield urls, pids


def routing(arms_url: str, mode: str) -> dict[str, object]:
    now = datetime.now(UTC)
    arm = {"protocol": "kserve", "baseURL": arms_url, "outside": False}
    return {
        "version": 1, "endpoint": mode, "generation": 1, "publishedAt": now.isoformat(),
        "expiresAt": (now + timedelta(hours=1)).isoformat(), "clock": "live", "champion": "old", "fallback": "old",
        "arms": {"old": arm | {"model": "old"}, "new": arm | {"model": "new"}},
        "experiment": {
            "uid": "bench", "name": "bench", "mode": "Live", "t0": (now - timedelta(hours=1)).isoformat(),
            "blockSeconds": 86400, "baseline": "old", "candidate": "new", "candidateWeight": "0", "epoch": 1, "shadow": mode,
        },
    }  # fmt: skip


def main() -> None:
    flags = FLAGS.parse_args()
    if flags.serve:
        import uvicorn

        app = arms_app(flags.arm_ms / 1000)
        uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)
        return
    say("starting PostgreSQL, the arms and two gateways")
    with running() as server, tempfile.TemporaryDirectory() as folder:
        dsn = server.dsn(server.create_database("bench"))
        migrations.upgrade(dsn)
        with servers(dsn, Path(folder), flags.arm_ms) as (urls, pids):
            for name, url in urls.items():
                wait_for(f"the gateway {name} to answer", partial(readiness, url), lambda told: not told, say=say)
            added = asyncio.run(compare(urls, pids, flags))
            count = "SELECT state, count(*) FROM tradewind.shadows GROUP BY state ORDER BY state"
            with psycopg.connect(dsn) as connection:
                say(f"shadows: {dict(connection.execute(count).fetchall())}")
    say(f"added to the 99th percentile at {flags.rate:g} decisions a second: {added:.2f} ms")
    print_ratios({"allowed_added_p99_over_added": (ALLOWED_MS / max(added, _FLOOR_MS), 1.0)})


if __name__ == "__main__":
    main()
