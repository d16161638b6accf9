"""A role for each namespace: what it sees, what it may write, and how it is made.

Belongs here: policies, grants and roles. They follow every upgrade and not one version, since a view that is replaced loses
its options, and a table that is added needs them. Does not belong here: the command line (cli/tenant.py).

A tenant's session sees and writes the rows of its namespace and no others, by row-level security on `session_user`. It may
write what a gateway writes, and only read what the operator and people write.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tradewind.migrations import SCHEMA, connect

WRITES: Final[dict[str, str]] = {
    "decisions": "INSERT UPDATE DELETE",
    "shadows": "INSERT",
    "events": "INSERT",
    "executions": "INSERT UPDATE DELETE",
    "outcomes": "INSERT UPDATE",
    "refused_reports": "INSERT UPDATE DELETE",
    "conflicting_answers": "INSERT",
    "bars": "INSERT DELETE",
    "request_prices": "DELETE",
    "reported_papers": "INSERT UPDATE",
    "replay_clock": "INSERT UPDATE",
    "gateway_replicas": "INSERT UPDATE DELETE",
    "probes": "INSERT DELETE",
}
"""What a gateway writes. Everything else with a namespace may be read."""
OWNERS: Final = frozenset({"tenants", "installations", "operator_shards", "schema_version"})
"""Tables that no tenant reads: they are of the installation."""
_UNWRITTEN: Final = "database_role"
"""Filled in by the server alone."""
_POLICY: Final = "tenant"
# Evaluated once a statement, not once a row; the keys of a statement still find its index.
_MINE: Final = """(SELECT t.unbound FROM tradewind.tenant() t)
    OR (installation, namespace) = (SELECT t.installation, t.namespace FROM tradewind.tenant() t)"""
_ROLE: Final = re.compile(r"[^\x00]{1,63}")
_LOCK: Final = 7_469_233_711_862_341_002

Connection = psycopg.Connection[tuple[object, ...]]


class TenantError(ValueError):
    """A tenant cannot be made as asked. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A role and what it is for; no installation and no namespace: a role of before, which its grants alone hold."""

    role: str
    installation: str | None
    namespace: str | None


def role_name(installation: str, namespace: str) -> str:
    """Name of the role of a namespace; of the server's whole, hence with a hash of both. The chart computes the same."""
    digest = hashlib.sha256(f"{installation}/{namespace}".encode()).hexdigest()[:12]
    return f"tradewind-{namespace[:40]}-{digest}"


def secure(connection: Connection) -> None:
    """Row-level security on every table with a namespace, views that show their reader's rows, and the tenants' grants.

    Changes only what is missing. Without the table of tenants (a schema of before) it does nothing.
    """
    if not _one(connection, "SELECT to_regclass('tradewind.tenants')"):
        return
    for (table,) in connection.execute(
        """SELECT c.relname FROM pg_class c
            WHERE c.relnamespace = 'tradewind'::regnamespace AND c.relkind = 'r' AND NOT (c.relname = ANY(%s))
              AND (NOT c.relrowsecurity OR NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid))""",
        [list(OWNERS)],
    ).fetchall():
        name = sql.Identifier(SCHEMA, str(table))
        connection.execute(sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(name))
        policy = sql.SQL("CREATE POLICY {} ON {} USING ({})")
        connection.execute(policy.format(sql.Identifier(_POLICY), name, sql.SQL(_MINE)))
    for (view,) in connection.execute(
        """SELECT relname FROM pg_class WHERE relnamespace = 'tradewind'::regnamespace AND relkind = 'v'
              AND NOT coalesce(reloptions, '{}') @> '{security_invoker=true}'"""
    ).fetchall():
        name = sql.Identifier(SCHEMA, str(view))
        connection.execute(sql.SQL("ALTER VIEW {} SET (security_invoker = true)").format(name))
    for tenant in listed(connection):
        if tenant.namespace is not None:
            grant(connection, tenant.role)


def grant(connection: Connection, role: str) -> None:
    """Exactly the rights of a tenant on the schema; what the role had of it beside them goes."""
    who, schema = sql.Identifier(role), sql.Identifier(SCHEMA)
    relations = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'tradewind'::regnamespace AND relkind IN ('r', 'v')"
    ).fetchall()
    connection.execute(sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA {} FROM {}").format(schema, who))
    connection.execute(sql.SQL("REVOKE ALL ON ALL SEQUENCES IN SCHEMA {} FROM {}").format(schema, who))
    connection.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM {}").format(schema, who))
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, who))
    for (relation,) in relations:
        if relation not in OWNERS:
            _grant_on(connection, str(relation), who)


