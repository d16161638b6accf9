"""One view for whoever judges an experiment: the operator, the export and the report read the same rows."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JUDGED_ROWS = """
-- First decisions of positions with what became of them. A trading system whose clock is behind the gateway's closes
-- nothing before it was decided.
CREATE VIEW tradewind.first_decisions AS
SELECT d.installation, d.namespace, d.endpoint, d.experiment_uid, d.decision_id, d.arm, d.candidate_weight, d.decided_at,
       d.drawn_version, d.latency_ms, d.error_kind, d.fallback, d.cost_cny, d.reported_model,
       CASE WHEN d.state = 'assigned' THEN NULL WHEN d.replay THEN d.decided_at
            ELSE greatest(d.answered_at, d.decided_at) END AS answered_at,
       s.status,
       CASE WHEN s.status = 'closed' THEN greatest(o.closed_at, d.decided_at) END AS closed_at,
       CASE WHEN s.status IN ('closed', 'open') THEN coalesce(e.filled_notional_usd,
            (d.answer ->> 'size_usd')::numeric * (d.answer ->> 'leverage')::numeric) END::double precision AS notional_usd,
       CASE WHEN s.status = 'closed' THEN o.pnl_usd END::double precision AS pnl_usd,
       -- On the data's clock an outcome is known when the position is flat; the wall clock says nothing there.
       CASE WHEN s.status = 'closed' THEN greatest(CASE WHEN d.replay THEN o.closed_at ELSE o.received_at END,
            d.decided_at) END AS received_at
  FROM tradewind.decisions d
  LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.forced_settlements f USING (installation, namespace, endpoint, decision_id)
 -- OFFSET 0: else the planner works the CASE out anew for each column that depends on it.
 CROSS JOIN LATERAL (SELECT CASE
       WHEN f.decision_id IS NOT NULL THEN 'open'
       WHEN d.state = 'failed' THEN 'rejected'
       WHEN d.answer ->> 'action' IN ('hold', 'close') THEN 'hold'
       WHEN e.status IN ('rejected', 'not_filled') THEN e.status
       WHEN o.decision_id IS NOT NULL THEN 'closed'
       ELSE 'open' END AS status OFFSET 0) s
 WHERE d.parent_decision_id IS NULL AND d.bar_from_evidence IS NULL;

-- All that a look at an experiment reads: its draws; what the candidate got for certain at the end of a ramp, which
-- guardrails watch; and, with weight 0, the baseline's newest decisions before t0, which set the default risk budget.
CREATE VIEW tradewind.judged_rows AS
SELECT installation, namespace, endpoint, experiment_uid, decision_id, arm, candidate_weight, decided_at, status, closed_at,
       notional_usd, pnl_usd, received_at, answered_at, latency_ms, error_kind, fallback, cost_cny, reported_model
  FROM tradewind.first_decisions
 WHERE experiment_uid IS NOT NULL AND candidate_weight > 0
UNION ALL
SELECT x.installation, x.namespace, x.endpoint, x.experiment_uid, p.decision_id, 'baseline', 0.0, p.decided_at, p.status,
       p.closed_at, p.notional_usd, p.pnl_usd, p.received_at, p.answered_at, p.latency_ms, p.error_kind, p.fallback,
       p.cost_cny, p.reported_model
  FROM tradewind.experiments x
 CROSS JOIN LATERAL (
       SELECT * FROM tradewind.first_decisions b
        WHERE b.installation = x.installation AND b.namespace = x.namespace AND b.endpoint = x.endpoint
          AND b.drawn_version = x.baseline AND b.experiment_uid IS NULL AND b.decided_at < x.t0
        ORDER BY b.decided_at DESC LIMIT 5000) p;
"""


def upgrade() -> None:
    """Creates the views."""
    op.get_bind().exec_driver_sql(JUDGED_ROWS)
