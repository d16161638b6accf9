"""`tradewind explain KIND/NAME`: the chain of conditions from an object down to pods and gateways, and what to do.

Belongs here: reading objects and the words on the terminal. Does not belong here: what rests on what, and what is wrong
(core/explain.py).

Exit codes: 0 nothing is wrong; 3 something is; 1 the object does not exist; 2 the request is wrong, nobody
answers, or a part of the chain may not be read.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tradewind.api.common import API_VERSION
from tradewind.cli.objects import kind_named
from tradewind.cli.scope import add_scope, connected, namespace_of, not_there
from tradewind.core.explain import Line, Node, Ref, cause, explain, rests_on
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Json = Mapping[str, Any]


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `explain` to the command line."""
    parser = subparsers.add_parser(
        "explain", help="why an object is as it is, down to pods and gateways, and what to do"
    )
    parser.add_argument("object", help="KIND/NAME, or KIND with the name after it")
    parser.add_argument("name", nargs="?", help="its name")
    add_scope(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the chain; see the exit codes above."""
    try:
        what, _, name = args.object.partition("/")
        name = name or args.name or ""
        if not name:
            raise ValueError(f"name: missing; write KIND/NAME, such as {what}/trader")
        ref = Ref(API_VERSION, kind_named(what).kind, name)
        node, events, missing = asyncio.run(_read(args, ref, namespace_of(args)))
    except (ValueError, ClusterError) as error:
        print(f"tradewind explain: {error}", file=sys.stderr)
        return CommandExit.NOT_ASKED
    if missing:
        print(f"tradewind explain: {missing}", file=sys.stderr)
        return CommandExit.NO
    lines = explain(node, events, datetime.now(UTC))
    first = cause(lines)
    if args.output == "json":
        told = {"lines": [asdict(line) for line in lines], "cause": None if first is None else asdict(first)}
        print(json.dumps(told, indent=1))
    else:
        print(render(node, lines, first))
    return exit_code(lines, first)


def exit_code(lines: Sequence[Line], first: Line | None) -> int:
    """0 only where all of the chain was read and nothing of it is wrong; see the exit codes above."""
    if first is not None:
        return CommandExit.NOT_YET
    return CommandExit.NOT_ASKED if any(line.reason == "Forbidden" for line in lines) else CommandExit.DONE


def render(node: Node, lines: Sequence[Line], first: Line | None) -> str:
    """Text of the chain, the cause marked, with its remedy; of an experiment in order, what it waits for."""
    text = [_row(line, marked=line is first) for line in lines]
    if first is not None:
        said = ": ".join(filter(None, (first.reason, first.message)))
        text += ["", f"cause: {first.subject} {first.state}" + (f": {said}" if said else "")]
        text += [f"remedy: {first.remedy}"] if first.remedy else []
    text += _weight(node.body or {})
    return "\n".join(text)


def _row(line: Line, *, marked: bool) -> str:
    mark = "=> " if marked else " ! " if line.wrong else "   "
    said = " ".join(" ".join(filter(None, (line.reason, line.message))).split())
    return f"{mark}{'  ' * line.depth}{line.subject}  {line.state}  {said[:200]}".rstrip()


def _weight(body: Json) -> list[str]:
    """Why an experiment's weight is what it is, when it may move, and what the verdict waits for."""
    status = body.get("status") or {}
    weight, verdict = status.get("weight") or {}, status.get("verdict")
    lines = []
    if weight.get("reason"):
        applied = weight.get("applied")
        obeyed = "not applied yet" if applied is None else f"{applied} applied"
        obeyed = "the Endpoint has let go of it" if status.get("completionTime") else obeyed
        lines = ["", f"weight: {weight['desired']} wanted, {obeyed}"]
        lines += [f"  why: {weight['reason']}: {weight.get('message', '')}, since {weight.get('since', 'unknown')}"]
        lines += [f"  may move at {weight['nextLook']}"] if weight.get("nextLook") else []
    if verdict:
        lines += [f"verdict: {verdict['decision']} ({verdict['reason']}): {verdict.get('message', '')}"]
    known = next((c for c in status.get("conditions") or [] if c["type"] == "EvidenceKnown"), None)
    if body.get("kind") == "ABExperiment" and known is not None and not verdict:
        lines += [f"verdict: waits: {known['reason']}: {known.get('message', '')}"]
    return lines


async def _read(args: argparse.Namespace, ref: Ref, namespace: str) -> tuple[Node, list[Json], str]:
    """The chain, the namespace's events, and what is said where the object does not exist; "": it does."""
    async with connected(args) as cluster:
        reader = Reader(cluster, namespace)
        node = await reader.node(ref)
        if node.body is None and not node.refused:
            return node, [], await not_there(cluster, ref.kind, namespace, ref.name)
        return node, await reader.events(), ""


class Reader:
    """Reads an object and what it rests on, each object once."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._read: set[Ref] = set()

    async def node(self, ref: Ref) -> Node:
        """The object with all that it rests on; what may not be read says so and nothing below it is known."""
        try:
            if ref.selector:
                found = await self._cluster.select(
                    ref.api_version, ref.kind, self._namespace, label_selector=ref.selector
                )
                pods = (Node(replace(ref, name=pod["metadata"]["name"], selector=""), pod) for pod in found)
                return Node(ref, rests_on=tuple(pods))
            body = await self._cluster.get(ref.api_version, ref.kind, self._namespace, ref.name)
        except ClusterError as error:
            if error.status not in (401, 403):
                raise
            verb = "list" if ref.selector else "get"
            return Node(ref, refused=f"may not {verb} {ref.kind}: {error}; ask for that right in {self._namespace}")
        if body is None:
            return Node(ref)
        body = {"kind": ref.kind, **body}
        below = []
        for child in rests_on(body):  # depth first: what two things rest on stands below the first of them
            key = replace(child, named_by="")
            if key not in self._read:
                self._read.add(key)
                below.append(await self.node(child))
        return Node(ref, body, rests_on=tuple(below))

    async def events(self) -> list[Json]:
        """Events of the namespace in the order of their last time; none where they may not be read."""
        try:
            found = await self._cluster.select("v1", "Event", self._namespace)
        except ClusterError:
            return []
        return sorted(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
