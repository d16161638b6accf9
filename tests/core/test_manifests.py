"""Children as they reach the cluster: least privilege, no secret values, names that fit, owners that may go."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from golden_worlds import ADAPTER, KIND_CASES, PLATFORM, build, load, resource_of, version

from tradewind.api.common import API_VERSION, SecretKeyRef
from tradewind.core.decision import FIELD_MANAGER, Apply, Create, Decision, Owner
from tradewind.core.endpoint.manifests import build_gateway
from tradewind.core.model_version.manifests import build_inference_service
from tradewind.core.registry import BY_KIND as KINDS
from tradewind.core.training_run.manifests import build_rendezvous, build_snapshot_job, build_train_job
from tradewind.trading.stopping import PRE_STOP_SECONDS
from tradewind.training.config import SnapshotConfig

DISPOSABLE = {
    "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "InferenceService", "Job", "PodDisruptionBudget", "Role",
    "RoleBinding", "Service", "ServiceAccount",
}  # fmt: skip
LASTING = {"ModelVersion", "ABExperiment", "TrainingRun"}
LONG = "n" * 50


KEPT = {"predictor:0", "predictor@sha256:1111"}
"""Images of champions and arms, as the settings named them once."""


def everything_made() -> Iterator[Mapping[str, Any]]:
    """Every manifest that some golden case asks for."""
    for kind, name in KIND_CASES:
        yield from children(load(kind, name).decide())


def children(decision: Decision) -> Iterator[Mapping[str, Any]]:
    """What a decision makes as the operator's own: no field that is handed over."""
    for effect in decision.effects:
        if isinstance(effect, Create) or (isinstance(effect, Apply) and effect.manager == FIELD_MANAGER):
            yield effect.manifest


MADE = list(everything_made())


def pods() -> list[tuple[str, Mapping[str, Any]]]:
    return pods_of(MADE)


def pods_of(manifests: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    found = []
    for manifest in manifests:
        match manifest["kind"]:
            case "Job" | "Deployment":
                found.append((manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]))
            case "InferenceService":
                found.append((manifest["metadata"]["name"], manifest["spec"]["predictor"]))
    return found


def test_cases_make_every_kind_of_child() -> None:
    assert {m["kind"] for m in MADE} == DISPOSABLE | LASTING


@pytest.mark.parametrize(
    ("name", "pod"), {name: (name, pod) for name, pod in pods()}.values(), ids=lambda v: str(v)[:30]
)
def test_pods_run_with_least_privilege(name: str, pod: Mapping[str, Any]) -> None:
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    user = 65531 if name.endswith("-gateway") else 65532  # what writes and reads people's volumes keeps the user of old
    assert {security[field] for field in ("runAsUser", "runAsGroup", "fsGroup")} == {user}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is (name.endswith("-gateway"))
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert ":latest" not in container["image"]


def test_every_pod_names_the_pull_secrets_and_policy_of_its_image() -> None:
    """By image, whatever the pod is for: a Job or predictor that lacks them stays ImagePullBackOff."""
    platform = replace(
        PLATFORM,
        gateway_pull_secrets=("acr", "g"),
        predictor_pull_secrets=("acr", "p"),
        trainer_pull_secrets=("acr", "t"),
        vllm_pull_secrets=("acr", "v"),
        pull_policy="Always",
    )
    named: dict[str, set[str]] = {}
    for kind, name in KIND_CASES:
        case = load(kind, name)
        decide = KINDS[type(case.resource).__name__].decide
        decision = decide(case.resource, case.seen, case.now, platform=platform, owner=Owner.of(case.resource))
        for _, pod in pods_of(children(decision)):
            images = dict.fromkeys(c["image"] for c in (*pod.get("initContainers", ()), *pod["containers"]))
            assert pod["imagePullSecrets"] == [{"name": "acr"}, *({"name": image[0]} for image in images)], name
            for container in (*pod.get("initContainers", ()), *pod["containers"]):
                assert container["imagePullPolicy"] == "Always"
                named.setdefault(container["image"], set()).add(container["name"])
    assert named == {
        "gateway:1": {"gateway"},
        "predictor:1": {"kserve-container", "verify"},
        **{image: {"kserve-container"} for image in KEPT},
        "vllm:1": {"kserve-container"},
        "trainer:1": {"snapshot", "train", "benchmark"},
    }
    assert not [pod for _, pod in pods() if "imagePullSecrets" in pod]


