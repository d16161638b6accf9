"""Arrays of one length side by side: what is done to rows as a whole, whatever they are of.

Belongs here: choosing, joining, ordering. Does not belong here: what the columns mean (table.py, requests.py, lost.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Columns:
    """Arrays of one length side by side."""

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """The rows that a mask or an index names, each once at most."""
        return self._of(lambda name: getattr(self, name)[rows])

    def joined(self, *more: Self) -> Self:
        """These rows and then those, of which none is among these; new arrays, as wide as the longest text."""
        return self._of(lambda name: np.concatenate([getattr(part, name) for part in (self, *more)]))

    def packed(self) -> Self:
        """The same in less memory, to be kept and not to be read."""
        pack: Callable[[NDArray[Any]], Any] = _packed
        return self._of(lambda name: pack(getattr(self, name)))

    def unpacked(self) -> Self:
        """What was packed, as it was."""
        return self._of(lambda name: _unpacked(getattr(self, name)))

    def _of(self, column: Callable[[str], NDArray[Any]]) -> Self:
        """Rows of valid rows, which need not be checked again: at 100,000 of them that takes longer than all else."""
        made = object.__new__(type(self))
        for name in self.__dataclass_fields__:
            object.__setattr__(made, name, column(name))
        return made


@dataclass(frozen=True, eq=False, slots=True)
class _Runs:
    """A column that seldom changes from row to row, such as a weight, which is a block's, or the name of the only symbol.

    Attributes:
        values: one of each run, shape (runs,), and its length.
    """

    values: NDArray[Any]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.lengths.sum())


@dataclass(frozen=True, eq=False, slots=True)
class _Hex:
    """Texts that are hexadecimal digits of one length, as ids often are, with hyphens at the same places in all or none.

    Attributes:
        digits: two a byte, shape (rows, bytes).
        width: characters of a text.
        hyphens: where they are.
    """

    digits: NDArray[np.uint8]
    width: int
    hyphens: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.digits)


_Packed = NDArray[Any] | _Runs | _Hex
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_VALUES = np.full(256, 255, np.uint8)
_VALUES[_DIGITS] = np.arange(16)
_HYPHEN = ord("-")


def _packed(column: NDArray[Any]) -> _Packed:
    change = np.ones(len(column), np.bool_)
    if len(column):
        bits = column.view(np.int64) if column.dtype == np.float64 else column  # nan is nan, and 0.0 is not -0.0
        change[1:] = bits[1:] != bits[:-1]
    starts = np.flatnonzero(change)
    if 4 * len(starts) <= len(column):
        return _Runs(column[starts], np.diff(starts, append=len(column)))
    if column.dtype.kind != "U":
        return column
    try:
        narrow = column.astype(np.bytes_)
    except UnicodeEncodeError:
        return column
    digits = _as_hex(narrow)
    return narrow if digits is None else digits


def _unpacked(column: _Packed) -> NDArray[Any]:
    match column:
        case _Runs():
            return np.repeat(column.values, column.lengths)
        case _Hex():
            return _from_hex(column).astype(np.str_)
        case _:
            return column.astype(np.str_) if column.dtype.kind == "S" else column


def _as_hex(texts: NDArray[np.bytes_]) -> _Hex | None:
    width = texts.dtype.itemsize
    characters = np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), width)
    hyphens = np.flatnonzero(characters[0] == _HYPHEN)
    values = _VALUES[np.delete(characters, hyphens, axis=1)]
    if values.shape[1] % 2 or (values > 15).any() or (characters[:, hyphens] != _HYPHEN).any():
        return None
    return _Hex((values[:, ::2] << 4 | values[:, 1::2]).astype(np.uint8, copy=False), width, hyphens)


def _from_hex(column: _Hex) -> NDArray[np.bytes_]:
    characters = np.full((len(column), column.width), _HYPHEN, np.uint8)
    places = np.delete(np.arange(column.width), column.hyphens)
    characters[:, places[::2]] = _DIGITS[column.digits >> 4]
    characters[:, places[1::2]] = _DIGITS[column.digits & 15]
    return characters.view(f"S{column.width}").reshape(len(column))


def in_order(time_us: NDArray[np.int64], decision_id: NDArray[np.str_]) -> NDArray[np.int64]:
    """Index that puts rows in the order of their times, those of the same time in that of their ids.

    The same as a lexsort; but to sort texts is slow, and few times are the same.
    """
    order = np.argsort(time_us, kind="stable")
    times = time_us[order]
    same = np.zeros(len(order) + 1, np.bool_)
    same[1:-1] = times[1:] == times[:-1]
    tied = same[1:] | same[:-1]
    among = order[tied]
    order[tied] = among[np.lexsort((decision_id[among], time_us[among]))]
    return order
