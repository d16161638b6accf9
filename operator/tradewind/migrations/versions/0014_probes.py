"""What gateways know of the arms, and what it cost to find out."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# `arms`: a list of tradewind.trading.arm_health.ArmHealth; NULL: of an older gateway.
REPLICAS = "ALTER TABLE tradewind.gateway_replicas ADD COLUMN arms jsonb"

# Questions that no decision asked. They are no evidence; they are paid for.
PROBES = """
CREATE TABLE tradewind.probes (
    installation text NOT NULL,
    namespace text NOT NULL,
    endpoint text NOT NULL,
    version text NOT NULL,
    replica text NOT NULL,
    asked_at timestamptz NOT NULL,
    latency_ms double precision NOT NULL,
    error_kind text,
    error_cause text,
    error_detail text,
    cost_cny numeric CHECK (cost_cny >= 0),
    calls jsonb,
    PRIMARY KEY (installation, namespace, endpoint, asked_at, version, replica)
)
"""


def upgrade() -> None:
    """Adds the column and the table."""
    connection = op.get_bind()
    for part in (REPLICAS, PROBES):
        connection.exec_driver_sql(part)
