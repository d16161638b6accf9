"""One decision from request to answer: assignment committed, arm asked, answer stored once, answer given.

Belongs here: the order of these steps, repetitions, and what an outage of the database means. Does not belong here: HTTP
(app.py), SQL, the committed draw and take-over (drawing.py), how an arm is asked (asking.py), the other arm (shadow.py).
"""

import contextlib
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from pydantic import JsonValue

from tradewind.gateway import errors
from tradewind.gateway.arms import Arms
from tradewind.gateway.asking import Asking, added, flips_position
from tradewind.gateway.assign import BlockPending, Draw, draw, limits_of
from tradewind.gateway.conflicts import settle
from tradewind.gateway.database import Context, Database, DatabaseDownError, Stored
from tradewind.gateway.drawing import Drawing, Turn, is_asked_again
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.replay import BlockGate, decision_time
from tradewind.gateway.result import (
    Body,
    Question,
    Result,
    body_of,
    body_of_record,
    body_of_stored,
    failure,
    parameters_of,
    record_of,
    sql_values,
)
from tradewind.gateway.shadow import Shadow, Shadows
from tradewind.gateway.spool import Record, Spool, SpoolFullError
from tradewind.gateway.stops import Stops
from tradewind.trading.account import Account, AccountError, account_of
from tradewind.trading.decision import DecisionRequest, request_hash, retry_hash
from tradewind.trading.routing import Routing

_REMEMBERED = 4096
_log = structlog.get_logger("tradewind.gateway")


@dataclass(frozen=True, slots=True)
class _Given:
    """An answer that was given. Text and bytes only: thousands of them are kept, and the garbage collector walks over containers."""

    hash: bytes
    retry_hash: bytes
    now: datetime
    body: str


