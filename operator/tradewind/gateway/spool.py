"""Decisions that were given while the database was down, on local disk until it answers again.

Belongs here: the files. Does not belong here: when to spool (decide.py) and the SQL that takes records in (database.py).

One JSON object a line, synced before the caller is answered. The file is set aside while it is taken in, so that a crash in
between takes it in again: the rows' key makes that harmless. A record that cannot be taken in goes to a third file, as it
stands, and never blocks those behind it.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog
from pydantic import JsonValue

from tradewind.gateway.database import DatabaseDownError
from tradewind.schema.storable import cleaned

Record = dict[str, JsonValue]
_OF_A_RECORD = frozenset({"decision_id", "request_hash"})
_BEGIN = re.compile(rb'\{"(?:state|decision_id)"\s*:')
_log = structlog.get_logger("tradewind.gateway")


class SpoolFullError(Exception):
    """The bound is reached, or the disk refuses; the decision cannot be kept and must not be given."""


class Drained(NamedTuple):
    """Number of records that were taken in, and of those that were set aside for a person to look at."""

    taken: int
    refused: int


class Ownership(Protocol):
    """Whose the folder is, where others could take it in (neighbours.py)."""

    def take(self) -> bool:
        """Whether it is ours now.

        Raises:
            OSError: the disk.
        """
        ...


class Spool:
    """`decisions.jsonl` in a folder, bounded in bytes; `decisions.refused.jsonl` counts towards the bound.

    Nothing is written or taken in while somebody else has the folder.
    """

    def __init__(self, folder: Path, max_bytes: int, ownership: Ownership | None = None) -> None:
        self._ownership = ownership
        self._file = folder / "decisions.jsonl"
        self._aside = folder / "decisions.ingesting.jsonl"
        self._refused = folder / "decisions.refused.jsonl"
        self._max_bytes = max_bytes
        self._lock = asyncio.Lock()  # no record is written to a file that is just being set aside
        self.pending = sum(map(_count, (self._file, self._aside)))

    def left(self) -> list[Record]:
        """What lies there, the oldest first: at a start, what the process before has given and could not store."""
        try:
            found = [
                _record(part) for path in (self._aside, self._file) for line in _lines(path) for part in _apart(line)
            ]
        except OSError:
            return []  # it cannot be read now: draining it says so, and tries again
        return [record for record in found if record is not None]

    async def append(self, record: Record) -> None:
        """Adds a record and syncs it to disk.

        Raises:
            SpoolFullError: see there.
        """
        line = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        async with self._lock:
            await asyncio.to_thread(self._write, line)
            self.pending += 1

    async def drain(self, ingest: Callable[[Record], Awaitable[None]]) -> Drained:
        """Takes every record in, or sets it aside.

        Raises:
            DatabaseDownError: it is down again; all that was not taken in is kept for the next time.
        """
        taken = refused = 0
        if self._ownership is not None and not await asyncio.to_thread(self._ownership.take):
            return Drained(0, 0)
        while True:
            async with self._lock:
                if not self._aside.exists():
                    if not self._file.exists():
                        self.pending = 0
                        return Drained(taken, refused)
                    self._file.replace(self._aside)
            lines = _lines(self._aside)
            bad: list[bytes] = []
            for part in (part for line in lines for part in _apart(line)):
                if not await _taken(part, ingest):
                    bad.append(part)
                else:
                    taken += 1
            await asyncio.to_thread(self._refuse, bad)
            refused += len(bad)
            self._aside.unlink()
            self.pending = max(0, self.pending - len(lines))

    def _refuse(self, lines: list[bytes]) -> None:
        """Keeps lines as they stand, each once: a crash before the file aside is deleted brings them here again."""
        known = set(_lines(self._refused))
        fresh = [line for line in lines if line not in known]
        if fresh:
            _append(self._refused, b"".join(line + b"\n" for line in fresh))

    def _write(self, line: bytes) -> None:
        try:
            if self._ownership is not None and not self._ownership.take():
                raise SpoolFullError("another replica is just taking in this spool")
            self._file.parent.mkdir(parents=True, exist_ok=True)
            files = (self._file, self._aside, self._refused)
            size = sum(path.stat().st_size for path in files if path.exists())
            if size + len(line) > self._max_bytes:
                raise SpoolFullError(f"the spool is full ({self._max_bytes} bytes)")
            _append(self._file, line)
        except OSError as error:
            raise SpoolFullError(f"the spool cannot be written ({type(error).__name__})") from None


def _append(path: Path, line: bytes) -> None:
    """Adds a line and syncs it; half of it, left by a crash or a full disk, is never glued to the next one."""
    fresh = not path.exists()
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise
    if fresh:  # the name of a new file is synced with its folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


async def _taken(line: bytes, ingest: Callable[[Record], Awaitable[None]]) -> bool:
    """Whether a record went in; what it is that cannot go in is logged with its id, never with its content."""
    record = _record(line)
    reason = "no whole record"
    if record is not None:
        try:
            await ingest(record)
        except DatabaseDownError:
            raise
        except Exception as error:  # its values, or a fault of ours: the others go in, and this one is kept
            reason = type(error).__name__
        else:
            return True
    decision_id = None if record is None else cleaned(str(record.get("decision_id")), 128)
    _log.error("spooled record refused", decision_id=decision_id, reason=reason)
    return False


def _lines(path: Path) -> list[bytes]:
    """The lines, with a last one that a crash cut off; none where there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return [line for line in content.split(b"\n") if line]


def _count(path: Path) -> int:
    try:
        return len(_lines(path))
    except OSError:
        return 1  # it cannot be read now: draining it says so, and tries again


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.keys() >= _OF_A_RECORD else None


def _apart(line: bytes) -> tuple[bytes, ...]:
    """A whole record that an earlier version glued to half of another one, and that half; else the line as it is."""
    if _record(line) is None:
        for found in _BEGIN.finditer(line, 1):
            if _record(line[found.start() :]) is not None:
                return line[: found.start()], line[found.start() :]
    return (line,)
