"""The gateway's way to PostgreSQL: a pool, a deadline on every call, and one answer to every kind of trouble: it is down.

Belongs here: connections, deadlines, rows to types. Does not belong here: SQL text (statements.py) and what an outage means
for a decision (decide.py).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import psycopg
import structlog
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout
from pydantic import JsonValue

from tradewind.gateway import paper_statements, report_statements, statements
from tradewind.gateway.pool import Pool
from tradewind.gateway.settings import Settings
from tradewind.trading.account import Holder
from tradewind.trading.decision import HISTORY_SHOWN
from tradewind.trading.routing import Routing

_log = structlog.get_logger("tradewind.gateway")

Parameters = Mapping[str, object]
_PROBE_SECONDS = 0.5
_REPORT_SECONDS = 30.0
_OF_THE_VALUES = (None, "42804")  # a parameter that is missing, or of another type than its column


class DatabaseDownError(Exception):
    """The database gave no answer in time, or cannot be written. A write may still have happened."""


class UnstorableError(Exception):
    """A value that PostgreSQL has no room for, such as a number of a hundred thousand digits."""


class PositionTakenError(Exception):
    """Another decision's position with this id is open."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A row of `decisions`, as far as the gateway needs it."""

    decision_id: str
    request_hash: bytes
    decided_at: datetime
    experiment_uid: str | None
    arm: str | None
    epoch: int | None
    drawn_version: str
    parent_decision_id: str | None
    flipped_from: str | None
    retry_hash: bytes | None
    asking_until: datetime
    state: str
    answer: dict[str, JsonValue] | None
    probabilities: dict[str, JsonValue] | None
    answered_by: str | None
    latency_ms: float | None
    fallback: bool
    error_kind: str | None
    error_detail: str | None
    error_cause: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """From a row that has at least these columns."""
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Context:
    """What the drawn version may see besides the request, and what it continues.

    Attributes:
        history: its own last answers, drawn and shadow alike, oldest first.
        shadow_history: those of the version that the draw passed over; None: nobody is asked beside the drawn one.
        owners: version that opened each of the stated positions last.
        ended: those of the stated positions that are no longer open, as far as is known.
        holders: who holds which scope; only read where positions are stated.
        continued_action: how the position was opened that the decision continues or flips; None: there is none.
        continued_position: its id.
    """

    history: tuple[dict[str, JsonValue], ...]
    owners: Mapping[str, str]
    ended: frozenset[str]
    holders: tuple[Holder, ...]
    continued_action: str | None
    continued_position: str | None
    shadow_history: tuple[dict[str, JsonValue], ...] | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """From a row with these columns."""
        action, position = row["continued"] or (None, None)
        holders = tuple(Holder(*holder) for holder in row["holders"])
        owners = {name: version for name, (version, _) in row["owners"].items()}
        ended = frozenset(name for name, (_, over) in row["owners"].items() if over)
        shadow = None if row["shadow_history"] is None else tuple(row["shadow_history"])
        return cls(tuple(row["history"]), owners, ended, holders, action, position, shadow)


