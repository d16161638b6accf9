"""What nobody wrote and nobody read goes: forced settlements are derived from times, and judged_rows is the one view of rows."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UNUSED = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM tradewind.forced_settlements) OR EXISTS (SELECT FROM tradewind.outcomes WHERE settled <> 'reported')
    THEN RAISE EXCEPTION 'tradewind.forced_settlements or outcomes.settled was written by hand, and this version drops both: '
        'copy what you need of them, empty the table, set settled to reported, and migrate again';
    END IF;
END $$;

-- First decisions of positions with what became of them. A trading system whose clock is behind the gateway's closes
-- nothing before it was decided.
CREATE OR REPLACE VIEW tradewind.first_decisions AS
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
 -- OFFSET 0: else the planner works the CASE out anew for each column that depends on it.
 CROSS JOIN LATERAL (SELECT CASE
       WHEN d.state = 'failed' THEN 'rejected'
       WHEN d.answer ->> 'action' IN ('hold', 'close') THEN 'hold'
       WHEN e.status IN ('rejected', 'not_filled') THEN e.status
       WHEN o.decision_id IS NOT NULL THEN 'closed'
       ELSE 'open' END AS status OFFSET 0) s
 WHERE d.parent_decision_id IS NULL AND d.bar_from_evidence IS NULL;

DROP VIEW tradewind.evidence_rows;
DROP TABLE tradewind.forced_settlements;
ALTER TABLE tradewind.outcomes DROP COLUMN settled;
"""


def upgrade() -> None:
    """Takes them away; refuses where something was written into them."""
    op.get_bind().exec_driver_sql(UNUSED)
