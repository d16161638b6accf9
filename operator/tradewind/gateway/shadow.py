"""The arm that was not drawn: asked the same question beside the drawn one, stored, and never waited for by a live caller.

Belongs here: when a shadow is asked, how many at a time, what its row holds, and how they end with the replica. Does not
belong here: who the shadow is (assign.py), how it is asked (asking.py), which errors are no pair (trading/error_kinds.py).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from pydantic import JsonValue

from tradewind.gateway.arms import Asked
from tradewind.gateway.asking import Asking, added, shown_to
from tradewind.gateway.assign import ShadowDraw, shadow_of
from tradewind.gateway.database import Context, Database, DatabaseDownError, Stored
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.protocols import ArmAnswer
from tradewind.gateway.result import Question, Result, said_of
from tradewind.trading.error_kinds import AnswerState, ErrorKind, Unasked, answer_state

MOST_UNDER_WAY = 64
"""Live shadows of a replica at a time. An arm's client has 100 connections: the drawn questions keep at least 36 of them."""
_HEAD_START_SECONDS = (
    0.05  # at most, for the drawn question: a fast arm's answer is given before the loop works for its shadow
)
_TOGETHER_SECONDS = 0.1  # rows that come within it are one statement
_PAUSES = (0.2, 1.0, None)  # seconds between attempts to store; a row that is not stored is no pair
_log = structlog.get_logger("tradewind.gateway")


@dataclass(frozen=True, slots=True)
class _Said:
    """What came of a shadow, before it is known what would have stood in for it. `kind`: of its error, or why it was not asked."""

    kind: ErrorKind | Unasked | None
    asked: Asked | None = None
    shown: JsonValue = None
    stand_in: Asked | None = None


class Shadow:
    """The shadow of one draw. Either `beside` (a replay) or `keep` (live) takes what it says; else `drop` ends it."""

    def __init__(self, draw: ShadowDraw, question: Question, asked_at: datetime) -> None:
        self.draw = draw
        self.question = question
        self.asked_at = asked_at
        self.drawn: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[_Said | None] | None = None

    async def beside(self, result: Result) -> dict[str, JsonValue]:
        """Waits for the shadow; its columns, to be written in one statement with the drawn answer."""
        assert self.task is not None
        said = await self.task
        assert said is not None
        return self.columns(said, result)

    def keep(self, result: Result) -> None:
        """The decision has its answer: the shadow is stored once it has ended, in the background."""
        if not self.drawn.done():
            self.drawn.set_result(result)

    def drop(self) -> None:
        """The decision has no answer of this draw. Does nothing once the shadow was kept or has ended."""
        if not self.drawn.done():
            self.drawn.cancel()
            if self.task is not None:
                self.task.cancel()

    def columns(self, said: _Said, result: Result) -> dict[str, JsonValue]:
        """The row, with what stands for the shadow where it was wrong in itself."""
        state, asked, answer, answered_by = answer_state(said.kind), said.asked, None, None
        if state is AnswerState.ANSWERED and asked is not None:
            answer, answered_by = asked.answer, self.draw.version
        elif state is AnswerState.FAILED:
            answer, answered_by = self._stood_in(said, result)
        error = None if asked is None else asked.error
        own = None if asked is None else asked.answer
        cost = None if asked is None else asked.cost_cny
        if said.stand_in is not None:
            cost = added(cost, said.stand_in.cost_cny)
        return {
            "decision_id": self.question.decision_id,
            "arm": str(self.draw.arm),
            "version": self.draw.version,
            "sha256": self.draw.sha256,
            "state": str(state),
            "answer": None if answer is None else answer.decision.model_dump(mode="json"),
            "answered_by": answered_by,
            "probabilities": None if own is None or own.probabilities is None else dict(own.probabilities),
            "latency_ms": None if asked is None else round(asked.latency_ms, 3),
            "error_kind": None if said.kind is None else str(said.kind),
            "error_detail": None if error is None else error.detail,
            "cost_cny": None if cost is None else str(cost),
            "reported_model": None if own is None else own.reported_model,
            "shown": said.shown,
            "asked_at": self.asked_at.isoformat(),
            **said_of(asked),
        }

    def _stood_in(self, said: _Said, result: Result) -> tuple[ArmAnswer | None, str | None]:
        """The fallback's answer: the drawn arm's own where that is the fallback, so that it is not asked twice."""
        fallback = self.question.routing.fallback
        if fallback == self.draw.version:
            answer = None
        elif fallback == result.drawn.version:
            answer = result.drawn.answer
        else:
            answer = None if said.stand_in is None else said.stand_in.answer
        return answer, None if answer is None else fallback


