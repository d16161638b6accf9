"""The rows of an Endpoint before and after a request, and what of them a request may have changed."""

import json
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg
from psycopg.types.json import set_json_loads

TABLES = (
    "decisions", "executions", "outcomes", "events", "bars", "reported_papers", "conflicting_answers", "shadows", "refused_reports",
    "replay_clock", "papers", "reviews", "epochs", "promotions", "experiments",
)  # fmt: skip
"""All that a request could write; what replicas tell of themselves is not among them."""
_KEPT = tuple(table for table in TABLES if table not in ("promotions", "experiments", "epochs"))

Row = tuple[str, str]
"""Table and key of a row."""


@dataclass(frozen=True)
class Change:
    """One row before and after; None: it is not there."""

    table: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @property
    def columns(self) -> set[str]:
        """The columns that differ; all of a row that came or went."""
        before, after = self.before or {}, self.after or {}
        return {
            name for name in {*before, *after} if name not in before or name not in after or before[name] != after[name]
        }

    @property
    def decision_id(self) -> str | None:
        """Whose row it is."""
        return (self.after or self.before or {}).get("decision_id")


class Books:
    """Looks at every row, and puts back the rows of one moment."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        set_json_loads(partial(json.loads, parse_int=Decimal, parse_float=Decimal), self._connection)
        self._look = " UNION ALL ".join(f"SELECT '{t}', {_key(t)}, to_jsonb(t) FROM tradewind.{t} t" for t in TABLES)

    def close(self) -> None:
        self._connection.close()

    def look(self) -> dict[Row, dict[str, Any]]:
        """All rows."""
        return {(table, key): row for table, key, row in self._connection.execute(self._look)}  # type: ignore[arg-type]

    def keep(self) -> None:
        """Remembers the rows as they are."""
        for table in _KEPT:
            self._connection.execute(f"CREATE TEMPORARY TABLE kept_{table} AS TABLE tradewind.{table}")  # type: ignore[arg-type]

    def put_back(self) -> None:
        """The rows as they were kept."""
        with self._connection.transaction():
            self._connection.execute("SET LOCAL session_replication_role = replica")
            for table in _KEPT:
                self._connection.execute(f"DELETE FROM tradewind.{table}")  # type: ignore[arg-type]
                self._connection.execute(f"INSERT INTO tradewind.{table} TABLE kept_{table}")  # type: ignore[arg-type]


def _key(table: str) -> str:
    """SQL of a text that tells a row from the others of its table."""
    if table in ("bars", "replay_clock", "promotions", "experiments", "epochs"):
        return (
            "md5(concat_ws('/', "
            + {
                "bars": "t.namespace, t.endpoint, t.symbol, t.starts_at, t.ends_at",
                "replay_clock": "t.namespace, t.endpoint",
                "promotions": "t.id",
                "experiments": "t.experiment_uid",
                "epochs": "t.experiment_uid, t.block",
            }[table]
            + "))"
        )
    more = {
        "events": ", t.event_id",
        "reported_papers": ", t.arm",
        "papers": ", t.arm",
        "conflicting_answers": ", t.answer_hash",
        "reviews": ", t.reviewer",
    }
    if table == "refused_reports":
        return "t.report_hash::text"
    return f"concat_ws('/', t.namespace, t.endpoint, t.decision_id{more.get(table, '')})"


def changes(before: dict[Row, dict[str, Any]], after: dict[Row, dict[str, Any]]) -> list[Change]:
    """The rows that differ."""
    return [
        Change(row[0], before.get(row), after.get(row))
        for row in {*before, *after}
        if before.get(row) != after.get(row)
    ]
