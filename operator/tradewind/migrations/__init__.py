"""The database schema and its history, run by alembic from inside the installed package (no ini file, nothing written).

Belongs here: raw SQL of every version and the two questions about it (upgrade, where are we). Does not belong here: the
command line (cli/migrate.py) and the queries of the parts that read and write the tables.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import conninfo

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

SCHEMA: Final = "tradewind"
VERSION_TABLE: Final = "schema_version"
CONNECT_TIMEOUT_SECONDS: Final = 10
LOCK_ATTEMPT_MS: Final = 500
"""So long statements of others wait behind a migration that waits for its tables; then it tries again a second later."""
LOCK_PATIENCE_SECONDS: Final = 240.0
"""A look at the evidence, or a snapshot, may hold a table for two minutes. The chart gives a migration ten."""


class InvalidDsnError(ValueError):
    """The DSN cannot be read. The text of the DSN is left out: it may hold a password."""


class UnreachableDatabaseError(ConnectionError):
    """Nothing answered, or it refused us. The message names host, port and database, never the password."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a DSN leads, fit to be shown."""

    host: str
    port: str
    database: str
    user: str

    def __str__(self) -> str:
        return f"host {self.host}, port {self.port}, database {self.database!r}, user {self.user!r}"


def describe(dsn: str) -> Target:
    """Host, port, database and user of a libpq DSN or URI, without the password.

    Raises:
        InvalidDsnError: the text is neither form.
    """
    try:
        parts = conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise InvalidDsnError(
            "the DSN is neither a URI (postgresql://user:password@host:5432/database) nor libpq key=value pairs; "
            "percent-encode special characters of the password in a URI"
        ) from None
    host = str(parts.get("host") or parts.get("hostaddr") or "local socket")
    user = str(parts.get("user") or "default")
    return Target(host, str(parts.get("port") or 5432), str(parts.get("dbname") or user), user)


def connect(dsn: str) -> "psycopg.Connection[tuple[object, ...]]":
    """A connection to the database.

    Raises:
        InvalidDsnError: see `describe`.
        UnreachableDatabaseError: no connection within 10 s, or it was refused.
    """
    target = describe(dsn)
    try:
        return psycopg.connect(dsn, connect_timeout=CONNECT_TIMEOUT_SECONDS)
    except psycopg.OperationalError as error:
        raise UnreachableDatabaseError(f"cannot connect to PostgreSQL at {target}: {reason(error)}") from None


def head() -> str:
    """The newest version that this package knows."""
    from alembic.script import ScriptDirectory

    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def current(dsn: str) -> str | None:
    """The version of the database's schema, None where there is none.

    Raises:
        InvalidDsnError, UnreachableDatabaseError: see `connect`.
    """
    with connect(dsn) as connection:
        table = connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.{VERSION_TABLE}",)).fetchone()
        if table is None or table[0] is None:
            return None
        row = connection.execute(f"SELECT version_num FROM {SCHEMA}.{VERSION_TABLE}").fetchone()
    return None if row is None else str(row[0])


def upgrade(dsn: str, revision: str = "head") -> None:
    """Brings the schema to a revision in one transaction, and its policies and grants to this version's; nothing that is there
    is changed. Concurrent calls wait in line.

    Raises:
        InvalidDsnError, UnreachableDatabaseError: see `connect`.
        psycopg.Error, sqlalchemy.exc.DBAPIError: the database refused a statement; nothing was changed.
    """
    from alembic import command
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    from tradewind.migrations.tenants import secure

    before = current(dsn)
    engine = create_engine("postgresql+psycopg://", creator=lambda: connect(dsn), poolclass=NullPool)
    with engine.begin() as connection:
        command.upgrade(_config(connection), revision)
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        secure(driver)
    if before is not None and current(dsn) != before:
        _end_idle_sessions(dsn)


def _end_idle_sessions(dsn: str) -> None:
    """Gateways of before 0019 take what they have prepared, and the server refuses after a change, for an outage; they connect anew.

    Those of roles that this one may not end stay: gateways since then prepare anew by themselves.
    """
    idle = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND usename = session_user AND pid <> pg_backend_pid()
                 AND application_name LIKE 'tradewind-gateway %' AND state = 'idle'"""
    with connect(dsn) as connection:
        connection.execute(idle)


def _config(connection: "Connection | None" = None) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


_TLS_FAULTS = {
    "root certificate file": "there is no CA to verify the server by; set database.tls to the CA of this server, or change "
    "sslmode in the DSN",
    "certificate verify failed": "the server's certificate is not signed by the CA in database.tls; put the CA of this "
    "server there",
    "does not match host name": "the server's certificate is for another host name; name that host in the DSN",
    "server does not support ssl": "the server has TLS switched off; switch it on there, or leave out database.tls",
}
"""What is wrong with the certificates, by libpq's words for it, and what to do."""


def tls_fault(error: psycopg.OperationalError) -> str | None:
    """What is wrong with the certificates, and what to do; None: something else is."""
    text = str(error).lower()
    return next((remedy for sign, remedy in _TLS_FAULTS.items() if sign in text), None)


def reason(error: psycopg.OperationalError) -> str:
    """Why there is no connection, and what to do; never the text itself, which may hold what the DSN holds."""
    text = str(error).lower()
    known = {
        **_TLS_FAULTS,
        "password authentication failed": "the password was refused; check the Secret that holds the DSN",
        "no password supplied": "the server asks for a password; add it to the DSN",
        "does not exist": "the database or role does not exist; create it",
        "connection refused": "nothing listens there; check host and port, and that the server is running",
        "could not translate host name": "the host name does not resolve; check it",
        "failed to resolve host": "the host name does not resolve; check it",
        "timeout": "no answer in time; check host, port, network policies and the server's allow-list",
        "no pg_hba.conf entry": "the server's pg_hba.conf (or allow-list) does not admit this client",
        "no such file": "no server listens on that socket; check host, and that the server is running",
        "ssl": "the TLS handshake failed; check sslmode and the certificates",
    }
    return next((remedy for sign, remedy in known.items() if sign in text), "the server closed or refused it")
