"""The KServe InferenceService of an own ModelVersion."""

import json
import math
from typing import Any

from tradewind.api.model_version import ModelVersion, Serving
from tradewind.core.decision import Manifest, Owner
from tradewind.core.manifests.common import (
    CONTAINER_SECURITY,
    MODEL_USER,
    Mounts,
    child_metadata,
    pod_security,
    pull_secrets,
    resources,
    scheduling,
)
from tradewind.core.platform import Platform
from tradewind.schema.scalars import as_milliseconds
from tradewind.trading.settings.stores import STORES_VARIABLE, Stores, store_urls
from tradewind.trading.stopping import PRE_STOP_SECONDS

BASE_PATH = "/mnt/base"
ADAPTER_PATH = "/mnt/adapter"
FETCH_CONTAINER = "fetch"
_LONGEST_LOAD_SECONDS = 24 * 3600


def predictor_url(name: str, namespace: str) -> str:
    """Where KServe's Standard mode serves it inside the cluster."""
    return f"http://{name}-predictor.{namespace}.svc.cluster.local"


def stores_of(version: ModelVersion) -> tuple[str, ...]:
    """URLs of the stores that the predictor's pods fetch from."""
    adapter, model = version.spec.adapter, version.spec.model
    parts = (adapter, adapter.base_model if adapter is not None else None, model)
    return store_urls([(part.uri, part.store) for part in parts if part is not None])


def asked_stores_of(version: ModelVersion) -> tuple[str, ...]:
    """URLs of the stores that the Job that judges it fetches from."""
    evaluation = version.spec.evaluation
    parts = (evaluation.dataset, evaluation.bars)
    return store_urls([(part.uri, part.store) for part in parts if part is not None])


def build_inference_service(version: ModelVersion, owner: Owner, platform: Platform) -> Manifest | None:
    """The InferenceService, or None for an external version."""
    spec, serving = version.spec, version.spec.serving
    name = version.metadata.name
    mounts = Mounts(platform.policy)
    args = ["--model-name", name]
    if spec.adapter:
        base = spec.adapter.base_model
        mounts.take("spec.adapter.baseModel", base.uri, base.store, BASE_PATH, sha256=base.sha256)
        mounts.take("spec.adapter", spec.adapter.uri, spec.adapter.store, ADAPTER_PATH, sha256=spec.adapter.sha256)
        args += ["--base", BASE_PATH, "--adapter", ADAPTER_PATH, "--sha256", spec.adapter.sha256]
        if (
            spec.adapter.base_model.sha256 is not None
        ):  # an argument that is not there replaces no pod of an older release
            args += ["--base-sha256", spec.adapter.base_model.sha256]
        args += ["--merge", "true" if serving.merge else "false"]
    elif spec.model:
        mounts.take("spec.model", spec.model.uri, spec.model.store, BASE_PATH, sha256=spec.model.sha256)
        args += ["--base", BASE_PATH, "--sha256", spec.model.sha256]
    else:
        return None
    args += ["--decoding", serving.decoding, "--reasoning", serving.reasoning, "--max-queue", str(serving.max_queue)]
    chosen = {"--dtype": serving.dtype, "--attention": serving.attention, "--base-mismatch": serving.base_mismatch}
    for option, value in chosen.items():
        if value != Serving.model_fields[option.removeprefix("--").replace("-", "_")].default:  # as above
            args += [option, value]
    if serving.quantization != "none":
        args += ["--quantization", serving.quantization, "--min-agreement", serving.min_agreement]
    container: dict[str, Any] = {
        "name": "kserve-container",
        "image": platform.predictor_image,
        "imagePullPolicy": platform.pull_policy,
        "args": args,
        "ports": [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}],
        "resources": resources(serving.resources),
        "securityContext": dict(CONTAINER_SECURITY),
        "volumeMounts": [*mounts.mounts, *({**mount, "readOnly": True} for mount in mounts.stores.scratch_mounts)],
        # Goes on answering until every node has stopped sending: a Service learns late that a pod leaves.
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        # A load takes as long as it takes: it ends by itself, with a code.
        "startupProbe": {
            "httpGet": {"path": "/v2/health/ready", "port": 8080},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": _LONGEST_LOAD_SECONDS // 2,
        },
        # A long queue is no reason to restart: this is answered beside it.
        "livenessProbe": {
            "httpGet": {"path": "/tradewind/v1/live", "port": 8080},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "readinessProbe": {
            "httpGet": {"path": "/v2/health/ready", "port": 8080},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod = {
        **pull_secrets(platform.predictor_pull_secrets),
        **_fetching(mounts, container),
        "containers": [container],
    }
    return inference_service(version, owner, mounts, pod)


def inference_service(version: ModelVersion, owner: Owner, mounts: Mounts, pod: Manifest) -> Manifest:
    """The InferenceService around what is particular to a server: its containers and pull Secrets."""
    serving = version.spec.serving
    metadata = child_metadata(owner, version.metadata.name, "serving")
    scaling = serving.autoscaling
    metadata["annotations"] = {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": "none" if scaling is None else "hpa",
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {
            "predictor": {
                **_stopping(as_milliseconds(serving.timeout) / 1000),
                **_replicas(serving),
                "automountServiceAccountToken": False,
                "securityContext": pod_security(MODEL_USER),
                **scheduling(serving.node_selector, serving.tolerations),
                **mounts.stores.identity,
                **pod,
                "volumes": [*mounts.volumes, *mounts.stores.scratch, *mounts.stores.secrets],
            }
        },
    }


def _replicas(serving: Serving) -> dict[str, Any]:
    scaling = serving.autoscaling
    if scaling is None:
        return {"minReplicas": serving.replicas, "maxReplicas": serving.replicas}
    replicas = {"minReplicas": scaling.min_replicas, "maxReplicas": scaling.max_replicas}
    return {**replicas, "scaleMetric": "cpu", "scaleTarget": scaling.target_cpu_utilization}


def _fetching(mounts: Mounts, container: Manifest) -> dict[str, Any]:
    fetching = fetch_containers(mounts, container)
    return {"initContainers": fetching} if fetching else {}


def fetch_containers(mounts: Mounts, container: Manifest) -> list[Manifest]:
    """The init container that brings what lies in stores. The server itself has neither keys nor a way to write there.

    Args:
        mounts: of the pod.
        container: of the predictor's image, whose resources and security it takes.
    """
    if mounts.stores.asked == Stores():
        return []
    same = ("image", "imagePullPolicy", "resources", "securityContext", "terminationMessagePolicy")
    fetch = {
        "name": FETCH_CONTAINER,
        "command": ["python", "-m", "tradewind.stores"],
        "env": [{"name": STORES_VARIABLE, "value": json.dumps(mounts.stores.asked.to_manifest(), sort_keys=True)}],
        "volumeMounts": [mounts.mounts[0], *mounts.stores.scratch_mounts, *mounts.stores.secret_mounts],
    }
    return [{**{key: container[key] for key in same}, **fetch}]


def _stopping(timeout: float) -> dict[str, int]:
    """The pod's grace where an answer may take longer than Kubernetes' own 30 s leave room for."""
    grace = PRE_STOP_SECONDS + math.ceil(timeout) + 10
    return {"terminationGracePeriodSeconds": grace} if grace > 30 else {}
