"""The gateway's SQL about reports: the events of a decision, what follows from them, what was refused, and reading back.

Belongs here: text, as in statements.py. Does not belong here: what an event means (trading/positions.py).
"""

from typing import Final

from tradewind.gateway.statements import KEY, NOTIFY_OPERATOR, one_line

_EVENTS: Final = f"""
    (SELECT coalesce(jsonb_agg(jsonb_build_object('event_id', v.event_id, 'kind', v.kind, 'at', v.at, 'body', v.body,
                                                  'received_at', v.received_at) ORDER BY v.number), '[]'::jsonb)
       FROM tradewind.events v WHERE {KEY} AND v.decision_id = d.decision_id) AS events
"""

_OTHERS: Final = f"""
    (SELECT coalesce(jsonb_agg(jsonb_build_object('answer', c.answer, 'answered_by', c.answered_by, 'given_at', c.given_at)
                               ORDER BY c.received_at, c.answer_hash), '[]'::jsonb)
       FROM tradewind.conflicting_answers c WHERE {KEY} AND c.decision_id = d.decision_id) AS others
"""

REPORTED: Final = one_line(f"""
SELECT d.decision_id, d.state, d.answer ->> 'action' AS action, (d.answer ->> 'size_usd')::numeric AS size_usd,
       (d.answer ->> 'leverage')::numeric AS leverage, d.parent_decision_id, d.flipped_from, d.decided_at, d.reports, d.holding,
       d.released_at, d.released_by, o.label, {_OTHERS}, {_EVENTS}
  FROM tradewind.decisions d
  LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
 WHERE {KEY} AND decision_id = %(decision_id)s
""")

# A position by its own id, which may come back: the one that had this event already; else the newest that was opened by then.
# A reversal closes and opens at one time: what ends a position ends the older one, if that is still open. Clocks that are
# off come last, or the late end of the older one would be the newer one's.
BY_POSITION: Final = """
SELECT e.decision_id
  FROM tradewind.executions e
  LEFT JOIN tradewind.events v ON v.installation = e.installation AND v.namespace = e.namespace AND v.endpoint = e.endpoint
        AND v.decision_id = e.decision_id AND v.event_id = %(event_id)s
 WHERE e.installation = %(installation)s AND e.namespace = %(namespace)s AND e.endpoint = %(endpoint)s
   AND e.position_id = %(position_id)s AND e.status = 'opened'
   AND (v.event_id IS NOT NULL OR e.opened_at <= %(latest)s::timestamptz)
 ORDER BY v.event_id IS NOT NULL DESC, e.opened_at <= %(at)s::timestamptz DESC,
       %(ends)s AND e.opened_at = %(at)s::timestamptz AND EXISTS (
           SELECT FROM tradewind.executions f LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
            WHERE f.installation = e.installation AND f.namespace = e.namespace AND f.endpoint = e.endpoint
              AND f.position_id = e.position_id AND f.opened_at < e.opened_at AND (o.decision_id IS NULL OR o.voided)),
       e.opened_at DESC LIMIT 1
"""

# `reports` is what the writer read: of two at once, the second reads again. What follows from the events is written with them.
APPLY: Final = one_line(f"""
WITH cas AS (
    UPDATE tradewind.decisions
       SET reports = reports + 1, holding = %(holding)s, released_at = %(released_at)s, released_by = %(released_by)s,
           held_since = coalesce(held_since, %(opened_at)s::timestamptz), position_action = %(position_action)s
     WHERE {KEY} AND decision_id = %(decision_id)s AND reports = %(reports)s
    RETURNING installation, namespace, endpoint, decision_id, reports
), event AS (
    INSERT INTO tradewind.events (installation, namespace, endpoint, decision_id, event_id, number, kind, at, body)
    SELECT installation, namespace, endpoint, decision_id, %(event_id)s, reports, %(kind)s, %(at)s, %(body)s FROM cas
), execution AS (
    INSERT INTO tradewind.executions AS e (installation, namespace, endpoint, decision_id, status, position_id, opened_at,
                                           filled_notional_usd, closed, logged)
    SELECT installation, namespace, endpoint, decision_id, %(status)s, %(position_id)s, %(opened_at)s::timestamptz,
           %(notional)s::numeric, %(freed)s, true FROM cas WHERE %(status)s <> 'none'
    ON CONFLICT (installation, namespace, endpoint, decision_id) DO UPDATE
       SET status = excluded.status, position_id = excluded.position_id, opened_at = excluded.opened_at,
           filled_notional_usd = excluded.filled_notional_usd, closed = excluded.closed, logged = true
), unopened AS (
    DELETE FROM tradewind.executions
     WHERE {KEY} AND decision_id = %(decision_id)s AND EXISTS (SELECT FROM cas) AND %(status)s = 'none'
), outcome AS (
    INSERT INTO tradewind.outcomes AS o (installation, namespace, endpoint, decision_id, closed_at, pnl_usd, fees_usd,
                                         duration_hours, exit_reason, label, first_notional_usd, received_at, logged)
    SELECT installation, namespace, endpoint, decision_id, %(closed_at)s::timestamptz, %(pnl)s::numeric, %(fees)s::numeric,
           %(duration_hours)s::double precision, %(exit_reason)s, %(label)s, %(notional)s::numeric, clock_timestamp(), true
      FROM cas WHERE %(pnl)s::numeric IS NOT NULL
    ON CONFLICT (installation, namespace, endpoint, decision_id) DO UPDATE
       SET closed_at = excluded.closed_at, pnl_usd = excluded.pnl_usd, fees_usd = excluded.fees_usd,
           duration_hours = excluded.duration_hours, exit_reason = excluded.exit_reason, label = excluded.label,
           received_at = excluded.received_at, voided = false, corrections = o.corrections + 1
), voided AS (
    UPDATE tradewind.outcomes SET voided = true, corrections = corrections + 1
     WHERE {KEY} AND decision_id = %(decision_id)s AND EXISTS (SELECT FROM cas) AND NOT voided AND %(pnl)s::numeric IS NULL
)
SELECT count(*) AS written, max(CASE WHEN decision_id IS NOT NULL THEN {NOTIFY_OPERATOR}::text END) FROM cas
""")

