"""The seconds of every step of the last runs, for whoever asks what takes how long."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from workshop.progress import Progress

KEPT_RUNS = 50
COLD = {
    "packages": 10.0,
    "base image postgres": 60.0,
    "image postgres: build": 1.0,
    "base image python": 40.0,
    "image operator: build": 25.0,
    "image gateway: build": 20.0,
    "image demo: build": 15.0,
    "base image torch": 100.0,
    "image predictor: build": 60.0,
    "image trainer: build": 2.0,
    "Go programs": 150.0,
    "images delivered": 60.0,
}
"""Seconds of the steps of `make` with nothing cached, roughly: two cores, programs and images side by side."""


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