_Kept = tuple[Shadow, dict[str, JsonValue]]


class Shadows:
    """All shadows of one replica."""

    def __init__(
        self,
        database: Database,
        asking: Asking,
        metrics: Metrics,
        *,
        clock: Callable[[], datetime],
        most: int = MOST_UNDER_WAY,
    ) -> None:
        self._database = database
        self._asking = asking
        self._metrics = metrics
        self._clock = clock
        self._most = most
        self._running: set[asyncio.Task[_Said | None]] = set()
        self._unstored: list[_Kept] = []
        self._writing: asyncio.Task[None] | None = None
        self._closing = False

    def begin(self, question: Question, stored: Stored, context: Context | None) -> Shadow | None:
        """Begins to ask the shadow of a draw that was committed; None where there is none.

        It is a task that nobody but a replay waits for.
        """
        draw = None if stored.parent_decision_id is not None else shadow_of(question.routing, stored)
        if draw is None or context is None:
            return None
        shadow = Shadow(draw, question, self._clock())
        unasked = None if draw.asked else Unasked.NOT_ASKED
        if unasked is None and not question.replay and len(self._running) >= self._most:
            unasked = Unasked.SHED
        flipped = stored.flipped_from is not None
        own = replace(context, history=context.shadow_history or ())
        said = self._said(shadow, own, stored.drawn_version, unasked, flipped=flipped)
        task = asyncio.create_task(said if question.replay else self._kept(shadow, said))
        shadow.task = task
        self._running.add(task)
        task.add_done_callback(self._ended)
        return shadow

    async def close(self, seconds: float) -> None:
        """Lets the shadows under way end within so many seconds; what has not ended by then is stored as cut off."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)
        self._closing = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=1)
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=_TOGETHER_SECONDS + self._database.timeout)

    async def _said(
        self, shadow: Shadow, context: Context, drawn_version: str, unasked: Unasked | None, *, flipped: bool
    ) -> _Said:
        if unasked is not None:
            return _Said(unasked)
        if not shadow.question.replay:
            await asyncio.wait({shadow.drawn}, timeout=_HEAD_START_SECONDS)
        question, version = shadow.question, shadow.draw.version
        try:
            shown = shown_to(question, version, version, context, flipped=flipped)
            asked = await self._asking.shadow(question, version, shown)
            stand_in = None
            kind = None if asked.error is None else asked.error.kind
            fallback = question.routing.fallback
            if answer_state(kind) is AnswerState.FAILED and fallback not in (version, drawn_version):
                stand_in = await self._asking.stand_in(question, version, context, flipped=flipped)
            return _Said(kind, asked, shown.model_dump(mode="json"), stand_in)
        except Exception as error:  # the caller must not notice
            _log.error("shadow failed unexpectedly", version=version, error=type(error).__name__)
            return _Said(ErrorKind.UNAVAILABLE)

    async def _kept(self, shadow: Shadow, saying: Coroutine[None, None, _Said]) -> _Said | None:
        try:
            said = await saying
        except asyncio.CancelledError:
            answered = shadow.drawn.done() and not shadow.drawn.cancelled()
            if not (self._closing and answered):
                raise
            said = _Said(Unasked.CUT_OFF)
        columns = shadow.columns(said, await shadow.drawn)
        self._unstored.append((shadow, columns))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return said

    async def _write(self) -> None:
        """Stores what has come, a few at a time, until nothing is left."""
        while self._unstored:
            if not self._closing:
                await asyncio.sleep(_TOGETHER_SECONDS)
            kept, self._unstored = self._unstored, []
            try:
                await self._store(kept)
            except Exception:  # one of them cannot be stored: the others must not go with it
                for one in kept:
                    try:
                        await self._store([one])
                    except Exception as error:
                        _log.error("shadow not stored", version=one[0].draw.version, error=type(error).__name__)

    async def _store(self, kept: list[_Kept]) -> None:
        for pause in _PAUSES:
            try:
                await self._database.store_shadows([columns for _, columns in kept])
            except DatabaseDownError:
                if pause is not None:
                    await asyncio.sleep(pause)
            else:
                for shadow, columns in kept:
                    self.count(shadow, columns)
                return
        _log.warning("shadows lost", number=len(kept), reason="the database is down")

    def count(self, shadow: Shadow, columns: Mapping[str, JsonValue]) -> None:
        """Counts a shadow that was stored."""
        self._metrics.shadows.labels(shadow.draw.version, columns["state"]).inc()

    def _ended(self, task: asyncio.Task[_Said | None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("shadow not stored", error=type(error).__name__)
