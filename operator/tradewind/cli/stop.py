"""`tradewind stop ENDPOINT --reason TEXT`: takes the candidate's weight away now, and says for each gateway pod whether it obeys.

The experiment that holds the Endpoint is ended by the verb `abort`. The command then waits until every gateway pod that runs has
reported a routing document without the candidate. Of a pod that does not, it says until when it may still draw the candidate:
a weight that is not renewed expires.

Belongs here: asking, and who obeys. Does not belong here: whether the verb is carried out (core/ab_experiment/obey.py), and the
champion by hand (champion.py).

Exit codes: 0 every pod obeys, 1 refused or not there, 2 it could not be asked for, 3 not every pod has said so.
"""

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import API_VERSION
from tradewind.api.endpoint import EndpointStatus
from tradewind.api.parse import parse
from tradewind.cli.champion import reason_text
from tradewind.cli.scope import add_scope, add_signature, connected, namespace_of, not_there, signature
from tradewind.core.ab_experiment.obey import refusal
from tradewind.core.endpoint.names import routing_name
from tradewind.core.endpoint.ports import has_port
from tradewind.core.manifests.common import COMPONENT, OWNER_NAME
from tradewind.core.pods import has_ended
from tradewind.core.verbs import PREFIX
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.trading.exits import CommandExit
from tradewind.trading.routing import ROUTING_KEY, Routing

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_EVERY = 0.5


@dataclass(frozen=True)
class PodWord:
    """What is known of one gateway pod: obeys, or not and why."""

    name: str
    obeys: bool
    said: str


@dataclass
class _Stopped:
    """What is being stopped, and what is known of the documents that name it.

    Attributes:
        experiment: uid.
        candidate: the version.
        until: when the newest of these documents expires.
        needed: generation of a document without it; None: none is published yet.
    """

    experiment: str | None = None
    candidate: str | None = None
    until: datetime | None = None
    needed: int | None = None

    def read(self, routing: Routing | None) -> None:
        """Takes in the published document."""
        if routing is None:
            return
        route = routing.experiment
        # Without its database the operator keeps the experiment, with no weight.
        drawn = route is not None and (route.mode == "Replay" or route.candidate_weight > 0)
        if route is not None and route.uid == self.experiment and drawn:
            self.candidate, self.until, self.needed = route.candidate, routing.expires_at, None
        elif self.needed is None:
            self.needed = routing.generation


