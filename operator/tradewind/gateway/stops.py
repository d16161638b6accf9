"""When an experiment ends, its candidate answers no more: also not what was drawn for it and is not answered yet.

Belongs here: whether a draw still stands by the newest routing, and breaking off a question when it falls. Does not belong here:
what becomes of the decision (decide.py, drawing.py).

A draw stands while its experiment is routed to, or its version is the champion. Only fresh draws fall: a position that the
candidate opened is led to its end by who opened it, as after any experiment. A replay has no caller who trades on its answers,
and two runs of it must not differ: nothing falls there.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tradewind.gateway.database import Stored
from tradewind.trading.assignment import Arm
from tradewind.trading.routing import Routing

_T = TypeVar("_T")


class Stops:
    """The newest routing of one replica, and the questions that hang on it."""

    def __init__(self) -> None:
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
        if routing is None or routing.clock == "replay":
            return False
        if stored.arm != Arm.CANDIDATE or stored.parent_decision_id is not None:
            return False
        return self.over(stored) and routing.champion != stored.drawn_version

    def over(self, stored: Stored) -> bool:
        """Whether the experiment of a draw has ended, so that its other arm need not be asked either."""
        routing = self.routing
        if routing is None or routing.clock == "replay" or stored.experiment_uid is None:
            return False
        return routing.experiment is None or routing.experiment.uid != stored.experiment_uid

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
