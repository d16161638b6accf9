"""When an experiment ends, its candidate answers no more: also not what was drawn for it and is not answered yet.

Belongs here: whether a draw still stands by the newest routing, and breaking off a question when it falls. Does not belong here:
what becomes of the decision (decide.py, drawing.py).

A draw stands while its experiment is routed to, or its version is the champion. Only fresh draws fall: a position that the
candidate opened is led to its end by who opened it, as after any experiment. A replay has no caller who trades on its answers,
and two runs of it must not differ: nothing falls there.

A replica that hears nothing more does not know whether the experiment goes on. Once the weights have expired it takes no answer of
the candidate either: the draw stands, since a draw that hangs on how long an answer takes would be a selection, and the fallback
answers.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from tradewind.gateway.database import Stored
from tradewind.trading.assignment import Arm
from tradewind.trading.routing import Routing

_T = TypeVar("_T")


class Stops:
    """The newest routing of one replica, and the questions that hang on it."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.routing: Routing | None = None
        self._asked: dict[asyncio.Future[None], Stored] = {}

    def obey(self, routing: Routing) -> None:
        """Another document is obeyed from now on."""
        self.routing = routing
        for stopped, stored in self._asked.items():
            if not stopped.done() and self.fallen(stored):
                stopped.set_result(None)

    def fallen(self, stored: Stored) -> bool:
        """Whether a draw for a candidate does not stand any more."""
        routing = self.routing
        return (
            self._may_fall(stored)
            and self.over(stored)
            and routing is not None
            and routing.champion != stored.drawn_version
        )

    def over(self, stored: Stored) -> bool:
        """Whether the experiment of a draw has ended, so that its other arm need not be asked either."""
        routing = self.routing
        if routing is None or routing.clock == "replay" or stored.experiment_uid is None:
            return False
        return routing.experiment is None or routing.experiment.uid != stored.experiment_uid

    def left(self, stored: Stored) -> Callable[[], float] | None:
        """Seconds for which the candidate may still answer, whenever it is asked for; None: its answer hangs on no weight."""
        if not self._may_fall(stored):
            return None

        def seconds() -> float:
            routing = self.routing
            if routing is None or stored.drawn_version in (routing.champion, routing.fallback):
                return float("inf")
            return (routing.expires_at - self._clock()).total_seconds()

        return seconds

    def _may_fall(self, stored: Stored) -> bool:
        routing = self.routing
        if routing is None or routing.clock == "replay":
            return False
        return stored.arm == Arm.CANDIDATE and stored.parent_decision_id is None

    async def unless_fallen(self, stored: Stored, asking: Coroutine[Any, Any, _T]) -> _T | None:
        """What comes of asking; None: the draw fell before, and nobody is asked any more."""
        if self.fallen(stored):
            asking.close()
            return None
        stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[stopped] = stored
        task = asyncio.create_task(asking)
        try:
            both: set[asyncio.Future[Any]] = {task, stopped}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return None if self.fallen(stored) else task.result()
        finally:
            del self._asked[stopped]
            stopped.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            elif not task.cancelled():
                task.exception()  # said above, or of no interest any more
