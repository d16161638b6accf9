"""Runs in a queue of the real Kueue: one waits, one is preempted and ends with the very weights of a run that was left alone."""

from collections.abc import Iterator

import pytest
from runs import Runs
from space import Space
from volumes import claim, make_base, owned

from cluster.layout import Layout
from tiny_base import make_dataset
from workshop import kueue
from workshop.client import Json, condition
from workshop.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

QUEUE = "one-at-a-time"
LOW, HIGH = "tradewind-e2e-low", "tradewind-e2e-high"
LONG = {"epochs": "6", "saveEverySteps": 100_000}
"""Only a stop saves."""


@pytest.fixture(scope="module")
def runs(space: Space, images: dict[str, str]) -> Iterator[Runs]:
    """A queue with room for one run, and a run that knows no queue."""
    cluster = space.cluster
    if not Layout.default().volumes.is_dir():
        pytest.skip("Kueue is installed into the local cluster alone (CLUSTER=current)")
    with claim(space, "models") as folder, kueue.installed(cluster):
        make_base(space, images)
        found = Runs(space, folder, make_dataset(folder / "data", train=600, evaluation=40))
        owned(folder)
        cluster.apply(*classes(), *queues(space.name), patience_seconds=60)
        found.begin("calm", **LONG)
        yield found
        space.clear()
        for name in (LOW, HIGH):
            cluster.kubectl("delete", "priorityclass", name, "--ignore-not-found", check=False)


def classes() -> list[Json]:
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "preemptionPolicy": "Never"}
    return [{**kind, "metadata": {"name": name}, "value": value} for name, value in ((LOW, -1), (HIGH, 1000))]


def queues(namespace: str) -> list[Json]:
    """The requests of a run are 50m of a processor and 256Mi."""
    version = "kueue.x-k8s.io/v1beta2"
    quota = [{"name": "cpu", "nominalQuota": "70m"}, {"name": "memory", "nominalQuota": "1Gi"}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": QUEUE, "resources": quota}]}
    spec = {
        "namespaceSelector": {},
        "resourceGroups": [group],
        "preemption": {"withinClusterQueue": "LowerPriority"},
    }
    local = {"name": QUEUE, "namespace": namespace}
    return [
        {"apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": QUEUE}, "spec": {}},
        {"apiVersion": version, "kind": "ClusterQueue", "metadata": {"name": QUEUE}, "spec": spec},
        {"apiVersion": version, "kind": "LocalQueue", "metadata": local, "spec": {"clusterQueue": QUEUE}},
    ]


def test_one_waits_and_one_is_preempted_and_no_bit_changes(runs: Runs) -> None:
    space = runs.space

    def queued(name: str, priority: str, **settings: object) -> None:
        runs.begin(name, more={"queueName": QUEUE, "priorityClassName": priority}, **(LONG | settings))

    queued("first", LOW)
    space.wait_condition("TrainingRun", "first", "Admitted", "True", seconds=60)
    queued("second", LOW, epochs="0.5")
    space.wait_condition("TrainingRun", "second", "Admitted", "False", reason="Queued", seconds=60)
    told = wait_for(
        "Kueue's words",
        lambda: condition(space.must_get("TrainingRun", "second"), "Admitted")["message"],
        lambda message: ":" in message,
        seconds=90,
    )
    assert told.startswith(f"{QUEUE}: ")
    assert "insufficient unused quota" in told
    assert runs.status("second")["phase"] == "Admission"

    # Its log tells at once what a report tells within ten seconds, in which an idle machine is done with it.
    wait_for(
        "the first to train",
        lambda: space.kubectl("logs", "job/first-train-1", "--tail=1", check=False),
        lambda line: " step " in line,
        seconds=120,
    )
    assert runs.step("first") == 0, "it saves only when it is stopped"
    queued("urgent", HIGH, epochs="0.5")
    preempted = space.wait_condition("TrainingRun", "first", "Admitted", "False", reason="Preempted", seconds=90)
    assert "Preempted to accommodate a workload" in condition(preempted, "Admitted")["message"]
    saved = wait_for("the first to have saved", lambda: runs.step("first"), bool, seconds=60)
    job = space.must_get("Job", "first-train-1")
    assert job["spec"]["suspend"], "nobody but Kueue lets it go on"
    assert [entry["manager"] for entry in job["metadata"]["managedFields"] if _owns_suspend(entry)] != ["tradewind"]

    assert runs.ended("urgent")["status"]["phase"] == "Succeeded"
    assert runs.weights("first") == runs.weights("calm")
    status = runs.status("first")
    assert (status["attempts"], status.get("interruptions") or 0, status.get("failures") or 0) == (1, 0, 0)
    assert saved < status["result"]["steps"]
    assert runs.ended("second")["status"]["phase"] == "Succeeded"


def _owns_suspend(entry: Json) -> bool:
    return "f:suspend" in entry.get("fieldsV1", {}).get("f:spec", {})
