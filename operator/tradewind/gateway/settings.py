"""Settings of one gateway replica, from the environment. Documented one by one in docs/gateway.md.

Belongs here: names, defaults, bounds and the errors for bad values. Does not belong here: what the operator publishes at
run time (trading/routing.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from psycopg import ProgrammingError, conninfo


class SettingsError(ValueError):
    """A setting is missing or wrong. The message names the variable and the remedy, never a secret."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One replica. Times in seconds, sizes in bytes."""

    dsn: str
    routing: str
    installation: str
    namespace: str
    endpoint: str
    replica: str
    auth_token_file: Path | None
    spool_dir: Path
    spool_max_bytes: int = 64 * 1024 * 1024
    host: str = "0.0.0.0"  # noqa: S104 - the pod's own network namespace
    port: int = 8080
    pool_size: int = 16
    database_timeout: float = 1.0
    decision_timeout: float = 20.0
    breaker_failures: int = 5
    breaker_open_seconds: float = 10.0
    abandoned_after: float = 600.0
    retention: float | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads every `TRADEWIND_*` variable.

        Raises:
            SettingsError: one is missing or wrong.
        """

        def required(name: str, remedy: str) -> str:
            value = environment.get(name, "")
            if not value:
                raise SettingsError(f"{name} is not set; {remedy}")
            return value

        def number(name: str, default: float, low: float, high: float) -> float:
            text = environment.get(name, "")
            try:
                value = float(text) if text else default
            except ValueError:
                value = float("nan")
            if not low <= value <= high:
                raise SettingsError(f"{name} is {text!r}; give a number from {low:g} to {high:g}")
            return value

        dsn = required("TRADEWIND_DSN", "take it from the Secret that spec.database names")
        try:
            conninfo.conninfo_to_dict(dsn)
        except ProgrammingError:
            raise SettingsError(
                "TRADEWIND_DSN is neither a URI (postgresql://user:password@host:5432/database) nor libpq key=value pairs"
            ) from None
        routing = required("TRADEWIND_ROUTING", "give configmap:<namespace>/<name> or file:<path>")
        scheme, _, place = routing.partition(":")
        if scheme not in ("configmap", "file") or not place or (scheme == "configmap" and place.count("/") != 1):
            raise SettingsError(f"TRADEWIND_ROUTING is {routing!r}; give configmap:<namespace>/<name> or file:<path>")
        token_file = environment.get("TRADEWIND_AUTH_TOKEN_FILE", "")
        if not token_file and environment.get("TRADEWIND_AUTH", "") != "disabled":
            raise SettingsError(
                "TRADEWIND_AUTH_TOKEN_FILE is not set; mount a token (gateway.auth.secretRef), or open the gateway to "
                "everybody who reaches it by TRADEWIND_AUTH=disabled"
            )
        return cls(
            dsn=dsn,
            routing=routing,
            installation=environment.get("TRADEWIND_INSTALLATION", "") or "tradewind",
            namespace=required("TRADEWIND_NAMESPACE", "give the namespace of the Endpoint"),
            endpoint=required("TRADEWIND_ENDPOINT", "give the name of the Endpoint"),
            replica=environment.get("TRADEWIND_REPLICA", "") or environment.get("HOSTNAME", "") or "gateway",
            auth_token_file=Path(token_file) if token_file else None,
            spool_dir=Path(environment.get("TRADEWIND_SPOOL_DIR", "") or "/var/spool/tradewind"),
            spool_max_bytes=int(number("TRADEWIND_SPOOL_MAX_BYTES", 64 * 1024 * 1024, 0, 2**40)),
            host=environment.get("TRADEWIND_HOST", "") or "0.0.0.0",  # noqa: S104 - see above
            port=int(number("TRADEWIND_PORT", 8080, 0, 65535)),
            pool_size=int(number("TRADEWIND_POOL_SIZE", 16, 1, 500)),
            database_timeout=number("TRADEWIND_DATABASE_TIMEOUT_SECONDS", 1.0, 0.05, 30),
            decision_timeout=number("TRADEWIND_DECISION_TIMEOUT_SECONDS", 20.0, 0.1, 600),
            breaker_failures=int(number("TRADEWIND_BREAKER_FAILURES", 5, 1, 10_000)),
            breaker_open_seconds=number("TRADEWIND_BREAKER_OPEN_SECONDS", 10.0, 0.01, 3600),
            abandoned_after=number("TRADEWIND_ABANDONED_AFTER_SECONDS", 600.0, 1, 86_400),
            retention=number("TRADEWIND_RETENTION_SECONDS", 0, 0, 1e10) or None,
        )
