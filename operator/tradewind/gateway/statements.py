"""The gateway's SQL. Every statement is one round trip and safe to repeat.

Belongs here: text. Does not belong here: connections and what to do when they break (database.py).
"""

from typing import Final


def one_line(text: str) -> str:
    """The same statement under 4,096 characters, up to which psycopg keeps its parse."""
    line = " ".join(text.split())
    assert len(line) <= 4096
    return line


KEY: Final = "installation = %(installation)s AND namespace = %(namespace)s AND endpoint = %(endpoint)s"
NOTIFY_OPERATOR: Final = "pg_notify('tradewind', %(namespace)s || '/' || %(endpoint)s)"

# What the arms may see besides the request: each its own last answers in this scope, whose the stated positions are, and what
# the decision continues. `r` is the decision; nothing later than its time is in it. The shadow is whom the draw passed over.
# One lookup a row (LIMIT) and no joins: migration 0019 says why. No coalesce() where an index is to be found by it: row-level
# security takes that for a function that could tell of other rows.
_SHADOW: Final = """CASE WHEN r.parent_decision_id IS NULL THEN CASE r.arm
    WHEN 'baseline' THEN %(shadow_of_baseline)s::text WHEN 'candidate' THEN %(shadow_of_candidate)s::text END END"""
_HISTORY: Final = """tradewind.history(r.installation, r.namespace, r.endpoint, {version}, r.scope_symbol, r.scope_book, r.replay,
    r.decided_at, r.decision_id, %(history)s)"""
_CONTEXT: Final = f"""
    {_HISTORY.format(version="r.drawn_version")} AS history,
    {_HISTORY.format(version=_SHADOW)} AS shadow_history,
    (SELECT coalesce(jsonb_object_agg(q.position_id, jsonb_build_array(q.drawn_version, q.ended)), '{{}}'::jsonb) FROM (
        SELECT DISTINCT ON (e.position_id) e.position_id, d.drawn_version,
               d.decision_id IS DISTINCT FROM r.parent_decision_id
               AND coalesce(NOT r.replay OR d.released_at <= r.decided_at, false) AND d.released_at IS NOT NULL AS ended
          FROM (SELECT * FROM tradewind.executions WHERE {KEY} AND position_id = ANY(%(positions)s::text[])) e
         CROSS JOIN LATERAL (SELECT * FROM tradewind.decisions WHERE {KEY} AND decision_id = e.decision_id LIMIT 1) d
         WHERE d.decided_at <= r.decided_at
         ORDER BY e.position_id, e.opened_at DESC, d.decided_at DESC) q) AS owners,
    (SELECT coalesce(jsonb_agg(jsonb_build_array(d.scope_symbol, d.scope_book, d.drawn_version)), '[]'::jsonb)
       FROM tradewind.decisions d
      WHERE {KEY} AND %(stated)s AND d.holding AND d.decided_at <= r.decided_at
        AND d.decision_id IS DISTINCT FROM r.flipped_from) AS holders,
    CASE WHEN coalesce(r.parent_decision_id, r.flipped_from) IS NOT NULL THEN (
     SELECT jsonb_build_array(coalesce(d.position_action, d.answer ->> 'action'), e.position_id)
       FROM (SELECT * FROM tradewind.decisions
              WHERE {KEY} AND decision_id = CASE WHEN r.parent_decision_id IS NULL THEN r.flipped_from
                                                 ELSE r.parent_decision_id END LIMIT 1) d
       LEFT JOIN LATERAL (SELECT * FROM tradewind.executions WHERE {KEY} AND decision_id = d.decision_id LIMIT 1) e ON true
      ) END AS continued
"""

# Who the decision belongs to is decided by the function tradewind.assign (migration 0005), under the lock of its scope.
ASSIGN: Final = one_line(f"""
SELECT a.outcome, a.clock_before, r.*, {_CONTEXT}
  FROM tradewind.assign(
    %(installation)s, %(namespace)s, %(endpoint)s, %(decision_id)s, %(request_hash)s, %(retry_hash)s, %(request)s, %(symbol)s,
    %(book)s, %(position_id)s, %(positions)s::text[], %(flat)s, %(stated_at)s, %(max_hold)s, %(replay)s, %(decided_at)s,
    %(arrived_at)s, %(lease)s, %(experiment_uid)s, %(arm)s, %(weight)s, %(block)s, %(epoch)s, %(version)s, %(sha256)s) a
  LEFT JOIN LATERAL (SELECT (a.d).*) r ON true
""")

