"""The InferenceService of a version that plain vLLM serves (`serving.runtime: huggingface`).

vLLM verifies nothing, so a container of our predictor's image goes first (`tradewind.predictor.handover`): it ends with 65 where a
folder is another one than the spec pins, and hands over what vLLM is started with. Whatever restarts vLLM's container alone
starts it by the handed over program, which looks at the files again.

Belongs here: vLLM's arguments, environment and probes. Does not belong here: what is the same whatever serves (manifests.py).
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from tradewind.api.model_version import ModelVersion
from tradewind.core.decision import Manifest, Owner
from tradewind.core.identity import version_sha256
from tradewind.core.manifests.common import CONTAINER_SECURITY, Mounts, pull_secrets, resources
from tradewind.core.model_version.manifests import ADAPTER_PATH, BASE_PATH, fetch_containers, inference_service
from tradewind.core.platform import Platform
from tradewind.schema.scalars import as_milliseconds
from tradewind.trading.completions import served_name
from tradewind.trading.stopping import PRE_STOP_SECONDS

HANDOVER_CONTAINER: Final = "verify"
HANDOVER_PATH: Final = "/mnt/handover"
_PORT: Final = 8080
_GPUS: Final = ("nvidia.com/gpu", "amd.com/gpu")
_OWN_RESOURCES: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_STARTS_SECONDS: Final = 3600
"""Reading a large base from a claim, and compiling for it, may take that long; afterwards the pod is started anew."""
_UNITS: Final[Mapping[str, float]] = {
    "": 1.0,
    "m": 1e-3,
    **{letter: 1000.0**power for power, letter in enumerate("kMGTP", 1)},
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTP", 1)},
}
"""Of `Quantity`."""
_KV_GIB: Final = 4
"""Memory for the keys and values of prompts on processors, where no limit says how much there is."""
_ENVIRONMENT: Final[dict[str, str]] = {
    "HOME": "/tmp",  # noqa: S108 - the pod's own emptyDir; caches of compilers go there
    "USER": "tradewind",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


def build_vllm_service(version: ModelVersion, owner: Owner, platform: Platform) -> Manifest | None:
    """The InferenceService, or None for an external version. The platform names an image (`missing_image`)."""
    spec, serving = version.spec, version.spec.serving
    sha256 = version_sha256(version)
    if sha256 is None:
        return None
    mounts = Mounts(platform.policy)
    verify = ["--base", BASE_PATH, "--sha256", sha256, "--into", HANDOVER_PATH]
    if spec.adapter is not None:
        base = spec.adapter.base_model
        mounts.take("spec.adapter.baseModel", base.uri, base.store, BASE_PATH, sha256=base.sha256)
        mounts.take("spec.adapter", spec.adapter.uri, spec.adapter.store, ADAPTER_PATH, sha256=spec.adapter.sha256)
        verify += ["--adapter", ADAPTER_PATH]
        verify += ["--base-sha256", base.sha256] if base.sha256 is not None else []
        verify += ["--base-mismatch", "allow"] if serving.base_mismatch == "allow" else []
    elif spec.model is not None:
        mounts.take("spec.model", spec.model.uri, spec.model.store, BASE_PATH, sha256=spec.model.sha256)
    gpus = gpus_of(version)
    mounts.volumes.append({"name": "handover", "emptyDir": {}})
    bound = {} if serving.shared_memory is None else {"sizeLimit": serving.shared_memory}
    mounts.volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", **bound}})
    # The processes of one server talk through it, and a container has 64 MiB of it otherwise.
    shared = {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108 - the pod's own emptyDir
    handed = {"name": "handover", "mountPath": HANDOVER_PATH}
    scratch = [{**mount, "readOnly": True} for mount in mounts.stores.scratch_mounts]
    ours: dict[str, Any] = {
        "name": HANDOVER_CONTAINER,
        "image": platform.predictor_image,
        "imagePullPolicy": platform.pull_policy,
        "command": ["python", "-m", "tradewind.predictor.handover"],
        "args": verify,
        "resources": {
            kind: {name: amount for name, amount in asked.items() if name in _OWN_RESOURCES}
            for kind, asked in resources(serving.resources).items()
        },
        "securityContext": dict(CONTAINER_SECURITY),
        "volumeMounts": [*mounts.mounts, *scratch, handed],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    server: dict[str, Any] = {
        "name": "kserve-container",
        "image": platform.vllm_image,
        "imagePullPolicy": platform.pull_policy,
        "command": ["python3", f"{HANDOVER_PATH}/start.py"],
        "args": ["vllm", "serve", BASE_PATH, *vllm_arguments(version, sha256, gpus)],
        "env": [
            {"name": name, "value": value}
            for name, value in (_ENVIRONMENT | ({} if gpus else _on_processors(serving.resources.limits))).items()
        ],
        "ports": [{"name": "http1", "containerPort": _PORT, "protocol": "TCP"}],
        "resources": resources(serving.resources),
        "securityContext": dict(CONTAINER_SECURITY),
        "volumeMounts": [*mounts.mounts, *scratch, {**handed, "readOnly": True}, shared],
        # As our predictor's: a Service learns late that a pod leaves.
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        **_probes(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod = {
        **pull_secrets(tuple(dict.fromkeys((*platform.predictor_pull_secrets, *platform.vllm_pull_secrets)))),
        "initContainers": [*fetch_containers(mounts, ours), ours],
        "containers": [server],
    }
    return inference_service(version, owner, mounts, pod)


def vllm_arguments(version: ModelVersion, sha256: str, gpus: int) -> list[str]:
    """Options of `vllm serve` beside the base. What the files alone know is in the configuration that is handed over.

    Args:
        version: whose.
        sha256: of what is served; part of the name that it is asked by.
        gpus: that a pod has.
    """
    name = served_name(version.name, sha256)
    options = ["--config", f"{HANDOVER_PATH}/config.yaml", "--host", "0.0.0.0", "--port", str(_PORT)]  # noqa: S104 - a pod's
    options += ["--load-format", "safetensors", "--generation-config", "vllm", "--enable-prefix-caching"]
    dtype = "float32" if version.spec.serving.dtype == "auto" and not gpus else version.spec.serving.dtype
    options += ["--max-model-len", "auto", "--dtype", dtype]
    seconds = math.ceil(
        as_milliseconds(version.spec.serving.timeout) / 1000
    )  # what is being written is awaited, not cut off
    options += ["--shutdown-timeout", str(seconds)]
    if gpus > 1:
        options += ["--tensor-parallel-size", str(gpus)]
    if version.spec.adapter is None:
        return [*options, "--served-model-name", name]
    # The base has a name that nobody asks for: what is asked is the adapter.
    return [*options, "--served-model-name", "base", "--enable-lora", "--lora-modules", f"{name}={ADAPTER_PATH}"]


def gpus_of(version: ModelVersion) -> int:
    """GPUs of a predictor's pod, over all of which the weights are spread."""
    limits = version.spec.serving.resources.limits
    return sum(int(limits[name]) for name in _GPUS if name in limits and str(limits[name]).isdigit())


