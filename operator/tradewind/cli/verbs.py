"""`tradewind abort|pause|resume|approve|accept EXPERIMENT`: annotate with a fresh request id, which acts once, and say what came of it.

Belongs here: asking, and reading the answer off the experiment's history. Does not belong here: whether a verb may be carried
out (core/ab_experiment/obey.py), and the champion by hand (champion.py).

Exit codes: 0 done, 1 refused or not there, 2 it could not be asked for, 3 it still waits.
"""

import argparse
import asyncio
import sys
import time
import uuid
from typing import TYPE_CHECKING

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import HistoryEntry
from tradewind.api.common import API_VERSION
from tradewind.api.parse import InvalidSpec, parse
from tradewind.cli.scope import add_scope, add_signature, connected, namespace_of, not_there, signature
from tradewind.core.ab_experiment.obey import refusal
from tradewind.core.verbs import PREFIX
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_VERBS = {
    "abort": "end an experiment now; the baseline stays",
    "pause": "set the candidate's weight to 0 until resume",
    "resume": "go on after pause",
    "approve": "let a decided promotion ramp (onPromote.approval: manual)",
    "accept": "take what a changed arm has become for the arm; the evidence starts anew with the next block",
}
_EVERY = 0.5


def add_parser(subparsers: "Subparsers") -> None:
    """Adds the verbs to the command line."""
    for verb, text in _VERBS.items():
        parser = subparsers.add_parser(verb, help=text)
        parser.add_argument("experiment", help="name of the ABExperiment")
        add_scope(parser)
        add_signature(parser)
        parser.set_defaults(run=run, verb=verb)


def run(args: argparse.Namespace) -> int:
    """Asks and waits; what came of it is printed. See the exit codes above."""
    try:
        return asyncio.run(_ask(args, namespace_of(args)))
    except ClusterError as error:
        return _said(args.verb, str(error), CommandExit.NOT_ASKED)


async def _ask(args: argparse.Namespace, namespace: str) -> CommandExit:
    verb, name, request = args.verb, args.experiment, uuid.uuid4().hex[:12]
    async with connected(args) as cluster:
        experiment = await _experiment(cluster, namespace, name)
        if experiment is None:
            return _said(verb, await not_there(cluster, "ABExperiment", namespace, name), CommandExit.NO)
        if isinstance(experiment, InvalidSpec):
            return _said(
                verb, f"{name} cannot be read, so that nobody works on it: {experiment.message}", CommandExit.NO
            )
        refused = refusal(experiment, verb)
        if refused is not None:
            return _said(verb, f"{refused[0].value}: {name}: {refused[1]}", CommandExit.NO)
        annotations = {f"{PREFIX}{verb}": request, f"{PREFIX}by": await signature(cluster, args.by)}
        await cluster.merge(API_VERSION, "ABExperiment", namespace, name, {"metadata": {"annotations": annotations}})
        print(f"{name}: {verb} requested as {request} by {annotations[f'{PREFIX}by']}", flush=True)
        return await _outcome(args, cluster, namespace, request)


async def _outcome(args: argparse.Namespace, cluster: Cluster, namespace: str, request: str) -> CommandExit:
    """Waits until the history says what came of the request."""
    verb, until = args.verb, time.monotonic() + args.timeout
    while True:
        experiment = await _experiment(cluster, namespace, args.experiment)
        if not isinstance(experiment, ABExperiment):
            return _said(verb, f"{args.experiment} is gone", CommandExit.NO)
        status = experiment.status
        entry = next((e for e in reversed(status.history) if (e.verb, e.request) == (verb, request)), None)
        if entry is not None:
            return _answer(args, entry)
        if status.last_handled.get(verb) == request:
            print(f"{args.experiment}: {verb} was taken; an operator of an older version does not say what came of it")
            return CommandExit.NOT_YET
        if status.t0 is None and verb in ("pause", "resume"):
            return _said(
                verb, f"{args.experiment} has not started; it is carried out at the start", CommandExit.NOT_YET
            )
        if time.monotonic() >= until:
            running = next((c for c in status.conditions if c.reason in ("Aborting", "DatabaseUnreachable")), None)
            why = running.message if running is not None else "the operator has not looked at it: is it running?"
            return _said(verb, f"not carried out yet, and still asked for: {why}", CommandExit.NOT_YET)
        await asyncio.sleep(_EVERY)


def _answer(args: argparse.Namespace, entry: HistoryEntry) -> CommandExit:
    if entry.result == "refused":
        return _said(args.verb, f"{entry.reason}: {args.experiment}: {entry.message}", CommandExit.NO)
    print(f"{args.experiment}: {entry.message}")
    return CommandExit.DONE


async def _experiment(cluster: Cluster, namespace: str, name: str) -> ABExperiment | InvalidSpec | None:
    found = await cluster.get(API_VERSION, "ABExperiment", namespace, name)
    return None if found is None else parse(ABExperiment, found)


def _said(verb: str, message: str, code: CommandExit) -> CommandExit:
    print(f"tradewind {verb}: {message}", file=sys.stderr)
    return code
