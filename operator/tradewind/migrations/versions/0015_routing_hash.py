"""Which routing document each gateway obeys, by its hash and not by its number alone."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Of the document obeyed: when it was published, and the SHA-256 of its text in hex; NULL: of an older gateway.
REPLICAS = """
ALTER TABLE tradewind.gateway_replicas ADD COLUMN published_at timestamptz, ADD COLUMN routing_sha256 text
"""


def upgrade() -> None:
    """Adds the columns."""
    op.get_bind().exec_driver_sql(REPLICAS)