def _grant_on(connection: Connection, relation: str, who: sql.Identifier) -> None:
    columns = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attname <> %s",
        [f"{SCHEMA}.{relation}", _UNWRITTEN],
    ).fetchall()
    listed_columns = sql.SQL(", ").join(sql.Identifier(str(column)) for (column,) in columns)
    for verb in ("SELECT", *WRITES.get(relation, "").split()):
        # Rights to write are by column, so that who wrote a row is the server's word.
        of = sql.SQL("") if verb in ("SELECT", "DELETE") else sql.SQL(" ({})").format(listed_columns)
        statement = sql.SQL("GRANT {}{} ON {} TO {}")
        connection.execute(statement.format(sql.SQL(verb), of, sql.Identifier(SCHEMA, relation), who))


def listed(connection: Connection) -> tuple[Tenant, ...]:
    """Every tenant, by installation, namespace and role."""
    query = "SELECT role, installation, namespace FROM tradewind.tenants ORDER BY installation, namespace, role"
    return tuple(Tenant(*row) for row in connection.execute(query).fetchall())  # type: ignore[arg-type]


def add(dsn: str, installation: str, namespace: str, *, role: str | None = None, password: str | None = None) -> Tenant:
    """Makes a namespace's role where there is none, binds it and grants it what a gateway needs; again: nothing changes.

    Args:
        dsn: of the owner of the schema.
        role: one that is there, or a name of your own.
        password: None: the role keeps the one that it has.

    Raises:
        TenantError: the role has more rights than a tenant may have, is another namespace's, or cannot be made.
        InvalidDsnError, UnreachableDatabaseError: see `migrations.connect`.
    """
    name = role or role_name(installation, namespace)
    if not _ROLE.fullmatch(name):
        raise TenantError(f"role {name!r}: a name has 1 to 63 characters")
    with connect(dsn) as connection:
        _begin(connection)
        bound = connection.execute(
            "SELECT installation, namespace FROM tradewind.tenants WHERE role = %s AND namespace IS NOT NULL", [name]
        ).fetchone()
        if bound is not None and bound != (installation, namespace):
            raise TenantError(
                f"role {name!r} is of namespace {bound[1]} of installation {bound[0]}: take another, or "
                f"`tradewind tenant remove {bound[1]} --installation {bound[0]}` first"
            )
        _make(connection, name, password)
        _refuse_powers(connection, name)
        connection.execute(
            """INSERT INTO tradewind.tenants (role, installation, namespace) VALUES (%s, %s, %s)
               ON CONFLICT (role) DO UPDATE SET installation = excluded.installation, namespace = excluded.namespace""",
            [name, installation, namespace],
        )
        database = str(_one(connection, "SELECT current_database()"))
        connect_to = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
        if _one(connection, "SELECT NOT has_database_privilege(%s, current_database(), 'CONNECT')", [name]):
            connection.execute(connect_to.format(sql.Identifier(database), sql.Identifier(name)))
        grant(connection, name)
    return Tenant(name, installation, namespace)


def remove(dsn: str, installation: str, namespace: str) -> tuple[Tenant, ...]:
    """Takes every right from a namespace's roles, ends their sessions, and drops those that own nothing; which they were.

    Raises:
        InvalidDsnError, UnreachableDatabaseError: see `migrations.connect`.
    """
    with connect(dsn) as connection:
        _begin(connection)
        found = tuple(t for t in listed(connection) if (t.installation, t.namespace) == (installation, namespace))
        for tenant in found:
            take_away(connection, tenant.role)
    return found


def take_away(connection: Connection, role: str) -> None:
    """The role loses the schema; it is dropped where that is ours to do."""
    who = sql.Identifier(role)
    if _one(connection, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", [role]):
        for what in ("ALL TABLES IN SCHEMA", "ALL SEQUENCES IN SCHEMA", "SCHEMA"):
            statement = sql.SQL("REVOKE ALL ON {} {} FROM {}")
            connection.execute(statement.format(sql.SQL(what), sql.Identifier(SCHEMA), who))
    connection.execute("DELETE FROM tradewind.tenants WHERE role = %s", [role])
    try:
        with connection.transaction():
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role])
            database = str(_one(connection, "SELECT current_database()"))
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(sql.Identifier(database), who))
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(who))
    except psycopg.Error:
        return  # somebody else's role, or one with rights elsewhere: it has none here any more


