"""What the user sees while something is set up: one line a step with its seconds, and errors that name a remedy."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TAIL_LINES = 25
_TOLD_FROM_SECONDS = 60


class StepError(Exception):
    """A step that cannot go on.

    Attributes:
        reason: why.
        remedy: what the user can do.
        log: the file that tells more, if any.
    """

    def __init__(self, reason: str, remedy: str, log: Path | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.log = log


@dataclass
class Progress:
    """Prints steps with the seconds since the start, and collects how long each took.

    Attributes:
        expected: seconds that steps which are yet to come took elsewhere, by name: what is left of them is told with each step.
    """

    began: float = field(default_factory=time.monotonic)
    steps: list[dict[str, str | float]] = field(default_factory=list)
    current: str = "start"
    expected: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, waits_for: str = "") -> Iterator[None]:
        self.current = name
        began = time.monotonic()
        self.say(name + (f" (waiting for {waits_for})" if waits_for else "") + self._left())
        yield
        self.expected.pop(name, None)
        seconds = time.monotonic() - began
        self.steps.append({"step": name, "seconds": round(seconds, 2)})
        if seconds >= 1:
            self.say(f"  done in {seconds:.1f} s")

    def _left(self) -> str:
        """How long the rest took elsewhere; nothing under a minute."""
        left = sum(self.expected.values())
        return f" [about {left / 60:.0f} min left]" if left >= _TOLD_FROM_SECONDS else ""

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    def say(self, line: str) -> None:
        """One line, with the seconds since the start."""
        say(f"[{self.seconds:6.1f} s] {line}")

    def explain(self, error: StepError) -> str:
        """The message for a failed step: which, why (with the end of its log), and what to do."""
        lines = [f"failed at: {self.current}", f"why:       {error.reason}"]
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
