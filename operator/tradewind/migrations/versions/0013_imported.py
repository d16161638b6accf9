"""History from elsewhere: decisions and outcomes that were imported, apart from ours, and seen by trainings alone."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# In tables of their own, and in no view but those of training: what no statistic can reach cannot become evidence.
TABLES = """
-- One file that was imported, where something of it was new.
CREATE TABLE tradewind.imports (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    source text NOT NULL CHECK (length(source) BETWEEN 1 AND 64),
    format text NOT NULL,
    file text NOT NULL,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    bytes bigint NOT NULL,
    rows_read int NOT NULL,
    rows_new int NOT NULL,
    rows_refused int NOT NULL,
    imported_by text NOT NULL,
    database_role text NOT NULL DEFAULT session_user,
    imported_at timestamptz NOT NULL DEFAULT now(),
    forgotten_by text,
    forgotten_at timestamptz
);
CREATE INDEX imports_newest ON tradewind.imports (installation, namespace, endpoint, id DESC);

-- What was decided, by its id in its source. `number`: line or row of the file.
CREATE TABLE tradewind.imported_decisions (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    source text NOT NULL,
    source_id text NOT NULL CHECK (length(source_id) BETWEEN 1 AND 128),
    import_id bigint NOT NULL REFERENCES tradewind.imports,
    number int NOT NULL,
    content_hash bytea NOT NULL,
    decided_at timestamptz NOT NULL,
    scope_symbol text NOT NULL,
    input jsonb NOT NULL,
    answer jsonb NOT NULL,
    model text NOT NULL,
    PRIMARY KEY (installation, namespace, endpoint, source, source_id)
);

-- How it ended. Apart, since it may come from another file, and earlier: there is no reference to the decision.
CREATE TABLE tradewind.imported_outcomes (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    source text NOT NULL,
    source_id text NOT NULL CHECK (length(source_id) BETWEEN 1 AND 128),
    import_id bigint NOT NULL REFERENCES tradewind.imports,
    number int NOT NULL,
    content_hash bytea NOT NULL,
    closed_at timestamptz NOT NULL,
    pnl_usd numeric,
    exit_reason text NOT NULL,
    given_label text CHECK (given_label IN ('excellent_decision', 'good_decision', 'acceptable_loss', 'bad_decision', 'neutral')),
    PRIMARY KEY (installation, namespace, endpoint, source, source_id),
    CHECK (pnl_usd IS NOT NULL OR given_label IS NOT NULL),
    CHECK (pnl_usd > '-Infinity' AND pnl_usd < 'Infinity')
);
CREATE INDEX imported_decisions_import ON tradewind.imported_decisions (import_id);
CREATE INDEX imported_outcomes_import ON tradewind.imported_outcomes (import_id);
"""

VIEWS = """
-- The one way in which trainings see them. The label is the rule's where it can be told (trading/labels.py, default
-- thresholds), else the source's own; a training labels anew by its own thresholds.
CREATE VIEW tradewind.imported_history AS
SELECT d.installation, d.namespace, d.endpoint, 'import:' || d.source || ':' || d.source_id AS decision_id, d.source, d.import_id,
       d.decided_at, d.scope_symbol, d.input, d.answer, d.model, o.closed_at, o.pnl_usd, o.exit_reason, o.given_label,
       i.imported_at,
       CASE WHEN m.ratio > 0.05 THEN 'excellent_decision' WHEN m.ratio > 0 THEN 'good_decision' WHEN m.ratio = 0 THEN 'neutral'
            WHEN m.ratio >= -0.03 THEN 'acceptable_loss' WHEN m.ratio < -0.03 THEN 'bad_decision' ELSE o.given_label END AS label
  FROM tradewind.imported_decisions d
 -- OFFSET 0: a lookup by the key, also where rows came a moment ago and the planner takes the table for empty. For the same
 -- reason no other index begins as the key does.
  LEFT JOIN LATERAL (
       SELECT * FROM tradewind.imported_outcomes o
        WHERE o.installation = d.installation AND o.namespace = d.namespace AND o.endpoint = d.endpoint AND o.source = d.source
          AND o.source_id = d.source_id OFFSET 0) o ON true
  LEFT JOIN tradewind.imports i ON i.id = o.import_id
 CROSS JOIN LATERAL (SELECT round(o.pnl_usd / nullif((d.answer ->> 'size_usd')::numeric, 0), 12) AS ratio) m;

CREATE OR REPLACE VIEW tradewind.training_data AS
SELECT d.decision_id,
       jsonb_build_object(
           'conversation_id', d.decision_id,
           'timestamp', to_char(d.decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'input', coalesce(d.shown, jsonb_build_object('market_data', d.request -> 'market_data',
                    'account_state', d.request -> 'account_state', 'recent_history', '[]'::jsonb)),
           'output', d.answer,
           'result', CASE WHEN o.decision_id IS NULL THEN NULL ELSE jsonb_build_object(
               'profitable', o.pnl_usd > 0,
               'pnl', o.pnl_usd,
               'duration_hours', coalesce(o.duration_hours, round((extract(epoch FROM o.closed_at - e.opened_at) / 3600)::numeric, 6)::double precision),
               'exit_reason', o.exit_reason) END,
           'label', coalesce(o.label, 'pending')) AS data,
       CASE WHEN o.decision_id IS NULL THEN 'pending' ELSE 'labeled' END AS status,
       o.label,
       d.decided_at AS created_at,
       d.installation, d.namespace, d.endpoint,
       d.scope_symbol, d.scope_book, d.replay, d.parent_decision_id, d.experiment_uid, d.arm,
       d.drawn_version, d.answered_by, d.bar_from_evidence,
       e.filled_notional_usd AS notional_usd, o.closed_at, o.received_at AS labeled_at,
       NULL::text AS imported_from
  FROM tradewind.decisions d
  LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN (SELECT * FROM tradewind.outcomes WHERE NOT voided) o USING (installation, namespace, endpoint, decision_id)
 WHERE d.state = 'answered'
UNION ALL
SELECT h.decision_id,
       jsonb_build_object(
           'conversation_id', h.decision_id,
           'timestamp', to_char(h.decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'input', h.input,
           'output', h.answer,
           'result', CASE WHEN h.pnl_usd IS NULL THEN NULL ELSE jsonb_build_object(
               'profitable', h.pnl_usd > 0,
               'pnl', h.pnl_usd,
               'duration_hours', round((extract(epoch FROM h.closed_at - h.decided_at) / 3600)::numeric, 6)::double precision,
               'exit_reason', h.exit_reason) END,
           'label', coalesce(h.label, 'pending')),
       CASE WHEN h.label IS NULL THEN 'pending' ELSE 'labeled' END,
       h.label, h.decided_at, h.installation, h.namespace, h.endpoint, h.scope_symbol, '', false, NULL, NULL, NULL, NULL, h.model, NULL,
       (h.answer ->> 'size_usd')::numeric * (h.answer ->> 'leverage')::numeric, h.closed_at, h.imported_at, h.source
  FROM tradewind.imported_history h;
"""


def upgrade() -> None:
    """Adds the tables and their view, and what was imported to the view in the seed's shape."""
    connection = op.get_bind()
    for part in (TABLES, VIEWS):
        connection.exec_driver_sql(part)
