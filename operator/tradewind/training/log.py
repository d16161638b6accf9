"""The decision log in PostgreSQL, read as one consistent snapshot.

Belongs here: the query and the way from its rows to `LoggedDecision`. Does not belong here: what is taught (trading/dataset/).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import psycopg
from psycopg.rows import dict_row
from pydantic import ValidationError

from tradewind.trading.dataset import LoggedDecision, OtherArm
from tradewind.trading.decision import DecisionInput, TradeDecision
from tradewind.trading.exits import ExitCode
from tradewind.trading.labels import Label
from tradewind.training.config import EndpointKey
from tradewind.training.outcome import JobError

_FETCH_ROWS: Final = 200

# A follow-up is joined with execution and outcome of the decision that opened its position. Where two answers were given, nobody
# knows whose the outcome is.
_OWN: Final = """
SELECT d.decision_id, d.decided_at, d.scope_symbol, d.request -> 'market_data' AS market, d.request -> 'account_state' AS account,
       d.shown -> 'account_state' -> 'positions' AS positions, coalesce(d.shown -> 'account_state' ? 'positions', false) AS own_positions,
       d.shown -> 'recent_history' AS history, d.answer, d.replay, d.fallback, d.error_kind, d.parent_decision_id, coalesce(d.answered_by, d.drawn_version) AS source_model,
       e.status AS execution_status, e.filled_notional_usd, o.pnl_usd,
       CASE WHEN o.closed_at < coalesce(%(until)s, 'infinity'::timestamptz) THEN o.closed_at END AS closed_at,
       (p.answer ->> 'size_usd')::double precision AS trade_size_usd,
       (SELECT jsonb_object_agg(r.label, r.share)
          FROM (SELECT r.label, avg(r.agrees::int) AS share FROM tradewind.reviews r
                 WHERE (r.installation, r.namespace, r.endpoint, r.decision_id)
                     = (d.installation, d.namespace, d.endpoint, d.decision_id) GROUP BY r.label) r) AS reviews,
       NULL AS given_label, NULL AS imported_from{columns}
  FROM tradewind.decisions d
  JOIN tradewind.decisions p
    ON (p.installation, p.namespace, p.endpoint, p.decision_id)
     = (d.installation, d.namespace, d.endpoint, coalesce(d.parent_decision_id, d.decision_id))
  LEFT JOIN tradewind.executions e
    ON (e.installation, e.namespace, e.endpoint, e.decision_id) = (p.installation, p.namespace, p.endpoint, p.decision_id)
  LEFT JOIN tradewind.outcomes o
    ON (o.installation, o.namespace, o.endpoint, o.decision_id) = (p.installation, p.namespace, p.endpoint, p.decision_id)
   AND NOT o.voided{joins}
 WHERE d.installation = %(installation)s AND d.namespace = %(namespace)s AND d.endpoint = %(endpoint)s
   AND (%(since)s::timestamptz IS NULL OR d.decided_at >= %(since)s)
   AND (%(until)s::timestamptz IS NULL OR d.decided_at < %(until)s)
   AND (%(symbols)s::text[] IS NULL OR d.scope_symbol = ANY (%(symbols)s))
   AND d.bar_from_evidence IS DISTINCT FROM 'conflicting_answers'
   AND p.bar_from_evidence IS DISTINCT FROM 'conflicting_answers'
"""
# What was imported stands beside them: answered, filled as it was decided, and shown what its source says.
# What stood beside it: the other arm's own answer (a fallback's would be no arm's), once its paper is settled.
_PAPER_COLUMNS: Final = """,
       s.answer AS other_answer, s.shown -> 'account_state' -> 'positions' AS other_positions,
       coalesce(s.shown -> 'account_state' ? 'positions', false) AS other_own_positions, s.shown -> 'recent_history' AS other_history,
       s.version AS other_model, k.ret AS other_return, k.exit_at AS other_closed_at
