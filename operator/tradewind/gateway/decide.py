"""One decision from request to answer: assignment committed, arm asked, answer stored once, answer given.

Belongs here: the order of these steps, the fallback, repetitions, take-over, and what an outage of the database means.
Does not belong here: HTTP (app.py), SQL, and how an arm is asked.
"""

import asyncio
import contextlib
import itertools
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import structlog
from psycopg.types.json import Jsonb
from pydantic import JsonValue

from tradewind.gateway import errors
from tradewind.gateway.answers import ArmError
from tradewind.gateway.arms import Arms, Asked
from tradewind.gateway.assign import BlockPending, Draw, draw, flips, limits_of, view
from tradewind.gateway.database import Assigned, AssignOutcome, Context, Database, DatabaseDownError, Stored
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.protocols import ArmAnswer, ArmQuestion
from tradewind.gateway.replay import BlockGate, decision_time
from tradewind.gateway.result import (
    Body,
    Question,
    Result,
    body_of,
    body_of_stored,
    failure,
    parameters_of,
    record_of,
    sql_values,
)
from tradewind.gateway.spool import Record, Spool, SpoolFullError
from tradewind.trading.account import Account, AccountError, account_of
from tradewind.trading.decision import DecisionInput, DecisionRequest, request_hash, retry_hash
from tradewind.trading.error_kinds import ErrorKind
from tradewind.trading.routing import Routing

