"""Running other programs: short commands, and long-lived processes known by pid and start time."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cluster.layout import NETNS
from workshop.progress import StepError
from workshop.waiting import wait_for

GENERAL_REMEDY = "read the message above; `python3 cluster down` and `up` again starts from a clean node"


def run(
    argv: Sequence[str | Path],
    *,
    remedy: str = GENERAL_REMEDY,
    log: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return its stdout. Errors: StepError with the end of stderr (or with `log`)."""
    command = [str(part) for part in argv]
    if log is None:
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, check=False)
        output, errors = done.stdout, done.stderr
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as sink:
            sink.write(f"$ {shlex.join(command)}\n")
            sink.flush()
            done = subprocess.run(
                command,
                stdout=sink,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=cwd,
                env=env,
                check=False,
            )
        output, errors = "", ""
    if done.returncode != 0:
        shown = shlex.join(command[:6]) + (" ..." if len(command) > 6 else "")
        detail = "\n".join(errors.strip().splitlines()[-15:])
        raise StepError(f"`{shown}` ended with {done.returncode}" + (f"\n{detail}" if detail else ""), remedy, log)
    return output


def succeeds(argv: Sequence[str | Path]) -> bool:
    return subprocess.run([str(part) for part in argv], capture_output=True, check=False).returncode == 0


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (/proc/PID/stat field 22), None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Processes:
    """The long-lived processes of the cluster. A record file each: pid and start time, so that a pid that was given
    to another program is never signalled."""

    records: Path
    logs: Path

    def start(self, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Start `argv` inside the network namespace, detached, its output in `logs/<name>.log`."""
        self.records.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        # nsenter, not `ip netns exec`: the latter mounts a fresh /sys, which hides the cgroups.
        command = ["nsenter", f"--net=/run/netns/{NETNS}", *(str(part) for part in argv)]
        with self.log(name).open("w") as sink:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                cwd="/",
            )
        record = {"pid": child.pid, "start_time": start_time(child.pid), "argv": command}
        (self.records / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """Pid of a recorded process that still runs, else None."""
        try:
            record = json.loads((self.records / f"{name}.json").read_text())
        except (OSError, ValueError):
            return None
        pid = int(record["pid"])
        began = start_time(pid)
        return pid if began is not None and began == record["start_time"] else None

    def require(self, name: str) -> None:
        """Raise when the process has ended, with the end of its log."""
        if self.pid(name) is None:
            raise StepError(f"{name} ended right after its start", GENERAL_REMEDY, self.log(name))

    def stop(self, name: str, seconds: float = 10) -> None:
        """SIGTERM, then SIGKILL after `seconds`. A process that is gone already is no error."""
        for sent, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
            pid = self.pid(name)
            if pid is None:
                break
            os.kill(pid, sent)
            with suppress(StepError):  # the next signal is stronger
                wait_for(f"{name} to end", lambda: self._gone(name), seconds=patience, every=0.05)
        (self.records / f"{name}.json").unlink(missing_ok=True)

    def _gone(self, name: str) -> bool:
        pid = self.pid(name)
        if pid is not None:
            with suppress(ChildProcessError):  # a child of an earlier run belongs to init
                os.waitpid(pid, os.WNOHANG)
        return self.pid(name) is None