"""
_PAPER_JOINS: Final = """
  LEFT JOIN tradewind.shadows s
    ON (s.installation, s.namespace, s.endpoint, s.decision_id) = (d.installation, d.namespace, d.endpoint, d.decision_id)
   AND s.state = 'answered' AND d.parent_decision_id IS NULL
  LEFT JOIN tradewind.papers k
    ON (k.installation, k.namespace, k.endpoint, k.decision_id, k.arm)
     = (s.installation, s.namespace, s.endpoint, s.decision_id, s.arm)
   AND k.known_at < coalesce(%(until)s, 'infinity'::timestamptz)
"""
_NO_PAPER: Final = ", NULL, NULL, false, NULL, NULL, NULL, NULL"
_IMPORTED: Final = """
SELECT h.decision_id, h.decided_at, h.scope_symbol, h.input -> 'market_data', h.input -> 'account_state', NULL, false,
       h.input -> 'recent_history', h.answer, false, false, NULL, NULL,
       coalesce(nullif(h.model, ''), h.source), 'opened',
       nullif((h.answer ->> 'size_usd')::numeric * (h.answer ->> 'leverage')::numeric, 0), h.pnl_usd,
       CASE WHEN h.closed_at < coalesce(%(until)s, 'infinity'::timestamptz) THEN h.closed_at END,
       (h.answer ->> 'size_usd')::double precision, NULL,
       CASE WHEN h.closed_at < coalesce(%(until)s, 'infinity'::timestamptz) THEN h.given_label END, h.source{columns}
  FROM tradewind.imported_history h
 WHERE h.installation = %(installation)s AND h.namespace = %(namespace)s AND h.endpoint = %(endpoint)s
   AND (%(since)s::timestamptz IS NULL OR h.decided_at >= %(since)s)
   AND (%(until)s::timestamptz IS NULL OR h.decided_at < %(until)s)
   AND (%(symbols)s::text[] IS NULL OR h.scope_symbol = ANY (%(symbols)s))
"""
_QUERY: Final = f"{_OWN.format(columns='', joins='')} UNION ALL {_IMPORTED.format(columns='')}"
_QUERY_WITH_PAPERS: Final = (
    f"{_OWN.format(columns=_PAPER_COLUMNS, joins=_PAPER_JOINS)} UNION ALL {_IMPORTED.format(columns=_NO_PAPER)}"
)


@dataclass(frozen=True, slots=True)
class Range:
    """Which decisions are read: `since` <= decided_at < `until`; outcomes after `until` are not known yet."""

    since: datetime | None
    until: datetime | None
    symbols: Sequence[str] | None = None


class DecisionLog:
    """A read-only repeatable-read transaction: everything in it is of one moment."""

    def __init__(self, dsn: str) -> None:
        """Connects.

        Raises:
            JobError: exit 65 when the database does not answer; the message holds no password.
        """
        try:
            self._connection = psycopg.connect(dsn, row_factory=dict_row, connect_timeout=10)
        except psycopg.OperationalError as error:
            raise JobError(ExitCode.BAD_DATA, "DatabaseUnavailable", f"TRADEWIND_DSN: {_first_line(error)}") from None
        except psycopg.ProgrammingError:
            raise JobError(
                ExitCode.BAD_CONFIG,
                ExitCode.BAD_CONFIG.reason,
                "TRADEWIND_DSN: is no libpq connection string; see the Secret it is from",
            ) from None
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._connection.read_only = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def now(self) -> datetime:
        """The moment of the snapshot, by the database's clock; the first statement of the transaction takes it."""
        row = self._connection.execute("SELECT now() AS now").fetchone()
        assert row is not None
        moment: datetime = row["now"]
        return moment

    def decisions(self, endpoint: EndpointKey, chosen: Range, *, papers: bool = False) -> Iterator[LoggedDecision]:
        """The decisions of an endpoint, its own and those that were imported for it, in any order; few of them at once in memory.

        Args:
            endpoint: whose.
            chosen: which.
            papers: whether the other arm's answer is read, too, where its paper is settled.

        Raises:
            JobError: exit 65 when the schema is missing or the database goes away.
        """
        parameters = {
            "installation": endpoint.installation,
            "namespace": endpoint.namespace,
            "endpoint": endpoint.name,
            "since": chosen.since,
            "until": chosen.until,
            "symbols": None if chosen.symbols is None else list(chosen.symbols),
        }
        try:
            # All rows are read: a plan that has its first ones soon is no good.
            self._connection.execute("SET LOCAL cursor_tuple_fraction = 1")
            with self._connection.cursor("snapshot") as cursor:
                cursor.itersize = _FETCH_ROWS
                for row in cursor.execute(_QUERY_WITH_PAPERS if papers else _QUERY, parameters):
                    yield logged_decision(row)
        except psycopg.errors.UndefinedTable as error:
            raise JobError(
                ExitCode.BAD_DATA, "SchemaMissing", f"{_first_line(error)}: run `tradewind migrate` on the database"
            ) from None
        except psycopg.OperationalError as error:
            raise JobError(ExitCode.BAD_DATA, "DatabaseUnavailable", f"TRADEWIND_DSN: {_first_line(error)}") from None


