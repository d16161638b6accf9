"""Why an object is as it is: the chain from it down to pods and gateways, and the first thing that is not as it should be.

Belongs here: what an object rests on, what is wrong with one, and the remedies that Kubernetes does not tell. Does not belong
here: reading objects (cli/explain.py). It reads plain JSON, so that it explains what the operator cannot parse, too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tradewind.api.common import API_VERSION, ENABLED_LABEL
from tradewind.api.registry import BY_KIND
from tradewind.core.endpoint.names import gateway_name, routing_name
from tradewind.core.hindrance import REMEDIES, of_pod
from tradewind.core.manifests.common import COMPONENT, OWNER_NAME
from tradewind.core.pods import terminated
from tradewind.core.training_run.manifests import snapshot_name, train_name
from tradewind.schema.scalars import parse_storage_uri
from tradewind.trading.routing import ROUTING_KEY

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ref:
    """What an object rests on: one object by its name, or all that a label selector matches.

    Attributes:
        named_by: the field that names it; "": the operator makes it.
        optional: that it is not there is fine.
    """

    api_version: str
    kind: str
    name: str = ""
    selector: str = ""
    named_by: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """An object that was read, or that could not be, with what it rests on.

    Attributes:
        body: None: it does not exist, or may not be read.
        refused: why it may not be read; "": it may.
    """

    ref: Ref
    body: Json | None = None
    refused: str = ""
    rests_on: "tuple[Node, ...]" = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the explanation.

    Attributes:
        depth: 0 for the object that was asked about.
        subject: kind and name.
        state: the condition with its value, or what there is of it.
        wrong: it is not as it should be.
        remedy: what to do about it; "": the message says it.
    """

    depth: int
    subject: str
    state: str
    reason: str = ""
    message: str = ""
    wrong: bool = False
    remedy: str = ""


_WRONG_WHEN_TRUE = frozenset({"Stalled", "BaselineChanged", "CandidateChanged", "EvidenceThin", "Underpowered"})
_WRONG_UNLESS_TRUE = frozenset({"EvidenceKnown", "WeightsApplied", "ChampionAvailable"})
_NEVER_WRONG = frozenset({"ExperimentActive", "CostBenefit", "Accepted", "ChampionByHand"})
_REMEDIES: Mapping[str, str] = {
    **REMEDIES,
    "Paused": "`tradewind resume` lets it go on",
    "BaselineChanged": "`tradewind accept` lets it go on, with evidence that starts anew",
    "CandidateChanged": "`tradewind accept` lets it go on, with evidence that starts anew",
    "ApprovalNeeded": "`tradewind approve` lets it go on",
    "Suspended": "set spec.suspend to false",
    "RoutingTampered": "find out who may write ConfigMaps in the namespace, and who did: docs/security.md, Routing",
    "RoutingDiffers": "delete the pod: a new one obeys what is published",
}


def rests_on(body: Json) -> tuple[Ref, ...]:
    """What an object rests on, in the order in which it is asked for."""
    spec, status, name = body.get("spec") or {}, body.get("status") or {}, body["metadata"]["name"]
    match body["kind"]:
        case "ABExperiment":
            baseline = spec.get("baseline") or (status.get("baselineRef") or {}).get("name")
            refs = [_ours("Endpoint", (spec.get("endpointRef") or {}).get("name"), "spec.endpointRef.name")]
            refs += [_ours("ModelVersion", baseline, "spec.baseline")]
            refs += [_ours("ModelVersion", spec.get("candidate"), "spec.candidate")]
        case "Endpoint":
            champion = (status.get("championRef") or {}).get("name")
            hosting = (status.get("gateway") or {}).get("hosting") or {}
            host = (spec.get("gateway") or {}).get("sharedWith")
            answers = hosting.get("servedBy") or host or name
            pods = f"{COMPONENT}=gateway,{OWNER_NAME}={answers}"
            refs = [
                _ours("ModelVersion", champion, "status.championRef"),
                _ours("ModelVersion", spec.get("fallback"), "spec.fallback"),
                Ref("v1", "ConfigMap", routing_name(name)),
                *([_ours("Endpoint", host, "spec.gateway.sharedWith")] if host else []),
                Ref("apps/v1", "Deployment", gateway_name(answers)),
                Ref("v1", "Pod", selector=pods),
            ]
        case "ModelVersion" if not spec.get("external"):
            own = spec.get("adapter") or spec.get("model") or {}
            refs = [*_claims(("uri", own), ("baseModel.uri", own.get("baseModel") or {}))]
            refs += [
                Ref("serving.kserve.io/v1beta1", "InferenceService", name),
                Ref("v1", "Pod", selector=f"serving.kserve.io/inferenceservice={name}"),
            ]
        case "TrainingRun" if not status.get("completionTime"):
            dataset = spec.get("dataset") or {}
            attempt = status.get("attempts")
            job = train_name(name, attempt) if attempt else snapshot_name(name)
            refs = [_ours("Endpoint", dataset.get("endpoint"), "spec.dataset.endpoint")]
            refs += [_ours("ModelVersion", spec.get("warmStartFrom"), "spec.warmStartFrom")]
            parts = (
                ("baseModel.uri", spec.get("baseModel")),
                ("output.uri", spec.get("output")),
                ("dataset.uri", dataset),
            )
            refs += [*_claims(*((field, part or {}) for field, part in parts))]
            refs += [Ref("batch/v1", "Job", job, optional=True)]
            refs += [Ref("v1", "Pod", selector=f"batch.kubernetes.io/job-name={job}", optional=True)]
        case "TrainingSchedule":
            refs = [
                _ours("TrainingRun", (status.get("lastRunRef") or {}).get("name"), "status.lastRunRef"),
                _ours("ABExperiment", (status.get("lastExperimentRef") or {}).get("name"), "status.lastExperimentRef"),
            ]
        case _:
            refs = []
    return tuple(dict.fromkeys(ref for ref in refs if ref.name or ref.selector))


