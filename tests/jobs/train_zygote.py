"""Imports the trainer once, then forks processes for each line of stdin, one for each of its environments.

    {"processes": [{"argv": [...], "log": file, "environment": {...}}, ...]}

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
    code = 99
    try:
        code = job.main(process["argv"])
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
