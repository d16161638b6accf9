"""The arm that was not drawn: what it was asked beside the drawn one, and what came of it."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SHADOWS = """
-- One row for each decision that was drawn for an experiment with shadows, written when the shadow has ended; a decision
-- without one was cut off. `absent`: the arm did not get its chance (late, shed, not asked, cut off), which says nothing of
-- what it would have decided.
CREATE TABLE tradewind.shadows (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    arm text NOT NULL CHECK (arm IN ('baseline', 'candidate')),
    version text NOT NULL,
    sha256 text,
    state text NOT NULL CHECK (state IN ('answered', 'failed', 'absent')),
    answer jsonb,
    probabilities jsonb,
    latency_ms double precision,
    error_kind text,
    error_detail text,
    cost_cny numeric,
    reported_model text,
    shown jsonb,
    asked_at timestamptz NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (installation, namespace, endpoint, decision_id),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE,
    CHECK ((answer IS NOT NULL) = (state = 'answered'))
);
-- An arm's history: what it said, drawn or not.
CREATE INDEX shadows_version ON tradewind.shadows (installation, namespace, endpoint, version, asked_at DESC);

-- What both answers, and the market, would have earned by one rule (arm market: over a fixed horizon, without stops).
CREATE TABLE tradewind.papers (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    decision_id text NOT NULL,
    arm text NOT NULL CHECK (arm IN ('baseline', 'candidate', 'market')),
    ret double precision NOT NULL,
    exit_reason text NOT NULL,
    exit_at timestamptz NOT NULL,
    known_at timestamptz NOT NULL,
    source text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (installation, namespace, endpoint, decision_id, arm),
    FOREIGN KEY (installation, namespace, endpoint, decision_id) REFERENCES tradewind.decisions ON DELETE CASCADE
);
"""


def upgrade() -> None:
    """Adds the table of shadows."""
    op.get_bind().exec_driver_sql(SHADOWS)
