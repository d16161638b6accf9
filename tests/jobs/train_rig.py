"""Runs jobs/train.py in processes forked from one that has imported everything, and waits for what they do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_base import make_base, make_dataset
from tradewind.training.files import dataset_sha256


@dataclass
class Process:
    """One of those that were started together."""

    pid: int
    result_file: Path
    log: Path

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def result(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.result_file.read_text())
        return content


@dataclass
class Started(Process):
    zygote: subprocess.Popen[str]
    others: list[Process]

    def wait(self) -> int:
        """Exit status of the first process."""
        return self.wait_all()[0]

    def wait_all(self) -> list[int]:
        assert self.zygote.stdout is not None
        codes: list[int] = json.loads(self.zygote.stdout.readline())
        return codes


@dataclass
class Trainer:
    """Runs jobs/train.py in processes forked from one that has imported everything."""

    zygote: subprocess.Popen[str]
    folder: Path
    base: Path
    data: Path
    data_sha256: str
    started: int = 0

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

    def avoid_every_third(self) -> None:
        """Marks every third row of both sides as one to avoid."""
        for file in ("train.jsonl", "eval.jsonl"):
            path = self.data / file
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            for row in rows[::3]:
                row["desirable"] = False
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.data_sha256 = dataset_sha256(self.data)

    def start(self, config: dict[str, Any], *, nodes: int = 1, without_memory: str | None = None) -> Started:
        """Start one process, or one for each of several nodes, which this machine then is; `without_memory` as below."""
        return self.start_together([config] * nodes, without_memory=without_memory)

    def start_together(self, configs: Sequence[dict[str, Any]], *, without_memory: str | None = None) -> Started:
        """Start a process for each of these, which train together.

        Args:
            configs: what each is told.
            without_memory: where the last one runs out of memory, as a GPU would: `measuring` or `training`.
        """
        nodes, number = len(configs), self.started
        self.started += 1
        processes: list[dict[str, Any]] = []
        port = free_port() if nodes > 1 else 0
        for rank, config in enumerate(configs):
            name = f"{number}-{rank}" if rank else f"{number}"
            file = self.folder / f"config-{name}.json"
            file.write_text(json.dumps(config))
            result, log = self.folder / f"result-{name}.json", self.folder / f"log-{name}"
            argv = ["--config", str(file), "--result", str(result)]
            environment = rendezvous(rank, nodes, port) if nodes > 1 else {}
            short = without_memory if rank == nodes - 1 else None
            processes.append({"argv": argv, "log": str(log), "environment": environment, "withoutMemory": short})
        assert self.zygote.stdin is not None
        assert self.zygote.stdout is not None
        self.zygote.stdin.write(json.dumps({"processes": processes}) + "\n")
        self.zygote.stdin.flush()
        pids = json.loads(self.zygote.stdout.readline())
        made = [Process(pid, Path(one["argv"][-1]), Path(one["log"])) for pid, one in zip(pids, processes, strict=True)]
        return Started(made[0].pid, made[0].result_file, made[0].log, self.zygote, made[1:])


def rendezvous(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    names = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in names.items()}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


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
