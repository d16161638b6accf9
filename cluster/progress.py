"""What the user sees while the cluster is built: one line a step with its seconds, and errors that name a remedy."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

TAIL_LINES = 25


class ClusterError(Exception):
    """A step that cannot go on. `remedy` is what the user can do; `log` is the file that tells more, if any."""

    def __init__(self, reason: str, remedy: str, log: Path | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.log = log


@dataclass
class Progress:
    """Prints steps and collects their seconds for `timings.json`."""

    command: str
    timings: Path
    started: float = field(default_factory=time.monotonic)
    steps: list[dict[str, str | float]] = field(default_factory=list)
    current: str = ""

    @contextmanager
    def step(self, name: str, waits_for: str = "") -> Iterator[None]:
        self.current = name
        began = time.monotonic()
        say(f"[{began - self.started:6.1f} s] {name}" + (f" (waiting for {waits_for})" if waits_for else ""))
        yield
        seconds = time.monotonic() - began
        self.steps.append({"step": name, "seconds": round(seconds, 2)})
        if seconds >= 1:
            say(f"[{time.monotonic() - self.started:6.1f} s]   done in {seconds:.1f} s")

    def finish(self) -> float:
        """Append this run to `timings.json` (the last 50 are kept) and return its seconds."""
        total = time.monotonic() - self.started
        try:
            runs = json.loads(self.timings.read_text())
        except (OSError, ValueError):
            runs = []
        at = datetime.now(tz=UTC).isoformat(timespec="seconds")
        runs.append({"command": self.command, "at": at, "seconds": round(total, 2), "steps": self.steps})
        self.timings.parent.mkdir(parents=True, exist_ok=True)
        self.timings.write_text(json.dumps(runs[-50:], indent=1) + "\n")
        return total

    def explain(self, error: ClusterError) -> str:
        """The message for a failed step: which, why (with the end of its log), and what to do."""
        lines = [f"failed at: {self.current or self.command}", f"why:       {error.reason}"]
        if error.log is not None:
            lines += [f"log:       {error.log}", *(f"  | {line}" for line in tail(error.log))]
        lines.append(f"remedy:    {error.remedy}")
        return "\n".join(lines)


def say(line: str) -> None:
    """Progress goes to stderr: stdout belongs to what a command answers."""
    print(line, file=sys.stderr, flush=True)


def tail(path: Path, lines: int = TAIL_LINES) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def wait_until(condition: Callable[[], bool], what: str, seconds: float, remedy: str, log: Path | None = None) -> None:
    """Poll `condition` every 0.2 s; after `seconds` raise a ClusterError that names `what`. Says so every 15 s."""
    deadline = time.monotonic() + seconds
    next_notice = time.monotonic() + 15
    while not condition():
        now = time.monotonic()
        if now > deadline:
            raise ClusterError(f"{what}: not within {seconds:.0f} s", remedy, log)
        if now > next_notice:
            say(f"             still waiting for {what}")
            next_notice = now + 15
        time.sleep(0.2)
