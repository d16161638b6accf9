"""Arrays of one length side by side: what is done to rows as a whole, whatever they are of.

Belongs here: choosing, joining, ordering. Does not belong here: what the columns mean (table.py, requests.py, lost.py).
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Columns:
    """Arrays of one length side by side."""

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """The rows that a mask or an index names."""
        return replace(self, **{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def joined(self, more: Self) -> Self:
        """These rows and then those; new arrays, as wide as the longest text."""
        pairs = {name: (getattr(self, name), getattr(more, name)) for name in self.__dataclass_fields__}
        return replace(self, **{name: np.concatenate(pair) for name, pair in pairs.items()})


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
