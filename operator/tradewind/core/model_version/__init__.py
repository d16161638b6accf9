"""ModelVersion: from a folder of weights, or somebody's API, to something that may be asked.

    external:  ---------------------------------------------------------------------> Ready
    own:       InferenceService -> pods verify hash and round trip -> benchmark Job -> Ready
                                        |                                 |
                                   ArtifactMismatch                  BenchmarkFailed (three attempts)

A version that serves keeps a finalizer: whoever deletes it is told who needs it, and it goes only when nobody does, or with
its namespace.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

from tradewind.api.common import GateResult
from tradewind.api.endpoint import EndpointArmStatus
from tradewind.api.model_version import (
    BenchmarkStatus,
    EvaluationStatus,
    ModelVersion,
    ModelVersionPhase,
    Provenance,
    Stage,
)
from tradewind.core.conditions import Fact, is_true, with_facts
from tradewind.core.decision import Apply, Create, Decision, Effect, Hold, JobFacts, Manifest, Owner
from tradewind.core.hindrance import Hindrance
from tradewind.core.manifests.common import Mounts
from tradewind.core.manifests.job import JobPod, build_job
from tradewind.core.manifests.network import predictor_policy
from tradewind.core.model_version.manifests import build_inference_service, predictor_url, stores_of
from tradewind.core.model_version.vllm import build_vllm_service, missing_image
from tradewind.core.platform import Platform
from tradewind.core.policy import policy_fact, version_faults
from tradewind.core.prompts import Prompt, PromptFault
from tradewind.schema.scalars import as_milliseconds
from tradewind.trading.arm_health import ArmReason
from tradewind.trading.exits import ExitCode, exit_code

BENCHMARK_ATTEMPTS = 3
_SOON = timedelta(seconds=5)


class Reason(StrEnum):
    """Why a condition of a ModelVersion says what it says."""

    EXTERNAL = "External"
    """An external API: there is nothing to verify, to serve or to measure."""
    PROMPT_READ = "PromptRead"
    """The words of external.promptTemplate are there and can be used."""
    STARTING = "Starting"
    """The predictor is not up yet."""
    SERVING = "Serving"
    """The predictor answers."""
    NOT_SERVING = "NotServing"
    """The predictor answered before, and does not now."""
    VERIFIED = "Verified"
    """What is served has the hash that the spec pins."""
    ARTIFACT_MISMATCH = "ArtifactMismatch"
    """What is served is another artifact than the spec pins."""
    TOKENIZER_ROUND_TRIP = "TokenizerRoundTrip"
    """The tokenizer does not give back the text that it was given."""
    INVALID_CONFIGURATION = "InvalidConfiguration"
    """The predictor refuses its settings or files."""
    RUNTIME_NOT_AVAILABLE = "RuntimeNotAvailable"
    """The installation names no image for serving.runtime huggingface: image.vllm.reference in the values of the chart."""
    PREDICTOR_FAILED = "PredictorFailed"
    """The predictor ended again and again."""
    BENCHMARKING = "Benchmarking"
    """The served model is being measured."""
    BENCHMARK_FAILED = "BenchmarkFailed"
    """It could not be measured."""
    MEASURED = "Measured"
    """It was measured and keeps what the spec asks for."""
    GATE_FAILED = "GateFailed"
    """It was measured and does not keep what the spec asks for."""
    READY = "Ready"
    """Verified, served and measured."""


@dataclass(frozen=True, slots=True)
class PredictorPod:
    """A predictor's pod: whether it is ready, and what it said when it last ended."""

    name: str
    ready: bool
    restarts: int = 0
    exit_code: int | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """The InferenceService as KServe reports it, and the Deployment behind it."""

    ready: bool
    ready_replicas: int
    message: str = ""
    template_hash: str = ""


