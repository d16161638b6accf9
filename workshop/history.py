"""Rows of decisions in bulk: what gateways of many Endpoints have stored in months, and what they store meanwhile.

Belongs here: the SQL. Triggers do not run for what is old: it is written as they would have left it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, LiteralString

import psycopg

DAY = timedelta(days=1)

# (namespace, endpoint, uid, candidate, how many decisions, from when on, days apart); NULL as uid: no experiment.
_PLAN: LiteralString = """
CREATE TEMPORARY TABLE IF NOT EXISTS plan (namespace text, endpoint text, uid text, candidate text, rows int, t0 timestamptz, days double precision)
"""

# `paired` rows are those of running experiments: every column that a look reads. The others have answers alone.
_DECISIONS: LiteralString = """
INSERT INTO tradewind.decisions (installation, namespace, endpoint, decision_id, request_hash, request, scope_symbol, scope_book,
    experiment_uid, arm, candidate_weight, block, epoch, drawn_version, assignment_key, decided_at, received_at, asking_until,
    answered_at, answered_by, replay, state, answer, latency_ms, reported_model, cost_cny, reports)
SELECT %(installation)s, p.namespace, p.endpoint, r.id, '\\x00', r.request, 'EURUSD', '', p.uid,
       CASE WHEN p.uid IS NOT NULL THEN CASE WHEN r.drawn THEN 'candidate' ELSE 'baseline' END END,
       CASE WHEN p.uid IS NOT NULL THEN 0.5 END, CASE WHEN p.uid IS NOT NULL THEN 0 END, CASE WHEN p.uid IS NOT NULL THEN 1 END,
       CASE WHEN r.drawn AND p.uid IS NOT NULL THEN p.candidate ELSE 'api' END, r.id, r.at, r.at, r.at, r.at,
       CASE WHEN r.drawn AND p.uid IS NOT NULL THEN p.candidate ELSE 'api' END, false, 'answered', r.answer, 40, 'm-2026-01', 0.01, 0
  FROM plan p CROSS JOIN LATERAL generate_series(0, p.rows - 1) n
 CROSS JOIN LATERAL (SELECT md5(p.endpoint || coalesce(p.uid, '') || n) AS id, hashint4(n) %% 2 = 0 AS drawn,
       p.t0 + (n + 0.5) / p.rows * p.days * interval '1 day' AS at,
       jsonb_build_object('market_data', jsonb_build_object('EURUSD', jsonb_build_object('price', round((1.1 + 0.01 * sin(n / 50.0))::numeric, 6), 'momentum_3h', 'up')),
                          'account_state', jsonb_build_object('balance', 10000)) AS request,
       '{"action": "open_long", "symbol": "EURUSD", "size_usd": 1000, "leverage": 1, "reasoning": "the price has risen for three hours and the trend holds"}'::jsonb AS answer) r
"""
_OF_RUNNING: LiteralString = """
FROM tradewind.decisions d JOIN plan p ON p.namespace = d.namespace AND p.endpoint = d.endpoint AND p.uid = d.experiment_uid
"""
_SHADOWS: LiteralString = f"""
INSERT INTO tradewind.shadows (installation, namespace, endpoint, decision_id, arm, version, scope_symbol, scope_book, replay, decided_at,
    state, answer, answered_by, asked_at, answered_at, latency_ms)
SELECT d.installation, d.namespace, d.endpoint, d.decision_id, CASE d.arm WHEN 'baseline' THEN 'candidate' ELSE 'baseline' END,
       CASE d.arm WHEN 'baseline' THEN p.candidate ELSE 'api' END, 'EURUSD', '', false, d.decided_at, 'answered', d.answer,
       CASE d.arm WHEN 'baseline' THEN p.candidate ELSE 'api' END, d.decided_at, d.decided_at, 40 {_OF_RUNNING}
"""
_EXECUTIONS: LiteralString = f"""
INSERT INTO tradewind.executions (installation, namespace, endpoint, decision_id, status, position_id, opened_at, filled_notional_usd,
    received_at, closed, logged)
SELECT d.installation, d.namespace, d.endpoint, d.decision_id, 'opened', d.decision_id, d.decided_at, 1000, d.decided_at, true, true
  {_OF_RUNNING}
"""
_OUTCOMES: LiteralString = f"""
INSERT INTO tradewind.outcomes (installation, namespace, endpoint, decision_id, closed_at, received_at, pnl_usd, exit_reason, label, logged,
    first_closed_at, first_pnl_usd, first_notional_usd, first_received_at)
SELECT d.installation, d.namespace, d.endpoint, d.decision_id, o.at, o.at, o.pnl, 'take_profit', 'neutral', true, o.at, o.pnl, 1000, o.at
  {_OF_RUNNING}
 CROSS JOIN LATERAL (SELECT least(d.decided_at + interval '4 hours', now()) AS at,
       ((hashtext(d.decision_id) %% 1000) / 100.0)::numeric AS pnl) o
"""
_PAPERS: LiteralString = f"""
INSERT INTO tradewind.papers (installation, namespace, endpoint, decision_id, arm, ret, exit_reason, exit_at, known_at, source)
SELECT d.installation, d.namespace, d.endpoint, d.decision_id, a.arm,
       0.001 * ((hashtext(d.decision_id) %% 1000) / 100.0) + 0.0003 * random(), 'horizon', k.at, k.at, 'prices'
  {_OF_RUNNING} CROSS JOIN (VALUES ('baseline'), ('candidate'), ('market')) a(arm)
 CROSS JOIN LATERAL (SELECT least(d.decided_at + interval '9 hours', now()) AS at) k
