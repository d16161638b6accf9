"""One value of a row, read strictly: numbers, fractions, times, words. What is ambiguous is refused with its field.

Belongs here: reading a single value. Does not belong here: what a row needs, and how its values agree (build.py).
"""

import math
import re
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any, Final, TypeVar

from tradewind.schema.times import NoOffsetError, report_time
from tradewind.trading.evidence.cells import MAX_USD, NULLS
from tradewind.trading.imports.options import Unit
from tradewind.trading.imports.problems import Reason, RowError

Word = TypeVar("Word", bound=StrEnum)
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?", re.ASCII)
_SHOWN: Final = 40
_LIKE_PERCENT: Final = {"stop_loss_pct": 0.5, "take_profit_pct": 1.0, "confidence": 1.0}
"""From here on (confidence: above it) a fraction is more likely a percentage: 2 is meant as 2 %, not as 200 %."""
_LIKE_FRACTION: Final = {"stop_loss_pct": 0.05, "take_profit_pct": 0.05, "confidence": 1.0}
"""Below (confidence: up to it) a percentage is more likely a fraction."""
_LARGEST: Final = {"stop_loss_pct": 1.0, "take_profit_pct": 10.0, "confidence": 1.0}
"""What a decision may say (trading/decision.py)."""


def shown(value: Any) -> str:
    """A value as messages quote it: short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def is_empty(value: Any) -> bool:
    """Whether there is no value, in any of the ways to write that."""
    return value is None or (isinstance(value, str) and value.strip().lower() in NULLS)


def number(field: str, value: Any, *, low: float = -MAX_USD, high: float = MAX_USD) -> float:
    """A finite number within bounds; text must be a plain decimal.

    Raises:
        RowError: it is none.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(field, Reason.NUMBER, f"{shown(value)} is not a number; write a decimal such as 12.5")
    if not (low <= value <= high):  # NaN and infinities, too
        raise RowError(field, Reason.NUMBER, f"{shown(value)} cannot be; give a number from {low:g} to {high:g}")
    return float(value)


def fraction(field: str, name: str, value: Any, unit: Unit | None) -> float:
    """A fraction, 0.02 for 2 %.

    Args:
        field: as the file names it.
        name: one of `FRACTIONS`.
        value: as found.
        unit: how it is written; None: a fraction, unless it looks like a percentage.

    Raises:
        RowError: no number, below 0, or in the other unit by all appearance.
    """
    found = number(field, value, low=0.0, high=1e6)
    if unit is Unit.PERCENT:
        if 0 < found < _LIKE_FRACTION[name] or (name == "confidence" and found == 1.0):
            raise RowError(
                field, Reason.PERCENT, f"{found:g} is said to be a percentage and looks like a fraction ({found:g} % is "
                f"{found / 100:g}); say fraction, or mend the row"
            )  # fmt: skip
        return round(found / 100, 12)
    bound = _LIKE_PERCENT[name]
    if unit is None and (found > bound or (found == bound and name != "confidence")):
        right = f", or --fraction {name} where it is right as it stands" if found <= _LARGEST[name] else ""
        raise RowError(
            field, Reason.PERCENT, f"{found:g} looks like a percentage: as a fraction it is {found * 100:g} %; say --percent {name} "
            f"where {found:g} means {found:g} %{right}"
        )  # fmt: skip
    return found


def moment(field: str, value: Any, zone: tzinfo | None, now: datetime) -> datetime:
    """A time in UTC.

    Args:
        field: as the file names it.
        value: ISO 8601, Unix time, or a datetime.
        zone: of a time without an offset; None: it is refused.
        now: what lies after it has not come yet.

    Raises:
        RowError: no time, no offset, twice or never on the clocks of that zone, or in the future.
    """
    try:
        at = report_time(value)
    except NoOffsetError as error:
        if zone is None:
            raise RowError(
                field, Reason.TIME, f"{shown(value)} {error}; or say --time-zone, such as Asia/Shanghai or UTC"
            ) from None
        at = _on_the_clock(field, value, zone)
    except ValueError as error:
        raise RowError(field, Reason.TIME, f"{shown(value)} {error}") from None
    if at > now:
        raise RowError(
            field, Reason.FUTURE, f"{at.isoformat()} has not come yet (it is {now.isoformat(timespec='seconds')}); check the time zone"
        )  # fmt: skip
    return at


def _on_the_clock(field: str, value: Any, zone: tzinfo) -> datetime:
    try:
        naive = report_time(value.replace(tzinfo=UTC) if isinstance(value, datetime) else f"{value.strip()}Z")
    except ValueError as error:
        raise RowError(field, Reason.TIME, f"{shown(value)} {error}") from None
    first, second = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        raise RowError(
            field, Reason.TIME, f"{shown(value)} comes twice or never on the clocks of {zone}, which change in that hour; write its "
            "offset, such as +08:00"
        )  # fmt: skip
    return first.astimezone(UTC)


def word(field: str, value: Any, words: type[Word]) -> Word:
    """One of the words, exactly as it is spelled.

    Raises:
        RowError: it is none of them.
    """
    try:
        return words(value)
    except ValueError:
        raise RowError(field, Reason.WORD, f"{shown(value)} is unknown; it must be one of {', '.join(words)}") from None


def hours(field: str, value: Any) -> timedelta:
    """A length of time in hours, up to ten years.

    Raises:
        RowError: no number, or below 0.
    """
    return timedelta(seconds=round(number(field, value, low=0.0, high=87_600.0) * 3600, 6))


def whole(field: str, value: Any) -> int:
    """A leverage: a whole number; a fraction is refused, not rounded.

    Raises:
        RowError: it is none from 1 to 1000.
    """
    found = number(field, value, low=1, high=1000)
    if not math.isclose(found, round(found), abs_tol=1e-9):
        raise RowError(field, Reason.NUMBER, f"{found:g} is no whole number, and nothing is rounded here; mend the row")
    return round(found)
