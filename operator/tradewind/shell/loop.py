"""How long the event loop was held up by one piece of work: while it is, nobody's weight is renewed.

A machine that is busy with other programs holds the loop up as well, and nothing here can help it. So of each delay only as much
counts as this thread has computed meanwhile.
"""

import asyncio
import time
from collections.abc import Callable

from prometheus_client import Gauge, Histogram

BLOCKED = Histogram(
    "tradewind_loop_blocked_seconds",
    "How long the event loop was held up by the operator's own work, each time above 10 ms.",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
LONGEST = Gauge("tradewind_loop_longest_block_seconds", "The longest of them in the last one to two minutes.")

_TICK_SECONDS = 0.02
_LEAST_SECONDS = 0.01
_WINDOW_SECONDS = 60.0


class LoopWatch:
    """Measures for ever.

    Args:
        clock, cpu: seconds on the wall, and of processor time of this thread.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.thread_time
    ) -> None:
        self._clock, self._cpu = clock, cpu
        self._due, self._computed = clock(), cpu()
        self._windows = [0.0, 0.0]
        self._opened = clock()

    def tick(self) -> float:
        """Takes the time since the tick before; returns how long the loop was held up."""
        now, computed = self._clock(), self._cpu()
        blocked = max(0.0, min(now - self._due, computed - self._computed))
        if blocked > _LEAST_SECONDS:
            BLOCKED.observe(blocked)
        if now - self._opened > _WINDOW_SECONDS:
            self._windows, self._opened = [self._windows[1], 0.0], now
        self._windows[1] = max(self._windows[1], blocked)
        LONGEST.set(max(self._windows))
        self._due, self._computed = now + _TICK_SECONDS, computed
        return blocked

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.tick()
