"""The InferenceService of a version that plain vLLM serves, and how the gateway and the benchmark are told of it."""

from dataclasses import replace
from typing import Any

import pytest
from golden_worlds import ADAPTER, PLATFORM, build, load, resource_of
from pydantic import ValidationError

from tradewind.api.model_version import ModelVersion, Serving
from tradewind.core.decision import Apply, Create, Decision, Owner
from tradewind.core.endpoint import arm_target
from tradewind.core.model_version.vllm import HANDOVER_PATH, build_vllm_service, gpus_of
from tradewind.core.policy import Policy
from tradewind.core.registry import BY_KIND as KINDS
from tradewind.trading.routing import EXTERNAL_PROTOCOLS, Protocol
from tradewind.trading.stopping import PRE_STOP_SECONDS

BASE = {"uri": "pvc://models/base", "sha256": "c" * 64}


def version(serving: dict[str, Any] | None = None, **spec: Any) -> ModelVersion:
    given = spec or {"adapter": {"uri": "pvc://models/v1", "sha256": ADAPTER, "baseModel": BASE}}
    runtime = {"runtime": "huggingface", **(serving or {})}
    made = resource_of({"kind": "ModelVersion", "metadata": {"name": "v1"}, "spec": {**given, "serving": runtime}})
    assert isinstance(made, ModelVersion)
    return made


def pod_of(made: ModelVersion, platform: Any = PLATFORM) -> Any:
    service = build_vllm_service(made, Owner.of(made), platform)
    assert service is not None
    return service["spec"]["predictor"]


def test_nothing_is_started_before_our_image_has_verified_every_folder() -> None:
    pod = pod_of(version())
    (verify,), (server,) = pod["initContainers"], pod["containers"]
    assert (verify["image"], server["image"]) == ("predictor:1", "vllm:1")
    assert verify["command"] == ["python", "-m", "tradewind.predictor.handover"]
    named = ["--base", "/mnt/base", "--sha256", ADAPTER, "--into", HANDOVER_PATH]
    assert verify["args"] == [*named, "--adapter", "/mnt/adapter", "--base-sha256", "c" * 64]
    assert server["command"] == ["python3", f"{HANDOVER_PATH}/start.py"]
    mounted = {mount["mountPath"]: mount.get("readOnly", False) for mount in server["volumeMounts"]}
    folders = {"/mnt/base": True, "/mnt/adapter": True, HANDOVER_PATH: True}
    assert mounted == {"/tmp": False, "/dev/shm": False, **folders}
    writes = {m["mountPath"] for m in verify["volumeMounts"] if not m.get("readOnly")}
    assert writes == {"/tmp", HANDOVER_PATH}


def test_shared_memory_is_bounded_where_the_spec_says_so() -> None:
    def shm(serving: dict[str, Any]) -> Any:
        (found,) = [v for v in pod_of(version(serving=serving))["volumes"] if v["name"] == "shm"]
        return found["emptyDir"]

    assert shm({}) == {"medium": "Memory"}
    assert shm({"sharedMemory": "8Gi"}) == {"medium": "Memory", "sizeLimit": "8Gi"}


def test_what_is_asked_has_the_hash_in_its_name() -> None:
    """So a pod that still serves another artifact under the version's name knows no such model, and does not answer."""
    args = pod_of(version())["containers"][0]["args"]
    assert args[:3] == ["vllm", "serve", "/mnt/base"]
    assert f"v1@{ADAPTER}=/mnt/adapter" in args
    target = arm_target(version(), Policy())
    assert (target.protocol, target.outside, target.model) == (Protocol.VLLM, False, f"v1@{ADAPTER}")
    assert target.sha256 == ADAPTER
    assert Protocol.VLLM.value not in EXTERNAL_PROTOCOLS
    whole = version(model={"uri": "pvc://models/m", "sha256": "d" * 64})
    args = pod_of(whole)["containers"][0]["args"]
    assert args[args.index("--served-model-name") + 1] == f"v1@{'d' * 64}"
    assert "--enable-lora" not in args