# The compare is `asking_until`: of many that see a dead gateway's row, one gets it. It may bring fresh prices.
TAKE_OVER: Final = one_line(f"""
WITH r AS (
    UPDATE tradewind.decisions
       SET asking_until = clock_timestamp() + make_interval(secs => %(lease)s), asks = asks + 1, request = %(request)s,
           request_hash = %(request_hash)s
     WHERE {KEY} AND decision_id = %(decision_id)s AND state = 'assigned' AND asking_until <= clock_timestamp()
    RETURNING *
)
SELECT r.*, {_CONTEXT} FROM r
""")

# An opening answer inside a position ends that one and is drawn anew, before the drawn arm is asked.
FLIP: Final = one_line(f"""
WITH r AS (
    UPDATE tradewind.decisions
       SET flipped_from = parent_decision_id, parent_decision_id = NULL, experiment_uid = %(experiment_uid)s, arm = %(arm)s,
           candidate_weight = %(weight)s, block = %(block)s, epoch = %(epoch)s, drawn_version = %(version)s,
           drawn_sha256 = %(sha256)s, assignment_key = decision_id,
           asking_until = clock_timestamp() + make_interval(secs => %(lease)s)
     WHERE {KEY} AND decision_id = %(decision_id)s AND state = 'assigned' AND parent_decision_id IS NOT NULL
    RETURNING *
), ended AS (
    UPDATE tradewind.decisions SET holding = false, released_at = (SELECT decided_at FROM r), released_by = 'flip'
     WHERE {KEY} AND decision_id = (SELECT flipped_from FROM r) AND holding
), freed AS (
    UPDATE tradewind.executions SET closed = true WHERE {KEY} AND decision_id = (SELECT flipped_from FROM r)
)
SELECT r.*, {_CONTEXT} FROM r
""")

# The candidate's experiment ended before it answered: the decision is the champion's, as one that came a moment later.
WITHDRAW: Final = one_line(f"""
WITH r AS (
    UPDATE tradewind.decisions
       SET experiment_uid = NULL, arm = NULL, candidate_weight = NULL, block = NULL, epoch = NULL, drawn_version = %(version)s,
           drawn_sha256 = %(sha256)s, asking_until = clock_timestamp() + make_interval(secs => %(lease)s)
     WHERE {KEY} AND decision_id = %(decision_id)s AND state = 'assigned' AND parent_decision_id IS NULL
    RETURNING *
)
SELECT r.*, {_CONTEXT} FROM r
""")

STORED: Final = f"SELECT d.* FROM tradewind.decisions d WHERE {KEY} AND decision_id = %(decision_id)s"

_ANSWER_COLUMNS: Final = """
    state = %(state)s, answered_at = clock_timestamp(), answered_by = %(answered_by)s, answer = %(answer)s,
    probabilities = %(probabilities)s, latency_ms = %(latency_ms)s, fallback = %(fallback)s, error_kind = %(error_kind)s,
    error_detail = %(error_detail)s, cost_cny = %(cost_cny)s, reported_model = %(reported_model)s, shown = %(shown)s,
    error_cause = %(error_cause)s, reading_rules = %(reading_rules)s, extra = %(extra)s, calls = %(calls)s
"""

# First write wins, once. Whoever comes second reads what was stored.
FINISH: Final = f"""
WITH written AS (
    UPDATE tradewind.decisions
       SET {_ANSWER_COLUMNS}, holding = %(holds)s AND parent_decision_id IS NULL,
           held_since = CASE WHEN %(holds)s THEN %(held_since)s::timestamptz END
     WHERE {KEY} AND decision_id = %(decision_id)s AND state = 'assigned'
    RETURNING state
)
SELECT count(*) AS written, max(CASE WHEN state = 'failed' THEN {NOTIFY_OPERATOR}::text END) FROM written
"""

