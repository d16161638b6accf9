"""A snapshot of 100,000 decisions with outcomes from a real PostgreSQL: how long `jobs/snapshot.py` takes, and how much memory.

    python benchmarks/dataset.py [--decisions 100000] [--turns 1]

The Job itself, as a process of its own: the query, the choice, the files, their hashes; once without and once with a tokenizer, which
reads every sample. Seconds are the clock's, with PostgreSQL's share on the same machine; memory is the largest resident set of the
process, without PostgreSQL's. `flat_memory` is memory at a fifth of the decisions by that at all of them. The tokenizer is made on the
spot from prompts of the log, in the manner of DeepSeek's, with 2,000 tokens: it makes more tokens of a text than a real one does.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from tradewind import migrations
from tradewind.training.files import TRAIN_FILE, read_examples
from workshop.benchmark import print_ratios, size
from workshop.postgres import running
from workshop.progress import say
from workshop.tiny_llama import FAMILIES, train_tokenizer

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--decisions", type=int, default=size(100_000, 300), help="(default: %(default)s)")
FLAGS.add_argument(
    "--turns", type=int, default=1, help="of each measurement; the middle one counts (default: %(default)s)"
)

ALLOWED_SECONDS = 60.0
ALLOWED_MIB = 400.0
FLAT = 0.6  # of the memory at all decisions, what a fifth of them takes at least
SNAPSHOT = Path(__file__).resolve().parents[1] / "jobs" / "snapshot.py"
START = datetime(2026, 1, 1, tzinfo=UTC)
SYMBOLS = ("BTC", "ETH", "SOL")
KEY = ("tradewind", "trading")
_DECISION = (
    "COPY tradewind.decisions (installation, namespace, endpoint, decision_id, request_hash, request, shown, scope_symbol, drawn_version,"
    " answered_by, assignment_key, decided_at, state, answer) FROM STDIN"
)
_EXECUTION = (
    "COPY tradewind.executions (installation, namespace, endpoint, decision_id, status, position_id, opened_at, filled_notional_usd,"
    " logged) FROM STDIN"
)
_OUTCOME = "COPY tradewind.outcomes (installation, namespace, endpoint, decision_id, closed_at, pnl_usd, exit_reason, label, logged) FROM STDIN"


@dataclass(frozen=True)
class Taken:
    """One snapshot: seconds on the clock and of the process alone, its MiB at most, and what it reported."""

    seconds: float
    processor: float
    mebibytes: float
    result: dict[str, Any]


def rows(count: int, endpoint: str) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...] | None, tuple[Any, ...] | None]]:
    """Decisions with execution and outcome, as tuples of the three statements; each fourth is a hold."""
    rng = random.Random(1)
    for number in range(count):
        decided = START + timedelta(minutes=5 * number)
        symbol = SYMBOLS[number % 3]
        market: dict[str, Any] = {
            name: {"price": round(rng.uniform(100, 70_000), 2), "change_24h": round(rng.gauss(0, 0.03), 4), "volatility": "medium",
                   "trend": rng.choice(["bullish", "bearish"]), "rsi": round(rng.uniform(20, 80), 1), "macd_signal": "positive"}
            for name in SYMBOLS
        }  # fmt: skip
        market["market_regime"] = rng.choice(["bull", "bear", "normal"])
        account = {
            "balance": round(rng.uniform(500, 700), 2),
            "permission_level": "L2",
            "positions": [],
            "daily_pnl": round(rng.gauss(0, 5), 2),
        }
        history = [
            {"timestamp": (decided - timedelta(hours=h)).isoformat(), "action": "open_long", "symbol": symbol, "size_usd": 60, "leverage": 2,
             "confidence": 0.7, "result": {"profitable": True, "pnl": round(rng.gauss(1, 2), 4), "exit_reason": "take_profit"}}
            for h in (9, 6, 3)
        ]  # fmt: skip
        holds = number % 4 == 3
        answer = {
            "action": "hold" if holds else rng.choice(["open_long", "open_short"]), "symbol": symbol, "size_usd": 0 if holds else 60.0,
            "leverage": 2, "stop_loss_pct": 0.02, "take_profit_pct": 0.05, "confidence": round(rng.random(), 2),
            "reasoning": "The trend is intact and the momentum supports it; the stop lies below the last low. " * 3,
        }  # fmt: skip
        request = {"scope": {"symbol": symbol}, "market_data": market, "account_state": account}
        shown = {"market_data": market, "account_state": account, "recent_history": history}
        key = (*KEY, endpoint, f"{number:08}")
        decision = (
            *key,
            b"x",
            json.dumps(request),
            json.dumps(shown),
            symbol,
            "api",
            "api",
            "k",
            decided,
            "answered",
            json.dumps(answer),
        )
        if holds:
            yield decision, None, None
            continue
        closed = decided + timedelta(hours=rng.uniform(1, 12))
        opened = (*key, "opened", f"p{number}", decided, 120, True)
        yield decision, opened, (*key, closed, round(rng.gauss(0.5, 3), 4), "take_profit", "neutral", True)


def write_log(dsn: str, count: int, endpoint: str) -> None:
    """The log of an Endpoint, as a server has it whose statistics are gathered."""
    with psycopg.connect(dsn) as connection:
        for part, statement in enumerate((_DECISION, _EXECUTION, _OUTCOME)):
            with connection.cursor().copy(statement) as copy:
                for row in rows(count, endpoint):
                    if (values := row[part]) is not None:
                        copy.write_row(values)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")


def snapshot(dsn: str, endpoint: str, folder: Path, tokenizer: Path | None = None) -> Taken:
    """Runs the Job."""
    config = {
        "endpoint": {"installation": KEY[0], "namespace": KEY[1], "name": endpoint},
        "output": str(folder / "dataset"),
        **({} if tokenizer is None else {"baseTokenizer": str(tokenizer)}),
    }
    (folder / "config.json").write_text(json.dumps(config))
    command = [
        sys.executable,
        str(SNAPSHOT),
        "--config",
        str(folder / "config.json"),
        "--result",
        str(folder / "result.json"),
    ]
    began = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | {"TRADEWIND_DSN": dsn}, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"the snapshot ended with {process.returncode}: {(folder / 'log').read_text()[-2000:]}")
    return Taken(
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
        json.loads((folder / "result.json").read_text()),
    )


def make_tokenizer(dataset: Path, folder: Path) -> Path:
    """A tokenizer in the manner of DeepSeek's from some of a dataset's texts."""
    texts = [example.prompt for example in read_examples(dataset / TRAIN_FILE)[:500]]
    train_tokenizer(texts, FAMILIES["deepseek"], vocabulary=2000).save_pretrained(folder)
    return folder


def main() -> None:
    """Both sizes, and the larger one with a tokenizer."""
    flags = FLAGS.parse_args()
    with running(autovacuum=True) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dsn = server.dsn(server.create_database())
        migrations.upgrade(dsn)
        sizes = {"few": flags.decisions // 5, "many": flags.decisions}
        for endpoint, count in sizes.items():
            write_log(dsn, count, endpoint)
            say(f"{count} decisions stored for {endpoint}")
        told: dict[str, Taken] = {}
        few = snapshot(dsn, "few", folder)
        tokenizer = make_tokenizer(folder / "dataset", folder / "tokenizer")
        for case, endpoint, reader in (("few", "few", None), ("many", "many", None), ("read", "many", tokenizer)):
            turns = [snapshot(dsn, endpoint, folder, reader) for _ in range(flags.turns)]
            told[case] = sorted(turns, key=lambda taken: taken.seconds)[len(turns) // 2]
            words = f"{told[case].seconds:.1f} s ({told[case].processor:.1f} of the processor), {told[case].mebibytes:.0f} MiB, {told[case].result['rows']} samples"
            say(f"{sizes[endpoint]} decisions {'without' if reader is None else 'with'} a tokenizer: {words}")
        if few.result["sha256"] != told["few"].result["sha256"]:
            raise RuntimeError("two snapshots of the same rows differ")
    many, read = told["many"], told["read"]
    print_ratios(
        {
            "snapshot_in_a_minute": (ALLOWED_SECONDS / many.seconds, 1.0),
            "with_a_tokenizer_in_a_minute": (ALLOWED_SECONDS / read.seconds, 1.0),
            "in_400_mib": (ALLOWED_MIB / many.mebibytes, 1.0),
            "with_a_tokenizer_in_400_mib": (ALLOWED_MIB / read.mebibytes, 1.0),
            "flat_memory": (told["few"].mebibytes / many.mebibytes, FLAT),
        }
    )


if __name__ == "__main__":
    main()