def logged_decision(row: Mapping[str, Any]) -> LoggedDecision:
    """A row of the query as the pure dataset takes it."""
    answer, invalid = _answer(row["answer"], row)
    return LoggedDecision(
        decision_id=row["decision_id"],
        decided_at=row["decided_at"],
        shown=_shown_to_an_own_model(row),
        symbol=row["scope_symbol"],
        answer=answer,
        invalid=invalid,
        replay=row["replay"],
        fallback=row["fallback"],
        parent_id=row["parent_decision_id"],
        execution_status=row["execution_status"],
        closed_at=row["closed_at"],
        pnl_usd=None if row["pnl_usd"] is None else float(row["pnl_usd"]),
        trade_size_usd=row["trade_size_usd"],
        filled_notional_usd=None if row["filled_notional_usd"] is None else float(row["filled_notional_usd"]),
        source_model=row["source_model"] or "",
        reviews=row["reviews"] or {},
        given_label=None if row["given_label"] is None else Label(row["given_label"]),
        imported_from=row["imported_from"],
        other=_other(row),
    )


def _other(row: Mapping[str, Any]) -> OtherArm | None:
    """The other arm, if it was asked for, answered a decision, and what that earned on paper is known."""
    ret = row.get("other_return")
    if ret is None or not math.isfinite(ret):
        return None
    answer, _ = _answer(row["other_answer"], row)
    if answer is None:
        return None
    seen = {
        **row,
        "own_positions": row["other_own_positions"],
        "positions": row["other_positions"],
        "history": row["other_history"],
    }
    return OtherArm(
        shown=_shown_to_an_own_model(seen),
        answer=answer,
        earned=ret * answer.leverage if answer.action.opens else 0.0,
        closed_at=row["other_closed_at"],
        source_model=row["other_model"],
    )


def _answer(said: Mapping[str, Any] | None, row: Mapping[str, Any]) -> tuple[TradeDecision | None, bool]:
    """An arm's answer to the row's question, and whether there was one that is no decision."""
    if said is None:
        return None, row["error_kind"] in ("invalid_json", "invalid_decision")
    # The gateway's own keys, such as _arm, are no part of the decision.
    fields = {key: value for key, value in said.items() if not key.startswith("_") and key != "decision_id"}
    try:
        decision = TradeDecision.model_validate(fields)
    except ValidationError:
        return None, True
    return (decision, False) if decision.symbol == row["scope_symbol"] else (None, True)


def _shown_to_an_own_model(row: Mapping[str, Any]) -> DecisionInput:
    """What an own model would have been shown: the whole account, with the positions and the history of the arm that answered.

    An external arm is shown fewer account fields; a model that was trained on those would be asked in another way than taught.
    """
    account = row["account"]
    if row["own_positions"]:
        account = account | {"positions": row["positions"]}
    return DecisionInput(market_data=row["market"], account_state=account, recent_history=tuple(row["history"] or ()))


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
