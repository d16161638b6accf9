"""A look at an experiment of 100,000 paired decisions on a real PostgreSQL: one that reads what is new against one that reads all.

    python benchmarks/looks.py [--decisions 100000] [--looks 10] [--new 12]

Everything that a look does is in it: papers are settled, rows, requests and lost decisions are read, and judged. In turns: a
few decisions and outcomes come, the operator that was there before looks (it keeps rows and sums), and one that has just started looks
(it reads and sums everything). Both find the same. Seconds are the clock's, with PostgreSQL's share on the same machine.
"""

import argparse
import asyncio
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from tradewind import migrations
from tradewind.api.common import VersionStatusRef
from tradewind.core.decision import RecordExperiment
from tradewind.shell.database import Database
from tradewind.trading.evidence import EvidenceSpec, ExperimentRules, Judgement, Memory, judge
from tradewind.trading.paper import PaperBasis
from tradewind.trading.settings.paper import PaperSettings
from workshop.benchmark import print_ratios, size
from workshop.postgres import running
from workshop.progress import say

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--decisions", type=int, default=size(100_000, 500), help="stored before (default: %(default)s)")
FLAGS.add_argument("--looks", type=int, default=size(10, 2), help="of each kind (default: %(default)s)")
FLAGS.add_argument("--new", type=int, default=12, help="decisions between two looks (default: %(default)s)")

ALLOWED_SECONDS = 0.5
DAYS = 83
MAX_HOLD = timedelta(hours=24)
PLACE = ("ns", "trader", "u")
SPEC = EvidenceSpec(ExperimentRules.model_validate({"traffic": {"policy": "fixed", "weight": "0.5", "shadow": "both"}}))
BASIS = PaperBasis(
    PaperSettings.model_validate({"price": "/market_data/{symbol}/price", "horizon": "8h", "costBasisPoints": "1"}),
    MAX_HOLD,
)

# Both arms follow the market, at prices that the requests carry; every trade is closed after four hours. The first numbers are
# what is already there, the last ones are open.
_DECISIONS = """
INSERT INTO tradewind.decisions (installation, namespace, endpoint, decision_id, request_hash, request, scope_symbol, scope_book,
    experiment_uid, arm, candidate_weight, block, epoch, drawn_version, assignment_key, decided_at, received_at, answered_at, replay, state, answer,
    latency_ms, reported_model)
SELECT 'tradewind', 'ns', 'trader', 'd' || n, 'x', jsonb_build_object('market_data', jsonb_build_object('EURUSD',
           jsonb_build_object('price', round((1.1 + 0.01 * sin(n / 50.0) + 0.001 * random())::numeric, 6)))), 'EURUSD', '',
       'u', CASE WHEN hashint4(n) %% 2 = 0 THEN 'candidate' ELSE 'baseline' END, 0.5, 0, 1, 'v', 'd' || n, t.at, t.at, t.at, false,
       'answered', '{"action": "open_long", "symbol": "EURUSD", "size_usd": 1000, "leverage": 1}', 40, 'm'
  FROM generate_series(%(first)s::int, %(last)s::int) n
 CROSS JOIN LATERAL (SELECT %(t0)s::timestamptz + n * %(every)s::interval AS at) t
"""
_SHADOWS = """
INSERT INTO tradewind.shadows (installation, namespace, endpoint, decision_id, arm, version, scope_symbol, scope_book, replay, decided_at,
    state, answer, answered_by, asked_at, answered_at)
SELECT installation, namespace, endpoint, decision_id, CASE arm WHEN 'baseline' THEN 'candidate' ELSE 'baseline' END, 'w', 'EURUSD', '',
       false, decided_at, 'answered', answer, 'w', decided_at, decided_at
  FROM tradewind.decisions WHERE decision_id = ANY(%(ids)s)
"""
_TRADES = """
WITH opened AS (
    INSERT INTO tradewind.executions (installation, namespace, endpoint, decision_id, status, position_id, opened_at,
        filled_notional_usd, logged)
    SELECT installation, namespace, endpoint, decision_id, 'opened', decision_id, decided_at, 1000, true
      FROM tradewind.decisions WHERE decision_id = ANY(%(ids)s) RETURNING decision_id)
INSERT INTO tradewind.outcomes (installation, namespace, endpoint, decision_id, closed_at, received_at, pnl_usd, exit_reason, label, logged)
SELECT installation, namespace, endpoint, d.decision_id, decided_at + interval '4 hours', decided_at + interval '4 hours',
       coalesce(1000 * p.ret, 0) + 2 * random() - 1, 'take_profit', 'neutral', true
  FROM tradewind.decisions d LEFT JOIN tradewind.papers p USING (installation, namespace, endpoint, decision_id, arm)
 WHERE d.decision_id = ANY(%(ids)s)
"""
_PAPERS = """
INSERT INTO tradewind.papers (installation, namespace, endpoint, decision_id, arm, ret, exit_reason, exit_at, known_at, source)
SELECT installation, namespace, endpoint, decision_id, a.arm, 0.001 * ((hashtext(decision_id) %% 1000) / 500.0) + 0.0003 * random(), 'horizon',
       decided_at + interval '8 hours', decided_at + interval '9 hours', 'prices'
  FROM tradewind.decisions CROSS JOIN (VALUES ('baseline'), ('candidate'), ('market')) a(arm) WHERE decision_id = ANY(%(ids)s)
"""
_PROGRESS = """
INSERT INTO tradewind.paper_progress (installation, namespace, endpoint, experiment_uid, settled_until)
VALUES ('tradewind', 'ns', 'trader', 'u', %(until)s)
"""


