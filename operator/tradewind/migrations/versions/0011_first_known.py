"""What was known first of every row, not of closed ones alone: a late or mended rejection leaves past looks as they were."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Few decisions are never opened: this index has them alone, and is read as a whole beside the rows.
UNOPENED = """
CREATE INDEX events_unopened ON tradewind.events (installation, namespace, endpoint, decision_id, number)
 WHERE kind IN ('rejected', 'not_filled');
"""

VIEW = """
CREATE OR REPLACE VIEW tradewind.first_decisions AS
SELECT d.installation, d.namespace, d.endpoint, d.experiment_uid, d.decision_id, d.arm, d.candidate_weight, d.decided_at,
       d.drawn_version, d.latency_ms, d.error_kind, d.fallback, d.cost_cny, d.reported_model,
       CASE WHEN d.state = 'assigned' THEN NULL WHEN d.replay THEN d.decided_at
            ELSE greatest(d.answered_at, d.decided_at) END AS answered_at,
       s.status,
       CASE WHEN s.status = 'closed' THEN greatest(o.first_closed_at, d.decided_at) END AS closed_at,
       CASE WHEN s.status IN ('closed', 'open') THEN coalesce(o.first_notional_usd, e.filled_notional_usd,
            CASE WHEN s.exposure < 1e15 THEN s.exposure WHEN s.exposure IS NOT NULL THEN 1e15 END)
            END::double precision AS notional_usd,
       CASE WHEN s.status = 'closed' THEN o.first_pnl_usd END::double precision AS pnl_usd,
       -- On the data's clock an outcome is known when the position is flat, and that there is none with the decision; the wall
       -- clock says nothing there.
       CASE WHEN s.status = 'closed' THEN greatest(CASE WHEN d.replay THEN o.first_closed_at ELSE o.first_received_at END,
            d.decided_at)
            WHEN d.replay OR s.status = 'open' THEN NULL
            ELSE greatest(d.answered_at, d.decided_at, CASE WHEN u.unopened THEN r.received_at END) END AS received_at,
       CASE WHEN s.status = 'closed' THEN o.corrections > 0 OR o.voided
            ELSE u.unopened AND e.status IS DISTINCT FROM r.kind END AS corrected,
       d.scope_symbol AS symbol, pb.ret AS paper_baseline, pc.ret AS paper_candidate,
       greatest(pb.known_at, pc.known_at) AS paper_at, pm.ret AS market_return, pm.known_at AS market_at,
       -- An arm that did not get its chance, or was wrong in itself: trading/standing.py has the same rule.
       CASE WHEN d.error_kind IS NULL THEN ''
            WHEN d.error_kind IN ('status', 'invalid_json', 'invalid_decision', 'over_limit') THEN 'error'
            ELSE 'timeout' END AS failed,
       CASE WHEN sh.state = 'failed' THEN 'error' WHEN sh.state = 'absent' AND sh.error_kind <> 'not_asked' THEN 'timeout'
            ELSE '' END AS shadow_failed
  FROM tradewind.decisions d
  LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.shadows sh USING (installation, namespace, endpoint, decision_id)
  -- Taken back or not: what it was known as first is what it counts as.
  LEFT JOIN (
       SELECT DISTINCT ON (installation, namespace, endpoint, decision_id)
              installation, namespace, endpoint, decision_id, kind, received_at
         FROM tradewind.events WHERE kind IN ('rejected', 'not_filled')
        ORDER BY installation, namespace, endpoint, decision_id, number) r USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.papers pb ON pb.installation = d.installation AND pb.namespace = d.namespace
        AND pb.endpoint = d.endpoint AND pb.decision_id = d.decision_id AND pb.arm = 'baseline'
  LEFT JOIN tradewind.papers pc ON pc.installation = d.installation AND pc.namespace = d.namespace
        AND pc.endpoint = d.endpoint AND pc.decision_id = d.decision_id AND pc.arm = 'candidate'
  LEFT JOIN tradewind.papers pm ON pm.installation = d.installation AND pm.namespace = d.namespace
        AND pm.endpoint = d.endpoint AND pm.decision_id = d.decision_id AND pm.arm = 'market'
 CROSS JOIN LATERAL (SELECT coalesce(r.received_at < coalesce(o.first_received_at, 'infinity'), false) AS unopened) u
 -- OFFSET 0: else the planner works the CASE out anew for each column that depends on it.
 CROSS JOIN LATERAL (SELECT CASE
       WHEN d.state = 'failed' THEN 'rejected'
       WHEN d.answer ->> 'action' IN ('hold', 'close') THEN 'hold'
       WHEN u.unopened THEN r.kind
       WHEN o.decision_id IS NOT NULL THEN 'closed'
       ELSE 'open' END AS status,
       (d.answer ->> 'size_usd')::numeric * (d.answer ->> 'leverage')::numeric AS exposure OFFSET 0) s
 WHERE d.parent_decision_id IS NULL AND d.bar_from_evidence IS NULL;
"""


def upgrade() -> None:
    """Adds the index, and reads what was known first through it."""
    connection = op.get_bind()
    for part in (UNOPENED, VIEW):
        connection.exec_driver_sql(part)
