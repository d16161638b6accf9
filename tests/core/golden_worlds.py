"""Golden cases: a resource and facts in YAML become typed values, a decision becomes YAML.

`tests/golden/<kind>/<case>/input.yaml` is a patch over `tests/golden/<kind>/base.yaml` (null removes a key) with the keys
`about`, `now`, `resource` and `facts`; `expected.yaml` is what is decided. `UPDATE_GOLDEN=1 pytest tests/core` writes the
expectations anew, for a person to read in the diff.
"""

import copy
import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tradewind.api.common import API_VERSION, Resource, VersionStatusRef
from tradewind.api.endpoint import EndpointArmStatus
from tradewind.api.model_version import ModelVersion, Stage
from tradewind.api.parse import parse
from tradewind.api.registry import BY_KIND
from tradewind.api.training_run_status import ProgressStatus
from tradewind.core import ab_experiment, endpoint, model_version, training_run, training_schedule
from tradewind.core.decision import (
    FIELD_MANAGER,
    Apply,
    Create,
    Decision,
    Delete,
    JobFacts,
    Owner,
    PublishEpoch,
    RecordPromotion,
    RecordVerdict,
)
from tradewind.core.endpoint import Conflicts, EpochRow, ProbeCosts, Promotion, ReplicaReport
from tradewind.core.endpoint.seen import Document, GatewayDeployment, PodsAt, Sharing
from tradewind.core.hindrance import Hindrance
from tradewind.core.identity import spec_sha256, version_sha256
from tradewind.core.manifests.common import OWNER_NAME
from tradewind.core.platform import Platform
from tradewind.core.prompts import Prompt, prompt_of
from tradewind.core.queue import Wait
from tradewind.core.registry import BY_KIND as KINDS
from tradewind.trading.arm_health import ArmHealth
from tradewind.trading.evidence import NEVER, LostDecisions, LostReason, LostRow, Requests, TradeTable, to_us
from tradewind.trading.evidence.forecast import PastDecisions
from tradewind.trading.external_prompt import PromptTemplate
from tradewind.trading.routing import ROUTING_KEY, Refusal, Routing, text_sha256
from tradewind.trading.signature import Signer

