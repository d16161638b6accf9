"""What a look at an experiment reads, kept from look to look: each reads what was written since the one before.

Belongs here: the SQL of it, what is kept, and when it is read anew. Does not belong here: how rows are put together
(trading/evidence/stored.py), and papers, which are settled before (papers.py).

Every change of a decision is logged with its transaction (`tradewind.changes`). A snapshot sees all of the transactions below
its xmin, so what it did not see is logged at that xmin or above, however late it was committed: no clock is trusted. After a
restart of the server (another one may stand behind its name, or an older copy), with another record of the experiment, or
where the log may have been shortened since, everything is read anew.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import TupleRow

from tradewind.shell.keys import OF_ENDPOINT as _KEY
from tradewind.trading.evidence import (
    FAILURES,
    LOST_REASONS,
    NEVER,
    STATUSES,
    Failure,
    LostDecisions,
    LostReason,
    Requests,
    StoredEvidence,
    StoredRows,
    TradeTable,
    known_from,
)

MOST_ROWS: Final = 600_000
"""Rows that are kept for all experiments together, some 200 bytes each, with what their baselines traded before; those of the
experiment looked at last always are."""
MOST_CHANGES: Final = 5_000
"""With more of them it is quicker to read everything."""
_BITE: Final = 1_000
"""Rows that are made columns of at once: some 15 ms."""
_MANY: Final = 5_000
"""With fewer rows a thread costs more than it spares the others."""
LOG_KEPT: Final = timedelta(days=1)
"""Gateways keep the log for twice as long."""

P = ParamSpec("P")
T = TypeVar("T")


# With what was changed since an earlier moment; NULL: there is none.
_MOMENT: Final = f"""
SELECT pg_postmaster_start_time(), clock_timestamp(), pg_snapshot_xmin(pg_current_snapshot())::text,
       (SELECT to_jsonb(x) - ARRAY['decision', 'decision_reason', 'decision_message', 'decided_at', 'evidence']
          FROM tradewind.experiments x WHERE {_KEY} AND experiment_uid = %(uid)s),
       ARRAY(SELECT DISTINCT decision_id FROM tradewind.changes WHERE {_KEY} AND xid >= %(since)s::xid8 LIMIT %(most)s)
"""

_TIMES: Final = ("decided_at", "closed_at", "received_at", "answered_at", "paper_at", "market_at")

# Times as microseconds go into columns as they are: a look at tens of thousands of rows holds up the others.
_COLUMNS: Final = f"""
    decision_id, arm = 'candidate', candidate_weight, status, notional_usd, pnl_usd, latency_ms, error_kind IS NOT NULL, fallback,
    cost_cny::double precision, reported_model, {", ".join(f"(extract(epoch FROM {name}) * 1000000)::bigint" for name in _TIMES)},
    corrected, symbol, answer_cost_usd, paper_baseline, paper_candidate, market_return, failed, shadow_failed
"""

_ALL: Final = "true"
_THESE: Final = "decision_id = ANY(%(changed)s)"

_ROWS: Final = f"""
SELECT {_COLUMNS} FROM tradewind.judged_decisions WHERE {_KEY} AND experiment_uid = %(uid)s AND {{which}}
 ORDER BY decided_at, decision_id
"""

_PRIOR: Final = f"""
SELECT {_COLUMNS} FROM tradewind.prior_decisions WHERE {_KEY} AND experiment_uid = %(uid)s ORDER BY decided_at, decision_id
"""

_PRIOR_CHANGED: Final = f"""
SELECT EXISTS (SELECT FROM tradewind.decisions d JOIN tradewind.experiments x USING (installation, namespace, endpoint)
                WHERE {_KEY} AND d.decision_id = ANY(%(changed)s) AND x.experiment_uid = %(uid)s
                  AND d.experiment_uid IS NULL AND d.drawn_version = x.baseline AND d.decided_at < x.t0)
"""

# What was answered in an outage was drawn for nobody: it is lost to the experiment that ran then. Draws for certain, as in a
# pause, are no evidence by design.
_LOST: Final = f"""
SELECT decision_id, l.reason, (extract(epoch FROM l.decided_at) * 1000000)::bigint, (extract(epoch FROM l.known_at) * 1000000)::bigint
  FROM tradewind.lost_decisions l JOIN tradewind.decisions d USING (installation, namespace, endpoint, decision_id)
 WHERE {_KEY} AND l.decided_at >= %(t0)s AND {{which}}
   AND (l.experiment_uid = %(uid)s AND d.candidate_weight > 0 AND d.candidate_weight < 1
        OR l.experiment_uid IS NULL AND l.reason IN ('outage', 'conflict'))
