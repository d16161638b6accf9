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
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from benchmarks.gateway import BODY, HOLD, cpu_seconds, free_port, process, readiness

from tradewind import migrations
from workshop.benchmark import print_ratios, size
from workshop.callers import Caller, message, p99, paced
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


async def serve_arms(port: int, seconds: float) -> None:
    """Arms that take their time and next to nothing of the processor's, which on a small machine all parts share."""
    body = json.dumps({"predictions": [HOLD | {"_probabilities": {"hold": 1.0}}]}).encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await message(reader)
                await asyncio.sleep(seconds)
                writer.write(answer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", port) as server:
        await server.serve_forever()


async def compare(ports: dict[str, int], pids: dict[str, int], flags: argparse.Namespace) -> float:
    """Milliseconds that the shadow adds to the 99th percentile."""
    times: dict[str, list[list[float]]] = {name: [] for name in ports}
    cpu = dict.fromkeys(ports, 0.0)
    callers = {name: Caller(port) for name, port in ports.items()}
    for caller in callers.values():
        await paced(caller, BODY, "warm", flags.rate / 2, min(flags.seconds, 5))
    for number in range(flags.turns):
        order = list(callers.items())
        for name, caller in order if number % 2 else order[::-1]:
            before = cpu_seconds(pids[name])
            times[name].append(await paced(caller, BODY, f"{number}", flags.rate, flags.seconds))
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
def servers(dsn: str, folder: Path, arm_ms: float) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Both gateways in front of the same arms: ports and pids by name."""
    arms = free_port()
    with contextlib.ExitStack() as stack:
        command = [sys.executable, __file__, "--serve", "--arm-ms", str(arm_ms)]
        stack.enter_context(process(command, {"PORT": str(arms)}))
        ports, pids = {}, {}
        for name, mode in MODES.items():
            port, place = free_port(), folder / mode
            place.mkdir()
            file = place / "routing.json"
            file.write_text(json.dumps(routing(f"http://127.0.0.1:{arms}", mode)))
            environment = {
                "TRADEWIND_DSN": dsn, "TRADEWIND_ROUTING": f"file:{file}", "TRADEWIND_NAMESPACE": "bench",
                "TRADEWIND_ENDPOINT": mode, "TRADEWIND_AUTH": "disabled", "TRADEWIND_HOST": "127.0.0.1",
                "TRADEWIND_PORT": str(port), "TRADEWIND_SPOOL_DIR": str(place), "TRADEWIND_ROUTING_TRUST": "unsigned",
            }  # fmt: skip
            pids[name] = stack.enter_context(process([sys.executable, "-m", "tradewind.gateway"], environment))
            ports[name] = port
        yield ports, pids


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
        asyncio.run(serve_arms(int(os.environ["PORT"]), flags.arm_ms / 1000))
        return
    say("starting PostgreSQL, the arms and two gateways")
    with running(autovacuum=True) as server, tempfile.TemporaryDirectory() as folder:
        dsn = server.dsn(server.create_database("bench"))
        migrations.upgrade(dsn)
        with servers(dsn, Path(folder), flags.arm_ms) as (ports, pids):
            for name, port in ports.items():
                url = f"http://127.0.0.1:{port}"
                wait_for(f"the gateway {name} to answer", partial(readiness, url), lambda told: not told, say=say)
            added = asyncio.run(compare(ports, pids, flags))
            count = "SELECT state, count(*) FROM tradewind.shadows GROUP BY state ORDER BY state"
            with psycopg.connect(dsn) as connection:
                say(f"shadows: {dict(connection.execute(count).fetchall())}")
    say(f"added to the 99th percentile at {flags.rate:g} decisions a second: {added:.2f} ms")
    print_ratios({"allowed_added_p99_over_added": (ALLOWED_MS / max(added, _FLOOR_MS), 1.0)})


if __name__ == "__main__":
    main()
