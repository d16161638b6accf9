"""What the trading system reports about decisions becomes events, and what follows from them is stored with them.

Belongs here: which event a report is, to whom it belongs, and writing it once. Does not belong here: what a position is after
its events (trading/positions.py), what can be true (trading/plausibility.py), and what is shown of it (readback.py).
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb

from tradewind.gateway import errors
from tradewind.gateway.database import Database, DatabaseDownError, PositionTakenError
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.result import Body
from tradewind.gateway.text import cleaned
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.decision import Action
from tradewind.trading.labels import Label, label_outcome
from tradewind.trading.plausibility import Decided, demand_possible_event, demand_possible_time
from tradewind.trading.positions import Position, PositionError, PositionStatus, effective, fold
from tradewind.trading.reports import (
    Event,
    EventKind,
    EventReport,
    ExecutionReport,
    OutcomeReport,
    correction_event,
    execution_event,
    outcome_event,
)
from tradewind.trading.routing import Routing

_TRIES = 8  # writers of one decision that come in between
_MAX_KEPT = 8192
_SAME = Decimal("1e-9")
_Intended = Callable[["Reported"], Awaitable["Intent"]]


@dataclass(frozen=True, slots=True)
class Reported:
    """A decision with the events that were reported about it so far."""

    row: Mapping[str, Any]
    events: tuple[Event, ...] = field(default_factory=tuple)

    @property
    def decision_id(self) -> str:
        """Its id."""
        return str(self.row["decision_id"])

    @property
    def action(self) -> Action:
        """What was answered."""
        return Action(self.row["action"])

    @property
    def label(self) -> str | None:
        """Of its outcome, if there is one."""
        return None if self.row["label"] is None else str(self.row["label"])

    @property
    def side(self) -> int:
        """1 for a long position, -1 for a short one."""
        return -1 if self.action is Action.OPEN_SHORT else 1

    @property
    def decided(self) -> Decided:
        """What reports are checked against."""
        return Decided(self.row["decided_at"], self.row["size_usd"] * self.row["leverage"])

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


class Reports:
    """Reports of one endpoint."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    async def execution(self, decision_id: str, report: ExecutionReport, routing: Routing) -> Body:
        """What became of a decision; a second report with more exposure says that the position grew.

        Raises:
            ApiError: 404 unknown, 409 it does not fit what was reported before, 422 it cannot be true.
            DatabaseDownError: nothing is known about the write; the same call may be repeated.
        """

        async def intent(known: Reported) -> Intent:
            return await self._execution_intent(known, report)

        await self._store(decision_id, intent, routing)
        return {"decision_id": decision_id, "status": report.status, "event_id": report.fingerprint}

    async def outcome(self, decision_id: str, report: OutcomeReport, routing: Routing) -> Body:
        """The outcome of a position with its label; a second, different one corrects the first.

        Raises:
            ApiError, DatabaseDownError: see `execution`.
        """

        async def intent(known: Reported) -> Intent:
            return Intent(decision_id, _outcome_event(known, report), {"at": "closed_at", "pnl": "pnl"})

        label = await self._store(decision_id, intent, routing)
        return {"decision_id": decision_id, "label": label, "event_id": report.fingerprint}

    async def event(self, report: EventReport, routing: Routing) -> Body:
        """One event of a position that is named by its decision or by its own id.

        Raises:
            ApiError, DatabaseDownError: see `execution`.
        """
        event = report.to_event()
        decision_id = report.decision_id
        if decision_id is None:
            assert report.position_id is not None
            latest = report.at + as_timedelta(routing.reports.clock_skew)
            ends = event.kind in (EventKind.REDUCE, EventKind.CLOSE)
            decision_id = await self._database.decision_of_position(
                report.position_id, event.event_id, event.at, ends=ends, latest=latest
            )
            if decision_id is None:
                raise ApiError(
                    ErrorCode.UNKNOWN_DECISION,
                    f"position_id: no decision here opened a position {report.position_id} by then",
                    "name the decision by decision_id, or report its opening first",
                    field="position_id",
                )

        async def intent(known: Reported) -> Intent:
            stored = known.event(event.event_id)
            if stored is not None and not stored.says_the_same(event):
                raise _conflict(
                    ErrorCode.EVENT_DIFFERS,
                    f"event_id: {event.event_id} was reported with other words before",
                    "give each event its own id; mend a mistake by a correction or a void",
                    "event_id",
                )
            return Intent(known.decision_id, None if stored is not None else event)

        label = await self._store(decision_id, intent, routing)
        return {"decision_id": decision_id, "event": str(report.event), "event_id": event.event_id, "label": label}

    async def refuse(self, decision_id: str | None, body: bytes, error: ApiError) -> None:
        """Keeps a refused report; where the database is down, too, the sender knows that nothing was stored."""
        self._metrics.reports.labels("unknown", "refused").inc()
        self._metrics.lost.labels("refused").inc()
        try:
            await self._database.refused(
                {
                    "report_hash": hashlib.sha256((decision_id or "").encode(errors="replace") + b"\0" + body).digest(),
                    "decision_id": None if decision_id is None else cleaned(decision_id, 256),
                    "code": error.code.value,
                    "field": None if error.field is None else cleaned(error.field, 256),
                    "message": cleaned(error.message, 1024),
                    "body": cleaned(body[:_MAX_KEPT].decode(errors="replace"), _MAX_KEPT),
                }
            )
        except DatabaseDownError:
            raise errors.database_unavailable() from None

    async def _execution_intent(self, known: Reported, report: ExecutionReport) -> Intent:
        if report.status == "opened" and known.row["parent_decision_id"] is not None:
            parent = await self._reported(str(known.row["parent_decision_id"]))
            if parent is not None and parent.action is known.action:
                position = parent.position
                if parent.event(_fill_id(known.decision_id, report)) is not None:
                    return Intent(parent.decision_id, None)
                # A fill that is reported after the close, but was before it, is still one of that position.
                inside = position.closed_at is None or (
                    report.opened_at is not None and report.opened_at < position.closed_at
                )
                if position.position_id == report.position_id and inside and not known.events:
                    return _growth(parent, report, of=known.decision_id)
        return _execution(known, report)

    async def _store(self, decision_id: str, intended: _Intended, routing: Routing) -> str | None:
        """Stores what is intended, once, whoever else writes; the label of the outcome, if there is one."""
        for _ in range(_TRIES):
            known = await self._reported(decision_id)
            if known is None:
                raise errors.unknown_decision(decision_id)
            _require_answer(decision_id, known.row["state"])
            try:
                intent = await intended(known)
                if intent.event is None:
                    return known.label
                if intent.decision_id != decision_id:
                    other = await self._reported(intent.decision_id)
                    if other is None:
                        continue
                    known = other
                    if known.event(intent.event.event_id) is not None:
                        return known.label
                parameters = _consequences(known, intent, routing)
            except PositionError as error:
                raise _refused(error, known) from None
            try:
                written = await self._database.apply(parameters)
            except PositionTakenError:
                again = await self._reported(known.decision_id)
                if again is not None and again.row["reports"] != known.row["reports"]:
                    continue  # a twin of this report was first
                raise _taken(str(parameters["position_id"])) from None
            if written:
                self._metrics.reports.labels(str(intent.event.kind), "stored").inc()
                if parameters["released_by"] == "unpriced":
                    self._metrics.lost.labels("no_price").inc()
                return None if parameters["label"] is None else str(parameters["label"])
        raise errors.being_asked(decision_id)

    async def _reported(self, decision_id: str) -> Reported | None:
        row = await self._database.reported(decision_id)
        return None if row is None else Reported(row, tuple(map(_stored_event, row["events"])))


