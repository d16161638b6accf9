"""10,000 labelled decisions of the seed's shape into a real PostgreSQL: by `tradewind import`, and stored row by row.

    python benchmarks/imports.py [--decisions 10000]

Ours is the whole command: the file is read, each row checked, compared with what is there, and stored. The other way takes the
same records, checked already, and sends each its two INSERTs in a transaction of its own, as the seed's collector does.
Seconds are the clock's, with PostgreSQL on the same machine.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from tradewind import migrations
from tradewind.cli.import_ import read_records
from tradewind.cli.import_files import open_file
from tradewind.main import cli
from tradewind.trading.decision import canonical_json
from tradewind.trading.imports.options import Options
from tradewind.trading.imports.tally import Tally
from workshop.benchmark import print_ratios, size
from workshop.postgres import running
from workshop.progress import say

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--decisions", type=int, default=size(10_000, 200), help="(default: %(default)s)")

ALLOWED_SECONDS = 30.0
GOAL_ROWS = 1.5
START = datetime(2025, 1, 1, tzinfo=UTC)
COMMAND = ("--endpoint", "trading/trader", "-o", "json")
KEY = ("tradewind", "trading", "other", "seed")
_DECISION = f"INSERT INTO tradewind.imported_decisions VALUES ({', '.join(['%s'] * 13)})"
_OUTCOME = f"INSERT INTO tradewind.imported_outcomes VALUES ({', '.join(['%s'] * 12)})"


def point(number: int, rng: random.Random) -> dict[str, Any]:
    """A decision with the market of three symbols."""
    pnl = round(rng.gauss(0.5, 3), 4)
    market = {
        symbol: {"price": round(rng.uniform(100, 70_000), 2), "change_24h": round(rng.gauss(0, 0.03), 4), "volatility": "medium",
                 "trend": "bullish", "rsi": round(rng.uniform(20, 80), 1), "macd_signal": "positive"}
        for symbol in ("BTC", "ETH", "SOL")
    }  # fmt: skip
    return {
        "conversation_id": f"{number:08}",
        "timestamp": (START + timedelta(minutes=37 * number)).isoformat(),
        "input": {
            "market_data": {**market, "market_regime": "normal"},
            "account_state": {"balance": 600.0, "positions": [], "permission_level": "L2"},
            "recent_history": [],
        },
        "output": {"action": rng.choice(["open_long", "open_short"]), "symbol": rng.choice(["BTC", "ETH", "SOL"]), "size_usd": 60.0,
                   "leverage": 2, "stop_loss_pct": 0.02, "take_profit_pct": 0.05, "reasoning": "trend", "confidence": 0.75},
        "result": {"profitable": pnl > 0, "pnl": pnl, "duration_hours": 6, "exit_reason": "take_profit"},
        "label": "pending",
    }  # fmt: skip


def command(file: Path) -> tuple[float, dict[str, Any]]:
    """Seconds of the command, and what it told of the file."""
    out = StringIO()
    began = time.perf_counter()
    with redirect_stdout(out), redirect_stderr(StringIO()):
        code = cli(["import", str(file), *COMMAND])
    seconds = time.perf_counter() - began
    told: dict[str, Any] = json.loads(out.getvalue())["files"][0]
    if code:
        raise RuntimeError(f"the import ended with {code}: {told['problems'] or told['error']}")
    return seconds, told


def row_by_row(file: Path, dsn: str) -> float:
    """Seconds to store the same records one transaction each; reading and checking them is not counted."""
    opened = open_file(file, None, None, None)
    records = list(read_records(opened, Options(datetime.now(UTC)), Tally()))
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "INSERT INTO tradewind.imports (installation, namespace, endpoint, source, format, file, sha256, bytes, rows_read, rows_new,"
            " rows_refused, imported_by) VALUES (%s, %s, %s, %s, 'x', 'x', %s, 1, 1, 1, 0, 'x') RETURNING id", (*KEY, opened.sha256)
        ).fetchone()  # fmt: skip
        assert row is not None
        connection.commit()
        began = time.perf_counter()
        for number, record in records:
            decision, outcome = record.decision, record.outcome
            assert decision is not None
            assert outcome is not None
            own = (*KEY, record.source_id, row[0], number)
            answer = canonical_json(decision.answer.model_dump(mode="json"))
            decided = (
                decision.decided_at,
                decision.answer.symbol,
                canonical_json(decision.shown),
                answer,
                decision.model,
            )
            connection.execute(_DECISION, (*own, record.decision_hash, *decided))
            ended = (outcome.closed_at, outcome.pnl_usd, outcome.exit_reason, outcome.label)
            connection.execute(_OUTCOME, (*own, record.outcome_hash, *ended))
            connection.commit()
        return time.perf_counter() - began


def main() -> None:
    """Both ways, and their ratios."""
    flags = FLAGS.parse_args()
    rng = random.Random(1)
    with running(autovacuum=True) as server, tempfile.TemporaryDirectory() as folder:
        dsn = server.dsn(server.create_database())
        migrations.upgrade(dsn)
        os.environ["TRADEWIND_DSN"] = dsn
        file = Path(folder) / "decisions.jsonl"
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(point(number, rng)) + "\n" for number in range(flags.decisions))
        first, told = command(file)
        say(f"{told['new']} decisions imported in {first:.2f} s")
        again, told = command(file)
        say(f"{told['known']} found again in {again:.2f} s")
        alternative = row_by_row(file, dsn)
        say(f"stored row by row, without reading and checking: {alternative:.2f} s")
    slowest = max(first, again)
    print_ratios(
        {"ten_thousand_in_30_s": (ALLOWED_SECONDS / slowest, 1.0), "row_by_row": (alternative / first, GOAL_ROWS)}
    )


if __name__ == "__main__":
    main()
