"""What a replica takes in, so that what it takes in is answered in time; the rest is told at once to come again.

Belongs here: how many requests of each kind are in work at a time, and when that number is changed. Does not belong here: HTTP
(app.py), connections that send nothing (connections.py), and load that an arm refuses (arms.py).

No request waits for room: a queue before the work would only make answers old. Decisions are taken in up to a limit that follows
what is scarce: it shrinks by a share while even the shortest wait of a while is long (work stands in line, for the event loop or
for the database), and grows by a little while it is used and nothing stands. Waiting for a slow arm is no work and shrinks
nothing. Reports and read-backs have limits of their own: what decisions leave undone, they do not.
"""

import contextlib
import random
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from tradewind.gateway import errors
from tradewind.gateway.metrics import Metrics

TICK_SECONDS: Final = 0.05
"""Between two looks at how late the event loop is."""
_TICKS: Final = 5
_LATE_SECONDS: Final = 0.05
"""A turn of the event loop takes no longer. A statement takes several turns, and its time is bounded (database_timeout)."""
_LEAST: Final = 16
_SHRINK, _SHRINK_HARD, _GROW = 0.8, 0.5, 1.1
_HARD: Final = 4.0
_RETRY_SECONDS: Final = (1, 3)
"""Spread, so that those who were refused together do not come again together."""


class Share(StrEnum):
    """Kinds of requests that do not take each other's room."""

    DECISIONS = "decisions"
    REPORTS = "reports"
    READS = "reads"


_ROOM: Final = {Share.REPORTS: 64, Share.READS: 16}


class Limit:
    """A number that follows pressure: 1 is as much as is wanted."""

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._least = float(min(_LEAST, most))
        self._value = float(most)

    @property
    def value(self) -> int:
        """Requests that may be in work at a time."""
        return int(self._value)

    def look(self, pressure: float, busiest: int) -> None:
        """Shrinks or grows.

        Args:
            pressure: the shortest wait of a while, as a share of the longest that is wanted.
            busiest: most requests that were in work at a time meanwhile.
        """
        if pressure > 1.0 and busiest >= self._least:  # with fewer in work the wait is not of our making
            share = _SHRINK_HARD if pressure > _HARD else _SHRINK
            self._value = max(self._least, min(self._value, float(busiest)) * share)
        elif busiest >= int(self._value):
            self._value = min(self._most, max(self._value + 1, self._value * _GROW))


class Admission:
    """The room of one replica.

    Args:
        most: decisions in work at a time, at most.
        late_statement: seconds; where even the fastest statement of a while takes longer, the database is behind.
    """

    def __init__(self, metrics: Metrics, *, most: int, late_statement: float) -> None:
        self._metrics = metrics
        self._late_statement = late_statement
        self._limit = Limit(most)
        self._in_work = dict.fromkeys(Share, 0)
        self._ticks = 0
        self._shortest = float("inf")
        self._fastest = float("inf")
        self._busiest = 0
        metrics.decision_room.set_function(lambda: self._limit.value)
        metrics.in_work.set_function(lambda: self._in_work[Share.DECISIONS])

    def demand_room(self, share: Share) -> None:
        """Refuses where there is none; takes none.

        Raises:
            ApiError: 503 with Retry-After.
        """
        room = self._limit.value if share is Share.DECISIONS else _ROOM[share]
        if self._in_work[share] >= room:
            if share is Share.DECISIONS:
                self._busiest = max(self._busiest, self._in_work[share])
            self._metrics.shed.labels(share.value).inc()
            raise errors.overloaded(random.randint(*_RETRY_SECONDS))  # noqa: S311 - a spread, no secret

    @contextlib.contextmanager
    def room(self, share: Share) -> Iterator[None]:
        """Room for one request while it is in work.

        Raises:
            ApiError: as `demand_room`.
        """
        self.demand_room(share)
        self._in_work[share] += 1
        if share is Share.DECISIONS:
            self._busiest = max(self._busiest, self._in_work[share])
        try:
            yield
        finally:
            self._in_work[share] -= 1

    def took(self, seconds: float) -> None:
        """A statement of the database took so long, with its wait for a connection."""
        self._fastest = min(self._fastest, seconds)

    def tick(self, late: float) -> None:
        """A look at the event loop, which was so many seconds late; every few of them the limit is set anew."""
        self._shortest = min(self._shortest, late)
        self._ticks += 1
        if self._ticks < _TICKS:
            return
        behind = 0.0 if self._fastest == float("inf") else self._fastest / self._late_statement
        self._limit.look(max(self._shortest / _LATE_SECONDS, behind), self._busiest)
        self._ticks, self._shortest, self._fastest = 0, float("inf"), float("inf")
        self._busiest = self._in_work[Share.DECISIONS]
