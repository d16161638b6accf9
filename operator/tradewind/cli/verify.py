"""`tradewind verify modelversion/NAME`: where a version comes from, link by link, held by hashes and uids.

Belongs here: reading objects and the words on the terminal. Does not belong here: what is compared with what (core/lineage.py).

Exit codes: 0 every link holds; 1 one is broken, or the version does not exist; 3 something is not known yet; 2 the request is
wrong, nobody answers, or a part of the chain may not be read.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from tradewind.api.common import API_VERSION
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import InvalidSpec, parse
from tradewind.api.training_run import TrainingRun
from tradewind.cli.objects import kind_named
from tradewind.cli.scope import add_scope, connected, namespace_of, not_there
from tradewind.core.endpoint.names import routing_name
from tradewind.core.lineage import Found, Link, Listed, Read, State
from tradewind.core.lineage_use import links, routed_by, worst
from tradewind.core.pods import is_ready
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Json = Mapping[str, Any]
_OWNERS_DEEP: Final = 4
"""ReplicaSet, Deployment, InferenceService, and one to spare."""
_SHORT: Final = 19
"""Of a hash in text: enough to tell it from another one, and where they begin alike, all of it is shown."""
_BETWEEN: Final = {State.OK: "=", State.BROKEN: "!=", State.UNKNOWN: "?"}


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `verify` to the command line."""
    parser = subparsers.add_parser(
        "verify", help="whether a model version is what its training, its pods and its Endpoints say, by hashes"
    )
    parser.add_argument("object", help="modelversion/NAME, or modelversion with the name after it")
    parser.add_argument("name", nargs="?", help="its name")
    add_scope(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the links; see the exit codes above."""
    try:
        name = _name(args)
        found = asyncio.run(_found(args, namespace_of(args), name))
    except (ValueError, ClusterError) as error:
        print(f"tradewind verify: {error}", file=sys.stderr)
        return CommandExit.NOT_ASKED
    if isinstance(found, str):
        print(f"tradewind verify: {found}", file=sys.stderr)
        return CommandExit.NO
    chain = links(found)
    if args.output == "json":
        print(
            json.dumps(
                {"version": f"ModelVersion/{name}", "state": worst(chain), "links": [asdict(link) for link in chain]},
                indent=1,
            )
        )
    else:
        print(render(chain))
    return exit_code(chain)


def exit_code(chain: Sequence[Link]) -> int:
    """0 only where every link was read and holds; see the exit codes above."""
    match worst(chain):
        case State.OK:
            return CommandExit.DONE
        case State.BROKEN:
            return CommandExit.NO
        case _:
            return CommandExit.NOT_ASKED if any(link.forbidden for link in chain) else CommandExit.NOT_YET


def render(chain: Sequence[Link]) -> str:
    """A line for each link, and how many there are of each state."""
    wide = max((len(link.link) for link in chain), default=0)
    lines = [f"{link.state:<7}  {link.link:<{wide}}  {_told(link)}" for link in chain]
    counts = ", ".join(f"{sum(link.state is state for link in chain)} {state}" for state in State)
    return "\n".join([*lines, "", counts])


def _told(link: Link) -> str:
    values = [side.value for side in link.sides]
    short = {value: value[:_SHORT] for value in values if value is not None and _is_hash(value)}
    alike = len(set(short.values())) < len(short)
    said = [
        " ".join(filter(None, (side.what, side.value if alike else short.get(side.value or "", side.value))))
        for side in link.sides
    ]
    text = f" {_BETWEEN[link.state] if link.equal else 'against'} ".join(said)
    return text + (f": {' '.join(link.why.split())}" if link.why else "")


def _is_hash(value: str) -> bool:
    digits = value.removeprefix("sha256:")
    return len(digits) == 64 and all(letter in "0123456789abcdef" for letter in digits)


def _name(args: argparse.Namespace) -> str:
    what, _, name = args.object.partition("/")
    if kind_named(what).kind != ModelVersion.__name__:
        raise ValueError(f"{what}: a ModelVersion is verified; write modelversion/NAME")
    if name and args.name:
        raise ValueError(f"{args.object} {args.name}: one name, as KIND/NAME or KIND NAME")
    if not (name or args.name):
        raise ValueError(f"name: missing; write {what}/NAME")
    return str(name or args.name)


async def _found(args: argparse.Namespace, namespace: str, name: str) -> Found | str:
    """What was read; a text where the version does not exist."""
    async with connected(args) as cluster:
        body = await cluster.get(API_VERSION, ModelVersion.__name__, namespace, name)
        if body is None:
            return await not_there(cluster, ModelVersion.__name__, namespace, name)
        version = parse(ModelVersion, {"kind": ModelVersion.__name__, **body})
        if isinstance(version, InvalidSpec):
            raise ValueError(f"ModelVersion {name} cannot be read: {version.message}")  # noqa: TRY004 - what is wrong is what an object says
        return await Reader(cluster, namespace).found(version)


class Reader:
    """Reads what a version comes from and who counts on it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    async def found(self, version: ModelVersion) -> Found:
        """All that its links compare; what may not be read says so."""
        adapter = version.spec.adapter
        run, parent, service, pods = Read(), Read(), Read(), Listed()
        if adapter is not None and adapter.training_run is not None:
            run = await self._get(API_VERSION, TrainingRun.__name__, adapter.training_run)
            source = ((run.body or {}).get("spec") or {}).get("warmStartFrom")
            parent = await self._get(API_VERSION, ModelVersion.__name__, str(source)) if source else parent
        if version.spec.external is None:  # nothing of KServe need be installed for one
            service = await self._get("serving.kserve.io/v1beta1", "InferenceService", version.name)
            labelled = f"serving.kserve.io/inferenceservice={version.name}"
            pods = await self._select("v1", "Pod", labelled) if service.body is not None else pods
        endpoints = await self._select(API_VERSION, "Endpoint")
        experiments = await self._select(API_VERSION, "ABExperiment")
        return Found(
            version,
            run=run,
            parent=parent,
            service=service,
            pods=pods,
            owners=await self._owners([pod for pod in pods.items if is_ready(pod)]),
            endpoints=endpoints,
            experiments=experiments,
            routing={
                endpoint: await self._get("v1", "ConfigMap", routing_name(endpoint))
                for endpoint in routed_by(endpoints, experiments, version.name)
            },
        )

    async def _owners(self, bodies: Sequence[Json]) -> dict[str, Read]:
        """Who owns these, and who owns those, each once by its uid; what has the name of an owner and another uid is none."""
        owners: dict[str, Read] = {}
        todo = list(bodies)
        for _ in range(_OWNERS_DEEP):
            refs = [ref for body in todo for ref in body["metadata"].get("ownerReferences") or ()]
            todo = []
            for ref in refs:
                if ref["uid"] in owners:
                    continue
                read = await self._get(ref["apiVersion"], ref["kind"], ref["name"])
                if read.body is not None and read.body["metadata"].get("uid") != ref["uid"]:
                    read = Read()
                owners[ref["uid"]] = read
                todo += [] if read.body is None else [read.body]
        return owners

    async def _get(self, api_version: str, kind: str, name: str) -> Read:
        try:
            return Read(await self._cluster.get(api_version, kind, self._namespace, name))
        except ClusterError as error:
            if error.status == 404:  # the kind is not served, such as KServe's where nothing of it is installed
                return Read()
            return Read(refused=self._refused("get", kind, error))

    async def _select(self, api_version: str, kind: str, label_selector: str = "") -> Listed:
        try:
            found = await self._cluster.select(api_version, kind, self._namespace, label_selector=label_selector)
        except ClusterError as error:
            return Listed(refused=self._refused("list", kind, error))
        return Listed(tuple(found))

    def _refused(self, verb: str, kind: str, error: ClusterError) -> str:
        if error.status not in (401, 403):
            raise error
        return f"may not {verb} {kind}: {error}; ask for that right in {self._namespace}"