class _FallenError(Exception):
    """The draw does not stand any more: its experiment ended."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored.decision_id)
        self.stored = stored


class Decider:
    """Answers questions of one endpoint."""

    def __init__(
        self,
        database: Database,
        arms: Arms,
        spool: Spool,
        metrics: Metrics,
        *,
        clock: Callable[[], datetime],
        timeout: float,
    ) -> None:
        self._database = database
        self._spool = spool
        self._metrics = metrics
        self._clock = clock
        self._timeout = timeout
        self._gate = BlockGate(database)
        self._drawing = Drawing(database, self._gate, metrics, timeout)
        self._asking = Asking(arms, metrics, timeout)
        self._shadows = Shadows(database, self._asking, metrics, clock=clock)
        self._recent: OrderedDict[str, _Given] = OrderedDict()
        self._in_work: dict[str, Question] = {}
        self.stops = Stops(clock)
        for record in spool.left():
            self._recall(record)

    async def decide(self, request: DecisionRequest, routing: Routing) -> Body:
        """The answer to a request.

        Raises:
            ApiError: see the table in docs/gateway.md.
        """
        started = time.perf_counter()
        now = self._clock()
        question = Question(
            request=request,
            account=_account(request),
            decision_id=request.decision_id or str(uuid.uuid4()),
            hash=_hash(request_hash, request),
            retry_hash=_hash(retry_hash, request),
            routing=routing,
            now=now,
            decided_at=decision_time(routing, request, now),
            limits=limits_of(routing, request),
        )
        arm, result = "none", "error"
        try:
            body, result = await self._decide(question)
            arm = str(body["_arm"] or "none")
            return body
        except ApiError as error:
            result = error.code
            raise
        finally:
            self._metrics.decisions.labels(arm, result).inc()
            self._metrics.request_seconds.labels(arm).observe(time.perf_counter() - started)

    async def close(self) -> None:
        """Lets shadows that are under way end: one that was drawn beside the last decision has as long as that had."""
        await self._shadows.close(self._timeout + self._database.timeout)

    async def _decide(self, question: Question) -> tuple[Body, str]:
        if self._spool.pending and (known := self._known(question)):
            return known, "repeated"
        self._demand_unasked(question)  # known without asking the database: a client in a hurry costs no more than this
        drawn = draw(question.routing, question.decision_id, question.decided_at, question.now)
        try:
            if isinstance(drawn, BlockPending):
                raise await self._gate.refuse(drawn.block, question.decided_at)
            turn = await self._drawing.assign(question, drawn)
        except DatabaseDownError:
            self._demand_unasked(question)  # another one may have begun while the database was waited for
            with self._asks(question):
                return await self._without_database(question), "outage"
        if turn.context is None:
            return self._repeat(question, turn.stored), "repeated"
        # The same question may have waited for the database beside this one, for which it did not come back in time.
        if self._spool.pending and (known := self._known(question)):
            return known, "repeated"
        self._demand_unasked(question)
        with self._asks(question):
            try:
                return await self._answer(question, drawn, turn, turn.context), "answered"
            except _FallenError as error:
                return await self._instead(question, error.stored), "withdrawn"

    def _demand_unasked(self, question: Question) -> None:
        """Refuses a question whose id this replica asks an arm about just now.

        Raises:
            ApiError: 409 for the same question, 422 for another one under its id.
        """
        first = self._in_work.get(question.decision_id)
        if first is None:
            return
        same = first.hash == question.hash or (
            question.routing.retries == "fresh" and first.retry_hash == question.retry_hash
        )
        raise errors.being_asked(question.decision_id) if same else errors.another_body(question.decision_id)

    @contextlib.contextmanager
    def _asks(self, question: Question) -> Iterator[None]:
        """An arm is asked about the id: nobody else asks one meanwhile, also while no database keeps them apart."""
        self._in_work[question.decision_id] = question
        try:
            yield
        finally:
            self._in_work.pop(question.decision_id, None)

    async def _answer(self, question: Question, drawn: Draw, turn: Turn, context: Context) -> Body:
        """Asks the stored arm and its shadow, stores the answer, gives it."""
        stored = turn.stored
        if self.stops.fallen(stored):
            raise _FallenError(stored)
        # A live shadow that a dead gateway asked is not asked again: it may be billed, and the answer is not waited for.
        unwanted = turn.taken and not question.replay
        shadow = None if unwanted else self._beside(question, stored, context)
        try:
            flipped = stored.flipped_from is not None
            result = await self._asked(question, stored, context, flipped=flipped)
            if stored.parent_decision_id is not None and flips_position(question, context, result.answer):
                stored, context = await self._drawing.flip(question, drawn, stored)
                if self.stops.fallen(stored):
                    raise _FallenError(stored)
                shadow = self._beside(question, stored, context)
                paid = result.cost_cny
                result = await self._asked(question, stored, context, flipped=True)
                result = replace(result, cost_cny=added(result.cost_cny, paid))
            return await self._given(question, stored, result, shadow)
        finally:
            if shadow is not None:
                shadow.drop()

    def _beside(self, question: Question, stored: Stored, context: Context) -> Shadow | None:
        return None if self.stops.over(stored) else self._shadows.begin(question, stored, context)

    async def _asked(self, question: Question, stored: Stored, context: Context, *, flipped: bool) -> Result:
        """Asks for as long as the draw stands.

        Raises:
            _FallenError: it fell.
        """
        left = self.stops.left(stored)
        asking = self._asking.drawn(question, stored.drawn_version, context, flipped=flipped, left=left)
        result = await self.stops.unless_fallen(stored, asking)
        if result is None:
            raise _FallenError(stored)
        return result

    async def _instead(self, question: Question, stored: Stored) -> Body:
        """The champion's answer to a decision whose candidate was stopped: it is drawn for nobody and nobody's error.

        What the candidate may have said is left out unread, so that it has no say in what is evidence.
        """
        assert self.stops.routing is not None
        question = replace(question, routing=self.stops.routing)
        try:
            stored, context = await self._drawing.withdraw(question, stored)
        except DatabaseDownError:
            return await self._without_database(question)
        flipped = stored.flipped_from is not None
        result = await self._asking.drawn(question, stored.drawn_version, context, flipped=flipped)
        return await self._given(question, stored, result, None)

    async def _given(self, question: Question, stored: Stored, result: Result, shadow: Shadow | None) -> Body:
        """Stores the answer, in a replay with its shadow's, and gives it."""
        columns = result.columns()
        beside = None if shadow is None or not question.replay else await shadow.beside(result)
        try:
            written = await self._database.finish(
                {
                    "decision_id": stored.decision_id,
                    "holds": result.opens,
                    "held_since": self._clock(),
                    **sql_values(columns),
                },
                beside,
            )
        except DatabaseDownError:
            if result.answer is None or question.replay or question.routing.on_database_outage == "refuse":
                raise errors.database_unavailable() from None
            await self._keep(question, columns, stored.drawn_version, stored)
            written, shadow = True, None
        if not written:  # taken over by another gateway, which was first: there is one answer
            try:
                other = await self._database.stored(stored.decision_id)
            except DatabaseDownError:
                raise errors.database_unavailable() from None
            if other is None or other.state == "assigned":
                raise errors.being_asked(stored.decision_id)
            return self._repeat(question, other)
        if shadow is not None and beside is not None:
            self._shadows.count(shadow, beside)
        elif shadow is not None:
            shadow.keep(result)
        self._report(question, stored, result)
        if result.answer is None:
            raise errors.no_arm_left(stored.decision_id, failure(columns), _text(columns["error_cause"]))
        body = body_of(question, stored, result)
        self._remember(question, body)
        return body

    def _repeat(self, question: Question, stored: Stored) -> Body:
        """The stored answer, the same as the first time; told apart where other prices were asked about."""
        if not is_asked_again(question, stored):
            raise errors.another_body(stored.decision_id)
        if stored.answer is None:
            detail = failure({"error_kind": stored.error_kind, "error_detail": stored.error_detail})
            raise errors.no_arm_left(stored.decision_id, detail, stored.error_cause)
        return _again(body_of_stored(stored), same=stored.request_hash == question.hash)

    async def _without_database(self, question: Question) -> Body:
        """The champion's answer, kept in the spool, or 503 where the endpoint refuses or decides on the data's clock."""
        routing, decision_id = question.routing, question.decision_id
        if question.replay or routing.on_database_outage == "refuse":
            raise errors.database_unavailable()
        if known := self._known(question):
            return known
        result = await self._asking.drawn(question, routing.champion, None)
        columns = result.columns()
        if result.answer is None:
            raise errors.no_arm_left(decision_id, failure(columns), _text(columns["error_cause"]))
        await self._keep(question, columns, routing.champion, None)
        self._metrics.lost.labels("outage").inc()
        self._report(question, None, result)
        body = body_of(question, None, result)
        self._remember(question, body)
        return body

    async def _keep(
        self, question: Question, columns: dict[str, JsonValue], version: str, stored: Stored | None
    ) -> None:
        try:
            await self._spool.append(record_of(question, columns, version, stored))
        except SpoolFullError as error:
            _log.error("spool refused", decision_id=question.decision_id, reason=str(error))
            raise errors.database_unavailable() from None
        self._metrics.spooled.set(self._spool.pending)

    async def ingest(self, record: Record) -> None:
        """Writes one record of the spool; where the row has another answer, both are kept (conflicts.py).

        Raises:
            DatabaseDownError: it is down again.
        """
        parameters = parameters_of(record)
        if not await self._database.ingest(parameters) and await settle(record, parameters, self._database):
            self._metrics.conflicts.inc()
            self._metrics.lost.labels("conflict").inc()

    def _known(self, question: Question) -> Body | None:
        """The answer that this replica gave to the id lately, while the database cannot say."""
        known = self._recent.get(question.decision_id)
        if known is None:
            return None
        same = known.hash == question.hash
        fresh = question.routing.retries == "fresh" and known.retry_hash == question.retry_hash
        if not same and not (fresh and (question.now - known.now).total_seconds() <= self._drawing.lease):
            raise errors.another_body(question.decision_id)
        return _again(json.loads(known.body), same=same)

    def _recall(self, record: Record) -> None:
        """An answer that the process before this one gave and could not store: a repetition gets it."""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            body = body_of_record(record)
            asked, retried = (bytes.fromhex(str(record[name])) for name in ("request_hash", "retry_hash"))
            given = _Given(asked, retried, datetime.fromisoformat(str(record["decided_at"])), json.dumps(body))
            self._keep_in_mind(str(record["decision_id"]), given)

    def _remember(self, question: Question, body: Body) -> None:
        given = _Given(question.hash, question.retry_hash, question.now, json.dumps(body))
        self._keep_in_mind(question.decision_id, given)

    def _keep_in_mind(self, decision_id: str, given: _Given) -> None:
        self._recent[decision_id] = given
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def _report(self, question: Question, stored: Stored | None, result: Result) -> None:
        error = result.drawn.error
        _log.info(
            "decision",
            decision_id=question.decision_id,
            symbol=question.request.scope.symbol,
            experiment=stored.experiment_uid if stored else None,
            arm=stored.arm if stored else None,
            epoch=stored.epoch if stored else None,
            parent=stored.parent_decision_id if stored else None,
            drawn=result.drawn.version,
            answered_by=result.answered_by,
            action=None if result.answer is None else str(result.answer.decision.action),
            latency_ms=round(result.drawn.latency_ms, 1),
            error=None if error is None else str(error.kind),
            detail=None if error is None else error.detail,
            unlogged=stored is None,
        )


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None


def _hash(hashed: Callable[[DecisionRequest], bytes], request: DecisionRequest) -> bytes:
    try:
        return hashed(request)
    except ValueError:
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            "the body holds NaN, an infinite number or one of thousands of digits",
            "leave such values out, or send null",
        ) from None


def _account(request: DecisionRequest) -> Account:
    try:
        return account_of(request.account_state)
    except AccountError as error:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"{error.field}: {error}", error.remedy, field=error.field) from None


def _again(body: Body, *, same: bool) -> Body:
    return body if same else body | {"_replayed": True}
