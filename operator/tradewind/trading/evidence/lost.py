"""What is no evidence, and why: of all decisions of an experiment, those whose trade never became a row that counts.

Belongs here: the reasons in their order, how they are counted, and the words for a person. Does not belong here: which
reports were refused or are missing (the view lost_decisions) and what a verdict makes of the share (verdict.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.evidence.blocks import SettledRows
from tradewind.trading.evidence.columns import Columns
from tradewind.trading.evidence.table import TradeTable, to_us


class LostReason(StrEnum):
    """Why a decision is no evidence. One that is lost for several reasons counts once, under the first of this order."""

    FOLLOW_UP = "follow_up"
    """It continued a position. Managing a position is normal: shown, and no part of the share."""
    OPENED_INSIDE = "opened_inside"
    """It continued a position and opened a trade of its own."""
    CONFLICT = "conflict"
    """It was answered twice, and differently: in an outage another gateway answered the same id. Nobody knows which was acted on."""
    OUTAGE = "outage"
    """It was answered while the database was away, so that nothing was drawn."""
    NO_PRICE = "no_price"
    """Its trade was closed, but nobody said at what price or result."""
    REFUSED = "refused"
    """Its reports were refused, and none was accepted."""
    LATE = "late"
    """Its outcome was reported after maxHold; it counts as settled by force."""
    FORCED = "forced"
    """Its outcome was not reported by maxHold; it was settled by force."""


class Loss(NamedTuple):
    """How a reason is told: `40 <what>`, and what a person can do about it."""

    what: str
    mend: str


LOSSES: Mapping[LostReason, Loss] = {
    LostReason.FOLLOW_UP: Loss("that continue a position", "nothing is to be mended"),
    LostReason.OPENED_INSIDE: Loss(
        "that opened a trade inside an open position",
        "report each close before the bot asks again, or state positions: [] in the request where nothing is open",
    ),
    LostReason.CONFLICT: Loss(
        "answered twice and differently",
        "find out why a gateway could not reach the database while another one could, and report which side each position has",
    ),
    LostReason.OUTAGE: Loss(
        "answered during an outage of the database", "find out why the gateway could not reach its database"
    ),
    LostReason.NO_PRICE: Loss(
        "closed without a price or result", "report the exit price or the net profit with each close"
    ),
    LostReason.REFUSED: Loss(
        "with refused reports",
        "read field and bound of each in tradewind.refused_reports, mend what sends them, and send them again",
    ),
    LostReason.LATE: Loss(
        "reported after maxHold",
        "report each outcome when it is known; trades that last longer need a new experiment with a longer maxHold",
    ),
    LostReason.FORCED: Loss(
        "never reported", "report how each position ended, also one that was liquidated or closed by hand"
    ),
}
"""Each reason in words."""

LOST_REASONS = tuple(LostReason)
"""Reason of each code in `LostDecisions.reason`."""


class LostRow(NamedTuple):
    """One lost decision: its id, why (up to `refused`: the others follow from the trade table), and two times with zones.

    `known_at` is when it became known that it is lost.
    """

    decision_id: str
    reason: LostReason
    decided_at: datetime
    known_at: datetime


@dataclass(frozen=True, eq=False)
class LostDecisions(Columns):
    """Lost decisions as columns, all of shape (lost,), in any order.

    Attributes:
        decision_id: their ids.
        reason: code, index into `LOST_REASONS`.
        decided_us: decision time, microseconds since the epoch.
        known_us: when it became known, microseconds since the epoch.
    """

    decision_id: NDArray[np.str_]
    reason: NDArray[np.int8]
    decided_us: NDArray[np.int64]
    known_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.decision_id)

    @classmethod
    def from_rows(cls, rows: Iterable[LostRow]) -> Self:
        """Columns of the rows.

        Raises:
            ValueError: a time has no time zone.
        """
        found = list(rows)
        return cls(
            decision_id=np.array([row.decision_id for row in found], np.str_),
            reason=np.array([LOST_REASONS.index(row.reason) for row in found], np.int8),
            decided_us=np.array([to_us(row.decided_at, "decided_at") for row in found], np.int64),
            known_us=np.array([to_us(row.known_at, "known_at") for row in found], np.int64),
        )

    def decided_before(self, time: datetime) -> Self:
        """Those that were decided before that time."""
        return self.select(self.decided_us < to_us(time, "time"))


NOTHING_LOST = LostDecisions.from_rows(())


@dataclass(frozen=True)
class LostCounts:
    """How many decisions are lost.

    Attributes:
        by_reason: how many of each reason; one that is not named: none.
        decisions: all that the share is of: rows of evidence, and what is lost without being one. No follow-ups.
    """

    by_reason: Mapping[LostReason, int]
    decisions: int

    @property
    def lost(self) -> int:
        """Those that are part of the share."""
        return sum(count for reason, count in self.by_reason.items() if reason is not LostReason.FOLLOW_UP)

    @property
    def share(self) -> float:
        """Share of the decisions that are no evidence; 0 without decisions."""
        return self.lost / self.decisions if self.decisions else 0.0

    def sentence(self, limit: float) -> str:
        """How many are lost of which reason, the most frequent first, and what to mend about that one."""
        found = self._most_first()
        mend = f"; {LOSSES[found[0]].mend}" if found else ""
        return f"{self.summary()}, more than evidence.maxLostShare {limit:g}{mend}"

    def summary(self) -> str:
        """How many are lost of which reason, the most frequent first."""
        told = ", ".join(f"{self.by_reason[reason]} {LOSSES[reason].what}" for reason in self._most_first())
        return f"{self.share:.1%} of {self.decisions} decisions are no evidence" + (f" ({told})" if told else "")

    def _most_first(self) -> list[LostReason]:
        lost = [reason for reason in LOST_REASONS if reason is not LostReason.FOLLOW_UP and self.by_reason.get(reason)]
        return sorted(lost, key=lambda reason: -self.by_reason[reason])


def count_lost(lost: LostDecisions, table: TradeTable, rows: SettledRows, t0_us: int, now_us: int) -> LostCounts:
    """What is lost of the decisions since t0, as it was known at `now`.

    A row of evidence that was settled by force is `late` where its report came after all, else `forced`, unless `lost`
    names an earlier reason for it. Draws for certain (weight 0 or 1) are no evidence by design and are not counted.

    Args:
        lost: lost decisions, of any time.
        table: the trade table that `rows` are of.
        rows: its rows that count at `now`.
        t0_us: start of the experiment, microseconds since the epoch.
        now_us: instant of the look, microseconds since the epoch.
    """
    known = (lost.decided_us >= t0_us) & (lost.decided_us <= now_us) & (lost.known_us <= now_us)
    certain = table.decision_id[(table.weight <= 0.0) | (table.weight >= 1.0)]
    lost = lost.select(known & ~_among(lost.decision_id, certain))
    lost = lost.select(np.lexsort((lost.reason, lost.decision_id)))
    _, first = np.unique(lost.decision_id, return_index=True)
    lost = lost.select(first)

    evidence = table.decision_id[rows.index]
    told = _among(evidence, lost.decision_id)
    settled = rows.forced & ~told
    late = settled & (table.received_us[rows.index] <= now_us)
    follow_up = lost.reason == LOST_REASONS.index(LostReason.FOLLOW_UP)
    outside = ~follow_up & ~_among(lost.decision_id, evidence)
    by_reason = {reason: int(np.count_nonzero(lost.reason == code)) for code, reason in enumerate(LOST_REASONS)}
    by_reason[LostReason.LATE] += int(np.count_nonzero(late))
    by_reason[LostReason.FORCED] += int(np.count_nonzero(settled & ~late))
    return LostCounts(by_reason, decisions=len(evidence) + int(np.count_nonzero(outside)))


def _among(ids: NDArray[np.str_], others: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which ids are among the others; most looks have no lost ones, and texts are slow to compare with nothing too."""
    found: NDArray[np.bool_] = np.isin(ids, others) if len(ids) and len(others) else np.zeros(len(ids), np.bool_)
    return found
