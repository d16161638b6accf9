"""Tenants: which role is for which namespace, whose each installation is, and who wrote a row."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

LEAST = """
DO $$ BEGIN
    IF current_setting('server_version_num')::int < 150000 THEN
        RAISE EXCEPTION 'PostgreSQL %% is too old: views that show each role its own rows need 15 or newer; upgrade the server',
            current_setting('server_version');
    END IF;
END $$;
"""

TENANTS = """
-- Who logs in as `role` sees and writes the rows of one namespace (migrations/tenants.py). Without installation and namespace:
-- a role of before this table, held by nothing but its grants. The owner of the schema is not in it.
CREATE TABLE tradewind.tenants (
    role name PRIMARY KEY,
    installation text,
    namespace text,
    added_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((installation IS NULL) = (namespace IS NULL))
);
REVOKE ALL ON tradewind.tenants FROM PUBLIC;

-- By session_user: a session cannot change who logged in, whatever it sets. As the owner: nobody else reads the table.
CREATE FUNCTION tradewind.tenant(OUT installation text, OUT namespace text, OUT unbound boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT t.installation, t.namespace, t.namespace IS NULL INTO installation, namespace, unbound
      FROM tradewind.tenants t WHERE t.role = session_user;
END $$;

-- What may write the log of changes away is called with a key: a tenant's is its own.
CREATE OR REPLACE FUNCTION tradewind.forget_changes(p_installation text, p_namespace text, p_endpoint text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM tradewind.changes
     WHERE ctid = ANY(ARRAY(
        SELECT o.place
          FROM (SELECT ctid AS place, at FROM tradewind.changes
                 WHERE installation = p_installation AND namespace = p_namespace AND endpoint = p_endpoint
                   AND (SELECT coalesce(t.installation = p_installation AND t.namespace = p_namespace, true)
                          FROM tradewind.tenant() t)
                       -- The oldest alone says whether there is anything to do: else each call would read them all.
                   AND (SELECT f.at FROM tradewind.changes f
                         WHERE f.installation = p_installation AND f.namespace = p_namespace AND f.endpoint = p_endpoint
                         ORDER BY f.xid LIMIT 1) < now() - interval '2 days'
                 ORDER BY xid LIMIT 50000) o
         WHERE o.at < now() - interval '2 days'));
$$;
"""

# An operator registers itself before it decides anything (shell/claims.py).
INSTALLATIONS = """
CREATE TABLE tradewind.installations (
    installation text PRIMARY KEY,
    cluster_uid text NOT NULL,
    holder text NOT NULL,
    held_until timestamptz NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

# Whoever had rights on the schema keeps them, as a line that can be seen and taken away. An operator that is not the owner
# may register itself.
BEFORE = """
INSERT INTO tradewind.tenants (role)
SELECT r.rolname FROM pg_roles r
 WHERE NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname !~ '^pg_' AND NOT pg_has_role(r.oid, current_user, 'USAGE')
   AND EXISTS (SELECT FROM pg_class c
                WHERE c.relnamespace = 'tradewind'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname <> 'schema_version'
                  AND (has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
                       OR has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE')));
DO $$
DECLARE
    found name;
BEGIN
    FOR found IN SELECT role FROM tradewind.tenants WHERE has_table_privilege(role, 'tradewind.promotions', 'INSERT') LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON tradewind.installations TO %%I', found);
    END LOOP;
END $$;
"""

# NULL: written before. `database_role` is who logged in, and a tenant cannot write it; `replica` is what a gateway calls itself.
PROVENANCE = """
ALTER TABLE tradewind.{table} ADD COLUMN database_role name, ADD COLUMN replica text;
ALTER TABLE tradewind.{table}
    ALTER COLUMN database_role SET DEFAULT session_user,
    ALTER COLUMN replica SET DEFAULT substring(current_setting('application_name') FROM '^tradewind-gateway (.+)$');
"""


def upgrade() -> None:
    """Adds the tables and columns; policies and grants follow each upgrade (migrations/tenants.py)."""
    connection = op.get_bind()
    provenance = [PROVENANCE.format(table=table) for table in ("decisions", "events")]
    for part in (LEAST, TENANTS, INSTALLATIONS, BEFORE, *provenance):
        connection.exec_driver_sql(part)
