"""Settings of one gateway replica, from the environment. One table, VARIABLES: the process reads by it, and docs/gateway.md shows it.

Belongs here: names, defaults, bounds and the errors for bad values. Does not belong here: what the operator publishes at
run time (trading/routing.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from psycopg import ProgrammingError, conninfo

from tradewind.schema.bounds import (
    ABANDONED_AFTER,
    BREAKER_FAILURES,
    BREAKER_OPEN,
    DATABASE_TIMEOUT,
    DECISION_TIMEOUT,
    MOST_CONNECTIONS,
    MOST_DECISIONS,
    POOL_SIZE,
    PORT,
    REQUEST_TIMEOUT,
    RETENTION,
    SPOOL_BYTES,
    SPOOL_GRACE,
    Bounds,
)
from tradewind.trading.signature import KeyFormatError, Verifier


class SettingsError(ValueError):
    """A setting is missing or wrong. The message names the variable and the remedy, never a secret."""


class Variable(NamedTuple):
    """One environment variable.

    Attributes:
        default: as text; None: it has to be set; "": it is derived, or absent.
        meaning: for docs/gateway.md.
        range: bounds of a number; None: it is a text.
        remedy: what to do where it is missing.
    """

    name: str
    default: str | None
    meaning: str
    range: Bounds | None = None
    remedy: str = ""

    @property
    def bounds(self) -> str:
        """The bounds of a number in words, or an empty text."""
        return "" if self.range is None else f"{self.range.low:,} to {self.range.high:,}"


VARIABLES = (
    Variable(
        "TRADEWIND_DSN",
        None,
        "PostgreSQL, libpq key=value pairs or URI, of a role of the namespace's own (`tradewind tenant add`)",
        remedy="take it from the Secret that spec.database names",
    ),
    Variable(
        "TRADEWIND_ROUTING",
        None,
        "`configmap:<namespace>/<name>` (watched) or `file:<path>` (polled every 0.2 s)",
        remedy="give configmap:<namespace>/<name> or file:<path>",
    ),
    Variable(
        "TRADEWIND_ROUTING_KEYS",
        "",
        "public keys by which the routing document may be signed, base64 of DER, by comma or space; required unless "
        "`TRADEWIND_ROUTING_TRUST` is unsigned",
    ),
    Variable(
        "TRADEWIND_ROUTING_TRUST",
        "",
        "`unsigned` obeys whatever lies in the file that `TRADEWIND_ROUTING` names; not for a ConfigMap",
    ),
    Variable("TRADEWIND_NAMESPACE", None, "of the Endpoint", remedy="give the namespace of the Endpoint"),
    Variable("TRADEWIND_ENDPOINT", None, "whose decisions these are", remedy="give the name of the Endpoint"),
    Variable("TRADEWIND_INSTALLATION", "tradewind", "first part of every key"),
    Variable("TRADEWIND_REPLICA", "", "pod name, for `gateway_replicas`; the host name where it is empty"),
    Variable(
        "TRADEWIND_AUTH_TOKEN_FILE",
        "",
        "file with the bearer tokens, one a line; required unless `TRADEWIND_AUTH` is disabled",
    ),
    Variable("TRADEWIND_AUTH", "", "`disabled` opens the gateway to everybody who reaches it"),
    Variable("TRADEWIND_OPENAI", "", "`enabled` also answers in the shape of OpenAI's chat completions"),
    Variable("TRADEWIND_SPOOL_DIR", "/var/spool/tradewind", "decisions given while the database was down"),
    Variable(
        "TRADEWIND_SPOOL_SHARED",
        "",
        "`enabled`: the folders beside the spool's are those of other replicas, and what a dead one left is taken in",
    ),
    Variable("TRADEWIND_SPOOL_MAX_BYTES", "67108864", "its bound; full: 503", SPOOL_BYTES),
    Variable(
        "TRADEWIND_SPOOL_GRACE_SECONDS",
        "0",
        "how long a replica that ends waits for the database, where its spool is not empty",
        SPOOL_GRACE,
    ),
    Variable(
        "TRADEWIND_DECISION_TIMEOUT_SECONDS", "20", "a whole decision, with the fallback's answer", DECISION_TIMEOUT
    ),
    Variable("TRADEWIND_DATABASE_TIMEOUT_SECONDS", "1", "one statement", DATABASE_TIMEOUT),
    Variable(
        "TRADEWIND_BREAKER_FAILURES",
        "5",
        "failures in a row that open an arm's breaker, in each replica",
        BREAKER_FAILURES,
    ),
    Variable("TRADEWIND_BREAKER_OPEN_SECONDS", "10", "how long it stays open", BREAKER_OPEN),
    Variable(
        "TRADEWIND_ABANDONED_AFTER_SECONDS",
        "600",
        "assignments that nobody came back for are failed after their lease and this",
        ABANDONED_AFTER,
    ),
    Variable(
        "TRADEWIND_RETENTION_SECONDS", "0", "older decisions are deleted with their reports; 0: none are", RETENTION
    ),
    Variable("TRADEWIND_POOL_SIZE", "16", "database connections", POOL_SIZE),
    Variable(
        "TRADEWIND_MAX_DECISIONS",
        "256",
        "decisions in work at a time, at most; fewer where event loop or database are behind. More are answered 503 `overloaded`",
        MOST_DECISIONS,
    ),
    Variable("TRADEWIND_MAX_CONNECTIONS", "1000", "connections at a time; one more is closed", MOST_CONNECTIONS),
    Variable(
        "TRADEWIND_REQUEST_TIMEOUT_SECONDS",
        "5",
        "for a request's head, and again for its body; a connection that takes longer is closed",
        REQUEST_TIMEOUT,
    ),
    Variable(
        "TRADEWIND_HEALTH_PORT",
        "0",
        "port of a `/healthz` of its own, which a busy gateway answers at once; 0: none",
        PORT,
    ),
    Variable(
        "TRADEWIND_GUESTS",
        "",
        "more Endpoints that this process answers for, a JSON list with an object of variables each: `TRADEWIND_ENDPOINT`, "
        "`TRADEWIND_ROUTING`, `TRADEWIND_PORT` and `TRADEWIND_SPOOL_DIR` of its own, and what else is an Endpoint's",
    ),
    Variable("TRADEWIND_HOST", "0.0.0.0", "address to listen on"),  # noqa: S104 - the pod's own network namespace
    Variable("TRADEWIND_PORT", "8080", "port to listen on", PORT),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """One replica. Times in seconds, sizes in bytes."""

    dsn: str
    routing: str
    verifier: Verifier | None
    """None: whoever can write the file says who answers."""
    installation: str
    namespace: str
    endpoint: str
    replica: str
    auth_token_file: Path | None
    spool_dir: Path
    spool_shared: bool
    spool_max_bytes: int
    spool_grace: float
    host: str
    port: int
    pool_size: int
    database_timeout: float
    decision_timeout: float
    breaker_failures: int
    breaker_open_seconds: float
    abandoned_after: float
    retention: float | None
    openai: bool
    max_decisions: int
    max_connections: int
    request_timeout: float
    health_port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads every variable of the table; an empty one counts as one that is not set.

        Raises:
            SettingsError: one is missing or wrong.
        """
        texts = {variable.name: _text(environment, variable) for variable in VARIABLES}
        numbers = {variable.name: _number(texts, variable) for variable in VARIABLES if variable.range is not None}
        try:
            conninfo.conninfo_to_dict(texts["TRADEWIND_DSN"])
        except ProgrammingError:
            raise SettingsError(
                "TRADEWIND_DSN is neither a URI (postgresql://user:password@host:5432/database) nor libpq key=value pairs"
            ) from None
        routing = texts["TRADEWIND_ROUTING"]
        scheme, _, place = routing.partition(":")
        if scheme not in ("configmap", "file") or not place or (scheme == "configmap" and place.count("/") != 1):
            raise SettingsError(f"TRADEWIND_ROUTING is {routing!r}; give configmap:<namespace>/<name> or file:<path>")
        verifier = _verifier(texts, scheme)
        token_file = texts["TRADEWIND_AUTH_TOKEN_FILE"]
        if not token_file and texts["TRADEWIND_AUTH"] != "disabled":
            raise SettingsError(
                "TRADEWIND_AUTH_TOKEN_FILE is not set; mount a token (gateway.auth.secretRef), or open the gateway to "
                "everybody who reaches it by TRADEWIND_AUTH=disabled"
            )
        if texts["TRADEWIND_SPOOL_SHARED"] not in ("", "enabled"):
            raise SettingsError(
                f"TRADEWIND_SPOOL_SHARED is {texts['TRADEWIND_SPOOL_SHARED']!r}; give enabled, or leave it out "
                "(gateway.spool.claimName)"
            )
        if texts["TRADEWIND_OPENAI"] not in ("", "enabled"):
            raise SettingsError(
                f"TRADEWIND_OPENAI is {texts['TRADEWIND_OPENAI']!r}; give enabled, or leave it out (gateway.openai.enabled)"
            )
        return cls(
            dsn=texts["TRADEWIND_DSN"],
            routing=routing,
            verifier=verifier,
            installation=texts["TRADEWIND_INSTALLATION"],
            namespace=texts["TRADEWIND_NAMESPACE"],
            endpoint=texts["TRADEWIND_ENDPOINT"],
            replica=texts["TRADEWIND_REPLICA"] or environment.get("HOSTNAME", "") or "gateway",
            auth_token_file=Path(token_file) if token_file else None,
            spool_dir=Path(texts["TRADEWIND_SPOOL_DIR"]),
            spool_shared=texts["TRADEWIND_SPOOL_SHARED"] == "enabled",
            spool_max_bytes=int(numbers["TRADEWIND_SPOOL_MAX_BYTES"]),
            spool_grace=numbers["TRADEWIND_SPOOL_GRACE_SECONDS"],
            host=texts["TRADEWIND_HOST"],
            port=int(numbers["TRADEWIND_PORT"]),
            pool_size=int(numbers["TRADEWIND_POOL_SIZE"]),
            database_timeout=numbers["TRADEWIND_DATABASE_TIMEOUT_SECONDS"],
            decision_timeout=numbers["TRADEWIND_DECISION_TIMEOUT_SECONDS"],
            breaker_failures=int(numbers["TRADEWIND_BREAKER_FAILURES"]),
            breaker_open_seconds=numbers["TRADEWIND_BREAKER_OPEN_SECONDS"],
            abandoned_after=numbers["TRADEWIND_ABANDONED_AFTER_SECONDS"],
            retention=numbers["TRADEWIND_RETENTION_SECONDS"] or None,
            openai=texts["TRADEWIND_OPENAI"] == "enabled",
            max_decisions=int(numbers["TRADEWIND_MAX_DECISIONS"]),
            max_connections=int(numbers["TRADEWIND_MAX_CONNECTIONS"]),
            request_timeout=numbers["TRADEWIND_REQUEST_TIMEOUT_SECONDS"],
            health_port=int(numbers["TRADEWIND_HEALTH_PORT"]),
        )


