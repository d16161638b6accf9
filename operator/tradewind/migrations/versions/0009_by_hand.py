"""A promotion by hand is a record like any other: which request led to it, who asked and why. A request counts once."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BY_HAND = """
ALTER TABLE tradewind.promotions
    ADD COLUMN request text, ADD COLUMN requested_by text, ADD COLUMN message text;
CREATE UNIQUE INDEX promotions_once_a_request ON tradewind.promotions (installation, namespace, endpoint, request)
 WHERE request IS NOT NULL;
"""


def upgrade() -> None:
    """Adds the columns and the key."""
    op.get_bind().exec_driver_sql(BY_HAND)
