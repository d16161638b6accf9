"""Which version was promoted or compared, by the hash of all that its answers depend on."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# NULL: recorded before; an external API, which has no artifact, had no hash at all.
SPEC_HASHES = """
ALTER TABLE tradewind.promotions ADD COLUMN spec_sha256 text;
ALTER TABLE tradewind.experiments ADD COLUMN baseline_spec_sha256 text, ADD COLUMN candidate_spec_sha256 text;
"""


def upgrade() -> None:
    """Adds the columns."""
    op.get_bind().exec_driver_sql(SPEC_HASHES)
