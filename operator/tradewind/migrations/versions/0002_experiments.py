"""Experiments as they were started and how they ended: what outlives the object in the cluster."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

EXPERIMENTS = """
-- Counts the tests of a pair and the alpha spent on an endpoint, also after the objects were deleted.
CREATE TABLE tradewind.experiments (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    experiment_uid text NOT NULL,
    name text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('Live', 'Replay')),
    baseline text NOT NULL,
    baseline_sha256 text,
    candidate text NOT NULL,
    candidate_sha256 text,
    t0 timestamptz NOT NULL,
    alpha double precision NOT NULL CHECK (alpha > 0 AND alpha < 1),
    spec jsonb NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    decision text CHECK (decision IN ('promote', 'rollback', 'inconclusive', 'abort')),
    decision_reason text,
    decision_message text,
    decided_at timestamptz,
    evidence jsonb,
    PRIMARY KEY (installation, namespace, endpoint, experiment_uid),
    CHECK ((decision IS NULL) = (decided_at IS NULL))
);
CREATE INDEX experiments_pair ON tradewind.experiments (installation, namespace, endpoint, candidate, baseline);
"""


def upgrade() -> None:
    """Creates the table."""
    op.get_bind().exec_driver_sql(EXPERIMENTS)
