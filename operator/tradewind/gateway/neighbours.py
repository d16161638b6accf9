"""Spools of all replicas of an Endpoint on one volume: a folder each, and what a dead replica left is taken in by a living one.

Belongs here: whose folder it is, and who has died. Does not belong here: the files in it (spool.py).

A folder is its replica's for as long as that holds the lock of `.lock`: the kernel, or the server of the volume, lets go of it when
the process dies. Somebody else's folder is touched under its lock alone, and only once nobody has signed there for a while: where
a volume is mounted without locks across machines, a replica that lives keeps its folder by that. Taking in a record twice is
harmless, since the row's key decides; deleting one that was never taken in is not.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Awaitable, Callable
from io import BufferedRandom
from pathlib import Path

import structlog

from tradewind.gateway.database import DatabaseDownError
from tradewind.gateway.spool import Drained, Record, Spool

LOOK_SECONDS = 10.0
DEAD_AFTER_SECONDS = 60.0
_LOCK = ".lock"
_log = structlog.get_logger("tradewind.gateway")


class Lease:
    """The lock of one folder. It is held by the open file, and lost with the process."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LOCK
        self._file: BufferedRandom | None = None

    def take(self) -> bool:
        """Whether it is ours, taken just now or before.

        Raises:
            OSError: the volume cannot be used.
        """
        if self._file is not None:
            if _same(self._file, self._path):
                return True
            self.release()  # the lock was lost, and whoever took the folder in has removed it
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError:
            file.close()
            raise
        if not _same(file, self._path):  # it was removed between opening and locking
            file.close()
            return False
        self._file = file
        return True

    def sign(self) -> float:
        """Says that its replica lives; the time of it, by the clock of the volume.

        Raises:
            OSError: the volume cannot be used.
        """
        os.utime(self._path)
        return self._path.stat().st_mtime

    def signed(self) -> float | None:
        """When its replica was last seen, by the clock of the volume; None: nobody holds or held the folder."""
        try:
            return self._path.stat().st_mtime
        except FileNotFoundError:
            return None

    def release(self) -> None:
        """Lets go of it."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Neighbours:
    """The folders beside a replica's own.

    Args:
        own: its own folder.
        lease: of that folder.
        max_bytes: the bound of a spool.
        ingest: takes a record in.
        reachable: whether the database answers.
        told: of what was taken in.
    """

    def __init__(
        self,
        own: Path,
        lease: Lease,
        max_bytes: int,
        *,
        ingest: Callable[[Record], Awaitable[None]],
        reachable: Callable[[], bool],
        told: Callable[[Drained], None],
    ) -> None:
        self._own = own
        self._lease = lease
        self._max_bytes = max_bytes
        self._ingest = ingest
        self._reachable = reachable
        self._told = told

    async def run(self) -> None:
        """Signs its own folder and looks at the others, for ever."""
        while True:
            try:
                await self.look()
            except DatabaseDownError:
                _log.warning("the spool of a dead replica waits", reason="the database went down again")
            except Exception as error:  # the volume: it is tried again
                _log.error("spool volume not usable", error=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Takes in what dead replicas left, and removes their folders.

        Raises:
            DatabaseDownError: it went down meanwhile; what was not taken in is kept.
            OSError: the volume cannot be used.
        """
        if not await asyncio.to_thread(self._lease.take):
            return  # somebody takes our folder in: this process is one that came back under its name
        now = await asyncio.to_thread(self._lease.sign)
        if not self._reachable():
            return
        for folder in await asyncio.to_thread(self._left, now):
            lease = Lease(folder)
            if not await asyncio.to_thread(lease.take):
                continue
            try:
                drained = await Spool(folder, self._max_bytes).drain(self._ingest)
                if drained.taken or drained.refused:
                    _log.info("a dead replica left a spool", replica=folder.name)
                    self._told(drained)
                await asyncio.to_thread(_remove, folder)
            finally:
                lease.release()

    def _left(self, now: float) -> list[Path]:
        found = []
        for folder in sorted(self._own.parent.iterdir()):
            if folder == self._own or not folder.is_dir():
                continue
            signed = Lease(folder).signed()
            if signed is None:
                signed = folder.stat().st_mtime
            if now - signed > DEAD_AFTER_SECONDS:
                found.append(folder)
        return found


def _same(file: BufferedRandom, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove(folder: Path) -> None:
    """Removes a folder in which nothing waits; records that were refused wait for a person, and keep it."""
    if any(path.name != _LOCK for path in folder.iterdir()):
        return
    with contextlib.suppress(OSError):
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()
