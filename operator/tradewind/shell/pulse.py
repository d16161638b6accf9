"""Whether the database answers, found by asking it every few seconds, so that no turn waits for it to say no.

Without this an operator is blind where it matters: a lock or a server that is gone holds up the very turns that would say so,
and those of every other namespace behind them. While the pulse is missing each turn is told at once; once it is back, or once
it is another server or knows less than before, everything that is open gets a turn.
"""

import asyncio
from collections.abc import Callable

import structlog
from prometheus_client import Gauge

from tradewind.core.world import DatabaseUnavailableError
from tradewind.shell.database import Beat, Database

log = structlog.get_logger()

EVERY_SECONDS = 3.0
_AGAIN_SECONDS = 1.0
_MISSED = 2
"""In a row: one alone may be a checkpoint, or a migration."""

UP = Gauge("tradewind_operator_database_up", "Whether the database answers the operator.")


class Pulse:
    """Asks for ever. `news` is called when the database goes, comes back, or is not what it was."""

    def __init__(self, database: Database, news: Callable[[], None]) -> None:
        self._database = database
        self._news = news
        self._last: Beat | None = None
        self._missed = 0
        self._refused: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause = await self.once()
            await asyncio.sleep(pause)

    async def once(self) -> float:
        """One question; seconds until the next."""
        try:
            beat = await self._database.beat()
        except DatabaseUnavailableError as error:
            self._miss(str(error))
            return _AGAIN_SECONDS
        except Exception:  # the pulse itself must not end the operator
            log.exception("the database could not be asked")
            return EVERY_SECONDS
        self._missed = 0
        changed = self._last is not None and not beat.follows(self._last)
        claim = self._database.claim
        refused = claim.refusal if claim is not None else None
        if (refused is None) != (self._refused is None):
            log.warning("installation", ours=refused is None, why=refused)
            changed = changed or self._last is not None
        self._refused = refused
        if self._database.down is not None or changed:
            log.warning("database", up=True, changed=changed)
            self._database.down = None
            self._news()
        self._last = beat
        UP.set(1)
        return EVERY_SECONDS

    def _miss(self, why: str) -> None:
        self._missed += 1
        UP.set(0)
        if self._missed >= _MISSED and self._database.down is None:
            log.warning("database", up=False, error=why)
            self._database.down = why
            self._news()
