"""`tradewind get`: the kinds of a namespace at a glance, and one experiment in full.

Belongs here: reading objects and laying them out as text. Does not belong here: changing anything (verbs.py).
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import EvidenceStatus
from tradewind.api.common import API_VERSION
from tradewind.api.parse import InvalidSpec, parse
from tradewind.api.registry import KINDS, Kind
from tradewind.cli.outlook import outlook_lines, pair_lines
from tradewind.cli.report_text import NO_TRADES
from tradewind.core.evidence import lost_counts
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.trading.evidence import LostReason
from tradewind.trading.evidence.guardrails import shown
from tradewind.trading.evidence.verdict import times

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Json = Mapping[str, Any]

_EARNED = frozenset({"winRate", "totalPnl", "avgPnl", "sharpe"})


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `get` to the command line."""
    parser = subparsers.add_parser("get", help="show the objects of a namespace, or one of them in full")
    parser.add_argument("kind", nargs="?", default="all", help="a kind (name, plural or short name), or all")
    parser.add_argument("name", nargs="?", help="an object")
    parser.add_argument("-n", "--namespace", default="default", help="namespace (default: default)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument("-w", "--watch", action="store_true", help="again every two seconds until interrupted")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the objects; exit code 1 where one was named and is not there, 2 where the request is wrong."""
    try:
        kinds = list(KINDS) if args.kind == "all" else [kind_named(args.kind)]
        while True:
            objects = asyncio.run(_read(kinds, args.namespace, args.name))
            if args.name and not objects:
                print(f"tradewind get: no {args.kind} {args.name!r} in namespace {args.namespace}", file=sys.stderr)
                return 1
            print(json.dumps(objects, indent=1) if args.output == "json" else render(objects, full=bool(args.name)))
            if not args.watch:
                return 0
            time.sleep(2)
            print()
    except (ValueError, ClusterError) as error:
        print(f"tradewind get: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def render(objects: Sequence[Json], *, full: bool = False) -> str:
    """Text of the objects: one table a kind; with `full` the conditions, arms and evidence of each."""
    parts = [_table(kind, [o for o in objects if o["kind"] == kind.kind]) for kind in KINDS]
    if full:
        parts += [_details(o) for o in objects]
    text = "\n\n".join(part for part in parts if part)
    return text or "nothing of Tradewind's here"


async def _read(kinds: Iterable[Kind], namespace: str, name: str | None) -> list[Json]:
    async with await Cluster.connect() as cluster:
        if name is not None:
            found = [await cluster.get(API_VERSION, kind.kind, namespace, name) for kind in kinds]
            return [o for o in found if o is not None]
        return [o for kind in kinds for o in await cluster.select(API_VERSION, kind.kind, namespace)]


def kind_named(text: str) -> Kind:
    """The kind by its name, plural or short name.

    Raises:
        ValueError: there is none of that name.
    """
    for kind in KINDS:
        if text.lower() in (kind.kind.lower(), kind.plural, kind.kind.lower() + "s", *kind.short_names):
            return kind
    names = ", ".join(kind.plural for kind in KINDS)
    msg = f"kind {text!r} is unknown; use one of {names}, or all"
    raise ValueError(msg)


def _table(kind: Kind, objects: Sequence[Json]) -> str:
    if not objects:
        return ""
    rows = [(kind.kind.upper(), "PHASE", kind.happy.upper(), "DETAILS")]
    for body in objects:
        status = body.get("status") or {}
        happy: Json = next((c for c in status.get("conditions", []) if c["type"] == kind.happy), {})
        state = f"{happy.get('status', '-')} {happy.get('reason', '')}".strip()
        rows.append((body["metadata"]["name"], status.get("phase", "-"), state, _summary(body, status)))
    return format_table(rows)


def _summary(body: Json, status: Json) -> str:
    match body["kind"]:
        case "Endpoint":
            champion = (status.get("championRef") or {}).get("name", "-")
            active = (status.get("activeExperiment") or {}).get("name")
            return f"champion {champion}" + (f", experiment {active}" if active else "")
        case "ModelVersion":
            benchmark = status.get("benchmark") or {}
            speed = f", p50 {benchmark['p50Ms']:.0f} ms" if benchmark.get("p50Ms") is not None else ""
            return f"{status.get('stage', '-')}{speed}"
        case "TrainingRun":
            progress, data = status.get("progress") or {}, status.get("dataset") or {}
            return f"{data.get('rows', '-')} rows, {progress.get('percent', 0) or 0:.0f} %"
        case "ABExperiment":
            evidence, weight = status.get("evidence") or {}, status.get("weight") or {}
            verdict = (status.get("verdict") or {}).get("decision", "no verdict")
            return f"weight {weight.get('desired', '-')}, {evidence.get('blocks', 0)} blocks, {verdict}"
        case _:
            return f"next {status.get('nextScheduleTime', '-')}"


def _details(body: Json) -> str:
    status = body.get("status") or {}
    lines = [f"{body['kind']} {body['metadata']['name']}"]
    weight = status.get("weight") or {}
    if weight.get("reason"):
        applied = f", applied {weight['applied']}" if weight.get("applied") is not None else ", not applied yet"
        applied = "" if status.get("completionTime") else applied  # the Endpoint has let go of it
        lines.append(f"  weight {weight['desired']}{applied} ({weight['reason']}, since {weight.get('since', '-')})")
        moves = f"; may move at {weight['nextLook']}" if weight.get("nextLook") else ""
        lines.append(f"    {weight.get('message', '')}{moves}")
    if status.get("verdict"):
        verdict = status["verdict"]
        lines.append(
            f"  verdict: {verdict['decision']} ({verdict['reason']}) at {verdict['time']}: {verdict['message']}"
        )
    arms = status.get("arms") or []
    if arms:
        lines.append(_indent(arms_table(arms)))
    comparison = status.get("comparison")
    if comparison and not all(arm.get("closedTrades") for arm in arms):
        lines.append(f"  closed trades, candidate minus baseline: an arm has {NO_TRADES}")
    elif comparison:
        lines.append(
            f"  closed trades, candidate minus baseline: win rate {comparison.get('winRateDiff', 0):+.4f}, "
            f"pnl {comparison.get('pnlDiff', 0):+.2f} USD, sharpe ratio x sqrt(252) {comparison.get('sharpeDiff', 0):+.3f}"
        )
    for metric in (status.get("evidence") or {}).get("metrics", []):
        bounds = [
            f"{metric[k]:+.4f}" if metric.get(k) is not None else "unknown" for k in ("estimate", "lower", "upper")
        ]
        lines.append(
            f"  {metric['name']}: {bounds[0]} ({bounds[1]} to {bounds[2]}), evidence for better "
            f"{times(metric.get('logEBetter', 0))}, for worse {times(metric.get('logEWorse', 0))}, "
            f"threshold {times(metric.get('threshold', 0))}"
        )
    if body["kind"] == "ABExperiment":
        lines += [f"  {line}" for line in _prospects(body)]
    lines += _lost_lines(status.get("evidence") or {})
    for guardrail in status.get("guardrails", []):
        state = "TRIPPED" if guardrail.get("tripped") else "ok"
        value, limit = (shown(guardrail["name"], guardrail.get(field)) for field in ("value", "threshold"))
        lines.append(f"  guardrail {guardrail['name']}: {state}, {value} of {limit}, {guardrail.get('message', '')}")
    for gate in status.get("gates", []):
        state = {True: "passed", False: "FAILED"}.get(gate.get("passed"), "unknown")
        lines.append(f"  gate {gate['name']}: {state}, {gate.get('value', '-')} against {gate.get('threshold', '-')}")
    if body["kind"] == "Endpoint":
        told = status.get("history") or []
        lines += [f"  by hand {e['time']}: {e['reason']}: {e.get('message', '')}" for e in told[-5:]]
    conditions = [(c["type"], c["status"], c["reason"], c.get("message", "")) for c in status.get("conditions", [])]
    if conditions:
        lines.append(_indent(format_table([("CONDITION", "STATUS", "REASON", "MESSAGE"), *conditions])))
    return "\n".join(lines)


def _prospects(body: Json) -> list[str]:
    """What pairs and forecast of an experiment say; nothing where its spec cannot be read."""
    experiment = parse(ABExperiment, body)
    if isinstance(experiment, InvalidSpec):
        return []
    return [*pair_lines(experiment.status), *outlook_lines(experiment.spec, experiment.status)]


def _lost_lines(evidence: Json) -> list[str]:
    """How many decisions are no evidence, and why: the operator's words for them, or nothing where it has not counted."""
    counts = lost_counts(EvidenceStatus.model_validate(evidence))
    if counts is None:
        return []
    more = counts.by_reason[LostReason.FOLLOW_UP]
    corrected = evidence.get("corrected") or 0
    return [
        f"  {counts.summary()}; {more} more continue a position; {corrected} rows were corrected after they counted"
    ]


def arms_table(arms: Sequence[Json]) -> str:
    """The arms side by side."""
    columns = (
        ("ARM", "name"),
        ("ROLE", "role"),
        ("DECISIONS", "decisions"),
        ("CLOSED", "closedTrades"),
        ("WIN RATE", "winRate"),
        ("PNL USD", "totalPnl"),
        ("AVG", "avgPnl"),
        ("SHARPE", "sharpe"),
        ("P50 MS", "p50Ms"),
        ("P99 MS", "p99Ms"),
        ("ERRORS", "errors"),
        ("FALLBACKS", "fallbacks"),
    )
    rows = [tuple(title for title, _ in columns)]
    rows += [tuple(_cell(arm, field) for _, field in columns) for arm in arms]
    return format_table(rows)


def _cell(arm: Json, field: str) -> str:
    """A number of an arm; one that closed nothing has earned nothing that could be told."""
    if field in _EARNED and not arm.get("closedTrades"):
        return NO_TRADES
    return _number(arm.get(field))


def format_table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns padded to their widest cell; the last one is left ragged."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _number(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
