"""Decisions, executions, outcomes, epochs, promotions, reviews, the replay clock and the views on them."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

DECISIONS = """
CREATE TABLE tradewind.decisions (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL CHECK (length(decision_id) BETWEEN 1 AND 128),
    request_hash bytea NOT NULL,
    request jsonb NOT NULL,
    scope_symbol text NOT NULL,
    scope_book text NOT NULL DEFAULT '',
    position_id text,
    parent_decision_id text,
    experiment_uid text,
    arm text CHECK (arm IN ('baseline', 'candidate')),
    candidate_weight double precision CHECK (candidate_weight BETWEEN 0 AND 1),
    block int,
    epoch bigint,
    replay boolean NOT NULL DEFAULT false,
    drawn_version text NOT NULL,
    drawn_sha256 text,
    assignment_key text NOT NULL,
    decided_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'assigned' CHECK (state IN ('assigned', 'answered', 'failed')),
    asking_until timestamptz NOT NULL DEFAULT now(),
    asks int NOT NULL DEFAULT 1,
    shown jsonb,
    answered_at timestamptz,
    answered_by text,
    answer jsonb,
    probabilities jsonb,
    latency_ms double precision,
    fallback boolean NOT NULL DEFAULT false,
    error_kind text CHECK (error_kind IN ('timeout', 'transport', 'status', 'invalid_json', 'invalid_decision',
                                          'over_limit', 'breaker_open', 'unavailable')),
    error_detail text,
    cost_cny numeric,
    reported_model text,
    bar_from_evidence text,
    PRIMARY KEY (installation, namespace, endpoint, decision_id),
    CHECK ((experiment_uid IS NULL) = (arm IS NULL)),
    CHECK ((experiment_uid IS NULL) = (candidate_weight IS NULL)),
    CHECK ((state = 'answered') = (answer IS NOT NULL))
);
-- Evidence of one experiment, in the order in which the statistic reads it.
CREATE INDEX decisions_evidence ON tradewind.decisions (experiment_uid, decided_at, decision_id)
    WHERE experiment_uid IS NOT NULL AND parent_decision_id IS NULL;
-- The last decisions of one version in one scope: the history that an arm is shown.
CREATE INDEX decisions_history ON tradewind.decisions
    (installation, namespace, endpoint, scope_symbol, scope_book, drawn_version, decided_at DESC)
    WHERE state = 'answered';
CREATE INDEX decisions_created ON tradewind.decisions (installation, namespace, endpoint, decided_at DESC);
-- Assignments that nobody finished.
CREATE INDEX decisions_assigned ON tradewind.decisions (installation, namespace, endpoint, asking_until)
    WHERE state = 'assigned';
"""

REPORTS = """
CREATE TABLE tradewind.executions (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    status text NOT NULL CHECK (status IN ('opened', 'rejected', 'not_filled')),
    position_id text,
    opened_at timestamptz,
    filled_notional_usd numeric CHECK (filled_notional_usd > 0),
    received_at timestamptz NOT NULL DEFAULT now(),
    report_hash bytea,
    closed boolean NOT NULL DEFAULT false,
    PRIMARY KEY (installation, namespace, endpoint, decision_id),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE,
    CHECK (status <> 'opened' OR (position_id IS NOT NULL AND opened_at IS NOT NULL AND filled_notional_usd IS NOT NULL))
);
-- A position_id names one open position of an endpoint; it may come again once that one is closed.
CREATE UNIQUE INDEX executions_open ON tradewind.executions (installation, namespace, endpoint, position_id)
    WHERE status = 'opened' AND NOT closed;
CREATE INDEX executions_position ON tradewind.executions (installation, namespace, endpoint, position_id)
    WHERE position_id IS NOT NULL;

CREATE TABLE tradewind.outcomes (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    closed_at timestamptz NOT NULL,
    pnl_usd numeric NOT NULL,
    fees_usd numeric NOT NULL DEFAULT 0,
    duration_hours double precision,
    exit_reason text NOT NULL,
    label text NOT NULL CHECK (label IN ('excellent_decision', 'good_decision', 'acceptable_loss', 'bad_decision',
                                         'neutral')),
    received_at timestamptz NOT NULL DEFAULT now(),
    settled text NOT NULL DEFAULT 'reported' CHECK (settled IN ('reported', 'forced')),
    report_hash bytea,
    PRIMARY KEY (installation, namespace, endpoint, decision_id),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE
);
CREATE INDEX outcomes_received ON tradewind.outcomes (installation, namespace, endpoint, received_at);

-- An outcome closes its position, whoever writes it.
CREATE FUNCTION tradewind.close_position() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tradewind.executions SET closed = true
     WHERE installation = NEW.installation AND namespace = NEW.namespace AND endpoint = NEW.endpoint
       AND decision_id = NEW.decision_id;
    RETURN NULL;
