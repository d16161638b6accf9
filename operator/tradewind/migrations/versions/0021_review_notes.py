"""What a reviewer adds in words, and who wrote it by the server's word."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE tradewind.reviews
    ADD COLUMN note text NOT NULL DEFAULT '' CHECK (length(note) <= 4000),
    ADD COLUMN database_role text NOT NULL DEFAULT session_user;
"""


def upgrade() -> None:
    """Adds the columns."""
    op.get_bind().exec_driver_sql(COLUMNS)