def explain(node: Node, events: Sequence[Json], now: datetime) -> tuple[Line, ...]:
    """The whole chain, top down.

    Args:
        node: the object with what it rests on.
        events: Events of the namespace: what keeps a pod from starting is told there alone.
        now: whether a weight has expired.
    """
    return tuple(_walk(node, events, now, 0))


def cause(lines: Sequence[Line]) -> Line | None:
    """The first thing that is wrong and rests on nothing that is wrong; None: all is as it should be."""
    for index, line in enumerate(lines):
        if not line.wrong:
            continue
        if line.reason == "ForeignObject":
            return line  # what is missing below is missing for that
        below = []
        for other in lines[index + 1 :]:
            if other.depth <= line.depth and other.subject != line.subject:
                break
            below.append(other)
        deeper = cause(tuple(other for other in below if other.depth > line.depth))
        return deeper or line
    return None


def _walk(node: Node, events: Sequence[Json], now: datetime, depth: int) -> Iterator[Line]:
    ref, body = node.ref, node.body
    subject = f"{ref.kind}/{ref.name or ref.selector}"
    if node.refused:
        yield Line(depth, subject, "unknown", "Forbidden", node.refused)
    elif body is None and not ref.selector:
        yield _missing(ref, subject, depth)
    elif body is not None:
        yield from _lines(body, events, now, depth)
    for child in node.rests_on:
        yield from _walk(child, events, now, depth + bool(body is not None or node.refused))


def _missing(ref: Ref, subject: str, depth: int) -> Line:
    if ref.optional:
        return Line(depth, subject, "not there yet")
    remedy = (
        f"create it, or correct {ref.named_by}" if ref.named_by else "the operator makes it: read the operator's log"
    )
    return Line(depth, subject, "missing", "NotFound", wrong=True, remedy=remedy)


def _lines(body: Json, events: Sequence[Json], now: datetime, depth: int) -> Iterator[Line]:
    kind, status = body["kind"], body.get("status") or {}
    subject = f"{kind}/{body['metadata']['name']}"
    match kind:
        case _ if kind in BY_KIND:
            yield from _ours_lines(body, subject, depth)
        case "Pod":
            yield _pod(body, events, subject, depth)
        case "Deployment":
            ready, wanted = status.get("readyReplicas") or 0, (body.get("spec") or {}).get("replicas", 1)
            failed: Json = next((c for c in status.get("conditions", []) if c["type"] == "ReplicaFailure"), {})
            yield Line(
                depth,
                subject,
                f"{ready} of {wanted} pods ready",
                failed.get("reason", ""),
                failed.get("message", ""),
                ready < wanted,
            )
        case "InferenceService":
            ready_fact: Json = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})
            state, reason = ready_fact.get("status", "Unknown"), ready_fact.get("reason", "")
            yield Line(depth, subject, f"Ready={state}", reason, ready_fact.get("message", ""), state != "True")
        case "PersistentVolumeClaim":
            phase = status.get("phase", "Pending")
            remedy = "see its Events: no volume fits, or it waits for the first pod" if phase != "Bound" else ""
            yield Line(depth, subject, phase, wrong=phase != "Bound", remedy=remedy)
        case "Job":
            over = {c["type"]: c for c in status.get("conditions", []) if c.get("status") == "True"}
            failed = over.get("Failed", {})
            state = "failed" if failed else "complete" if "Complete" in over else f"{status.get('active') or 0} active"
            yield Line(depth, subject, state, failed.get("reason", ""), failed.get("message", ""), bool(failed))
        case "ConfigMap":
            yield _routing(body, now, subject, depth)
        case _:
            yield Line(depth, subject, "there")