@dataclass(frozen=True, slots=True)
class Arm:
    """What an Endpoint found of the version by asking it."""

    endpoint: str
    status: EndpointArmStatus


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about a version; None is: not there, or not known.

    Attributes:
        arms: of each Endpoint that asks it.
        hindrance: what keeps a predictor's pod from running.
        prompt: the words that an external version is to be asked with; None: it has none of its own.
        namespace_going: its namespace is being deleted, and with it whoever needs the version.
    """

    service: Service | None = None
    pods: tuple[PredictorPod, ...] = ()
    benchmark: JobFacts | None = None
    holders: tuple[str, ...] = ()
    stage: Stage = Stage.CANDIDATE
    arms: tuple[Arm, ...] = ()
    hindrance: Hindrance | None = None
    prompt: Prompt | None = None
    namespace_going: bool = False


TEMPLATE_HASH = "tradewind.dev/template-hash"


def decide(version: ModelVersion, seen: Seen, now: datetime, *, platform: Platform, owner: Owner) -> Decision:
    """What to do about a version now."""
    if seen.namespace_going:  # nothing can be made there any more, and a finalizer would keep the namespace
        return Decision(version.status, (Hold(()),) if version.metadata.finalizers else ())
    effects: tuple[Effect, ...] = (Hold(seen.holders),) if seen.holders or version.metadata.finalizers else ()
    if version.metadata.deletion_timestamp is not None:
        return Decision(version.status, effects, _SOON if seen.holders else None)
    turn = _Turn(version, seen, now, platform, owner)
    refused = turn.policy
    if version.spec.external is None:
        if (
            refused is not None and refused.holds is False
        ):  # what serves already stays as it is, and nothing new is made
            return turn.decision(effects, replace(refused, type="Ready"), phase=ModelVersionPhase.INVALID)
        if (missing := missing_image(version, platform)) is not None:
            unavailable = Fact("Ready", False, Reason.RUNTIME_NOT_AVAILABLE, missing)
            return turn.decision(effects, unavailable, phase=ModelVersionPhase.INVALID)
        return _own(turn, effects)
    health = arm_health(seen.arms)
    ready, told = Fact("Ready", health.holds, health.reason, health.message), _prompt_fact(seen.prompt)
    if told is not None and told.holds is False:
        ready = replace(told, type="Ready")
    if refused is not None and refused.holds is False:
        ready = replace(refused, type="Ready")
    return turn.decision(
        effects,
        *(() if told is None else (told,)),
        Fact("ArtifactVerified", True, Reason.EXTERNAL, "an external API has no artifact"),
        Fact("Served", True, Reason.EXTERNAL, f"asked at {version.spec.external.base_url}"),
        Fact("Evaluated", None, Reason.EXTERNAL, "measured on live decisions"),
        health,
        ready,
        phase={True: ModelVersionPhase.READY, False: ModelVersionPhase.DEGRADED, None: ModelVersionPhase.PENDING}[
            ready.holds
        ],
        url=version.spec.external.base_url,
    )


def _prompt_fact(prompt: Prompt | None) -> Fact | None:
    """`PromptUsable` of a version with own words."""
    if prompt is None:
        return None
    if isinstance(prompt, PromptFault):
        kept = "gateways that have its last usable text go on with it, others do not ask"
        return Fact("PromptUsable", False, ArmReason.PROMPT_UNUSABLE, f"{prompt.message}; {kept}"[:1024])
    return Fact("PromptUsable", True, Reason.PROMPT_READ, f"asked with {prompt.source}, {prompt.identity}")


def arm_health(arms: tuple[Arm, ...]) -> Fact:
    """`ArmHealthy` of a version: no Endpoint finds that it does not answer, and one that it does."""
    failing = [arm for arm in arms if arm.status.healthy is False]
    if failing:
        told = "; ".join(f"Endpoint {arm.endpoint}: {arm.status.message}" for arm in failing)
        return Fact("ArmHealthy", False, failing[0].status.reason, told[:1024])
    if any(arm.status.healthy for arm in arms):
        asking = ", ".join(arm.endpoint for arm in arms if arm.status.healthy)
        return Fact("ArmHealthy", True, ArmReason.ANSWERS, f"answered when last asked by {asking}"[:1024])
    if arms:
        return Fact("ArmHealthy", None, ArmReason.PROBING, f"{arms[0].endpoint} asks its first question")
    return Fact(
        "ArmHealthy", None, ArmReason.NOT_ASKED, "no Endpoint asks it yet: name it as fallback or as a candidate"
    )


@dataclass(frozen=True)
class _Turn:
    """What one decision rests on."""

    version: ModelVersion
    seen: Seen
    now: datetime
    platform: Platform
    owner: Owner

    @cached_property
    def template(self) -> Manifest:
        """The InferenceService, with the hash of what it asks for."""
        plain = self.version.spec.serving.runtime == "huggingface"
        build = build_vllm_service if plain else build_inference_service
        made = build(self.version, self.owner, self.platform)
        assert made is not None
        digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
        annotations = {**made["metadata"]["annotations"], TEMPLATE_HASH: digest}
        return {**made, "metadata": {**made["metadata"], "annotations": annotations}}

    @cached_property
    def policy(self) -> Fact | None:
        """Whether the installation allows what the spec asks for; None: there is nothing to say."""
        return policy_fact(version_faults(self.version.spec, self.platform.policy), self.version.status)

    @property
    def digest(self) -> str:
        """The template's hash."""
        return str(self.template["metadata"]["annotations"][TEMPLATE_HASH])

    @property
    def pinned(self) -> bool:
        """Whether a running experiment measures what is served: an operator upgrade does not change that."""
        tested = any(holder.startswith("ABExperiment/") for holder in self.seen.holders)
        return tested and self.seen.service is not None and self.seen.service.template_hash not in ("", self.digest)

    def decision(
        self, effects: tuple[Effect, ...], *facts: Fact, again: timedelta | None = None, **changes: Any
    ) -> Decision:
        """The status with these facts and changes, and what is done before it is written."""
        old, generation = self.version.status, self.version.metadata.generation
        facts = facts if self.policy is None else (*facts, self.policy)
        status = old.model_copy(
            update={
                "observed_generation": generation,
                "conditions": with_facts(old.conditions, facts, generation=generation, now=self.now),
                "stage": self.seen.stage,
                "in_use_by": tuple(holder[:256] for holder in self.seen.holders[:32]),
                "url": predictor_url(self.version.name, self.version.namespace),
                **changes,
            }
        )
        return Decision(status, effects, again)