def add_parser(subparsers: "Subparsers") -> None:
    """Adds the command to the command line."""
    parser = subparsers.add_parser("stop", help="take the candidate's weight away now, and say which gateways obey")
    parser.add_argument("endpoint", help="name of the Endpoint")
    parser.add_argument("--reason", required=True, type=reason_text, help="why; kept with the verdict")
    add_scope(parser)
    add_signature(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Stops and waits; see the exit codes above."""
    try:
        return asyncio.run(_stop(args, namespace_of(args)))
    except ClusterError as error:
        return _said(str(error), CommandExit.NOT_ASKED)


async def _stop(args: argparse.Namespace, namespace: str) -> CommandExit:
    until = time.monotonic() + args.timeout
    async with connected(args) as cluster:
        status = await _status(cluster, namespace, args.endpoint)
        if status is None:
            return _said(await not_there(cluster, "Endpoint", namespace, args.endpoint), CommandExit.NO)
        routing = await _published(cluster, namespace, args.endpoint)
        held = status.active_experiment
        stopped = _Stopped()
        if held is not None:
            stopped.experiment = held.uid
            refused = await _ask(args, cluster, namespace, held.name)
            if refused is not None:
                return _said(refused, CommandExit.NO)
        elif routing is not None and routing.experiment is not None:
            stopped.experiment = routing.experiment.uid  # released already, and not yet published
        else:
            print(f"{args.endpoint}: no experiment holds it: no candidate is drawn", flush=True)
        stopped.read(routing)
        return await _obeyed(args, cluster, namespace, stopped, until)


async def _ask(args: argparse.Namespace, cluster: Cluster, namespace: str, name: str) -> str | None:
    """Asks for the abort; why it is refused, None: it is asked for, or the experiment is over."""
    found = await cluster.get(API_VERSION, "ABExperiment", namespace, name)
    experiment = None if found is None else parse(ABExperiment, found)
    if isinstance(experiment, ABExperiment):
        refused = refusal(experiment, "abort")
        if refused is not None:
            print(f"{name}: {refused[1]}", flush=True)
            return None
    elif experiment is not None:
        return f"{name} cannot be read, so that nobody works on it: {experiment.message}"
    else:
        print(f"{name}: it is gone", flush=True)
        return None
    request = uuid.uuid4().hex[:12]
    annotations = {
        f"{PREFIX}abort": request,
        f"{PREFIX}by": await signature(cluster, args.by),
        f"{PREFIX}reason": args.reason,
    }
    await cluster.merge(API_VERSION, "ABExperiment", namespace, name, {"metadata": {"annotations": annotations}})
    print(f"{name}: abort requested as {request} by {annotations[f'{PREFIX}by']}", flush=True)
    return None


async def _obeyed(
    args: argparse.Namespace, cluster: Cluster, namespace: str, stopped: _Stopped, until: float
) -> CommandExit:
    """Waits until every pod says that it obeys; prints what each said last."""
    while True:
        stopped.read(await _published(cluster, namespace, args.endpoint))
        status = await _status(cluster, namespace, args.endpoint)
        if status is None:
            return _said(f"{args.endpoint} is gone", CommandExit.NO)
        pods = await _gateway_pods(cluster, namespace, args.endpoint, status)
        words = pod_words(pods, status, stopped.needed, stopped.candidate, stopped.until, datetime.now(UTC))
        done = stopped.needed is not None and all(word.obeys for word in words)
        if done or time.monotonic() >= until:
            break
        await asyncio.sleep(_EVERY)
    for word in words:
        print(f"{word.name}: {word.said}", flush=True)
    held = status.active_experiment
    if held is not None and held.uid != stopped.experiment:
        print(f"{args.endpoint}: the next experiment, {held.name}, holds it now", flush=True)
    if done:
        print(f"{args.endpoint}: stopped; {len(words)} of {len(words)} gateway pods obey", flush=True)
        return CommandExit.DONE
    if stopped.needed is None:
        why = "the operator has not published a document without the candidate: is it running?"
    else:
        why = f"{sum(word.obeys for word in words)} of {len(words)} gateway pods obey"
    return _said(f"{args.endpoint}: {why}", CommandExit.NOT_YET)


def pod_words(
    pods: Sequence[Mapping[str, Any]],
    status: EndpointStatus,
    needed: int | None,
    candidate: str | None,
    until: datetime | None,
    now: datetime,
) -> list[PodWord]:
    """What is known of each gateway pod that runs, by name.

    Args:
        pods: of the Endpoint's gateway; those that have ended or never started ask nobody.
        status: the Endpoint's.
        needed: generation of a document without the candidate; None: none is published.
        candidate: whom the documents before name.
        until: when the newest of them expires.
        now: the clock that says whether that is over.
    """
    gateway = status.gateway
    reported = {pod.name: pod.generation for pod in (gateway.pods if gateway is not None else None) or ()}
    words = []
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        if has_ended(pod) or (pod.get("status") or {}).get("phase") == "Pending":
            continue
        name = str(pod["metadata"]["name"])
        generation = reported.get(name)
        if needed is not None and generation is not None and generation >= needed:
            words.append(PodWord(name, True, f"obeys (document {generation}): the candidate is not drawn"))
            continue
        told = "has not said what it obeys" if generation is None else f"obeys document {generation} still"
        if candidate is None or until is None:
            may = "no candidate was drawn before either"
        elif now >= until:
            may = f"the weight of {candidate} expired at {until.isoformat(timespec='seconds')}: it is drawn no more"
        else:
            may = f"may ask {candidate} until {until.isoformat(timespec='seconds')}, when its weight expires"
        words.append(PodWord(name, False, f"{told}; {may}"))
    return words


async def _gateway_pods(cluster: Cluster, namespace: str, endpoint: str, status: EndpointStatus) -> list[Any]:
    """Pods that answer for an Endpoint: its own, and those of another one whose pods answer for it, too."""

    async def pods_of(name: str) -> list[Any]:
        of_gateway = f"{COMPONENT}=gateway,{OWNER_NAME}={name}"
        return list(await cluster.select("v1", "Pod", namespace, label_selector=of_gateway))

    found = await pods_of(endpoint)
    hosting = status.gateway.hosting if status.gateway is not None else None
    if hosting is not None:
        hosts = {name for name in (hosting.host, hosting.served_by, hosting.left) if name is not None}
        for host in sorted(hosts - {endpoint}):
            found += [pod for pod in await pods_of(host) if has_port(pod, hosting.port)]
    return found


async def _status(cluster: Cluster, namespace: str, name: str) -> EndpointStatus | None:
    found = await cluster.get(API_VERSION, "Endpoint", namespace, name)
    return None if found is None else EndpointStatus.model_validate(found.get("status") or {})


async def _published(cluster: Cluster, namespace: str, endpoint: str) -> Routing | None:
    found = await cluster.get("v1", "ConfigMap", namespace, routing_name(endpoint))
    text = ((found or {}).get("data") or {}).get(ROUTING_KEY)
    try:
        return Routing.from_json(text) if text else None
    except ValueError:
        return None


def _said(message: str, code: CommandExit) -> CommandExit:
    print(f"tradewind stop: {message}", file=sys.stderr)
    return code
