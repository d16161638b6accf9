"""One decision from request to answer: assignment committed, arm asked, answer stored once, answer given.

Belongs here: the order of these steps, the fallback, repetitions, take-over, and what an outage of the database means.
Does not belong here: HTTP (app.py), SQL, and how an arm is asked.
"""

import contextlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import structlog
from psycopg.types.json import Jsonb
from pydantic import JsonValue

from tradewind.gateway import errors
from tradewind.gateway.answers import ErrorKind
from tradewind.gateway.arms import ArmAnswer, Arms, Asked
from tradewind.gateway.assign import BlockPending, Draw, draw, limits_of, position_ids, view
from tradewind.gateway.database import Context, Database, DatabaseDownError, Stored, jsonb
from tradewind.gateway.errors import ApiError
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.replay import BlockGate, decision_time
from tradewind.gateway.spool import Record, Spool, SpoolFullError
from tradewind.trading.decision import Decision, DecisionInput, DecisionRequest, Limits, request_hash
from tradewind.trading.routing import Routing

Body = dict[str, JsonValue]
LEASE_SLACK_SECONDS = 5.0
_REMEMBERED = 4096
_log = structlog.get_logger("tradewind.gateway")


@dataclass(frozen=True, slots=True)
class Question:
    """A validated request and everything that is fixed before an arm is drawn."""

    request: DecisionRequest
    decision_id: str
    hash: bytes
    routing: Routing
    now: datetime
    decided_at: datetime
    limits: Limits | None

    @property
    def replay(self) -> bool:
        """Whether it is asked on the data's clock."""
        return self.routing.clock == "replay"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of asking: the drawn arm's part and who answered in the end (None: nobody)."""

    drawn: Asked
    answered_by: str | None
    answer: ArmAnswer | None
    shown: DecisionInput
    cost_cny: Decimal | None

    @property
    def fallback(self) -> bool:
        """Whether another version answered than the one drawn."""
        return self.answered_by is not None and self.answered_by != self.drawn.version

    def columns(self) -> dict[str, JsonValue]:
        """The answer's columns as JSON values, for the database and the spool alike."""
        error = self.drawn.error
        return {
            "state": "failed" if self.answer is None else "answered",
            "answered_by": self.answered_by,
            "answer": None if self.answer is None else self.answer.decision.model_dump(mode="json"),
            "probabilities": None if self.answer is None else _json(self.answer.probabilities),
            "latency_ms": round(self.drawn.latency_ms, 3),
            "fallback": self.fallback,
            "error_kind": None if error is None else str(error.kind),
            "error_detail": None if error is None else error.detail,
            "cost_cny": None if self.cost_cny is None else str(self.cost_cny),
            "reported_model": None if self.drawn.answer is None else self.drawn.answer.reported_model,
            "shown": self.shown.model_dump(mode="json"),
        }


