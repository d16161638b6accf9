"""Where an Endpoint's decisions are stored, and by which CA that server is known.

Belongs here: how pods find and verify the database. Does not belong here: what is stored there.
"""

from typing import ClassVar

from tradewind.api.common import SecretKeyRef
from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import ConfigMapKey, ConfigMapName


class ConfigMapKeyRef(StrictModel):
    """One key of a ConfigMap in the same namespace."""

    name: ConfigMapName
    """Name of the ConfigMap."""
    key: ConfigMapKey
    """Key inside the ConfigMap."""


class DatabaseTLS(StrictModel):
    """By which CA the database's server must be signed, for its own host name (`sslmode=verify-full`)."""

    ca_secret_ref: SecretKeyRef | None = None
    """Secret key with the CA's certificates in PEM."""
    ca_config_map_ref: ConfigMapKeyRef | None = None
    """ConfigMap key with the CA's certificates in PEM."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.caSecretRef) != has(self.caConfigMapRef)",
            lambda s: (s.ca_secret_ref is None) != (s.ca_config_map_ref is None),
            "exactly one of database.tls.caSecretRef and database.tls.caConfigMapRef",
        ),
    )


class DatabaseRef(StrictModel):
    """Where decisions are stored."""

    secret_ref: SecretKeyRef = SecretKeyRef(name="tradewind-database", key="dsn")
    """Secret key with the PostgreSQL connection string (postgresql://user:password@host/database)."""
    tls: DatabaseTLS | None = None
    """CA of the server, for gateways and snapshots; an `sslmode` in the connection string wins over verify-full."""