LEASE_SLACK_SECONDS = 5.0
_BUSY_SECONDS = (0.02, 0.05, 0.1, 0.2)  # between looks at a scope that is being asked about
_REMEMBERED = 4096
_log = structlog.get_logger("tradewind.gateway")


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
        self._arms = arms
        self._spool = spool
        self._metrics = metrics
        self._clock = clock
        self._timeout = timeout
        self._gate = BlockGate(database)
        self._recent: OrderedDict[str, tuple[Question, Body]] = OrderedDict()
        self._queues: dict[tuple[str, str], asyncio.Lock] = {}
        self._asking: set[str] = set()  # ids asked by this replica, for when the database cannot keep them apart

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

    async def _decide(self, question: Question) -> tuple[Body, str]:
        if self._spool.pending and (known := self._known(question)):
            return known, "repeated"
        drawn = draw(question.routing, question.decision_id, question.decided_at, question.now)
        try:
            if isinstance(drawn, BlockPending):
                raise await self._gate.refuse(drawn.block, question.decided_at)
            stored, context = await self._assign(question, drawn)
        except DatabaseDownError:
            return await self._without_database(question), "outage"
        if context is None:
            return self._repeat(question, stored), "repeated"
        self._asking.add(question.decision_id)
        try:
            return await self._answer(question, drawn, stored, context), "answered"
        finally:
            self._asking.discard(question.decision_id)

    async def _assign(self, question: Question, drawn: Draw) -> tuple[Stored, Context | None]:
        """The row that this request is to answer with its context, or (context None) one that is answered already."""
        assigned = await self._in_turn(question, self._parameters(question, drawn))
        stored, context = assigned.stored, assigned.context
        if assigned.outcome is AssignOutcome.NOT_OPEN:
            raise _not_open(question.request.position_id)
        if assigned.outcome is AssignOutcome.OVERLAP or stored is None:
            self._metrics.lost.labels("overlap").inc()
            raise errors.scope_busy(question.request.scope.symbol, None if stored is None else stored.decision_id)
        if assigned.outcome is AssignOutcome.DRAWN:
            if question.replay:
                with contextlib.suppress(DatabaseDownError):  # the operator polls, too
                    await self._gate.entered(question.routing, assigned.clock_before, question.decided_at)
            if stored.parent_decision_id is not None:
                self._metrics.lost.labels("follow_up").inc()
            return stored, context
        if not self._is_asked_again(question, stored):
            raise errors.another_body(question.decision_id)
        if stored.state != "assigned":
            return stored, None
        again = {
            **question.seen,
            "decision_id": question.decision_id,
            "lease": self._lease,
            "request": _jsonb(question.request),
            "request_hash": question.hash,
        }
        taken = await self._database.take_over(again)
        if taken is None:
            raise errors.being_asked(question.decision_id)
        _log.warning("took over", decision_id=question.decision_id)
        return taken

    async def _in_turn(self, question: Question, parameters: dict[str, object]) -> Assigned:
        """Assigns once no other question of the scope is being answered; gives up after the time of a decision.

        One that is being answered may open: of two at once, the second must know of it.
        """
        assigned = await self._database.assign(parameters)
        if assigned.outcome is not AssignOutcome.BUSY:
            return assigned
        scope = (question.request.scope.symbol, question.request.scope.book)
        queue = self._queues.setdefault(scope, asyncio.Lock())
        try:
            async with asyncio.timeout(self._timeout), queue:  # of this replica's, one looks at a time
                for look in itertools.count():
                    assigned = await self._database.assign(parameters)
                    if assigned.outcome is not AssignOutcome.BUSY:
                        break
                    await asyncio.sleep(_BUSY_SECONDS[min(look, len(_BUSY_SECONDS) - 1)])
        except TimeoutError:
            raise errors.scope_busy(question.request.scope.symbol, None) from None
        finally:
            if not queue.locked():
                self._queues.pop(scope, None)
        return assigned

    def _parameters(self, question: Question, drawn: Draw) -> dict[str, object]:
        request, account = question.request, question.account
        return {
            **question.seen,
            **_draw_columns(drawn),
            "decision_id": question.decision_id,
            "request_hash": question.hash,
            "retry_hash": question.retry_hash,
            "request": _jsonb(request),
            "symbol": request.scope.symbol,
            "book": request.scope.book,
            "position_id": request.position_id,
            "flat": account.is_flat(request.scope.symbol, request.scope.book),
            "stated_at": min(
                account.stated_at or question.decided_at, question.decided_at
            ),  # nobody knows what is to come
            "max_hold": float(question.routing.max_hold_seconds),
            "replay": question.replay,
            "decided_at": question.decided_at,
            "arrived_at": question.now,
            "lease": self._lease,
        }

    @property
    def _lease(self) -> float:
        return self._timeout + LEASE_SLACK_SECONDS

    async def _answer(self, question: Question, drawn: Draw, stored: Stored, context: Context) -> Body:
        """Asks the stored arm, stores the answer, gives it."""
        result = await self._ask(question, stored.drawn_version, context, flipped=stored.flipped_from is not None)
        if stored.parent_decision_id is not None and self._flips(question, context, result.answer):
            stored, context = await self._flip(question, drawn, stored)
            paid = result.cost_cny
            result = await self._ask(question, stored.drawn_version, context, flipped=True)
            result = replace(result, cost_cny=_sum(result.cost_cny, paid))
        columns = result.columns()
        try:
            written = await self._database.finish(
                {
                    "decision_id": stored.decision_id,
                    "holds": result.opens,
                    "held_since": self._clock(),
                    **sql_values(columns),
                }
            )
        except DatabaseDownError:
            if result.answer is None or question.replay or question.routing.on_database_outage == "refuse":
                raise errors.database_unavailable() from None
            await self._keep(question, columns, stored.drawn_version)
            written = True
        if not written:  # taken over by another gateway, which was first: there is one answer
            try:
                other = await self._database.stored(stored.decision_id)
            except DatabaseDownError:
                raise errors.database_unavailable() from None
            if other is None or other.state == "assigned":
                raise errors.being_asked(stored.decision_id)
            return self._repeat(question, other)
        self._report(question, stored, result)
        if result.answer is None:
            raise errors.no_arm_left(stored.decision_id, failure(columns))
        body = body_of(question, stored, result)
        self._remember(question, body)
        return body

    async def _flip(self, question: Question, drawn: Draw, stored: Stored) -> tuple[Stored, Context]:
        """Ends the old position and commits the draw of the next one, before its arm is asked.

        Whoever is drawn is asked anew, also where it is the arm that wanted out: both arms decide on the same question.
        """
        parameters = {
            **question.seen,
            **_draw_columns(drawn),
            "decision_id": stored.decision_id,
            "lease": self._lease,
        }
        try:
            flipped = await self._database.flip(parameters)
        except DatabaseDownError:
            raise errors.database_unavailable() from None
        if flipped is None:
            raise errors.being_asked(stored.decision_id)
        _log.info(
            "flip", decision_id=stored.decision_id, ended=stored.parent_decision_id, drawn=flipped[0].drawn_version
        )
        return flipped

    def _flips(self, question: Question, context: Context | None, answer: ArmAnswer | None) -> bool:
        request = question.request
        return (
            context is not None
            and answer is not None
            and flips(
                answer.decision.action,
                question.account,
                request.scope,
                named=request.position_id is not None,
                continued_action=context.continued_action,
            )
        )

    async def _ask(self, question: Question, version: str, context: Context | None, *, flipped: bool = False) -> Result:
        """Asks the drawn version, then the fallback if there is another one."""
        routing = question.routing
        refused = routing.flips == "refuse" and not flipped

        def shown_to(name: str) -> DecisionInput:
            target = routing.arms.get(name)
            external = routing.external_fields if target is not None and target.outside else None
            return view(question.request, question.account, context, version, flipped=flipped, external_fields=external)

        async def ask(name: str, shown: DecisionInput, at_most: float) -> Asked:
            target, symbol = routing.arms.get(name), question.request.scope.symbol
            asked = None if target is None else ArmQuestion(target, shown, symbol, question.limits)
            said = await self._arms.ask(name, asked, at_most)
            if refused and self._flips(question, context, said.answer):
                error = ArmError(ErrorKind.INVALID_DECISION, "opens inside a position; the Endpoint says flips: refuse")
                return replace(said, answer=None, error=error)
            return said

        # The fallback's time is set aside beforehand: a slow arm must not use up the whole decision.
        reserve = 0.0 if routing.fallback == version else routing.arms[routing.fallback].timeout_seconds
        reserve = min(reserve, self._timeout / 2)

        shown = shown_to(version)
        drawn = await ask(version, shown, self._timeout - reserve)
        if drawn.answer is not None or routing.fallback == version:
            return Result(drawn, None if drawn.answer is None else version, drawn.answer, shown, drawn.cost_cny)
        shown_fallback = shown_to(routing.fallback)
        second = await ask(routing.fallback, shown_fallback, reserve)
        cost = _sum(drawn.cost_cny, second.cost_cny)
        if second.answer is None:
            return Result(drawn, None, None, shown, cost)
        self._metrics.fallbacks.labels(version).inc()
        return Result(drawn, routing.fallback, second.answer, shown_fallback, cost)

    def _is_asked_again(self, question: Question, stored: Stored) -> bool:
        """Whether it is the stored question: the same body, or a retry with fresh prices while the decision was leased.

        Nobody has answered an assigned one, so fresh prices are as good there at any time.
        """
        if stored.request_hash == question.hash:
            return True
        fresh = question.routing.retries == "fresh" and stored.retry_hash == question.retry_hash
        return fresh and (stored.state == "assigned" or question.now <= stored.asking_until)

    def _repeat(self, question: Question, stored: Stored) -> Body:
        """The stored answer, the same as the first time; told apart where other prices were asked about."""
        if not self._is_asked_again(question, stored):
            raise errors.another_body(stored.decision_id)
        if stored.answer is None:
            detail = failure({"error_kind": stored.error_kind, "error_detail": stored.error_detail})
            raise errors.no_arm_left(stored.decision_id, detail)
        return _again(body_of_stored(stored), same=stored.request_hash == question.hash)

    async def _without_database(self, question: Question) -> Body:
        """The champion's answer, kept in the spool, or 503 where the endpoint refuses or decides on the data's clock."""
        routing, decision_id = question.routing, question.decision_id
        if question.replay or routing.on_database_outage == "refuse":
            raise errors.database_unavailable()
        if known := self._known(question):
            return known
        if decision_id in self._asking:
            raise errors.being_asked(decision_id)
        self._asking.add(decision_id)
        try:
            result = await self._ask(question, routing.champion, None)
            columns = result.columns()
            if result.answer is None:
                raise errors.no_arm_left(decision_id, failure(columns))
            await self._keep(question, columns, routing.champion)
            self._metrics.lost.labels("outage").inc()
        finally:
            self._asking.discard(decision_id)
        self._report(question, None, result)
        body = body_of(question, None, result)
        self._remember(question, body)
        return body

    async def _keep(self, question: Question, columns: dict[str, JsonValue], version: str) -> None:
        try:
            await self._spool.append(record_of(question, columns, version))
        except SpoolFullError as error:
            _log.error("spool refused", decision_id=question.decision_id, reason=str(error))
            raise errors.database_unavailable() from None
        self._metrics.spooled.set(self._spool.pending)

    async def ingest(self, record: Record) -> None:
        """Writes one record of the spool.

        Raises:
            DatabaseDownError: it is down again.
        """
        if not await self._database.ingest(parameters_of(record)):
            _log.warning("spooled decision has another answer already", decision_id=record["decision_id"])

    def _known(self, question: Question) -> Body | None:
        """The answer that this replica gave to the id lately, while the database cannot say."""
        known = self._recent.get(question.decision_id)
        if known is None:
            return None
        first, body = known
        same = first.hash == question.hash
        fresh = question.routing.retries == "fresh" and first.retry_hash == question.retry_hash
        if not same and not (fresh and (question.now - first.now).total_seconds() <= self._lease):
            raise errors.another_body(question.decision_id)
        return _again(body, same=same)

    def _remember(self, question: Question, body: Body) -> None:
        self._recent[question.decision_id] = (question, body)
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


def _jsonb(request: DecisionRequest) -> Jsonb:
    return Jsonb(request.model_dump(mode="json", exclude_none=True))


def _draw_columns(drawn: Draw) -> dict[str, object]:
    return {
        "experiment_uid": drawn.experiment_uid,
        "arm": drawn.arm,
        "weight": drawn.weight,
        "block": drawn.block,
        "epoch": drawn.epoch,
        "version": drawn.version,
        "sha256": drawn.sha256,
    }


def _again(body: Body, *, same: bool) -> Body:
    return body if same else body | {"_replayed": True}


def _not_open(position_id: str | None) -> ApiError:
    return ApiError(
        ErrorCode.POSITION_NOT_OPEN,
        f"position_id: no position {position_id} is open in this scope",
        "report its execution first, correct scope and position_id, or leave position_id out for a new position",
        field="position_id",
    )


def _sum(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return first if second is None else second if first is None else first + second
