"""What a version's decision needs to know.

Endpoints and experiments may be those of a moment ago: who takes a version into use is in a status, which this operator
alone writes and keeps as it writes it.
"""

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion, Stage
from tradewind.core.conditions import is_true
from tradewind.core.endpoint import TERMINAL
from tradewind.core.endpoint.by_hand import named_by_hand
from tradewind.core.endpoint.health import MOST_ARMS
from tradewind.core.identity import is_meant
from tradewind.core.manifests.common import is_child
from tradewind.core.model_version import TEMPLATE_HASH, Arm, PredictorPod, Seen, Service
from tradewind.core.model_version.turn import STOP
from tradewind.core.pods import container_status, held_back, is_ready, read_job, result_of, terminated
from tradewind.core.prompts import read_prompt
from tradewind.core.world import Json, World

METRICS = "metrics.k8s.io/v1beta1"


async def observe(version: ModelVersion, world: World) -> Seen:
    """Facts about a version."""
    if world.is_going(version.namespace):
        return Seen(namespace_going=True)
    holders, stage = _holders(version, world)
    arms = _arms(version, world)
    if version.spec.external is not None:
        return Seen(holders=holders, stage=stage, arms=arms, prompt=await read_prompt(version, world))
    namespace, name, status = version.namespace, version.name, version.status
    service = await world.read("serving.kserve.io/v1beta1", "InferenceService", namespace, name)
    if service is not None and not is_child(service, version.metadata.uid):
        service = None
    measuring = bool(status.attempts) and status.benchmark is None
    # What serves under the name of a service that is somebody else's says nothing of this version.
    deployment = await world.read("apps/v1", "Deployment", namespace, f"{name}-predictor") if service else None
    pods = await world.pods(namespace, f"serving.kserve.io/inferenceservice={name}") if service else ()
    benchmark = f"{name}-benchmark-{status.attempts}"
    asked = version.spec.evaluation.dataset
    endpoint = world.get(Endpoint, namespace, asked.endpoint) if asked is not None and asked.endpoint else None
    return Seen(
        service=service_facts(service, deployment) if service else None,
        pods=tuple(predictor_pod(pod) for pod in pods),
        benchmark=await read_job(world, namespace, benchmark, version.metadata.uid) if measuring else None,
        holders=holders,
        users=_users(version, world),
        stage=stage,
        arms=arms,
        hindrance=await held_back(world, namespace, [pod for pod in pods if not is_ready(pod)], deployment),
        metrics=service is not None or version.spec.serving.autoscaling is None or await world.serves(METRICS),
        endpoint=endpoint,
        champion=None if endpoint is None else _champion(version, endpoint, world),
    )


def _champion(version: ModelVersion, endpoint: Endpoint, world: World) -> ModelVersion | None:
    """The champion of the Endpoint whose log is asked, if that is another version."""
    ref = endpoint.status.champion_ref
    found = None if ref is None or ref.name == version.name else world.get(ModelVersion, version.namespace, ref.name)
    return found if found is not None and ref is not None and is_meant(found, ref) else None


def _arms(version: ModelVersion, world: World) -> tuple[Arm, ...]:
    """What the Endpoints found of this very version by asking it."""
    return tuple(
        Arm(point.name, arm)
        for point in world.naming(Endpoint, version)
        for arm in point.status.arms or ()
        if arm.version == version.name and arm.uid == version.metadata.uid
    )