REFUSED: Final = """
INSERT INTO tradewind.refused_reports AS r (installation, namespace, endpoint, report_hash, decision_id, code, field, message, body)
VALUES (%(installation)s, %(namespace)s, %(endpoint)s, %(report_hash)s, %(decision_id)s, %(code)s, %(field)s, %(message)s, %(body)s)
ON CONFLICT (installation, namespace, endpoint, report_hash) DO UPDATE
   SET times = r.times + 1, last_at = clock_timestamp(), code = excluded.code, message = excluded.message
"""

PURGE_REFUSED: Final = """
DELETE FROM tradewind.refused_reports
 WHERE installation = %(installation)s AND namespace = %(namespace)s AND endpoint = %(endpoint)s
   AND last_at < clock_timestamp() - make_interval(secs => %(retention)s)
"""

_SHADOW: Final = f"""
    (SELECT jsonb_build_object('arm', s.arm, 'version', s.version, 'state', s.state, 'answer', s.answer,
                               'answered_by', s.answered_by, 'latency_ms', s.latency_ms, 'error_kind', s.error_kind,
                               'error_detail', s.error_detail, 'cost_cny', s.cost_cny)
       FROM tradewind.shadows s WHERE {KEY} AND s.decision_id = d.decision_id) AS shadow
"""

# A paper of a market's move is nobody's answer.
_PAPERS: Final = f"""
    (SELECT jsonb_object_agg(p.arm, jsonb_build_object('ret', p.ret, 'exit_reason', p.exit_reason, 'exit_at', p.exit_at,
                                                       'known_at', p.known_at, 'source', p.source))
       FROM tradewind.papers p WHERE {KEY} AND p.decision_id = d.decision_id AND p.arm <> 'market') AS papers,
    (SELECT jsonb_object_agg(q.arm, q.ret) FROM tradewind.reported_papers q
      WHERE {KEY} AND q.decision_id = d.decision_id) AS reported_papers,
    EXISTS (SELECT FROM tradewind.experiments x
             WHERE {KEY} AND x.experiment_uid = d.experiment_uid AND x.decision IS NOT NULL) AS experiment_ended
"""

_READ: Final = f"""
SELECT d.decision_id, d.state, d.scope_symbol, d.scope_book, d.decided_at, d.answered_at, d.answer, d.answered_by, d.drawn_version,
       d.arm, d.experiment_uid, d.epoch, d.fallback, d.parent_decision_id, d.flipped_from, d.holding, d.released_at,
       d.released_by, e.status AS execution, e.position_id, e.opened_at, e.filled_notional_usd, d.position_action,
       o.closed_at, o.pnl_usd, o.fees_usd, o.exit_reason, o.label, o.corrections, {_OTHERS}, {_EVENTS}, {_SHADOW}, {_PAPERS}
  FROM tradewind.decisions d
  LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN (SELECT * FROM tradewind.outcomes WHERE NOT voided) o USING (installation, namespace, endpoint, decision_id)
 WHERE {KEY}
"""

READ: Final = one_line(f"{_READ} AND decision_id = %(decision_id)s")

# Positions whose end was never told, in the order of their decisions.
OPEN: Final = one_line(f"""
{_READ} AND e.status = 'opened' AND o.decision_id IS NULL AND coalesce(d.released_by, '') <> 'unpriced'
   AND (d.decided_at, d.decision_id) > (%(after_time)s, %(after)s) ORDER BY d.decided_at, d.decision_id LIMIT %(limit)s
""")

# Answers to open of which nothing was told, whichever of several answers it is.
UNREPORTED: Final = one_line(f"""
{_READ} AND e.decision_id IS NULL AND (d.state = 'answered' AND d.answer ->> 'action' IN ('open_long', 'open_short')
        OR d.bar_from_evidence = 'conflicting_answers' AND EXISTS (
           SELECT FROM tradewind.conflicting_answers c
            WHERE {KEY} AND c.decision_id = d.decision_id AND c.answer ->> 'action' IN ('open_long', 'open_short')))
   AND (d.decided_at, d.decision_id) > (%(after_time)s, %(after)s) ORDER BY d.decided_at, d.decision_id LIMIT %(limit)s
""")
