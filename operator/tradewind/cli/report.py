"""`tradewind report`: one experiment as a single HTML file that needs no network.

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

from tradewind.cli.report_data import Json, read_bundle, verdict_of
from tradewind.cli.report_page import render_page

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Fetch = Callable[[str, str], Json]
"""Reads the bundle of an experiment, by namespace and name, from the cluster and its database."""


def from_cluster(namespace: str, name: str) -> Json:
    """The bundle of an experiment from the cluster and its database.

    Raises:
        ValueError: it cannot be read; the message says what to do.
    """
    from tradewind.shell.bundle import fetch_bundle
    from tradewind.shell.cluster import ClusterError, current_namespace

    try:
        return fetch_bundle(namespace or current_namespace(), name)
    except ClusterError as error:
        raise ValueError(str(error)) from error


def add_parser(subparsers: "Subparsers", fetch: Fetch | None = from_cluster) -> None:
    """Adds `report` to the command line; `fetch` reads the bundle where none is given as a file."""
    parser = subparsers.add_parser("report", help="write an experiment's report as one HTML file")
    parser.add_argument("experiment", metavar="EXPERIMENT", help="name of the ABExperiment")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="(default: report.html)")
    parser.add_argument(
        "-n", "--namespace", default="", help="namespace (default: that of the kubeconfig's current context)"
    )
    parser.add_argument("--bundle", type=Path, metavar="FILE", help="JSON bundle to read instead of the cluster")
    parser.set_defaults(run=partial(run, fetch=fetch))


def run(args: argparse.Namespace, fetch: Fetch | None = None) -> int:
    """Writes the report and returns the exit code."""
    try:
        if args.bundle is not None:
            bundle = json.loads(args.bundle.read_text(encoding="utf-8"))
        elif fetch is not None:
            bundle = fetch(args.namespace, args.experiment)
        else:
            raise ValueError("--bundle: missing; give the JSON file with the experiment and its trades")
        data = read_bundle(bundle, datetime.now(tz=UTC))
        if data.experiment.name != args.experiment:
            raise ValueError(f"{args.bundle}: holds experiment {data.experiment.name!r}, asked was {args.experiment!r}")
        args.output.write_text(render_page(data), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"tradewind report: {error}", file=sys.stderr)
        return 2
    print(f"{args.output}: {len(data.rows)} decisions, verdict {verdict_of(data.experiment)[0]}")
    return 0