def _holders(version: ModelVersion, world: World) -> tuple[tuple[str, ...], Stage]:
    """Who needs this version, and its stage. One that has only the name of who is needed may go: it is in the way."""
    holders: list[str] = []
    stage = Stage.CANDIDATE
    for point in world.naming(Endpoint, version):
        champion, fallback = point.status.champion_ref, point.status.fallback_ref
        reigns = champion is not None and is_meant(version, champion)
        if reigns:
            stage = Stage.CHAMPION
        elif stage is not Stage.CHAMPION and point.status.previous_champion_ref is not None:
            stage = Stage.RETIRED if point.status.previous_champion_ref.name == version.name else stage
        named = fallback is None or fallback.name != version.name or is_meant(version, fallback)
        if reigns or (point.spec.fallback == version.name and named):
            holders.append(f"Endpoint/{point.name}")
    for experiment in world.naming(ABExperiment, version):
        running = experiment.status.t0 is not None and experiment.status.phase not in TERMINAL
        arms = (experiment.status.candidate_ref, experiment.status.baseline_ref)
        if running and any(ref is not None and is_meant(version, ref) for ref in arms):
            holders.append(f"ABExperiment/{experiment.name}")
    return tuple(holders), stage


def _users(version: ModelVersion, world: World) -> tuple[str, ...]:
    """Who asks it, may begin to without a word, or is about to. By name alone: in doubt it is needed."""
    unread = [
        f"{kind.__name__}/{name}"
        for kind in (Endpoint, ABExperiment)
        for name in world.unread(kind, version.namespace)  # whatever it says
    ]
    endpoints = world.naming(Endpoint, version)
    held = {point.status.active_experiment.uid for point in endpoints if point.status.active_experiment is not None}
    experiments = [
        f"ABExperiment/{experiment.name}"
        for experiment in world.naming(ABExperiment, version)
        if experiment.status.phase not in TERMINAL or experiment.metadata.uid in held
    ]
    points = [f"Endpoint/{point.name}" for point in endpoints if _uses(point, version.name)]
    return (*points, *experiments, *unread)


def _uses(endpoint: Endpoint, name: str) -> bool:
    """Whether an Endpoint needs the version of this name, or one of its gateway pods may still ask it."""
    status = endpoint.status
    champion, previous = status.champion_ref, status.previous_champion_ref
    arms = status.arms or ()
    named = {endpoint.spec.fallback, *named_by_hand(endpoint), *(arm.version for arm in arms)}
    applied = is_true(status.conditions, "WeightsApplied")
    return (
        name in named
        or (champion is not None and champion.name == name)
        or (previous is not None and previous.name == name and not applied)
        or len(arms) >= MOST_ARMS
    )


def service_facts(inference_service: Json, deployment: Json | None) -> Service:
    """An InferenceService; Ready says only that a condition exists, so the Deployment's pods are counted too."""
    conditions = {c["type"]: c for c in inference_service.get("status", {}).get("conditions", [])}
    ready = conditions.get("Ready", {})
    predictor = conditions.get("PredictorReady", {})
    replicas = (deployment or {}).get("status", {})
    annotations = inference_service["metadata"].get("annotations", {})
    made_of = inference_service.get("spec", {}).get("predictor", {})
    return Service(
        ready=ready.get("status") == "True" or predictor.get("status") == "True",
        ready_replicas=replicas.get("readyReplicas", 0) or 0,
        message=str(ready.get("message") or predictor.get("message") or ""),
        template_hash=annotations.get(TEMPLATE_HASH, ""),
        told_to_stop=annotations.get(STOP, "").lower() == "true",
        deployed=deployment is not None,
        images={
            str(container["name"]): str(container["image"])
            for part in ("initContainers", "containers")
            for container in made_of.get(part) or ()
        },
    )


def predictor_pod(pod: Json) -> PredictorPod:
    """A predictor's pod."""
    status, ended = container_status(pod), terminated(pod)
    return PredictorPod(
        name=pod["metadata"]["name"],
        ready=bool(status.get("ready")),
        restarts=max(
            (each.get("restartCount", 0) for each in (status, *pod.get("status", {}).get("initContainerStatuses", []))),
        ),
        exit_code=ended.get("exitCode") if ended else None,
        result=result_of(ended) or ({"message": ended.get("message", "")[-500:]} if ended else {}),
        image_id=str(status.get("imageID") or status.get("image") or ""),
    )