def values_of(key: str, manifest: Any) -> Iterator[Any]:
    """What stands under a key, however deep."""
    match manifest:
        case Mapping():
            for name, value in manifest.items():
                if name == key:
                    yield value
                yield from values_of(key, value)
        case list() | tuple():
            for value in manifest:
                yield from values_of(key, value)


def test_no_image_comes_from_anywhere_but_the_settings() -> None:
    """So digests in the chart's values say all that runs: no sidecar, and nothing that KServe would add by a storageUri."""
    ours = {PLATFORM.gateway_image, PLATFORM.predictor_image, PLATFORM.trainer_image, PLATFORM.vllm_image}
    assert {image for manifest in MADE for image in values_of("image", manifest)} == ours | KEPT
    assert not [each for manifest in MADE for key in ("storageUri", "storage") for each in values_of(key, manifest)]


def test_secrets_are_referred_to_and_never_read() -> None:
    for name, pod in pods():
        for container in pod["containers"]:
            for variable in container.get("env", []):
                if variable["name"] == "TRADEWIND_DSN":
                    assert set(variable) == {"name", "valueFrom"}, name
                    assert "secretKeyRef" in variable["valueFrom"]
                else:
                    assert not any(word in variable["name"] for word in ("PASSWORD", "API_KEY", "SECRET")), name
            assert "postgresql://" not in json.dumps(container)
    assert not [m for m in MADE if m["kind"] == "Secret"]


def test_gateway_may_see_its_own_routing_alone() -> None:
    role = next(m for m in MADE if m["kind"] == "Role")
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["trader-routing"],
            "verbs": ["get", "list", "watch"],
        }
    ]


def test_only_disposable_children_have_an_owner() -> None:
    for manifest in MADE:
        owners = manifest["metadata"].get("ownerReferences", [])
        if manifest["kind"] in LASTING:
            assert owners == []
        else:
            (owner,) = owners
            assert owner["controller"] is True
            assert owner["uid"].startswith("uid-")


def test_labels_of_the_parent_are_never_copied() -> None:
    patch = {
        "metadata": {"labels": {"argocd.argoproj.io/instance": "app"}, "annotations": {"kubectl.kubernetes.io/x": "y"}}
    }
    for kind, name in (
        ("endpoint", "first-champion-is-the-fallback"),
        ("training_run", "snapshot-starts"),
        ("model_version", "adapter-is-new"),
    ):
        case = build(
            kind, {"resource": patch} | ({"facts": {"service": None, "pods": None}} if kind == "model_version" else {})
        )
        made = [e.manifest for e in case.decide().effects if isinstance(e, Apply | Create)]
        assert made, name
        assert "argocd" not in json.dumps(made)
        assert "kubectl.kubernetes.io" not in json.dumps(made)
        for manifest in made:
            labels = manifest["metadata"]["labels"]
            assert labels["app.kubernetes.io/managed-by"] == "tradewind"
            assert labels["tradewind.dev/owner-name"] == case.resource.name


