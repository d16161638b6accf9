"""Imports the trainer once, then forks processes for each line of stdin, one for each of its environments.

    {"processes": [{"argv": [...], "log": file, "environment": {...}}, ...]}

A process that is given "withoutMemory", measuring or training, runs out of it there.

Answers two lines of JSON for each: the pids at once, the exit statuses (negative: the signal that killed it) at the end of all.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

# Not needed on a CPU, and half of what importing the trainer costs.
for name in ("bitsandbytes", "datasets", "pandas"):
    sys.modules[name] = None  # type: ignore[assignment]


def main() -> None:
    spec = importlib.util.spec_from_file_location("train_job", Path(__file__).parents[2] / "jobs" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    import tradewind.training.base
    import tradewind.training.trainer  # noqa: F401

    for line in sys.stdin:
        pids = [start(job, process) for process in json.loads(line)["processes"]]
        print(json.dumps(pids), flush=True)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]), flush=True)


def start(job: Any, process: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    log = os.open(process["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(process["environment"])
    run_out(process.get("withoutMemory"))
    code = 99
    try:
        code = job.main(process["argv"])
    finally:
        sys.stdout.flush()
        os._exit(code)


def run_out(where: str | None) -> None:
    """In the middle of a layer of the first step that is measured, or of the third that is trained."""
    import torch
    from transformers.models.llama.modeling_llama import LlamaMLP

    from tradewind.training import memory
    from tradewind.training.trainer import AdapterTrainer

    forward, step, step_bytes = LlamaMLP.forward, AdapterTrainer.training_step, memory.step_bytes
    short = False

    def without_memory(self: Any, *arguments: Any) -> Any:
        if short:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, *arguments)

    def third(self: Any, *arguments: Any) -> Any:
        nonlocal short
        short = self.state.global_step == 2
        return step(self, *arguments)

    def measured(*arguments: Any) -> Any:
        nonlocal short
        short = True
        return step_bytes(*arguments)

    if where is not None:
        LlamaMLP.forward = without_memory
    if where == "training":
        AdapterTrainer.training_step = third  # type: ignore[assignment, method-assign]
    if where == "measuring":
        memory.step_bytes = measured  # type: ignore[assignment]


if __name__ == "__main__":
    main()