# Rows of shadows come as one JSON array, many at a time: a statement each costs the loop more than asking does.
_SHADOW_COLUMNS: Final = """
    installation, namespace, endpoint, decision_id, scope_symbol, scope_book, replay, decided_at, arm, version, sha256, state,
    answer, answered_by, probabilities, latency_ms, error_kind, error_detail, cost_cny, reported_model, shown, asked_at,
    error_cause, reading_rules, extra, calls
"""
_SHADOW_VALUES: Final = """
    d.installation, d.namespace, d.endpoint, d.decision_id, d.scope_symbol, d.scope_book, d.replay, d.decided_at, s.arm,
    s.version, s.sha256, s.state, s.answer, s.answered_by, s.probabilities, s.latency_ms, s.error_kind, s.error_detail,
    s.cost_cny, s.reported_model, s.shown, s.asked_at, s.error_cause, s.reading_rules, s.extra, s.calls
"""
_SHADOWS: Final = """
    jsonb_to_recordset(%(shadows)s::jsonb) AS s (decision_id text, arm text, version text, sha256 text, state text,
        answer jsonb, answered_by text, probabilities jsonb, latency_ms double precision, error_kind text, error_detail text,
        cost_cny numeric, reported_model text, shown jsonb, asked_at timestamptz, error_cause text, reading_rules text[],
        extra jsonb, calls jsonb)
"""

# A replay's answer and its shadow are one fact: a kill between them would make two runs differ.
FINISH_WITH_SHADOW: Final = f"""
WITH written AS (
    UPDATE tradewind.decisions
       SET {_ANSWER_COLUMNS}, holding = %(holds)s AND parent_decision_id IS NULL,
           held_since = CASE WHEN %(holds)s THEN %(held_since)s::timestamptz END
     WHERE {KEY} AND decision_id = %(decision_id)s AND state = 'assigned'
    RETURNING *
), shadow AS (
    INSERT INTO tradewind.shadows ({_SHADOW_COLUMNS}) SELECT {_SHADOW_VALUES} FROM written d CROSS JOIN {_SHADOWS}
    ON CONFLICT DO NOTHING
)
SELECT count(*) AS written, max(CASE WHEN state = 'failed' THEN {NOTIFY_OPERATOR}::text END) FROM written
"""

# Beside decisions that have their answers, of the draw that each shadow was asked for. First write wins. One lookup a row
# (LIMIT): a planner that expects a hundred rows joins the whole Endpoint, for as long as the connection lives.
STORE_SHADOWS: Final = one_line(f"""
INSERT INTO tradewind.shadows ({_SHADOW_COLUMNS}) SELECT {_SHADOW_VALUES}
  FROM {_SHADOWS} CROSS JOIN LATERAL (
    SELECT * FROM tradewind.decisions WHERE {KEY} AND decision_id = s.decision_id LIMIT 1) d
 WHERE d.state <> 'assigned' AND d.bar_from_evidence IS NULL AND d.parent_decision_id IS NULL AND d.arm <> s.arm
ON CONFLICT DO NOTHING
""")

# From the spool: the row may be absent, assigned (the outage came in between), or swept as abandoned meanwhile.
INGEST: Final = f"""
INSERT INTO tradewind.decisions AS d (
    installation, namespace, endpoint, decision_id, request_hash, retry_hash, request, scope_symbol, scope_book, position_id,
    drawn_version, drawn_sha256, assignment_key, decided_at, state, answered_at, answered_by, answer, probabilities, latency_ms, fallback,
    error_kind, error_detail, cost_cny, reported_model, shown, error_cause, reading_rules, extra, calls, bar_from_evidence, holding,
    held_since)
VALUES (
    %(installation)s, %(namespace)s, %(endpoint)s, %(decision_id)s, %(request_hash)s, %(retry_hash)s, %(request)s, %(symbol)s,
    %(book)s, %(position_id)s, %(version)s, %(sha256)s, %(decision_id)s, %(decided_at)s, 'answered', clock_timestamp(), %(answered_by)s,
    %(answer)s, %(probabilities)s, %(latency_ms)s, %(fallback)s, %(error_kind)s, %(error_detail)s, %(cost_cny)s,
    %(reported_model)s, %(shown)s, %(error_cause)s, %(reading_rules)s, %(extra)s, %(calls)s, 'database_outage', %(holds)s, CASE WHEN %(holds)s THEN %(decided_at)s::timestamptz END)
ON CONFLICT (installation, namespace, endpoint, decision_id) DO UPDATE
   SET {_ANSWER_COLUMNS}, bar_from_evidence = 'database_outage', holding = excluded.holding, held_since = excluded.held_since
 WHERE d.state = 'assigned' OR (d.state = 'failed' AND d.error_detail = 'abandoned')
RETURNING decision_id
"""

