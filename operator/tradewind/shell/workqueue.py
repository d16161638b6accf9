"""A keyed work queue: each key at most once in line, never twice at the same time, with back-off and later turns.

The same contract as client-go's: a key that is added while it is being worked on gets another turn afterwards, so no event
is lost and no resource is reconciled by two workers.
"""

import asyncio
import contextlib
import heapq
import math
import random
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Dedupes, delays, retries.

    Args:
        work: called with a key; returns seconds until the key wants another turn, or None. An exception earns a retry.
        on_error: told of each exception, with the key, the exception and the seconds until the retry.
        base_delay, max_delay: exponential back-off, seconds; jittered by +-25 %.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[float | None]],
        *,
        on_error: Callable[[K, Exception, float], None],
        base_delay: float = 0.2,
        max_delay: float = 60.0,
    ) -> None:
        self._work = work
        self._on_error = on_error
        self._base = base_delay
        self._max = max_delay
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._queued: set[K] = set()
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._order = 0
        self._timer_changed = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self.last_progress = 0.0
        """Loop time at which a worker last finished a key: what liveness looks at."""

    def add(self, key: K) -> None:
        """Ask for a turn now."""
        self._due.pop(key, None)
        if key in self._busy:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._drained.clear()
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Ask for a turn later; of several such wishes the earliest counts."""
        due = asyncio.get_running_loop().time() + seconds
        known = self._due.get(key)
        if known is not None and known <= due:
            return
        self._due[key] = due
        self._order += 1
        heapq.heappush(self._timers, (due, self._order, key))
        self._timer_changed.set()

    def add_soon(self, key: K, seconds: float) -> None:
        """Ask for a turn later because of news that come in numbers: a key that fails keeps to its back-off."""
        if key not in self._failures:
            self.add_after(key, seconds)

    def add_round(self, keys: Sequence[K], seconds: float) -> None:
        """Ask for a turn of each within that time, unless one is due in it anyway: evenly spread, so that nobody stands in line."""
        end = asyncio.get_running_loop().time() + seconds
        for number, key in enumerate(keys):
            if self._due.get(key, math.inf) > end:
                self.add_after(key, seconds * number / len(keys))

    @property
    def depth(self) -> int:
        """Keys in line or being worked on."""
        return len(self._queued) + len(self._busy)

    async def drained(self) -> None:
        """Wait until nothing is in line or being worked on."""
        await self._drained.wait()

    async def run(self, workers: int) -> None:
        """Work until cancelled."""
        self.last_progress = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._timer_loop(), name="workqueue-timers")
            for index in range(workers):
                group.create_task(self._worker(), name=f"workqueue-{index}")

    async def _timer_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._timer_changed.clear()
            while self._timers and self._timers[0][0] <= loop.time():
                due, _, key = heapq.heappop(self._timers)
                if self._due.get(key) == due:
                    self.add(key)
            wait = self._timers[0][0] - loop.time() if self._timers else None
            with contextlib.suppress(TimeoutError):  # not wait_for: Python 3.11's loses a cancellation now and then
                async with asyncio.timeout(wait):
                    await self._timer_changed.wait()

    async def _worker(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            key = await self._ready.get()
            self._queued.discard(key)
            self._busy.add(key)
            try:
                after = await self._work(key)
            except Exception as error:
                count = self._failures[key] = self._failures.get(key, 0) + 1
                delay = min(self._base * 2.0 ** min(count - 1, 20), self._max) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
                self._on_error(key, error, delay)
                self.add_after(key, delay)
            else:
                self._failures.pop(key, None)
                if after is not None:
                    self.add_after(key, after)
            finally:
                self._busy.discard(key)
                self.last_progress = loop.time()
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)
                if not self.depth:
                    self._drained.set()
