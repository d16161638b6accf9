"""Imported history in SQL: what is new goes in, what is known stays, and the same id with other contents is told.

One transaction a file, under a lock of the Endpoint's imports: a kill leaves nothing half, and two imports at once wait for each
other. A dry run is the same transaction, taken back.

Belongs here: the statements, and their errors in words. Does not belong here: reading and checking rows (trading/imports).
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from tradewind.shell.endpoint_log import EndpointLog, in_words
from tradewind.trading.decision import canonical_json
from tradewind.trading.imports.problems import Reason
from tradewind.trading.imports.records import Record
from tradewind.trading.imports.tally import Tally

_STAGE: Final = """
CREATE TEMP TABLE staged (
    number int NOT NULL, source_id text NOT NULL, decision_hash bytea, decided_at timestamptz, scope_symbol text, input jsonb,
    answer jsonb, model text, outcome_hash bytea, closed_at timestamptz, pnl_usd numeric, exit_reason text, given_label text
) ON COMMIT DROP
"""
_COPY: Final = """
COPY staged (number, source_id, decision_hash, decided_at, scope_symbol, input, answer, model, outcome_hash, closed_at, pnl_usd,
             exit_reason, given_label) FROM STDIN
"""
_KEY: Final = "k.installation = %(installation)s AND k.namespace = %(namespace)s AND k.endpoint = %(endpoint)s"
# Tables that were filled a moment ago have no statistics, and a planner that takes them for empty joins each row with each.
_PLAN: Final = "SET LOCAL enable_nestloop = off"
_OWN: Final = f"""
SELECT s.source_id FROM staged s CROSS JOIN LATERAL (
       SELECT k.decided_at FROM tradewind.decisions k WHERE {_KEY} AND k.decision_id = s.source_id OFFSET 0) k
 WHERE k.decided_at = s.decided_at
"""
_OTHER: Final = {
    part: f"""
SELECT s.source_id, i.file, k.number, i.imported_at FROM staged s
  JOIN tradewind.imported_{part}s k ON k.source_id = s.source_id AND k.content_hash <> s.{part}_hash
  JOIN tradewind.imports i ON i.id = k.import_id
 WHERE {_KEY} AND k.source = %(source)s
"""
    for part in ("decision", "outcome")
}
_IMPORT: Final = """
INSERT INTO tradewind.imports (installation, namespace, endpoint, source, format, file, sha256, bytes, rows_read, rows_new,
                               rows_refused, imported_by)
VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(source)s, %(format)s, %(file)s, %(sha256)s, %(bytes)s, %(read)s, 0,
        %(refused)s, %(by)s) RETURNING id
"""
_DECISIONS: Final = """
INSERT INTO tradewind.imported_decisions (installation, namespace, endpoint, source, source_id, import_id, number, content_hash,
                                          decided_at, scope_symbol, input, answer, model)
SELECT %(installation)s, %(namespace)s, %(endpoint)s, %(source)s, source_id, %(id)s, number, decision_hash, decided_at,
       scope_symbol, input, answer, model
  FROM staged WHERE decision_hash IS NOT NULL ORDER BY number
ON CONFLICT DO NOTHING RETURNING source_id
"""
_OUTCOMES: Final = """
INSERT INTO tradewind.imported_outcomes (installation, namespace, endpoint, source, source_id, import_id, number, content_hash,
                                         closed_at, pnl_usd, exit_reason, given_label)
SELECT %(installation)s, %(namespace)s, %(endpoint)s, %(source)s, source_id, %(id)s, number, outcome_hash, closed_at, pnl_usd,
       exit_reason, given_label
  FROM staged WHERE outcome_hash IS NOT NULL ORDER BY number
ON CONFLICT DO NOTHING RETURNING source_id
"""
_ORPHANS: Final = f"""
SELECT count(*) FROM (
    SELECT k.source_id FROM tradewind.imported_outcomes k WHERE {_KEY} AND k.source = %(source)s
    EXCEPT ALL
    SELECT k.source_id FROM tradewind.imported_decisions k WHERE {_KEY} AND k.source = %(source)s) o
"""
_ENDPOINTS: Final = """
SELECT DISTINCT namespace || '/' || endpoint FROM (
    SELECT namespace, endpoint FROM tradewind.promotions WHERE installation = %(installation)s
    UNION ALL SELECT namespace, endpoint FROM tradewind.gateway_replicas WHERE installation = %(installation)s
    UNION ALL SELECT namespace, endpoint FROM tradewind.imports WHERE installation = %(installation)s) e ORDER BY 1
"""
_FORGET: Final = f"""
WITH decisions AS (
    DELETE FROM tradewind.imported_decisions k WHERE {_KEY} AND k.source = %(source)s RETURNING 1
), outcomes AS (
    DELETE FROM tradewind.imported_outcomes k WHERE {_KEY} AND k.source = %(source)s RETURNING 1
), marked AS (
    UPDATE tradewind.imports k SET forgotten_by = %(by)s, forgotten_at = now()
     WHERE {_KEY} AND k.source = %(source)s AND forgotten_at IS NULL
)
SELECT (SELECT count(*) FROM decisions), (SELECT count(*) FROM outcomes)
"""


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """What is kept of a file: `sha256` in hex, `size` in bytes."""

    source: str
    format: str
    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a file's rows: ids of which something was new, and the source's outcomes that lack their decision."""

    new: int
    orphans: int


