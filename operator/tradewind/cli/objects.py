"""`tradewind get`: the kinds of a namespace at a glance, and one experiment in full.

Belongs here: reading objects and laying them out as text. Does not belong here: changing anything (verbs.py), what changes
while one looks (watch.py), and the lineage of versions (version_registry.py).

Exit codes: 0 printed, 1 what was named is not there, 2 the request is wrong or nobody answers; with -w see watch.py.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import EvidenceStatus
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import InvalidSpec, parse
from tradewind.api.registry import BY_KIND, KINDS, Kind
from tradewind.cli.manifests import as_manifests
from tradewind.cli.outlook import outlook_lines, pair_lines
from tradewind.cli.report_text import NO_TRADES
from tradewind.cli.scope import add_scope, connected, namespace_of, not_there
from tradewind.cli.version_registry import Registry
from tradewind.cli.watch import Asked, watch
from tradewind.core.evidence import lost_counts
from tradewind.shell.cluster import ClusterError
from tradewind.trading.evidence import LostReason
from tradewind.trading.evidence.guardrails import shown
from tradewind.trading.evidence.verdict import times
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

Json = Mapping[str, Any]

_WHERE_KNOWN = (("EXPOSURE USD", "exposure"), ("HOURS OPEN", "exposureHours"), ("COST CNY", "costCNY"))
"""Columns that only an arm has that traded, or whose calls have a price."""
_EARNED = frozenset({"winRate", "totalPnl", "avgPnl", "sharpe"})


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `get` to the command line."""
    parser = subparsers.add_parser("get", help="show the objects of a namespace, or one of them in full")
    parser.add_argument("kind", nargs="?", default="all", help="a kind (name, plural or short name), or all")
    parser.add_argument("name", nargs="?", help="an object")
    add_scope(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="objects of all namespaces")
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "wide", "json", "yaml", "name", "manifests"),
        default="text",
        help="manifests: files that can be applied again, without status and what ties them to this cluster; "
        "wide: of modelversion, with base, dataset, what is served and parents",
    )
    parser.add_argument(
        "-w",
        "--watch",
        action="store_true",
        help="go on with what changes and when; of one experiment or run until it has a verdict",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the objects; see the exit codes above."""
    try:
        asked = what_is_asked(args)
        return asyncio.run(watch(args, asked, render, at_a_glance) if args.watch else _get(args, asked))
    except (ValueError, ClusterError) as error:
        print(f"tradewind get: {error}", file=sys.stderr)
        return CommandExit.NOT_ASKED


def what_is_asked(args: argparse.Namespace) -> Asked:
    """Kinds, namespace and name of the arguments.

    Raises:
        ValueError: the kind is unknown, a name is asked for in all namespaces, or options exclude each other.
    """
    if args.watch and args.output not in ("text", "json"):
        raise ValueError(f"-o {args.output}: leave out -w, which prints changes")
    word, _, name = args.kind.partition("/")
    if name and args.name:
        raise ValueError(f"{args.kind} {args.name}: one name, as KIND/NAME or KIND NAME")
    name = name or args.name
    kinds = tuple(KINDS) if word == "all" else (kind_named(word),)
    if args.output == "wide" and not _of_versions(kinds):
        raise ValueError("-o wide: of modelversion alone; leave it out, or ask for `tradewind get modelversion`")
    if args.all_namespaces and (name or args.namespace):
        raise ValueError("-A: all namespaces; leave out the name and -n, or give the name's namespace by -n alone")
    return Asked(kinds, None if args.all_namespaces else namespace_of(args), name)


async def _get(args: argparse.Namespace, asked: Asked) -> CommandExit:
    async with connected(args) as cluster:
        objects = await asked.read(cluster)
        if not objects and asked.name is not None:
            kind = asked.kinds[0].kind if len(asked.kinds) == 1 else "object"
            told = f"no {kind} {asked.name!r} in namespace {asked.namespace}"
            if len(asked.kinds) == 1:
                told = await not_there(cluster, kind, str(asked.namespace), asked.name)
            print(f"tradewind get: {told}", file=sys.stderr)
            return CommandExit.NO
        registry = None
        if _of_versions(asked.kinds) and args.output not in ("name", "manifests"):
            registry = await Registry.read(cluster, objects, whole=asked.name is None)
    match args.output:
        case "json" | "yaml":
            found = objects if registry is None else registry.with_lineage(objects)
            print(
                json.dumps(found, indent=1)
                if args.output == "json"
                else yaml.safe_dump(found, sort_keys=False).rstrip()
            )
        case "name":
            print("".join(f"{o['kind'].lower()}/{o['metadata']['name']}\n" for o in objects), end="")
        case "manifests":
            print(as_manifests(objects), end="")
        case _ if registry:
            print(_of_registry(registry, objects, asked, wide=args.output == "wide"))
        case _:
            text = render(objects, full=asked.name is not None, everywhere=asked.namespace is None)
            print(text or _nothing(asked))
    return CommandExit.DONE


def _of_versions(kinds: Sequence[Kind]) -> bool:
    return [kind.kind for kind in kinds] == [ModelVersion.__name__]


def _of_registry(registry: Registry, objects: Sequence[Json], asked: Asked, *, wide: bool) -> str:
    """The registry's table; of one version all that is known of it."""
    table = format_table(registry.rows(datetime.now(UTC), wide=wide, everywhere=asked.namespace is None))
    if asked.name is None:
        return table
    parts = [_details(o, registry.lines(o["metadata"].get("namespace", ""), o["metadata"]["name"])) for o in objects]
    return "\n\n".join([table, *parts])


def _nothing(asked: Asked) -> str:
    where = "any namespace" if asked.namespace is None else f"namespace {asked.namespace}"
    return f"nothing of Tradewind's in {where}" + ("" if asked.namespace is None else ": -n NAMESPACE, or -A for all")


def render(objects: Sequence[Json], *, full: bool = False, everywhere: bool = False) -> str:
    """Text of the objects: one table a kind; with `full` the conditions, arms and evidence of each."""
    parts = [_table(kind, [o for o in objects if o["kind"] == kind.kind], everywhere=everywhere) for kind in KINDS]
    if full:
        parts += [_details(o) for o in objects]
    return "\n\n".join(part for part in parts if part)


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


def _table(kind: Kind, objects: Sequence[Json], *, everywhere: bool = False) -> str:
    if not objects:
        return ""
    rows = [(*(("NAMESPACE",) if everywhere else ()), kind.kind.upper(), "PHASE", kind.happy.upper(), "DETAILS")]
    for body in objects:
        metadata = body["metadata"]
        where = (metadata.get("namespace", "-"),) if everywhere else ()
        rows.append((*where, metadata["name"], *at_a_glance(body)))
    return format_table(rows)


def at_a_glance(body: Json) -> tuple[str, str, str]:
    """Phase, the condition that says whether all is well, and the numbers that matter, of any of our kinds."""
    kind, status = BY_KIND[body["kind"]], body.get("status") or {}
    happy: Json = next((c for c in status.get("conditions", []) if c["type"] == kind.happy), {})
    state = f"{happy.get('status', '-')} {happy.get('reason', '')}".strip()
    return status.get("phase", "-"), state, _summary(body, status)


def _summary(body: Json, status: Json) -> str:
    match body["kind"]:
        case "Endpoint":
            champion = (status.get("championRef") or {}).get("name", "-")
            active = (status.get("activeExperiment") or {}).get("name")
            served_by = ((status.get("gateway") or {}).get("hosting") or {}).get("servedBy")
            return (
                f"champion {champion}"
                + (f", experiment {active}" if active else "")
                + (f", gateway of {served_by}" if served_by else "")
            )
        case "ModelVersion":
            benchmark = status.get("benchmark") or {}
            speed = f", p50 {benchmark['p50Ms']:.0f} ms" if benchmark.get("p50Ms") is not None else ""
            return f"{status.get('stage', '-')}{speed}"
        case "TrainingRun":
            progress, data = status.get("progress") or {}, status.get("dataset") or {}
            cost = f", {status['costCNY']:.2f} CNY" if status.get("costCNY") is not None else ""
            return f"{data.get('rows', '-')} rows, {progress.get('percent', 0) or 0:.0f} %{cost}"
        case "ABExperiment":
            evidence, weight = status.get("evidence") or {}, status.get("weight") or {}
            verdict = (status.get("verdict") or {}).get("decision", "no verdict")
            costs = [arm["costCNY"] for arm in status.get("arms") or [] if arm.get("costCNY") is not None]
            cost = f", {sum(costs):.2f} CNY" if costs else ""
            return f"weight {weight.get('desired', '-')}, {evidence.get('blocks', 0)} blocks, {verdict}{cost}"
        case _:
            return f"next {status.get('nextScheduleTime', '-')}"


def _details(body: Json, more: Sequence[str] = ()) -> str:
    status = body.get("status") or {}
    lines = [f"{body['kind']} {body['metadata']['name']}", *(f"  {line}" for line in more)]
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
    if body["kind"] == "Endpoint":
        lines += [f"  {line}" for line in _health_lines(arms)]
        arms = []
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
    for gate in status.get("gates") or (status.get("evaluation") or {}).get("gates") or ():
        state = {True: "passed", False: "FAILED"}.get(gate.get("passed"), "unknown")
        lines.append(f"  gate {gate['name']}: {state}, {gate.get('value', '-')} against {gate.get('threshold', '-')}")
    if status.get("riskBudgetUSD") is not None:
        lines.append(f"  risk budget {status['riskBudgetUSD']:.2f} USD")
    if status.get("gpuSeconds") is not None:
        cost = f", {status['costCNY']:.2f} CNY" if status.get("costCNY") is not None else ""
        lines.append(f"  {status['gpuSeconds'] / 3600:.2f} GPU hours{cost}")
    if body["kind"] == "Endpoint":
        told = status.get("history") or []
        lines += [f"  by hand {e['time']}: {e['reason']}: {e.get('message', '')}" for e in told[-5:]]
    else:
        told = [entry for entry in status.get("history") or [] if entry.get("verb")]
        lines += [f"  {e['verb']} {e['time']}: {e.get('result')}: {e.get('message', '')}" for e in told[-5:]]
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


def _health_lines(arms: Sequence[Json]) -> list[str]:
    """Whether each arm of an Endpoint answers, since when, and what it cost to find out."""
    lines = []
    for arm in arms:
        healthy = arm.get("healthy")
        state = "not known yet" if healthy is None else "answers" if healthy else "DOES NOT ANSWER"
        since = f" since {arm['since']}" if arm.get("since") else ""
        why = f": {arm['reason']}: {arm.get('message', '')}" if arm.get("healthy") is False else ""
        price = f" for {arm['probeCostCNY']} CNY" if arm.get("probeCostCNY") is not None else ""
        lines.append(f"arm {arm['version']}: {state}{since}{why} ({arm.get('probes') or 0} probes in 30 days{price})")
    return lines


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
        *(column for column in _WHERE_KNOWN if any(arm.get(column[1]) is not None for arm in arms)),
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