"""


@dataclass(frozen=True)
class _Moment:
    """What a snapshot is of: `server` is when it started, `xmin` below which it sees all, `record` the experiment's start."""

    server: datetime
    at: datetime
    xmin: str
    record: Mapping[str, Any] | None

    def continues(self, earlier: "_Moment") -> bool:
        """Whether all that was written since then is in the log."""
        same = (self.server, self.record) == (earlier.server, earlier.record)
        return same and int(self.xmin) >= int(earlier.xmin) and timedelta(0) <= self.at - earlier.at < LOG_KEPT


@dataclass(frozen=True)
class _Kept:
    """Rows as they are read; between two looks they are packed."""

    moment: _Moment
    t0: datetime
    rows: StoredRows
    prior: TradeTable

    def __len__(self) -> int:
        return len(self.rows) + len(self.prior)


async def beside_the_loop(rows: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do something with so many rows; where they are many, so that others have their turn meanwhile."""
    return work(*args, **kwargs) if rows < _MANY else await asyncio.to_thread(work, *args, **kwargs)


class EvidenceReader:
    """Reads evidence. What it keeps costs nothing to lose: it is read anew then."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], _Kept] = {}
        self._rows_kept = 0
        self.rows_read = 0
        """Rows that were read so far, for benchmarks and tests."""

    async def read(self, connection: AsyncConnection[TupleRow], key: Mapping[str, str], t0: datetime) -> StoredEvidence:
        """Rows, requests and lost decisions since t0, all as of one moment.

        Args:
            connection: with autocommit, in no transaction.
            key: installation, namespace, endpoint, uid.
            t0: start of the experiment.
        """
        name = tuple(key.values())
        packed = self._kept.get(name)
        earlier = await _recalled(packed) if packed is not None else None
        if packed is not None and earlier is not None:
            moment, changed = await self._moment(connection, {**key, "t0": t0}, earlier)
            if earlier.t0 == t0 and moment.continues(earlier.moment) and not changed:  # as most looks find it
                self._keep(name, replace(packed, moment=moment))
                return await beside_the_loop(len(earlier.rows), earlier.rows.evidence, earlier.prior)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        try:
            async with connection.transaction():
                kept = await self._advance(connection, {**key, "t0": t0}, earlier)
        finally:
            await connection.set_isolation_level(None)
            await connection.set_read_only(None)
        rows, prior = await beside_the_loop(len(kept.rows), _packed, kept.rows, kept.prior)
        self._keep(name, replace(kept, rows=rows, prior=prior))
        return await beside_the_loop(len(kept.rows), kept.rows.evidence, kept.prior)

    def _keep(self, name: tuple[str, ...], kept: _Kept) -> None:
        """Keeps it in the last place; the first ones go where there are too many rows."""
        self._forget(name)
        self._kept[name] = kept
        self._rows_kept += len(kept)
        while len(self._kept) > 1 and self._rows_kept > MOST_ROWS:
            self._forget(next(iter(self._kept)))

    def _forget(self, name: tuple[str, ...]) -> None:
        gone = self._kept.pop(name, None)
        self._rows_kept -= len(gone) if gone is not None else 0

    async def _advance(
        self, connection: AsyncConnection[TupleRow], given: Mapping[str, Any], earlier: _Kept | None
    ) -> _Kept:
        moment, changed = await self._moment(connection, given, earlier)
        follows = earlier is not None and earlier.t0 == given["t0"] and moment.continues(earlier.moment)
        if earlier is not None and follows and len(changed) <= MOST_CHANGES:
            these = {**given, "changed": changed}
            rows = earlier.rows
            if changed:
                found = await self._stored(connection, _THESE, these)
                rows = await beside_the_loop(len(rows), rows.with_changes, changed, found)
            stale = changed and await self._touches(connection, these, earlier.prior)
            prior = await self._prior(connection, given) if stale else earlier.prior
            return _Kept(moment, earlier.t0, rows, prior)
        rows = await self._stored(connection, _ALL, given)
        return _Kept(moment, given["t0"], rows, await self._prior(connection, given))

    async def _moment(
        self, connection: AsyncConnection[TupleRow], given: Mapping[str, Any], earlier: _Kept | None
    ) -> tuple[_Moment, list[str]]:
        """Now, and which decisions were changed since an earlier moment."""
        since = earlier.moment.xmin if earlier is not None else None
        *facts, changed = (await self._rows(connection, _MOMENT, {**given, "since": since, "most": MOST_CHANGES + 1}))[
            0
        ]
        return _Moment(*facts), changed

    async def _stored(self, connection: AsyncConnection[TupleRow], which: str, given: Mapping[str, Any]) -> StoredRows:
        trades, requests = await self._in_bites(connection, _ROWS.format(which=which), given)
        return StoredRows(trades, requests, _lost(await self._rows(connection, _LOST.format(which=which), given)))

    async def _prior(self, connection: AsyncConnection[TupleRow], given: Mapping[str, Any]) -> TradeTable:
        return (await self._in_bites(connection, _PRIOR, given))[0]

    async def _in_bites(
        self, connection: AsyncConnection[TupleRow], sql: str, given: Mapping[str, Any]
    ) -> tuple[TradeTable, Requests]:
        """Columns of all rows; others have their turn between any two bites."""
        cursor = await connection.execute(sql, given)
        bites = []
        while rows := await cursor.fetchmany(_BITE):
            self.rows_read += len(rows)
            bites.append(_columns(rows))
            await asyncio.sleep(0)
        (trades, requests), *more = bites or [_columns([])]
        if not more:
            return trades, requests
        return trades.joined(*(bite[0] for bite in more)), requests.joined(*(bite[1] for bite in more))

    async def _touches(
        self, connection: AsyncConnection[TupleRow], these: Mapping[str, Any], prior: TradeTable
    ) -> bool:
        """Whether what the baseline traded before is among the changes; it seldom is."""
        changed: Collection[str] = these["changed"]
        known = not frozenset(prior.decision_id.tolist()).isdisjoint(changed)
        return known or bool((await self._rows(connection, _PRIOR_CHANGED, these))[0][0])

    async def _rows(
        self, connection: AsyncConnection[TupleRow], sql: str, given: Mapping[str, Any]
    ) -> Sequence[TupleRow]:
        rows = await (await connection.execute(sql, given)).fetchall()
        self.rows_read += len(rows)
        return rows


async def _recalled(kept: _Kept) -> _Kept:
    rows, prior = await beside_the_loop(len(kept.rows), _unpacked, kept.rows, kept.prior)
    return replace(kept, rows=rows, prior=prior)


def _packed(rows: StoredRows, prior: TradeTable) -> tuple[StoredRows, TradeTable]:
    return rows.packed(), prior.packed()


def _unpacked(rows: StoredRows, prior: TradeTable) -> tuple[StoredRows, TradeTable]:
    return rows.unpacked(), prior.unpacked()


def _failures(words: Sequence[str]) -> NDArray[np.int8]:
    return np.array([FAILURES.index(Failure(word)) for word in words], np.int8)


def _lost(rows: Sequence[TupleRow]) -> LostDecisions:
    ids, reasons, decided, known = zip(*rows, strict=True) if rows else ((), (), (), ())
    return LostDecisions(
        decision_id=np.array(ids, np.str_),
        reason=np.array([LOST_REASONS.index(LostReason(value)) for value in reasons], np.int8),
        decided_us=np.array(decided, np.int64),
        known_us=np.array(known, np.int64),
    )


def _columns(rows: Sequence[TupleRow]) -> tuple[TradeTable, Requests]:
    """Trades and requests of the same rows in the same order."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * 25

    def numbers(index: int) -> NDArray[np.float64]:
        return np.array(columns[index], np.float64)  # None becomes nan

    def times(index: int) -> NDArray[np.int64]:
        return np.array([NEVER if value is None else value for value in columns[index]], np.int64)

    candidate = np.array(columns[1], np.bool_)
    status = np.array([STATUSES.index(value) for value in columns[3]], np.int8)
    decided, closed = times(11), times(12)
    table = TradeTable(
        decision_id=np.array(columns[0], np.str_),
        candidate=candidate,
        weight=numbers(2),
        decided_us=decided,
        status=status,
        closed_us=closed,
        received_us=known_from(status, decided, closed, times(13)),
        notional=numbers(4),
        pnl=numbers(5),
        corrected=np.array(columns[17], np.bool_),
        symbol=np.array(columns[18], np.str_),
        answer_cost=numbers(19),
        paper_baseline=numbers(20),
        paper_candidate=numbers(21),
        paper_us=times(15),
        market=numbers(22),
        market_us=times(16),
        failed=_failures(columns[23]),
        shadow_failed=_failures(columns[24]),
    )
    requests = Requests(
        candidate=candidate,
        decided_us=decided,
        answered_us=times(14),
        latency_ms=numbers(6),
        failed=np.array(columns[7], np.bool_),
        fallback=np.array(columns[8], np.bool_),
        cost_cny=numbers(9),
        reported_model=np.array([value or "" for value in columns[10]], np.str_),
    )
    return table, requests