def _on_processors(limits: Mapping[str, str]) -> dict[str, str]:
    """VLLM looks at the node's memory and processors, and not at what a pod may use of them."""
    memory, cpu = limits.get("memory"), limits.get("cpu")
    room = _KV_GIB if memory is None else max(int(_amount(memory) / 4 / 2**30), 1)
    # One is left to the process that hands out the work.
    threads = {} if cpu is None else {"OMP_NUM_THREADS": str(max(math.ceil(_amount(cpu)) - 1, 1))}
    return {"VLLM_CPU_KVCACHE_SPACE": str(room), **threads} | (
        {"VLLM_CPU_OMP_THREADS_BIND": "nobind"} if threads else {}
    )


def _amount(quantity: str) -> float:
    number = quantity.rstrip("mkKMGTPi")
    return float(number) * _UNITS[quantity[len(number) :]]


def missing_image(version: ModelVersion, platform: Platform) -> str | None:
    """Why this installation cannot serve a version by vLLM, with the remedy; None: it can, or need not."""
    if version.spec.serving.runtime != "huggingface" or version.spec.external is not None or platform.vllm_image:
        return None
    return (
        "spec.serving.runtime: huggingface is served by vLLM, and this installation names no image of it; use runtime tradewind, "
        "or have an administrator set image.vllm.reference in the values of the chart"
    )


def _probes() -> dict[str, Any]:
    """The port opens once the weights are loaded; /health asks the process that computes."""
    health = {"httpGet": {"path": "/health", "port": _PORT}}
    return {
        "startupProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": _STARTS_SECONDS // 5},
        "readinessProbe": {**health, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 3},
        "livenessProbe": {**health, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
    }