@pytest.mark.parametrize(
    ("limits", "gpus", "options"),
    [
        ({}, 0, {"--dtype": "float32"}),
        ({"nvidia.com/gpu": "1"}, 1, {"--dtype": "auto"}),
        ({"nvidia.com/gpu": "4", "cpu": "8"}, 4, {"--dtype": "auto", "--tensor-parallel-size": "4"}),
        ({"amd.com/gpu": "2"}, 2, {"--dtype": "auto", "--tensor-parallel-size": "2"}),
    ],
)
def test_weights_are_spread_over_the_gpus_of_the_pod(
    limits: dict[str, str], gpus: int, options: dict[str, str]
) -> None:
    made = version({"resources": {"limits": limits}})
    pod = pod_of(made)
    args = pod["containers"][0]["args"]
    assert gpus_of(made) == gpus
    assert {
        name: args[args.index(name) + 1] for name in ("--dtype", "--tensor-parallel-size") if name in args
    } == options
    assert set(pod["initContainers"][0]["resources"].get("limits", {})) <= {"cpu"}  # a GPU is not waited for twice


def test_it_ends_as_our_predictor_does_and_keeps_the_numbers_that_are_asked_for() -> None:
    """vLLM cuts off what it is writing when it is told to stop, unless it is given time."""
    pod = pod_of(version({"timeout": "40s", "dtype": "bfloat16"}))
    (server,) = pod["containers"]
    assert server["lifecycle"] == {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}}
    args = server["args"]
    assert args[args.index("--shutdown-timeout") + 1] == "40"
    assert pod["terminationGracePeriodSeconds"] > PRE_STOP_SECONDS + 40
    assert args[args.index("--dtype") + 1] == "bfloat16"


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({}, ("4", None)),
        ({"memory": "16Gi", "cpu": "3500m"}, ("4", "3")),
        ({"memory": "2G", "cpu": "1"}, ("1", "1")),
        ({"memory": "64Gi", "cpu": "8", "nvidia.com/gpu": "1"}, (None, None)),
    ],
)
def test_on_processors_it_is_told_what_the_pod_may_use(
    limits: dict[str, str], told: tuple[str | None, str | None]
) -> None:
    """Left alone it takes most of the node's memory, and a thread for each of its processors."""
    server = pod_of(version({"resources": {"limits": limits}}))["containers"][0]
    environment = {each["name"]: each["value"] for each in server["env"]}
    assert (environment.get("VLLM_CPU_KVCACHE_SPACE"), environment.get("OMP_NUM_THREADS")) == told


def test_stores_are_fetched_before_they_are_verified() -> None:
    store = {"region": "us-east-1", "endpoint": "https://minio.test", "secretRef": {"name": "key"}}
    policy = Policy.model_validate({"egress": {"allowedHosts": ["minio.test"]}})
    whole = version(model={"uri": "s3://models/m", "sha256": "d" * 64, "store": store})
    pod = pod_of(whole, replace(PLATFORM, policy=policy))
    fetch, verify = pod["initContainers"]
    assert (fetch["name"], verify["name"]) == ("fetch", "verify")
    assert {fetch["image"], verify["image"]} == {"predictor:1"}
    for container in (verify, pod["containers"][0]):
        assert {"name": "scratch-0", "mountPath": "/mnt/base", "readOnly": True} in container["volumeMounts"]
        assert "store-key" not in str(container)


def decided(patch: dict[str, Any], vllm_image: str) -> Decision:
    case = build("model_version", patch)
    platform = replace(PLATFORM, vllm_image=vllm_image)
    decide = KINDS["ModelVersion"].decide
    return decide(case.resource, case.seen, case.now, platform=platform, owner=Owner.of(case.resource))


def test_without_an_image_it_is_refused_with_the_value_to_set() -> None:
    patch = {"resource": {"spec": {"serving": {"runtime": "huggingface"}}}, "facts": {"service": None, "pods": None}}
    refused = decided(patch, "")
    assert not refused.effects
    ready = refused.status.condition("Ready")  # type: ignore[attr-defined]
    assert (ready.status.value, ready.reason) == ("False", "RuntimeNotAvailable")
    assert "image.vllm.reference" in ready.message
    assert [e.manifest["kind"] for e in decided(patch, "vllm:1").effects if isinstance(e, Apply)] == [
        "InferenceService"
    ]


def test_it_is_measured_by_its_own_protocol() -> None:
    (job,) = [
        effect.manifest
        for effect in load("model_version", "vllm-starts-its-benchmark").decide().effects
        if isinstance(effect, Create)
    ]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--protocol", "vllm"]


def test_prose_is_refused() -> None:
    assert Serving(runtime="huggingface").reasoning == "none"
    with pytest.raises(ValidationError, match=r"serving\.reasoning is not written by runtime huggingface"):
        Serving(runtime="huggingface", reasoning="brief")
