"""The gateway's SQL. Every statement is one round trip and safe to repeat.

Belongs here: text. Does not belong here: connections and what to do when they break (database.py).
"""

from typing import Final


def _one_line(text: str) -> str:
    """The same statement under 4,096 characters, up to which psycopg keeps its parse."""
    line = " ".join(text.split())
    assert len(line) <= 4096
    return line


_KEY: Final = "installation = %(installation)s AND namespace = %(namespace)s AND endpoint = %(endpoint)s"
_NOTIFY: Final = "pg_notify('tradewind', %(namespace)s || '/' || %(endpoint)s)"

# What an arm may see besides the request: its own last answers in this scope, and which of the stated positions are its own.
# `r` is the decision; nothing later than its time is in it.
_CONTEXT: Final = f"""
    (SELECT coalesce(jsonb_agg(h.entry ORDER BY h.decided_at, h.decision_id), '[]'::jsonb) FROM (
        SELECT d.decided_at, d.decision_id, jsonb_build_object(
                   'timestamp', to_char(d.decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                   'action', d.answer -> 'action', 'symbol', d.answer -> 'symbol', 'size_usd', d.answer -> 'size_usd',
                   'leverage', d.answer -> 'leverage', 'confidence', d.answer -> 'confidence',
                   'result', CASE WHEN o.closed_at <= r.decided_at THEN jsonb_build_object(
                       'profitable', o.pnl_usd > 0, 'pnl', o.pnl_usd, 'exit_reason', o.exit_reason) END) AS entry
          FROM tradewind.decisions d LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
         WHERE {_KEY} AND d.scope_symbol = r.scope_symbol AND d.scope_book = r.scope_book AND d.state = 'answered'
           AND d.drawn_version = r.drawn_version AND d.replay = r.replay AND d.decided_at <= r.decided_at
           AND d.decision_id <> r.decision_id
         ORDER BY d.decided_at DESC, d.decision_id DESC LIMIT %(history)s) h) AS history,
    ARRAY(SELECT e.position_id FROM tradewind.executions e
            JOIN tradewind.decisions d USING (installation, namespace, endpoint, decision_id)
           WHERE {_KEY} AND e.position_id = ANY(%(positions)s::text[]) AND d.drawn_version = r.drawn_version) AS own_positions
"""

# 1. the id is known: its row. 2. a position is named, or just one is open in the scope: the new row inherits from the decision
# that opened it. 3. otherwise the new row is as drawn. No row at all: the position is unknown, or several are open.
ASSIGN: Final = _one_line(f"""
WITH known AS (
    SELECT * FROM tradewind.decisions WHERE {_KEY} AND decision_id = %(decision_id)s
), open_positions AS (
    SELECT e.position_id AS open_id, d.*
      FROM tradewind.executions e JOIN tradewind.decisions d USING (installation, namespace, endpoint, decision_id)
     WHERE {_KEY} AND e.status = 'opened' AND NOT e.closed AND d.scope_symbol = %(symbol)s AND d.scope_book = %(book)s
), source AS (
    SELECT decision_id AS parent_decision_id, experiment_uid, arm, candidate_weight, block, epoch, drawn_version,
           drawn_sha256, assignment_key
      FROM open_positions
     WHERE open_id = %(position_id)s::text
        OR (%(position_id)s::text IS NULL AND (SELECT count(*) FROM open_positions) = 1)
     UNION ALL
    SELECT NULL, %(experiment_uid)s::text, %(arm)s::text, %(weight)s::double precision, %(block)s::int, %(epoch)s::bigint,
           %(version)s, %(sha256)s::text, %(decision_id)s
     WHERE %(position_id)s::text IS NULL AND NOT EXISTS (SELECT FROM open_positions)
), inserted AS (
    INSERT INTO tradewind.decisions (
        installation, namespace, endpoint, decision_id, request_hash, request, scope_symbol, scope_book, position_id, replay,
        decided_at, asking_until, parent_decision_id, experiment_uid, arm, candidate_weight, block, epoch, drawn_version,
        drawn_sha256, assignment_key)
    SELECT %(installation)s, %(namespace)s, %(endpoint)s, %(decision_id)s, %(request_hash)s, %(request)s, %(symbol)s, %(book)s,
           %(position_id)s, %(replay)s, %(decided_at)s, clock_timestamp() + make_interval(secs => %(lease)s), source.*
      FROM source WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT DO NOTHING
    RETURNING *
), clock AS (
    INSERT INTO tradewind.replay_clock AS c (installation, namespace, endpoint, as_of)
    SELECT %(installation)s, %(namespace)s, %(endpoint)s, %(decided_at)s
     WHERE %(replay)s AND NOT EXISTS (SELECT FROM tradewind.replay_clock WHERE {_KEY} AND as_of >= %(decided_at)s)
    ON CONFLICT (installation, namespace, endpoint) DO UPDATE SET as_of = excluded.as_of WHERE c.as_of < excluded.as_of
), r AS (
    SELECT true AS fresh, i.* FROM inserted i UNION ALL SELECT false, k.* FROM known k
)
SELECT r.*, (SELECT count(*) FROM open_positions) AS open_count, {_CONTEXT},
       (SELECT as_of FROM tradewind.replay_clock WHERE {_KEY}) AS clock_before
  FROM (VALUES (1)) AS one LEFT JOIN r ON true
""")

