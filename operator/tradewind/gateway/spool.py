"""Decisions that were given while the database was down, on local disk until it answers again.

Belongs here: the file. Does not belong here: when to spool (decide.py) and the SQL that takes it in (database.py).

One JSON object a line, synced before the caller is answered. The file is set aside while it is taken in, so that a crash in
between takes it in again: the rows' key makes that harmless.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import JsonValue

Record = dict[str, JsonValue]


class SpoolFullError(Exception):
    """The bound is reached, or the disk refuses; the decision cannot be kept and must not be given."""


class Spool:
    """`decisions.jsonl` in a folder, bounded in bytes."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._file = folder / "decisions.jsonl"
        self._aside = folder / "decisions.ingesting.jsonl"
        self._max_bytes = max_bytes
        self._lock = asyncio.Lock()  # no record is written to a file that is just being set aside
        self.pending = sum(len(_lines(path)) for path in (self._file, self._aside))

    async def append(self, record: Record) -> None:
        """Adds a record and syncs it to disk.

        Raises:
            SpoolFullError: see there.
        """
        line = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        async with self._lock:
            await asyncio.to_thread(self._write, line)
            self.pending += 1

    async def drain(self, ingest: Callable[[Record], Awaitable[None]]) -> int:
        """Takes every record in; their number. An error of `ingest` keeps all of them for the next time."""
        taken = 0
        while self._aside.exists() or self._file.exists():
            async with self._lock:
                if not self._aside.exists():
                    self._file.replace(self._aside)
            lines = _lines(self._aside)
            for line in lines:
                await ingest(json.loads(line))
            self._aside.unlink()
            taken += len(lines)
            self.pending = max(0, self.pending - len(lines))
        return taken

    def _write(self, line: bytes) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            size = sum(path.stat().st_size for path in (self._file, self._aside) if path.exists())
            if size + len(line) > self._max_bytes:
                raise SpoolFullError(f"the spool is full ({self._max_bytes} bytes)")
            with self._file.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SpoolFullError(f"the spool cannot be written ({type(error).__name__})") from None


def _lines(path: Path) -> list[bytes]:
    """Whole lines; a last line cut off by a crash was never answered."""
    try:
        content = path.read_bytes()
    except OSError:
        return []
    return [line for line in content.split(b"\n")[:-1] if line]
