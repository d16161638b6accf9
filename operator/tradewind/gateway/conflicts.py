"""Several answers to one decision: what counts as another answer, and which of them a reported position is of.

In an outage two replicas may answer the same id. Whoever asked may have acted on either, so both are kept, the decision is no
evidence, and a report says by itself of which answer it speaks: by its `side`, or because one side alone was answered.

Belongs here: comparing answers, keeping another one, and what a report is checked against. Does not belong here: SQL
(statements.py), what follows from a report (report_events.py).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog
from pydantic import JsonValue

from tradewind.gateway.database import Database, Parameters
from tradewind.gateway.spool import Record
from tradewind.trading.decision import Action, canonical_json
from tradewind.trading.positions import PositionError

_SIZED = ("size_usd", "leverage", "stop_loss_pct", "take_profit_pct")
_SIDES: Mapping[str, Action] = {"long": Action.OPEN_LONG, "short": Action.OPEN_SHORT}
_log = structlog.get_logger("tradewind.gateway")


def same_act(first: Mapping[str, JsonValue], second: Mapping[str, JsonValue]) -> bool:
    """Whether two answers have a trading system do the same; reasons and confidence are words."""
    if first["action"] != second["action"]:
        return False
    opens = Action(str(first["action"])).opens
    return not opens or all(_number(first.get(name)) == _number(second.get(name)) for name in _SIZED)


async def settle(record: Record, parameters: Parameters, database: Database) -> bool:
    """What a record of the spool is to a row that has its answer: the same, or another one, which is kept. True: kept just now.

    Raises:
        DatabaseDownError: it is down again.
        UnstorableError: the record cannot be stored.
    """
    decision_id, answer = str(record["decision_id"]), record["answer"]
    stored = await database.stored(decision_id)
    if stored is None or not isinstance(answer, dict):
        return False
    if stored.answer is not None and same_act(stored.answer, answer):
        # The very answer: written, though nobody heard of it. Another arm's is one more question that no draw led to.
        if (stored.answered_by, stored.latency_ms) != (record["answered_by"], record["latency_ms"]):
            await database.bar_outage(decision_id)
        return False
    given = {"answer": answer, "answered_by": record["answered_by"]}
    kept = await database.keep_conflict(
        {
            **parameters,
            "answer_hash": hashlib.sha256(canonical_json(given).encode()).digest(),
            "given_at": record["decided_at"],
            "action": str(answer["action"]),
        }
    )
    if kept:
        _log.warning(
            "two answers to one decision",
            decision_id=decision_id,
            stored=None if stored.answer is None else str(stored.answer["action"]),
            stored_by=stored.answered_by,
            other=str(answer["action"]),
            other_by=str(record["answered_by"]),
        )
    return kept


@dataclass(frozen=True, slots=True)
class Acted:
    """The answer that a position is of.

    Attributes:
        action: of it; what was stored where no answer opens.
        side: 1 long, -1 short; None: answers open to both sides, and no report says which it was.
        size_usd, leverage: the largest exposure that it may be of.
        told: its action is not the stored answer's, or is the one of several.
    """

    action: Action
    side: int | None
    size_usd: Decimal
    leverage: Decimal
    told: bool = False

    @property
    def position_action(self) -> str | None:
        """For the row: how the position was opened, where that is known and the stored answer does not say it."""
        return str(self.action) if self.told and self.side is not None else None


def acted(row: Mapping[str, Any], side: str | None) -> Acted:
    """The answer that a report about a decision speaks of.

    Args:
        row: with action (None: failed), size_usd, leverage of the stored answer, and `others`.
        side: `long` or `short` as a report states it; None: none does.

    Raises:
        PositionError: no answer opens to the stated side.
    """
    answers = [] if row["action"] is None else [(Action(row["action"]), row["size_usd"], row["leverage"])]
    several = bool(row["others"])
    answers += [_answer(other["answer"]) for other in row["others"]]
    opening = [answer for answer in answers if answer[0].opens]
    if side is not None:
        opening = [answer for answer in opening if answer[0] is _SIDES[side]]
        if not opening:
            said = " and ".join(dict.fromkeys(f"to {answer[0]}" for answer in answers))
            raise PositionError(
                "out_of_bounds",
                "side",
                f"side: {side}, but the decision is {said}",
                "check the id; a position that no decision opened is not reported here",
            )
    if not opening:
        action, size, leverage = answers[0]
        return Acted(action, 1, size, leverage)
    sides = {answer[0] for answer in opening}
    action, size, leverage = max(opening, key=lambda answer: answer[1] * answer[2])
    if len(sides) > 1:
        return Acted(action, None, size, leverage, told=several)
    return Acted(action, -1 if action is Action.OPEN_SHORT else 1, size, leverage, told=several)


def stated_side(events: Iterable[Any]) -> str | None:
    """The side that the standing opening states."""
    return next((event.body["side"] for event in events if event.body.get("side")), None)


def _answer(answer: Mapping[str, Any]) -> tuple[Action, Decimal, Decimal]:
    return Action(answer["action"]), Decimal(str(answer["size_usd"])), Decimal(str(answer["leverage"]))


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) else None
