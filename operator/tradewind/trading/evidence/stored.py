"""All rows of an experiment as they are stored, kept by the reader from look to look: what was written since takes their place.

Belongs here: putting new rows among the known ones. Does not belong here: which rows are new (the database's), what they count
for (blocks.py), and which sums over them are kept (kept.py).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.evidence.columns import in_order
from tradewind.trading.evidence.lost import LostDecisions
from tradewind.trading.evidence.requests import Requests
from tradewind.trading.evidence.table import NEVER, TradeTable


@dataclass(frozen=True, eq=False)
class StoredEvidence:
    """What a look at an experiment reads, as of one moment.

    Attributes:
        table: its decisions, and with weight 0 what the baseline traded before it.
        requests: those of its decisions that were answered, in the order of their answers.
        lost: decisions that are no rows of it, or whose reports were lost.
    """

    table: TradeTable
    requests: Requests
    lost: LostDecisions


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Decisions of an experiment by time and id, the lost ones in any order.

    Attributes:
        trades: a row each.
        requests: of the same rows in the same order; `answered_us` is NEVER where the answer is still to come.
        lost: as in `StoredEvidence`.
    """

    trades: TradeTable
    requests: Requests
    lost: LostDecisions

    def __len__(self) -> int:
        return len(self.trades) + len(self.lost)

    def with_changes(self, changed: Collection[str], found: Self) -> Self:
        """The same after the decisions that were changed became what was found of them, which may be nothing."""
        if not changed:
            return self
        ids = frozenset(changed)
        trades, requests = self.trades.joined(found.trades), self.requests.joined(found.requests)
        new = len(self.trades) + np.arange(len(found.trades))
        rows = np.concatenate((_none_of(self.trades.decision_id, ids), new))
        rows = rows[in_order(trades.decided_us[rows], trades.decision_id[rows])]
        lost = self.lost.select(_none_of(self.lost.decision_id, ids)).joined(found.lost)
        return type(self)(trades.select(rows), requests.select(rows), lost)

    def packed(self) -> Self:
        """The same in half the memory, for `unpacked` alone."""
        return type(self)(self.trades.packed(), self.requests.packed(), self.lost.packed())

    def unpacked(self) -> Self:
        """What was packed, as it was."""
        return type(self)(self.trades.unpacked(), self.requests.unpacked(), self.lost.unpacked())

    def evidence(self, prior: TradeTable) -> StoredEvidence:
        """With what the baseline traded before."""
        answered = self.requests.answered_us != NEVER
        requests = self.requests.select(answered).in_order(self.trades.decision_id[answered])
        return StoredEvidence(prior.joined(self.trades) if len(prior) else self.trades, requests, self.lost)


def _none_of(decision_id: NDArray[np.str_], ids: frozenset[str]) -> NDArray[np.int64]:
    """Index of those that are none of the ids."""
    return np.flatnonzero([name not in ids for name in decision_id.tolist()])
