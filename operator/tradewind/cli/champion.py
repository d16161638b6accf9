"""`tradewind promote VERSION --endpoint E --reason TEXT` and `tradewind rollback ENDPOINT`: the champion, by hand.

The request is an annotation on the Endpoint, as any verb's; the command waits for what comes of it, which the Endpoint's
status says by that very request.

Exit codes: 0 carried out, 1 refused, replaced by a newer request or not there, 2 it could not be asked for, 3 it still waits.
"""

import argparse
import asyncio
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

from tradewind.api.ab_experiment_status import ABExperimentStatus
from tradewind.api.common import API_VERSION
from tradewind.api.endpoint import EndpointStatus
from tradewind.cli.scope import add_scope, add_signature, connected, namespace_of, not_there, signature
from tradewind.core.conditions import is_true
from tradewind.core.endpoint import TERMINAL
from tradewind.core.endpoint.by_hand import CONDITION, DONE, LONGEST_REASON, request_key, undone
from tradewind.core.verbs import PREFIX
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_EVERY = 0.5


class _NotThereError(ClusterError):
    """The Endpoint does not exist."""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds both commands to the command line."""
    promote = subparsers.add_parser(
        "promote", help="make a version the champion by hand; a running experiment is aborted"
    )
    promote.add_argument("version", help="name of the ModelVersion")
    promote.add_argument("--endpoint", required=True, help="name of the Endpoint")
    promote.add_argument("--reason", required=True, type=reason_text, help="why; kept with the promotion")
    rollback = subparsers.add_parser(
        "rollback", help="take the newest promotion back, also while its ramp runs; a running experiment is aborted"
    )
    rollback.add_argument("endpoint", help="name of the Endpoint")
    rollback.add_argument("--reason", type=reason_text, help="why; kept with the promotion record")
    for verb, parser in (("promote", promote), ("rollback", rollback)):
        add_scope(parser)
        add_signature(parser)
        parser.set_defaults(run=run, verb=verb)


def run(args: argparse.Namespace) -> int:
    """Asks and waits; what came of it is printed."""
    args.namespace = namespace_of(args)
    try:
        return asyncio.run(_change(args))
    except _NotThereError as error:
        print(f"tradewind {args.verb}: {error}", file=sys.stderr)
        return CommandExit.NO
    except ClusterError as error:
        print(f"tradewind {args.verb}: {error}", file=sys.stderr)
        return CommandExit.NOT_ASKED


async def _change(args: argparse.Namespace) -> int:
    request = uuid.uuid4().hex[:12]
    async with connected(args) as cluster:
        status = await _status(cluster, args)
        if args.verb == "promote":
            value = f"{args.version}/{request}"
        else:
            target = await _goes_back_to(cluster, args, status)
            # Named, so that of two people who roll back at once the second one does not undo the first.
            value = f"{target}/{request}" if target is not None else request
        annotations: dict[str, str | None] = {f"{PREFIX}{args.verb}": value, f"{PREFIX}reason": args.reason}
        annotations[f"{PREFIX}by"] = await signature(cluster, args.by)
        patch = {"metadata": {"annotations": annotations}}
        await cluster.merge(API_VERSION, "Endpoint", args.namespace, args.endpoint, patch)
        print(f"{args.endpoint}: {args.verb} requested as {value}", flush=True)
        return await _outcome(cluster, args, request_key(args.verb, value))


async def _outcome(cluster: Cluster, args: argparse.Namespace, key: str) -> int:
    """Waits until the status says what came of the request, and until the gateways obey."""
    until = time.monotonic() + args.timeout
    while True:
        status = await _status(cluster, args)
        told = next((entry for entry in reversed(status.history or ()) if entry.request == key), None)
        late = time.monotonic() >= until
        if told is not None and told.reason not in DONE:
            print(f"tradewind {args.verb}: {told.reason}: {told.message}", file=sys.stderr)
            return CommandExit.NO
        if told is not None and (late or is_true(status.conditions, "WeightsApplied")):
            applied = status.condition("WeightsApplied")
            print(f"{args.endpoint}: {told.message}")
            if applied is not None and not is_true(status.conditions, "WeightsApplied"):
                print(f"{args.endpoint}: not obeyed by every gateway yet: {applied.message}")
            if args.verb == "rollback" and status.previous_champion_ref is not None:
                print(f"{args.endpoint}: another rollback would lead to {status.previous_champion_ref.name}")
            return CommandExit.DONE
        if late:
            waits = status.condition(CONDITION)
            why = waits.message if waits is not None else "the operator has not looked at it: is it running?"
            print(f"tradewind {args.verb}: not carried out yet, and still asked for: {why}", file=sys.stderr)
            return CommandExit.NOT_YET
        await asyncio.sleep(_EVERY)


async def _goes_back_to(cluster: Cluster, args: argparse.Namespace, status: EndpointStatus) -> str | None:
    """Where a rollback leads as things are now; None: the operator has the last word."""
    held = None
    if status.active_experiment is not None:
        found = await cluster.get(API_VERSION, "ABExperiment", args.namespace, status.active_experiment.name)
        held = ABExperimentStatus.model_validate((found or {}).get("status") or {})
    if held is not None and held.phase in TERMINAL:
        return None
    target = undone(status, held)
    return target.name if target is not None else None


async def _status(cluster: Cluster, args: argparse.Namespace) -> EndpointStatus:
    found: dict[str, Any] | None = await cluster.get(API_VERSION, "Endpoint", args.namespace, args.endpoint)
    if found is None:
        raise _NotThereError(await not_there(cluster, "Endpoint", args.namespace, args.endpoint), 404)
    return EndpointStatus.model_validate(found.get("status") or {})


def reason_text(text: str) -> str:
    """A reason that is one.

    Raises:
        argparse.ArgumentTypeError: it is empty or too long.
    """
    text = text.strip()
    if not 0 < len(text) <= LONGEST_REASON:
        raise argparse.ArgumentTypeError(f"say why, in at most {LONGEST_REASON} characters")
    return text
