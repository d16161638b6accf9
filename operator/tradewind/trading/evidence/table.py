"""The trade table: every decision of an experiment, one row each, as columns.

Belongs here: the columns, how rows and CSV lines become them, and what makes a table invalid. Does not belong here:
which rows count at an instant (blocks.py), and files and databases (the caller's).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.assignment import Arm
from tradewind.trading.evidence.cells import Cells, records
from tradewind.trading.evidence.columns import Columns

NEVER = np.iinfo(np.int64).max
"""Time of a report that has not come."""

MAX_RETURN = 100.0
"""Beyond it a return on paper is another unit: a fraction is meant, 0.01 for one per cent."""

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
"""Columns that a CSV must have; those of the other fields of `TradeRow` may follow."""


class Failure(StrEnum):
    """Why an arm, drawn or shadow, gave no answer of its own."""

    NONE = ""
    TIMEOUT = "timeout"
    """It did not get its chance: late, shed, cut off."""
    ERROR = "error"
    """Its answer was wrong in itself."""


FAILURES = tuple(Failure)
"""Failure of each code in `TradeTable.failed`; 0: none."""
TIMEOUT = FAILURES.index(Failure.TIMEOUT)


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
        symbol: what was decided on.
        answer_cost_usd: price of the drawn arm's answer; None: not known.
        paper_baseline: what the baseline's answer would have earned on paper, return on notional; None: not known.
        paper_candidate: the same of the candidate's.
        paper_at: when both were known.
        market_return: the market's move over a fixed horizon from decided_at.
        market_at: when it was known.
        failed: how the drawn arm failed.
        shadow_failed: how the other one failed.
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
    symbol: str = ""
    answer_cost_usd: float | None = None
    paper_baseline: float | None = None
    paper_candidate: float | None = None
    paper_at: datetime | None = None
    market_return: float | None = None
    market_at: datetime | None = None
    failed: Failure = Failure.NONE
    shadow_failed: Failure = Failure.NONE


def _again(decision_id: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Whether an earlier row has the same id."""
    again = np.zeros(len(decision_id), np.bool_)
    if len(set(decision_id.tolist())) < len(decision_id):  # sorting texts takes ten times as long
        order = np.argsort(decision_id, kind="stable")
        again[order[1:]] = decision_id[order[1:]] == decision_id[order[:-1]]
    return again


_NOTHING: dict[str, "bool | str | float | np.int8"] = {
    "corrected": False,
    "symbol": "",
    "answer_cost": np.nan,
    "paper_baseline": np.nan,
    "paper_candidate": np.nan,
    "paper_us": NEVER,
    "market": np.nan,
    "market_us": NEVER,
    "failed": np.int8(0),
    "shadow_failed": np.int8(0),
}
"""What a column holds that was left out."""


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
        corrected: its outcome was corrected after it counted.
        symbol: what was decided on.
        answer_cost: price of the drawn arm's answer in USD, nan where unknown.
        paper_baseline: return of the baseline's answer on paper, nan where unknown.
        paper_candidate: the same of the candidate's.
        paper_us: when the papers were known, NEVER where there is none.
        market: the market's move over a fixed horizon, nan where unknown.
        market_us: when it was known.
        failed: code of how the drawn arm failed, index into `FAILURES`.
        shadow_failed: the same of the other arm.

    Columns from `corrected` on may be left out: then there is none of it.

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
    symbol: NDArray[np.str_] = field(default_factory=lambda: np.zeros(0, np.str_))
    answer_cost: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0, np.float64))
    paper_baseline: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0, np.float64))
    paper_candidate: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0, np.float64))
    paper_us: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    market: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0, np.float64))
    market_us: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    failed: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    shadow_failed: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))

    def __post_init__(self) -> None:
        for name, nothing in _NOTHING.items():
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.full(len(self.decision_id), nothing))
        closed = self.status == CLOSED
        opened = self.status == OPEN
        again = _again(self.decision_id)
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
            (
                (np.isfinite(self.paper_baseline) | np.isfinite(self.paper_candidate)) & (self.paper_us == NEVER),
                "paper_at",
                "is missing beside a paper return; give the time when it was known",
            ),
            (self.paper_us < self.decided_us, "paper_at", "is before decided_at; check both clocks"),
            (
                np.isfinite(self.market) & (self.market_us == NEVER),
                "market_at",
                "is missing beside market_return; give the time when it was known",
            ),
            (self.market_us < self.decided_us, "market_at", "is before decided_at; check both clocks"),
            (
                self.answer_cost < 0.0,
                "answer_cost_usd",
                "is negative; give what the answer cost, 0 where it was free",
            ),
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
            symbol=np.array([row.symbol for row in rows], np.str_),
            answer_cost=floats([row.answer_cost_usd for row in rows]),
            paper_baseline=floats([row.paper_baseline for row in rows]),
            paper_candidate=floats([row.paper_candidate for row in rows]),
            paper_us=times("paper_at"),
            market=floats([row.market_return for row in rows]),
            market_us=times("market_at"),
            failed=np.array([FAILURES.index(row.failed) for row in rows], np.int8),
            shadow_failed=np.array([FAILURES.index(row.shadow_failed) for row in rows], np.int8),
        )

    @classmethod
    def from_csv(cls, lines: Iterable[str], decimal: str = ".") -> Self:
        """Table of the lines of a CSV with a header: `COLUMNS` in any order, optionally those of the other fields
        of `TradeRow`.

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
        symbol=cells.text("symbol"),
        answer_cost_usd=cells.number_of("answer_cost_usd"),
        paper_baseline=cells.number_of("paper_baseline", low=-MAX_RETURN, high=MAX_RETURN),
        paper_candidate=cells.number_of("paper_candidate", low=-MAX_RETURN, high=MAX_RETURN),
        paper_at=cells.time_of("paper_at"),
        market_return=cells.number_of("market_return", low=-MAX_RETURN, high=MAX_RETURN),
        market_at=cells.time_of("market_at"),
        failed=cells.word_of("failed", Failure) or Failure.NONE,
        shadow_failed=cells.word_of("shadow_failed", Failure) or Failure.NONE,
    )
