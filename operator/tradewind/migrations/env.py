"""alembic's entry point. Offline (SQL script) mode is not offered: versions are raw SQL files already."""

from alembic import context

from tradewind.migrations import SCHEMA, VERSION_TABLE

_LOCK = 7_469_233_711_862_341_001  # one migration at a time; the number is arbitrary and ours

connection = context.config.attributes["connection"]
if connection is None:
    raise RuntimeError("run migrations with `tradewind migrate`")
connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
context.configure(connection=connection, version_table=VERSION_TABLE, version_table_schema=SCHEMA)
with context.begin_transaction():
    context.run_migrations()