# The compare is `asking_until`: of many that see a dead gateway's row, one gets it.
TAKE_OVER: Final = f"""
WITH r AS (
    UPDATE tradewind.decisions
       SET asking_until = clock_timestamp() + make_interval(secs => %(lease)s), asks = asks + 1
     WHERE {_KEY} AND decision_id = %(decision_id)s AND state = 'assigned' AND asking_until <= clock_timestamp()
    RETURNING *
)
SELECT true AS fresh, r.*, {_CONTEXT} FROM r
"""

STORED: Final = f"SELECT false AS fresh, d.* FROM tradewind.decisions d WHERE {_KEY} AND decision_id = %(decision_id)s"

_ANSWER_COLUMNS: Final = """
    state = %(state)s, answered_at = clock_timestamp(), answered_by = %(answered_by)s, answer = %(answer)s,
    probabilities = %(probabilities)s, latency_ms = %(latency_ms)s, fallback = %(fallback)s, error_kind = %(error_kind)s,
    error_detail = %(error_detail)s, cost_cny = %(cost_cny)s, reported_model = %(reported_model)s, shown = %(shown)s
"""

# First write wins, once. Whoever comes second reads what was stored.
FINISH: Final = f"""
WITH written AS (
    UPDATE tradewind.decisions SET {_ANSWER_COLUMNS}
     WHERE {_KEY} AND decision_id = %(decision_id)s AND state = 'assigned'
    RETURNING state
)
SELECT count(*) AS written, max(CASE WHEN state = 'failed' THEN {_NOTIFY}::text END) FROM written
"""

# From the spool: the row may be absent, assigned (the outage came in between), or swept as abandoned meanwhile.
INGEST: Final = f"""
INSERT INTO tradewind.decisions AS d (
    installation, namespace, endpoint, decision_id, request_hash, request, scope_symbol, scope_book, position_id, drawn_version,
    drawn_sha256, assignment_key, decided_at, state, answered_at, answered_by, answer, probabilities, latency_ms, fallback,
    error_kind, error_detail, cost_cny, reported_model, shown, bar_from_evidence)
VALUES (
    %(installation)s, %(namespace)s, %(endpoint)s, %(decision_id)s, %(request_hash)s, %(request)s, %(symbol)s, %(book)s,
    %(position_id)s, %(version)s, %(sha256)s, %(decision_id)s, %(decided_at)s, 'answered', clock_timestamp(), %(answered_by)s,
    %(answer)s, %(probabilities)s, %(latency_ms)s, %(fallback)s, %(error_kind)s, %(error_detail)s, %(cost_cny)s,
    %(reported_model)s, %(shown)s, 'database_outage')
ON CONFLICT (installation, namespace, endpoint, decision_id) DO UPDATE SET {_ANSWER_COLUMNS}, bar_from_evidence = 'database_outage'
 WHERE d.state = 'assigned' OR (d.state = 'failed' AND d.error_detail = 'abandoned')
RETURNING decision_id
"""

SWEEP: Final = f"""
WITH swept AS (
    UPDATE tradewind.decisions
       SET state = 'failed', answered_at = clock_timestamp(), error_kind = 'unavailable', error_detail = 'abandoned'
     WHERE {_KEY} AND state = 'assigned' AND asking_until < clock_timestamp() - make_interval(secs => %(abandoned_after)s)
    RETURNING decision_id
)
SELECT count(*) AS swept, max(CASE WHEN decision_id IS NOT NULL THEN {_NOTIFY}::text END) FROM swept
"""

# In small bites; executions, outcomes and reviews go with their decision. Epochs and promotions stay.
# Nothing that is still needed goes, however short the retention: the decision of a position whose outcome is yet to come, and
# what an experiment without a verdict (or in its ramp) is judged on. One whose object was deleted never gets a verdict: a year.
PURGE: Final = f"""
DELETE FROM tradewind.decisions
 WHERE {_KEY} AND decision_id IN (
    SELECT decision_id FROM tradewind.decisions d
     WHERE {_KEY} AND received_at < clock_timestamp() - make_interval(secs => %(retention)s) AND state <> 'assigned'
       AND NOT EXISTS (
           SELECT FROM tradewind.executions e
            WHERE {_KEY} AND e.decision_id = d.decision_id AND e.status = 'opened' AND NOT e.closed)
       AND NOT EXISTS (
           SELECT FROM tradewind.experiments x
            WHERE {_KEY} AND x.started_at > clock_timestamp() - interval '366 days'
              AND (x.decision IS NULL OR x.decided_at > clock_timestamp() - interval '30 days')
              AND (x.experiment_uid = d.experiment_uid OR d.experiment_uid IS NULL AND d.drawn_version = x.baseline))
     LIMIT 500)
RETURNING decision_id
"""

