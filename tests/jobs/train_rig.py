"""Runs jobs/train.py in processes forked from one that has imported everything, and waits for what they do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_base import make_base, make_dataset


@dataclass
class Started:
    zygote: subprocess.Popen[str]
    pid: int
    result_file: Path
    log: Path

    def wait(self) -> int:
        assert self.zygote.stdout is not None
        return int(self.zygote.stdout.readline())

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def result(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.result_file.read_text())
        return content


@dataclass
class Trainer:
    """Runs jobs/train.py in processes forked from one that has imported everything."""

    zygote: subprocess.Popen[str]
    folder: Path
    base: Path
    data: Path
    data_sha256: str

    def config(self, output: Path, **changes: Any) -> dict[str, Any]:
        return {
            "run": "run",
            "attempt": 1,
            "base": str(self.base),
            "baseUri": "pvc://models/tiny",
            "dataset": str(self.data),
            "datasetSha256": self.data_sha256,
            "output": str(output),
            "method": "auto",
            "lora": {"rank": 4, "alpha": 8, "dropout": "0.1"},
            "hyperparameters": {
                "epochs": "3", "learningRate": "0.02", "batchSize": 2, "gradientAccumulation": 2, "warmupSteps": 2,
                "evalEverySteps": 4, "saveEverySteps": 3, "seed": 7, "extra": {"threads": "1"},
            },
            "objective": "sft",
            "checkpoint": {"keep": 2, "resume": True},
        } | changes  # fmt: skip

    def start(self, config: dict[str, Any]) -> Started:
        number = len(list(self.folder.glob("config-*")))
        file = self.folder / f"config-{number}.json"
        file.write_text(json.dumps(config))
        result, log = self.folder / f"result-{number}.json", self.folder / f"log-{number}"
        assert self.zygote.stdin is not None
        assert self.zygote.stdout is not None
        order = {"argv": ["--config", str(file), "--result", str(result)], "log": str(log)}
        self.zygote.stdin.write(json.dumps(order) + "\n")
        self.zygote.stdin.flush()
        return Started(self.zygote, int(self.zygote.stdout.readline()), result, log)


@contextmanager
def running_trainer(folder: Path) -> Iterator[Trainer]:
    """A trainer with a tiny base and a dataset, in a folder of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(folder)}
    command = [sys.executable, str(Path(__file__).parent / "train_zygote.py")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, env=environment, cwd="/", stdin=pipe, stdout=pipe) as zygote:
        base = make_base(folder / "base")
        data_sha256 = make_dataset(folder / "data")
        yield Trainer(zygote, folder, base, folder / "data", data_sha256)
        assert zygote.stdin is not None
        zygote.stdin.close()
        zygote.wait(120)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)
