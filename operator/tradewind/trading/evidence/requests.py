"""The requests of an experiment: what the gateway measured of each, as columns.

Belongs here: the columns, how rows and CSV lines become them, and which of them a look knows. Does not belong here: the
watches on them (guardrails.py) and what the answers earned (table.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.assignment import Arm
from tradewind.trading.error_kinds import ErrorKind
from tradewind.trading.evidence.cells import MAX_MS, Cells, records
from tradewind.trading.evidence.columns import Columns, in_order
from tradewind.trading.evidence.table import COLUMNS, floats, from_us, to_us

REQUEST_COLUMN = "error_kind"
"""Column that a CSV with requests has; `answered_at`, `latency_ms`, `fallback` and `reported_model` may stand beside it."""
_ASKED = ("decision_id", "arm", "candidate_weight", "decided_at")
JUDGED_COLUMNS = (
    *COLUMNS, "received_at", "answered_at", "latency_ms", REQUEST_COLUMN, "fallback", "reported_model", "corrected",
    "symbol", "answer_cost_usd", "paper_baseline", "paper_candidate", "paper_at", "market_return", "market_at", "failed",
    "shadow_failed",
)  # fmt: skip
"""Columns of the view judged_rows that a judgement rests on: what the operator reads and an export has."""


@dataclass(frozen=True, slots=True)
class ArmChange:
    """An arm began to call itself something that it had not called itself in the first block.

    Attributes:
        arm: which.
        known: what it called itself until then, model and fingerprint.
        now: the new name.
        since: time of the first decision under it.
    """

    arm: Arm
    known: tuple[str, ...]
    now: str
    since: datetime


@dataclass(frozen=True)
class RequestLog:
    """The candidate's requests in the order of their answers, shapes (requests,), and what both arms called themselves.

    Attributes:
        failed: the arm erred, timed out or answered with invalid or over-limit JSON.
        slow: it took longer than the latency objective.
        changes: the first change of each arm, baseline first.
    """

    failed: NDArray[np.bool_]
    slow: NDArray[np.bool_]
    changes: tuple[ArmChange, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request, asked of the arm that was drawn for it.

    Attributes:
        decision_id: its id.
        arm: the drawn arm, whoever answered.
        decided_at: with a time zone; the gateway's clock.
        answered_at: when answer or failure was stored; None: known with the decision.
        latency_ms: of the drawn arm; None where it was not asked.
        error_kind: what the drawn arm did wrong; None: nothing.
        fallback: another version answered.
        cost_cny: None where no price is known.
        reported_model: what an external arm called itself, model and fingerprint; None where it said nothing.
    """

    decision_id: str
    arm: Arm
    decided_at: datetime
    answered_at: datetime | None = None
    latency_ms: float | None = None
    error_kind: str | None = None
    fallback: bool = False
    cost_cny: float | None = None
    reported_model: str | None = None


