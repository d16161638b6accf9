"""`tradewind report`: one experiment, training or model version as a single HTML file that needs no network.

Exit codes: 0 the file was written; 2 an argument or the bundle is wrong.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tradewind.api.model_version import ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.cli.objects import kind_named
from tradewind.cli.report_data import Json, read_bundle, verdict_of
from tradewind.cli.report_manifest import read_manifest
from tradewind.cli.report_page import render_page
from tradewind.cli.report_training import render_training
from tradewind.cli.report_version import outcome_of, render_version
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Fetch = Callable[[str, str, str], Json]
"""Reads what a report is made of, by kind, namespace and name: an experiment's bundle, or the object itself."""


@dataclass(frozen=True, slots=True)
class Written:
    """A report: whose it is by its own word, a line about it, and what writes its page."""

    name: str
    line: str
    page: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Subject:
    """What there are reports of: in words, how it is asked for, and how its report is made of what was read."""

    what: str
    asked: str
    write: Callable[[Json, datetime], Written]


def from_cluster(kind: str, namespace: str, name: str) -> Json:
    """The bundle of an experiment from the cluster and its database, or an object of another kind from the cluster.

    Raises:
        ValueError: it cannot be read; the message says what to do.
    """
    from tradewind.shell.bundle import fetch_bundle, fetch_object
    from tradewind.shell.cluster import ClusterError, current_namespace

    try:
        where = namespace or current_namespace()
        return fetch_bundle(where, name) if kind == _BUNDLED else fetch_object(kind, where, name)
    except ClusterError as error:
        raise ValueError(str(error)) from error


def add_parser(subparsers: "Subparsers", fetch: Fetch | None = from_cluster) -> None:
    """Adds `report` to the command line; `fetch` reads the bundle where none is given as a file."""
    parser = subparsers.add_parser("report", help=f"write the report of {_listed('what')} as one HTML file")
    parser.add_argument("object", metavar="NAME", help=f"what is reported: {_listed('asked')}")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="(default: report.html)")
    parser.add_argument(
        "-n", "--namespace", default="", help="namespace (default: that of the kubeconfig's current context)"
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="FILE",
        help="JSON file to read instead of the cluster: an experiment's bundle, or the object as `kubectl get -o json` prints it",
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
        written = _SUBJECTS[kind].write(found, now)
        if written.name != name:
            raise ValueError(f"{args.bundle}: holds {kind} {written.name!r}, asked was {name!r}")
        args.output.write_text(written.page(), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"tradewind report: {error}", file=sys.stderr)
        return CommandExit.NOT_ASKED
    print(f"{args.output}: {written.line}")
    return CommandExit.DONE


def _asked(text: str) -> tuple[str, str]:
    """Kind and name; a name alone is an experiment's."""
    word, found, name = text.rpartition("/")
    kind = kind_named(word).kind if found else _BUNDLED
    if kind not in _SUBJECTS:
        raise ValueError(f"{text}: there are reports of {_listed('what')} ({_listed('asked')}), not of {kind}")
    return kind, name


def _experiment(found: Json, now: datetime) -> Written:
    data = read_bundle(found, now)
    line = f"{len(data.rows)} decisions, verdict {verdict_of(data.experiment)[0]}"
    return Written(data.experiment.name, line, partial(render_page, data))


def _training(found: Json, now: datetime) -> Written:
    run = read_manifest(TrainingRun, found)
    points = len(run.status.progress.curve) if run.status.progress else 0
    line = f"{run.status.phase or 'not looked at yet'}, {points} points of its curve"
    return Written(run.name, line, partial(render_training, run, now))


def _version(found: Json, now: datetime) -> Written:
    version = read_manifest(ModelVersion, found)
    return Written(version.name, outcome_of(version).words, partial(render_version, version, now))


_BUNDLED: Final = "ABExperiment"
"""The kind whose report needs more than the object."""
_SUBJECTS: Final[Mapping[str, Subject]] = {
    _BUNDLED: Subject("an experiment", "NAME", _experiment),
    "TrainingRun": Subject("a training", "trainingrun/NAME", _training),
    "ModelVersion": Subject("a model version", "modelversion/NAME", _version),
}


def _listed(field: str) -> str:
    """A field of all subjects, as a list in words."""
    *first, last = (str(getattr(subject, field)) for subject in _SUBJECTS.values())
    return f"{', '.join(first)} or {last}"
