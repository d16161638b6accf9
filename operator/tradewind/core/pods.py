"""From the JSON of Jobs and pods to the facts that decisions read. Pure translation; tolerant of what is absent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tradewind.core.decision import JobFacts
from tradewind.core.hindrance import Hindrance, of_deployment, of_events, of_pod
from tradewind.core.manifests.common import is_child
from tradewind.core.queue import QUEUE_LABEL, of_workload
from tradewind.core.world import Json, World
from tradewind.trading.exits import End, exit_code


async def read_job(world: World, namespace: str, name: str, owner_uid: str) -> JobFacts | None:
    """A Job of this owner with the end of its newest pod; None: not there, on its way out, or somebody else's.

    What it has found is believed, so that its name is not enough, and neither is a label of a pod.
    """
    job = await world.read("batch/v1", "Job", namespace, name)
    if job is None or job["metadata"].get("deletionTimestamp") or not is_child(job, owner_uid):
        return None
    labelled = await world.pods(namespace, f"batch.kubernetes.io/job-name={name}")
    pods = [pod for pod in labelled if is_child(pod, job["metadata"]["uid"])]
    facts = job_facts(job, pods)
    if facts.suspended and facts.active and QUEUE_LABEL in job["metadata"].get("labels", {}):
        return replace(facts, wait=of_workload(await world.workload(namespace, job["metadata"]["uid"])))
    if not facts.active or facts.suspended or facts.running:
        return facts
    return replace(facts, hindrance=await held_back(world, namespace, pods, job))


async def held_back(world: World, namespace: str, pods: Sequence[Json], parent: Json | None) -> Hindrance | None:
    """What keeps the newest of these pods from running, or their Deployment or Job from making any."""
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        known = of_pod(pod)
        if known is None and pod.get("status", {}).get("phase") == "Pending":
            known = of_pod(pod, await world.warnings(namespace, str(pod["metadata"].get("uid", ""))))
        if known is not None:
            return known
    if pods or parent is None:
        return None
    if (known := of_deployment(parent)) is not None:
        return known
    return of_events(await world.warnings(namespace, str(parent["metadata"].get("uid", ""))))


def job_facts(job: Json, pods: Sequence[Json]) -> JobFacts:
    """A Job with the end of the pod that tells most; what keeps a pod from running is asked for by `read_job`."""
    status = job.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", []) if c.get("status") == "True"}
    succeeded, failed = "Complete" in conditions, "Failed" in conditions
    telling = _telling(pods, failed=failed)
    ended = terminated(telling) if telling else None
    running = sum(pod.get("status", {}).get("phase") in ("Running", "Succeeded") for pod in pods)
    failure = conditions.get("Failed", {})
    message = failure.get("message", "")
    if ended and ended.get("message") and not result_of(ended):
        message = str(ended["message"])[-1000:]
    return JobFacts(
        name=job["metadata"]["name"],
        active=not succeeded and not failed,
        succeeded=succeeded,
        failed=failed,
        suspended="Suspended" in conditions or job.get("spec", {}).get("suspend") is True,
        exit_code=ended.get("exitCode") if ended else None,
        message=message,
        running=running >= job.get("spec", {}).get("parallelism", 1),
        reason=str(failure.get("reason", "")),
        out_of_memory=bool(ended and ended.get("reason") == "OOMKilled"),
        result=result_of(ended),
        started_at=_time((ended or {}).get("startedAt") or _running_since(telling) or status.get("startTime")),
        finished_at=_time(
            (ended or {}).get("finishedAt") or status.get("completionTime") or failure.get("lastTransitionTime")
        ),
    )


_INDEX = "batch.kubernetes.io/job-completion-index"
_ENDS = (End.DONE, End.INTERRUPTED, End.FAILED, End.FINAL)


def _telling(pods: Sequence[Json], *, failed: bool) -> Json | None:
    """The newest pod; of pods that ran together, the newest of each index, and of these the one whose end says most.

    One that fails takes the others with it, and these only say that they lost it. Where all say the same, the first has the result.
    None: there is none, or the Job failed by one that is gone.
    """
    newest: dict[str, Json] = {}
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", ""))):
        newest[pod["metadata"].get("annotations", {}).get(_INDEX, "")] = pod
    found = max(newest.values(), key=_weight, default=None)
    if failed and found is not None and "" not in newest and _weight(found)[0] == _ENDS.index(End.DONE):
        return None
    return found


def _weight(pod: Json) -> tuple[int, bool, int]:
    ended = terminated(pod)
    index = pod["metadata"].get("annotations", {}).get(_INDEX, "")
    order = -int(index) if index.isdigit() else 0
    if ended is None:
        return (-1, False, order)
    out_of_memory = ended.get("reason") == "OOMKilled"
    end = End.FAILED if out_of_memory else exit_code(ended.get("exitCode")).end
    return (_ENDS.index(end), out_of_memory, order)


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
    """How the first container last ended; where one before it did not end well, how that one did."""
    status = container_status(pod)
    for before in pod.get("status", {}).get("initContainerStatuses", []):
        told: Json | None = before.get("state", {}).get("terminated") or before.get("lastState", {}).get("terminated")
        if told is not None and told.get("exitCode") and not before.get("ready"):
            return told
    ended: Json | None = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    return ended


def _running_since(pod: Json | None) -> str | None:
    since: str | None = container_status(pod or {}).get("state", {}).get("running", {}).get("startedAt")
    return since


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