GOLDEN = Path(__file__).parents[1] / "golden"
STATS = Path(__file__).parents[1] / "fixtures" / "stats"
PLATFORM = Platform(
    "tradewind",
    "tradewind-system",
    "gateway:1",
    "predictor:1",
    "trainer:1",
    vllm_image="vllm:1",
    routing_keys=Signer.generated().public_keys,
)
ADAPTER = "a" * 64

Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One golden case, typed."""

    kind: str
    about: str
    now: datetime
    resource: Resource
    seen: Any

    def decide(self, now: datetime | None = None, **changes: Any) -> Decision:
        """What is decided, with other facts where `changes` say so."""
        return decide(self.resource, replace(self.seen, **changes) if changes else self.seen, now or self.now)

    def after(self, decision: Decision, now: datetime | None = None) -> "Case":
        """The same case once the effects were carried out and the status was written."""
        status = type(self.resource.status).model_validate(decision.status.to_manifest())  # type: ignore[attr-defined]
        resource = self.resource.model_copy(update={"status": status})
        seen = self.seen
        for effect in decision.effects:
            seen = carried_out(self.kind, seen, effect)
        return replace(self, resource=resource, seen=seen, now=now or self.now)


def carried_out(kind: str, seen: Any, effect: Any) -> Any:
    """The facts after an effect: Jobs run, objects exist, epochs have numbers."""
    match effect:
        case Apply(manifest) if manifest["kind"] == "ConfigMap":
            text = manifest["data"][ROUTING_KEY]
            return replace(seen, routing=Routing.from_json(text), document=Document(sha256=text_sha256(text)))
        case Create(manifest) if manifest["kind"] == "Job":
            name = manifest["metadata"]["name"]
            fact = next(f for part, f in _JOBS.items() if part in name)
            return replace(seen, **{fact: JobFacts(name=name, active=True, succeeded=False, failed=False)})
        case Apply(manifest) if manifest["kind"] == "InferenceService":
            told = "serving.kserve.io/stop" in manifest["metadata"]["annotations"]
            known = seen.service or model_version.Service(ready=False, ready_replicas=0)
            return replace(seen, service=replace(known, told_to_stop=told)) if seen.service or told else seen
        case Apply(manifest) if manifest["kind"] == "Service" and kind == "endpoint":
            sends_to = manifest["spec"]["selector"][OWNER_NAME]
            return replace(seen, sharing=replace(seen.sharing, service=sends_to))
        case Delete(api_version, gone, _) if kind == "endpoint":
            return replace(seen, left_over=seen.left_over - {(api_version, gone)})
        case Delete(_, "Service", _) if kind == "training_run":
            return seen
        case Delete(_, "Job", name):
            fact = next(f for part, f in _JOBS.items() if part in name)
            return replace(seen, **{fact: None})
        case Create(manifest) if kind == "training_run":
            return replace(seen, version=resource_of(dict(manifest)))
        case Create(manifest):
            many = "runs" if manifest["kind"] == "TrainingRun" else "experiments"
            return replace(seen, **{many: (*getattr(seen, many), resource_of(dict(manifest)))})
        case Delete(_, gone, name):
            many = "runs" if gone == "TrainingRun" else "experiments"
            return replace(seen, **{many: tuple(o for o in getattr(seen, many) if o.name != name)})
        case RecordPromotion():
            first = effect.experiment_uid is None and effect.request is None
            used = seen.used | ({effect.request} if effect.request is not None else set())
            return replace(
                seen,
                promotion=Promotion(effect.version, effect.sha256, effect.spec_sha256, first, effect.request),
                used=used,
            )
        case RecordVerdict() if kind == "endpoint":
            return replace(seen, orphans=tuple(o for o in seen.orphans if o.uid != effect.experiment_uid))
        case PublishEpoch():
            known = {row.block for row in seen.epochs}
            row = EpochRow(effect.block, 100 + effect.block, effect.candidate_weight, effect.reason, effect.message)
            return seen if effect.block in known else replace(seen, epochs=(*seen.epochs, row))
    return seen


_JOBS = {"-snapshot": "snapshot", "-train-": "training", "-benchmark-": "benchmark"}


def decide(resource: Resource, seen: Any, now: datetime) -> Decision:
    kind = KINDS[type(resource).__name__]
    return kind.decide(resource, seen, now, platform=PLATFORM, owner=Owner.of(resource))


# --- from YAML -------------------------------------------------------------------------------------------------------


def _yaml(text: str) -> Any:
    return yaml.load(text, yaml.CSafeLoader)


def case_names(kind: str) -> list[str]:
    return sorted(path.parent.name for path in (GOLDEN / kind).glob("*/input.yaml"))


@cache
def load(kind: str, name: str) -> Case:
    patch = _yaml((GOLDEN / kind / name / "input.yaml").read_text(encoding="utf-8"))
    return build(kind, patch)


def build(kind: str, patch: Json) -> Case:
    """The case of a patch over the kind's base."""
    text = merged(_yaml((GOLDEN / kind / "base.yaml").read_text(encoding="utf-8")), patch)
    facts = text.get("facts") or {}
    now = _time(text["now"])
    resource = resource_of(text["resource"])
    seen = _FACTS[type(resource).__name__](facts, text)
    return Case(kind, text.get("about", ""), now, resource, seen)