class AssignOutcome(StrEnum):
    """What came of an assignment."""

    DRAWN = "drawn"
    """It is this request's to answer."""
    KNOWN = "known"
    """The id was asked before."""
    BUSY = "busy"
    """Another question of the scope is being answered."""
    OVERLAP = "overlap"
    """Another question of the scope was answered with an opening after this one came."""
    NOT_OPEN = "not_open"
    """The named position is not open in the scope."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """Result of an assignment; `stored` and `context` are None where it is busy or not open."""

    outcome: AssignOutcome
    stored: Stored | None
    context: Context | None
    clock_before: datetime | None


class Database:
    """All calls of one Endpoint in one gateway replica. Every method but the two reports gives up after `database_timeout` seconds.

    Args:
        settings: of the Endpoint.
        pool: of the process; None: one of its own.
    """

    def __init__(self, settings: Settings, pool: Pool | None = None) -> None:
        self._settings = settings
        self._key = {
            "installation": settings.installation,
            "namespace": settings.namespace,
            "endpoint": settings.endpoint,
        }
        self._pool = (pool or Pool(settings)).share()
        self._running: set[asyncio.Task[Any]] = set()
        self.took: Callable[[float], None] | None = None
        """Told how many seconds each statement took that came back, with its wait for a connection."""
        self.timeout = settings.database_timeout
        self.up = False
        self.bound: bool | None = None
        """Whether its role sees the rows of its namespace alone; None: not known yet."""

    async def open(self) -> None:
        """Starts connecting; does not wait for the server."""
        await self._pool.open()

    async def close(self) -> None:
        """Closes every connection."""
        for task in tuple(self._running):
            task.cancel()
        await self._pool.close()

    async def watch(self) -> None:
        """Probes forever: the only way from down to up."""
        while True:
            with contextlib.suppress(DatabaseDownError):
                await self._call("SELECT 1 FROM tradewind.decisions LIMIT 0", {}, probe=True)
                if self.bound is None:
                    await self._ask_whether_bound()
            await asyncio.sleep(_PROBE_SECONDS)

    async def _ask_whether_bound(self) -> None:
        rows = await self._call(statements.BOUND, {})
        self.bound = bool(rows[0]["bound"])
        if not self.bound:
            _log.warning(
                "the role in TRADEWIND_DSN sees and writes every namespace's rows",
                remedy="make this namespace a role of its own: tradewind tenant add",
            )

    async def assign(self, parameters: Parameters) -> Assigned:
        """Commits the assignment of one decision, or finds the one there is. One round trip."""
        rows = await self._call(statements.ASSIGN, {**parameters, "history": HISTORY_SHOWN})
        row = rows[0]
        stored = None if row["decision_id"] is None else Stored.of(row)
        context = Context.of(row) if stored else None
        return Assigned(AssignOutcome(row["outcome"]), stored, context, row["clock_before"])

    async def take_over(self, parameters: Parameters) -> tuple[Stored, Context] | None:
        """Takes the row of a gateway that died while asking; None if it is not free (any more)."""
        return await self._taken(statements.TAKE_OVER, parameters)

    async def flip(self, parameters: Parameters) -> tuple[Stored, Context] | None:
        """Ends the position that a follow-up continued and makes the follow-up a draw of its own; None: somebody else has."""
        return await self._taken(statements.FLIP, parameters)

    async def withdraw(self, parameters: Parameters) -> tuple[Stored, Context] | None:
        """Makes a decision that was drawn for a candidate the champion's, outside of any experiment; None: it has its answer."""
        return await self._taken(statements.WITHDRAW, parameters)

    async def _taken(self, statement: str, parameters: Parameters) -> tuple[Stored, Context] | None:
        rows = await self._call(statement, {**parameters, "history": HISTORY_SHOWN})
        return (Stored.of(rows[0]), Context.of(rows[0])) if rows else None

    async def stored(self, decision_id: str) -> Stored | None:
        """The decision's row."""
        rows = await self._call(statements.STORED, {"decision_id": decision_id})
        return Stored.of(rows[0]) if rows else None

    async def finish(self, parameters: Parameters, shadow: dict[str, JsonValue] | None = None) -> bool:
        """Writes the answer or the failure, once, with the shadow's row if there is one; False if somebody else has."""
        if shadow is None:
            rows = await self._call(statements.FINISH, parameters)
        else:
            rows = await self._call(statements.FINISH_WITH_SHADOW, {**parameters, "shadows": Jsonb([shadow])})
        return bool(rows[0]["written"])

    async def store_shadows(self, rows: list[dict[str, JsonValue]]) -> None:
        """Writes shadows of decisions that have their answers, each once, and none where another arm was drawn meanwhile."""
        await self._call(statements.STORE_SHADOWS, {"shadows": Jsonb(rows)})

    async def ingest(self, parameters: Parameters) -> bool:
        """Writes a decision from the spool; False if the row has another answer already.

        Raises:
            UnstorableError: a value is missing, or of another type than its column.
        """
        return bool(await self._call(statements.INGEST, parameters, from_disk=True))

    async def keep_conflict(self, parameters: Parameters) -> bool:
        """Keeps another answer to a decision and bars it from evidence; False if that answer was kept before."""
        rows = await self._call(statements.CONFLICT, parameters, from_disk=True)
        return bool(rows[0]["kept"])

    async def bar_outage(self, decision_id: str) -> None:
        """Bars a decision from evidence that was answered once more in an outage, with the same words."""
        await self._call(statements.BAR_OUTAGE, {"decision_id": decision_id})

    async def sweep(self) -> int:
        """Fails assignments that nobody finished; their number."""
        rows = await self._call(statements.SWEEP, {"abandoned_after": self._settings.abandoned_after})
        return int(rows[0]["swept"])

    async def purge(self) -> int:
        """Deletes some decisions that are past their retention, replicas that are gone and old changes; the number of decisions."""
        await self._call(statements.FORGET_REPLICAS, {})
        await self._call(statements.FORGET_PROBES, {})
        await self._call(statements.FORGET_CHANGES, {})
        if self._settings.retention is None:
            return 0
        await self._call(report_statements.PURGE_REFUSED, {"retention": self._settings.retention})
        for statement in paper_statements.PURGE_PRICES:
            await self._call(statement, {"retention": self._settings.retention})
        return len(await self._call(statements.PURGE, {"retention": self._settings.retention}))

    async def reported(self, decision_id: str) -> dict[str, Any] | None:
        """State of a decision and the events that were reported about it."""
        rows = await self._call(report_statements.REPORTED, {"decision_id": decision_id})
        return rows[0] if rows else None

    async def decision_of_position(
        self, position_id: str, event_id: str, at: datetime, *, ends: bool, latest: datetime
    ) -> str | None:
        """The decision that opened a position of that id: the one that had the event, else the newest opened by then.

        Args:
            position_id, event_id: of the report.
            at: when it happened.
            ends: it takes off exposure.
            latest: up to when clocks that are off may have it opened.
        """
        parameters = {"position_id": position_id, "event_id": event_id, "at": at, "ends": ends, "latest": latest}
        rows = await self._call(report_statements.BY_POSITION, parameters)
        return str(rows[0]["decision_id"]) if rows else None

    async def apply(self, parameters: Parameters) -> bool:
        """Stores an event with what follows from it; False if another was stored since the caller read.

        Raises:
            PositionTakenError: the position_id names another open position.
        """
        try:
            rows = await self._call(report_statements.APPLY, parameters)
        except psycopg.errors.UniqueViolation as error:
            if error.diag.constraint_name != "executions_open":
                return False
            raise PositionTakenError from None
        return bool(rows[0]["written"])

    async def refused(self, parameters: Parameters) -> None:
        """Keeps a report that was refused."""
        await self._call(report_statements.REFUSED, parameters)

    async def rows(self, statement: str, parameters: Parameters) -> list[dict[str, Any]]:
        """The rows of a statement on prices and papers (paper_statements.py)."""
        return await self._call(statement, parameters)

    async def read(self, decision_id: str) -> dict[str, Any] | None:
        """One decision with all that was reported about it."""
        rows = await self._call(report_statements.READ, {"decision_id": decision_id})
        return rows[0] if rows else None

    async def listed(self, *, is_open: bool, after: tuple[datetime, str], limit: int) -> list[dict[str, Any]]:
        """Open positions, or answers to open of which nothing was reported; oldest first, after a place."""
        statement = report_statements.OPEN if is_open else report_statements.UNREPORTED
        parameters = {"after_time": after[0], "after": after[1], "limit": limit}
        return await self._call(statement, parameters, timeout=_REPORT_SECONDS)

    async def advance_clock(self, as_of: datetime, *, remind: bool) -> None:
        """Moves the replay clock forward, never back; tells the operator if it moved, or if `remind`."""
        await self._call(statements.ADVANCE_CLOCK, {"as_of": as_of, "remind": remind})

    async def notify(self) -> None:
        """Tells the operator to look at this endpoint."""
        await self._call(statements.NOTIFY, {})

    async def report_replica(
        self, routing: Routing, sha256: str | None, *, arms: list[dict[str, JsonValue]], notify: bool
    ) -> None:
        """Says which routing this replica obeys and what it knows of the arms; tells the operator where asked to."""
        parameters = {
            "replica": self._settings.replica,
            "epoch": routing.experiment.epoch if routing.experiment else None,
            "generation": routing.generation,
            "published_at": routing.published_at,
            "routing_sha256": sha256,
            "arms": Jsonb(arms),
        }
        await self._call(statements.REPORT_REPLICA, parameters)
        if notify:
            await self._call(statements.NOTIFY_ARMS, {})

    async def store_probe(self, parameters: Parameters) -> None:
        """Keeps what a question cost that no decision asked; again is once."""
        await self._call(statements.STORE_PROBE, {**parameters, "replica": self._settings.replica})

    async def performance(self, *, days: int, replay: bool) -> list[dict[str, Any]]:
        """Closed trades per version over the last days."""
        return await self._call(statements.PERFORMANCE, {"days": days, "replay": replay}, timeout=_REPORT_SECONDS)

    async def training_data(self, limit: int) -> list[dict[str, JsonValue]]:
        """The newest labelled decisions in the seed's shape."""
        rows = await self._call(statements.TRAINING_DATA, {"limit": limit}, timeout=_REPORT_SECONDS)
        return [row["data"] for row in rows]

    async def _call(
        self,
        statement: str,
        parameters: Parameters,
        *,
        timeout: float | None = None,
        probe: bool = False,
        from_disk: bool = False,
    ) -> list[dict[str, Any]]:
        if not self.up and not probe:
            raise DatabaseDownError
        # A task of its own: a server that went silent must not hold the caller, and cancelling a query asks that server.
        began = time.monotonic()
        task = asyncio.create_task(self._execute(statement, {**self._key, **parameters}))
        self._running.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait({task}, timeout=timeout or self._settings.database_timeout)
        if not done:
            task.cancel()
            if probe:  # one slow statement is no outage; a server that is too slow for the probe is
                self._mark(up=False, reason="no answer in time")
            raise DatabaseDownError
        try:
            rows = task.result()
        except psycopg.IntegrityError:
            raise
        except psycopg.DataError as error:
            raise UnstorableError(type(error).__name__) from None
        except psycopg.Error as error:
            if from_disk and isinstance(error, psycopg.ProgrammingError) and error.sqlstate in _OF_THE_VALUES:
                raise UnstorableError(type(error).__name__) from None
            if probe or not isinstance(
                error, PoolTimeout
            ):  # every connection busy is load, and the next call's business
                self._mark(up=False, reason=type(error).__name__)
            raise DatabaseDownError from None
        if probe:
            self._mark(up=True, reason="answers")
        if self.took is not None and timeout is None:
            self.took(time.monotonic() - began)
        return rows

    async def _execute(self, statement: str, parameters: Parameters) -> list[dict[str, Any]]:
        limit = self._settings.database_timeout
        try:
            return await self._replanned(statement, parameters, limit)
        except PoolTimeout:
            raise
        except psycopg.OperationalError as error:
            await self._pool.check()  # a restart leaves a pool of dead connections: replace them, then try once more
            try:
                return await self._once(statement, parameters, limit / 4)
            except PoolTimeout:
                raise error from None

    async def _replanned(self, statement: str, parameters: Parameters, limit: float) -> list[dict[str, Any]]:
        """A migration that adds a column to a table makes the server refuse what a connection has prepared, before it does anything.

        That is no outage: each connection that was open then is replaced when it is first used.
        """
        for _ in range(self._settings.pool_size):
            try:
                return await self._once(statement, parameters, limit)
            except psycopg.errors.FeatureNotSupported:
                _log.info("prepared anew", reason="the schema has changed")
        return await self._once(statement, parameters, limit)

    async def _once(self, statement: str, parameters: Parameters, limit: float) -> list[dict[str, Any]]:
        async with self._pool.connection(limit) as connection:
            try:
                cursor = await connection.execute(statement, parameters)
                return await cursor.fetchall() if cursor.description else []
            except psycopg.errors.FeatureNotSupported:
                await connection.close()  # the pool makes another one
                raise

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()

    def _mark(self, *, up: bool, reason: str) -> None:
        if up != self.up:
            _log.warning("database", up=up, reason=reason)
        self.up = up


def jsonb(value: object) -> Jsonb | None:
    """A value for a jsonb column; None is SQL's NULL."""
    return None if value is None else Jsonb(value)
