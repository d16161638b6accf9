"""What keeps a pod from running, in the reason and the words of Kubernetes, with what to do about it.

Belongs here: reading pods, their Events and their controllers. Does not belong here: asking for them, and how a container ended
(pods.py), and what follows for a resource of ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

REMEDIES: Mapping[str, str] = {
    "ImagePullBackOff": "check the image's name and tag, and that the nodes may pull it (imagePullSecrets)",
    "ErrImagePull": "check the image's name and tag, and that the nodes may pull it (imagePullSecrets)",
    "InvalidImageName": "correct the image's name",
    "CreateContainerConfigError": "create the Secret or ConfigMap that the message names, with the key that it names",
    "CrashLoopBackOff": "read why it ended: kubectl logs --previous",
    "OOMKilled": "raise the memory limit in `resources`",
    "FailedMount": "create the Secret, ConfigMap or PersistentVolumeClaim that the message names",
    "FailedAttachVolume": "see whether another node still holds the volume",
    "FailedScheduling": "free or add what the message asks for: a node, a GPU, memory, a toleration, a bound volume",
    "FailedCreate": "the message says who refuses the pod: a quota, an admission policy, or a ServiceAccount that is missing",
}
_STARTING = ("", "ContainerCreating", "PodInitializing")
_LONGEST = 700


@dataclass(frozen=True, slots=True)
class Hindrance:
    """What keeps a pod from running.

    Attributes:
        reason: as Kubernetes has it, such as FailedMount.
        message: its words.
        pod: name of the pod; empty: there is none yet.
        pulled_by: by which Secrets an image that cannot be pulled was asked for.
    """

    reason: str
    message: str
    pod: str = ""
    pulled_by: str = ""

    @property
    def remedy(self) -> str:
        """What to do about it; empty: nobody knows in general."""
        known = REMEDIES.get(self.reason, "")
        return f"{known}; {self.pulled_by}" if known and self.pulled_by else known

    def __str__(self) -> str:
        where = f"pod {self.pod}: " if self.pod else ""
        said = f"{where}{self.reason}" + (f": {self.message}" if self.message else "")
        said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
        return f"{said}; {self.remedy}" if self.remedy else said


def of_pod(pod: Json, events: Sequence[Json] = ()) -> Hindrance | None:
    """What keeps a pod from running; None: it runs, has ended, or only starts.

    Args:
        pod: as the API server has it.
        events: Warnings about it, oldest first; Kubernetes tells of volumes nowhere else.
    """
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    if conditions.get("Ready", {}).get("status") == "True" or status.get("phase") in ("Succeeded", "Failed"):
        return None
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        reason = str(scheduled.get("reason") or "")
        return Hindrance(
            "FailedScheduling" if reason in ("", "Unschedulable") else reason, scheduled.get("message", ""), name
        )
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    for container in containers:
        waits = container.get("state", {}).get("waiting") or {}
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
        reason = str(waits.get("reason") or "")
        if ended.get("reason") == "OOMKilled":
            return Hindrance("OOMKilled", str(waits.get("message") or ""), name)
        if reason not in _STARTING:
            return Hindrance(
                reason, str(waits.get("message") or ended.get("message") or ""), name, _pulled_by(pod, reason)
            )
    if events and not any({"running", "terminated"} & container.get("state", {}).keys() for container in containers):
        return Hindrance(str(events[-1].get("reason") or "Warning"), str(events[-1].get("message") or ""), name)
    return None


def _pulled_by(pod: Json, reason: str) -> str:
    """By which Secrets an image that cannot be pulled was asked for: one that is missing is passed over by the kubelet."""
    if reason not in ("ErrImagePull", "ImagePullBackOff"):
        return ""
    names = ", ".join(s.get("name", "") for s in pod.get("spec", {}).get("imagePullSecrets", []))
    if not names:
        return "no pull Secret is named: a private registry needs one in the chart's image.pullSecrets"
    namespace = pod["metadata"].get("namespace", "")
    return f"pull Secrets {names}: each must exist in namespace {namespace} and be one for this registry"


def of_deployment(deployment: Json | None) -> Hindrance | None:
    """Why a Deployment has no pods to look at; None: nothing that is known."""
    conditions = (deployment or {}).get("status", {}).get("conditions", [])
    failed = next((c for c in conditions if c["type"] == "ReplicaFailure" and c.get("status") == "True"), None)
    return None if failed is None else Hindrance(str(failed.get("reason") or ""), str(failed.get("message") or ""))


def of_events(events: Sequence[Json]) -> Hindrance | None:
    """The newest Warning about whoever is to make pods and makes none."""
    return Hindrance(str(events[-1].get("reason") or ""), str(events[-1].get("message") or "")) if events else None