class ImportLog(EndpointLog):
    """A connection to the database, for one Endpoint; `commit` or nothing."""

    def commit(self) -> None:
        """Keeps what was stored.

        Raises:
            RefusedByDatabaseError: the database went away; nothing was kept.
        """
        with _in_words():
            self._connection.commit()

    def endpoints(self) -> list[str]:
        """NAMESPACE/NAME of the Endpoints that the database knows."""
        with _in_words():
            rows = self._connection.execute(_ENDPOINTS, self._key).fetchall()
        return [str(row[0]) for row in rows]

    def store(self, file: ImportedFile, records: Iterable[tuple[int, Record]], tally: Tally) -> Stored:
        """Stores what is new of a file; nothing of it where reading its records fails. What is refused here goes into the tally.

        Args:
            file: what is kept of it.
            records: with their numbers; they are read once.
            tally: of the file; complete once the records are read.

        Raises:
            RefusedByDatabaseError: nothing of the file was stored.
        """
        given: dict[str, Any] = {**self._key, "source": file.source, "format": file.format, "file": file.name,
                                 "sha256": file.sha256, "bytes": file.size}  # fmt: skip
        with _in_words():
            self._connection.execute("SELECT 1")  # begins a transaction, in which the next one is a savepoint
        with _in_words(), self._connection.transaction():
            self._lock()
            self._connection.execute("DROP TABLE IF EXISTS pg_temp.staged")
            self._connection.execute(_STAGE)
            with self._connection.cursor().copy(_COPY) as copy:
                for number, record in records:
                    copy.write_row(_row(number, record))
            self._connection.execute("ANALYZE staged")
            self._connection.execute(_PLAN)
            self._refuse(given, tally)
            self._connection.execute("DELETE FROM staged WHERE source_id = ANY(%s)", (tally.doubtful,))
            return self._insert(given, tally)

    def forget(self, source: str) -> tuple[int, int]:
        """Takes back all of a source; how many decisions and outcomes that were.

        Raises:
            RefusedByDatabaseError: nothing was taken back.
        """
        with _in_words():
            self._lock()
            row = self._connection.execute(_FORGET, {**self._key, "source": source}).fetchone()
        assert row is not None
        return int(str(row[0])), int(str(row[1]))

    def _lock(self) -> None:
        lock = "\x1f".join(("import", *(self._key[name] for name in ("installation", "namespace", "endpoint"))))
        self._connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (lock,))

    def _refuse(self, given: dict[str, Any], tally: Tally) -> None:
        for (source_id,) in self._connection.execute(_OWN, given).fetchall():
            tally.refuse_id(
                str(source_id), Reason.OWN_DECISION, f"{source_id!r} is a decision that this Endpoint made itself; it is there already"
            )  # fmt: skip
        for part, statement in _OTHER.items():
            for source_id, file, number, at in self._connection.execute(statement, given).fetchall():
                tally.refuse_id(
                    str(source_id), Reason.OTHER_CONTENT, f"{source_id!r} was imported on {at:%Y-%m-%d} with another {part} ({file}, "
                    f"{number}); nothing is overwritten: mend the file, give it another id, or take the source back with --forget"
                )  # fmt: skip

    def _insert(self, given: dict[str, Any], tally: Tally) -> Stored:
        row = self._connection.execute(_IMPORT, {**given, "read": tally.read, "refused": tally.refused}).fetchone()
        assert row is not None
        given = {**given, "id": row[0]}
        new = {r[0] for r in self._connection.execute(_DECISIONS, given).fetchall()}
        new |= {r[0] for r in self._connection.execute(_OUTCOMES, given).fetchall()}
        if new:
            self._connection.execute("UPDATE tradewind.imports SET rows_new = %s WHERE id = %s", (len(new), row[0]))
        else:  # it says nothing that was not there
            self._connection.execute("DELETE FROM tradewind.imports WHERE id = %s", (row[0],))
        orphans = self._connection.execute(_ORPHANS, given).fetchone()
        assert orphans is not None
        return Stored(len(new), int(str(orphans[0])))


def _row(number: int, record: Record) -> tuple[Any, ...]:
    decision, outcome = record.decision, record.outcome
    decided: tuple[Any, ...] = (None,) * 6
    if decision is not None:
        answer = decision.answer.model_dump(mode="json")
        decided = (
            record.decision_hash, decision.decided_at, decision.answer.symbol, canonical_json(decision.shown), canonical_json(answer),
            decision.model,
        )  # fmt: skip
    ended: tuple[Any, ...] = (None,) * 5
    if outcome is not None:
        pnl = None if outcome.pnl_usd is None else repr(outcome.pnl_usd)
        ended = (record.outcome_hash, outcome.closed_at, pnl, outcome.exit_reason, outcome.label and str(outcome.label))
    return (number, record.source_id, *decided, *ended)


def _in_words() -> AbstractContextManager[None]:
    rights = (
        "the role needs SELECT on the schema's tables, and INSERT, UPDATE and DELETE on the three of imports, and "
        "TEMPORARY on the database"
    )
    return in_words("nothing of this file", rights)
