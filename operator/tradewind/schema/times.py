"""Times that callers report, read into UTC.

| written as | example | is |
| --- | --- | --- |
| ISO 8601 with an offset | `2026-01-31T08:00:00+08:00`, `2026-01-31 00:00:00.5z`, `20260131T000000Z` | that time |
| 978307200 to below 4133980800 | `1769817600`, `1769817600.25` | Unix time in seconds |
| 978307200000 to below 4133980800000 | `1769817600250` | Unix time in milliseconds |
| 978307200000000 to below 4133980800000000 | `1769817600250000` | Unix time in microseconds |
| 978307200000000000 to below 4133980800000000000 | `1769817600250000000` | Unix time in nanoseconds |

The ranges of the units are the years 2001 to 2100 and do not overlap, so a number is one time or none. Numbers may be text,
as tables and forms have them. What is finer than a microsecond is cut off. Everything else is refused: a time without an
offset would be another one in another place.

Belongs here: one point in time as a caller writes it. Does not belong here: times of manifests (scalars.py), durations.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

FIRST: Final = datetime(2001, 1, 1, tzinfo=UTC)
"""First time that a report may name."""
END: Final = datetime(2101, 1, 1, tzinfo=UTC)
"""First time that is too late."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND, _END_SECOND = int(FIRST.timestamp()), int(END.timestamp())
_UNITS_PER_SECOND = (1, 10**3, 10**6, 10**9)
_LONGEST = 64
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?", re.ASCII)
_ISO = re.compile(
    r"([0-9]{4})(-?)([0-9]{2})\2([0-9]{2})[Tt ]([0-9]{2})(:?)([0-9]{2})(?:\6([0-9]{2})(?:[.,]([0-9]{1,18}))?)?"
    r" ?([Zz]|[-+][0-9]{2}(?::?[0-9]{2})?)?",
    re.ASCII,
)
_FURTHEST_OFFSET = timedelta(hours=14)

_FORMS = "an ISO 8601 time with an offset, such as 2026-01-31T00:00:00Z, or Unix time in s, ms, us or ns"


class NoOffsetError(ValueError):
    """A time without an offset; the message says what to add."""


def report_time(value: object) -> datetime:
    """The time in UTC that a value means, to the microsecond.

    Args:
        value: text, an int, a float, or a datetime with an offset; see the table of this module.

    Raises:
        NoOffsetError: the time has no offset.
        ValueError: the value is no time from 2001 to 2100; the message says what to send instead.
    """
    match value:
        case datetime():
            return _placed(value)
        case int() if not isinstance(value, bool):
            return _unix(Decimal(value))
        case float():
            return _unix(Decimal(repr(value)))
        case str() if len(text := value.strip(" ")) <= _LONGEST:
            return _unix(Decimal(text)) if _NUMBER.fullmatch(text) else _placed(_iso(text))
    raise ValueError(f"must be {_FORMS}")


def _unix(number: Decimal) -> datetime:
    if number.is_finite():
        for units in _UNITS_PER_SECOND:
            if _FIRST_SECOND * units <= number < _END_SECOND * units:
                return _EPOCH + timedelta(microseconds=int(Fraction(number) * 10**6 / units))
    raise ValueError(
        f"as Unix time must lie in the years 2001 to 2100: {_FIRST_SECOND} to {_END_SECOND} in seconds,"
        " or these times 1000 in ms, us and ns"
    )


def _iso(text: str) -> datetime:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"must be {_FORMS}")
    year, _, month, day, hour, _, minute, second, fraction, offset = match.groups()
    moment = f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}.{(fraction or '')[:6]:0<6}"
    zone = "" if offset is None else "+00:00" if offset in "Zz" else f"{offset[:3]}:{offset[3:].lstrip(':') or '00'}"
    try:
        return datetime.fromisoformat(moment + zone)
    except ValueError as error:
        raise ValueError(f"must be {_FORMS}: {error}") from None


def _placed(time: datetime) -> datetime:
    offset = time.utcoffset()
    if offset is None:
        raise NoOffsetError(
            "has no offset, so it is another time in another place; add Z for UTC, or one such as +08:00"
        )
    if abs(offset) > _FURTHEST_OFFSET:
        raise ValueError("must have an offset from -14:00 to +14:00")
    if not FIRST - _FURTHEST_OFFSET <= time.replace(tzinfo=UTC) < END + _FURTHEST_OFFSET:
        raise ValueError("must lie in the years 2001 to 2100")
    moment = time.astimezone(UTC)
    if not FIRST <= moment < END:
        raise ValueError("must lie in the years 2001 to 2100")
    return moment


def _read(value: Any) -> datetime:
    try:
        return report_time(value)
    except NoOffsetError as error:
        raise PydanticCustomError("timezone_aware", "{text}", {"text": str(error)}) from None
    except ValueError as error:
        raise PydanticCustomError("report_time", "{text}", {"text": str(error)}) from None


ReportTime = Annotated[
    AwareDatetime,
    BeforeValidator(_read),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}),
]
"""Time of a report, in UTC; see the table of this module."""
