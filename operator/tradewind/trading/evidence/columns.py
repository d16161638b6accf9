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
        """The same in less memory, to be kept and not to be read: texts that are ASCII take a byte a character and not four."""
        return self._of(lambda name: _as_bytes(getattr(self, name)))

    def unpacked(self) -> Self:
        """What was packed, as it was."""
        return self._of(lambda name: _as_text(getattr(self, name)))

    def _of(self, column: Callable[[str], NDArray[Any]]) -> Self:
        """Rows of valid rows, which need not be checked again: at 100,000 of them that takes longer than all else."""
        made = object.__new__(type(self))
        for name in self.__dataclass_fields__:
            object.__setattr__(made, name, column(name))
        return made


def _as_bytes(column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind != "U":
        return column
    try:
        return column.astype(np.bytes_)
    except UnicodeEncodeError:
        return column


def _as_text(column: NDArray[Any]) -> NDArray[Any]:
    return column.astype(np.str_) if column.dtype.kind == "S" else column


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
