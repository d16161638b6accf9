"""ModelVersion: from a folder of weights, or somebody's API, to something that may be asked.

    external:  ---------------------------------------------------------------------> Ready
    own:       InferenceService -> pods verify hash and round trip -> benchmark Job -> Ready
                                        |                                 |
                                   ArtifactMismatch                  BenchmarkFailed (three attempts)
    Ready --nobody needs it for retireAfter--> Retired --somebody does--> Waking -> Ready      (rest.py)

A version that serves keeps a finalizer: whoever deletes it is told who needs it, and it goes only when nobody does, or with
its namespace.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from tradewind.api.model_version import ModelVersion, ModelVersionPhase
from tradewind.core.conditions import Fact, is_true
from tradewind.core.decision import Apply, Decision, Effect, Hold, Owner
from tradewind.core.manifests.network import predictor_policy
from tradewind.core.model_version.evaluation import evaluated
from tradewind.core.model_version.manifests import asked_stores_of, stores_of
from tradewind.core.model_version.turn import (
    TEMPLATE_HASH,
    Arm,
    PredictorPod,
    Reason,
    Seen,
    Service,
    Turn,
    expected,
    ready_fact,
    verified_fact,
)
from tradewind.core.model_version.vllm import missing_image
from tradewind.core.platform import Platform
from tradewind.core.prompts import Prompt, PromptFault
from tradewind.trading.arm_health import ArmReason
from tradewind.trading.exits import ExitCode, exit_code

__all__ = ["TEMPLATE_HASH", "Arm", "PredictorPod", "Reason", "Seen", "Service", "arm_health", "decide"]

_SOON, _LATER = timedelta(seconds=5), timedelta(minutes=1)


def decide(version: ModelVersion, seen: Seen, now: datetime, *, platform: Platform, owner: Owner) -> Decision:
    """What to do about a version now."""
    if seen.namespace_going:  # nothing can be made there any more, and a finalizer would keep the namespace
        return Decision(version.status, (Hold(()),) if version.metadata.finalizers else ())
    effects: tuple[Effect, ...] = (Hold(seen.holders),) if seen.holders or version.metadata.finalizers else ()
    if version.metadata.deletion_timestamp is not None:
        return Decision(version.status, effects, _SOON if seen.holders else None)
    turn = Turn(version, seen, now, platform, owner)
    refused = turn.policy
    if version.spec.external is None:
        if (
            refused is not None and refused.holds is False
        ):  # what serves already stays as it is, and nothing new is made
            return turn.decision(effects, replace(refused, type="Ready"), phase=ModelVersionPhase.INVALID)
        if (missing := missing_image(version, platform)) is not None:
            unavailable = Fact("Ready", False, Reason.RUNTIME_NOT_AVAILABLE, missing)
            return turn.decision(effects, unavailable, phase=ModelVersionPhase.INVALID)
        if not seen.metrics:
            message = (
                "serving.autoscaling goes by what pods use, and this cluster does not tell (metrics.k8s.io): have an administrator "
                "install a metrics server, or make the version anew with serving.replicas instead"
            )
            missing_metrics = Fact("Ready", False, Reason.AUTOSCALER_NOT_AVAILABLE, message)
            return turn.decision(effects, missing_metrics, phase=ModelVersionPhase.INVALID, again=_LATER)
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


def _own(turn: Turn, effects: tuple[Effect, ...]) -> Decision:
    """A version that we serve: pods that verify themselves, then an evaluation."""
    version, service = turn.version, turn.seen.service
    if not turn.pinned:
        judged_on = version.spec.evaluation.dataset
        reads_log = judged_on is not None and judged_on.endpoint is not None
        stores = stores_of(version), asked_stores_of(version)
        effects += (*predictor_policy(turn.owner, turn.platform, *stores, reads_log=reads_log), Apply(turn.template))
    if turn.rest.retired:
        return _retired(turn, effects)
    if turn.rest.stopped:
        message = (
            f"needed by {', '.join(turn.seen.users)}: its predictor is stopped, and is started again as soon as it is"[
                :1024
            ]
        )
        facts = Fact("Served", False, Reason.WAKING, message), Fact("Ready", False, Reason.WAKING, message)
        return turn.decision(effects, *facts, phase=ModelVersionPhase.VERIFYING)
    broken = _broken_pod(turn.seen)
    if broken is not None:
        verdict = () if broken[0] in _AFTER_VERIFIED else (Fact("ArtifactVerified", False, *broken),)
        return turn.decision(
            effects,
            *verdict,
            Fact("Served", False, Reason.NOT_SERVING, broken[1]),
            Fact("Ready", False, *broken),
            phase=ModelVersionPhase.FAILED,
            retired_time=None,
        )
    if service is None or not service.ready or service.ready_replicas < 1:
        was_ready = is_true(version.status.conditions, "Ready") or version.status.benchmark is not None
        reason = Reason.NOT_SERVING if was_ready else Reason.STARTING
        reason = reason if turn.rest.retired_time is None else Reason.WAKING
        held = turn.seen.hindrance
        message = (service.message if service else "") or "waiting for the predictor to load and verify"
        word, message = (reason, message) if held is None else (held.reason, str(held))
        facts = Fact("Served", False, word, message), Fact("Ready", False, word, message)
        return turn.decision(effects, *facts, again=_SOON, phase=ModelVersionPhase.VERIFYING)
    served = Fact("Served", True, Reason.SERVING, f"{service.ready_replicas} predictor(s) ready{_earlier(turn)}")
    if version.status.benchmark is None:
        return evaluated(turn, effects, served)
    evaluation = version.status.evaluation
    verified = version.status.sha256 == expected(version)  # kept from the benchmark, which asked the predictor
    passed = verified and (evaluation is None or evaluation.passed is not False)
    message = (evaluation.message or "") if evaluation else ""
    phase = ModelVersionPhase.READY if passed else ModelVersionPhase.FAILED
    ready, health = ready_fact(passed, verified, message), arm_health(turn.seen.arms)
    if passed and health.holds is False:
        ready, phase = Fact("Ready", False, health.reason, health.message), ModelVersionPhase.DEGRADED
    told = verified_fact(version, verified), served, health, ready
    return turn.decision(effects, *told, phase=phase, retired_time=None)


def _earlier(turn: Turn) -> str:
    """What is said of images that an upgrade left as they are."""
    if turn.images == turn.installed:
        return ""
    images = ", ".join(image for image in (turn.images.predictor, turn.images.vllm) if image)
    return (
        f" of {images}, and not of this installation's images: they stay while a champion or an experiment rests on them; a new "
        "ModelVersion of the same artifact is served by the new ones"
    )


def _retired(turn: Turn, effects: tuple[Effect, ...]) -> Decision:
    """Nobody needs it: it says so, and a while later its pods go. What it failed at stays its last word."""
    rest, after = turn.rest, turn.version.spec.serving.retire_after
    known = turn.version.status.condition("Ready")
    failed = turn.version.status.phase is ModelVersionPhase.FAILED and known is not None
    since = "" if rest.unused_since is None else f" since {rest.unused_since:%Y-%m-%dT%H:%M:%SZ}"
    gone = "its pods are stopped" if rest.stopped else "its pods go within a minute"
    message = (
        f"nobody has needed it{since} (serving.retireAfter {after}): {gone}; an Endpoint or ABExperiment that names it starts "
        "them again"
    )
    facts = [Fact("Served", False, Reason.RETIRED, message)] if rest.stopped else []
    facts += [] if failed else [Fact("Ready", False, Reason.RETIRED, message)]
    phase = ModelVersionPhase.FAILED if failed else ModelVersionPhase.RETIRED
    return turn.decision(effects, *facts, phase=phase)


_AFTER_VERIFIED = (Reason.QUANTIZATION_DISAGREES, Reason.NOT_FINITE)
"""What a predictor finds out once the artifact is verified."""
_OWN_WORDS = (
    *_AFTER_VERIFIED,
    Reason.ARTIFACT_MISMATCH,
    Reason.BASE_MISMATCH,
    Reason.BROKEN_FILE,
    Reason.BASE_INCOMPLETE,
    Reason.ADAPTER_INCOMPLETE,
    Reason.MERGED_DIFFERS,
    Reason.TOKENIZER_ROUND_TRIP,
    Reason.TOKENIZER_UNSUPPORTED,
)
"""What a predictor says of its end that tells more than its exit code."""


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
            reason = next((each for each in _OWN_WORDS if each == pod.result.get("reason")), reason)
            return reason, str(pod.result.get("message", "")) or f"the predictor ended with {pod.exit_code}"
    crashed = next((pod for pod in seen.pods if pod.exit_code not in (None, 0) and pod.restarts >= 3), None)
    if crashed:
        detail = crashed.result.get("message") or seen.hindrance or ""
        return (
            Reason.PREDICTOR_FAILED,
            f"the predictor ended with {crashed.exit_code} {crashed.restarts} times: {detail}",
        )
    return None
