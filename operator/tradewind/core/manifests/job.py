"""The frame of every Job: one attempt, no restarts, no Kubernetes rights; results leave by the termination message."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tradewind.core.decision import Manifest, Owner
from tradewind.core.manifests.common import (
    CONTAINER_SECURITY,
    MODEL_USER,
    Mounts,
    child_labels,
    child_metadata,
    pod_security,
    pull_secrets,
)
from tradewind.core.platform import Platform
from tradewind.schema.rules import StrictModel

PROGRESS_AUDIENCE = "tradewind-progress"
PROGRESS_TOKEN = "/var/run/secrets/tradewind/progress/token"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class JobPod:
    """What one Job runs."""

    script: str
    config: Mapping[str, Any]
    args: Sequence[str] = ()
    env: Sequence[Manifest] = ()
    resources: Mapping[str, Any] | None = None
    placement: Mapping[str, Any] | None = None
    progress: bool = False
    grace_seconds: int = 120
    subdomain: str | None = None
    """The headless Service by which pods of an Indexed Job find each other."""


def build_job(
    owner: Owner, platform: Platform, name: str, component: str, pod: JobPod, mounts: Mounts, **job_spec: Any
) -> Manifest:
    """One attempt of a script of `jobs/` in the trainer's image. Created once and never changed: a queue may own its `suspend`."""
    stores = mounts.stores
    volumes = [*mounts.volumes, *stores.scratch, *stores.secrets]
    volume_mounts = [*mounts.mounts, *stores.scratch_mounts, *stores.secret_mounts]
    if pod.progress:
        token = {"serviceAccountToken": {"audience": PROGRESS_AUDIENCE, "expirationSeconds": 3600, "path": "token"}}
        volumes.append({"name": "progress-token", "projected": {"sources": [token], "defaultMode": 0o440}})
        volume_mounts.append(
            {"name": "progress-token", "mountPath": PROGRESS_TOKEN.rpartition("/")[0], "readOnly": True}
        )
    config = json.dumps(pod.config, sort_keys=True, separators=(",", ":"))
    container: dict[str, Any] = {
        "name": component,
        "image": platform.trainer_image,
        "imagePullPolicy": platform.pull_policy,
        "command": ["python", f"/app/jobs/{pod.script}"],
        "args": list(pod.args),
        "env": [{"name": "TRADEWIND_CONFIG", "value": config}, *pod.env],
        "securityContext": dict(CONTAINER_SECURITY),
        "volumeMounts": volume_mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if pod.resources:
        container["resources"] = dict(pod.resources)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": child_metadata(owner, name, component),
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            **job_spec,
            "template": {
                "metadata": {"labels": child_labels(owner, component)},
                "spec": {
                    "restartPolicy": "Never",
                    **stores.identity,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pod_security(MODEL_USER),
                    "terminationGracePeriodSeconds": pod.grace_seconds,
                    **({"subdomain": pod.subdomain} if pod.subdomain else {}),
                    **pull_secrets(platform.trainer_pull_secrets),
                    **(pod.placement or {}),
                    "containers": [container],
                    "volumes": volumes,
                },
            },
        },
    }


def settings_of(spec: StrictModel, shared: type[StrictModel]) -> dict[str, Any]:
    """The part of a spec that its Job is told as it stands."""
    return spec.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(shared.model_fields))
