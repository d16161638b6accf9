"""The trade table: every decision of an experiment, one row each, as columns.

Belongs here: the columns, how rows and CSV lines become them, and what makes a table invalid. Does not belong here:
which rows count at an instant (blocks.py), and files and databases (the caller's).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.assignment import Arm
from tradewind.trading.evidence.cells import Cells, records

NEVER = np.iinfo(np.int64).max
"""Time of a report that has not come."""

_LEAST_USD = 1e-6  # below it a return is no number any more
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Status(StrEnum):
    """What became of a decision."""

    CLOSED = "closed"
    OPEN = "open"
    HOLD = "hold"
    REJECTED = "rejected"
    NOT_FILLED = "not_filled"


STATUSES = tuple(Status)
"""Status of each code in `TradeTable.status`."""
CLOSED, OPEN = STATUSES.index(Status.CLOSED), STATUSES.index(Status.OPEN)
_CODES = {status.value: code for code, status in enumerate(STATUSES)}

COLUMNS = (
    "decision_id",
    "arm",
    "candidate_weight",
    "decided_at",
    "status",
    "closed_at",
    "notional_usd",
    "pnl_usd",
)
"""Columns that a CSV must have; `received_at` may follow."""


@dataclass(frozen=True, slots=True)
class TradeRow:
    """One decision.

    Attributes:
        decision_id: unique in the table.
        arm: the drawn arm, whoever answered.
        candidate_weight: probability of the candidate at this draw, 0 to 1.
        decided_at: with a time zone; the gateway's clock.
        status: what became of it.
        closed_at: when the position was flat; None unless closed.
        notional_usd: filled exposure, size times leverage; None where nothing was filled or reported.
        pnl_usd: net of fees; None unless closed.
        received_at: when the report came; None: at closed_at, or with the decision where there is none. For a replay
            it must be on the data's clock, so leave it None.
        corrected: its outcome was corrected after it counted.
    """

    decision_id: str
    arm: Arm
    candidate_weight: float
    decided_at: datetime
    status: Status
    closed_at: datetime | None = None
    notional_usd: float | None = None
    pnl_usd: float | None = None
    received_at: datetime | None = None
    corrected: bool = False


@dataclass(frozen=True, eq=False)
class Columns:
    """Arrays of one length side by side."""

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """The rows that a mask or an index names."""
        return replace(self, **{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


@dataclass(frozen=True, eq=False)
class TradeTable(Columns):
    """Columns of a trade table; all have shape (rows,), rows in any order.

    Attributes:
        decision_id: unique ids.
        candidate: the drawn arm is the candidate.
        weight: probability of the candidate at this draw.
        decided_us: decision time, microseconds since the epoch.
        status: code, index into `STATUSES`.
        closed_us: when the position was flat, NEVER where it is not.
        received_us: when the outcome became known, NEVER where it is open.
        notional: filled exposure in USD, nan where unknown.
        pnl: net profit in USD, nan where unknown.
        corrected: its outcome was corrected after it counted; empty: none was.

    Raises:
        ValueError: a value cannot be right; the message names row, id, column and remedy.
    """

    decision_id: NDArray[np.str_]
    candidate: NDArray[np.bool_]
    weight: NDArray[np.float64]
    decided_us: NDArray[np.int64]
    status: NDArray[np.int8]
    closed_us: NDArray[np.int64]
    received_us: NDArray[np.int64]
    notional: NDArray[np.float64]
    pnl: NDArray[np.float64]
    corrected: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        if not len(self.corrected):
            object.__setattr__(self, "corrected", np.zeros(len(self.decision_id), np.bool_))
        closed = self.status == CLOSED
        opened = self.status == OPEN
        order = np.argsort(self.decision_id, kind="stable")
        again = np.zeros(len(order), dtype=bool)
        again[order[1:]] = self.decision_id[order[1:]] == self.decision_id[order[:-1]]
        for bad, column, what in (
            (self.decision_id == "", "decision_id", "is empty; give each decision its id"),
            (again, "decision_id", "occurs twice; keep one row for each decision"),
            (
                ~((self.weight >= 0.0) & (self.weight <= 1.0)),
                "candidate_weight",
                "is no probability; give the candidate's weight at the draw, 0 to 1",
            ),
            (
                closed & (self.closed_us == NEVER),
                "closed_at",
                "is missing on a closed row; give the time, or set status open",
            ),
            (
                opened & (self.closed_us != NEVER),
                "closed_at",
                "is given on an open row; leave it empty, or set status closed",
            ),
            (
                closed & ~np.isfinite(self.pnl),
                "pnl_usd",
                "is not a finite number on a closed row; give the net profit, or set status open",
            ),
            (
                closed & ~np.isfinite(self.notional),
                "notional_usd",
                "is not a finite number on a closed row; give the filled exposure, size times leverage",
            ),
            (
                # Leaving such rows out for what their own trade was has promoted a candidate that was worse.
                closed & ~(self.notional >= _LEAST_USD),
                "notional_usd",
                "is not above 0 on a closed row; give the filled exposure without a sign, for shorts too",
            ),
            (self.closed_us < self.decided_us, "closed_at", "is before decided_at; check both clocks"),
            (self.received_us < self.decided_us, "received_at", "is before decided_at; check both clocks"),
        ):
            if bad.any():
                at = int(np.argmax(bad))
                raise ValueError(f"row {at + 1} ({self.decision_id[at]}), column {column}: {what}")

    def __len__(self) -> int:
        return len(self.decision_id)

    @classmethod
    def from_rows(cls, rows: Iterable[TradeRow]) -> Self:
        """Table of the rows.

        Raises:
            ValueError: a value cannot be right, or a time has no time zone.
        """
        rows = list(rows)

        def times(column: str) -> NDArray[np.int64]:
            values = [getattr(row, column) for row in rows]
            return np.array([_us(value, i, rows[i].decision_id, column) for i, value in enumerate(values)], np.int64)

        decided, closed, received = times("decided_at"), times("closed_at"), times("received_at")
        status = np.array([_CODES[row.status] for row in rows], np.int8)
        return cls(
            decision_id=np.array([row.decision_id for row in rows], np.str_),
            candidate=np.array([row.arm is Arm.CANDIDATE for row in rows], np.bool_),
            weight=np.array([row.candidate_weight for row in rows], np.float64),
            decided_us=decided,
            status=status,
            closed_us=closed,
            received_us=known_from(status, decided, closed, received),
            notional=floats([row.notional_usd for row in rows]),
            pnl=floats([row.pnl_usd for row in rows]),
            corrected=np.array([row.corrected for row in rows], np.bool_),
        )

    @classmethod
    def from_csv(cls, lines: Iterable[str], decimal: str = ".") -> Self:
        """Table of the lines of a CSV with a header: `COLUMNS` in any order, optionally `received_at` and `corrected`.

        Other columns are ignored. What is read and what is refused: cells.py.

        Raises:
            ValueError: a column is missing or a value cannot be read; the message names row, id, column and remedy.
        """
        return cls.from_rows(trade_row(cells) for cells in records(lines, COLUMNS, decimal)[1])


def known_from(
    status: NDArray[np.int8], decided: NDArray[np.int64], closed: NDArray[np.int64], received: NDArray[np.int64]
) -> NDArray[np.int64]:
    """When each row's outcome is known: as received; else a closed row from closed_at on, one without a position at once.

    All of shape (rows,), microseconds since the epoch, NEVER where there is no such time; an open row is never known.
    """
    default = np.where(closed != NEVER, closed, decided)
    return np.where(status == OPEN, NEVER, np.where(received != NEVER, received, default))


def to_us(time: datetime, name: str) -> int:
    """Microseconds since the epoch.

    Raises:
        ValueError: the time has no time zone.
    """
    if time.tzinfo is None:
        raise ValueError(f"{name}: {time.isoformat()} has no time zone; write it with one, such as {time.isoformat()}Z")
    return (time - _EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """UTC time of microseconds since the epoch."""
    return _EPOCH + microseconds * _MICROSECOND


def _us(time: datetime | None, index: int, decision_id: str, column: str) -> int:
    if time is None:
        return NEVER
    if time.tzinfo is None:
        to_us(time, f"row {index + 1} ({decision_id}), column {column}")
    return (time - _EPOCH) // _MICROSECOND


def floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    """The values; None is nan."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def trade_row(cells: Cells) -> TradeRow:
    """The trade of one record.

    Raises:
        ValueError: a value cannot be read.
    """
    decided_at = cells.time_of("decided_at")
    weight = cells.number_of("candidate_weight")
    arm, status = cells.word_of("arm", Arm), cells.word_of("status", Status)
    decision_id = cells.required("decision_id", "give each decision its id")
    for column, value, what in (
        ("decided_at", decided_at, "give the time of the decision"),
        ("candidate_weight", weight, "give the candidate's weight at the draw, 0 to 1"),
        ("arm", arm, f"use {' or '.join(Arm)}"),
        ("status", status, f"use one of {', '.join(Status)}"),
    ):
        if value is None:
            raise ValueError(f"{cells.place(column)}: empty; {what}")
    assert decided_at is not None
    assert weight is not None
    assert arm is not None
    assert status is not None
    return TradeRow(
        decision_id=decision_id,
        arm=arm,
        candidate_weight=weight,
        decided_at=decided_at,
        status=status,
        closed_at=cells.time_of("closed_at"),
        notional_usd=cells.number_of("notional_usd"),
        pnl_usd=cells.number_of("pnl_usd"),
        received_at=cells.time_of("received_at"),
        corrected=cells.flag_of("corrected"),
    )