def _execution(known: Reported, report: ExecutionReport) -> Intent:
    """The event of an execution report about its own decision."""
    opened = report.status == "opened"
    if known.action is Action.HOLD:
        raise _conflict(ErrorCode.HOLD, "the decision is to hold", _nothing_to_report(known))
    if known.action is Action.CLOSE and opened:
        raise _conflict(
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
        return _growth(known, report)
    assert report.opened_at is not None
    names = {"notional_usd": "filled_notional_usd", "at": "opened_at"}
    event = execution_event(report, EventKind.OPEN, report.filled_notional_usd, report.opened_at)
    return Intent(known.decision_id, event, names)


def _growth(known: Reported, report: ExecutionReport, of: str = "") -> Intent:
    """An execution report about a position that is open: it says what is filled so far."""
    assert report.opened_at is not None
    assert report.filled_notional_usd is not None
    position, names = known.position, {"notional_usd": "filled_notional_usd", "at": "opened_at"}
    if of:  # the fill of a follow-up's own: it comes on top
        event = execution_event(report, EventKind.ADD, report.filled_notional_usd, report.opened_at)
        return Intent(known.decision_id, event.named(_fill_id(of, report)), names)
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


def _fill_id(decision_id: str, report: ExecutionReport) -> str:
    """The event's id where a follow-up's fill grows the position that it follows."""
    return hashlib.sha256(f"{decision_id}\0{report.fingerprint}".encode()).hexdigest()


def _outcome_event(known: Reported, report: OutcomeReport) -> Event | None:
    """The close, or the correction of one; None: it is said already."""
    if known.action is Action.HOLD:
        raise _conflict(ErrorCode.HOLD, "the decision is to hold", _nothing_to_report(known))
    if known.action is Action.CLOSE:
        raise _conflict(
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


def _consequences(known: Reported, intent: Intent, routing: Routing) -> dict[str, object]:
    """What is written for an event: itself, and what follows for position, scope, outcome and label.

    Raises:
        PositionError: it does not fit, or cannot be true.
    """
    event = intent.event
    assert event is not None
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
        label = label_outcome(float(after.total), float(known.row["size_usd"]), routing.labels)
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


def _stored_event(row: Mapping[str, Any]) -> Event:
    return Event(
        row["event_id"], EventKind(row["kind"]), datetime.fromisoformat(row["at"]).astimezone(UTC), row["body"]
    )


def _refused(error: PositionError, known: Reported) -> ApiError:
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


def _taken(position_id: str) -> ApiError:
    return ApiError(
        ErrorCode.POSITION_TAKEN,
        f"position_id: another position {position_id} is open at this endpoint",
        "give every open position an id of its own, or report the outcome of the open one first",
        field="position_id",
    )


def _require_answer(decision_id: str, state: str) -> None:
    if state == "assigned":
        raise errors.being_asked(decision_id)
    if state == "failed":
        raise _conflict(
            ErrorCode.NO_ANSWER,
            "the decision failed: no arm answered it",
            "report nothing: there was no decision to act on",
        )


def _conflict(code: ErrorCode, message: str, remedy: str, field: str = "decision_id") -> ApiError:
    return ApiError(code, message, remedy, field=field, status=409)
