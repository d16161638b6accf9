"""Durations as users write them: `14d`, `24h`, `30m`, `45s`, `1d12h`.

Belongs here: text to timedelta and back. Does not belong here: cron expressions and points in time.
"""

import re
from datetime import timedelta

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)


def parse_duration(text: str, field: str = "duration") -> timedelta:
    """Timedelta of a duration text: whole numbers with d, h, m, s, larger units first, each at most once.

    Args:
        text: for example `14d`, `24h`, `90m` or `1d12h`.
        field: what the error names, for example `spec.evidence.minDuration`.

    Raises:
        ValueError: the text is not such a duration.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if not match or not text:
        raise ValueError(
            f"{field}: {text!r} is not a duration; write a whole number and a unit, such as 14d, 24h, 30m or 45s"
        )
    seconds = sum(int(number) * unit for number, unit in zip(match.groups(), _UNITS.values(), strict=True) if number)
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"{field}: {text!r} is too long; a duration ends below 999999999d") from None


def format_duration(duration: timedelta) -> str:
    """Shortest text that parses back to the duration, whole seconds only (`0s` for none).

    Raises:
        ValueError: the duration is negative or has a fraction of a second.
    """
    seconds = duration // timedelta(seconds=1)
    if duration < timedelta(0) or duration != timedelta(seconds=seconds):
        raise ValueError(f"duration: {duration!r} is not a whole number of seconds from 0 up")
    parts = []
    for unit, size in _UNITS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
