"""Trainings of files in a claim, on the real cluster: begun, disturbed, and held to the weights that they end with."""

import hashlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from space import Space

from manifests import resource
from workshop.client import Json, condition
from workshop.waiting import wait_for

ENDED = ("Succeeded", "Failed", "Skipped")
INDEX = "batch.kubernetes.io/job-completion-index"


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
        memory: str = "3Gi",
        stall: str = "10m",
        retry: Mapping[str, int] | None = None,
        more: Json | None = None,
        **settings: Any,
    ) -> None:
        """Start one; `more` are further fields of its spec, `settings` hyperparameters."""
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
            **(more or {}),
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
        return self.weights_in(self.models / "runs" / name / "adapter")

    @staticmethod
    def weights_in(adapter: Path) -> str:
        """Hash of the weights in an adapter's folder."""
        return hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()

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

    def pod(self, name: str, index: int | None = None) -> Json:
        """The pod of the attempt that runs; of several, the one of this index."""

        def running() -> list[Json]:
            pods = self.space.select("Pod", f"tradewind.dev/owner-name={name}")
            return [
                pod
                for pod in pods
                if pod["status"].get("phase") == "Running"
                and not pod["metadata"].get("deletionTimestamp")
                and (index is None or pod["metadata"]["annotations"][INDEX] == str(index))
            ]

        return wait_for(f"a pod of {name}", running, seconds=60)[0]

    def signal(self, name: str, number: signal.Signals, index: int | None = None) -> None:
        """To every process of its pod but the sandbox's."""
        uid = self.pod(name, index)["metadata"]["uid"]
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
