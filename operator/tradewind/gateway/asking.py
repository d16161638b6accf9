"""Asking a version, and what stands in for it: the same seconds, limits and view whether it was drawn or is the shadow.

Belongs here: whose answer stands, and how a decision's time is shared out. Does not belong here: how one arm is asked
(arms.py), what it may see (assign.py), who was drawn (drawing.py).
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tradewind.gateway.answers import ArmError
from tradewind.gateway.arms import Arms, Asked
from tradewind.gateway.assign import flips, view
from tradewind.gateway.database import Context
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.protocols import ArmAnswer, ArmQuestion
from tradewind.gateway.result import Question, Result
from tradewind.trading.decision import DecisionInput
from tradewind.trading.error_kinds import ErrorKind

_LOOK_SECONDS = 1.0
"""A clock that is set, or weights that are renewed meanwhile, are noticed so soon."""


class Asking:
    """Asks on behalf of one replica; `timeout` is a decision's, in seconds, with the fallback's answer."""

    def __init__(self, arms: Arms, metrics: Metrics, timeout: float) -> None:
        self._arms = arms
        self._metrics = metrics
        self._timeout = timeout

    async def drawn(
        self,
        question: Question,
        version: str,
        context: Context | None,
        *,
        flipped: bool = False,
        left: Callable[[], float] | None = None,
    ) -> Result:
        """Asks the drawn version, then the fallback if there is another one.

        Args:
            question: what is asked.
            version: who was drawn.
            context: what it may see.
            flipped: whether the position has ended that the question continued.
            left: seconds for which the drawn version may still answer; None: for as long as the decision has.
        """
        routing = question.routing
        refused = routing.flips == "refuse" and not flipped
        reserve = self.reserve(question, version)

        shown = shown_to(question, version, version, context, flipped=flipped)
        asking = self._ask(question, version, shown, self._timeout - reserve)
        drawn = await (asking if left is None else _while_valid(asking, version, left))
        if refused and flips_position(question, context, drawn.answer):
            drawn = replace(drawn, answer=None, error=_refused_flip())
        if drawn.answer is not None or routing.fallback == version:
            return Result(drawn, None if drawn.answer is None else version, drawn.answer, shown, drawn.cost_cny)
        shown_fallback = shown_to(question, routing.fallback, version, context, flipped=flipped)
        second = await self._ask(question, routing.fallback, shown_fallback, reserve)
        if refused and flips_position(question, context, second.answer):
            second = replace(second, answer=None, error=_refused_flip())
        cost = added(drawn.cost_cny, second.cost_cny)
        if second.answer is None:
            return Result(drawn, None, None, shown, cost)
        self._metrics.fallbacks.labels(version).inc()
        return Result(drawn, routing.fallback, second.answer, shown_fallback, cost)

    async def shadow(self, question: Question, version: str, shown: DecisionInput) -> Asked:
        """Asks the version that was not drawn, for as long as it would have had, and nobody in its place."""
        return await self._ask(question, version, shown, self._timeout - self.reserve(question, version), "shadow")

    async def stand_in(self, question: Question, version: str, context: Context, *, flipped: bool) -> Asked:
        """Asks the fallback in place of a shadow, as it would have been asked in place of the drawn version."""
        fallback = question.routing.fallback
        shown = shown_to(question, fallback, version, context, flipped=flipped)
        return await self._ask(question, fallback, shown, self.reserve(question, version), "shadow")

    def reserve(self, question: Question, version: str) -> float:
        """The fallback's seconds, set aside beforehand: a slow arm must not use up the whole decision."""
        routing = question.routing
        wanted = 0.0 if routing.fallback == version else routing.arms[routing.fallback].timeout_seconds
        return min(wanted, self._timeout / 2)

    async def _ask(
        self, question: Question, name: str, shown: DecisionInput, at_most: float, role: str = "drawn"
    ) -> Asked:
        target, symbol = question.routing.arms.get(name), question.request.scope.symbol
        asked = None if target is None else ArmQuestion(target, shown, symbol, question.limits)
        return await self._arms.ask(name, asked, at_most, role)


async def _while_valid(asking: Coroutine[Any, Any, Asked], version: str, left: Callable[[], float]) -> Asked:
    """What comes of asking while there is time left; afterwards nobody reads what the version may still say."""
    began = time.perf_counter()
    task = asyncio.create_task(asking)
    try:
        while not task.done() and (seconds := left()) > 0:
            await asyncio.wait({task}, timeout=min(seconds, _LOOK_SECONDS))
        if task.done():
            return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    error = ArmError(ErrorKind.UNAVAILABLE, "the weights expired before it answered: nobody renewed them")
    return Asked(version, None, error, (time.perf_counter() - began) * 1000, None, ())


def shown_to(question: Question, name: str, version: str, context: Context | None, *, flipped: bool) -> DecisionInput:
    """What `name` is shown when it answers as `version`."""
    target = question.routing.arms.get(name)
    external = question.routing.external_fields if target is not None and target.outside else None
    return view(question.request, question.account, context, version, flipped=flipped, external_fields=external)


def flips_position(question: Question, context: Context | None, answer: ArmAnswer | None) -> bool:
    """Whether an answer ends the position that the question continues, and opens another."""
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


def added(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    """A sum of costs; None where none is known."""
    return first if second is None else second if first is None else first + second


def _refused_flip() -> ArmError:
    return ArmError(ErrorKind.INVALID_DECISION, "opens inside a position; the Endpoint says flips: refuse")
