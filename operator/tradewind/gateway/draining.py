"""Writing what waits on disk to the database once that answers: this replica's spool, and those that dead replicas left.

Belongs here: when, and what is told of it. Does not belong here: the files (spool.py), whose they are (neighbours.py), SQL.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from tradewind.gateway.database import Database, DatabaseDownError
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.neighbours import Lease, Neighbours
from tradewind.gateway.settings import Settings
from tradewind.gateway.spool import Drained, Record, Spool

_LOOK_SECONDS = 0.25
_BLOCKED_SECONDS = 10.0
_log = structlog.get_logger("tradewind.gateway")


class Draining:
    """The spool of one replica and, on a volume that replicas share, those beside it."""

    def __init__(self, settings: Settings, database: Database, metrics: Metrics) -> None:
        self._settings = settings
        self._database = database
        self._metrics = metrics
        self._lease = Lease(settings.spool_dir) if settings.spool_shared else None
        self.spool = Spool(settings.spool_dir, settings.spool_max_bytes, self._lease)

    def loops(self, ingest: Callable[[Record], Awaitable[None]]) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs for as long as the replica does; `ingest` takes one record in."""
        if self._lease is None:
            return [lambda: self._run(ingest)]
        neighbours = Neighbours(
            self._settings.spool_dir,
            self._lease,
            self._settings.spool_max_bytes,
            ingest=ingest,
            reachable=lambda: self._database.up,
            told=self._tell,
        )
        return [lambda: self._run(ingest), neighbours.run]

    async def finish(self, seconds: float) -> None:
        """Waits until all is written, so many seconds at most: where the disk goes with the replica, what lies on it is lost."""
        if not self.spool.pending or not seconds:
            return
        _log.warning("waits for the database before it ends", decisions=self.spool.pending, seconds=seconds)
        for _ in range(math.ceil(seconds / _LOOK_SECONDS)):
            if not self.spool.pending:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        if self.spool.pending:
            _log.error("ends with decisions that the database does not have", decisions=self.spool.pending)

    def close(self) -> None:
        """Leaves what could not be written to whoever comes next."""
        if self._lease is not None:
            self._lease.release()

    async def _run(self, ingest: Callable[[Record], Awaitable[None]]) -> None:
        while True:
            if self.spool.pending and self._database.up:
                try:
                    self._tell(await self.spool.drain(ingest))
                except DatabaseDownError:
                    _log.warning("spool waits", reason="the database went down again")
                except Exception as error:  # the disk: what is bad in a record is set aside by the spool itself
                    _log.error("spool blocked", error=type(error).__name__)
                    await asyncio.sleep(_BLOCKED_SECONDS)
            self._metrics.spooled.set(self.spool.pending)
            await asyncio.sleep(_LOOK_SECONDS)

    def _tell(self, drained: Drained) -> None:
        if drained.taken or drained.refused:
            self._metrics.spool_refused.inc(drained.refused)
            _log.info("spool written", decisions=drained.taken, refused=drained.refused)
