"""Prices, what was reported of papers, how far papers are settled, and the views with both arms side by side."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PRICES = """
-- Bars that were posted. `clock`: the data's clock when it came, in a replay. A bar is stored once and never changed.
CREATE TABLE tradewind.bars (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    symbol text NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    clock timestamptz,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (installation, namespace, endpoint, symbol, starts_at, ends_at),
    CHECK (ends_at > starts_at),
    CHECK (0 < low AND low <= least(open, close) AND greatest(open, close) <= high AND high < 'infinity')
);
CREATE INDEX bars_received ON tradewind.bars (received_at);

-- The price in each request, read once by the operator: a request may be large. NULL: it has none that is a number above 0.
-- It outlives its decision: others may be open that it settles.
CREATE TABLE tradewind.request_prices (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    pointer text NOT NULL,
    decision_id text NOT NULL,
    symbol text NOT NULL,
    at timestamptz NOT NULL,
    known_at timestamptz NOT NULL,
    price double precision,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (installation, namespace, endpoint, pointer, decision_id)
);
CREATE INDEX request_prices_symbol ON tradewind.request_prices (installation, namespace, endpoint, pointer, symbol, at);
-- Not by the key: a lookup of one decision would be planned by it while the table is young.
CREATE INDEX request_prices_received ON tradewind.request_prices (received_at);

-- What the trading system says that an answer earned on paper; it becomes a paper where it is known in time.
CREATE TABLE tradewind.reported_papers (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    arm text NOT NULL CHECK (arm IN ('baseline', 'candidate')),
    ret double precision NOT NULL,
    clock timestamptz,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (installation, namespace, endpoint, decision_id, arm),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE
);

-- Up to where all papers of an experiment are settled, or never will be.
CREATE TABLE tradewind.paper_progress (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    experiment_uid text NOT NULL,
    settled_until timestamptz NOT NULL,
    PRIMARY KEY (installation, namespace, endpoint, experiment_uid)
);
"""

VIEWS = """
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
       -- On the data's clock an outcome is known when the position is flat; the wall clock says nothing there.
       CASE WHEN s.status = 'closed' THEN greatest(CASE WHEN d.replay THEN o.first_closed_at ELSE o.first_received_at END,
            d.decided_at) END AS received_at,
       s.status = 'closed' AND (o.corrections > 0 OR o.voided) AS corrected,
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
  LEFT JOIN tradewind.papers pb ON pb.installation = d.installation AND pb.namespace = d.namespace
        AND pb.endpoint = d.endpoint AND pb.decision_id = d.decision_id AND pb.arm = 'baseline'
  LEFT JOIN tradewind.papers pc ON pc.installation = d.installation AND pc.namespace = d.namespace
        AND pc.endpoint = d.endpoint AND pc.decision_id = d.decision_id AND pc.arm = 'candidate'
  LEFT JOIN tradewind.papers pm ON pm.installation = d.installation AND pm.namespace = d.namespace
        AND pm.endpoint = d.endpoint AND pm.decision_id = d.decision_id AND pm.arm = 'market'
 -- OFFSET 0: else the planner works the CASE out anew for each column that depends on it.
 CROSS JOIN LATERAL (SELECT CASE
       WHEN d.state = 'failed' THEN 'rejected'
       WHEN d.answer ->> 'action' IN ('hold', 'close') THEN 'hold'
       WHEN o.decision_id IS NOT NULL THEN 'closed'
       WHEN e.status IN ('rejected', 'not_filled') THEN e.status
       ELSE 'open' END AS status,
       (d.answer ->> 'size_usd')::numeric * (d.answer ->> 'leverage')::numeric AS exposure OFFSET 0) s
 WHERE d.parent_decision_id IS NULL AND d.bar_from_evidence IS NULL;

CREATE OR REPLACE VIEW tradewind.judged_rows AS
SELECT installation, namespace, endpoint, experiment_uid, decision_id, arm, candidate_weight, decided_at, status, closed_at,
       notional_usd, pnl_usd, received_at, answered_at, latency_ms, error_kind, fallback, cost_cny, reported_model, corrected,
       symbol, paper_baseline, paper_candidate, paper_at, market_return, market_at, failed, shadow_failed
  FROM tradewind.first_decisions
 WHERE experiment_uid IS NOT NULL AND candidate_weight > 0
UNION ALL
SELECT x.installation, x.namespace, x.endpoint, x.experiment_uid, p.decision_id, 'baseline', 0.0, p.decided_at, p.status,
       p.closed_at, p.notional_usd, p.pnl_usd, p.received_at, p.answered_at, p.latency_ms, p.error_kind, p.fallback,
       p.cost_cny, p.reported_model, p.corrected, p.symbol, NULL, NULL, NULL, NULL, NULL, '', ''
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
    """Adds the tables, and the columns at the end of the views."""
    connection = op.get_bind()
    for part in (PRICES, VIEWS):
        connection.exec_driver_sql(part)