def _verifier(texts: Mapping[str, str], scheme: str) -> Verifier | None:
    keys, trust = texts["TRADEWIND_ROUTING_KEYS"].replace(",", " ").split(), texts["TRADEWIND_ROUTING_TRUST"]
    if trust not in ("", "unsigned"):
        raise SettingsError(f"TRADEWIND_ROUTING_TRUST is {trust!r}; give unsigned, or leave it out")
    if trust == "unsigned":
        if keys:
            raise SettingsError(
                "TRADEWIND_ROUTING_KEYS and TRADEWIND_ROUTING_TRUST=unsigned exclude each other; leave one out"
            )
        if scheme != "file":
            raise SettingsError(
                "TRADEWIND_ROUTING_TRUST=unsigned is for a file: whoever may write ConfigMaps would say who answers; set "
                "TRADEWIND_ROUTING_KEYS to the operator's public keys"
            )
        return None
    if not keys:
        raise SettingsError(
            "TRADEWIND_ROUTING_KEYS is not set; give the public keys by which the routing document is signed (the operator "
            "sets them on its gateways), or obey an unsigned file by TRADEWIND_ROUTING_TRUST=unsigned"
        )
    try:
        return Verifier(keys)
    except KeyFormatError as error:
        raise SettingsError(f"TRADEWIND_ROUTING_KEYS: {error}") from None


def _text(environment: Mapping[str, str], variable: Variable) -> str:
    text = environment.get(variable.name) or variable.default
    if text is None:
        raise SettingsError(f"{variable.name} is not set; {variable.remedy}")
    return text


def _number(texts: Mapping[str, str], variable: Variable) -> float:
    assert variable.range is not None
    try:
        value = float(texts[variable.name])
    except ValueError:
        value = float("nan")
    if not variable.range.low <= value <= variable.range.high:
        raise SettingsError(f"{variable.name} is {texts[variable.name]!r}; give a number from {variable.bounds}")
    return value
