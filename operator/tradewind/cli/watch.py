"""What changes in objects while one looks: `tradewind get -w` and `tradewind wait`.

Belongs here: reading again and again, what has changed since, and when an object has its verdict. Does not belong here: how an
object is laid out (objects.py).

Exit codes: those of trading/exits.py. `get -w` of one experiment ends with its verdict: 0 promote, 4 rollback, 5 inconclusive,
6 abort; of one TrainingRun with 0 or 1; of anything else when it is interrupted.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tradewind.api.common import API_VERSION
from tradewind.api.registry import BY_KIND, Kind
from tradewind.cli.progress_line import progress_line
from tradewind.cli.scope import connected, not_there
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.trading.exits import CommandExit

Json = Mapping[str, Any]
Facts = Mapping[str, str]

_EVERY = 1.0
_VERDICTS = {
    "promote": CommandExit.DONE,
    "rollback": CommandExit.ROLLED_BACK,
    "inconclusive": CommandExit.INCONCLUSIVE,
    "abort": CommandExit.ABORTED,
}


@dataclass(frozen=True)
class Asked:
    """Which objects are meant; namespace None: of all, name None: every one."""

    kinds: tuple[Kind, ...]
    namespace: str | None
    name: str | None

    async def read(self, cluster: Cluster) -> list[Json]:
        """The objects, in the order of their kinds."""
        if self.name is not None:
            found = [await cluster.get(API_VERSION, kind.kind, self.namespace, self.name) for kind in self.kinds]
            return [o for o in found if o is not None]
        return [o for kind in self.kinds for o in await cluster.select(API_VERSION, kind.kind, self.namespace)]


async def watch(
    args: argparse.Namespace,
    asked: Asked,
    render: Callable[..., str],
    at_a_glance: Callable[[Json], tuple[str, ...]],
) -> CommandExit:
    """Prints what there is, then a line for each change with its time, until a verdict where one object is meant."""
    known: dict[tuple[str, str, str], Facts] | None = None
    silent = False
    async with connected(args) as cluster:
        while True:
            try:
                objects = await asked.read(cluster)
            except ClusterError as error:
                if known is None or error.status not in (0, 429, 500, 502, 503, 504):
                    raise
                if not silent:
                    print(f"{_now()}  {error}; asked again until it answers", file=sys.stderr, flush=True)
                silent = True
                await asyncio.sleep(_EVERY)
                continue
            silent = False
            if asked.name is not None and not objects:
                kind = asked.kinds[0].kind if len(asked.kinds) == 1 else "object"
                gone = f"{kind} {asked.name} is gone" if known else ""
                told = gone or await not_there(cluster, kind, str(asked.namespace), asked.name)
                print(f"tradewind get: {told}", file=sys.stderr)
                return CommandExit.NO
            bar = sys.stdout.isatty()
            now = {
                _key(body): facts(body, bar=bar) if asked.name else {"": "  ".join(at_a_glance(body))}
                for body in objects
            }
            if args.output == "json":
                changed = [body for body in objects if known is None or known.get(_key(body)) != now[_key(body)]]
                _print(*(json.dumps(body) for body in changed))
            elif known is None:
                _print(render(objects, full=asked.name is not None, everywhere=asked.namespace is None))
            else:
                _print(*changes(known, now, _now(), everywhere=asked.namespace is None))
            known = now
            ends = [verdict_of(body) for body in objects] if asked.name is not None else []
            if ends and all(end is not None for end in ends):
                return max(end for end in ends if end is not None)
            await asyncio.sleep(_EVERY)


def changes(
    old: Mapping[tuple[str, str, str], Facts],
    new: Mapping[tuple[str, str, str], Facts],
    time: str,
    *,
    everywhere: bool = False,
) -> list[str]:
    """A line for each fact that is another one, for what is new and for what is gone."""
    lines = []
    for key in (*new, *(key for key in old if key not in new)):
        namespace, kind, name = key
        subject = f"{time}  {namespace + '/' if everywhere else ''}{kind}/{name}"
        if key not in new:
            lines.append(f"{subject}  gone")
            continue
        before = old.get(key, {})
        for fact in (*new[key], *(fact for fact in before if fact not in new[key])):
            value = new[key].get(fact)
            if value != before.get(fact):
                what = f"{fact}: " if fact else ""
                lines.append(f"{subject}  {what}{'no more' if value is None else value}")
    return lines


def facts(body: Json, *, bar: bool = False) -> Facts:
    """What of an object is worth a line when it changes: phase, weight, verdict, conditions, progress, verbs.

    Args:
        bar: progress with a bar, for a terminal.
    """
    status = body.get("status") or {}
    found = {"phase": status.get("phase", "-")}
    weight, verdict, progress = status.get("weight") or {}, status.get("verdict"), status.get("progress") or {}
    if weight:
        applied = weight.get("applied", "not yet")
        found["weight"] = f"{weight.get('desired', '-')}, applied {applied} ({weight.get('reason', '-')})"
    if verdict:
        found["verdict"] = f"{verdict['decision']} ({verdict['reason']}): {verdict.get('message', '')}"
    if progress.get("percent") is not None:
        found["progress"] = progress_line(progress, bar=bar)
    evidence = status.get("evidence") or {}
    if evidence.get("blocks") is not None:
        found["blocks"] = str(evidence["blocks"])
    if (status.get("championRef") or {}).get("name"):
        found["champion"] = status["championRef"]["name"]
    for condition in status.get("conditions") or []:
        message = condition.get("message", "")
        said = f"{condition['status']} {condition.get('reason', '')}" + (f": {message}" if message else "")
        found[condition["type"]] = said
    told = [entry for entry in status.get("history") or [] if entry.get("result")]
    if told:
        found["verb"] = f"{told[-1].get('message', '')} ({told[-1]['time']})"
    return {name: " ".join(value.split()) for name, value in found.items()}


def verdict_of(body: Json) -> CommandExit | None:
    """How an object ended; None: not yet, or it is of a kind that does not end."""
    status = body.get("status") or {}
    if status.get("phase") == "Invalid":
        return CommandExit.NO
    if body["kind"] == "ABExperiment":
        verdict = status.get("verdict")
        return _VERDICTS.get(verdict["decision"], CommandExit.NO) if verdict else None
    kind = BY_KIND[body["kind"]]
    if not kind.batch or not status.get("completionTime"):
        return None
    happy = next((c["status"] for c in status.get("conditions") or [] if c["type"] == kind.happy), "False")
    return CommandExit.DONE if happy == "True" else CommandExit.NO


def verdict_word(word: str) -> CommandExit:
    """The exit code of a verdict as people name it: promote or promoted, rollback or rolledback, ...

    Raises:
        ValueError: there is no such verdict.
    """
    for decision, code in _VERDICTS.items():
        past = {"promote": "promoted", "rollback": "rolledback", "abort": "aborted"}.get(decision, decision)
        if word.lower().replace("-", "").replace("_", "") in (decision, past):
            return code
    raise ValueError(f"verdict {word!r}: there are {', '.join(_VERDICTS)}")


def _print(*lines: str) -> None:
    for line in lines:
        if line:
            print(line, flush=True)


def _key(body: Json) -> tuple[str, str, str]:
    return body["metadata"].get("namespace", ""), body["kind"], body["metadata"]["name"]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions_of(body: Json) -> Sequence[Json]:
    """The conditions of an object that speak of its newest spec."""
    generation = body["metadata"].get("generation") or 0
    found = (body.get("status") or {}).get("conditions") or []
    return [c for c in found if c.get("observedGeneration", generation) >= generation]
