"""`tradewind report`: one experiment or training as a single HTML file that needs no network.

Exit codes: 0 the file was written; 2 an argument or the bundle is wrong.
"""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tradewind.cli.objects import kind_named
from tradewind.cli.report_data import Json, read_bundle, verdict_of
from tradewind.cli.report_page import render_page
from tradewind.cli.report_training import read_run, render_training
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Fetch = Callable[[str, str, str], Json]
"""Reads what a report is made of, by kind, namespace and name: an experiment's bundle, or the TrainingRun."""


def from_cluster(kind: str, namespace: str, name: str) -> Json:
    """The bundle of an experiment from the cluster and its database, or a TrainingRun from the cluster.

    Raises:
        ValueError: it cannot be read; the message says what to do.
    """
    from tradewind.shell.bundle import fetch_bundle, fetch_run
    from tradewind.shell.cluster import ClusterError, current_namespace

    try:
        fetch = fetch_run if kind == "TrainingRun" else fetch_bundle
        return fetch(namespace or current_namespace(), name)
    except ClusterError as error:
        raise ValueError(str(error)) from error


def add_parser(subparsers: "Subparsers", fetch: Fetch | None = from_cluster) -> None:
    """Adds `report` to the command line; `fetch` reads the bundle where none is given as a file."""
    parser = subparsers.add_parser("report", help="write the report of an experiment or a training as one HTML file")
    parser.add_argument("object", metavar="NAME", help="name of an ABExperiment, or trainingrun/NAME")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="(default: report.html)")
    parser.add_argument(
        "-n", "--namespace", default="", help="namespace (default: that of the kubeconfig's current context)"
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="FILE",
        help="JSON file to read instead of the cluster: an experiment's bundle, or a TrainingRun",
    )
    parser.set_defaults(run=partial(run, fetch=fetch))


def run(args: argparse.Namespace, fetch: Fetch | None = None) -> int:
    """Writes the report and returns the exit code."""
    now = datetime.now(tz=UTC)
    try:
        kind, name = _asked(args.object)
        if args.bundle is not None:
            found = json.loads(args.bundle.read_text(encoding="utf-8"))
        elif fetch is not None:
            found = fetch(kind, args.namespace, name)
        else:
            raise ValueError("--bundle: missing; give the JSON file with the experiment and its trades")
        page, words = (_training if kind == "TrainingRun" else _experiment)(found, name, args.bundle, now)
        args.output.write_text(page, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"tradewind report: {error}", file=sys.stderr)
        return CommandExit.NOT_ASKED
    print(f"{args.output}: {words}")
    return CommandExit.DONE


def _asked(text: str) -> tuple[str, str]:
    """Kind and name; a name alone is an experiment's."""
    word, found, name = text.rpartition("/")
    kind = kind_named(word).kind if found else "ABExperiment"
    if kind not in ("ABExperiment", "TrainingRun"):
        raise ValueError(f"{text}: there are reports of experiments and of trainings (trainingrun/NAME), not of {kind}")
    return kind, name


def _experiment(found: Json, name: str, source: Path | None, now: datetime) -> tuple[str, str]:
    data = read_bundle(found, now)
    if data.experiment.name != name:
        raise ValueError(f"{source}: holds experiment {data.experiment.name!r}, asked was {name!r}")
    return render_page(data), f"{len(data.rows)} decisions, verdict {verdict_of(data.experiment)[0]}"


def _training(found: Json, name: str, source: Path | None, now: datetime) -> tuple[str, str]:
    training = read_run(found)
    if training.name != name:
        raise ValueError(f"{source}: holds run {training.name!r}, asked was {name!r}")
    points = len(training.status.progress.curve) if training.status.progress else 0
    return render_training(
        training, now
    ), f"{training.status.phase or 'not looked at yet'}, {points} points of its curve"
