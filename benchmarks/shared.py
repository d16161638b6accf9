"""Memory of a gateway that answers for several Endpoints, against a process for each, and what a flood at one does to another.

    python benchmarks/shared.py [--endpoints 1,5,20] [--decisions 50] [--idle 10] [--flood 10]

A real process for each number of Endpoints, on loopback and a real PostgreSQL; every Endpoint has its port, its routing file and an
arm, and answers so many decisions before its memory is read (resident set size, `VmRSS`). Then nobody asks for a while, and the
processor time of that is read. Last, in the largest, 64 callers flood the first Endpoint for so many seconds, while one asks the
second, a question after the other.

The goals: twenty processes of one Endpoint take at least five times the memory of one process of twenty; every question at the
second Endpoint is answered in the flood.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path

import httpx

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from benchmarks.gateway import BODY, cpu_seconds, free_port, process, readiness
from benchmarks.overload import Caller

from tradewind import migrations
from workshop.benchmark import print_ratios, size
from workshop.postgres import running
from workshop.progress import say
from workshop.waiting import wait_for

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--endpoints", default=size("1,5,20", "1,2"), help="how many in a process (default: %(default)s)")
FLAGS.add_argument("--decisions", type=int, default=size(50, 2), help="at each Endpoint (default: %(default)s)")
FLAGS.add_argument(
    "--idle", type=float, default=size(10.0, 0.2), help="seconds without a request (default: %(default)s)"
)
FLAGS.add_argument("--flood", type=float, default=size(10.0, 0.5), help="seconds of the flood (default: %(default)s)")
_CALLERS = 64


def resident(pid: int) -> float:
    """MiB of a process in memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def variables(name: str, port: int, arm: int, folder: Path) -> dict[str, str]:
    """Settings of one Endpoint, with its routing in a file."""
    now = datetime.now(UTC)
    routing = {
        "version": 1, "endpoint": name, "generation": 1, "publishedAt": now.isoformat(),
        "expiresAt": (now + timedelta(hours=1)).isoformat(), "clock": "live", "champion": "v1", "fallback": "v1",
        "arms": {"v1": {"protocol": "kserve", "outside": False, "baseURL": f"http://127.0.0.1:{arm}", "model": "v1"}},
    }  # fmt: skip
    file = folder / f"{name}.json"
    file.write_text(json.dumps(routing), encoding="utf-8")
    return {
        "TRADEWIND_ENDPOINT": name, "TRADEWIND_ROUTING": f"file:{file}", "TRADEWIND_AUTH": "disabled",
        "TRADEWIND_PORT": str(port), "TRADEWIND_SPOOL_DIR": str(folder / name),
    }  # fmt: skip


@contextlib.contextmanager
def gateway(dsn: str, endpoints: int, arm: int, folder: Path) -> Iterator[tuple[int, list[int]]]:
    """One process of so many Endpoints: its id, and their ports."""
    ports = [free_port() for _ in range(endpoints)]
    own, *guests = [variables(f"e{endpoints}-{n}", port, arm, folder) for n, port in enumerate(ports)]
    environment = own | {
        "TRADEWIND_DSN": dsn, "TRADEWIND_NAMESPACE": "bench", "TRADEWIND_ROUTING_TRUST": "unsigned",
        "TRADEWIND_HOST": "127.0.0.1", "TRADEWIND_GUESTS": json.dumps(guests) if guests else "",
    }  # fmt: skip
    with process([sys.executable, "-m", "tradewind.gateway"], environment) as pid:
        for port in ports:
            told = partial(readiness, f"http://127.0.0.1:{port}")
            wait_for("every Endpoint to answer", told, lambda said: not said, say=say)
        yield pid, ports


async def ask(ports: list[int], decisions: int) -> None:
    """So many decisions at each port, four at a time."""

    async def one(client: httpx.AsyncClient, port: int, number: int) -> None:
        body = BODY | {"decision_id": f"d{number}", "scope": {"symbol": "BTC", "book": f"b{number}"}}
        answer = await client.post(f"http://127.0.0.1:{port}/v1/decisions", json=body)
        answer.raise_for_status()

    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        for port in ports:
            for start in range(0, decisions, 4):
                await asyncio.gather(*(one(client, port, n) for n in range(start, min(start + 4, decisions))))


async def one_by_one(caller: Caller, seconds: float) -> tuple[int, list[float]]:
    """How many questions were not answered, and the milliseconds of those that were."""
    until, failed, took = time.perf_counter() + seconds, 0, []
    while time.perf_counter() < until:
        status, ms = await caller.ask()
        failed += status != HTTPStatus.OK
        took += [ms] if status == HTTPStatus.OK else []
    return failed, took


async def flooded(ports: list[int], seconds: float) -> float:
    """The share of questions at the second Endpoint that are answered while the first is flooded."""
    flood, other = Caller(ports[0], 20), Caller(ports[1], 20)
    statuses: Counter[int] = Counter()
    until = time.perf_counter() + 2 * seconds

    async def caller() -> None:
        while time.perf_counter() < until - seconds / 2:
            statuses[(await flood.ask())[0]] += 1

    _, alone = await one_by_one(other, seconds / 2)
    async with asyncio.TaskGroup() as group:
        for _ in range(_CALLERS):
            group.create_task(caller())
        failed, took = await one_by_one(other, seconds)
    say(
        f"alone {statistics.median(alone):.0f} ms; while {_CALLERS} callers flood another Endpoint (answered by status: "
        f"{dict(statuses)}) {statistics.median(took):.0f} ms in the middle, {max(took):.0f} ms at most, {failed} not answered"
    )
    return len(took) / (len(took) + failed)


def main() -> None:
    flags = FLAGS.parse_args()
    numbers = [int(text) for text in flags.endpoints.split(",")]
    arm = free_port()
    arms = [sys.executable, str(Path(__file__).parent / "gateway.py"), "--serve", "arm"]
    memory: dict[int, float] = {}
    answered = 0.0
    with (
        running() as server,
        tempfile.TemporaryDirectory() as folder,
        process(arms, {"PORT": str(arm)}),
    ):
        dsn = server.dsn(server.create_database("bench"))
        migrations.upgrade(dsn)
        for number in numbers:
            with gateway(dsn, number, arm, Path(folder)) as (pid, ports):
                asyncio.run(ask(ports, flags.decisions))
                memory[number] = resident(pid)
                before = cpu_seconds(pid)
                time.sleep(flags.idle)
                idle = (cpu_seconds(pid) - before) / flags.idle
                if number == max(numbers):
                    answered = asyncio.run(flooded(ports, flags.flood))
            say(f"{number} Endpoint(s): {memory[number]:.0f} MiB, idle {idle * 1000:.0f} ms of processor time a second")
    fewest, most = min(numbers), max(numbers)
    saved = most * memory[fewest] / fewest / memory[most]
    print_ratios({"processes_over_shared": (saved, 5.0), "answered_beside_a_flood": (answered, 1.0)})


if __name__ == "__main__":
    main()