class Trading:
    """Writes what gateways and the operator's settlement write."""

    def __init__(self, dsn: str, decisions: int) -> None:
        self._dsn, self._count = dsn, 0
        self.every = timedelta(days=DAYS) / decisions
        self.t0 = datetime.now(UTC) - timedelta(days=DAYS) - timedelta(minutes=1)

    def _names(self, first: int, last: int) -> list[str]:
        return [f"d{number}" for number in range(first, last)]

    def history(self, decisions: int) -> None:
        """All decisions with shadows; papers and outcomes of all but those of the last day."""
        settled = decisions - int(MAX_HOLD / self.every)
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            self._decide(connection, decisions)
            ids = {"ids": self._names(0, settled)}
            for statement in (_PAPERS, _TRADES):
                connection.execute("ANALYZE")  # nobody does it in a test's server
                connection.execute(statement, ids)
            connection.execute(_PROGRESS, {"until": self.t0 + settled * self.every})
            connection.execute("ANALYZE")

    def go_on(self, decisions: int) -> None:
        """New decisions, and outcomes of as many that were open."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            self._decide(connection, decisions)
            sql = """SELECT decision_id FROM tradewind.decisions d WHERE NOT EXISTS (SELECT FROM tradewind.outcomes o
                      WHERE o.decision_id = d.decision_id) ORDER BY decided_at LIMIT %s"""
            ids = [row[0] for row in connection.execute(sql, [decisions])]
            connection.execute(_TRADES, {"ids": ids})

    def _decide(self, connection: psycopg.Connection, decisions: int) -> None:
        first, self._count = self._count, self._count + decisions
        connection.execute(_DECISIONS, {"first": first, "last": self._count - 1, "t0": self.t0, "every": self.every})
        if not first:
            connection.execute("ANALYZE")
        connection.execute(_SHADOWS, {"ids": self._names(first, self._count)})


async def look(database: Database, memory: Memory, t0: datetime) -> tuple[Judgement, float]:
    """What an operator finds, and the seconds that it took."""
    start = time.perf_counter()
    await database.settle_papers(*PLACE, t0, BASIS, None)
    stored = await database.evidence(*PLACE, t0)
    now = datetime.now(UTC)
    found = judge(stored.table, t0, now, SPEC, stored.requests.log(now, 1000.0, t0), stored.lost, memory)
    return found, time.perf_counter() - start


async def measure(dsn: str, decisions: int, looks: int, new: int) -> tuple[float, float]:
    """Medians of both kinds of look, in seconds."""
    trading = Trading(dsn, decisions)
    started = RecordExperiment(
        "trader", "u", "e", "Live", VersionStatusRef(name="w"), VersionStatusRef(name="v"), trading.t0, 0.05, {}
    )
    stays, memory = Database(dsn, "tradewind"), Memory()
    async with stays:
        await stays.record_experiment("ns", started)
        say(f"{decisions:,} decisions with shadows, papers and outcomes are written")
        trading.history(decisions)
        await look(stays, memory, trading.t0)
        kept: list[float] = []
        anew: list[float] = []
        for _ in range(looks):
            trading.go_on(new)
            found, seconds = await look(stays, memory, trading.t0)
            kept.append(seconds)
            async with Database(dsn, "tradewind") as fresh:
                other, seconds = await look(fresh, Memory(), trading.t0)
                anew.append(seconds)
            if found.evidence.metrics != other.evidence.metrics:
                raise SystemExit("the two looks differ")
    say(f"{found.evidence.pairs:,} pairs in {found.evidence.blocks} blocks, score {found.evidence.score}")
    return statistics.median(kept), statistics.median(anew)


def main() -> None:
    flags = FLAGS.parse_args()
    with running(autovacuum=True) as server:
        dsn = server.dsn(server.create_database())
        migrations.upgrade(dsn)
        kept, anew = asyncio.run(measure(dsn, flags.decisions, flags.looks, flags.new))
    say(f"a look of what is new {kept * 1e3:.0f} ms, of everything {anew * 1e3:.0f} ms")
    print_ratios(
        {
            "half_a_second_over_look_of_what_is_new": (ALLOWED_SECONDS / kept, 1.0),
            "look_of_everything_over_look_of_what_is_new": (anew / kept, 5.0),
        }
    )


if __name__ == "__main__":
    main()