"""
_PROGRESS: LiteralString = """
INSERT INTO tradewind.paper_progress (installation, namespace, endpoint, experiment_uid, settled_until)
SELECT %(installation)s, namespace, endpoint, uid, now() - interval '24 hours' FROM plan WHERE uid IS NOT NULL
"""
_PRICES: LiteralString = f"""
INSERT INTO tradewind.request_prices (installation, namespace, endpoint, pointer, decision_id, symbol, at, known_at, price)
SELECT d.installation, d.namespace, d.endpoint, '/market_data/{{symbol}}/price', d.decision_id, 'EURUSD', d.decided_at, d.decided_at, 1.1
  {_OF_RUNNING}
"""
_PAIRED = (_SHADOWS, _EXECUTIONS, _OUTCOMES, _PAPERS, _PRICES, _PROGRESS)

_AGED = """
UPDATE tradewind.experiments SET t0 = t0 - %(by)s::interval, started_at = started_at - %(by)s::interval;
UPDATE tradewind.epochs SET created_at = created_at - %(by)s::interval
"""
_OVER = """
INSERT INTO tradewind.experiments (installation, namespace, endpoint, experiment_uid, name, mode, baseline, candidate, t0, alpha, spec,
    started_at, decision, decision_reason, decided_at)
SELECT %(installation)s, namespace, endpoint, uid, candidate, 'Live', 'api', candidate, t0, 0.05, '{}', t0, 'inconclusive', 'MaxDuration', t0
  FROM plan
"""

# One more decision of each experiment, with its shadow; and an outcome of the oldest that has none, told to the operator.
NEXT: LiteralString = """
WITH made AS (
    INSERT INTO tradewind.decisions (installation, namespace, endpoint, decision_id, request_hash, request, scope_symbol, scope_book,
        experiment_uid, arm, candidate_weight, block, epoch, drawn_version, assignment_key, decided_at, answered_at, answered_by, state,
        answer, latency_ms, reported_model)
    SELECT %(installation)s, %(namespace)s, %(endpoint)s, %(id)s, '\\x00',
           jsonb_build_object('market_data', jsonb_build_object('EURUSD', jsonb_build_object('price', 1.1 + 0.001 * random()))),
           'EURUSD', '', %(uid)s, %(arm)s, 0.5, 0, 1, %(drawn)s, %(id)s, now(), now(), %(drawn)s, 'answered',
           '{"action": "open_long", "symbol": "EURUSD", "size_usd": 1000, "leverage": 1}', 40, 'm-2026-01'
    RETURNING installation, namespace, endpoint, decision_id, decided_at, answer)
INSERT INTO tradewind.shadows (installation, namespace, endpoint, decision_id, arm, version, scope_symbol, scope_book, replay, decided_at,
    state, answer, answered_by, asked_at)
SELECT installation, namespace, endpoint, decision_id, %(other)s, %(shadow)s, 'EURUSD', '', false, decided_at, 'answered', answer, %(shadow)s, decided_at
  FROM made
"""
CLOSED: LiteralString = """
WITH opened AS (
    INSERT INTO tradewind.executions (installation, namespace, endpoint, decision_id, status, position_id, opened_at, filled_notional_usd, logged)
    VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(id)s, 'opened', %(id)s, now(), 1000, true))
INSERT INTO tradewind.outcomes (installation, namespace, endpoint, decision_id, closed_at, pnl_usd, exit_reason, label, logged)
VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(id)s, now(), 2 * random() - 1, 'take_profit', 'neutral', true)
"""
NOTIFY: LiteralString = "SELECT pg_notify('tradewind', %(namespace)s || '/' || %(endpoint)s)"

Row = tuple[str, str, str | None, str, int, Any, float]
"""Of the plan: namespace, endpoint, uid, candidate, rows, t0, days."""


class History:
    """Writes old rows over one connection of a superuser.

    Args:
        say: told of progress.
    """

    def __init__(self, dsn: str, installation: str, say: Callable[[str], None]) -> None:
        self._dsn, self._given, self._say = dsn, {"installation": installation}, say

    def age(self, by: timedelta) -> None:
        """Let what was started have begun earlier."""
        with psycopg.connect(self._dsn, autocommit=True) as connection, connection.transaction():
            for statement in _AGED.split(";"):
                connection.execute(statement, {"by": by})

    def paired(self, plan: Sequence[Row]) -> None:
        """Decisions of running experiments, with all that a look reads."""
        self._write(plan, (_DECISIONS, *_PAIRED))

    def answered(self, plan: Sequence[Row], *, over: bool) -> None:
        """Decisions alone; `over`: their experiments are recorded with a verdict."""
        self._write(plan, (_DECISIONS, *((_OVER,) if over else ())))

    def _write(self, plan: Sequence[Row], statements: Sequence[str]) -> None:
        step = max(1, 200_000 // max(1, plan[0][4])) if plan else 1
        written = 0
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(
                "SET session_replication_role = replica; SET work_mem = '256MB'; SET synchronous_commit = off"
            )
            connection.execute(_PLAN)
            for first in range(0, len(plan), step):
                rows = plan[first : first + step]
                connection.execute("TRUNCATE plan")
                with connection.cursor().copy("COPY plan FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
                connection.execute("ANALYZE plan")
                for statement in statements:
                    connection.execute(statement, self._given)
                written += sum(row[4] for row in rows)
                if first and first // step % 10 == 0:
                    self._say(f"{written:,} decisions written")

    def analyze(self) -> None:
        """Statistics and visibility as after autovacuum."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
