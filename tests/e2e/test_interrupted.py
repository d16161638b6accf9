"""A training that is killed, drained, suspended, starved and slowed on the real cluster ends with the very weights of one that was left
alone, or with the right reason.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from installation import Installation
from runs import Runs
from space import Space
from volumes import claim, make_base, owned

from cluster import containers
from cluster.layout import Layout
from tiny_base import make_dataset
from workshop import charts
from workshop.client import condition
from workshop.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SEED = int(os.environ.get("INTERRUPTED_SEED") or time.time())
TIGHT = "300Mi"


@pytest.fixture(scope="module")
def runs(space: Space, images: dict[str, str]) -> Iterator[Runs]:
    """Base and dataset in a claim, and a run that is left alone."""
    with claim(space, "models") as folder:
        make_base(space, images)
        found = Runs(space, folder, make_dataset(folder / "data", train=600, evaluation=40))
        owned(folder)
        found.begin("calm")
        yield found


@pytest.fixture(scope="module")
def doomed(runs: Runs) -> Iterator[Runs]:
    """Runs without room, too fast and too large; they need nobody while others are disturbed."""
    with claim(runs.space, "small", kilobytes=256):
        runs.begin("full", output="small")
        runs.begin("fast", epochs="1", warmupSteps=0, extra={"threads": "1", "weight_decay": "1e90"})
        runs.begin("large", memory=TIGHT, retry={"maxFailures": 1})
        yield runs


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_at_random_moments_change_no_bit(runs: Runs, kills: int) -> None:
    """One of them finds its newest checkpoint damaged, and goes back to the one before."""
    name, alone = f"killed-{kills}", "calm"
    longer: dict[str, Any] = {}
    if kills > 3:
        alone, longer = "calm-long", {"epochs": "12"}
        runs.begin(alone, **longer)
        runs.ended(alone, seconds=900)
    draw = random.Random(SEED)
    runs.begin(name, **longer)
    step = 0
    for kill in range(kills):
        step = runs.further(name, step)
        time.sleep(draw.uniform(0, 2))
        runs.signal(name, signal.SIGKILL)
        step = runs.step(name)
        if kill == 1:
            damaged = runs.models / "runs" / name / "checkpoints" / f"step-{step}" / "optimizer.pt"
            damaged.write_bytes(damaged.read_bytes()[:-7])
            step = 0
        wait_for(
            f"kill {kill + 1} to be counted",
            lambda: runs.status(name).get("interruptions", 0),
            kill.__lt__,
            seconds=60,
        )
    assert runs.weights(name) == runs.weights(alone), f"INTERRUPTED_SEED={SEED}"
    status = runs.status(name)
    assert (status["attempts"], status["interruptions"], status.get("failures") or 0) == (kills + 1, kills, 0)


def test_a_drain_a_pause_and_an_upgrade_change_no_bit(runs: Runs, installation: Installation) -> None:
    """The pod is evicted and finds no node for a while; the run is suspended; operator and trainer are replaced; it goes on."""
    space = runs.space
    runs.begin("moved")
    step = runs.further("moved", 0)
    node = runs.pod("moved")["spec"]["nodeName"]
    mine = ("--pod-selector=tradewind.dev/owner-name=moved", "--delete-emptydir-data", "--force", "--ignore-daemonsets")
    try:
        space.cluster.kubectl("drain", node, *mine, "--timeout=60s")
        space.wait_condition("TrainingRun", "moved", "Training", "False", reason="FailedScheduling", seconds=30)
    finally:
        space.cluster.kubectl("uncordon", node)
    assert runs.status("moved")["interruptions"] == 1
    saved = runs.step("moved")
    assert saved >= step, "it saved before it went"

    runs.further("moved", saved)
    space.kubectl("patch", "trainingrun", "moved", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    space.wait_phase("TrainingRun", "moved", "Suspended", seconds=30)
    wait_for(
        "its pods to go",
        lambda: space.select("Pod", "tradewind.dev/owner-name=moved"),
        lambda pods: not pods,
        seconds=60,
    )

    layout, trainer = Layout.default(), installation.images["trainer"]
    newer = trainer.rsplit(":", 1)[0] + ":of-an-upgrade"
    containers.ctr(layout, "images", "tag", "--force", trainer, newer)
    try:
        installation.upgrade(image=charts.image_values({**installation.images, "trainer": newer}))
        space.kubectl("patch", "trainingrun", "moved", "--type=merge", "-p", '{"spec":{"suspend":false}}')
        pod = runs.pod("moved")
        assert pod["spec"]["containers"][0]["image"] == newer
        assert runs.weights("moved") == runs.weights("calm")
    finally:
        installation.upgrade()
        containers.ctr(layout, "images", "delete", newer)
    assert runs.status("moved").get("failures") or 0 == 0


def test_a_stall_is_said_with_its_remedy_and_taken_back(runs: Runs, doomed: Runs) -> None:
    runs.begin("stalled", stall="30s")
    runs.further("stalled", 0)
    runs.space.wait_condition("TrainingRun", "stalled", "Stalled", "False", seconds=60)
    runs.signal("stalled", signal.SIGSTOP)
    run = runs.space.wait_condition("TrainingRun", "stalled", "Stalled", "True", seconds=90)
    message = condition(run, "Stalled")["message"]
    assert "logs job/stalled-train-1" in message
    assert "spec.stallTimeout" in message
    runs.signal("stalled", signal.SIGCONT)
    runs.space.wait_condition("TrainingRun", "stalled", "Stalled", "False", seconds=60)
    assert runs.weights("stalled") == runs.weights("calm")


def test_a_full_disk_ends_the_run_with_what_to_do(doomed: Runs) -> None:
    run = doomed.ended("full")
    ended = condition(run, "Succeeded")
    assert (ended["status"], ended["reason"]) == ("False", "InvalidConfiguration")
    assert "No space left" in ended["message"] or "cannot be written" in ended["message"]
    assert "mount a writable volume with room" in ended["message"]
    assert run["status"]["attempts"] == 1


def test_a_divergence_ends_the_run_with_the_rate_to_try(doomed: Runs) -> None:
    run = doomed.ended("fast")
    ended = condition(run, "Succeeded")
    assert (ended["status"], ended["reason"]) == ("False", "Diverged")
    assert "lower hyperparameters.learningRate below" in ended["message"]
    assert doomed.space.get("ModelVersion", "fast") is None


def test_a_kill_for_memory_ends_the_run_with_what_to_raise(doomed: Runs) -> None:
    """No plan is small enough: there is no room for torch itself."""
    run = doomed.ended("large")
    ended = condition(run, "Succeeded")
    assert (ended["status"], ended["reason"]) == ("False", "TrainingFailed")
    assert "killed for memory" in ended["message"]
    assert "raise spec.resources.limits.memory" in ended["message"]
    assert run["status"]["attempts"] == 2
