"""The operator's SQL, all of it but that of looks (evidence.py), papers (papers.py) and what each turn asks (facts.py). Rows in, typed facts out; every key starts with installation, namespace, endpoint.

The gateway has its own statements, and the jobs theirs; the schema is in `tradewind.migrations`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection, conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tradewind import migrations
from tradewind.core.ab_experiment.prices import RATE_DAYS, Prior
from tradewind.core.decision import PublishEpoch, RecordExperiment, RecordPromotion, RecordVerdict
from tradewind.core.endpoint import StartedExperiment
from tradewind.core.world import DatabaseUnavailableError, OfEndpoint, OfExperiment
from tradewind.shell import facts, papers
from tradewind.shell.claims import Claim
from tradewind.shell.evidence import EvidenceReader
from tradewind.trading.evidence import JUDGED_COLUMNS, StoredEvidence
from tradewind.trading.evidence.forecast import PastDecisions
from tradewind.trading.paper import PaperBasis

CHANNEL = "tradewind"
_STATEMENT_SECONDS, _LOOK_SECONDS, _LOCK_SECONDS = 15, 120, 5
"""A look at a million rows takes its time; a lock that somebody holds is nothing to wait for."""
_BEAT_SECONDS = 3.0
_TCP = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""A server that is gone without a word is noticed within 11 s."""