# The row has an answer, and another one was given: both may have been acted on, so that the decision is nobody's evidence.
CONFLICT: Final = f"""
WITH kept AS (
    INSERT INTO tradewind.conflicting_answers (installation, namespace, endpoint, decision_id, answer_hash, answer, answered_by,
                                               given_at)
    VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(decision_id)s, %(answer_hash)s, %(answer)s, %(answered_by)s,
            %(given_at)s)
    ON CONFLICT DO NOTHING
    RETURNING installation, namespace, endpoint, decision_id
), barred AS (
    UPDATE tradewind.decisions d
       -- Where it alone opens, its position has the scope until somebody says otherwise, as any that was answered.
       SET bar_from_evidence = 'conflicting_answers',
           holding = d.holding OR o.opens, held_since = CASE WHEN o.opens THEN %(given_at)s::timestamptz ELSE d.held_since END,
           position_action = CASE WHEN o.opens THEN %(action)s ELSE d.position_action END
      FROM kept CROSS JOIN LATERAL (
        SELECT %(holds)s AND k.parent_decision_id IS NULL AND k.reports = 0 AND k.released_by IS NULL
               AND coalesce(k.answer ->> 'action', '') NOT IN ('open_long', 'open_short') AS opens
          FROM tradewind.decisions k
         WHERE {KEY} AND k.decision_id = %(decision_id)s) o
     WHERE d.installation = %(installation)s AND d.namespace = %(namespace)s AND d.endpoint = %(endpoint)s
       AND d.decision_id = %(decision_id)s
)
SELECT count(*) AS kept, max(CASE WHEN decision_id IS NOT NULL THEN {NOTIFY_OPERATOR}::text END) FROM kept
"""

# Two answers that say the same are no conflict. Whether they do must not decide what is evidence, so that the row is none either way.
BAR_OUTAGE: Final = f"""
UPDATE tradewind.decisions SET bar_from_evidence = 'database_outage'
 WHERE {KEY} AND decision_id = %(decision_id)s AND bar_from_evidence IS NULL
"""

SWEEP: Final = f"""
WITH swept AS (
    UPDATE tradewind.decisions
       SET state = 'failed', answered_at = clock_timestamp(), error_kind = 'unavailable', error_detail = 'abandoned'
     WHERE {KEY} AND state = 'assigned' AND asking_until < clock_timestamp() - make_interval(secs => %(abandoned_after)s)
    RETURNING decision_id
)
SELECT count(*) AS swept, max(CASE WHEN decision_id IS NOT NULL THEN {NOTIFY_OPERATOR}::text END) FROM swept
"""

# In small bites; executions, outcomes and reviews go with their decision. Epochs and promotions stay.
# Nothing that is still needed goes, however short the retention: the decision of a position whose outcome is yet to come, and
# what an experiment without a verdict (or in its ramp) is judged on. One whose object was deleted is recorded as aborted.
#
# A decision is of its request's time, or of data's before it (a replay): so an index tells that nothing is due, a day's fault of
# clocks included. `now()`: no index is asked with a time that moves.
PURGE: Final = f"""
DELETE FROM tradewind.decisions
 WHERE {KEY} AND decision_id IN (
    SELECT decision_id FROM tradewind.decisions d
     WHERE {KEY} AND decided_at < now() - make_interval(secs => %(retention)s) + interval '1 day'
       AND received_at < clock_timestamp() - make_interval(secs => %(retention)s) AND state <> 'assigned'
       AND NOT d.holding
       AND NOT EXISTS (
           SELECT FROM tradewind.experiments x
            WHERE {KEY} AND x.started_at > clock_timestamp() - interval '366 days'
              AND (x.decision IS NULL OR x.decided_at > clock_timestamp() - interval '30 days')
              AND (x.experiment_uid = d.experiment_uid OR d.experiment_uid IS NULL AND d.drawn_version = x.baseline))
     ORDER BY decided_at LIMIT 500)
RETURNING decision_id
"""