def _ours_lines(body: Json, subject: str, depth: int) -> Iterator[Line]:
    """The happy condition, and whatever else is not as it should be."""
    status, kind = body.get("status") or {}, BY_KIND[body["kind"]]
    conditions = status.get("conditions") or []
    if not conditions:
        message = "the operator has not looked at it: does it run, and does it watch this namespace?"
        remedy = f"name the namespace in watchNamespaces, or with clusterWide label it {ENABLED_LABEL}=true"
        yield Line(depth, subject, "no conditions", "", message, wrong=True, remedy=remedy)
        return
    over = kind.batch and status.get("completionTime") is not None
    happy = [c for c in conditions if c["type"] == kind.happy]
    for fact in (*happy, *(c for c in conditions if c["type"] != kind.happy)):
        wrong = _is_wrong(fact, over=over, failed=body["kind"] == "TrainingRun")
        if wrong or fact in happy:
            reason, state = fact.get("reason", ""), f"{fact['type']}={fact['status']}"
            yield Line(depth, subject, state, reason, fact.get("message", ""), wrong, _REMEDIES.get(reason, ""))


def _is_wrong(fact: Json, *, over: bool, failed: bool) -> bool:
    """Whether a condition is not as it should be. The end of an experiment is an answer; that of a run may be a failure."""
    kind, status = fact["type"], fact["status"]
    if kind in _NEVER_WRONG or (over and not (failed and kind == "Succeeded")):
        return False
    if kind in _WRONG_WHEN_TRUE:
        return bool(status == "True")
    return status == "False" or (status == "Unknown" and kind in _WRONG_UNLESS_TRUE) or fact.get("reason") in _REMEDIES


def _pod(body: Json, events: Sequence[Json], subject: str, depth: int) -> Line:
    """What a pod waits for, or how it last ended."""
    status = body.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    if conditions.get("Ready", {}).get("status") == "True" or status.get("phase") == "Succeeded":
        return Line(depth, subject, "ready" if status.get("phase") != "Succeeded" else "ended well")
    uid = body["metadata"].get("uid")
    told = [e for e in events if (e.get("involvedObject") or {}).get("uid") == uid and e.get("type") == "Warning"]
    held = of_pod(body, told)
    if held is not None:
        return Line(depth, subject, "held back", held.reason, held.message, wrong=True, remedy=held.remedy)
    ended = terminated(body) or {}
    if ended.get("exitCode"):
        state, reason = f"ended with {ended['exitCode']}", ended.get("reason", "")
        return Line(depth, subject, state, reason, ended.get("message", ""), wrong=True)
    if told:
        reason, message = told[-1].get("reason", ""), told[-1].get("message", "")
        return Line(depth, subject, "not ready", reason, message, wrong=True, remedy=_REMEDIES.get(reason, ""))
    return Line(depth, subject, f"not ready ({status.get('phase', 'Unknown')})", "Starting", wrong=True)


def _routing(body: Json, now: datetime, subject: str, depth: int) -> Line:
    try:
        document = json.loads((body.get("data") or {})[ROUTING_KEY])
        live = (document.get("experiment") or {}).get("mode") == "Live"
        weight = (document.get("experiment") or {}).get("candidateWeight", "0")
        expired = live and datetime.fromisoformat(document["expiresAt"]) <= now
    except (KeyError, ValueError, TypeError):
        return Line(depth, subject, "unreadable", wrong=True, remedy="delete it: the operator publishes it anew")
    state = f"generation {document.get('generation')}, weight {weight}"
    if not expired:
        return Line(depth, subject, state)
    message = f"expired at {document['expiresAt']}: the baseline answers"
    remedy = "it is renewed while the evidence is computed: see the operator and the database"
    return Line(depth, subject, state, "Expired", message, wrong=True, remedy=remedy)


def _ours(kind: str, name: str | None, named_by: str) -> Ref:
    return Ref(API_VERSION, kind, name or "", named_by=named_by)


def _claims(*parts: tuple[str, Json]) -> Iterator[Ref]:
    """The claims that storage URIs name."""
    for field, part in parts:
        try:
            claim = parse_storage_uri(part["uri"]).claim
        except (KeyError, TypeError, ValueError):
            continue
        if claim:
            yield Ref("v1", "PersistentVolumeClaim", claim, named_by=f"spec.{field}")
