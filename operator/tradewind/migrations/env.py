"""alembic's entry point. Offline (SQL script) mode is not offered: versions are raw SQL files already."""

import time

import psycopg
from alembic import context
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from tradewind.migrations import LOCK_ATTEMPT_MS, LOCK_PATIENCE_SECONDS, SCHEMA, VERSION_TABLE

_LOCK = 7_469_233_711_862_341_001  # one migration at a time; the number is arbitrary and ours
_PAUSE_SECONDS = 1.0


def _take_tables(connection: Connection) -> None:
    """Every table at once, before any is changed, and nobody waits long behind us.

    Taken one by one, as the versions come to them, they deadlock with gateways, which write several in one transaction: the server
    would then break off a decision, or the migration. An attempt ends before the server looks for deadlocks (after 1 s).
    """
    tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = %s ORDER BY tablename"
    names = [str(row[0]) for row in connection.exec_driver_sql(tables.replace("%I", "%%I"), (SCHEMA,))]
    if not names:
        return
    until = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_ATTEMPT_MS}ms'")
                connection.exec_driver_sql(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable) or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


connection = context.config.attributes["connection"]
if connection is None:
    raise RuntimeError("run migrations with `tradewind migrate`")
connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
context.configure(connection=connection, version_table=VERSION_TABLE, version_table_schema=SCHEMA)
if context.get_context().get_current_revision() != ScriptDirectory.from_config(context.config).get_current_head():
    _take_tables(connection)
with context.begin_transaction():
    context.run_migrations()