class Decider:
    """Answers questions of one endpoint."""

    def __init__(
        self, database: Database, arms: Arms, spool: Spool, metrics: Metrics, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._arms = arms
        self._spool = spool
        self._metrics = metrics
        self._clock = clock
        self._gate = BlockGate(database)
        self._recent: OrderedDict[str, tuple[bytes, Body]] = OrderedDict()
        self._asking: set[str] = set()  # ids asked without the database, which cannot keep them apart

    async def decide(self, request: DecisionRequest, routing: Routing) -> Body:
        """The answer to a request.

        Raises:
            ApiError: see the table in docs/gateway.md.
        """
        started = time.perf_counter()
        now = self._clock()
        question = Question(
            request=request,
            decision_id=request.decision_id or str(uuid.uuid4()),
            hash=_hash(request),
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
        drawn = draw(question.routing, question.decision_id, question.decided_at, question.now)
        try:
            if isinstance(drawn, BlockPending):
                raise await self._gate.refuse(drawn.block, question.decided_at)
            stored, context = await self._assign(question, drawn)
        except DatabaseDownError:
            return await self._without_database(question), "outage"
        if context is None:
            return self._repeat(question, stored), "repeated"
        return await self._answer(question, stored, context), "answered"

    async def _assign(self, question: Question, drawn: Draw) -> tuple[Stored, Context | None]:
        """The row that this request is to answer with its context, or (context None) one that is answered already."""
        request, decision_id = question.request, question.decision_id
        positions = position_ids(request.account_state)
        lease = self._lease(question.routing, drawn.version)
        assigned = await self._database.assign(
            {
                "decision_id": decision_id,
                "request_hash": question.hash,
                "request": Jsonb(request.model_dump(mode="json", exclude_none=True)),
                "symbol": request.scope.symbol,
                "book": request.scope.book,
                "position_id": request.position_id,
                "experiment_uid": drawn.experiment_uid,
                "arm": drawn.arm,
                "weight": drawn.weight,
                "block": drawn.block,
                "epoch": drawn.epoch,
                "replay": question.replay,
                "version": drawn.version,
                "sha256": drawn.sha256,
                "decided_at": question.decided_at,
                "lease": lease,
                "positions": positions,
            }
        )
        if question.replay and assigned.fresh:
            with contextlib.suppress(DatabaseDownError):  # the operator polls, too
                await self._gate.entered(question.routing, assigned.clock_before, question.decided_at)
        if assigned.fresh and assigned.stored is not None:
            return assigned.stored, assigned.context
        # A twin that committed while this statement waited for it is not in its snapshot: look again.
        stored = assigned.stored or await self._database.stored(decision_id)
        if stored is None:
            raise _position_error(request.position_id, assigned.open_count)
        if stored.request_hash != question.hash:
            raise errors.another_body(decision_id)
        if stored.state != "assigned":
            return stored, None
        taken = await self._database.take_over(decision_id, lease, positions)
        if taken is None:
            raise errors.being_asked(decision_id)
        _log.warning("took over", decision_id=decision_id)
        return taken

    async def _answer(self, question: Question, stored: Stored, context: Context) -> Body:
        """Asks the stored arm, stores the answer, gives it."""
        result = await self._ask(question, stored.drawn_version, context)
        columns = result.columns()
        try:
            written = await self._database.finish({"decision_id": stored.decision_id, **_sql(columns)})
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
            raise errors.no_arm_left(stored.decision_id, _failure(columns))
        body = _body(
            stored.decision_id,
            result.answer.decision,
            version=result.answered_by,
            arm=stored.arm,
            experiment=stored.experiment_uid,
            epoch=stored.epoch,
            fallback=result.fallback,
            latency_ms=round(result.drawn.latency_ms, 3),
            probabilities=_json(result.answer.probabilities),
        )
        self._remember(question, body)
        return body

    async def _ask(self, question: Question, version: str, context: Context | None) -> Result:
        """Asks the drawn version, then the fallback if there is another one."""
        routing = question.routing

        def shown_to(name: str) -> DecisionInput:
            target = routing.arms.get(name)
            external = routing.external_fields if target is not None and target.protocol == "openai" else None
            return view(
                question.request,
                history=() if context is None else context.history,
                own_positions=None if context is None else context.own_positions,
                external_fields=external,
            )

        async def ask(name: str, shown: DecisionInput) -> Asked:
            symbol = question.request.scope.symbol
            return await self._arms.ask(name, routing.arms.get(name), shown, symbol=symbol, limits=question.limits)

        shown = shown_to(version)
        drawn = await ask(version, shown)
        if drawn.answer is not None or routing.fallback == version:
            return Result(drawn, None if drawn.answer is None else version, drawn.answer, shown, drawn.cost_cny)
        shown_fallback = shown_to(routing.fallback)
        second = await ask(routing.fallback, shown_fallback)
        cost = _sum(drawn.cost_cny, second.cost_cny)
        if second.answer is None:
            return Result(drawn, None, None, shown, cost)
        self._metrics.fallbacks.labels(version).inc()
        return Result(drawn, routing.fallback, second.answer, shown_fallback, cost)

    def _repeat(self, question: Question, stored: Stored) -> Body:
        """The stored answer, the same as the first time."""
        if stored.request_hash != question.hash:
            raise errors.another_body(stored.decision_id)
        if stored.answer is None:
            detail = _failure({"error_kind": stored.error_kind, "error_detail": stored.error_detail})
            raise errors.no_arm_left(stored.decision_id, detail)
        return _body(
            stored.decision_id,
            Decision.model_validate(stored.answer),
            version=stored.answered_by,
            arm=stored.arm,
            experiment=stored.experiment_uid,
            epoch=stored.epoch,
            fallback=stored.fallback,
            latency_ms=stored.latency_ms,
            probabilities=stored.probabilities,
        )

    async def _without_database(self, question: Question) -> Body:
        """The champion's answer, kept in the spool, or 503 where the endpoint refuses or decides on the data's clock."""
        routing, decision_id = question.routing, question.decision_id
        if question.replay or routing.on_database_outage == "refuse":
            raise errors.database_unavailable()
        known = self._recent.get(decision_id)
        if known is not None:
            if known[0] != question.hash:
                raise errors.another_body(decision_id)
            return known[1]
        if decision_id in self._asking:
            raise errors.being_asked(decision_id)
        self._asking.add(decision_id)
        try:
            result = await self._ask(question, routing.champion, None)
            columns = result.columns()
            if result.answer is None:
                raise errors.no_arm_left(decision_id, _failure(columns))
            await self._keep(question, columns, routing.champion)
        finally:
            self._asking.discard(decision_id)
        self._report(question, None, result)
        body = _body(
            decision_id,
            result.answer.decision,
            version=result.answered_by,
            arm=None,
            experiment=None,
            epoch=None,
            fallback=result.fallback,
            latency_ms=round(result.drawn.latency_ms, 3),
            probabilities=_json(result.answer.probabilities),
        )
        self._remember(question, body)
        return body

    async def _keep(self, question: Question, columns: dict[str, JsonValue], version: str) -> None:
        request, target = question.request, question.routing.arms.get(version)
        record: Record = {
            **columns,
            "decision_id": question.decision_id,
            "request_hash": question.hash.hex(),
            "request": request.model_dump(mode="json", exclude_none=True),
            "symbol": request.scope.symbol,
            "book": request.scope.book,
            "position_id": request.position_id,
            "version": version,
            "sha256": None if target is None else target.sha256,
            "decided_at": question.decided_at.isoformat(),
        }
        try:
            await self._spool.append(record)
        except SpoolFullError as error:
            _log.error("spool refused", decision_id=question.decision_id, reason=str(error))
            raise errors.database_unavailable() from None
        self._metrics.spooled.set(self._spool.pending)

    async def ingest(self, record: Record) -> None:
        """Writes one record of the spool.

        Raises:
            DatabaseDownError: it is down again.
        """
        parameters: dict[str, object] = {**record, **_sql(record)}
        parameters["request_hash"] = bytes.fromhex(str(record["request_hash"]))
        parameters["request"] = jsonb(record["request"])
        if not await self._database.ingest(parameters):
            _log.warning("spooled decision has another answer already", decision_id=record["decision_id"])

    def _lease(self, routing: Routing, version: str) -> float:
        """Seconds after which a gateway that asks must be dead: all timeouts, and some slack."""
        timeouts = [
            target.timeout_seconds for name in (version, routing.fallback) if (target := routing.arms.get(name))
        ]
        longest = max(target.timeout_seconds for target in routing.arms.values())  # a follow-up may go to any of them
        return max(sum(timeouts), longest + routing.arms[routing.fallback].timeout_seconds) + LEASE_SLACK_SECONDS

    def _remember(self, question: Question, body: Body) -> None:
        self._recent[question.decision_id] = (question.hash, body)
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


def _body(
    decision_id: str,
    decision: Decision,
    *,
    version: str | None,
    arm: str | None,
    experiment: str | None,
    epoch: int | None,
    fallback: bool,
    latency_ms: float | None,
    probabilities: dict[str, JsonValue] | None,
) -> Body:
    body: Body = {
        "decision_id": decision_id,
        **decision.model_dump(mode="json"),
        "_model_used": version,
        "_arm": arm,
        "_experiment": experiment,
        "_epoch": epoch,
        "_fallback": fallback,
        "_latency_ms": latency_ms,
    }
    return body if probabilities is None else body | {"_probabilities": probabilities}


def _hash(request: DecisionRequest) -> bytes:
    try:
        return request_hash(request)
    except ValueError:
        raise ApiError(
            422,
            "invalid_request",
            "the body holds NaN, an infinite number or one of thousands of digits",
            "leave such values out, or send null",
        ) from None


def _position_error(position_id: str | None, open_count: int) -> ApiError:
    if position_id is not None:
        return ApiError(
            422,
            "position_not_open",
            f"position_id: no position {position_id} is open in this scope",
            "report its execution first, correct scope and position_id, or leave position_id out for a new position",
            field="position_id",
        )
    return ApiError(
        422,
        "position_ambiguous",
        f"{open_count} positions are open in this scope and the request names none",
        "name one by position_id, or keep positions apart by scope.book",
        field="position_id",
    )


def _failure(columns: dict[str, JsonValue]) -> str:
    return f"{columns['error_kind'] or ErrorKind.UNAVAILABLE}: {columns['error_detail'] or 'unknown'}"


def _sql(columns: dict[str, JsonValue]) -> dict[str, object]:
    """Columns with JSON values wrapped for the database."""
    return {
        name: jsonb(value) if name in ("answer", "probabilities", "shown") else value for name, value in columns.items()
    }


def _json(probabilities: dict[str, float] | None) -> dict[str, JsonValue] | None:
    return None if probabilities is None else dict(probabilities)


def _sum(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return first if second is None else second if first is None else first + second