FORGET_REPLICAS: Final = f"""
DELETE FROM tradewind.gateway_replicas WHERE {_KEY} AND seen_at < clock_timestamp() - interval '1 day'
"""

REPORTED: Final = f"""
SELECT d.state, d.answer ->> 'action' AS action, (d.answer ->> 'size_usd')::double precision AS size_usd, d.parent_decision_id,
       e.status AS execution, e.opened_at, e.report_hash AS execution_hash, o.report_hash AS outcome_hash, o.label
  FROM tradewind.decisions d
  LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
 WHERE {_KEY} AND decision_id = %(decision_id)s
"""

EXECUTION: Final = f"""
WITH written AS (
    INSERT INTO tradewind.executions (installation, namespace, endpoint, decision_id, status, position_id, opened_at,
                                      filled_notional_usd, report_hash)
    VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(decision_id)s, %(status)s, %(position_id)s, %(opened_at)s,
            %(notional)s, %(report_hash)s)
    ON CONFLICT (installation, namespace, endpoint, decision_id) DO NOTHING RETURNING decision_id
)
SELECT count(*) AS written, max(CASE WHEN decision_id IS NOT NULL THEN {_NOTIFY}::text END) FROM written
"""

OUTCOME: Final = f"""
WITH written AS (
    INSERT INTO tradewind.outcomes (installation, namespace, endpoint, decision_id, closed_at, pnl_usd, fees_usd,
                                    duration_hours, exit_reason, label, report_hash)
    VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(decision_id)s, %(closed_at)s, %(pnl)s, %(fees)s,
            %(duration_hours)s, %(exit_reason)s, %(label)s, %(report_hash)s)
    ON CONFLICT (installation, namespace, endpoint, decision_id) DO NOTHING RETURNING decision_id
)
SELECT count(*) AS written, max(CASE WHEN decision_id IS NOT NULL THEN {_NOTIFY}::text END) FROM written
"""

ADVANCE_CLOCK: Final = f"""
WITH advanced AS (
    INSERT INTO tradewind.replay_clock AS c (installation, namespace, endpoint, as_of)
    SELECT %(installation)s, %(namespace)s, %(endpoint)s, %(as_of)s
     WHERE NOT EXISTS (SELECT FROM tradewind.replay_clock WHERE {_KEY} AND as_of >= %(as_of)s)
    ON CONFLICT (installation, namespace, endpoint) DO UPDATE SET as_of = excluded.as_of WHERE c.as_of < excluded.as_of
    RETURNING as_of
)
SELECT count(*) AS advanced, max(CASE WHEN as_of IS NOT NULL OR %(remind)s THEN {_NOTIFY}::text END)
  FROM (VALUES (1)) AS one LEFT JOIN advanced ON true
"""

NOTIFY: Final = f"SELECT {_NOTIFY}"

REPORT_REPLICA: Final = """
INSERT INTO tradewind.gateway_replicas (installation, namespace, endpoint, replica, epoch, generation, seen_at)
VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(replica)s, %(epoch)s, %(generation)s, clock_timestamp())
ON CONFLICT (installation, namespace, endpoint, replica)
    DO UPDATE SET epoch = excluded.epoch, generation = excluded.generation, seen_at = excluded.seen_at
"""

# Closed trades by drawn version, newest `days` of the endpoint's clock (a replay's clock is the data's).
PERFORMANCE: Final = f"""
WITH clock AS (
    SELECT coalesce((SELECT as_of FROM tradewind.replay_clock WHERE {_KEY} AND %(replay)s), clock_timestamp()) AS now
)
SELECT d.drawn_version AS version, count(*) AS total_trades, avg((o.pnl_usd > 0)::int)::double precision AS win_rate,
       sum(o.pnl_usd)::double precision AS total_pnl, avg(o.pnl_usd)::double precision AS avg_pnl,
       stddev_samp(o.pnl_usd)::double precision AS deviation
  FROM tradewind.decisions d JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id), clock
 WHERE {_KEY} AND d.replay = %(replay)s AND d.decided_at > clock.now - make_interval(days => %(days)s)
 GROUP BY d.drawn_version ORDER BY d.drawn_version
"""

TRAINING_DATA: Final = f"""
SELECT data FROM tradewind.training_data
 WHERE {_KEY} AND status = 'labeled' AND label IN ('excellent_decision', 'good_decision', 'bad_decision')
 ORDER BY created_at DESC, decision_id DESC LIMIT %(limit)s
"""
