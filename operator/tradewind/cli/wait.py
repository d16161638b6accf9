"""`tradewind wait KIND/NAME --for CONDITION[=STATUS]|verdict[=DECISION]`: until something is true, for scripts.

Belongs here: what is waited for, and that it cannot come any more. Does not belong here: printing changes (watch.py).

Exit codes: 0 it is true; 1 it cannot become true any more, or the object is not there; 2 it could not be asked for; 3 the time is
over; where another verdict than the one that is waited for was reached: 4 rollback, 5 inconclusive, 6 abort, 1 promote
(trading/exits.py).
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tradewind.api.common import API_VERSION
from tradewind.api.registry import KINDS
from tradewind.cli.objects import kind_named
from tradewind.cli.scope import add_scope, connected, namespace_of, not_there, seconds
from tradewind.cli.watch import conditions_of, verdict_of, verdict_word
from tradewind.shell.cluster import ClusterError
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Json = Mapping[str, Any]

_EVERY = 1.0
_STATUSES = {"true": "True", "false": "False", "unknown": "Unknown"}


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `wait` to the command line."""
    parser = subparsers.add_parser("wait", help="wait for a condition or a verdict, with exit codes for scripts")
    parser.add_argument("object", help="KIND/NAME, or KIND with the name after it")
    parser.add_argument("name", nargs="?", help="its name")
    parser.add_argument(
        "--for",
        dest="wanted",
        required=True,
        metavar="WHAT",
        help="CONDITION or CONDITION=STATUS, such as Ready or Stalled=False; verdict, or verdict=promoted",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=600.0, metavar="TIME", help="such as 90s or 14d (default: 10m); 0: look once"
    )
    add_scope(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Waits; see the exit codes above."""
    try:
        word, _, name = args.object.partition("/")
        name = name or args.name or ""
        if not name:
            raise ValueError(f"name: missing; write KIND/NAME, such as {word}/trader")
        kind = kind_named(word).kind
        wanted, _, value = args.wanted.partition("=")
        if wanted == "verdict":
            if kind not in {kind.kind for kind in KINDS if kind.batch}:
                raise ValueError(f"--for verdict: {kind} comes to no verdict; wait for a condition, such as Ready")
            if value and kind != "ABExperiment":
                raise ValueError(f"--for {args.wanted}: {kind} ends with Succeeded=True or False; --for Succeeded")
            if value:
                verdict_word(value)
        elif not wanted or (value or "true").lower() not in _STATUSES:
            raise ValueError(f"--for {args.wanted}: write CONDITION=True, =False or =Unknown, or verdict")
        return asyncio.run(_wait(args, kind, name, namespace_of(args)))
    except (ValueError, ClusterError) as error:
        print(f"tradewind wait: {error}", file=sys.stderr)
        return CommandExit.NOT_ASKED


async def _wait(args: argparse.Namespace, kind: str, name: str, namespace: str) -> CommandExit:
    until, told = time.monotonic() + args.timeout, ""
    async with connected(args) as cluster:
        while True:
            try:
                body = await cluster.get(API_VERSION, kind, namespace, name)
                if body is None:
                    gone = f"{kind} {name} is gone" if told else await not_there(cluster, kind, namespace, name)
                    print(f"tradewind wait: {gone}", file=sys.stderr)
                    return CommandExit.NO
                code, told = answer({"kind": kind, **body}, args.wanted)
                if code is not None:
                    good = code is CommandExit.DONE
                    print(f"{kind}/{name}: {told}", file=sys.stdout if good else sys.stderr)
                    return code
            except ClusterError as error:
                if not told or error.status not in (0, 429, 500, 502, 503, 504):
                    raise
                told = str(error)
            if time.monotonic() >= until:
                print(f"tradewind wait: {kind}/{name}: not {args.wanted} yet: {told}", file=sys.stderr)
                return CommandExit.NOT_YET
            await asyncio.sleep(min(_EVERY, max(0.0, until - time.monotonic())))


def answer(body: Json, wanted: str) -> tuple[CommandExit | None, str]:
    """Whether what is waited for is true (0), cannot become true any more (another code) or is not yet (None); in words."""
    what, _, value = wanted.partition("=")
    status = body.get("status") or {}
    ended = verdict_of(body)
    if what == "verdict":
        verdict = status.get("verdict") or {}
        said = f"verdict {verdict['decision']} ({verdict['reason']}): {verdict.get('message', '')}" if verdict else ""
        if ended is None:
            return None, f"no verdict yet, phase {status.get('phase', '-')}"
        if not said:
            return ended if body["kind"] != "ABExperiment" else CommandExit.NO, f"it ended: {status.get('phase', '-')}"
        if not value or ended is verdict_word(value):
            return CommandExit.DONE, said
        # A code that says 0 would say that the verdict is the one that was asked for.
        return (CommandExit.NO if ended is CommandExit.DONE else ended), said
    state = _STATUSES[(value or "true").lower()]
    found = next((c for c in conditions_of(body) if c["type"].lower() == what.lower()), None)
    if found is not None and found["status"] == state:
        return CommandExit.DONE, f"{found['type']}={state} {found.get('reason', '')}: {found.get('message', '')}"
    if found is None:
        known = ", ".join(c["type"] for c in status.get("conditions") or []) or "none yet"
        said = f"there is no condition {what} of this generation; there are {known}"
    else:
        said = f"{found['type']}={found['status']} {found.get('reason', '')}: {found.get('message', '')}"
    if status.get("completionTime") or status.get("phase") == "Invalid":
        return CommandExit.NO, f"it has ended ({status.get('phase', '-')}): {said}"
    return None, said
