"""The seconds of every step of the last runs, for whoever asks what takes how long."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from workshop.progress import Progress

KEPT_RUNS = 50
COLD = {
    "packages": 18.0,
    "base image postgres": 110.0,
    "image postgres: build": 3.0,
    "base image python": 120.0,
    "image operator: build": 70.0,
    "image gateway: build": 60.0,
    "image demo: build": 60.0,
    "base image torch": 300.0,
    "image predictor: build": 150.0,
    "image trainer: build": 5.0,
    "Go programs": 230.0,
    "images delivered": 180.0,
}
"""Seconds of the steps of `make` with nothing cached: two slow cores, programs and images side by side (docs/benchmarks.md)."""


def expected(file: Path) -> dict[str, float]:
    """What each step of a cold `make` took here the last time, else elsewhere."""
    found = dict(COLD)
    try:
        runs = json.loads(file.read_text())
        for run in runs:
            if run["command"] == "make" and any(step["step"] == "Go programs" for step in run["steps"]):
                found |= {step["step"]: float(step["seconds"]) for step in run["steps"] if step["step"] in found}
    except (OSError, ValueError, KeyError, TypeError):
        return found
    return found


def remember(file: Path, command: str, progress: Progress) -> None:
    """Append a run to `timings.json`."""
    try:
        runs = json.loads(file.read_text())
    except (OSError, ValueError):
        runs = []
    at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    runs.append({"command": command, "at": at, "seconds": round(progress.seconds, 2), "steps": progress.steps})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(runs[-KEPT_RUNS:], indent=1) + "\n")
