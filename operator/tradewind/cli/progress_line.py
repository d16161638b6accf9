"""How far a training is, in one line: percent, steps, the time that is left, losses and speed."""

from collections.abc import Mapping
from typing import Any, Final

_WIDTH: Final = 20


def progress_line(progress: Mapping[str, Any], *, bar: bool) -> str:
    """One line of `status.progress`; what is not known is left out.

    Args:
        progress: as in the manifest, with its percent.
        bar: a bar of twenty characters in front, for a terminal.
    """
    percent = min(max(float(progress["percent"]), 0.0), 100.0)
    full = round(_WIDTH * percent / 100)
    parts = [f"[{'#' * full}{'-' * (_WIDTH - full)}] {percent:.0f} %" if bar else f"{percent:.0f} %"]
    if progress.get("step") is not None and progress.get("totalSteps"):
        parts.append(f"step {progress['step']} of {progress['totalSteps']}")
    if progress.get("etaSeconds"):
        parts.append(f"ETA {in_words(progress['etaSeconds'])}")
    if progress.get("loss") is not None:
        parts.append(f"loss {progress['loss']:.4g}")
    if progress.get("evalLoss") is not None:
        parts.append(f"evaluation loss {progress['evalLoss']:.4g}")
    if progress.get("tokensPerSecond"):
        parts.append(f"{progress['tokensPerSecond']:,.0f} tokens/s")
    return ", ".join(parts)


def in_words(seconds: float) -> str:
    """A length of time in its two largest units: 3d 4h, 2h 5m, 4m 10s, 9s."""
    left = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return " ".join(parts[:2])