FORGET_REPLICAS: Final = f"""
DELETE FROM tradewind.gateway_replicas WHERE {KEY} AND seen_at < clock_timestamp() - interval '1 day'
"""

FORGET_CHANGES: Final = "SELECT tradewind.forget_changes(%(installation)s, %(namespace)s, %(endpoint)s)"

ADVANCE_CLOCK: Final = f"""
WITH advanced AS (
    INSERT INTO tradewind.replay_clock AS c (installation, namespace, endpoint, as_of)
    SELECT %(installation)s, %(namespace)s, %(endpoint)s, %(as_of)s
     WHERE NOT EXISTS (SELECT FROM tradewind.replay_clock WHERE {KEY} AND as_of >= %(as_of)s)
    ON CONFLICT (installation, namespace, endpoint) DO UPDATE SET as_of = excluded.as_of WHERE c.as_of < excluded.as_of
    RETURNING as_of
)
SELECT count(*) AS advanced, max(CASE WHEN as_of IS NOT NULL OR %(remind)s THEN {NOTIFY_OPERATOR}::text END)
  FROM (VALUES (1)) AS one LEFT JOIN advanced ON true
"""

# Whether the database holds this role to the rows of one namespace.
BOUND: Final = "SELECT row_security_active('tradewind.decisions') AS bound"

NOTIFY: Final = f"SELECT {NOTIFY_OPERATOR}"

REPORT_REPLICA: Final = """
INSERT INTO tradewind.gateway_replicas (installation, namespace, endpoint, replica, epoch, generation, published_at,
    routing_sha256, arms, seen_at)
VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(replica)s, %(epoch)s, %(generation)s, %(published_at)s,
    %(routing_sha256)s, %(arms)s, clock_timestamp())
ON CONFLICT (installation, namespace, endpoint, replica)
    DO UPDATE SET epoch = excluded.epoch, generation = excluded.generation, published_at = excluded.published_at,
        routing_sha256 = excluded.routing_sha256, arms = excluded.arms, seen_at = excluded.seen_at
"""

# An operator that does not know this payload knows no such Endpoint and does nothing.
NOTIFY_ARMS: Final = "SELECT pg_notify('tradewind', %(namespace)s || '/' || %(endpoint)s || '/arms')"

STORE_PROBE: Final = """
INSERT INTO tradewind.probes (installation, namespace, endpoint, version, replica, asked_at, latency_ms, error_kind, error_cause,
    error_detail, cost_cny, calls)
VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(version)s, %(replica)s, %(asked_at)s, %(latency_ms)s, %(error_kind)s,
    %(error_cause)s, %(error_detail)s, %(cost_cny)s, %(calls)s)
ON CONFLICT DO NOTHING
"""

FORGET_PROBES: Final = f"""
DELETE FROM tradewind.probes WHERE {KEY} AND asked_at < clock_timestamp() - interval '366 days'
"""

# Closed trades by drawn version, newest `days` of the endpoint's clock (a replay's clock is the data's).
PERFORMANCE: Final = f"""
WITH clock AS (
    SELECT coalesce((SELECT as_of FROM tradewind.replay_clock WHERE {KEY} AND %(replay)s), clock_timestamp()) AS now
)
SELECT d.drawn_version AS version, count(*) AS total_trades, avg((o.pnl_usd > 0)::int)::double precision AS win_rate,
       sum(o.pnl_usd)::double precision AS total_pnl, avg(o.pnl_usd)::double precision AS avg_pnl,
       stddev_samp(o.pnl_usd)::double precision AS deviation
  FROM tradewind.decisions d JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id), clock
 WHERE {KEY} AND NOT o.voided AND d.bar_from_evidence IS DISTINCT FROM 'conflicting_answers' AND d.replay = %(replay)s
   AND d.decided_at > clock.now - make_interval(days => %(days)s)
 GROUP BY d.drawn_version ORDER BY d.drawn_version
"""

TRAINING_DATA: Final = f"""
SELECT data FROM tradewind.training_data
 WHERE {KEY} AND status = 'labeled' AND label IN ('excellent_decision', 'good_decision', 'bad_decision')
 ORDER BY created_at DESC, decision_id DESC LIMIT %(limit)s
"""
