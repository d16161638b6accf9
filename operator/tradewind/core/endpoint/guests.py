"""What an Endpoint's pods have for the other Endpoints that they answer for, its guests.

Belongs here: environment, ports, Secrets and times of guests. Does not belong here: who is a guest (hosting.py), and the pod
(manifests.py).

A Secret that a guest names may be missing: it would keep the pods of all from starting. The gateway says so, at that guest alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tradewind.api.common import SecretKeyRef
from tradewind.api.hosting import GatewayHostingStatus
from tradewind.core.decision import Manifest
from tradewind.core.endpoint.names import AUTH_SECRET, SPOOL, routing_name, shared_spool
from tradewind.core.endpoint.ports import port_name


@dataclass(frozen=True, slots=True)
class Guest:
    """Another Endpoint that pods answer for."""

    name: str
    hosting: GatewayHostingStatus


@dataclass(frozen=True, slots=True)
class Beside:
    """What all guests add to a pod. Times in seconds, the longest of theirs."""

    env: list[Manifest]
    volumes: list[Manifest]
    mounts: list[Manifest]
    ports: list[Manifest]
    credentials: dict[str, SecretKeyRef]
    decision_timeout: float
    database_timeout: float


def beside_them(guests: Sequence[Guest], namespace: str, *, shared: bool) -> Beside:
    """What a pod has for its guests; nothing where there are none. `shared`: its spools are on a volume of all pods."""
    tokens = sorted({g.hosting.token_secret_ref.name for g in guests if g.hosting.token_secret_ref is not None})
    settings = json.dumps([_settings(guest, namespace, shared=shared) for guest in guests], separators=(",", ":"))
    return Beside(
        env=[{"name": "TRADEWIND_GUESTS", "value": settings}] if guests else [],
        volumes=[
            {"name": f"auth-{index}", "secret": {"secretName": secret, "defaultMode": 0o440, "optional": True}}
            for index, secret in enumerate(tokens)
        ],
        mounts=[
            {"name": f"auth-{index}", "mountPath": _token_folder(secret), "readOnly": True}
            for index, secret in enumerate(tokens)
        ],
        ports=[{"name": port_name(g.hosting.port), "containerPort": g.hosting.port, "protocol": "TCP"} for g in guests],
        credentials={key.version: key.secret_ref for guest in guests for key in guest.hosting.keys},
        decision_timeout=_longest(guests, "TRADEWIND_DECISION_TIMEOUT_SECONDS"),
        database_timeout=_longest(guests, "TRADEWIND_DATABASE_TIMEOUT_SECONDS"),
    )


def _settings(guest: Guest, namespace: str, *, shared: bool) -> dict[str, str]:
    token = guest.hosting.token_secret_ref
    return {
        "TRADEWIND_ENDPOINT": guest.name,
        "TRADEWIND_ROUTING": f"configmap:{namespace}/{routing_name(guest.name)}",
        "TRADEWIND_PORT": str(guest.hosting.port),
        "TRADEWIND_SPOOL_DIR": shared_spool(guest.name) if shared else f"{SPOOL}/guests/{guest.name}",
        **({"TRADEWIND_AUTH_TOKEN_FILE": f"{_token_folder(token.name)}/{token.key}"} if token is not None else {}),
        **dict(sorted(guest.hosting.variables.items())),
    }


def _token_folder(secret: str) -> str:
    return f"{AUTH_SECRET}-of-guests/{secret}"


def _longest(guests: Sequence[Guest], variable: str) -> float:
    return max((float(guest.hosting.variables.get(variable, 0)) for guest in guests), default=0.0)
