"""The seconds of every step of the last runs, for whoever asks what takes how long."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from workshop.progress import Progress

KEPT_RUNS = 50


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
