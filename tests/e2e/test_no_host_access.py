"""Authors get no folder of a node and no place that the installation does not list: refused by a condition, before any pod."""

import sys
from typing import Any

import pytest
from space import Space

from manifests import endpoint, external, resource
from workshop.client import condition

pytestmark = pytest.mark.e2e

ADAPTER = {"uri": "pvc://models/v1", "sha256": "a" * 64, "baseModel": {"uri": "pvc://models/base"}}
RUN = {
    "baseModel": {"uri": "pvc://models/base"},
    "dataset": {"endpoint": "trader"},
    "output": {"uri": "pvc://models/runs"},
}
EVERY_TAINT = {"tolerations": [{"operator": "Exists"}]}
MASTER = {"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}}
CRITICAL = {"priorityClassName": "system-node-critical"}


def version(**spec: Any) -> dict[str, Any]:
    return {"kind": "ModelVersion", "spec": {"adapter": ADAPTER} | spec}


def run(**spec: Any) -> dict[str, Any]:
    return {"kind": "TrainingRun", "spec": RUN | spec}


def schedule(**spec: Any) -> dict[str, Any]:
    return {"kind": "TrainingSchedule", "spec": {"schedule": "* * * * *", "template": {"spec": RUN | spec}}}


@pytest.mark.parametrize(
    ("name", "made", "field", "reason"),
    [
        ("etc", version(adapter=ADAPTER | {"uri": "file:///etc"}), "spec.adapter.uri", "HostPathNotAllowed"),
        (
            "base",
            version(adapter=ADAPTER | {"baseModel": {"uri": "file:///root"}}),
            "spec.adapter.baseModel.uri",
            "HostPathNotAllowed",
        ),
        ("taints", version(serving=EVERY_TAINT), "spec.serving.tolerations[0]", "SchedulingNotAllowed"),
        ("master", version(serving=MASTER), "spec.serving.nodeSelector", "SchedulingNotAllowed"),
        ("writes", run(output={"uri": "file:///var/lib/kubelet"}), "spec.output.uri", "HostPathNotAllowed"),
        ("reads", run(dataset={"uri": "file:///etc"}), "spec.dataset.uri", "HostPathNotAllowed"),
        ("critical", run(**CRITICAL), "spec.priorityClassName", "SchedulingNotAllowed"),
        ("tolerates", run(**EVERY_TAINT), "spec.tolerations[0]", "SchedulingNotAllowed"),
        ("weekly", schedule(**CRITICAL), "spec.template.spec.priorityClassName", "SchedulingNotAllowed"),
        ("nightly", schedule(output={"uri": "file:///srv"}), "spec.template.spec.output.uri", "HostPathNotAllowed"),
    ],
)
def test_what_is_not_listed_is_refused_before_any_pod(
    space: Space, name: str, made: dict[str, Any], field: str, reason: str
) -> None:
    kind = made["kind"]
    space.apply(resource(kind, name, made["spec"]))
    found = space.wait_condition(kind, name, "PolicyKept", "False", reason=reason, seconds=60)
    message = condition(found, "PolicyKept")["message"]
    assert message.startswith(f"{field}: ")
    assert "values of the chart" in message
    assert space.select("Job", f"tradewind.dev/owner-name={name}") == []
    assert space.get("InferenceService", name) is None
    assert space.select("TrainingRun", f"tradewind.dev/training-schedule={name}") == []
    command = ("explain", f"{kind.lower()}/{name}", "--namespace", space.name)
    explained = space.cluster.attempt(sys.executable, "-m", "tradewind.main", *command)
    assert field in explained.stdout


@pytest.mark.parametrize(
    ("name", "gateway", "field"),
    [
        ("critical", CRITICAL, "spec.gateway.priorityClassName"),
        ("taints", EVERY_TAINT, "spec.gateway.tolerations[0]"),
        ("master", MASTER, "spec.gateway.nodeSelector"),
        ("loads", {"env": [{"name": "PYTHONPATH", "value": "/tmp"}]}, "spec.gateway.env[PYTHONPATH]"),
    ],
)
def test_a_gateway_that_is_not_allowed_is_not_made(
    space: Space, name: str, gateway: dict[str, Any], field: str
) -> None:
    space.apply(external("api", "follow"), endpoint(f"on-{name}", "api", gateway=gateway))
    found = space.wait_condition("Endpoint", f"on-{name}", "PolicyKept", "False", seconds=60)
    assert condition(found, "PolicyKept")["message"].startswith(f"{field}: ")
    assert condition(found, "Ready")["status"] == "False"
    assert space.get("Deployment", f"on-{name}-gateway") is None


def test_no_pod_of_the_namespace_has_a_folder_of_the_node(space: Space) -> None:
    for pod in space.select("Pod"):
        assert [v["name"] for v in pod["spec"]["volumes"] if "hostPath" in v] == []
