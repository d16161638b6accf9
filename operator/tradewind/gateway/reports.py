"""What the trading system reports about decisions is stored as events, each once, and what follows from them with them.

Belongs here: to whom a report belongs, and writing it once. Does not belong here: which event it is and what follows
(report_events.py), and what is shown of it (readback.py).
"""

import hashlib
from collections.abc import Awaitable, Callable

from tradewind.gateway import errors
from tradewind.gateway.database import Database, DatabaseDownError, PositionTakenError
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.report_events import (
    Intent,
    Reported,
    conflict,
    consequences,
    execution_intent,
    fill_id,
    growth,
    outcome_event_of,
    refused,
    require_answer,
    stored_event,
    taken,
)
from tradewind.gateway.result import Body
from tradewind.schema.scalars import as_timedelta
from tradewind.schema.storable import cleaned
from tradewind.trading.positions import PositionError
from tradewind.trading.reports import (
    EventKind,
    EventReport,
    ExecutionReport,
    OutcomeReport,
)
from tradewind.trading.routing import Routing

_TRIES = 8  # writers of one decision that come in between
_MAX_KEPT = 8192
_Intended = Callable[[Reported], Awaitable[Intent]]


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
            return Intent(decision_id, outcome_event_of(known, report), {"at": "closed_at", "pnl": "pnl"})

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
                raise conflict(
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
                if parent.event(fill_id(known.decision_id, report)) is not None:
                    return Intent(parent.decision_id, None)
                # A fill that is reported after the close, but was before it, is still one of that position.
                inside = position.closed_at is None or (
                    report.opened_at is not None and report.opened_at < position.closed_at
                )
                if position.position_id == report.position_id and inside and not known.events:
                    return growth(parent, report, of=known.decision_id)
        return execution_intent(known, report)

    async def _store(self, decision_id: str, intended: _Intended, routing: Routing) -> str | None:
        """Stores what is intended, once, whoever else writes; the label of the outcome, if there is one."""
        for _ in range(_TRIES):
            known = await self._reported(decision_id)
            if known is None:
                raise errors.unknown_decision(decision_id)
            require_answer(decision_id, known.row)
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
                parameters = consequences(known, intent, routing)
            except PositionError as error:
                raise refused(error, known) from None
            try:
                written = await self._database.apply(parameters)
            except PositionTakenError:
                again = await self._reported(known.decision_id)
                if again is not None and again.row["reports"] != known.row["reports"]:
                    continue  # a twin of this report was first
                raise taken(str(parameters["position_id"])) from None
            if written:
                self._metrics.reports.labels(str(intent.event.kind), "stored").inc()
                if parameters["released_by"] == "unpriced":
                    self._metrics.lost.labels("no_price").inc()
                return None if parameters["label"] is None else str(parameters["label"])
        raise errors.being_asked(decision_id)

    async def _reported(self, decision_id: str) -> Reported | None:
        row = await self._database.reported(decision_id)
        return None if row is None else Reported(row, tuple(map(stored_event, row["events"])))
