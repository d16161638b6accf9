"""Facts from objects as a real API server returns them, whole, half and hardly there."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tradewind.core.hindrance import of_pod
from tradewind.core.model_version.observe import predictor_pod, service_facts
from tradewind.core.pods import is_ready, job_facts

JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "r-train-1", "namespace": "trading"},
    "spec": {"backoffLimit": 0},
}


def job(**status: Any) -> dict[str, Any]:
    return JOB | {"status": status}


def pod(name: str, created: str, state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    container = {"name": "train", "restartCount": 0, "ready": False, "image": "t:1", "imageID": "t@sha256:1"}
    return {
        "metadata": {"name": name, "creationTimestamp": created},
        "status": {"phase": "Running", "containerStatuses": [container | ({"state": state} if state else {})]} | status,
    }


def ended(code: int, message: str | None) -> dict[str, Any]:
    times = {"startedAt": "2026-03-01T11:00:00Z", "finishedAt": "2026-03-01T11:30:00Z"}
    return {"terminated": {"exitCode": code, "reason": "Error", **times} | ({"message": message} if message else {})}


def test_a_job_whose_pod_is_gone_was_at_work_until_it_failed() -> None:
    failure = {"type": "Failed", "status": "True", "lastTransitionTime": "2026-03-01T11:40:00Z"}
    facts = job_facts(job(startTime="2026-03-01T11:00:00Z", conditions=[failure]), [])
    assert (facts.started_at, facts.finished_at) == tuple(datetime(2026, 3, 1, 11, m, tzinfo=UTC) for m in (0, 40))


def test_a_pod_that_runs_has_its_own_beginning() -> None:
    since = {"running": {"startedAt": "2026-03-01T11:10:00Z"}}
    began = job_facts(job(startTime="2026-03-01T11:00:00Z"), [pod("p", "2026-03-01T11:00:00Z", since)]).started_at
    assert began == datetime(2026, 3, 1, 11, 10, tzinfo=UTC), (
        "it was pulled and placed for ten minutes, which no GPU was used for"
    )


def test_a_new_job_is_active() -> None:
    facts = job_facts(JOB, [])
    assert (facts.active, facts.succeeded, facts.failed, facts.exit_code) == (True, False, False, None)


def test_success_carries_the_result_and_its_times() -> None:
    done = job(
        conditions=[{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}],
        startTime="2026-03-01T10:59:00Z",
        completionTime="2026-03-01T11:31:00Z",
    )
    facts = job_facts(done, [pod("p", "2026-03-01T10:59:00Z", ended(0, json.dumps({"sha256": "ab", "loss": 0.5})))])
    assert facts.succeeded
    assert not facts.active
    assert facts.result == {"sha256": "ab", "loss": 0.5}
    assert facts.started_at == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert facts.finished_at == datetime(2026, 3, 1, 11, 30, tzinfo=UTC)


def test_failure_carries_exit_code_and_what_the_log_said() -> None:
    failed = job(
        conditions=[
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached"}
        ]
    )
    facts = job_facts(failed, [pod("p", "2026-03-01T10:59:00Z", ended(1, "Traceback: boom"))])
    assert (facts.failed, facts.exit_code, facts.message, facts.reason) == (
        True,
        1,
        "Traceback: boom",
        "BackoffLimitExceeded",
    )
    assert facts.result == {}


def test_a_kill_for_memory_is_told_from_a_lost_node() -> None:
    failed = job(conditions=[{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}])
    for reason, out_of_memory in (("OOMKilled", True), ("Error", False)):
        state = ended(137, None)
        state["terminated"]["reason"] = reason
        facts = job_facts(failed, [pod("p", "2026-03-01T10:59:00Z", state)])
        assert (facts.exit_code, facts.out_of_memory) == (137, out_of_memory)


def test_deadline_leaves_no_pod_but_a_reason() -> None:
    facts = job_facts(
        job(conditions=[{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}]), []
    )
    assert (facts.failed, facts.exit_code, facts.reason, facts.message) == (True, None, "DeadlineExceeded", "too long")


def test_the_newest_pod_counts() -> None:
    pods = [pod("old", "2026-03-01T10:00:00Z", ended(1, None)), pod("new", "2026-03-01T11:00:00Z", {"running": {}})]
    assert job_facts(JOB, pods).exit_code is None


def test_a_queued_job_is_suspended() -> None:
    assert job_facts(job(conditions=[{"type": "Suspended", "status": "True"}]), []).suspended


def test_a_pod_without_a_place_says_why() -> None:
    waiting = pod(
        "p",
        "2026-03-01T11:00:00Z",
        conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: no GPU"}],
    )
    del waiting["status"]["containerStatuses"]
    held = of_pod(waiting)
    assert held is not None
    assert (held.reason, held.message, held.pod) == ("FailedScheduling", "0/1 nodes: no GPU", "p")


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_an_image_that_cannot_be_pulled_says_by_which_secrets_it_was_asked_for(reason: str) -> None:
    """The kubelet passes over a Secret that is missing, and its message, which may be longer than what is said, does not name it."""
    held = pod("p", "", {"waiting": {"reason": reason, "message": "failed to resolve " * 60}})
    held["metadata"]["namespace"] = "trading"
    assert "; no pull Secret is named: a private registry needs one in the chart's" in str(of_pod(held))
    held["spec"] = {"imagePullSecrets": [{"name": "acr"}, {"name": "mirror"}]}
    told = "pull Secrets acr, mirror: each must exist in namespace trading and be one for this registry"
    assert str(of_pod(held)).endswith(f"; {told}")


@pytest.mark.parametrize("text", ["", "not json", "[1, 2]", "42"])
def test_a_message_that_is_no_object_is_no_result(text: str) -> None:
    assert job_facts(JOB, [pod("p", "", ended(1, text))]).result == {}


def test_nan_never_reaches_a_status() -> None:
    assert job_facts(JOB, [pod("p", "", ended(0, '{"loss": NaN, "best": Infinity}'))]).result == {
        "loss": None,
        "best": None,
    }


def test_inference_service_counts_the_pods_behind_it() -> None:
    service = {
        "metadata": {"name": "v1", "annotations": {"tradewind.dev/template-hash": "abc"}},
        "status": {"conditions": [{"type": "PredictorReady", "status": "True"}, {"type": "Ready", "status": "True"}]},
    }
    facts = service_facts(service, {"status": {"readyReplicas": 2}})
    assert (facts.ready, facts.ready_replicas, facts.template_hash) == (True, 2, "abc")
    assert service_facts(service, None).ready_replicas == 0
    assert service_facts({"metadata": {"name": "v1"}}, {"status": {}}).ready is False


def test_inference_service_tells_what_it_is_made_of_and_whether_it_is_to_stop() -> None:
    containers = [{"name": "kserve-container", "image": "vllm:1"}]
    predictor = {"initContainers": [{"name": "verify", "image": "predictor:1"}], "containers": containers}
    service = {
        "metadata": {"name": "v1", "annotations": {"serving.kserve.io/stop": "true"}},
        "spec": {"predictor": predictor},
    }
    facts = service_facts(service, None)
    assert (facts.told_to_stop, facts.deployed) == (True, False)
    assert facts.images == {"verify": "predictor:1", "kserve-container": "vllm:1"}
    facts = service_facts({"metadata": {"name": "v1"}}, {"status": {}})
    assert (facts.told_to_stop, facts.deployed, facts.images) == (False, True, {})


def test_predictor_pod_that_ended_before_keeps_its_verdict() -> None:
    raw = pod("p", "", {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}})
    raw["status"]["containerStatuses"][0] |= {
        "restartCount": 4,
        "lastState": {
            "terminated": {
                "exitCode": 65,
                "message": json.dumps({"reason": "ArtifactMismatch", "message": "other hash"}),
            }
        },
    }
    found = predictor_pod(raw)
    assert (found.exit_code, found.restarts, found.result["message"]) == (65, 4, "other hash")
    assert str(of_pod(raw)) == "pod p: CrashLoopBackOff: back-off 10s; read why it ended: kubectl logs --previous"


def test_predictor_pod_that_says_nothing_yet() -> None:
    found = predictor_pod({"metadata": {"name": "p"}, "status": {"phase": "Pending"}})
    assert (found.ready, found.exit_code, found.result) == (False, None, {})


def test_a_pod_that_is_going_takes_no_traffic() -> None:
    ready = {"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert is_ready(ready)
    assert not is_ready({**ready, "metadata": {"name": "p", "deletionTimestamp": "2026-03-01T11:00:00Z"}})
    assert not is_ready({"metadata": {"name": "p"}})


INDEX = "batch.kubernetes.io/job-completion-index"
DIED = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]


def node(
    index: int, created: str, code: int | None, message: str | None = None, reason: str = "Error", phase: str = "Failed"
):
    state = None if code is None else ended(code, message)
    if state is not None:
        state["terminated"]["reason"] = reason
    made = pod(f"r-train-1-{index}", created, state, phase=phase if state else "Running")
    made["metadata"]["annotations"] = {INDEX: str(index)}
    return made


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ((75, 64), 64),  # the first lost the one that was configured wrongly
        ((1, 75), 1),
        ((75, 75), 75),
        ((75, None), 75),
        ((0, 0), 0),
        ((None, None), None),
    ],
)
def test_of_pods_that_ran_together_the_one_tells_that_took_the_others_along(codes, told) -> None:
    pods = [node(index, "2026-03-01T11:00:00Z", code) for index, code in enumerate(codes)]
    status: dict[str, Any] = {} if codes[0] in (0, None) else {"conditions": DIED}
    assert job_facts(job(**status), pods).exit_code == told
    assert job_facts(job(**status), pods[::-1]).exit_code == told


def test_one_that_was_killed_for_memory_tells_so_beside_those_that_lost_it() -> None:
    pods = [node(0, "", 75, '{"reason": "NodeLost"}'), node(1, "", 137, reason="OOMKilled")]
    facts = job_facts(job(conditions=DIED), pods)
    assert facts.out_of_memory
    assert facts.exit_code == 137


def test_the_first_of_them_has_the_result_and_the_newest_of_each_counts() -> None:
    done = job(conditions=[{"type": "Complete", "status": "True"}])
    pods = [node(1, "2026-03-01T11:00:00Z", 0, '{"rank": 1}'), node(0, "2026-03-01T11:00:00Z", 0, '{"sha256": "ab"}')]
    preempted = [node(0, "2026-03-01T10:00:00Z", 75), node(1, "2026-03-01T10:00:00Z", 75)]
    facts = job_facts(done, [*pods, *preempted])
    assert (facts.exit_code, facts.result) == (0, {"sha256": "ab"})


def test_what_failed_by_a_pod_that_is_gone_was_killed() -> None:
    """The second had done its part when the first, which publishes, was deleted."""
    assert job_facts(job(conditions=DIED), [node(1, "", 0, '{"rank": 1}')]).exit_code is None


def test_pods_that_run_together_run_once_all_of_them_do() -> None:
    both = JOB | {"spec": {"parallelism": 2}}
    assert not job_facts(both, [node(0, "", None)]).running
    assert job_facts(both, [node(0, "", None), node(1, "", None)]).running
    assert job_facts(both, [node(0, "", None), node(1, "", 0, phase="Succeeded")]).running
