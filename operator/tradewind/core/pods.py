"""From the JSON of Jobs and pods to the facts that decisions read. Pure translation; tolerant of what is absent."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tradewind.core.decision import JobFacts
from tradewind.core.world import Json, World


async def read_job(world: World, namespace: str, name: str) -> JobFacts | None:
    """A Job with the end of its newest pod; None: not there, or on its way out."""
    job = await world.read("batch/v1", "Job", namespace, name)
    if job is None or job["metadata"].get("deletionTimestamp"):
        return None
    return job_facts(job, await world.pods(namespace, f"batch.kubernetes.io/job-name={name}"))


def job_facts(job: Json, pods: Sequence[Json]) -> JobFacts:
    """A Job with the end of its newest pod."""
    status = job.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", []) if c.get("status") == "True"}
    newest = max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp", ""), default=None)
    ended = terminated(newest) if newest else None
    succeeded, failed = "Complete" in conditions, "Failed" in conditions
    message = conditions.get("Failed", {}).get("message", "")
    if ended and ended.get("message") and not result_of(ended):
        message = str(ended["message"])[-1000:]
    return JobFacts(
        name=job["metadata"]["name"],
        active=not succeeded and not failed,
        succeeded=succeeded,
        failed=failed,
        suspended="Suspended" in conditions,
        exit_code=ended.get("exitCode") if ended else None,
        message=message or waiting(newest),
        reason=str(conditions.get("Failed", {}).get("reason", "")),
        out_of_memory=bool(ended and ended.get("reason") == "OOMKilled"),
        result=result_of(ended),
        started_at=_time((ended or {}).get("startedAt") or status.get("startTime")),
        finished_at=_time((ended or {}).get("finishedAt") or status.get("completionTime")),
    )


def is_ready(pod: Json) -> bool:
    """Whether a pod takes traffic."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    return any(c["type"] == "Ready" and c.get("status") == "True" for c in pod.get("status", {}).get("conditions", []))


def has_ended(pod: Json) -> bool:
    """Whether all containers of a pod have ended for good."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def container_status(pod: Json) -> Json:
    """What the kubelet says of the first container."""
    status: Json = next(iter(pod.get("status", {}).get("containerStatuses", [])), {})
    return status


def terminated(pod: Json) -> Json | None:
    """How the first container last ended."""
    status = container_status(pod)
    ended: Json | None = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    return ended


def waiting(pod: Json | None) -> str:
    """What keeps a pod from running, in Kubernetes' words; empty: nothing that is known."""
    if pod is None:
        return ""
    for status in pod.get("status", {}).get("containerStatuses", []):
        held = status.get("state", {}).get("waiting") or {}
        if held.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{held['reason']}: {held.get('message', '')}".rstrip(": ") + _pulled_by(pod, held["reason"])
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message", ""))
    return ""


def _pulled_by(pod: Json, reason: str) -> str:
    """By which Secrets an image that cannot be pulled was asked for: one that is missing is passed over by the kubelet."""
    if reason not in ("ErrImagePull", "ImagePullBackOff"):
        return ""
    names = ", ".join(s.get("name", "") for s in pod.get("spec", {}).get("imagePullSecrets", []))
    namespace = pod["metadata"].get("namespace", "")
    if not names:
        return "; no pull Secret is named: a private registry needs one in the chart's image.pullSecrets"
    return f"; pull Secrets {names}: each must exist in namespace {namespace} and be one for this registry"


def result_of(ended: Json | None) -> Mapping[str, Any]:
    """The JSON of a termination message, or nothing."""
    try:
        # NaN is Python's, not JSON's: no status could carry it.
        parsed = json.loads((ended or {}).get("message") or "", parse_constant=lambda _: None)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
