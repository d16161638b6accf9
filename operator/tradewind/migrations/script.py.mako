"""${message}"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expands the schema; the version before must run on it."""
    op.get_bind().exec_driver_sql("")
