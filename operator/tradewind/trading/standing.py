"""What stands for an arm at one decision: its answer, the fallback's where it failed in itself, or nothing.

Belongs here: that rule, the same for the drawn arm and its shadow, and which trade an answer is. Does not belong here: what an answer earns (paper.py).

An arm that is wrong in itself (its HTTP error, no JSON, not the schema, over a limit) is stood in for by the fallback, as a
caller would have seen it. One that did not get its chance (late, out of reach, not asked, cut off) stands for nothing:
letting the fallback's hold stand for late answers promoted candidates that were no better.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tradewind.trading.decision import Action
from tradewind.trading.error_kinds import WRONG_IN_ITSELF


class Missing(StrEnum):
    """Why nothing stands for an arm."""

    PENDING = "pending"
    """It is being asked, or what came of it is not stored yet."""
    NO_CHANCE = "no_chance"
    """It was late, out of reach or not asked."""
    NO_FALLBACK = "no_fallback"
    """It failed in itself, and no fallback answered for it."""
    NO_DECISION = "no_decision"
    """What is stored is no decision: no action, no size, a distance that is negative or no number."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The drawn arm's part of a decision.

    Attributes:
        state: assigned, answered or failed.
        error_kind: the drawn arm's error; None: there was none.
        answer: what the caller got, from this arm or the fallback.
    """

    state: str
    error_kind: str | None
    answer: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Shadow:
    """What came of the arm that was asked beside it: answered (with its answer), failed (in itself, with the fallback's answer
    where that was asked for it) or absent.
    """

    state: str
    answer: Mapping[str, Any] | None


def drawn_standing(drawn: Drawn) -> Mapping[str, Any] | Missing:
    """The answer that stands for the drawn arm."""
    if drawn.state == "assigned":
        return Missing.PENDING
    if drawn.error_kind is not None and drawn.error_kind not in WRONG_IN_ITSELF:
        return Missing.NO_CHANCE
    return Missing.NO_FALLBACK if drawn.answer is None else drawn.answer


def shadow_standing(shadow: Shadow | None) -> Mapping[str, Any] | Missing:
    """The answer that stands for the arm that was not drawn; None: nothing is stored of it.

    The gateway stores who would have stood in beside a failed one, as it knew its fallback when it was asked.
    """
    if shadow is None:
        return Missing.PENDING
    if shadow.state not in ("answered", "failed"):
        return Missing.NO_CHANCE
    return Missing.NO_FALLBACK if shadow.answer is None else shadow.answer


@dataclass(frozen=True, slots=True)
class Trade:
    """An opening answer: side 1 long, -1 short; distances of the exits as fractions of the entry, 0 for none."""

    side: int
    stop_loss: float
    take_profit: float


def trade_of(answer: Mapping[str, Any]) -> Trade | Missing | None:
    """The trade that an answer opens; None: it opens none, which is a return of 0."""
    try:
        action = Action(answer["action"])
        if not action.opens:
            return None
        size, stop, target = (float(answer[name]) for name in ("size_usd", "stop_loss_pct", "take_profit_pct"))
    except (KeyError, TypeError, ValueError):
        return Missing.NO_DECISION
    # A distance below 0 would put the exit on the wrong side of the entry.
    if not (0 < size < math.inf and 0 <= stop <= 1 and 0 <= target <= 10):
        return Missing.NO_DECISION
    return Trade(1 if action is Action.OPEN_LONG else -1, stop, target)