def merged(base: Any, patch: Any) -> Any:
    """RFC 7386: mappings merge, null removes, everything else replaces."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(copy.deepcopy(base)) if isinstance(base, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def resource_of(text: Json) -> Any:
    """A typed resource; conditions may be written as a mapping, a uid defaults to the name, also in what the status refers to."""
    raw = copy.deepcopy(text)
    raw.setdefault("apiVersion", API_VERSION)
    raw["metadata"].setdefault("namespace", "trading")
    raw["metadata"].setdefault("uid", f"uid-{raw['metadata']['name']}")
    raw["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
    status = raw.setdefault("status", {})
    for ref in (value for key, value in status.items() if key.endswith("Ref") and isinstance(value, dict)):
        ref.setdefault("uid", f"uid-{ref['name']}")
    if isinstance(status.get("conditions"), Mapping):
        status["conditions"] = [
            {"type": k, "status": str(v), "reason": "Given", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            for k, v in status["conditions"].items()
        ]
    parsed = parse(BY_KIND[raw["kind"]].resource, raw)
    assert isinstance(parsed, Resource), parsed
    return parsed


def version(name: str, text: Json | None = None) -> ModelVersion:
    """A ModelVersion: external, or an adapter where `sha256` is given; Ready unless `ready: false`, resting with `retired`."""
    text = text or {}
    spec: Json = {
        "external": {"baseURL": "https://api.test/v1", "model": "m", "secretRef": {"name": name, "key": "api-key"}}
    }
    if text.get("sha256"):
        base = {"uri": "pvc://models/base"}
        spec = {"adapter": {"uri": f"pvc://models/{name}", "sha256": text["sha256"], "baseModel": base}}
    made = {
        "kind": "ModelVersion",
        "metadata": {"name": name},
        "spec": merged(spec, text.get("spec", {})),
        "status": {"conditions": {"Ready": str(text.get("ready", True))}}
        | ({"retiredTime": "2026-02-27T12:00:00Z"} if text.get("retired") else {}),
    }
    result = resource_of(made)
    assert isinstance(result, ModelVersion)
    return result


def _versions(facts: Json) -> dict[str, ModelVersion]:
    return {name: version(name, text) for name, text in (facts.get("versions") or {}).items()}


def _endpoint_facts(facts: Json, text: Json) -> endpoint.Seen:
    promotion = facts.get("promotion")
    routing: Routing | None = None
    if facts.get("routing"):  # the document that an earlier decision published
        earlier = merged(text, facts["routing"])
        earlier["facts"] = merged(earlier["facts"], {"routing": None})
        before = _endpoint_facts(earlier["facts"], earlier)
        routing = published(decide(resource_of(earlier["resource"]), before, _time(earlier["now"])))
        assert routing is not None
    versions = _versions(facts)
    return endpoint.Seen(
        versions=versions,
        experiments=tuple(resource_of({"kind": "ABExperiment"} | e) for e in facts.get("experiments") or ()),
        epochs=_epochs(facts),
        in_position=frozenset(facts.get("inPosition") or ()),
        promotion=_promotion(promotion, versions) if promotion else None,
        used=frozenset(facts.get("used") or ()),
        orphans=tuple(endpoint.StartedExperiment(o["uid"], o["name"]) for o in facts.get("orphans") or ()),
        replicas=tuple(
            ReplicaReport(
                r["replica"],
                _newest(routing) if r["generation"] == "newest" else r["generation"],
                r.get("epoch"),
                _arms(versions, r.get("arms", {})),
                published_at=_time(r["publishedAt"]) if "publishedAt" in r else None,
                sha256=r.get("sha256"),
            )
            for r in facts.get("replicas") or ()
        ),
        prompts={name: prompt for name, v in versions.items() if (prompt := _prompt(v, facts)) is not None},
        conflicts=Conflicts(**facts["conflicts"]) if facts.get("conflicts") else None,
        probes={n: ProbeCosts(p["count"], Decimal(str(p["cost"]))) for n, p in (facts.get("probes") or {}).items()},
        held_back=_hindrance(facts.get("heldBack")),
        ready_pods=frozenset(facts.get("readyPods") or ()),
        deployment=GatewayDeployment(**facts["deployment"]) if facts.get("deployment") else None,
        left_over=frozenset((one["apiVersion"], one["kind"]) for one in facts.get("leftOver") or ()),
        sharing=_sharing(facts.get("sharing") or {}),
        guests=tuple(resource_of({"kind": "Endpoint"} | guest) for guest in facts.get("guests") or ()),
        mounted=frozenset(facts["mounted"]) if facts.get("mounted") is not None else None,
        routing=routing,
        document=_document(facts.get("document"), routing),
        database_error=facts.get("databaseError"),
        schema_missing=facts.get("schemaMissing", False),
    )  # fmt: skip


def _sharing(text: Json) -> Sharing:
    """`host` as an Endpoint; `pods` by whose they are: all of `ready`, unless `complete: false` or another `count` is given."""
    return Sharing(
        host=resource_of({"kind": "Endpoint"} | text["host"]) if text.get("host") else None,
        service=text.get("service"),
        pods={
            name: PodsAt(
                frozenset(pods.get("ready") or ()),
                pods.get("complete", True),
                pods.get("count", len(pods.get("ready") or ())),
            )
            for name, pods in (text.get("pods") or {}).items()
        },
        ports=tuple((port, uid) for port, uid in text.get("ports") or ()),
    )


def _document(text: Json | None, routing: Routing | None) -> Document:
    """What lies in the ConfigMap: the document that was published, or what is told of another one."""
    sha256 = text_sha256(routing.to_json()) if routing is not None else None
    if text is None:
        return Document(sha256=sha256)
    return Document(
        holds=False,
        sha256=sha256,
        refusal=Refusal(text["refusal"]) if text.get("refusal") else None,
        detail=text.get("detail", ""),
        writer=text.get("writer", ""),
        version=text.get("version", "7"),
        immutable=text.get("immutable", False),
    )


def _arms(versions: Mapping[str, ModelVersion], text: Json | None) -> tuple[ArmHealth, ...] | None:
    """What a gateway knows of the arms: all answer but those that are told otherwise; a name without a mapping is not known."""
    if text is None:
        return None
    since = datetime(2026, 2, 28, tzinfo=UTC)
    answers: Json = {"healthy": True, "since": since}
    known = {name: text.get(name, answers) for name in versions}
    return tuple(
        ArmHealth.model_validate(
            {"version": name, "target": endpoint.arm_target(versions[name], PLATFORM.policy).digest, "since": since}
            | said
        )
        for name, said in known.items()
        if said is not None
    )


def _hindrance(text: Json | None) -> Hindrance | None:
    return Hindrance(text["reason"], text.get("message", ""), text.get("pod", "")) if text else None


def _promotion(text: Json, versions: Mapping[str, ModelVersion]) -> Promotion:
    """As recorded: of the version as it is now, where nothing else is said."""
    name, sha256 = text["version"], text.get("sha256")
    same = versions.get(name)
    spec = spec_sha256(same) if same is not None and version_sha256(same) == sha256 else None
    previous = VersionStatusRef.model_validate(text["previous"]) if "previous" in text else None
    return Promotion(name, sha256, spec, text.get("first", False), text.get("request"), previous)


def _version_facts(facts: Json, text: Json) -> model_version.Seen:
    service = facts.get("service")
    return model_version.Seen(
        service=model_version.Service(
            ready=service.get("ready", True),
            ready_replicas=service.get("readyReplicas", 1),
            message=service.get("message", ""),
            template_hash=service.get("templateHash", ""),
            told_to_stop=service.get("toldToStop", False),
            deployed=service.get("deployed", True),
            images=service.get("images", {}),
        )
        if service
        else None,
        pods=tuple(
            model_version.PredictorPod(
                name=p.get("name", "p"),
                ready=p.get("ready", False),
                restarts=p.get("restarts", 0),
                exit_code=p.get("exitCode"),
                result=p.get("result", {}),
                image_id=p.get("image", ""),
            )
            for p in facts.get("pods") or ()
        ),
        benchmark=job_of(facts.get("benchmark")),
        holders=tuple(facts.get("holders") or ()),
        users=tuple(facts.get("users") or ()),
        metrics=facts.get("metrics", True),
        namespace_going=bool(facts.get("namespaceGoing")),
        stage=Stage(facts.get("stage", "Candidate")),
        arms=tuple(
            model_version.Arm(
                a["endpoint"],
                EndpointArmStatus.model_validate({"version": "v", "uid": "u", "reason": "Answers"} | a["arm"]),
            )
            for a in facts.get("arms") or ()
        ),
        hindrance=_hindrance(facts.get("hindrance")),
        prompt=_prompt(resource_of(text["resource"]), facts),
        endpoint=resource_of({"kind": "Endpoint"} | facts["endpoint"]) if facts.get("endpoint") else None,
        champion=version("champion", facts["champion"]) if facts.get("champion") is not None else None,
    )


def _prompt(of: ModelVersion, facts: Json) -> Prompt | None:
    """The words that a version is asked with, from `configMaps`: their data by name."""
    ref = of.spec.external.prompt_template if of.spec.external is not None else None
    if ref is None:
        return None
    data = (facts.get("configMaps") or {}).get(ref.name)
    return prompt_of(ref, None if data is None else {"data": data})


def _run_facts(facts: Json, _: Json) -> training_run.Seen:
    progress = facts.get("progress")
    one = facts.get("endpoint")
    return training_run.Seen(
        endpoint=resource_of({"kind": "Endpoint"} | one) if one else None,
        snapshot=job_of(facts.get("snapshot")),
        training=job_of(facts.get("training")),
        version=version(facts["version"].get("name", "r"), facts["version"]) if facts.get("version") else None,
        warm_start=version("warm", facts["warmStart"]) if facts.get("warmStart") else None,
        progress=ProgressStatus.model_validate(progress) if progress else None,
    )


def _schedule_facts(facts: Json, _: Json) -> training_schedule.Seen:
    one = facts.get("endpoint")
    run = {
        "kind": "TrainingRun",
        "spec": _yaml((GOLDEN / "training_run" / "base.yaml").read_text())["resource"]["spec"],
    }
    return training_schedule.Seen(
        runs=tuple(resource_of(merged(run, r)) for r in facts.get("runs") or ()),
        versions=_versions(facts) if "versions" in facts else None,
        experiments=tuple(resource_of({"kind": "ABExperiment"} | e) for e in facts.get("experiments") or ()),
        endpoint=resource_of({"kind": "Endpoint"} | one) if one else None,
        endpoints=tuple(resource_of({"kind": "Endpoint"} | e) for e in facts.get("endpoints") or ()),
        new_samples=facts.get("newSamples"),
    )


def _experiment_facts(facts: Json, _: Json) -> ab_experiment.Seen:
    one, table = facts.get("endpoint"), facts.get("table")
    clock = facts.get("clock")
    rows, requests = (None, None)
    if table:
        until = _time(table["until"]) if table.get("until") else None
        rows, requests = recorded(
            table["csv"],
            until,
            fail_every=table.get("failEvery", 0),
            fails=table.get("fails", "both"),
            renamed=_time(table["baselineRenamed"]) if table.get("baselineRenamed") else None,
        )
    return ab_experiment.Seen(
        endpoint=resource_of({"kind": "Endpoint"} | one) if one else None,
        versions=_versions(facts),
        table=rows,
        requests=requests,
        lost=_lost(facts.get("lost"), rows),
        epochs=_epochs(facts),
        recorded=facts.get("recorded"),
        clock=_time(clock) if clock else None,
        past=PastDecisions(**facts["past"]) if facts.get("past") else None,
        tested_before=facts.get("testedBefore", 0),
        database_error=facts.get("databaseError"),
    )


def _lost(text: Json | None, rows: TradeTable | None) -> LostDecisions | None:
    """Of each reason so many, decided an hour apart; no_price and refused are rows of the table, the newest first."""
    if text is None or rows is None:
        return None
    found, newest = [], iter(rows.decision_id[::-1].tolist())
    for reason, count in text.items():
        for number in range(count):
            in_table = reason in (LostReason.NO_PRICE, LostReason.REFUSED)
            name = next(newest) if in_table else f"lost-{reason}-{number}"
            at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
            found.append(LostRow(name, LostReason(reason), at, at))
    return LostDecisions.from_rows(found)


_FACTS: Mapping[str, Callable[[Json, Json], Any]] = {
    "Endpoint": _endpoint_facts,
    "ModelVersion": _version_facts,
    "TrainingRun": _run_facts,
    "TrainingSchedule": _schedule_facts,
    "ABExperiment": _experiment_facts,
}
"""How the facts of a kind are written in YAML."""


def _asked_with(target: Json) -> Any:
    """What tells an arm: its hash, or the words that it is asked with, or why it has none."""
    if target.get("prompt") is not None:
        return PromptTemplate.model_validate(target["prompt"]).identity
    return target.get("promptFault") or target.get("sha256")


def _newest(routing: Routing | None) -> int:
    return routing.generation if routing is not None else 0


def job_of(text: Json | None) -> JobFacts | None:
    """`state: running|succeeded|failed`, and the rest by name."""
    if text is None:
        return None
    state = text.get("state", "running")
    return JobFacts(
        name=text.get("name", "j"),
        active=state == "running",
        succeeded=state == "succeeded",
        failed=state == "failed",
        suspended=text.get("suspended", False),
        running=text.get("running", state == "running"),
        hindrance=_hindrance(text.get("hindrance")),
        wait=Wait(text["wait"]["message"], text["wait"].get("preempted", False)) if "wait" in text else None,
        exit_code=text.get("exitCode", 0 if state == "succeeded" else None),
        message=text.get("message", ""),
        reason=text.get("reason", ""),
        out_of_memory=text.get("outOfMemory", False),
        result=text.get("result", {}),
        started_at=_time(text["startedAt"]) if "startedAt" in text else None,
        finished_at=_time(text["finishedAt"]) if "finishedAt" in text else None,
    )


@cache
def _records(name: str) -> tuple[Json, ...]:
    with (STATS / f"{name}.csv").open(newline="") as lines:
        return tuple(csv.DictReader(lines))


def recorded(
    name: str,
    until: datetime | None,
    *,
    fail_every: int = 0,
    fails: str = "both",
    renamed: datetime | None = None,
) -> tuple[TradeTable, Requests]:
    """A published table with what was decided before `until`, and a request for each row (40 ms, every n-th failed).

    The baseline calls itself api/fp1, and api/fp2 from `renamed` on.
    """
    rows = [r for r in _records(name) if until is None or _time(r["decided_at"]) < until]
    lines = [",".join(_records(name)[0])] + [",".join(row.values()) for row in rows]
    table = TradeTable.from_csv(lines)
    candidate = table.candidate.copy()
    number = np.where(candidate, np.cumsum(candidate), np.cumsum(~candidate))
    failed = (number % fail_every == 0) if fail_every else np.zeros(len(rows), bool)
    if fails == "candidate":
        failed = failed & candidate
    change = NEVER if renamed is None else to_us(renamed, "renamed")
    return table, Requests(
        candidate=candidate,
        decided_us=table.decided_us,
        answered_us=table.decided_us,
        latency_ms=np.full(len(rows), 40.0),
        failed=failed,
        fallback=failed.copy(),
        cost_cny=np.where(candidate, np.nan, 0.5),
        reported_model=np.where(candidate, "", np.where(table.decided_us < change, "api/fp1", "api/fp2")),
    )


def _epochs(facts: Json) -> tuple[EpochRow, ...]:
    return tuple(
        EpochRow(e["block"], e["epoch"], Decimal(str(e["weight"])), e.get("reason", ""), e.get("message", ""))
        for e in facts.get("epochs") or ()
    )


def _time(text: str | datetime) -> datetime:
    return text if isinstance(text, datetime) else datetime.fromisoformat(text)


# --- to YAML ---------------------------------------------------------------------------------------------------------


def published(decision: Decision) -> Routing | None:
    """The routing document that a decision publishes."""
    for effect in decision.effects:
        if isinstance(effect, Apply) and effect.manifest["kind"] == "ConfigMap":
            return Routing.from_json(effect.manifest["data"][ROUTING_KEY])
    return None


def shown(decision: Decision) -> Json:
    """A decision as a person reads it: manifests by name alone (they have tests of their own), routing documents whole."""
    after = decision.requeue_after
    return {
        "status": decision.status.to_manifest(),  # type: ignore[attr-defined]
        "effects": [effect_shown(effect) for effect in decision.effects],
        "requeueSeconds": None if after is None else after.total_seconds(),
    }


def effect_shown(effect: Any) -> Json:
    name = type(effect).__name__
    match effect:
        case Apply(manifest) if manifest["kind"] == "ConfigMap":
            document = json.loads(manifest["data"][ROUTING_KEY])
            arms = {arm: _asked_with(target) for arm, target in document["arms"].items()}
            keep = ("generation", "publishedAt", "expiresAt", "champion", "fallback", "experiment")
            return {
                name: f"ConfigMap/{manifest['metadata']['name']}",
                "routing": {k: document[k] for k in keep} | {"arms": arms},
            }
        case Apply(manifest, manager) if manager != FIELD_MANAGER:
            return {
                name: f"{manifest['kind']}/{manifest['metadata']['name']}",
                "manager": manager,
                "spec": manifest["spec"],
            }
        case Apply(manifest) | Create(manifest):
            return {name: f"{manifest['kind']}/{manifest['metadata']['name']}"}
        case Delete(_, kind, target):
            return {name: f"{kind}/{target}"}
    values = {f.name: getattr(effect, f.name) for f in fields(effect)}
    if values.get("request", "") is None:  # not by hand
        values = {key: value for key, value in values.items() if key not in ("request", "requested_by", "message")}
    for long in ("evidence", "spec"):
        if long in values:
            json.dumps(values.pop(long), allow_nan=False)  # what SQL takes as jsonb
    return {name: {key: _plain(value) for key, value in values.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, int | float | bool | None) else str(value)


KIND_CASES = [
    (kind, name)
    for kind in sorted(path.parent.name for path in GOLDEN.glob("*/base.yaml"))
    for name in case_names(kind)
]
