"""What stands for an arm at one decision: its answer, the fallback's where it failed in itself, or nothing.

Belongs here: that rule, the same for the drawn arm and its shadow. Does not belong here: what an answer earns (paper.py).

An arm that is wrong in itself (its HTTP error, no JSON, not the schema, over a limit) is stood in for by the fallback, as a
caller would have seen it. One that did not get its chance (late, out of reach, not asked, cut off) stands for nothing:
letting the fallback's hold stand for late answers promoted candidates that were no better.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tradewind.trading.error_kinds import ErrorKind

OWN_FAULTS: Final = frozenset(
    {ErrorKind.STATUS, ErrorKind.INVALID_JSON, ErrorKind.INVALID_DECISION, ErrorKind.OVER_LIMIT}
)
"""Errors of the arm itself; the others say nothing of what it would have decided."""


class Missing(StrEnum):
    """Why nothing stands for an arm."""

    PENDING = "pending"
    """It is being asked, or what came of it is not stored yet."""
    NO_CHANCE = "no_chance"
    """It was late, out of reach or not asked."""
    NO_FALLBACK = "no_fallback"
    """It failed in itself, and the fallback's answer to this question is not known."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The drawn arm's part of a decision.

    Attributes:
        state: assigned, answered or failed.
        error_kind: the drawn arm's error; None: there was none.
        answer: what the caller got.
        answered_by: version that gave it.
    """

    state: str
    error_kind: str | None
    answer: Mapping[str, Any] | None
    answered_by: str | None


@dataclass(frozen=True, slots=True)
class Shadow:
    """What came of the arm that was asked beside it: answered (with its answer), failed (in itself) or absent."""

    state: str
    answer: Mapping[str, Any] | None


def drawn_standing(drawn: Drawn) -> Mapping[str, Any] | Missing:
    """The answer that stands for the drawn arm."""
    if drawn.state == "assigned":
        return Missing.PENDING
    if drawn.error_kind is not None and drawn.error_kind not in OWN_FAULTS:
        return Missing.NO_CHANCE
    return Missing.NO_FALLBACK if drawn.answer is None else drawn.answer


def shadow_standing(drawn: Drawn, shadow: Shadow | None, fallback: str) -> Mapping[str, Any] | Missing:
    """The answer that stands for the arm that was not drawn.

    Args:
        drawn: the other arm.
        shadow: None: nothing is stored of it.
        fallback: version that stands in; its answer is known where it is the drawn arm or stood in for it.
    """
    if shadow is None:
        return Missing.PENDING
    if shadow.state == "answered":
        return Missing.NO_CHANCE if shadow.answer is None else shadow.answer
    if shadow.state != "failed":
        return Missing.NO_CHANCE
    if drawn.state == "assigned":
        return Missing.PENDING
    return drawn.answer if drawn.answer is not None and drawn.answered_by == fallback else Missing.NO_FALLBACK
