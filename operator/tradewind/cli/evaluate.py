"""`tradewind evaluate`: the verdict on a trade table, recomputed without a cluster.

    tradewind evaluate --trades T.csv --experiment experiment.yaml

with T.csv from `jobs/export.py evidence` and the experiment as `kubectl get -o yaml` prints it gives the verdict of its
status: maxHold, retests, latency objective, start and time of the verdict are read from there, and how many decisions
are no evidence, which no table of evidence can tell. A table with the column
`error_kind` lets the error rate and the latency be watched, too.

Belongs here: arguments, files, exit codes. Does not belong here: the statistic (trading/evidence) and its JSON
(trading/evidence/report.py).

Exit codes: 0 a verdict was printed, whatever it is; 2 an argument or a file is wrong.
"""

import argparse
import json
import math
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tradewind.cli.experiment_file import read_experiment
from tradewind.cli.table_file import ENCODINGS, read_lines
from tradewind.schema.durations import parse_duration
from tradewind.schema.scalars import as_milliseconds
from tradewind.trading.evidence import METRICS, Judgement, LostReason, Requests, TradeTable, judge, judgement_json

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `evaluate` to the command line."""
    parser = subparsers.add_parser("evaluate", help="recompute the verdict of an experiment from its trade table")
    parser.add_argument(
        "--trades", required=True, type=Path, metavar="T.csv", help="trade table, one decision a row: CSV or xlsx"
    )
    parser.add_argument("--decimal", choices=(".", ","), default=".", help="sign of its decimals (default: .)")
    parser.add_argument("--encoding", choices=ENCODINGS, help="of its text (default: UTF-8)")
    parser.add_argument("--experiment", type=Path, metavar="FILE", help="ABExperiment manifest (default: the defaults)")
    parser.add_argument("--t0", metavar="ISO", help="start of the experiment (default: what FILE's status says)")
    parser.add_argument(
        "--now", metavar="ISO", help="instant of the evaluation (default: the verdict in FILE's status)"
    )
    parser.add_argument("--max-hold", metavar="24h", help="longest time that a position stays open, of the Endpoint")
    parser.add_argument(
        "--reference-notional-usd",
        type=float,
        metavar="USD",
        help="what prices of answers are compared with, of the Endpoint (default: FILE's status)",
    )
    parser.add_argument("--latency-objective", metavar="100ms", help="of the candidate (default: FILE's)")
    parser.add_argument(
        "--retest",
        type=int,
        metavar="K",
        help="number of earlier tests of the same pair; this one runs at alpha/2^K (default: FILE's status, else 0)",
    )
    parser.add_argument("-o", "--output", choices=("json", "text"), default="json", help="(default: json)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the verdict and returns the exit code."""
    try:
        max_hold = parse_duration(args.max_hold, "--max-hold") if args.max_hold else None
        experiment = read_experiment(
            args.experiment, max_hold=max_hold, retest=args.retest, reference_notional=_notional(args)
        )
        t0 = _time(args.t0, "--t0", experiment.t0)
        now = _time(args.now, "--now", experiment.decided_at)
        slow_ms = as_milliseconds(args.latency_objective) if args.latency_objective else experiment.slow_ms
        try:
            lines = read_lines(args.trades, args.encoding)
            table, requests = TradeTable.from_csv(lines, args.decimal), Requests.from_csv(lines, args.decimal)
        except ValueError as error:
            raise ValueError(f"{args.trades}: {error}") from None
        names_from, names_until = experiment.spec.naming(t0, now)
        log = None if requests is None else requests.log(now, slow_ms, names_until, names_from)
        judgement = judge(table, t0, now, experiment.spec, log, experiment.lost)
    except (OSError, ValueError) as error:
        print(f"tradewind evaluate: {error}", file=sys.stderr)
        return 2
    if args.output == "json":
        print(json.dumps(judgement_json(judgement), indent=1, allow_nan=False))
    else:
        _print_text(judgement)
    return 0


def _print_text(judgement: Judgement) -> None:
    verdict, evidence = judgement.verdict, judgement.evidence
    print(f"{verdict.verdict} ({verdict.reason}): {verdict.message}")
    for metric in METRICS:
        found = evidence.metrics[metric.name]
        print(f"{metric.key:9} {found.estimate:+.4f}  [{found.lower:+.4f}, {found.upper:+.4f}]")
    left_out = evidence.unrandomised + evidence.before_start
    if any(judgement.lost.by_reason.values()) or judgement.corrected:
        follow_ups = judgement.lost.by_reason.get(LostReason.FOLLOW_UP, 0)
        print(
            f"{judgement.lost.summary()}; {follow_ups} more continue a position; "
            f"{judgement.corrected} rows were corrected after they counted"
        )
    print(f"complete until {evidence.watermark.isoformat()}, {evidence.pending} pending, {left_out} rows left out")


def _notional(args: argparse.Namespace) -> float | None:
    notional: float | None = args.reference_notional_usd
    if notional is not None and not 0.0 < notional < math.inf:
        raise ValueError(f"--reference-notional-usd: {notional:g}; give an amount above 0, such as 1000")
    return notional


def _time(text: str | None, name: str, default: datetime | None) -> datetime:
    if text is None:
        if default is None:
            raise ValueError(f"{name}: missing; give a time, or an --experiment FILE whose status says it")
        return default
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a time; write ISO 8601, such as 2026-01-01T00:00:00Z") from None
