"""Imports the trainer once, then forks a process for each line of stdin: {"argv": [...], "log": file}.

Answers two lines for each: the pid at once, the exit status (negative: the signal that killed it) at its end.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

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
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = 99
            try:
                code = job.main(order["argv"])
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
