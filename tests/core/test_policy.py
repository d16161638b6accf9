"""What an installation refuses: each rule with its field and remedy, and no pod while one is broken."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from golden_worlds import PLATFORM, Case, build, merged, resource_of
from pydantic import ValidationError

from tradewind.core.decision import Apply, Create, Decision, Owner
from tradewind.core.policy import HostPath, Policy, PolicyFault, gateway_faults, run_faults, version_faults
from tradewind.core.registry import BY_KIND as KINDS
from tradewind.trading.routing import Routing

OPEN = Policy()
NODE = Policy.model_validate(
    {"hostPaths": [{"prefix": "/srv/models"}, {"prefix": "/srv/models/runs", "readOnly": False}]}
)


def decided(case: Case, policy: Policy) -> Decision:
    decide = KINDS[type(case.resource).__name__].decide
    platform = replace(PLATFORM, policy=policy)
    return decide(case.resource, case.seen, case.now, platform=platform, owner=Owner.of(case.resource))


def told(decision: Decision, kind: str) -> tuple[str, str, str]:
    found = decision.status.condition(kind)  # type: ignore[attr-defined]
    return (found.status.value, found.reason, found.message)


def made(decision: Decision, *kinds: str) -> list[Any]:
    found = [effect.manifest for effect in decision.effects if isinstance(effect, Apply | Create)]
    return [manifest for manifest in found if manifest["kind"] in kinds]


# --- folders of the node ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "write", "prefix"),
    [
        ("/srv/models/v1", False, "/srv/models"),
        ("/srv/models", False, "/srv/models"),
        ("//srv//models/./v1/", False, "/srv/models"),
        ("/srv/modelsx/v1", False, None),
        ("/srv", False, None),
        ("/etc", False, None),
        ("/", False, None),
        ("/srv/models/v1", True, None),
        ("/srv/models/runs/r", True, "/srv/models/runs"),
        ("/srv/models/runs/r", False, "/srv/models/runs"),
        ("/srv/models/runs", True, "/srv/models/runs"),
    ],
)
def test_a_folder_is_allowed_by_the_narrowest_entry(path: str, write: bool, prefix: str | None) -> None:
    found = NODE.folder(path, write=write)
    assert (None if found is None else found.prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "srv", "/srv/", "//srv", "/srv/../etc", "/srv/./x", ""])
def test_an_entry_that_could_be_another_folder_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="absolute path below /"):
        HostPath(prefix=prefix)


OWN = {"adapter": {"uri": "file:///etc", "sha256": "a" * 64, "baseModel": {"uri": "pvc://models/base"}}}


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("ModelVersion", OWN, "spec.adapter.uri"),
        (
            "ModelVersion",
            {"adapter": {**OWN["adapter"], "uri": "pvc://m/x", "baseModel": {"uri": "file:///root"}}},
            "spec.adapter.baseModel.uri",
        ),
        ("ModelVersion", {"model": {"uri": "file:///var/lib/kubelet", "sha256": "a" * 64}}, "spec.model.uri"),
        ("TrainingRun", {"output": {"uri": "file:///var/lib"}}, "spec.output.uri"),
        ("TrainingRun", {"output": {"uri": "file:///srv/models"}}, "spec.output.uri"),  # for reading alone
        ("TrainingRun", {"baseModel": {"uri": "file:///etc"}}, "spec.baseModel.uri"),
        ("TrainingRun", {"dataset": {"endpoint": None, "uri": "file:///etc"}}, "spec.dataset.uri"),
    ],
)
def test_a_folder_that_is_not_listed_is_refused_by_its_field(kind: str, spec: Mapping[str, Any], field: str) -> None:
    (fault,) = faults_of(kind, spec, NODE)
    assert (fault.field, fault.reason) == (field, "HostPathNotAllowed")
    assert "policy.hostPaths" in fault.remedy


def test_the_adapter_that_a_run_starts_from_is_judged_too() -> None:
    warm = resource_of({"kind": "ModelVersion", "metadata": {"name": "warm"}, "spec": OWN}).spec
    (fault,) = run_faults(spec_of("TrainingRun", {}), OPEN, warm)
    assert fault.field == "spec.warmStartFrom"


def test_a_listed_folder_is_mounted_from_its_entry_so_that_a_link_leads_nowhere_else() -> None:
    case = build(
        "training_run",
        {
            "resource": {
                "spec": {
                    "baseModel": {"uri": "file:///srv/models/base"},
                    "output": {"uri": "file:///srv/models/runs/a"},
                }
            }
        },
    )
    (job,) = made(decided(case, NODE), "Job")
    pod = job["spec"]["template"]["spec"]
    folders = {v["name"]: v["hostPath"] for v in pod["volumes"] if "hostPath" in v}
    assert sorted(folder["path"] for folder in folders.values()) == ["/srv/models", "/srv/models/runs"]
    mounts = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] in folders]
    assert {(folders[m["name"]]["path"], m["subPath"], m["readOnly"]) for m in mounts} == {
        ("/srv/models", "base", True), ("/srv/models/runs", "a", False),
    }  # fmt: skip


# --- places in the cluster --------------------------------------------------------------------------------------------


def near(**term: Any) -> dict[str, Any]:
    pods = {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "kubernetes.io/hostname"} | term
    return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [pods]}}}


def nodes(key: str) -> dict[str, Any]:
    terms = [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    }


@pytest.mark.parametrize(
    ("gateway", "policy", "field"),
    [
        ({"priorityClassName": "trading-first"}, {}, None),
        ({"priorityClassName": "system-node-critical"}, {}, "spec.gateway.priorityClassName"),
        ({"priorityClassName": "system-node-critical"}, {"priorityClasses": ["system-node-critical"]}, None),
        ({"priorityClassName": "trading-first"}, {"priorityClasses": []}, "spec.gateway.priorityClassName"),
        ({"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}, {}, None),
        ({"tolerations": [{"operator": "Exists"}]}, {}, "spec.gateway.tolerations[0]"),
        ({"tolerations": [{"operator": "Exists"}]}, {"tolerationKeys": ["*"]}, None),
        ({"tolerations": [{"key": "", "operator": "Exists"}]}, {"tolerationKeys": ["**"]}, "spec.gateway.tolerations[0]"),
        ({"tolerations": [{"key": "node-role.kubernetes.io/control-plane"}]}, {}, "spec.gateway.tolerations[0].key"),
        ({"nodeSelector": {"aliyun.accelerator/nvidia_name": "NVIDIA-A10"}}, {}, None),
        ({"nodeSelector": {"kubernetes.io/hostname": "master-0"}}, {}, "spec.gateway.nodeSelector"),
        ({"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}}, {}, "spec.gateway.nodeSelector"),
        (nodes("workload"), {}, None),
        (nodes("node-role.kubernetes.io/control-plane"), {}, "spec.gateway.affinity.nodeAffinity"),
        (near(), {}, None),
        (near(namespaces=["kube-system"]), {}, "spec.gateway.affinity.podAffinity"),
        (near(namespaces=["data"]), {"affinityNamespaces": ["data"]}, None),
        (near(topologyKey="node-role.kubernetes.io/control-plane"), {}, "spec.gateway.affinity.podAffinity"),
        ({"auth": {"disabled": True}}, {}, "spec.gateway.auth.disabled"),
        ({"auth": {"disabled": True}}, {"allowUnauthenticatedGateways": True}, None),
        ({"env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}]}, {}, None),
        ({"env": [{"name": "https_proxy", "value": "u:p@169.254.169.254"}]}, {}, "spec.gateway.env[https_proxy]"),
        ({"env": [{"name": "ALL_PROXY", "value": "http://10.0.0.9:3128"}]}, {}, "spec.gateway.env[ALL_PROXY]"),
        (
            {"env": [{"name": "ALL_PROXY", "value": "http://10.0.0.9:3128"}]},
            {"egress": {"allowedInternalHosts": ["10.0.0.9:3128"]}},
            None,
        ),
        ({"env": [{"name": "NO_PROXY", "value": "10.0.0.0/8"}]}, {}, None),
        ({"env": [{"name": "PYTHONPATH", "value": "/x"}]}, {}, "spec.gateway.env[PYTHONPATH]"),
        ({"env": [{"name": "LD_PRELOAD", "value": "/x"}]}, {}, "spec.gateway.env[LD_PRELOAD]"),
        ({"env": [{"name": "LD_PRELOAD", "value": "/x"}]}, {"gatewayVariables": ["LD_PRELOAD"]}, None),
        ({"env": [{"name": "SSL_CERT_FILE", "value": "/x"}]}, {"gatewayVariables": ["*_PROXY"]}, "spec.gateway.env[SSL_CERT_FILE]"),
    ],
)  # fmt: skip
def test_a_gateway_is_judged(gateway: Mapping[str, Any], policy: Mapping[str, Any], field: str | None) -> None:
    faults = faults_of("Endpoint", {"gateway": gateway}, Policy.model_validate(policy))
    assert [fault.field for fault in faults] == ([] if field is None else [field])
    assert all("values of the chart" in fault.remedy for fault in faults)
    assert "u:p" not in str(faults), "a proxy may have a password"


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("TrainingRun", {"priorityClassName": "system-cluster-critical"}, "spec.priorityClassName"),
        ("TrainingRun", {"tolerations": [{"operator": "Exists"}]}, "spec.tolerations[0]"),
        ("TrainingRun", {"nodeSelector": {"kubernetes.io/hostname": "x"}}, "spec.nodeSelector"),
        (
            "TrainingRun",
            {"modelVersion": {"serving": {"tolerations": [{"operator": "Exists"}]}}},
            "spec.modelVersion.serving.tolerations[0]",
        ),
        ("ModelVersion", {"serving": {"nodeSelector": {"kubernetes.io/hostname": "x"}}}, "spec.serving.nodeSelector"),
    ],
)
def test_runs_and_predictors_are_judged_alike(kind: str, spec: Mapping[str, Any], field: str) -> None:
    (fault,) = faults_of(kind, spec, OPEN)
    assert (fault.field, fault.reason) == (field, "SchedulingNotAllowed")


# --- what follows -----------------------------------------------------------------------------------------------------


def test_a_refused_version_makes_no_pod_and_says_why() -> None:
    case = build("model_version", {"resource": {"spec": {"adapter": {"uri": "file:///etc"}}}})
    decision = decided(case, OPEN)
    assert made(decision, "InferenceService", "Job") == []
    for kind in ("Ready", "PolicyKept"):
        status, reason, message = told(decision, kind)
        assert (status, reason) == ("False", "HostPathNotAllowed")
        assert "spec.adapter.uri" in message
        assert "policy.hostPaths" in message


def test_what_was_refused_goes_on_once_it_is_allowed() -> None:
    case = build("model_version", {"resource": {"spec": {"adapter": {"uri": "file:///srv/models/v1"}}}})
    refused = case.after(decided(case, OPEN))
    decision = decided(refused, NODE)
    assert told(decision, "PolicyKept")[:2] == ("True", "PolicyKept")
    assert made(decision, "InferenceService")


@pytest.mark.parametrize("kind", ["training_run", "training_schedule"])
def test_a_refused_run_or_schedule_makes_nothing_and_says_why(kind: str) -> None:
    case = build(kind, {})
    spec = case.resource.spec if kind == "training_run" else case.resource.spec.template.spec  # type: ignore[attr-defined]
    bad = spec.model_copy(update={"priority_class_name": "system-node-critical"})
    if kind == "training_schedule":
        template = case.resource.spec.template.model_copy(update={"spec": bad})  # type: ignore[attr-defined]
        bad = case.resource.spec.model_copy(update={"template": template})  # type: ignore[attr-defined]
    case = replace(case, resource=case.resource.model_copy(update={"spec": bad}))
    decision = decided(case, OPEN)
    assert made(decision, "Job", "TrainingRun") == []
    status, reason, message = told(decision, "PolicyKept")
    assert (status, reason) == ("False", "SchedulingNotAllowed")
    assert "spec.priorityClassName" in message
    assert "policy.priorityClasses" in message


def test_a_training_under_way_is_followed_to_its_end_and_no_new_attempt_is_made() -> None:
    patch = {"resource": {"spec": {"priorityClassName": "system-node-critical"}}}
    unknown = {"resource": {"status": {"result": {"steps": 400}}}}  # nobody knows what was made
    ends = [("training-with-progress", {}, True), ("failed-attempt", {}, False), ("failed-attempt", unknown, False)]
    for golden, more, goes_on in ends:
        case = build("training_run", merged(_input(golden), merged(patch, more)))
        decision = decided(case, OPEN)
        assert made(decision, "Job") == []
        kept = decision.status.condition("PolicyKept")  # type: ignore[attr-defined]
        assert (kept is None) is goes_on
        assert decision.status.failures == case.resource.status.failures  # type: ignore[attr-defined]


def test_an_endpoint_that_is_refused_keeps_the_gateway_that_it_has() -> None:
    """After an upgrade an open gateway neither goes on unnoticed nor is it taken from the trading."""
    case = build("endpoint", {"resource": {"spec": {"gateway": {"auth": {"disabled": True}}}}})
    decision = decided(case, OPEN)
    assert made(decision, "Deployment", "Service", "Role", "RoleBinding", "ServiceAccount") == []
    assert made(decision, "ConfigMap"), "the weights go on"
    assert told(decision, "Ready")[:2] == ("False", "OpenGatewayNotAllowed")
    assert told(decision, "PolicyKept")[:2] == ("False", "OpenGatewayNotAllowed")
    allowed = decided(case, Policy(allow_unauthenticated_gateways=True))
    assert made(allowed, "Deployment")
    assert allowed.status.condition("PolicyKept") is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "reason", "cause"),
    [
        ("http://169.254.169.254/v1", "HostNotAllowed", "host"),
        ("https://kubernetes.default.svc/v1", "HostNotAllowed", "host"),
        ("http://api.test/v1", "CredentialWithoutTLS", "plaintext"),
    ],
)
def test_an_api_that_is_not_allowed_is_never_asked_and_its_secret_reaches_no_pod(
    url: str, reason: str, cause: str
) -> None:
    version = {"spec": {"external": {"baseURL": url}}}
    case = build("endpoint", {"facts": {"versions": {"deepseek-api": version}, "routing": None}})
    decision = decided(case, OPEN)
    (document,) = made(decision, "ConfigMap")
    target = Routing.from_json(document["data"]["routing.json"]).arms["deepseek-api"]
    assert target.refusal is not None
    assert (target.refusal.cause, target.credential_file) == (cause, None)
    (deployment,) = made(decision, "Deployment")
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert [v for v in volumes if v["name"].startswith("arm-")] == []
    judged = build("model_version", {"resource": {"spec": {"adapter": None, "external": case.seen.versions["deepseek-api"].spec.external.to_manifest()}}})  # fmt: skip
    for kind in ("Ready", "PolicyKept"):
        status, why, message = told(decided(judged, OPEN), kind)
        assert (status, why) == ("False", reason)
        assert "spec.external.baseURL" in message
        assert "values of the chart" in message


@pytest.mark.parametrize("key", ["allowedHosts", "..data", ".."])
def test_what_is_no_key_of_a_secret_is_not_mounted_as_one(key: str) -> None:
    external = {"baseURL": "https://api.test/v1", "model": "m", "secretRef": {"name": "s", "key": key}}
    (fault,) = faults_of("ModelVersion", {"adapter": None, "external": external}, OPEN)
    assert (fault.field, fault.reason) == ("spec.external.secretRef.key", "SecretNotForHost")


def test_of_a_secret_the_key_and_its_hosts_are_mounted_alone() -> None:
    (deployment,) = made(decided(build("endpoint", {}), OPEN), "Deployment")
    (volume,) = [v for v in deployment["spec"]["template"]["spec"]["volumes"] if v["name"] == "arm-0"]
    assert volume["secret"]["items"] == [
        {"key": "api-key", "path": "api-key"}, {"key": "allowedHosts", "path": "allowedHosts"},
    ]  # fmt: skip
    assert volume["secret"]["optional"] is True, "a key that is missing is told by the gateway, not by a pod that hangs"


def spec_of(kind: str, patch: Mapping[str, Any]) -> Any:
    base = {"TrainingRun": "training_run", "ModelVersion": "model_version", "Endpoint": "endpoint"}[kind]
    return build(base, {"resource": {"spec": dict(patch)}}).resource.spec  # type: ignore[attr-defined]


def faults_of(kind: str, patch: Mapping[str, Any], policy: Policy) -> tuple[PolicyFault, ...]:
    if kind == "ModelVersion" and {"model", "external"} & patch.keys():
        patch = {"adapter": None, **patch}
    spec = spec_of(kind, patch)
    if kind == "Endpoint":
        return gateway_faults(spec.gateway, policy)
    return version_faults(spec, policy) if kind == "ModelVersion" else run_faults(spec, policy)


def _input(name: str) -> dict[str, Any]:
    import yaml
    from golden_worlds import GOLDEN

    found: dict[str, Any] = yaml.safe_load((GOLDEN / "training_run" / name / "input.yaml").read_text(encoding="utf-8"))
    return found
