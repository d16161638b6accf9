"""Sums over earlier rows that go on where an earlier part of the rows ended, to the same bits as over all rows at once.

Belongs here: the sums and the constants that a first part fixes. Does not belong here: what is summed (scale.py, pairs.py,
metrics/), and when a part may be kept (kept.py).
"""

from collections.abc import Callable, Mapping

import numpy as np

from tradewind.trading.evidence.blocks import Bools
from tradewind.trading.evidence.confidence import Floats

State = Mapping[str, Floats]
"""What a part of the rows ended with, by the names of the sums."""


class Running:
    """Sums by name. Each name is used once for a part of the rows."""

    def __init__(self, start: State | None = None) -> None:
        self._start = start or {}
        self._end: dict[str, Floats] = {}

    @property
    def state(self) -> State:
        """What this part ended with: the start of the next one."""
        return {**self._start, **self._end}

    def before(self, name: str, values: Floats | Bools) -> Floats:
        """Sum over the rows strictly before each row, along the last axis; a row's own value leaves no rounding in it."""
        start = self._start.get(name)
        sums = np.empty((*values.shape[:-1], values.shape[-1] + 1))
        sums[..., 0] = 0.0 if start is None else start
        np.copyto(sums[..., 1:], values)
        np.cumsum(sums, axis=-1, out=sums)
        self._end[name] = sums[..., -1].copy()
        return sums[..., :-1]

    def once(self, name: str, make: Callable[[], Floats]) -> Floats:
        """What the first part made, for all later ones."""
        known = self._start.get(name)
        found = make() if known is None else known
        self._end[name] = found
        return found

    def knows(self, name: str) -> bool:
        """Whether an earlier part had a sum or a constant of that name."""
        return name in self._start

    def at_start(self, name: str) -> Floats:
        """What a sum is before this part; 0 where nothing is."""
        return self._start.get(name, np.zeros(()))
