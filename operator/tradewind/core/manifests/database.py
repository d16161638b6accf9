"""How a pod reaches the database: the connection string from its Secret, and the CA that its server must be signed by.

libpq reads both of PGSSLROOTCERT and PGSSLMODE where the connection string says nothing of them, so one mount serves every
program; `sslmode` in the connection string wins.
"""

from dataclasses import dataclass

from tradewind.api.database import DatabaseRef
from tradewind.core.decision import Manifest
from tradewind.core.manifests.common import secret_env

CA_PATH = "/var/run/secrets/tradewind/database-ca"


@dataclass(frozen=True, slots=True)
class DatabaseAccess:
    """What a pod that talks to the database has."""

    env: list[Manifest]
    volumes: list[Manifest]
    mounts: list[Manifest]


def database_access(database: DatabaseRef) -> DatabaseAccess:
    """Environment, volumes and mounts of a container."""
    env: list[Manifest] = [secret_env("TRADEWIND_DSN", database.secret_ref)]
    tls = database.tls
    if tls is None:
        return DatabaseAccess(env, [], [])
    if tls.ca_secret_ref is not None:
        key, source = tls.ca_secret_ref.key, {"secret": {"secretName": tls.ca_secret_ref.name, "defaultMode": 0o440}}
    else:
        assert tls.ca_config_map_ref is not None
        key, source = tls.ca_config_map_ref.key, {"configMap": {"name": tls.ca_config_map_ref.name}}
    env += [
        {"name": "PGSSLMODE", "value": "verify-full"},
        {"name": "PGSSLROOTCERT", "value": f"{CA_PATH}/{key}"},
    ]
    mount = {"name": "database-ca", "mountPath": CA_PATH, "readOnly": True}
    return DatabaseAccess(env, [{"name": "database-ca", **source}], [mount])
