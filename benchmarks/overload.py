"""A gateway that is asked three times as much as it can answer: what it still answers, and how soon all is normal afterwards.

    python benchmarks/overload.py [--seconds 15] [--times 3] [--lock 5] [--patience 5]

First its capacity: what callers that wait for each answer get in a second. Then requests come at `times` that rate whether or not
they are answered, each from a caller that gives up after `patience` seconds; in the middle the table of decisions is locked for
`lock` seconds. Last, few requests again, until ten in a row are answered as fast as before the storm (at most five times as slowly).
Meanwhile the liveness port is asked every half second. Real processes on loopback, a real PostgreSQL. Gateway, arm and database
have one half of the cores and the callers the other, or else the storm would take from the gateway what it asks it for.

The goals: answers a second, outside of the lock, at least 0.8 of capacity; normal within ten seconds; every probe answered.
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
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from benchmarks.gateway import BODY, free_port, process, readiness

from tradewind import migrations
from workshop.benchmark import print_ratios, size
from workshop.callers import message
from workshop.postgres import running
from workshop.progress import say
from workshop.waiting import wait_for

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--seconds", type=float, default=size(15.0, 1.0), help="of the storm (default: %(default)s)")
FLAGS.add_argument("--times", type=float, default=3.0, help="its rate over the capacity (default: %(default)s)")
FLAGS.add_argument(
    "--lock", type=float, default=size(5.0, 0.3), help="seconds of a locked table (default: %(default)s)"
)
FLAGS.add_argument(
    "--patience", type=float, default=5.0, help="seconds after which a caller gives up (default: %(default)s)"
)

_CALLERS = 32
_IN_A_ROW = 10
_AS_FAST = 5.0
_NORMAL_SECONDS = 10.0
_MOST_SECONDS = 60.0
_GAVE_UP = 0


class Caller:
    """Asks the gateway over connections that are kept open."""

    def __init__(self, port: int, patience: float) -> None:
        self._port = port
        self._patience = patience
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._count = 0

    async def ask(self) -> tuple[int, float]:
        """Status (0: gave up, or the connection broke) and milliseconds. Each question has a scope of its own."""
        self._count += 1
        scope = {"symbol": "BTC", "book": f"b{self._count % 5000}"}
        text = json.dumps(BODY | {"decision_id": f"storm-{self._count}", "scope": scope}).encode()
        head = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        started = time.perf_counter()
        writer = None
        try:
            async with asyncio.timeout(self._patience):
                reader, writer = (
                    self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
                )
                writer.write(head % len(text) + text)
                answer, _ = await message(reader)
            self._idle.append((reader, writer))
            return int(answer.split(b" ", 2)[1]), (time.perf_counter() - started) * 1000
        except (TimeoutError, OSError, asyncio.IncompleteReadError, StopIteration):
            if writer is not None:
                writer.close()
            return _GAVE_UP, (time.perf_counter() - started) * 1000


async def capacity(caller: Caller, seconds: float) -> tuple[float, float]:
    """Answers a second to callers that wait, and the median milliseconds of one that is alone."""
    alone = [(await caller.ask())[1] for _ in range(20)]
    until, answered = time.perf_counter() + seconds, 0

    async def work() -> None:
        nonlocal answered
        while time.perf_counter() < until:
            status, _ = await caller.ask()
            answered += status == 200

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(_CALLERS)))
    return answered / (time.perf_counter() - began), statistics.median(alone)


async def storm(caller: Caller, rate: float, seconds: float) -> list[tuple[float, int, float]]:
    """When each request ended (from the start, seconds), with what status, after how many milliseconds."""
    ended: list[tuple[float, int, float]] = []
    began = time.perf_counter()

    async def one() -> None:
        status, took = await caller.ask()
        ended.append((time.perf_counter() - began, status, took))

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(one())
    return ended


async def until_normal(caller: Caller, alone_ms: float) -> float:
    """Seconds until ten in a row are answered as fast as before."""
    began, good = time.perf_counter(), 0
    while good < _IN_A_ROW and time.perf_counter() - began < _MOST_SECONDS:
        status, took = await caller.ask()
        good = good + 1 if status == 200 and took <= _AS_FAST * alone_ms else 0
        await asyncio.sleep(0.05)
    return time.perf_counter() - began


async def lock(dsn: str, after: float, seconds: float) -> tuple[float, float]:
    """Locks the table of decisions; when it began and ended, on the clock of perf_counter."""
    await asyncio.sleep(after)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("LOCK TABLE tradewind.decisions IN ACCESS EXCLUSIVE MODE")
        began = time.perf_counter()
        await asyncio.sleep(seconds)
    return began, time.perf_counter()


@contextlib.asynccontextmanager
async def probing(port: int) -> AsyncIterator[list[bool]]:
    """Asks the liveness port every half second, as a kubelet with a timeout of one."""
    answered: list[bool] = []

    async def probe() -> None:
        while True:
            alive = False
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                    alive = (await reader.readline()).split(b" ")[1:2] == [b"200"]
                    writer.close()
            answered.append(alive)
            await asyncio.sleep(0.5)

    task = asyncio.create_task(probe())
    try:
        yield answered
    finally:
        task.cancel()


async def measure(flags: argparse.Namespace, port: int, health: int, dsn: str) -> dict[str, tuple[float, float]]:
    """Ratios, each with its goal."""
    caller = Caller(port, flags.patience)
    await capacity(caller, size(3.0, 0.2))  # warm
    most, alone_ms = await capacity(caller, size(10.0, 0.5))
    say(f"capacity {most:.1f} decisions/s at {_CALLERS} callers; alone {alone_ms:.1f} ms")
    async with probing(health) as alive:
        began = time.perf_counter()
        locked, ended = await asyncio.gather(
            lock(dsn, flags.seconds / 3, flags.lock), storm(caller, flags.times * most, flags.seconds)
        )
        normal = await until_normal(caller, alone_ms)
    out_of_lock = [
        (at, status, took)
        for at, status, took in ended
        if at <= flags.seconds and not locked[0] <= began + at <= locked[1]
    ]
    seconds = flags.seconds - max(0.0, min(locked[1] - began, flags.seconds) - (locked[0] - began))
    goodput = sum(status == 200 for _, status, _ in out_of_lock) / seconds
    took = [took for _, status, took in ended if status == 200]
    shed = [took for _, status, took in ended if status == 503]
    counts = ", ".join(f"{status or 'given up'}: {n}" for status, n in sorted(Counter(s for _, s, _ in ended).items()))
    say(f"at {flags.times:g} times that: {counts}; {goodput:.1f} answers/s outside of the lock")
    if len(took) > 1:
        say(
            f"answers took {statistics.median(took):.0f} ms in the middle, {statistics.quantiles(took, n=20)[-1]:.0f} at 95 %"
        )
    if shed:
        say(f"refusals took {statistics.median(shed):.1f} ms in the middle")
    say(f"normal after {normal:.1f} s; {sum(alive)} of {len(alive)} liveness probes answered")
    return {
        "goodput_over_capacity": (goodput / most, 0.8),
        "ten_seconds_over_time_to_normal": (_NORMAL_SECONDS / normal, 1.0),
        "liveness_probes_answered": (sum(alive) / max(1, len(alive)), 1.0),
    }


def halves() -> tuple[set[int], set[int]]:
    """Cores of who is asked and of who asks; one core is both."""
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    return set(cores[:half]), set(cores[half:]) or set(cores)


def main() -> None:
    flags = FLAGS.parse_args()
    asked, asking = halves()
    say(f"starting PostgreSQL, an arm and the gateway on core {asked}, callers on core {asking}")
    os.sched_setaffinity(0, asked)  # of this process until the others have it from here
    with running(autovacuum=True) as server, tempfile.TemporaryDirectory() as folder:
        dsn = server.dsn(server.create_database("bench"))
        migrations.upgrade(dsn)
        with gateway(dsn, Path(folder)) as (port, health):
            url = f"http://127.0.0.1:{port}"
            wait_for("the gateway to answer", partial(readiness, url), lambda told: not told, say=say)
            os.sched_setaffinity(0, asking)
            ratios = asyncio.run(measure(flags, port, health, dsn))
    print_ratios(ratios)


@contextlib.contextmanager
def gateway(dsn: str, folder: Path) -> Iterator[tuple[int, int]]:
    """A gateway in front of one arm: its port, and that of its liveness."""
    arm, port, health = free_port(), free_port(), free_port()
    now = datetime.now(UTC)
    routing = {
        "version": 1, "endpoint": "bench", "generation": 1, "publishedAt": now.isoformat(),
        "expiresAt": (now + timedelta(hours=1)).isoformat(), "clock": "live", "champion": "v1", "fallback": "v1",
        "arms": {"v1": {"protocol": "kserve", "outside": False, "baseURL": f"http://127.0.0.1:{arm}", "model": "v1"}},
    }  # fmt: skip
    file = folder / "routing.json"
    file.write_text(json.dumps(routing))
    environment = {
        "TRADEWIND_DSN": dsn, "TRADEWIND_ROUTING": f"file:{file}", "TRADEWIND_NAMESPACE": "bench",
        "TRADEWIND_ENDPOINT": "bench", "TRADEWIND_AUTH": "disabled", "TRADEWIND_ROUTING_TRUST": "unsigned", "TRADEWIND_HOST": "127.0.0.1",
        "TRADEWIND_PORT": str(port), "TRADEWIND_HEALTH_PORT": str(health), "TRADEWIND_SPOOL_DIR": str(folder),
    }  # fmt: skip
    arms = [sys.executable, str(Path(__file__).parent / "gateway.py"), "--serve", "arm"]
    with (
        process(arms, {"PORT": str(arm)}),
        process([sys.executable, "-m", "tradewind.gateway"], environment),
    ):
        yield port, health


if __name__ == "__main__":
    main()
