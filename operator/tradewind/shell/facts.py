"""From the API server's JSON to the facts that decisions read. Pure translation; tolerant of what is absent."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tradewind.core.decision import JobFacts
from tradewind.core.model_version import TEMPLATE_HASH, PredictorPod, Service

Json = Mapping[str, Any]


def job_facts(job: Json, pods: Sequence[Json]) -> JobFacts:
    """A Job with the end of its newest pod."""
    status = job.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", []) if c.get("status") == "True"}
    newest = max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp", ""), default=None)
    terminated = _terminated(newest) if newest else None
    succeeded, failed = "Complete" in conditions, "Failed" in conditions
    message = conditions.get("Failed", {}).get("message", "")
    if terminated and terminated.get("message") and not _result(terminated):
        message = str(terminated["message"])[-1000:]
    return JobFacts(
        name=job["metadata"]["name"],
        active=not succeeded and not failed,
        succeeded=succeeded,
        failed=failed,
        suspended="Suspended" in conditions,
        exit_code=terminated.get("exitCode") if terminated else None,
        message=message or _waiting(newest),
        reason=str(conditions.get("Failed", {}).get("reason", "")),
        out_of_memory=bool(terminated and terminated.get("reason") == "OOMKilled"),
        result=_result(terminated),
        started_at=_time((terminated or {}).get("startedAt") or status.get("startTime")),
        finished_at=_time((terminated or {}).get("finishedAt") or status.get("completionTime")),
    )


def service_facts(inference_service: Json, deployment: Json | None) -> Service:
    """An InferenceService; Ready says only that a condition exists, so the Deployment's pods are counted too."""
    conditions = {c["type"]: c for c in inference_service.get("status", {}).get("conditions", [])}
    ready = conditions.get("Ready", {})
    predictor = conditions.get("PredictorReady", {})
    replicas = (deployment or {}).get("status", {})
    return Service(
        ready=ready.get("status") == "True" or predictor.get("status") == "True",
        ready_replicas=replicas.get("readyReplicas", 0) or 0,
        message=str(ready.get("message") or predictor.get("message") or ""),
        template_hash=inference_service["metadata"].get("annotations", {}).get(TEMPLATE_HASH, ""),
    )


def predictor_pod(pod: Json) -> PredictorPod:
    """A predictor's pod."""
    status: Json = next(iter(pod.get("status", {}).get("containerStatuses", [])), {})
    terminated = _terminated(pod)
    return PredictorPod(
        name=pod["metadata"]["name"],
        ready=bool(status.get("ready")),
        restarts=status.get("restartCount", 0),
        exit_code=terminated.get("exitCode") if terminated else None,
        result=_result(terminated) or ({"message": terminated.get("message", "")[-500:]} if terminated else {}),
        waiting=_waiting(pod),
        image_id=str(status.get("imageID") or status.get("image") or ""),
    )


def is_ready(pod: Json) -> bool:
    """Whether a pod takes traffic."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    return any(c["type"] == "Ready" and c.get("status") == "True" for c in pod.get("status", {}).get("conditions", []))


def has_ended(pod: Json) -> bool:
    """Whether all containers of a pod have ended for good."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _terminated(pod: Json) -> Json | None:
    """How the first container last ended."""
    status: Json = next(iter(pod.get("status", {}).get("containerStatuses", [])), {})
    ended: Json | None = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    return ended


def _waiting(pod: Json | None) -> str:
    if pod is None:
        return ""
    for status in pod.get("status", {}).get("containerStatuses", []):
        waiting = status.get("state", {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message", ""))
    return ""


def _result(terminated: Json | None) -> Mapping[str, Any]:
    """The JSON of a termination message, or nothing."""
    try:
        # NaN is Python's, not JSON's: no status could carry it.
        parsed = json.loads((terminated or {}).get("message") or "", parse_constant=lambda _: None)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
