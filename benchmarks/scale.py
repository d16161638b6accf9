"""One operator beside many experiments: its processor time, memory, queue, requests and queries, against Argo Rollouts' goals.

    python benchmarks/scale.py [--running 200] [--finished 2000] [--decisions 10000000] [--minutes 30] [--argo 2000]
    python benchmarks/scale.py --running 50 --finished 200 --decisions 500000 --minutes 3 --namespaces 1

The operator is the process that the chart starts, against an etcd and a kube-apiserver of the run's own and a real PostgreSQL.
There are no nodes: pods that count as ready are made, and what gateways report of the routing documents is written for them.
First the operator starts every paired experiment by itself; then they are aged, their rows and the history are written in bulk,
and it starts anew: from here on it is measured. With --argo the same is measured of Argo Rollouts, with so many AnalysisRuns
of two web metrics every 60 s, where its program was built (docs/benchmarks.md).
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # as a script it has its own folder there

import psycopg

from tradewind import migrations
from workshop import apiserver
from workshop.benchmark import print_ratios, size
from workshop.fleet import CHAMPION, INSTALLATION, Client, Fleet, Gateways, Spot
from workshop.history import DAY, History, Row
from workshop.postgres import PostgresServer, running
from workshop.processes import OPERATOR, Operator, Process, operator
from workshop.progress import say
from workshop.rollouts import Rollouts
from workshop.trading import Trading

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--running", type=int, default=size(200, 2), help="paired experiments (default: %(default)s)")
FLAGS.add_argument(
    "--finished", type=int, default=size(2_000, 4), help="experiments that are over (default: %(default)s)"
)
FLAGS.add_argument("--namespaces", type=int, default=size(4, 1), help="that share them (default: %(default)s)")
FLAGS.add_argument("--decisions", type=int, default=size(10_000_000, 500), help="stored before (default: %(default)s)")
FLAGS.add_argument("--evidence", type=int, default=size(2_000, 50), help="of each that runs (default: %(default)s)")
FLAGS.add_argument("--prior", type=int, default=size(500, 10), help="of each champion before (default: %(default)s)")
FLAGS.add_argument("--per-minute", type=float, default=size(0.2, 6.0), help="decisions, each with its outcome, of each experiment meanwhile (default: %(default)s)")  # fmt: skip
FLAGS.add_argument("--minutes", type=float, default=size(30.0, 0.15), help="measured (default: %(default)s)")
FLAGS.add_argument(
    "--argo", type=int, default=0, metavar="RUNS", help="AnalysisRuns of Argo Rollouts beside it (default: none)"
)
FLAGS.add_argument("--profile", type=Path, metavar="FILE", help="let cProfile write here what the operator does")
FLAGS.add_argument("--log", type=Path, metavar="FILE", help="keep the operator's log here")

CORES, MEBIBYTES, DRAINED_SECONDS, TURN_MS, BLOCKED_SECONDS, FLAT = 0.3, 300.0, 10.0, 5.0, 0.1, 1.1
ARGO_QUERIES, ARGO_REQUESTS = 4_100.0, 2_100.0
AGE = timedelta(days=60)
_OPERATOR, _ARGO = OPERATOR, "argo"


@dataclass
class Measured:
    """Of a stretch of time: everything a second or a minute but where it says otherwise."""

    cores: float
    memory: float
    thirds: tuple[float, float, float]
    requests: float
    queries: float
    turns: float = 0.0
    busy: float = 0.0
    """Longest time without an empty queue, in seconds."""
    blocked: float = 0.0
    blocks: float = 0.0
    errors: float = 0.0

    @property
    def turn_ms(self) -> float:
        """Milliseconds of processor time a turn, all that the process does included."""
        return 1e3 * self.cores / self.turns if self.turns else 0.0


async def measure(
    process: Process, api: apiserver.ApiServer, user: str, minutes: float, queries: "Queries | None"
) -> tuple[Measured, Counter[tuple[str, str, str]]]:
    """What a process does in so many minutes, and its requests by kind."""
    _, place = api.requests()
    before = await process.numbers() if isinstance(process, Operator) else {}
    if queries is not None:
        queries.reset()
    process.samples.clear()
    first, empty, busy, blocked = process.look(), time.monotonic(), 0.0, 0.0
    while time.monotonic() - first.at < 60 * minutes:
        await asyncio.sleep(0.25)
        depth = (await process.depth() or 0) if isinstance(process, Operator) else 0
        now = process.look(depth)
        if depth == 0:
            empty = now.at
        busy = max(busy, now.at - empty)
        if isinstance(process, Operator) and len(process.samples) % 40 == 0:
            blocked = max(blocked, (await process.numbers())["tradewind_loop_longest_block_seconds"])
    last = process.look()
    passed = last.at - first.at
    after = await process.numbers() if isinstance(process, Operator) else {}
    # The log is written a moment later.
    await asyncio.sleep(1)
    found, _ = api.requests(place)
    mine: Counter[tuple[str, str, str]] = Counter({what: n for what, n in found.items() if what[0] == user})

    def grown(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    third = len(process.samples) // 3
    parts = [fmean(s.memory for s in process.samples[n * third : (n + 1) * third]) for n in range(3)]
    measured = Measured(
        cores=(last.cpu - first.cpu) / passed,
        memory=max(s.memory for s in process.samples),
        thirds=(parts[0], parts[1], parts[2]),
        requests=60 * mine.total() / passed,
        queries=60 * (queries.calls() if queries is not None else 0) / passed,
        turns=grown("tradewind_reconciles_total") / passed,
        busy=busy,
        blocked=max(blocked, after.get("tradewind_loop_longest_block_seconds", 0.0)),
        blocks=grown("tradewind_loop_blocked_seconds_count") - grown("tradewind_loop_blocked_seconds_bucket:0.1"),
        errors=grown("tradewind_reconciles_total:error"),
    )
    return measured, mine


class Queries:
    """Statements that a role has run, by PostgreSQL's count."""

    def __init__(self, dsn: str, role: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        self._role = role

    def reset(self) -> None:
        """Begin to count."""
        self._connection.execute("SELECT pg_stat_statements_reset()")

    def calls(self) -> int:
        sql = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE rolname = %s"
        row = self._connection.execute(sql, [self._role]).fetchone()
        assert row is not None
        return int(row[0])

    def worst(self, count: int = 12) -> list[tuple[int, float, str]]:
        """Calls, seconds in all and text of the statements that took longest."""
        sql = """SELECT calls, total_exec_time / 1e3, left(regexp_replace(query, '\\s+', ' ', 'g'), 110) FROM pg_stat_statements s
                   JOIN pg_roles r ON r.oid = s.userid WHERE rolname = %s ORDER BY total_exec_time DESC LIMIT %s"""
        return list(self._connection.execute(sql, [self._role, count]))


def plans(
    fleet: Fleet, over: list[tuple[Spot, str, str]], flags: argparse.Namespace
) -> tuple[list[Row], list[Row], list[Row]]:
    """Which rows there are: of those that run, of champions before them, and of those that are over."""
    now = datetime.now(UTC)
    t0, days = now - AGE, AGE / DAY
    paired: list[Row] = [(s.namespace, s.endpoint, uid, s.candidate, flags.evidence, t0, days - 0.01) for s, uid in fleet.uids.items()]  # fmt: skip
    prior: list[Row] = [(s.namespace, s.endpoint, None, s.candidate, flags.prior, t0 - 60 * DAY, 59.0) for s in fleet.spots]  # fmt: skip
    rest = max(0, flags.decisions - len(paired) * (flags.evidence + flags.prior)) // max(1, len(over))
    past: list[Row] = [
        (s.namespace, s.endpoint, uid, candidate, rest, t0 - 300 * DAY, 200.0) for s, uid, candidate in over
    ]
    return paired, prior, past


async def run(flags: argparse.Namespace, server: PostgresServer, api: apiserver.ApiServer, folder: Path) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Everything; the ratios."""
    own = server.dsn(server.create_database())
    migrations.upgrade(own)
    with psycopg.connect(own, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {_OPERATOR} SUPERUSER LOGIN PASSWORD 'o'")
        connection.execute("CREATE EXTENSION pg_stat_statements")
    dsn = own.replace("//tradewind:", f"//{_OPERATOR}:").replace(own.split(":")[2].split("@")[0], "o")
    async with Client(api, "benchmark") as client, asyncio.TaskGroup() as background:
        fleet = Fleet.of(client, flags.namespaces, flags.running, flags.finished)
        gateways = Gateways(client, own, fleet.spots)
        await fleet.install(ROOT / "crds")
        tasks = [background.create_task(gateways.run())]
        say(f"{flags.running} Endpoints with an experiment each in {flags.namespaces} namespace(s)")
        await fleet.make_running()
        async with operator(api, dsn, folder, None, flags.log) as first:
            began = time.monotonic()
            while len(await fleet.started()) < flags.running:
                first.look()
                if time.monotonic() - began > 60 + 3 * flags.running:
                    raise SystemExit(f"{len(await fleet.started())} of {flags.running} experiments have started")
                await asyncio.sleep(2)
            say(f"all were started {time.monotonic() - began:.0f} s after the operator's lists")
        over = await fleet.make_finished()
        await fleet.age(AGE)
        history = History(own, INSTALLATION, say)
        paired, prior, past = plans(fleet, over, flags)

        def write() -> None:
            history.age(AGE)
            history.paired(paired)
            history.answered(prior, over=False)
            history.answered(past, over=True)
            history.analyze()

        began = time.monotonic()
        await asyncio.to_thread(write)
        rows = sum(row[4] for row in (*paired, *prior, *past))
        say(
            f"{rows:,} decisions and {flags.finished:,} experiments that are over, written in {time.monotonic() - began:.0f} s"
        )
        queries = Queries(own, _OPERATOR)
        async with operator(api, dsn, folder, flags.profile, flags.log) as process:
            listed = process.look()
            start = await process.drained(900)
            cold = process.look()
            say(f"after a restart: lists {listed.cpu:.1f} s of processor time, the queue empty {start:.1f} s later, {cold.cpu:.1f} s in all, {cold.memory:.0f} MiB")  # fmt: skip
            trading = Trading(own, INSTALLATION, fleet.uids, CHAMPION, flags.per_minute)
            tasks.append(background.create_task(trading.run()))
            await asyncio.sleep(min(60.0, 60 * flags.minutes))
            await process.drained(600)
            gateways.watching, gateways.renewals = True, 0
            measured, requests = await measure(process, api, _OPERATOR, flags.minutes, queries)
            gateways.watching = False
            _tell("operator", measured, requests)
            for calls, seconds, text in queries.worst():
                say(f"  {calls:8d} calls {seconds:8.2f} s  {text}")
            say(f"{trading.decisions} decisions meanwhile; {gateways.renewals} documents; {len(gateways.expired)} weights expired, {sum(gateways.expired.values()):.0f} s in all")  # fmt: skip
            argo = None
            if flags.argo:
                argo = await _argo(api, client, flags, folder)
        for task in tasks:
            task.cancel()
    return _ratios(measured, argo, start, gateways, flags)


async def _argo(api: apiserver.ApiServer, client: Client, flags: argparse.Namespace, folder: Path) -> Measured:
    rollouts = Rollouts(api, client, _ARGO, folder)
    async with rollouts.running(flags.argo) as popen:
        process = Process(popen)
        await rollouts.settled()
        asked = rollouts.answered
        measured, requests = await measure(process, api, _ARGO, flags.minutes, None)
        measured.queries = (rollouts.answered - asked) / flags.minutes
    _tell("Argo Rollouts", measured, requests)
    return measured


def _tell(who: str, m: Measured, requests: Counter[tuple[str, str, str]]) -> None:
    thirds = ", ".join(f"{third:.0f}" for third in m.thirds)
    say(f"{who}: {m.cores:.3f} cores, {m.memory:.0f} MiB (thirds {thirds}), {m.requests:.0f} requests and {m.queries:.0f} queries a minute")  # fmt: skip
    if m.turns:
        say(f"  {60 * m.turns:.0f} turns a minute ({m.errors:.0f} errors in all), {m.turn_ms:.2f} ms of processor time each, all included; queue never empty for {m.busy:.1f} s at most; loop blocked {m.blocked * 1e3:.0f} ms at most, {m.blocks:.0f} times above 100 ms")  # fmt: skip
    for (_, verb, resource), number in requests.most_common(12):
        say(f"  {number:8d} {verb} {resource}")


def _ratios(m: Measured, argo: Measured | None, start: float, gateways: Gateways, flags: argparse.Namespace) -> dict[str, tuple[float, float]]:  # fmt: skip
    least = 1e-3
    ratios = {
        "cores": (CORES / max(m.cores, least), 1.0),
        "memory": (MEBIBYTES / m.memory, 1.0),
        "memory_first_third_over_last": (FLAT * m.thirds[0] / m.thirds[2], 1.0),
        "queue_empty_within_10_s": (DRAINED_SECONDS / max(m.busy, 0.25), 1.0),
        "queue_empty_within_10_s_of_start": (DRAINED_SECONDS / max(start, 0.25), 1.0),
        "five_ms_over_turn": (TURN_MS / max(m.turn_ms, least), 1.0),
        "loop_blocked_100_ms_over_longest": (BLOCKED_SECONDS / max(m.blocked, least), 1.0),
        "weights_that_did_not_expire": (1 - len(gateways.expired) / flags.running or 1e-2, 1.0),
        "requests": ((argo.requests if argo else ARGO_REQUESTS) / max(m.requests, 1.0), 1.0),
        "queries": ((argo.queries if argo else ARGO_QUERIES) / max(m.queries, 1.0), 1.0),
    }
    if argo is not None:
        ratios |= {"argo_cores": (argo.cores / max(m.cores, least), 1.0), "argo_memory": (argo.memory / m.memory, 1.0)}
    return ratios


def main() -> None:
    flags = FLAGS.parse_args()
    settings = {
        "shared_preload_libraries": "pg_stat_statements",
        "pg_stat_statements.track": "top",
        "pg_stat_statements.track_utility": "off",  # BEGIN, COMMIT and SET are no queries
        "shared_buffers": size("512MB", "32MB"),
        "max_wal_size": "8GB",
    }
    with (
        TemporaryDirectory(prefix="tradewind-scale-") as folder,
        running(autovacuum=True, settings=settings) as server,
        apiserver.running(("benchmark", _OPERATOR, _ARGO), (_OPERATOR, _ARGO)) as api,
    ):
        ratios = asyncio.run(run(flags, server, api, Path(folder)))
    print_ratios(ratios)


if __name__ == "__main__":
    main()