def _own(turn: _Turn, effects: tuple[Effect, ...]) -> Decision:
    """A version that we serve: pods that verify themselves, then a benchmark."""
    version, service = turn.version, turn.seen.service
    if not turn.pinned:
        asked = stores_of(version)
        effects += (*predictor_policy(turn.owner, turn.platform, asked), Apply(turn.template))
    broken = _broken_pod(turn.seen)
    if broken is not None:
        return turn.decision(
            effects,
            Fact("ArtifactVerified", False, *broken),
            Fact("Served", False, Reason.NOT_SERVING, broken[1]),
            Fact("Ready", False, *broken),
            phase=ModelVersionPhase.FAILED,
        )
    if service is None or not service.ready or service.ready_replicas < 1:
        was_ready = is_true(version.status.conditions, "Ready") or version.status.benchmark is not None
        reason = Reason.NOT_SERVING if was_ready else Reason.STARTING
        held = turn.seen.hindrance
        message = (service.message if service else "") or "waiting for the predictor to load and verify"
        word, message = (reason, message) if held is None else (held.reason, str(held))
        facts = Fact("Served", False, word, message), Fact("Ready", False, word, message)
        return turn.decision(effects, *facts, again=_SOON, phase=ModelVersionPhase.VERIFYING)
    served = Fact("Served", True, Reason.SERVING, f"{service.ready_replicas} predictor(s) ready")
    if version.status.benchmark is None:
        return _benchmarked(turn, effects, served)
    evaluation = version.status.evaluation
    verified = version.status.sha256 == _expected(version)  # kept from the benchmark, which asked the predictor
    passed = verified and (evaluation is None or evaluation.passed is not False)
    message = (evaluation.message or "") if evaluation else ""
    phase = ModelVersionPhase.READY if passed else ModelVersionPhase.FAILED
    ready, health = _ready(passed, verified, message), arm_health(turn.seen.arms)
    if passed and health.holds is False:
        ready, phase = Fact("Ready", False, health.reason, health.message), ModelVersionPhase.DEGRADED
    return turn.decision(effects, _verified(version, verified), served, health, ready, phase=phase)


