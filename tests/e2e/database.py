"""The embedded PostgreSQL of the installation, from outside of the pods: this machine must reach its ClusterIP."""

import base64
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from tradewind import migrations
from workshop.client import Cluster


@dataclass(frozen=True)
class Database:
    """Of the release `release` in `namespace`."""

    cluster: Cluster
    namespace: str
    release: str

    @property
    def password(self) -> str:
        secret = self.cluster.must_get("Secret", f"{self.release}-database-owner", self.namespace)
        return base64.b64decode(secret["data"]["password"]).decode()

    @property
    def dsn(self) -> str:
        """The owner's."""
        service = self.cluster.must_get("Service", f"{self.release}-postgres", self.namespace)
        return f"postgresql://tradewind:{self.password}@{service['spec']['clusterIP']}:5432/tradewind"

    def tenant_dsn(self, namespace: str) -> str:
        """The connection string that lies in a namespace, by the address that this machine reaches."""
        secret = self.cluster.must_get("Secret", "tradewind-database", namespace)
        service = self.cluster.must_get("Service", f"{self.release}-postgres", self.namespace)
        given = base64.b64decode(secret["data"]["dsn"]).decode()
        return make_conninfo(given, host=service["spec"]["clusterIP"])

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=10) as connection:
            return connection.execute(query, parameters).fetchall()  # type: ignore[call-overload]

    def forget(self) -> None:
        """Empty every table but that of roles: an experiment of an earlier session would be one more test of its pair."""
        tables = self.sql(
            "SELECT string_agg('tradewind.' || tablename, ', ') FROM pg_tables "
            "WHERE schemaname = 'tradewind' AND tablename NOT IN (%s, 'tenants')",
            migrations.VERSION_TABLE,
        )
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=10) as connection:
            connection.execute(f"TRUNCATE {tables[0][0]} CASCADE")  # type: ignore[call-overload]
