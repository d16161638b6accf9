"""Several operators of one installation: the lease of each, beside the one that they have in common."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

SHARDS = """
CREATE TABLE tradewind.operator_shards (
    installation text NOT NULL REFERENCES tradewind.installations ON DELETE CASCADE,
    shard int NOT NULL CHECK (shard >= 0),
    holder text NOT NULL,
    held_until timestamptz NOT NULL,
    PRIMARY KEY (installation, shard)
);
REVOKE ALL ON tradewind.operator_shards FROM PUBLIC;
"""

# An operator that is not the owner may claim its shard, as it may register itself since 0018.
REGISTERED = """
DO $$
DECLARE
    found name;
BEGIN
    FOR found IN SELECT r.rolname FROM pg_roles r JOIN tradewind.tenants t ON t.role = r.rolname AND t.namespace IS NULL
                  WHERE has_table_privilege(r.oid, 'tradewind.installations', 'INSERT') LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON tradewind.operator_shards TO %%I', found);
    END LOOP;
END $$;
"""


def upgrade() -> None:
    """Adds a table that a single operator neither reads nor writes."""
    for part in (SHARDS, REGISTERED):
        op.get_bind().exec_driver_sql(part)