def test_names_fit_for_the_longest_parent() -> None:
    owner = Owner(API_VERSION, "Endpoint", LONG, "trading", "u")
    endpoint = resource_of({"kind": "Endpoint", "metadata": {"name": LONG}, "spec": {"fallback": "f"}})
    run = build("training_run", {"resource": {"metadata": {"name": LONG}}}).resource
    made = [
        *build_gateway(endpoint, owner, PLATFORM, {"v" * 50: SecretKeyRef(name="s", key="k")}),
        build_snapshot_job(run, endpoint, owner, PLATFORM, run.metadata.creation_timestamp),  # type: ignore[arg-type]
        build_train_job(run, owner, PLATFORM, 100, None),  # type: ignore[arg-type]
    ]
    for manifest in made:
        assert len(manifest["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())
        for volume in manifest.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", []):
            assert len(volume["name"]) <= 63
    assert len(f"{LONG}-benchmark-9") <= 63


def test_same_input_gives_the_same_text() -> None:
    again = list(everything_made())
    assert json.dumps(MADE, sort_keys=False) == json.dumps(again, sort_keys=False)


def test_jobs_run_once_and_report_by_their_termination_message() -> None:
    for manifest in (m for m in MADE if m["kind"] == "Job"):
        assert manifest["spec"]["backoffLimit"] == 0
        pod = manifest["spec"]["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        (container,) = pod["containers"]
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
        config = next(v["value"] for v in container["env"] if v["name"] == "TRADEWIND_CONFIG")
        assert isinstance(json.loads(config), dict)


def test_trainer_gets_a_token_for_progress_alone() -> None:
    job = next(m for m in MADE if m["metadata"]["name"] == "r-train-1")
    (projected,) = (v["projected"] for v in job["spec"]["template"]["spec"]["volumes"] if "projected" in v)
    (source,) = projected["sources"]
    assert source["serviceAccountToken"]["audience"] == "tradewind-progress"


def test_queued_job_is_made_suspended_and_names_its_queue() -> None:
    run = build("training_run", {"resource": {"spec": {"queueName": "gpu"}}}).resource
    job = build_train_job(run, Owner(API_VERSION, "TrainingRun", "r", "trading", "u"), PLATFORM, 1, None)  # type: ignore[arg-type]
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"


def test_pods_that_train_together_find_each_other_by_name() -> None:
    run = build("training_run", {"resource": {"spec": {"numNodes": 2}}}).resource
    owner = Owner(API_VERSION, "TrainingRun", "r", "trading", "u")
    job, service = build_train_job(run, owner, PLATFORM, 3, None), build_rendezvous(run, owner)  # type: ignore[arg-type]
    spec, template = job["spec"], job["spec"]["template"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (
        "Indexed",
        2,
        2,
        0,
    )
    assert template["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    (container,) = template["spec"]["containers"]
    env = {entry["name"]: entry for entry in container["env"]}
    assert env["MASTER_ADDR"]["value"] == "r-train-3-0.r-train.trading.svc"
    assert env["WORLD_SIZE"]["value"] == "2"
    assert "job-completion-index" in env["RANK"]["valueFrom"]["fieldRef"]["fieldPath"]


def test_model_is_mounted_read_only_with_its_hash() -> None:
    made = build_inference_service(
        version("v1", {"sha256": ADAPTER}), Owner(API_VERSION, "ModelVersion", "v1", "trading", "u"), PLATFORM
    )
    assert made is not None
    (container,) = made["spec"]["predictor"]["containers"]
    assert container["args"][container["args"].index("--sha256") + 1] == ADAPTER
    storage = [m for m in container["volumeMounts"] if m["name"].startswith("storage")]
    assert {m["mountPath"]: (m["subPath"], m["readOnly"]) for m in storage} == {
        "/mnt/base": ("base", True),
        "/mnt/adapter": ("v1", True),
    }
    assert (
        build_inference_service(version("api"), Owner(API_VERSION, "ModelVersion", "api", "trading", "u"), PLATFORM)
        is None
    )


def test_a_predictor_goes_on_while_it_leaves_and_is_ended_only_when_it_cannot_answer() -> None:
    made = build_inference_service(
        version("v1", {"sha256": ADAPTER}), Owner(API_VERSION, "ModelVersion", "v1", "trading", "u"), PLATFORM
    )
    assert made is not None
    (container,) = made["spec"]["predictor"]["containers"]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == PRE_STOP_SECONDS
    live, start = container["livenessProbe"], container["startupProbe"]
    assert live["httpGet"]["path"] == "/tradewind/v1/live"
    assert live["periodSeconds"] * live["failureThreshold"] >= 60, "a busy one may be late"
    assert start["periodSeconds"] * start["failureThreshold"] >= 3600 * 12, "a slow load is not ended from outside"
    assert not {"--dtype", "--attention", "--base-mismatch", "--quantization", "--min-agreement"} & {*container["args"]}


def test_settings_that_differ_from_their_default_reach_the_predictor() -> None:
    chosen = {
        "dtype": "float32",
        "attention": "eager",
        "baseMismatch": "allow",
        "quantization": "int4",
        "minAgreement": "1",
    }
    patch = {"metadata": {"name": "v1"}, "spec": {"serving": chosen}}
    made_of = build("model_version", {"resource": patch}).resource
    made = build_inference_service(made_of, Owner(API_VERSION, "ModelVersion", "v1", "trading", "u"), PLATFORM)
    assert made is not None
    (container,) = made["spec"]["predictor"]["containers"]
    args = container["args"]
    asked = {"--dtype": "float32", "--attention": "eager", "--base-mismatch": "allow"}
    for option, value in (asked | {"--quantization": "int4", "--min-agreement": "1"}).items():
        assert args[args.index(option) + 1] == value


def test_decimals_in_the_routing_document_are_plain() -> None:
    patch = {
        "resource": {"spec": {"limits": {"permissionLevels": {"L1": {"maxLeverage": 2, "maxSizeUSD": "1000000"}}}}}
    }
    (document,) = (e.manifest["data"]["routing.json"] for e in build("endpoint", patch).decide().effects
                   if isinstance(e, Apply) and e.manifest["kind"] == "ConfigMap")  # fmt: skip
    size = json.loads(document)["limits"]["permissionLevels"]["L1"]["maxSizeUSD"]
    assert size == "1000000"


@pytest.mark.parametrize(
    ("tls", "volume"),
    [
        (
            {"caSecretRef": {"name": "rds-ca", "key": "ca.pem"}},
            {"secret": {"secretName": "rds-ca", "defaultMode": 0o440}},
        ),
        ({"caConfigMapRef": {"name": "rds-ca", "key": "ca.pem"}}, {"configMap": {"name": "rds-ca"}}),
        (None, None),
    ],
)
def test_the_ca_of_the_database_reaches_gateways_and_snapshots(tls: Any, volume: Any) -> None:
    point = resource_of(
        {
            "kind": "Endpoint",
            "metadata": {"name": "trader"},
            "spec": {"fallback": "api", "database": {"tls": tls} if tls else {}},
        }
    )
    run = load("training_run", "snapshot-starts").resource
    gateway = build_gateway(point, Owner.of(point), PLATFORM, {})[-1]
    snapshot = build_snapshot_job(run, point, Owner.of(run), PLATFORM, load("training_run", "snapshot-starts").now)  # type: ignore[arg-type]
    for _, pod in pods_of([gateway, snapshot]):
        (container,) = pod["containers"]
        env = {each["name"]: each.get("value") for each in container["env"]}
        volumes = [
            {k: v for k, v in each.items() if k != "name"} for each in pod["volumes"] if each["name"] == "database-ca"
        ]
        assert volumes == ([volume] if volume else [])
        assert env.get("PGSSLMODE") == ("verify-full" if tls else None)
        if tls:
            (mount,) = [m for m in container["volumeMounts"] if m["name"] == "database-ca"]
            assert env["PGSSLROOTCERT"] == f"{mount['mountPath']}/ca.pem"
        else:
            assert "PGSSLROOTCERT" not in env


def test_a_variable_of_the_users_stands_once() -> None:
    """Server-side apply refuses a list that names a key twice."""
    spec = {
        "fallback": "api",
        "database": {"tls": {"caSecretRef": {"name": "rds-ca", "key": "ca.crt"}}},
        "gateway": {"env": [{"name": "PGSSLMODE", "value": "verify-ca"}]},
    }
    point = resource_of({"kind": "Endpoint", "metadata": {"name": "trader"}, "spec": spec})
    (_, pod), *_ = pods_of([build_gateway(point, Owner.of(point), PLATFORM, {})[-1]])
    assert [e["value"] for e in pod["containers"][0]["env"] if e["name"] == "PGSSLMODE"] == ["verify-ca"]


@pytest.mark.parametrize("objective", ["sft", "kto", "sft-then-kto"])
def test_the_snapshot_keeps_bad_decisions_for_an_objective_that_learns_from_them(objective: str) -> None:
    world = load("training_run", "snapshot-starts")
    run = world.resource.model_copy(update={"spec": world.resource.spec.model_copy(update={"objective": objective})})
    point = resource_of({"kind": "Endpoint", "metadata": {"name": "trader"}, "spec": {"fallback": "api"}})
    job = build_snapshot_job(run, point, Owner.of(run), PLATFORM, world.now)  # type: ignore[arg-type]
    ((_, pod),) = pods_of([job])
    (text,) = [each["value"] for each in pod["containers"][0]["env"] if each["name"] == "TRADEWIND_CONFIG"]
    assert SnapshotConfig.model_validate_json(text).imitation().avoid_bad is (objective != "sft")