def ensure_from_folder(dsn: str, installation: str, folder: Path) -> tuple[Tenant, ...]:
    """A tenant for each file of a folder, as a Secret is mounted: its name is the namespace, its text the password.

    Raises:
        TenantError: see `add`.
        OSError: the folder or a file cannot be read.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return tuple(add(dsn, installation, path.name, password=path.read_text().strip()) for path in files)


def forget_cluster(dsn: str, installation: str) -> bool:
    """Takes an installation from its cluster, which is gone, so that another one may have it; False: it has none.

    Raises:
        TenantError: an operator holds it at this moment.
        InvalidDsnError, UnreachableDatabaseError: see `migrations.connect`.
    """
    with connect(dsn) as connection:
        _begin(connection)
        holder = _one(
            connection,
            "SELECT holder FROM tradewind.installations WHERE installation = %s AND held_until > clock_timestamp()",
            [installation],
        )
        if holder is not None:
            raise TenantError(f"operator {holder} holds installation {installation}: its cluster is not gone")
        gone = connection.execute("DELETE FROM tradewind.installations WHERE installation = %s", [installation])
        return gone.rowcount == 1


def new_password() -> str:
    """32 random characters that need no quoting in a URI."""
    return secrets.token_hex(16)


def tenant_dsn(dsn: str, role: str, password: str) -> str:
    """The owner's connection string with another role: the same servers, database and TLS."""
    parts = {key: value for key, value in conninfo_to_dict(dsn).items() if key not in ("user", "password", "passfile")}
    return make_conninfo("", **parts, user=role, password=password)


def _begin(connection: Connection) -> None:
    """One at a time, and only where the schema is as this version has it."""
    if not _one(connection, "SELECT to_regclass('tradewind.tenants')"):
        raise TenantError("the database lacks this version's schema: run `tradewind migrate` first")
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    if not _one(
        connection,
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'tradewind.tenants'::regclass",
    ):
        raise TenantError("only the owner of the schema may: use the connection string of `tradewind migrate`")


def _make(connection: Connection, role: str, password: str | None) -> None:
    """The role, and its password: as a verifier, so that no log of the server's has it."""
    who = sql.Identifier(role)
    there = _one(connection, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", [role])
    verb = "ALTER" if there else "CREATE"
    verifier: sql.Composable = sql.SQL("")
    if password is not None:
        made = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
        verifier = sql.SQL("PASSWORD {}").format(sql.Literal(made.decode()))
    if there and password is None:
        return
    try:
        with connection.transaction():
            connection.execute(sql.SQL("{} ROLE {} LOGIN {}").format(sql.SQL(verb), who, verifier))
    except psycopg.errors.InsufficientPrivilege:
        what = "change the password of" if there else "make"
        raise TenantError(
            f"this role may not {what} role {role!r}: let an administrator do it "
            f"(CREATE ROLE \"{role}\" LOGIN PASSWORD '...'), then name it by --role without a password"
        ) from None


def _refuse_powers(connection: Connection, role: str) -> None:
    """A tenant with such rights would be none."""
    row = connection.execute(
        """SELECT rolsuper, rolbypassrls, rolcreaterole, rolreplication,
                  EXISTS (SELECT FROM pg_roles g WHERE g.oid <> r.oid AND pg_has_role(r.oid, g.oid, 'MEMBER')
                             AND (g.rolname ~ '^pg_' AND g.rolname <> 'pg_database_owner' OR g.rolsuper OR g.rolbypassrls)),
                  pg_has_role(r.oid, (SELECT relowner FROM pg_class WHERE oid = 'tradewind.tenants'::regclass), 'MEMBER'),
                  r.oid = (SELECT datdba FROM pg_database WHERE datname = current_database())
             FROM pg_roles r WHERE rolname = %s""",
        [role],
    ).fetchone()
    assert row is not None
    what = ("SUPERUSER", "BYPASSRLS", "CREATEROLE", "REPLICATION", "a role of the server's own",
            "the owner of the schema", "the owner of the database")  # fmt: skip
    powers = [name for name, has in zip(what, row, strict=True) if has]
    if powers:
        raise TenantError(f"role {role!r} is or has {', '.join(powers)}: a tenant may not; take another role")


def _one(connection: Connection, query: str, parameters: list[object] | None = None) -> object:
    row = connection.execute(query, parameters).fetchone()
    return None if row is None else row[0]