_OF_ENDPOINT: tuple[facts.Question[Any], ...] = (
    facts.EPOCHS,
    facts.IN_POSITION,
    facts.PROMOTION,
    facts.USED,
    facts.UNDECIDED,
    facts.REPLICAS,
    facts.PROBES,
    facts.CONFLICTS,
)
_OF_EXPERIMENT: tuple[facts.Question[Any], ...] = (
    facts.TESTED_BEFORE,
    facts.EPOCHS,
    facts.RECORDED,
    facts.REPLAY_CLOCK,
)


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life: since when the server runs, and how much it knows. Less than before is another database."""

    server: datetime | None
    experiments: int
    epoch: int

    def follows(self, earlier: "Beat") -> bool:
        """Whether the same server knows no less than it did."""
        return self.server == earlier.server and self.experiments >= earlier.experiments and self.epoch >= earlier.epoch


class Database:
    """A small pool. Use as an async context manager; it opens even while the server is away."""

    def __init__(self, dsn: str, installation: str, claim: Claim | None = None) -> None:
        """`claim`: of an operator, which asks nothing before it has its installation; None: of a person, who only reads."""
        self._dsn = dsn
        self._installation = installation
        self._tls_fault: str | None = None
        """What was wrong with the certificates at the last attempt: the pool itself only says that time is up."""
        self.claim = claim
        self.down: str | None = None
        """What is said at once instead of asking: the pulse (pulse.py) found that it does not answer."""
        self._told: dict[str, Any] = {
            name: value for name, value in _TCP.items() if name not in conninfo.conninfo_to_dict(dsn)
        }
        self._pulse: AsyncConnection[TupleRow] | None = None
        self._pool = AsyncConnectionPool(
            dsn,
            connection_class=_told_of(self._note),
            min_size=0,
            max_size=4,
            open=False,
            timeout=3,
            kwargs={"autocommit": True, "connect_timeout": 3, **self._told},
            configure=_bounded,
        )
        self.reader = EvidenceReader()

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=False)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._pool.close(timeout=2)
        except asyncio.CancelledError:
            # kopf cancels every task of the loop that is younger than it, those that the pool waits with among them.
            this = asyncio.current_task()
            if this is not None and this.cancelling():
                raise
        if self._pulse is not None:
            if self.claim is not None:
                with suppress(psycopg.Error, TimeoutError):
                    async with asyncio.timeout(2):
                        await self.claim.let_go(self._pulse)
            await self._pulse.close()

    @property
    def place(self) -> str:
        """Host, port and name of the database, for messages."""
        parts = conninfo.conninfo_to_dict(self._dsn)
        return f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"

    async def beat(self) -> Beat:
        """One question over a connection of its own, to the tables that turns need; and the claim is renewed.

        Raises:
            DatabaseUnavailableError: it is not answered within seconds: the server is gone, or somebody holds a lock.
        """
        sql = """SELECT pg_postmaster_start_time(),
                        (SELECT count(*) FROM tradewind.experiments WHERE installation = %(i)s),
                        (SELECT coalesce(max(epoch), 0) FROM tradewind.epochs WHERE installation = %(i)s),
                        EXISTS (SELECT FROM tradewind.decisions), EXISTS (SELECT FROM tradewind.promotions),
                        EXISTS (SELECT FROM tradewind.gateway_replicas)"""
        with self._explained():
            try:
                async with asyncio.timeout(_BEAT_SECONDS + 2):
                    if self._pulse is None or self._pulse.closed:
                        told: dict[str, Any] = {"autocommit": True, "connect_timeout": int(_BEAT_SECONDS), **self._told}
                        self._pulse = await _told_of(self._note).connect(self._dsn, **told)
                        await self._pulse.execute(f"SET statement_timeout = '{_BEAT_SECONDS}s'")
                    if self.claim is not None:
                        await self.claim.renew(self._pulse)
                    cursor = await self._pulse.execute(sql, {"i": self._installation})
                    row = await cursor.fetchone()
            except psycopg.errors.ProgrammingError:
                return Beat(None, 0, 0)  # it answers, and lacks the schema or the right: turns say that
            except BaseException as error:
                if self._pulse is not None:
                    self._pulse.pgconn.finish()
                    self._pulse = None
                if isinstance(error, TimeoutError):
                    raise psycopg.errors.QueryCanceled from None
                raise
        assert row is not None
        return Beat(row[0], int(row[1]), int(row[2]))

    # --- facts -----------------------------------------------------------------------------------------------------

    async def of_endpoint(
        self, namespace: str, endpoint: str, uid: str | None, requests: Collection[str]
    ) -> OfEndpoint:
        """All that a turn of an Endpoint reads."""
        given = {"uid": uid, "requests": list(requests)}
        return OfEndpoint(*await self._ask(_OF_ENDPOINT, namespace, endpoint, **given))

    async def of_experiment(
        self, namespace: str, endpoint: str, baseline: str, candidate: str, experiment_uid: str
    ) -> OfExperiment:
        """What a turn of an experiment reads beside its rows."""
        given = {"baseline": baseline, "candidate": candidate, "uid": experiment_uid}
        return OfExperiment(*await self._ask(_OF_EXPERIMENT, namespace, endpoint, **given))

    async def undecided(self, namespace: str, endpoint: str) -> tuple[StartedExperiment, ...]:
        """Experiments that were started and have no verdict, the oldest first."""
        (found,) = await self._ask((facts.UNDECIDED,), namespace, endpoint)
        return found  # type: ignore[no-any-return]

    async def undecided_endpoints(self) -> tuple[tuple[str, str], ...]:
        """Namespace and name of every Endpoint of which an experiment has no verdict."""
        sql = "SELECT DISTINCT namespace, endpoint FROM tradewind.experiments WHERE installation = %s AND decision IS NULL"
        return tuple((row[0], row[1]) for row in await self._rows(sql, (self._installation,)))

    async def prior(self, namespace: str, endpoint: str, baseline: str, before: datetime | None) -> Prior:
        """What was decided before a time (None: now): trades of the baseline, and decisions of the last 14 days."""
        sql = """SELECT count(b.notional_usd), avg(b.notional_usd),
                        (SELECT count(*) FROM tradewind.decisions d
                          WHERE d.installation = %(i)s AND d.namespace = %(n)s AND d.endpoint = %(e)s AND d.state = 'answered'
                            AND d.decided_at < coalesce(%(before)s, now())
                            AND d.decided_at >= coalesce(%(before)s, now()) - make_interval(days => %(days)s))
                   FROM (SELECT notional_usd FROM tradewind.first_decisions
                          WHERE installation = %(i)s AND namespace = %(n)s AND endpoint = %(e)s AND drawn_version = %(version)s
                            AND status = 'closed' AND decided_at < coalesce(%(before)s, now())
                          ORDER BY decided_at DESC LIMIT 5000) b"""
        given = {"i": self._installation, "n": namespace, "e": endpoint, "version": baseline, "before": before}
        trades, notional, decisions = (await self._rows(sql, {**given, "days": RATE_DAYS}))[0]
        return Prior(int(trades), None if notional is None else float(notional), int(decisions))

    async def past_decisions(self, namespace: str, endpoint: str, version: str) -> PastDecisions:
        """What a version answered outside of experiments: its newest decisions, at most 5,000 and at most two weeks."""
        sql = """WITH newest AS (
                   SELECT decided_at, status FROM tradewind.first_decisions
                    WHERE installation = %s AND namespace = %s AND endpoint = %s AND drawn_version = %s
                      AND experiment_uid IS NULL ORDER BY decided_at DESC LIMIT 5000)
                 SELECT count(*), count(*) FILTER (WHERE status = 'hold'),
                        coalesce(extract(epoch FROM max(decided_at) - min(decided_at)), 0)::double precision / 86400
                   FROM newest WHERE decided_at > (SELECT max(decided_at) FROM newest) - interval '14 days'"""
        row = (await self._rows(sql, (self._installation, namespace, endpoint, version)))[0]
        return PastDecisions(decisions=int(row[0]), holds=int(row[1]), days=float(row[2]))

    async def new_samples(self, namespace: str, endpoint: str, since: datetime | None) -> int:
        """Closed trades decided after `since`, the Endpoint's own and those that were imported for it."""
        sql = """SELECT (SELECT count(*) FROM tradewind.decisions d
                           JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
                          WHERE installation = %(i)s AND namespace = %(n)s AND endpoint = %(e)s AND NOT o.voided
                            AND d.decided_at > coalesce(%(since)s::timestamptz, '-infinity'))
                      + (SELECT count(*) FROM tradewind.imported_history h
                          WHERE h.installation = %(i)s AND h.namespace = %(n)s AND h.endpoint = %(e)s AND h.closed_at IS NOT NULL
                            AND h.decided_at > coalesce(%(since)s::timestamptz, '-infinity'))"""
        given = {"i": self._installation, "n": namespace, "e": endpoint, "since": since}
        return int((await self._rows(sql, given))[0][0])

    async def settle_papers(
        self,
        namespace: str,
        endpoint: str,
        experiment_uid: str,
        t0: datetime,
        basis: PaperBasis,
        until: datetime | None,
    ) -> None:
        """Settles on paper what both arms answered since t0, up to now, or to a look on the data's clock."""
        key = {
            "installation": self._installation,
            "namespace": namespace,
            "endpoint": endpoint,
            "uid": experiment_uid,
        }
        async with self._looking() as connection:
            await papers.settle_papers(connection, key, t0, basis, until)

    async def evidence(self, namespace: str, endpoint: str, experiment_uid: str, t0: datetime) -> StoredEvidence:
        """All that a look at an experiment reads, as of one moment: rows, requests, what is lost, and the baseline's prior trades."""
        key = {"installation": self._installation, "namespace": namespace, "endpoint": endpoint, "uid": experiment_uid}
        async with self._looking() as connection:
            return await self.reader.read(connection, key, t0)

    async def judged_rows(self, namespace: str, endpoint: str, experiment_uid: str) -> list[dict[str, Any]]:
        """The same as a table: what `jobs/export.py evidence` writes and a report shows."""
        sql = f"""SELECT {", ".join(JUDGED_COLUMNS)} FROM tradewind.judged_rows
                  WHERE installation = %s AND namespace = %s AND endpoint = %s AND experiment_uid = %s
                  ORDER BY decided_at, decision_id"""
        rows = await self._rows(sql, (self._installation, namespace, endpoint, experiment_uid))
        return [dict(zip(JUDGED_COLUMNS, row, strict=True)) for row in rows]

    # --- records ---------------------------------------------------------------------------------------------------

    async def publish_epoch(self, namespace: str, epoch: PublishEpoch) -> None:
        """Store a block's weight; the first one stays."""
        sql = """INSERT INTO tradewind.epochs
                        (installation, namespace, endpoint, experiment_uid, block, candidate_weight, reason, evidence)
                 VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
        key = (self._installation, namespace, epoch.endpoint, epoch.experiment_uid, epoch.block)
        evidence = {**epoch.evidence, "weightMessage": epoch.message}
        await self._execute(sql, (*key, epoch.candidate_weight, epoch.reason, json.dumps(evidence)))

    async def record_promotion(self, namespace: str, promotion: RecordPromotion) -> None:
        """Store a promotion, once an experiment and version or once a request; a first champion where there is no record yet.

        No unique key catches the latter, as it has no experiment: operators take turns, each in a statement that sees
        what the one before has committed.
        """
        if promotion.experiment_uid is None and promotion.request is None:
            await self._record_first_champion(namespace, promotion)
            return
        sql = """INSERT INTO tradewind.promotions
                        (installation, namespace, endpoint, version, sha256, spec_sha256, previous_version, experiment_uid,
                         reason, request, requested_by, message)
                 VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
        p = promotion
        key = (self._installation, namespace, p.endpoint)
        how = (p.experiment_uid, p.reason, p.request, p.requested_by, p.message)
        await self._execute(sql, (*key, p.version, p.sha256, p.spec_sha256, p.previous, *how))

    async def _record_first_champion(self, namespace: str, promotion: RecordPromotion) -> None:
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(chr(31), 'promotions', %s::text, %s::text, %s::text), 0))"
        sql = """INSERT INTO tradewind.promotions (installation, namespace, endpoint, version, sha256, spec_sha256, reason)
                 SELECT %s, %s, %s, %s, %s::text, %s::text, %s
                  WHERE NOT EXISTS (SELECT FROM tradewind.promotions
                                     WHERE installation = %s AND namespace = %s AND endpoint = %s)"""
        p, key = promotion, (self._installation, namespace, promotion.endpoint)
        async with self._connection() as connection, connection.transaction():
            await connection.execute(lock, key)
            await connection.execute(sql, (*key, p.version, p.sha256, p.spec_sha256, p.reason, *key))

    async def record_experiment(self, namespace: str, record: RecordExperiment) -> None:
        """Store what was started; the first record stays."""
        sql = """INSERT INTO tradewind.experiments
                        (installation, namespace, endpoint, experiment_uid, name, mode,
                         baseline, baseline_sha256, baseline_spec_sha256, candidate, candidate_sha256, candidate_spec_sha256,
                         t0, alpha, spec, cny_per_usd, baseline_cost_usd, candidate_cost_usd)
                 VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
        r = record
        pair = [part for ref in (r.baseline, r.candidate) for part in (ref.name, ref.sha256, ref.spec_sha256)]
        key = (self._installation, namespace, r.endpoint, r.experiment_uid)
        await self._execute(sql, (*key, r.name, r.mode, *pair, r.t0, r.alpha, json.dumps(r.spec), *r.costs))

    async def record_verdict(self, namespace: str, verdict: RecordVerdict) -> None:
        """Store how an experiment ended; the first verdict stays, but for a promotion that was taken back."""
        sql = """UPDATE tradewind.experiments
                    SET decision = %s, decision_reason = %s, decision_message = %s, decided_at = %s, evidence = %s
                  WHERE installation = %s AND namespace = %s AND endpoint = %s AND experiment_uid = %s
                    AND (decision IS NULL OR (decision = 'promote' AND %s <> 'promote'))"""
        v = verdict
        said = (v.decision, v.reason, v.message, v.decided_at, json.dumps(v.evidence))
        key = (self._installation, namespace, v.endpoint, v.experiment_uid)
        await self._execute(sql, (*said, *key, v.decision))

    async def listen(self, notified: Callable[[str], None]) -> None:
        """Call back with the payload of every notification, until cancelled; reconnects by itself."""
        while True:
            try:
                async with await AsyncConnection.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    async for notification in connection.notifies():
                        notified(notification.payload)
            except psycopg.Error:
                await asyncio.sleep(2)

    # --- plumbing --------------------------------------------------------------------------------------------------

    async def _rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[TupleRow]:
        async with self._connection() as connection:
            return await (await connection.execute(sql, parameters)).fetchall()

    async def _ask(
        self, questions: Sequence[facts.Question[Any]], namespace: str, endpoint: str, **given: Any
    ) -> tuple[Any, ...]:
        """The answers of several questions about one Endpoint, as of one moment."""
        key = {"installation": self._installation, "namespace": namespace, "endpoint": endpoint}
        row = (await self._rows(facts.together(questions), {**key, **given}))[0]
        return tuple(each.read(found) for each, found in zip(questions, row, strict=True))

    async def _execute(self, sql: str, parameters: Sequence[Any]) -> None:
        async with self._connection() as connection:
            await connection.execute(sql, parameters)

    def _note(self, error: psycopg.OperationalError | None) -> None:
        self._tls_fault = migrations.tls_fault(error) if error is not None else None

    @asynccontextmanager
    async def _looking(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        async with self._connection() as connection:
            await connection.execute(f"SET statement_timeout = '{_LOOK_SECONDS}s'")
            yield connection
            await connection.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        if self.down is not None:
            raise DatabaseUnavailableError(self.down)
        if self.claim is not None and self.claim.refusal is not None:
            taken = bool(self.claim.taken or self.claim.waits)
            raise DatabaseUnavailableError(self.claim.refusal, schema_missing=self.claim.schema_missing, taken=taken)
        with self._explained():
            async with self._pool.connection() as connection:
                yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What goes wrong in the block, in words and with the remedy."""
        try:
            yield
        except (
            psycopg.errors.UndefinedTable,
            psycopg.errors.InvalidSchemaName,
            psycopg.errors.UndefinedColumn,
        ) as error:
            message = f"the database {self.place} lacks this version's schema: run `tradewind migrate`"
            raise DatabaseUnavailableError(message, schema_missing=True) from error
        except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
            message = f"the database {self.place} answers nothing in time: look in pg_stat_activity and pg_locks for who holds it up"
            raise DatabaseUnavailableError(message) from error
        except (psycopg.OperationalError, PoolTimeout) as error:
            remedy = self._tls_fault or "check that it runs and that TRADEWIND_DSN names it"
            message = f"the database {self.place} does not answer: {remedy}"
            raise DatabaseUnavailableError(message) from error


async def _bounded(connection: AsyncConnection[TupleRow]) -> None:
    """Nothing is waited for without end. Set in the session: a pooler in between may refuse it as an option."""
    await connection.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
    await connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
    # The server would compile what it estimates as costly, which is not what takes long.
    await connection.execute("SET jit = off")


def _told_of(attempt: Callable[[psycopg.OperationalError | None], None]) -> type[AsyncConnection[TupleRow]]:
    """Connections that tell how each attempt to make one ended; None: well."""

    class Told(AsyncConnection[TupleRow]):
        @classmethod
        async def connect(cls, *args: Any, **kwargs: Any) -> Self:
            try:
                made = await super().connect(*args, **kwargs)
            except psycopg.OperationalError as error:
                attempt(error)
                raise
            attempt(None)
            return made

    return Told