@dataclass(frozen=True, eq=False)
class Requests(Columns):
    """Requests in the order in which they became known, all of shape (requests,).

    That order only ever grows at its end: a watch that runs along it and trips has tripped at every later look too.

    Attributes:
        candidate: the drawn arm is the candidate.
        decided_us: decision time, microseconds since the epoch.
        answered_us: when answer or failure became known, microseconds since the epoch.
        latency_ms: of the drawn arm; nan where it was not asked.
        failed: it erred, timed out, or answered with something invalid.
        fallback: another version answered.
        cost_cny: nan where no price is known.
        reported_model: what the arm called itself, "" where it said nothing.
    """

    candidate: NDArray[np.bool_]
    decided_us: NDArray[np.int64]
    answered_us: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    failed: NDArray[np.bool_]
    fallback: NDArray[np.bool_]
    cost_cny: NDArray[np.float64]
    reported_model: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.candidate)

    @classmethod
    def from_rows(cls, rows: Iterable[RequestRow]) -> Self:
        """Columns of the rows, given in any order.

        Raises:
            ValueError: a time has no time zone.
        """
        found = list(rows)
        return cls(
            candidate=np.array([row.arm is Arm.CANDIDATE for row in found], np.bool_),
            decided_us=np.array([to_us(row.decided_at, "decided_at") for row in found], np.int64),
            answered_us=np.array([_known_us(row) for row in found], np.int64),
            latency_ms=floats([row.latency_ms for row in found]),
            failed=np.array([row.error_kind is not None for row in found], np.bool_),
            fallback=np.array([row.fallback for row in found], np.bool_),
            cost_cny=floats([row.cost_cny for row in found]),
            reported_model=np.array([row.reported_model or "" for row in found], np.str_),
        ).in_order(np.array([row.decision_id for row in found], np.str_))

    @classmethod
    def from_csv(cls, lines: Iterable[str], decimal: str = ".") -> Self | None:
        """Requests of the lines of a trade table with a header, or None where it has no column `error_kind`.

        A row is a request of the experiment where its weight is above 0 and it has an answer's time, a latency or an
        error: one that is still being asked has none of them.

        Raises:
            ValueError: a value cannot be read; the message names row, id, column and remedy.
        """
        headings, found = records(lines, _ASKED, decimal)
        if REQUEST_COLUMN not in headings:
            return None
        rows = map(request_row, found)
        return cls.from_rows(row for row in rows if row is not None)

    def in_order(self, decision_id: NDArray[np.str_]) -> Self:
        """The same in the order in which they became known; `decision_id` are their ids, shape (requests,)."""
        return self.select(in_order(self.answered_us, decision_id))

    def decided_before(self, time: datetime) -> Self:
        """Those that were decided before that time."""
        return self.select(self.decided_us < to_us(time, "time"))

    def log(
        self, look: datetime, slow_ms: float, first_block_end: datetime, names_from: datetime | None = None
    ) -> RequestLog:
        """What a look knows.

        Args:
            look: instant of the look; what was answered then or later is not known yet.
            slow_ms: the latency objective; inf: none is slow.
            first_block_end: names that an arm gave itself until then are the ones that are compared.
            names_from: what it called itself before does not count: the change was accepted; None: all counts.
        """
        since = 0 if names_from is None else to_us(names_from, "names_from")
        known = self.answered_us < to_us(look, "look")
        mine = known & self.candidate
        named = known & (self.decided_us >= since)
        changes = (self._change(arm, named, to_us(first_block_end, "first_block_end")) for arm in Arm)
        return RequestLog(
            failed=self.failed[mine],
            slow=self.latency_ms[mine] > slow_ms,
            changes=tuple(change for change in changes if change is not None),
        )

    def _change(self, arm: Arm, known: NDArray[np.bool_], first_block_us: int) -> ArmChange | None:
        """The first name of an arm that is none of its first block's; several names at a time are no change.

        A name is model/fingerprint, or the model alone where the API sent no fingerprint: that is silence, no other model.
        The first fingerprint after silence is known from then on.
        """
        said = known & (self.candidate == (arm is Arm.CANDIDATE)) & (self.reported_model != "")
        names = sorted({str(name) for name in self.reported_model[said & (self.decided_us < first_block_us)]})
        later = said & (self.decided_us >= first_block_us) & ~np.isin(self.reported_model, names)
        if not names or not later.any():
            return None
        told = list(names)
        times = {
            str(name): int(self.decided_us[later & (self.reported_model == name)].min())
            for name in set(self.reported_model[later])
        }
        for name, since in sorted(times.items(), key=lambda item: (item[1], item[0])):
            if not _is_known(name, told):
                return ArmChange(arm, tuple(names), name, from_us(since))
            told.append(name)
        return None


def _is_known(name: str, told: Sequence[str]) -> bool:
    """Whether a name says nothing else than those told before: one of them without its end, or the first end of a bare one."""
    if any(other == name or other.startswith(f"{name}/") for other in told):
        return True
    bare = [other for other in told if name.startswith(f"{other}/")]
    return any(not any(other.startswith(f"{model}/") for other in told) for model in bare)


def _known_us(row: RequestRow) -> int:
    decided = to_us(row.decided_at, "decided_at")
    return decided if row.answered_at is None else max(decided, to_us(row.answered_at, "answered_at"))


def request_row(cells: Cells) -> RequestRow | None:
    """The request of one record of a trade table whose trade was read; None where it is none.

    Raises:
        ValueError: a value cannot be read.
    """
    weight, arm, decided_at = (
        cells.number_of("candidate_weight"),
        cells.word_of("arm", Arm),
        cells.time_of("decided_at"),
    )
    error_kind, fallback = cells.word_of(REQUEST_COLUMN, ErrorKind), cells.flag_of("fallback")
    latency_ms, answered_at = cells.number_of("latency_ms", low=0.0, high=MAX_MS), cells.time_of("answered_at")
    known = answered_at is not None or latency_ms is not None or error_kind is not None
    if weight is None or weight <= 0.0 or arm is None or decided_at is None or not known:
        return None
    return RequestRow(
        decision_id=cells.text("decision_id"),
        arm=arm,
        decided_at=decided_at,
        answered_at=answered_at,
        latency_ms=latency_ms,
        error_kind=error_kind,
        fallback=fallback,
        reported_model=cells.text("reported_model") or None,
    )