def _benchmarked(turn: _Turn, effects: tuple[Effect, ...], served: Fact) -> Decision:
    """Served and not measured yet: a benchmark, tried again, and what it found."""
    attempt, outcome = turn.version.status.attempts or 0, turn.seen.benchmark
    if outcome is not None and outcome.succeeded and (benchmark := _benchmark(outcome, turn.now)) is not None:
        return _measured(turn, effects, served, benchmark)
    ended = outcome is not None and (outcome.failed or outcome.succeeded)
    if outcome is not None and ended and attempt >= BENCHMARK_ATTEMPTS:
        why = outcome.result.get("message") or outcome.message or "its result could not be read"
        message = f"the benchmark failed {attempt} times: {why}"
        failed = Fact("Ready", False, Reason.BENCHMARK_FAILED, message)
        return turn.decision(effects, served, failed, phase=ModelVersionPhase.FAILED)
    changes: dict[str, Any] = {"phase": ModelVersionPhase.EVALUATING}
    if outcome is None or ended:
        changes["attempts"] = attempt + 1
        effects += (Create(_benchmark_job(turn, attempt + 1)),)
    held = outcome.hindrance if outcome is not None else None
    word, message = (Reason.BENCHMARKING, "measuring the served endpoint") if held is None else (held.reason, str(held))
    measuring = Fact("Ready", False, word, message)
    return turn.decision(effects, served, measuring, again=_SOON, **changes)


def _measured(turn: _Turn, effects: tuple[Effect, ...], served: Fact, benchmark: BenchmarkStatus) -> Decision:
    """The gates' verdict on what the benchmark found."""
    version, result, expected = (
        turn.version,
        turn.seen.benchmark.result if turn.seen.benchmark else {},
        _expected(turn.version),
    )
    verified = (
        bool(result.get("verified")) and bool(result.get("roundTrip")) and result.get("sha256", expected) == expected
    )
    gates = _gates(version, benchmark)
    passed = all(gate.passed is True for gate in gates)  # a number that is missing passes nothing
    message = "; ".join(
        f"{gate.name} {'unknown' if gate.value is None else format(gate.value, 'g')} against {gate.threshold:g}"
        for gate in gates
        if gate.passed is not True
    )
    adapter = version.spec.adapter
    provenance = (version.status.provenance or Provenance()).model_copy(
        update={
            "image": next((pod.image_id for pod in turn.seen.pods if pod.ready and pod.image_id), None),
            "template_hash": turn.digest,
            "torch": str(result["torch"])[:64] if result.get("torch") else None,
            "base_model": adapter.base_model.uri if adapter else None,
            "base_revision": adapter.base_model.revision or None if adapter else None,
        }
    )
    reason = Reason.MEASURED if passed else Reason.GATE_FAILED
    return turn.decision(
        effects,
        _verified(version, verified),
        served,
        Fact("Evaluated", passed, reason, message or "benchmark measured"),
        _ready(passed and verified, verified, message),
        phase=ModelVersionPhase.READY if passed and verified else ModelVersionPhase.FAILED,
        benchmark=benchmark,
        evaluation=EvaluationStatus(gates=gates, passed=passed, message=message),
        sha256=expected if verified else None,
        provenance=provenance,
    )


def _benchmark(outcome: JobFacts, now: datetime) -> BenchmarkStatus | None:
    """What a benchmark measured; None where its result says nothing, or nothing that can be read."""
    result = outcome.result
    if "verified" not in result:
        return None
    try:
        levels = sorted(dict(result.get("concurrency") or {}).items(), key=lambda item: int(item[0]))
        known = ("p50Ms", "p99Ms", "decisionsPerSecond", "valid", "requests")
        return BenchmarkStatus.model_validate(
            {name: result.get(name) for name in known}
            | {
                "at": [{**measured, "concurrency": int(level)} for level, measured in levels],
                "completedTime": outcome.finished_at or now.replace(microsecond=0),
            }
        )
    except (ValueError, TypeError):
        return None


