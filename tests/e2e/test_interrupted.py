"""A training that is killed, drained, suspended, starved and slowed on the real cluster ends with the very weights of one that was left
alone, or with the right reason.
"""

import hashlib
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from installation import Installation
from space import Space
from volumes import claim, make_base, owned

from cluster import containers
from cluster.layout import Layout
from manifests import resource
from tiny_base import make_dataset
from workshop import charts
from workshop.client import Json, condition
from workshop.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SEED = int(os.environ.get("INTERRUPTED_SEED") or time.time())
ENDED = ("Succeeded", "Failed", "Skipped")
ROOMY, TIGHT = "3Gi", "300Mi"


@dataclass(frozen=True)
class Runs:
    """The runs of a namespace, and their folders on this machine."""

    space: Space
    models: Path
    dataset: str

    def begin(
        self,
        name: str,
        *,
        output: str = "models",
        memory: str = ROOMY,
        stall: str = "10m",
        retry: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> None:
        hyperparameters = {
            "epochs": "2", "learningRate": "0.001", "batchSize": 4, "gradientAccumulation": 1, "warmupSteps": 2, "maxLength": 1024,
            "evalEverySteps": 40, "saveEverySteps": 20, "extra": {"threads": "1"},
        }  # fmt: skip
        spec = {
            "baseModel": {"uri": "pvc://models/base", "revision": "e2e"},
            "dataset": {"uri": "pvc://models/data", "sha256": self.dataset},
            "method": "lora",
            "lora": {"rank": 4, "alpha": 8, "dropout": "0.1", "targetModules": ["all-linear"]},
            "hyperparameters": hyperparameters | settings,
            "output": {"uri": f"pvc://{output}/runs"},
            "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": memory}},
            "stallTimeout": stall,
            "retry": retry or {},
        }
        self.space.apply(resource("TrainingRun", name, spec))

    def status(self, name: str) -> Json:
        found: Json = self.space.must_get("TrainingRun", name).get("status") or {}
        return found

    def ended(self, name: str, seconds: float = 300) -> Json:
        """The run at its end; what it registered goes at once, as nobody is to serve it."""
        run = self.space.wait_phase("TrainingRun", name, *ENDED, seconds=seconds)
        self.space.kubectl("delete", "modelversion", name, "--ignore-not-found", "--wait=false")
        return run

    def weights(self, name: str) -> str:
        """Hash of the weights that it published."""
        run = self.ended(name)
        assert run["status"]["phase"] == "Succeeded", condition(run, "Succeeded")
        return hashlib.sha256(
            (self.models / "runs" / name / "adapter" / "adapter_model.safetensors").read_bytes()
        ).hexdigest()

    def step(self, name: str) -> int:
        """Of the newest checkpoint on the disk."""
        folder = self.models / "runs" / name / "checkpoints"
        steps = [
            int(path.name.removeprefix("step-"))
            for path in folder.glob("step-*")
            if (path / "checkpoint.json").is_file()
        ]
        return max(steps, default=0)

    def further(self, name: str, beyond: int) -> int:
        """The step of a checkpoint beyond that one, once there is one."""
        return wait_for(
            f"a checkpoint of {name} beyond step {beyond}",
            lambda: self.step(name),
            lambda step: step > beyond,
            seconds=120,
        )

    def pod(self, name: str) -> Json:
        """The pod of the attempt that runs."""

        def running() -> list[Json]:
            pods = self.space.select("Pod", f"tradewind.dev/owner-name={name}")
            return [
                pod
                for pod in pods
                if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
            ]

        return wait_for(f"a pod of {name}", running, seconds=60)[0]

    def signal(self, name: str, number: signal.Signals) -> None:
        """To every process of its pod but the sandbox's."""
        uid = self.pod(name)["metadata"]["uid"]
        found = [
            int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit() and _is_of(folder, uid)
        ]
        assert found, f"no process of {name} on this machine"
        for pid in found:
            os.kill(pid, number)


def _is_of(process: Path, uid: str) -> bool:
    try:
        mine = uid in (process / "cgroup").read_text() or uid.replace("-", "_") in (process / "cgroup").read_text()
        return mine and b"python" in (process / "cmdline").read_bytes()
    except OSError:  # it has ended
        return False


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
