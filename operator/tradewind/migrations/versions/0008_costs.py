"""What an answer costs, fixed at the start of an experiment, and the column of it beside each row."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COSTS = """
-- Fixed at t0. `cny_per_usd`: for prices of calls. An owned arm costs the same for each answer; an external one 0 beside its calls.
ALTER TABLE tradewind.experiments
    ADD COLUMN cny_per_usd double precision CHECK (cny_per_usd > 0),
    ADD COLUMN baseline_cost_usd double precision CHECK (baseline_cost_usd >= 0),
    ADD COLUMN candidate_cost_usd double precision CHECK (candidate_cost_usd >= 0);

CREATE OR REPLACE VIEW tradewind.judged_rows AS
SELECT f.installation, f.namespace, f.endpoint, f.experiment_uid, f.decision_id, f.arm, f.candidate_weight, f.decided_at, f.status,
       f.closed_at, f.notional_usd, f.pnl_usd, f.received_at, f.answered_at, f.latency_ms, f.error_kind, f.fallback, f.cost_cny,
       f.reported_model, f.corrected, f.symbol, f.paper_baseline, f.paper_candidate, f.paper_at, f.market_return, f.market_at,
       f.failed, f.shadow_failed,
       -- A fallback's call is paid beside the drawn arm's. What is not known is not 0.
       CASE WHEN f.cost_cny IS NOT NULL AND x.cny_per_usd IS NULL THEN NULL
            ELSE CASE f.arm WHEN 'baseline' THEN x.baseline_cost_usd ELSE x.candidate_cost_usd END
                 + coalesce(f.cost_cny::double precision / x.cny_per_usd, 0) END AS answer_cost_usd
  FROM tradewind.first_decisions f
  LEFT JOIN tradewind.experiments x USING (installation, namespace, endpoint, experiment_uid)
 WHERE f.experiment_uid IS NOT NULL AND f.candidate_weight > 0
UNION ALL
SELECT x.installation, x.namespace, x.endpoint, x.experiment_uid, p.decision_id, 'baseline', 0.0, p.decided_at, p.status,
       p.closed_at, p.notional_usd, p.pnl_usd, p.received_at, p.answered_at, p.latency_ms, p.error_kind, p.fallback,
       p.cost_cny, p.reported_model, p.corrected, p.symbol, NULL, NULL, NULL, NULL, NULL, '', '', NULL
  FROM tradewind.experiments x
 CROSS JOIN LATERAL (
       SELECT decision_id, decided_at, status, closed_at, notional_usd, pnl_usd, received_at, answered_at, latency_ms,
              error_kind, fallback, cost_cny, reported_model, corrected, symbol
         FROM tradewind.first_decisions b
        WHERE b.installation = x.installation AND b.namespace = x.namespace AND b.endpoint = x.endpoint
          AND b.drawn_version = x.baseline AND b.experiment_uid IS NULL AND b.decided_at < x.t0
        ORDER BY b.decided_at DESC LIMIT 5000) p;
"""


def upgrade() -> None:
    """Adds the columns, and the price of an answer at the end of the view."""
    op.get_bind().exec_driver_sql(COSTS)
