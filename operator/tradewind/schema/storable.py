"""What PostgreSQL can store and JSON can carry: the one place that decides it, for arms and callers alike.

Belongs here: finding what cannot be stored in a JSON value, and cleaning a text. Does not belong here: whose fault it is
(answers.py: the arm's; bodies.py: the caller's).

PostgreSQL has no room for NUL in texts, UTF-8 none for half a surrogate pair. NaN and infinities are no JSON, and an
integer that no double holds is read as infinite by most who read it back.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SHOWN_PATH = 120

_Path: TypeAlias = tuple["_Path", Any] | None
"""The way to a value, as its parent's and a name: a copy a value took a gigabyte for a deep and wide body."""


@dataclass(frozen=True, slots=True)
class Unstorable:
    """A part of a JSON value that cannot be stored: where (names and indices with dots, cleaned), and what it is."""

    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.field}: {self.what}" if self.field else self.what


class RefusedJsonError(ValueError):
    """JSON that readers disagree about; the message says what."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's pairs as a dict, for json's `object_pairs_hook`.

    Raises:
        RefusedJsonError: a key comes twice.
    """
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise RefusedJsonError("a key comes twice")
    return keys


def _refuse_constant(name: str) -> Any:
    raise RefusedJsonError(f"{name} is not JSON")


STRICT_JSON = json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=_refuse_constant)
"""Reads what all readers agree about; RefusedJsonError for a key that comes twice, NaN and infinities."""


def cleaned(text: str, length: int) -> str:
    """The text as it can be stored, at most `length` characters; what cannot be stored shows as U+FFFD."""
    return _UNSTORABLE.sub(REPLACEMENT, text)[:length]


def unstorable(value: Any) -> Unstorable | None:
    """The first part of a JSON value that cannot be stored, in the order of reading; None: all of it can.

    Any depth: a value that is nested too deep for recursion is looked at all the same.
    """
    waiting: list[tuple[_Path, Any]] = [(None, value)]
    while waiting:
        path, each = waiting.pop()
        if isinstance(each, str):
            what = _text_fault(each)
        elif isinstance(each, bool):
            what = None
        elif isinstance(each, int | float):
            what = _number_fault(each)
        elif isinstance(each, dict):
            fault = next((name for name in each if isinstance(name, str) and _UNSTORABLE.search(name)), None)
            if fault is not None:
                return Unstorable(_dotted((path, fault)), f"the name of the field {_text_fault(fault)}")
            waiting += reversed([((path, name), item) for name, item in each.items()])
            continue
        elif isinstance(each, list | tuple):
            waiting += reversed([((path, index), item) for index, item in enumerate(each)])
            continue
        else:
            what = None
        if what is not None:
            return Unstorable(_dotted(path), what)
    return None


def _text_fault(text: str) -> str | None:
    found = _UNSTORABLE.search(text)
    if found is None:
        return None
    if found[0] == "\0":
        return "holds a NUL character (U+0000), which cannot be stored"
    return f"holds half a surrogate pair (U+{ord(found[0]):04X}), which is no character"


def _number_fault(number: float) -> str | None:
    try:
        if math.isfinite(number):
            return None
    except OverflowError:
        return "is a number of too many digits; none is over 1.8e308"
    return "is NaN, which is no JSON" if math.isnan(number) else "is infinite or over 1.8e308"


def _dotted(path: _Path) -> str:
    names = []
    while path is not None:
        path, name = path
        names.append(str(name))
    return cleaned(".".join(reversed(names)), _SHOWN_PATH)
