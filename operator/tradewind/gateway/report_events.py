"""What a report is to a decision: which event it becomes, what follows from it, and in which words it is refused.

Belongs here: one report and the events before it, without a database. Does not belong here: writing it once (reports.py),
what a position is after its events (trading/positions.py), and what can be true (trading/plausibility.py).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb

from tradewind.gateway import errors
from tradewind.gateway.conflicts import Acted, acted, stated_side
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.trading.decision import Action
from tradewind.trading.labels import Label, label_outcome
from tradewind.trading.plausibility import Decided, demand_possible_event, demand_possible_time
from tradewind.trading.positions import Position, PositionError, PositionStatus, effective, fold
from tradewind.trading.reports import (
    Event,
    EventKind,
    ExecutionReport,
    OutcomeReport,
    correction_event,
    execution_event,
    outcome_event,
)
from tradewind.trading.routing import Routing

_SAME = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Reported:
    """A decision with the events that were reported about it so far."""

    row: Mapping[str, Any]
    events: tuple[Event, ...] = field(default_factory=tuple)
    side_told: str | None = None
    """`long` or `short` where the report at hand says it."""

    @property
    def decision_id(self) -> str:
        """Its id."""
        return str(self.row["decision_id"])

    @property
    def acted(self) -> Acted:
        """The answer that reports speak of.

        Raises:
            PositionError: no answer opens to the side that is told.
        """
        return acted(self.row, self.side_told or stated_side(effective(self.events)))

    @property
    def action(self) -> Action:
        """What was answered."""
        return self.acted.action

    @property
    def label(self) -> str | None:
        """Of its outcome, if there is one."""
        return None if self.row["label"] is None else str(self.row["label"])

    @property
    def side(self) -> int | None:
        """1 for a long position, -1 for a short one; None: not known which of two answers was acted on."""
        return self.acted.side

    @property
    def decided(self) -> Decided:
        """What reports are checked against."""
        answer = self.acted
        return Decided(self.row["decided_at"], answer.size_usd * answer.leverage)

    @property
    def position(self) -> Position:
        """What became of it so far."""
        return fold(self.events, self.side)

    def event(self, event_id: str) -> Event | None:
        """The stored event of that id."""
        return next((event for event in self.events if event.event_id == event_id), None)


@dataclass(frozen=True, slots=True)
class Intent:
    """One event to store.

    Attributes:
        decision_id: whose it is.
        event: what happened; None: it is said already.
        names: its fields as the report has them, for errors.
    """

    decision_id: str
    event: Event | None
    names: Mapping[str, str] = field(default_factory=dict)


def execution_intent(known: Reported, report: ExecutionReport) -> Intent:
    """The event of an execution report about its own decision."""
    known = replace(known, side_told=report.side)
    opened = report.status == "opened"
    if known.action is Action.HOLD:
        raise conflict(ErrorCode.HOLD, "the decision is to hold", _nothing_to_report(known))
    if known.action is Action.CLOSE and opened:
        raise conflict(
            ErrorCode.CLOSE,
            "the decision is to close a position, it opens none",
            f"report the outcome of {_opener(known)}",
        )
    if known.event(report.fingerprint) is not None:
        return Intent(known.decision_id, None)
    if not opened:
        kind = EventKind(report.status)
        if known.position.status.value == report.status:
            return Intent(known.decision_id, None)
        at = report.opened_at or max(datetime.now(UTC), known.row["decided_at"])
        return Intent(known.decision_id, execution_event(report, kind, None, at), {"at": "opened_at"})
    if known.position.status is PositionStatus.OPENED:
        return growth(known, report)
    assert report.opened_at is not None
    names = {"notional_usd": "filled_notional_usd", "at": "opened_at"}
    event = execution_event(report, EventKind.OPEN, report.filled_notional_usd, report.opened_at)
    return Intent(known.decision_id, event, names)


def growth(known: Reported, report: ExecutionReport, of: str = "") -> Intent:
    """An execution report about a position that is open: it says what is filled so far."""
    assert report.opened_at is not None
    assert report.filled_notional_usd is not None
    position, names = known.position, {"notional_usd": "filled_notional_usd", "at": "opened_at"}
    if of:  # the fill of a follow-up's own: it comes on top
        event = execution_event(report, EventKind.ADD, report.filled_notional_usd, report.opened_at)
        return Intent(known.decision_id, event.named(fill_id(of, report)), names)
    grown = report.filled_notional_usd - position.filled  # what partial exits took off was filled, too
    if (
        report.position_id == position.position_id
        and abs(grown) <= position.filled * _SAME
        and report.opened_at == position.opened_at
    ):
        return Intent(known.decision_id, None, names)
    if report.position_id != position.position_id or grown <= position.filled * _SAME or not position.is_open:
        raise PositionError(
            "execution_differs",
            "decision_id",
            "another execution was reported before",
            "the first report stands; a larger filled_notional_usd of the same position_id says that it grew; "
            "correct or void a wrong one by /v1/reports (target execution)",
        )
    return Intent(known.decision_id, execution_event(report, EventKind.ADD, grown, report.opened_at), names)


def fill_id(decision_id: str, report: ExecutionReport) -> str:
    """The event's id where a follow-up's fill grows the position that it follows."""
    return hashlib.sha256(f"{decision_id}\0{report.fingerprint}".encode()).hexdigest()


def outcome_event_of(known: Reported, report: OutcomeReport) -> Event | None:
    """The close, or the correction of one; None: it is said already."""
    if known.action is Action.HOLD:
        raise conflict(ErrorCode.HOLD, "the decision is to hold", _nothing_to_report(known))
    if known.action is Action.CLOSE:
        raise conflict(
            ErrorCode.NOT_OPENED, "no position was opened by this decision", f"report the outcome of {_opener(known)}"
        )
    if known.event(report.fingerprint) is not None:
        return None
    position = known.position
    if position.closed_at is None:
        return outcome_event(report)
    close = next((e for e in reversed(effective(known.events)) if e.kind is EventKind.CLOSE), None)
    if close is None:  # flat by its fills
        raise PositionError(
            "position_closed",
            "decision_id",
            "the position is flat by its fills",
            "correct the fill that is wrong by /v1/reports (event correct)",
        )
    return correction_event(report, close.event_id)


def consequences(known: Reported, intent: Intent, routing: Routing) -> dict[str, object]:
    """What is written for an event: itself, and what follows for position, scope, outcome and label.

    Raises:
        PositionError: it does not fit, or cannot be true.
    """
    event = intent.event
    assert event is not None
    if event.kind is EventKind.OPEN and event.body.get("side"):
        known = replace(known, side_told=event.body["side"])
    bounds, names, before = routing.reports, dict(intent.names), known.position
    now = datetime.now(UTC)
    if event.kind not in (EventKind.NOT_FILLED, EventKind.REJECTED):
        demand_possible_time(names.get("at", "at"), event.at, known.decided, now, bounds)
    after = fold((*known.events, event), known.side)
    if "at" in event.body:
        demand_possible_time("closed_at", datetime.fromisoformat(event.body["at"]), known.decided, now, bounds)
    if not known.action.opens and after.status is PositionStatus.OPENED:
        raise PositionError(
            "close", "decision_id", f"the decision is to {known.action}, it opens nothing", "check the id"
        )
    demand_possible_event(event, before, after, known.decided, bounds, names)
    label: Label | None = None
    if after.total is not None:
        label = label_outcome(float(after.total), float(known.acted.size_usd), routing.labels)
    holding, released_at, released_by = _hold(known, before, after, event)
    return {
        "decision_id": known.decision_id,
        "reports": known.row["reports"],
        "event_id": event.event_id,
        "kind": event.kind.value,
        "at": event.at,
        "body": Jsonb(dict(event.body)),
        "status": after.status.value,
        "position_id": after.position_id,
        "opened_at": after.opened_at,
        "notional": after.peak if after.status is PositionStatus.OPENED else None,
        "freed": not holding,
        "holding": holding,
        "released_at": released_at,
        "released_by": released_by,
        "closed_at": after.closed_at,
        "pnl": after.total,
        "fees": after.fees,
        "duration_hours": after.duration_hours,
        "exit_reason": after.exit_reason,
        "label": label,
        "position_action": known.acted.position_action if after.status is PositionStatus.OPENED else None,
    }


def _hold(known: Reported, before: Position, after: Position, event: Event) -> tuple[bool, datetime | None, str | None]:
    """Whether the decision holds its scope after the event, and since when and why not."""
    row = known.row
    if after.status in (PositionStatus.REJECTED, PositionStatus.NOT_FILLED):
        return False, event.at, "not_opened"
    if after.closed_at is not None:
        return False, after.closed_at, "closed" if after.total is not None else "unpriced"
    if after.status is PositionStatus.NONE:
        return False, event.at, "not_opened"
    if before.is_open:
        return bool(row["holding"]), row["released_at"], row["released_by"]
    # Opened just now, or again because its close was void.
    assert after.opened_at is not None
    gone = row["released_by"] in ("flip", "max_hold") or (
        row["released_by"] == "stated" and after.opened_at <= row["released_at"]
    )
    return (False, row["released_at"], row["released_by"]) if gone else (True, None, None)


def stored_event(row: Mapping[str, Any]) -> Event:
    """An event as the database gives it."""
    return Event(
        row["event_id"], EventKind(row["kind"]), datetime.fromisoformat(row["at"]).astimezone(UTC), row["body"]
    )


def refused(error: PositionError, known: Reported) -> ApiError:
    """The refusal of an event that does not fit or cannot be true, with a remedy that names the decision that is meant."""
    code = next(known_code for known_code in ErrorCode if known_code.value == error.code)
    remedy = error.remedy
    if code is ErrorCode.NOT_OPENED and known.action is Action.CLOSE:
        remedy = f"report the outcome of {_opener(known)}"
    return ApiError(code, str(error), remedy, field=error.field)


def _opener(known: Reported) -> str:
    return str(known.row["parent_decision_id"] or known.row["flipped_from"] or "the decision that opened the position")


def _nothing_to_report(known: Reported) -> str:
    ended = known.row["flipped_from"]
    if ended is not None:
        return f"report the outcome of {ended}, whose position it ended"
    return "report nothing: a hold has no execution and no outcome"


def taken(position_id: str) -> ApiError:
    """The refusal of a position whose id another open one has."""
    return ApiError(
        ErrorCode.POSITION_TAKEN,
        f"position_id: another position {position_id} is open at this endpoint",
        "give every open position an id of its own, or report the outcome of the open one first",
        field="position_id",
    )


def require_answer(decision_id: str, row: Mapping[str, Any]) -> None:
    """Refuses reports about a decision that has no answer, or none yet.

    Raises:
        ApiError: 409.
    """
    if row["others"]:
        return  # given in an outage, whatever became of the decision elsewhere
    if row["state"] == "assigned":
        raise errors.being_asked(decision_id)
    if row["state"] == "failed":
        raise conflict(
            ErrorCode.NO_ANSWER,
            "the decision failed: no arm answered it",
            "report nothing: there was no decision to act on",
        )


def conflict(code: ErrorCode, message: str, remedy: str, field: str = "decision_id") -> ApiError:
    """409: the report does not fit what was reported before."""
    return ApiError(code, message, remedy, field=field, status=409)
