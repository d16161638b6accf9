"""The chain down to pods, and its cause, on made-up objects."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tradewind.api.common import API_VERSION
from tradewind.core.explain import Line, Node, Ref, cause, explain, rests_on

NOW = datetime(2026, 1, 3, tzinfo=UTC)


def ours(kind: str, name: str, spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec or {}, "status": status}


def fact(kind: str, status: str, reason: str = "Given", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def node(body: dict[str, Any] | None, *below: Node, ref: Ref | None = None) -> Node:
    if ref is None:
        assert body is not None
        ref = Ref(body.get("apiVersion", "v1"), body["kind"], body["metadata"]["name"])
    return Node(ref, body, rests_on=below)


def pod(name: str, **status: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": name, "uid": f"uid-{name}"}, "status": status}


def because(top: Node, *events: dict[str, Any]) -> Line | None:
    return cause(explain(top, events, NOW))


READY = ours("Endpoint", "trader", conditions=[fact("Ready", "True", "Ready")])
EXPERIMENT = {"endpointRef": {"name": "trader"}, "candidate": "v2"}


def test_what_an_experiment_rests_on() -> None:
    body = ours("ABExperiment", "ab", EXPERIMENT, baselineRef={"name": "api"})
    assert [(ref.kind, ref.name, ref.named_by) for ref in rests_on(body)] == [
        ("Endpoint", "trader", "spec.endpointRef.name"),
        ("ModelVersion", "api", "spec.baseline"),
        ("ModelVersion", "v2", "spec.candidate"),
    ]
    endpoint = ours("Endpoint", "trader", {"fallback": "api"}, championRef={"name": "api"})
    assert [ref.kind for ref in rests_on(endpoint)][2:] == ["ConfigMap", "Deployment", "Pod"]
    assert rests_on(ours("ModelVersion", "api", {"external": {"model": "m"}})) == ()
    run = {
        "baseModel": {"uri": "pvc://models/base"},
        "output": {"uri": "pvc://models"},
        "dataset": {"endpoint": "trader"},
    }
    refs = rests_on(ours("TrainingRun", "r", run, attempts=2))
    assert [ref.name for ref in refs if ref.kind == "PersistentVolumeClaim"] == ["models", "models"]
    assert [ref.name for ref in refs if ref.kind == "Job"] == ["r-train-2"]
    assert rests_on(ours("TrainingRun", "r", run, completionTime="2026-01-01T00:00:00Z")) == ()


def test_an_endpoint_that_others_answer_for_rests_on_their_pods() -> None:
    gateway = {"hosting": {"host": "desk", "servedBy": "desk", "port": 20001}}
    shared = ours("Endpoint", "eth", {"fallback": "api", "gateway": {"sharedWith": "desk"}}, gateway=gateway)
    rests = {(ref.kind, ref.name, ref.selector, ref.named_by) for ref in rests_on(shared)}
    assert ("Endpoint", "desk", "", "spec.gateway.sharedWith") in rests
    assert ("Deployment", "desk-gateway", "", "") in rests
    assert any(kind == "Pod" and selector.endswith("owner-name=desk") for kind, _, selector, _ in rests)
    assert ("ConfigMap", "eth-routing", "", "") in rests
    assert ("Deployment", "eth-gateway", "", "") not in rests


def test_a_name_that_is_taken_is_the_cause_of_what_is_missing_below() -> None:
    told = "Service trader-gateway exists and belongs to Deployment shop"
    body = ours("Endpoint", "trader", conditions=[fact("Ready", "False", "ForeignObject") | {"message": told}])
    missing = node(None, ref=Ref("apps/v1", "Deployment", "trader-gateway"))
    found = because(node(body, missing))
    assert found is not None
    assert (found.subject, found.reason, found.message) == ("Endpoint/trader", "ForeignObject", told)


def test_an_object_that_nobody_has_looked_at_may_lie_where_no_operator_works() -> None:
    found = because(node(ours("Endpoint", "trader")))
    assert found is not None
    assert "does it watch this namespace" in found.message
    assert "watchNamespaces" in found.remedy
    assert "tradewind.dev/enabled=true" in found.remedy


def test_the_cause_is_the_deepest_of_what_is_wrong() -> None:
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    version = ours("ModelVersion", "v2", conditions=[fact("Ready", "False", "NotServing")])
    experiment = ours("ABExperiment", "ab", EXPERIMENT, conditions=[fact("Admissible", "False", "VersionNotReady")])
    below = node(version, node(pod("v2-0", phase="Pending", containerStatuses=[waiting])))
    found = because(node(experiment, node(READY), below))
    assert found is not None
    assert (found.subject, found.reason, found.message) == ("Pod/v2-0", "ImagePullBackOff", "no such image")
    assert "the nodes may pull it (imagePullSecrets); no pull Secret is named" in found.remedy


def test_all_is_well() -> None:
    experiment = ours(
        "ABExperiment", "ab", EXPERIMENT,
        conditions=[fact("Succeeded", "Unknown", "Undecided"), fact("Running", "True"), fact("WeightsApplied", "True")],
    )  # fmt: skip
    lines = explain(node(experiment, node(READY, node(pod("g-0", conditions=[fact("Ready", "True")])))), (), NOW)
    assert cause(lines) is None
    assert [(line.depth, line.subject, line.state) for line in lines] == [
        (0, "ABExperiment/ab", "Succeeded=Unknown"),
        (1, "Endpoint/trader", "Ready=True"),
        (2, "Pod/g-0", "ready"),
    ]


@pytest.mark.parametrize(
    ("condition", "wrong"),
    [
        (fact("EvidenceKnown", "Unknown", "DatabaseUnreachable"), True),
        (fact("WeightsApplied", "False", "Applying"), True),
        (fact("BaselineChanged", "True"), True),
        (fact("BaselineChanged", "False"), False),
        (fact("Reconciling", "False", "DecisionFailed"), True),
        (fact("ExperimentActive", "False", "NoExperiment"), False),
        (fact("CostBenefit", "False", "BelowBreakEven"), False),
        (fact("Running", "False", "Paused"), True),
        (fact("SomethingNewer", "True"), False),
    ],
)
def test_conditions(condition: dict[str, str], wrong: bool) -> None:
    body = ours("ABExperiment", "ab", EXPERIMENT, conditions=[fact("Succeeded", "Unknown"), condition])
    assert (because(node(body)) is not None) is wrong
    over = ours(
        "ABExperiment",
        "ab",
        EXPERIMENT,
        conditions=[fact("Succeeded", "False", "Worse"), condition],
        completionTime="x",
    )
    assert because(node(over)) is None


def test_a_run_that_failed_is_wrong_and_says_why() -> None:
    body = ours("TrainingRun", "r", {}, conditions=[fact("Succeeded", "False", "Skipped", "few")], completionTime="x")
    found = because(node(body))
    assert found is not None
    assert (found.reason, found.message) == ("Skipped", "few")


def test_what_is_missing_forbidden_or_not_looked_at() -> None:
    missing = node(None, ref=Ref(API_VERSION, "ModelVersion", "v2", named_by="spec.candidate"))
    found = because(node(ours("ABExperiment", "ab", EXPERIMENT, conditions=[fact("Admissible", "False")]), missing))
    assert found is not None
    assert (found.subject, found.remedy) == ("ModelVersion/v2", "create it, or correct spec.candidate")
    refused = Node(Ref("v1", "Pod", selector="a=b"), refused="may not list Pod")
    lines = explain(node(READY, refused), (), NOW)
    assert (lines[1].reason, cause(lines)) == ("Forbidden", None)
    new = because(node(ours("Endpoint", "trader")))
    assert new is not None
    assert "does it run" in new.message
    assert because(node(None, ref=Ref("batch/v1", "Job", "r-snapshot", optional=True))) is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}
                ]
            },
            "FailedScheduling",
        ),
        ({"containerStatuses": [{"lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]}, "OOMKilled"),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "CreateContainerConfigError"}}}]},
            "CreateContainerConfigError",
        ),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Error", "exitCode": 66}}}]}, "Error"),
        (
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
            "FailedMount",
        ),
        ({"phase": "Running"}, "FailedMount"),
    ],
)
def test_what_a_pod_waits_for(status: dict[str, Any], reason: str) -> None:
    event = {"type": "Warning", "reason": "FailedMount", "message": "no volume", "involvedObject": {"uid": "uid-p"}}
    other = {**event, "reason": "Other", "involvedObject": {"uid": "uid-q"}}
    found = because(node(pod("p", **status)), event, other)
    assert found is not None
    assert found.reason == reason


def test_a_weight_that_expired_and_a_document_that_cannot_be_read() -> None:
    def routing(text: str) -> Node:
        return node({"kind": "ConfigMap", "metadata": {"name": "trader-routing"}, "data": {"routing.json": text}})

    document = {
        "generation": 3,
        "expiresAt": "2026-01-02T00:00:00Z",
        "experiment": {"mode": "Live", "candidateWeight": "0.1"},
    }
    expired = because(routing(json.dumps(document)))
    assert expired is not None
    assert expired.reason == "Expired"
    assert because(routing(json.dumps(document | {"expiresAt": "2026-01-04T00:00:00Z"}))) is None
    assert because(routing(json.dumps(document | {"experiment": {"mode": "Replay"}}))) is None
    broken = because(routing("{"))
    assert broken is not None
    assert broken.state == "unreadable"


def test_volumes_jobs_and_deployments() -> None:
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "status": {"phase": "Pending"}}
    job = {
        "kind": "Job",
        "metadata": {"name": "j"},
        "status": {"conditions": [fact("Failed", "True", "BackoffLimitExceeded")]},
    }
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": 2},
        "status": {"readyReplicas": 1},
    }
    for body in (claim, job, deployment):
        assert because(node(body)) is not None
    claim["status"], job["status"] = {"phase": "Bound"}, {"active": 1}
    deployment["status"] = {"readyReplicas": 2}
    assert [because(node(body)) for body in (claim, job, deployment)] == [None, None, None]
