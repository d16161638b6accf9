"""The draw of a decision, committed in the turn of its scope before anybody is asked; also the second draw at a flip.

Belongs here: which row a request is to answer. Does not belong here: the draw itself (assign.py), SQL, asking (asking.py).
"""

import asyncio
import contextlib
import itertools
from dataclasses import dataclass

import structlog
from psycopg.types.json import Jsonb

from tradewind.gateway import errors
from tradewind.gateway.assign import Draw
from tradewind.gateway.database import Assigned, AssignOutcome, Context, Database, DatabaseDownError, Stored
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.replay import BlockGate
from tradewind.gateway.result import Question
from tradewind.trading.decision import DecisionRequest

LEASE_SLACK_SECONDS = 5.0
_BUSY_SECONDS = (0.02, 0.05, 0.1, 0.2)  # between looks at a scope that is being asked about
_log = structlog.get_logger("tradewind.gateway")


@dataclass(frozen=True, slots=True)
class Turn:
    """A row that a request has to do with.

    Attributes:
        stored: the row.
        context: what its arms may see; None: it is answered already.
        taken: another gateway had begun to ask, and died.
    """

    stored: Stored
    context: Context | None
    taken: bool = False


class Drawing:
    """Commits the draws of one replica; `timeout` is a decision's, in seconds."""

    def __init__(self, database: Database, gate: BlockGate, metrics: Metrics, timeout: float) -> None:
        self._database = database
        self._gate = gate
        self._metrics = metrics
        self._timeout = timeout
        self._queues: dict[tuple[str, str], asyncio.Lock] = {}

    @property
    def lease(self) -> float:
        """Seconds for which the asking gateway is trusted to live."""
        return self._timeout + LEASE_SLACK_SECONDS

    async def assign(self, question: Question, drawn: Draw) -> Turn:
        """The row that this request is to answer, or one that is answered already.

        Raises:
            ApiError: the scope is busy, the position is not open, the id is being asked or was asked with another body.
            DatabaseDownError: nothing was committed, as far as is known.
        """
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
            return Turn(stored, context)
        if not is_asked_again(question, stored):
            raise errors.another_body(question.decision_id)
        if stored.state != "assigned":
            return Turn(stored, None)
        again = {
            **question.seen,
            "decision_id": question.decision_id,
            "lease": self.lease,
            "request": _jsonb(question.request),
            "request_hash": question.hash,
        }
        taken = await self._database.take_over(again)
        if taken is None:
            raise errors.being_asked(question.decision_id)
        _log.warning("took over", decision_id=question.decision_id)
        return Turn(*taken, taken=True)

    async def flip(self, question: Question, drawn: Draw, stored: Stored) -> tuple[Stored, Context]:
        """Ends the old position and commits the draw of the next one, before its arm is asked.

        Whoever is drawn is asked anew, also where it is the arm that wanted out: both arms decide on the same question.

        Raises:
            ApiError: the database is down, or another gateway has taken over.
        """
        parameters = {
            **question.seen,
            **_draw_columns(drawn),
            "decision_id": stored.decision_id,
            "lease": self.lease,
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

    async def withdraw(self, question: Question, stored: Stored) -> tuple[Stored, Context]:
        """Gives a decision whose experiment ended to the champion of the question's routing, before that is asked.

        Raises:
            ApiError: another gateway has taken over.
            DatabaseDownError: it is not known whether it is withdrawn.
        """
        champion = question.routing.champion
        withdrawn = await self._database.withdraw(
            {
                **question.seen,
                "decision_id": stored.decision_id,
                "version": champion,
                "sha256": question.routing.arms[champion].sha256,
                "lease": self.lease,
            }
        )
        if withdrawn is None:
            raise errors.being_asked(stored.decision_id)
        self._metrics.withdrawn.inc()
        _log.info("withdrawn", decision_id=stored.decision_id, drawn=stored.drawn_version, champion=champion)
        return withdrawn

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
            "lease": self.lease,
        }


def is_asked_again(question: Question, stored: Stored) -> bool:
    """Whether it is the stored question: the same body, or a retry with fresh prices while the decision was leased.

    Nobody has answered an assigned one, so fresh prices are as good there at any time.
    """
    if stored.request_hash == question.hash:
        return True
    fresh = question.routing.retries == "fresh" and stored.retry_hash == question.retry_hash
    return fresh and (stored.state == "assigned" or question.now <= stored.asking_until)


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


def _not_open(position_id: str | None) -> ApiError:
    return ApiError(
        ErrorCode.POSITION_NOT_OPEN,
        f"position_id: no position {position_id} is open in this scope",
        "report its execution first, correct scope and position_id, or leave position_id out for a new position",
        field="position_id",
    )
