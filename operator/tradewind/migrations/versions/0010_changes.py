"""What was written about which decision and when: a look reads what is new since the one before."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CHANGES = """
-- Only ever appended to: two writers of the same decisions never wait for each other. `xid` and no time: whatever was not
-- visible to a reader has at least the xmin of its snapshot, however long its transaction takes.
CREATE TABLE tradewind.changes (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX changes_newest ON tradewind.changes (installation, namespace, endpoint, xid);

-- As the owner of the schema: a role that may write a decision need not be granted this table before it may go on.
CREATE FUNCTION tradewind.note_changes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO tradewind.changes (installation, namespace, endpoint, decision_id)
    SELECT installation, namespace, endpoint, decision_id FROM written WHERE decision_id IS NOT NULL;
    RETURN NULL;
END $$;

-- From its old end, in bites. Twice as long as a look trusts it (shell/evidence.py).
CREATE FUNCTION tradewind.forget_changes(p_installation text, p_namespace text, p_endpoint text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM tradewind.changes
     WHERE ctid = ANY(ARRAY(
        SELECT o.place
          FROM (SELECT ctid AS place, at FROM tradewind.changes
                 WHERE installation = p_installation AND namespace = p_namespace AND endpoint = p_endpoint
                       -- The oldest alone says whether there is anything to do: else each call would read them all.
                   AND (SELECT f.at FROM tradewind.changes f
                         WHERE f.installation = p_installation AND f.namespace = p_namespace AND f.endpoint = p_endpoint
                         ORDER BY f.xid LIMIT 1) < now() - interval '2 days'
                 ORDER BY xid LIMIT 50000) o
         WHERE o.at < now() - interval '2 days'));
$$;
"""

# All that a row of evidence, or the reason why a decision is none, is made of; what it costs is fixed in its experiment.
TABLES = ("decisions", "events", "executions", "outcomes", "shadows", "papers", "refused_reports")
EVENTS = {"INSERT": "NEW", "UPDATE": "NEW", "DELETE": "OLD"}

VIEWS = """
CREATE VIEW tradewind.judged_decisions AS
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
 WHERE f.experiment_uid IS NOT NULL AND f.candidate_weight > 0;

-- What the baseline traded before an experiment: it sets the default of a budget and is no evidence, hence a weight of 0.
CREATE VIEW tradewind.prior_decisions AS
SELECT x.installation, x.namespace, x.endpoint, x.experiment_uid, p.decision_id, 'baseline' AS arm, 0.0 AS candidate_weight,
       p.decided_at, p.status, p.closed_at, p.notional_usd, p.pnl_usd, p.received_at, p.answered_at, p.latency_ms, p.error_kind,
       p.fallback, p.cost_cny, p.reported_model, p.corrected, p.symbol, NULL::double precision AS paper_baseline,
       NULL::double precision AS paper_candidate, NULL::timestamptz AS paper_at, NULL::double precision AS market_return,
       NULL::timestamptz AS market_at, '' AS failed, '' AS shadow_failed, NULL::double precision AS answer_cost_usd
  FROM tradewind.experiments x
 CROSS JOIN LATERAL (
       SELECT decision_id, decided_at, status, closed_at, notional_usd, pnl_usd, received_at, answered_at, latency_ms,
              error_kind, fallback, cost_cny, reported_model, corrected, symbol
         FROM tradewind.first_decisions b
        WHERE b.installation = x.installation AND b.namespace = x.namespace AND b.endpoint = x.endpoint
          AND b.drawn_version = x.baseline AND b.experiment_uid IS NULL AND b.decided_at < x.t0
        ORDER BY b.decided_at DESC LIMIT 5000) p;

CREATE OR REPLACE VIEW tradewind.judged_rows AS
SELECT * FROM tradewind.judged_decisions UNION ALL SELECT * FROM tradewind.prior_decisions;
"""


def upgrade() -> None:
    """Adds the log, what writes it, and the two parts of judged_rows as views of their own."""
    connection = op.get_bind()
    connection.exec_driver_sql(CHANGES)
    for table in TABLES:
        for event, which in EVENTS.items():
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table}_{event.lower()}_is_noted AFTER {event} ON tradewind.{table} "
                f"REFERENCING {which} TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION tradewind.note_changes()"
            )
    connection.exec_driver_sql(VIEWS)