END $$;
CREATE TRIGGER outcome_closes_position AFTER INSERT ON tradewind.outcomes
    FOR EACH ROW EXECUTE FUNCTION tradewind.close_position();

-- Presence keeps a row open for the evidence for ever; a late outcome serves labels and accounts alone.
CREATE TABLE tradewind.forced_settlements (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    experiment_uid text NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (installation, namespace, endpoint, decision_id),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE
);

CREATE TABLE tradewind.reviews (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    reviewer text NOT NULL,
    label text NOT NULL,
    agrees boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (installation, namespace, endpoint, decision_id, reviewer),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE
);
"""

CONTROL = """
CREATE SEQUENCE tradewind.epoch_sequence;
CREATE TABLE tradewind.epochs (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    experiment_uid text NOT NULL,
    block int NOT NULL CHECK (block >= 0),
    candidate_weight double precision NOT NULL CHECK (candidate_weight BETWEEN 0 AND 1),
    reason text NOT NULL,
    evidence jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    epoch bigint NOT NULL UNIQUE DEFAULT nextval('tradewind.epoch_sequence'),
    PRIMARY KEY (installation, namespace, endpoint, experiment_uid, block)
);
ALTER SEQUENCE tradewind.epoch_sequence OWNED BY tradewind.epochs.epoch;

CREATE TABLE tradewind.promotions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    version text NOT NULL,
    sha256 text,
    previous_version text,
    experiment_uid text,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (installation, namespace, endpoint, experiment_uid, version)
);
CREATE INDEX promotions_newest ON tradewind.promotions (installation, namespace, endpoint, id DESC);

CREATE TABLE tradewind.replay_clock (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    as_of timestamptz NOT NULL,
    PRIMARY KEY (installation, namespace, endpoint)
);

CREATE TABLE tradewind.gateway_replicas (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    replica text NOT NULL,
    epoch bigint,
    generation bigint,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (installation, namespace, endpoint, replica)
);
"""

VIEWS = """
CREATE VIEW tradewind.training_data AS
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
       e.filled_notional_usd AS notional_usd, o.closed_at, o.received_at AS labeled_at
  FROM tradewind.decisions d
  LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
 WHERE d.state = 'answered';

CREATE VIEW tradewind.evidence_rows AS
SELECT r.installation, r.namespace, r.endpoint, r.experiment_uid, r.decision_id, r.arm, r.candidate_weight, r.decided_at,
       r.status,
       CASE WHEN r.status = 'closed' THEN r.closed_at END AS closed_at,
       CASE WHEN r.status IN ('closed', 'open') THEN r.notional_usd END::double precision AS notional_usd,
       CASE WHEN r.status = 'closed' THEN r.pnl_usd END::double precision AS pnl_usd,
       -- On the data's clock an outcome is known when the position is flat; the wall clock says nothing there.
       CASE WHEN r.status <> 'closed' THEN NULL WHEN r.replay THEN r.closed_at ELSE r.outcome_received_at END AS received_at,
       r.block, r.epoch, r.latency_ms, r.error_kind, r.state = 'answered' AS answered, r.state, r.fallback, r.cost_cny,
       r.drawn_version, r.answered_by, r.reported_model, r.replay, r.opened_at,
       CASE WHEN r.status = 'closed' THEN extract(epoch FROM r.closed_at - r.opened_at) / 3600 END::double precision
           AS exposure_hours,
       r.forced
  FROM (
    SELECT d.*, e.opened_at, o.closed_at, o.pnl_usd, o.received_at AS outcome_received_at,
           f.decision_id IS NOT NULL AS forced,
           coalesce(e.filled_notional_usd,
                    (d.answer ->> 'size_usd')::numeric * (d.answer ->> 'leverage')::numeric) AS notional_usd,
           CASE
               WHEN f.decision_id IS NOT NULL THEN 'open'
               WHEN d.state = 'failed' THEN 'rejected'
               WHEN d.answer ->> 'action' IN ('hold', 'close') THEN 'hold'
               WHEN e.status IN ('rejected', 'not_filled') THEN e.status
               WHEN o.decision_id IS NOT NULL THEN 'closed'
               ELSE 'open'
           END AS status
      FROM tradewind.decisions d
      LEFT JOIN tradewind.executions e USING (installation, namespace, endpoint, decision_id)
      LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
      LEFT JOIN tradewind.forced_settlements f USING (installation, namespace, endpoint, decision_id)
     WHERE d.experiment_uid IS NOT NULL AND d.parent_decision_id IS NULL
       AND d.candidate_weight > 0 AND d.candidate_weight < 1 AND d.bar_from_evidence IS NULL
  ) r;
"""


def upgrade() -> None:
    """Creates everything."""
    connection = op.get_bind()
    for part in (DECISIONS, REPORTS, CONTROL, VIEWS):
        connection.exec_driver_sql(part)
