"""Curves of a training as TensorBoard reads them: event files beside the checkpoints, written as the training goes.

    tensorboard --logdir <output>/tensorboard

Belongs here: the format, a few dozen bytes a point (docs/dependencies.md says why it is not a package's). Does not belong here: what is
logged. A disk that takes no more ends the curves and never the training.
"""

import logging
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = "tensorboard"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
_MASK: Final = 0xA282EAD8  # of checksums in record files

_logger = logging.getLogger(__name__)


class EventFile:
    """The event file of one attempt; TensorBoard shows the files of a folder as one run."""

    def __init__(self, folder: Path, attempt: int, *, step: int = 0, clock: Callable[[], float] = time.time) -> None:
        """Begins the file.

        Args:
            folder: of the run's files.
            attempt: names the file, in the order in which attempts were made.
            step: that the attempt begins after; points of later steps, of attempts before, are no longer shown.
            clock: seconds since 1970.
        """
        self._file = folder / f"events.out.tfevents.{int(clock()):010d}.attempt-{attempt:04d}"
        self._clock = clock
        self._broken = False
        version = _field(3, _BYTES, b"brain.Event:2")
        self._append(version, step=None, folder=folder)
        self._append(_field(7, _BYTES, _field(1, _VARINT, _varint(1))), step=step + 1)  # a session starts there

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Points of curves at a step, by name."""
        points = [
            _field(1, _BYTES, _field(1, _BYTES, name.encode()) + _field(2, _FIXED32, struct.pack("<f", value)))
            for name, value in values.items()
        ]
        self._append(_field(5, _BYTES, b"".join(points)), step=step)

    def _append(self, content: bytes, *, step: int | None, folder: Path | None = None) -> None:
        if self._broken:
            return
        event = _field(1, _FIXED64, struct.pack("<d", self._clock()))
        event += (b"" if step is None else _field(2, _VARINT, _varint(step))) + content
        length = struct.pack("<Q", len(event))
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab") as stream:
                stream.write(length + _checksum(length) + event + _checksum(event))
        except OSError as error:
            self._broken = True
            _logger.warning("curves end here: %s", error)


def _field(number: int, wire: int, content: bytes) -> bytes:
    length = _varint(len(content)) if wire == _BYTES else b""
    return _varint(number << 3 | wire) + length + content


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*groups, value))


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901 - CRC-32C (Castagnoli), reflected
        table.append(value)
    return tuple(table)


_TABLE: Final = _crc_table()


def _checksum(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)
