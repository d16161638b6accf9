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

    def _of(self, column: Callable[[str], NDArray[Any]]) -> Self:
        """Rows of valid rows, which need not be checked again: at 100,000 of them that takes longer than all else."""
        made = object.__new__(type(self))
        for name in self.__dataclass_fields__:
            object.__setattr__(made, name, column(name))
        return made


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