def _expected(version: ModelVersion) -> str | None:
    """The hash that the spec names."""
    if version.spec.adapter is not None:
        return version.spec.adapter.sha256
    return version.spec.model.sha256 if version.spec.model is not None else None


def _verified(version: ModelVersion, verified: bool) -> Fact:  # noqa: FBT001 - a fact and its opposite
    reason = Reason.VERIFIED if verified else Reason.ARTIFACT_MISMATCH
    adapter = version.spec.adapter
    base = "" if adapter is None else f", base {adapter.base_model.sha256 or 'not pinned: adapter.baseModel.sha256'}"
    return Fact("ArtifactVerified", verified, reason, f"sha256 {_expected(version)}{base}")


def _gates(version: ModelVersion, benchmark: BenchmarkStatus) -> tuple[GateResult, ...]:
    wanted = version.spec.evaluation.gates
    gates = [_gate("minJsonValidity", benchmark.valid, float(wanted.min_json_validity), at_least=True)]
    if wanted.latency:
        objective = as_milliseconds(version.spec.serving.latency_objective.p99)
        gates.append(_gate("latencyObjective.p99", benchmark.p99_ms, objective, at_least=False))
    return tuple(gates)


def _gate(name: str, value: float | None, threshold: float, *, at_least: bool) -> GateResult:
    passed = None if value is None else (value >= threshold if at_least else value <= threshold)
    return GateResult(name=name, value=value, threshold=threshold, passed=passed)


def _ready(passed: bool, verified: bool, message: str) -> Fact:  # noqa: FBT001 - what was found, in order
    if passed:
        return Fact("Ready", True, Reason.READY, "verified, served and measured")
    if not verified:
        return Fact("Ready", False, Reason.ARTIFACT_MISMATCH, "what answers is not the artifact that the spec names")
    return Fact("Ready", False, Reason.GATE_FAILED, message)


def _broken_pod(seen: Seen) -> tuple[Reason, str] | None:
    """A predictor that ended with a verdict of its own: no restart will change it."""
    if any(pod.ready for pod in seen.pods):
        return None
    known = {
        ExitCode.BAD_CONFIG: Reason.INVALID_CONFIGURATION,
        ExitCode.BAD_DATA: Reason.ARTIFACT_MISMATCH,
        ExitCode.PREFLIGHT: Reason.TOKENIZER_ROUND_TRIP,
    }
    for pod in seen.pods:
        if reason := known.get(exit_code(pod.exit_code)):
            return reason, str(pod.result.get("message", "")) or f"the predictor ended with {pod.exit_code}"
    crashed = next((pod for pod in seen.pods if pod.exit_code not in (None, 0) and pod.restarts >= 3), None)
    if crashed:
        detail = crashed.result.get("message") or seen.hindrance or ""
        return (
            Reason.PREDICTOR_FAILED,
            f"the predictor ended with {crashed.exit_code} {crashed.restarts} times: {detail}",
        )
    return None


def _benchmark_job(turn: _Turn, attempt: int) -> Manifest:
    version, name = turn.version, turn.version.metadata.name
    expected = _expected(version)
    evaluation = version.spec.evaluation
    args = ["--url", predictor_url(name, version.metadata.namespace), "--model", name, "--sha256", str(expected)]
    args += ["--requests", str(evaluation.requests), "--concurrency", ",".join(map(str, evaluation.concurrency))]
    if version.spec.serving.runtime == "huggingface":
        args += ["--protocol", "vllm"]
    pod = JobPod(script="benchmark.py", config={}, args=args, grace_seconds=10)
    mounts, job = Mounts(turn.platform.policy), f"{name}-benchmark-{attempt}"
    return build_job(turn.owner, turn.platform, job, "benchmark", pod, mounts, activeDeadlineSeconds=900)
