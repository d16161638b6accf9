"""`tradewind abort|pause|resume|approve|accept EXPERIMENT`: annotate with a fresh request id, which acts once."""

import argparse
import asyncio
import sys
import uuid
from typing import TYPE_CHECKING

from tradewind.api.common import API_VERSION
from tradewind.core.endpoint import TERMINAL
from tradewind.core.verbs import PREFIX
from tradewind.shell.cluster import Cluster, ClusterError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_VERBS = {
    "abort": "end an experiment now; the baseline stays",
    "pause": "set the candidate's weight to 0 until resume",
    "resume": "go on after pause",
    "approve": "let a decided promotion ramp (onPromote.approval: manual)",
    "accept": "take what a changed arm has become for the arm; the evidence starts anew with the next block",
}


def add_parser(subparsers: "Subparsers") -> None:
    """Adds the verbs to the command line."""
    for verb, text in _VERBS.items():
        parser = subparsers.add_parser(verb, help=text)
        parser.add_argument("experiment", help="name of the ABExperiment")
        parser.add_argument("-n", "--namespace", default="default", help="namespace (default: default)")
        parser.add_argument("--by", help="the requesting user, as the API server knows it")
        parser.set_defaults(run=run, verb=verb)


def run(args: argparse.Namespace) -> int:
    """Annotates the experiment; exit code 2 where it cannot."""
    try:
        request = asyncio.run(_annotate(args.namespace, args.experiment, args.verb, args.by))
    except ClusterError as error:
        print(f"tradewind {args.verb}: {error}", file=sys.stderr)
        return 2
    print(f"{args.experiment}: {args.verb} requested as {request}")
    return 0


async def _annotate(namespace: str, name: str, verb: str, by: str | None) -> str:
    request = uuid.uuid4().hex[:12]
    annotations = {f"{PREFIX}{verb}": request}
    if by:
        annotations[f"{PREFIX}by"] = by
    async with await Cluster.connect() as cluster:
        if verb == "accept":
            await _demand_running(cluster, namespace, name)
        await cluster.merge(API_VERSION, "ABExperiment", namespace, name, {"metadata": {"annotations": annotations}})
    return request


async def _demand_running(cluster: Cluster, namespace: str, name: str) -> None:
    """A terminal experiment never acts, so nothing in its status would say that the verb was refused."""
    found = await cluster.get(API_VERSION, "ABExperiment", namespace, name)
    phase = ((found or {}).get("status") or {}).get("phase")
    if phase in TERMINAL:
        message = f"{name} is {phase}: what was measured stays as it is; begin a new experiment with what answers now"
        raise ClusterError(message, 409)
