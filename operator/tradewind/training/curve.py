"""The curve of a training, as its reports carry it: every report tells the whole of it, so that none must arrive.

It is read off the log that the Trainer keeps in its checkpoints: a resumed run goes on with the curve of the attempts before.

Belongs here: which points, and how many. Does not belong here: what is measured (trainer.py) and who is told (progress.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

MOST_TRAINING: Final = 120
MOST_EVALUATIONS: Final = 80
"""Together no more than the status of a run takes."""

_NAMES: Final = {"loss": "loss", "eval_loss": "evalLoss", "learning_rate": "learningRate"}


def curve_of(log: Iterable[Mapping[str, Any]], *, step: int = 0, loss: float | None = None) -> list[dict[str, float]]:
    """Points of the training by their steps, each with what was measured there, evenly thinned; the first and the last stay.

    Args:
        log: entries of the Trainer's `log_history`.
        step: at which the training is.
        loss: of that step, for a training that is shorter than a line of the log is apart.
    """
    entries = list(log)
    training = _measured(entries, ("loss", "learning_rate"))
    if not any("loss" in point for point in training.values()) and loss is not None and math.isfinite(loss):
        training.setdefault(step, {})["loss"] = _rounded(loss)
    points: dict[int, dict[str, float]] = {}
    for found, most in ((training, MOST_TRAINING), (_measured(entries, ("eval_loss",)), MOST_EVALUATIONS)):
        for at in _thinned(sorted(found), most):
            points.setdefault(at, {"step": at}).update(found[at])
    return [points[at] for at in sorted(points)]


def _measured(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[int, dict[str, float]]:
    """By step, what the log has of these names; what is no number is left out, since JSON has none."""
    found: dict[int, dict[str, float]] = {}
    for entry in entries:
        values = {
            _NAMES[name]: _rounded(float(entry[name]))
            for name in names
            if isinstance(entry.get(name), int | float) and math.isfinite(entry[name])
        }
        if values:
            found.setdefault(int(entry.get("step", 0)), {}).update(values)
    return found


def _thinned(steps: Sequence[int], most: int) -> list[int]:
    if len(steps) <= most:
        return list(steps)
    return [steps[round(number * (len(steps) - 1) / (most - 1))] for number in range(most)]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
