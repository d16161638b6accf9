"""Two pods that train together on the real cluster: one is deleted, then one is killed, and the run ends with the very weights of one that
was left alone.
"""

import signal
from collections.abc import Iterator

import pytest
from runs import Runs
from space import Space
from volumes import claim, make_base, owned

from tiny_base import make_dataset
from workshop.client import condition
from workshop.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TWO = {"numNodes": 2}


@pytest.fixture(scope="module")
def runs(space: Space, images: dict[str, str]) -> Iterator[Runs]:
    """Base and dataset in a claim, and a run of two pods that is left alone."""
    with claim(space, "models") as folder:
        make_base(space, images)
        found = Runs(space, folder, make_dataset(folder / "data", train=600, evaluation=40))
        owned(folder)
        found.begin("calm", more=TWO)
        yield found


def test_two_pods_train_and_the_loss_of_one_costs_no_bit(runs: Runs) -> None:
    space = runs.space
    runs.begin("lost", more=TWO)
    first = runs.further("lost", 0)
    gone = runs.pod("lost", 1)["metadata"]["name"]
    space.kubectl("delete", "pod", gone, "--wait=false")
    wait_for("the loss to be counted", lambda: runs.status("lost").get("interruptions", 0), (1).__eq__, seconds=120)
    # Of the disk: a Job that has failed deletes its pods, and what they say of their end may go before it is read.
    saved = runs.step("lost")
    assert saved >= first, "both agreed to save before it went"

    runs.further("lost", saved)
    runs.signal("lost", signal.SIGKILL, 1)
    wait_for("the kill to be counted", lambda: runs.status("lost").get("interruptions", 0), (2).__eq__, seconds=120)

    assert runs.weights("lost") == runs.weights("calm")
    status = runs.status("lost")
    assert (status["attempts"], status["interruptions"], status.get("failures") or 0) == (3, 2, 0)
    run = space.must_get("TrainingRun", "calm")
    assert "2 nodes, each with its part of every step" in run["status"]["plan"]["reason"]
    assert run["status"]["progress"]["percent"] == 100
    assert condition(run, "Succeeded")["status"] == "True"


def test_a_pod_without_a_place_is_said_although_the_other_runs(runs: Runs) -> None:
    """The two ask for more than the node has, and one of them for less."""
    cpu = runs.space.cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.allocatable.cpu}").strip()
    half = {"requests": {"cpu": f"{int(float(cpu) * 600)}m"}, "limits": {"memory": "3Gi"}}
    runs.begin("cramped", more=TWO | {"resources": half})
    run = runs.space.wait_condition(
        "TrainingRun", "cramped", "Training", "False", reason="FailedScheduling", seconds=120
    )
    assert "cramped-train-1-" in condition(run, "Training")["message"]
    runs.pod("cramped")
