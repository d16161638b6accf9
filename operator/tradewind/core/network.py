"""What an installation says of the network between pods: whether policies are made, and what only it can know.

Belongs here: the values. Does not belong here: the policies themselves (manifests/network.py, and the chart's of its own pods).
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, JsonValue

from tradewind.schema.rules import StrictModel

Peers = Annotated[tuple[Mapping[str, JsonValue], ...], Field(max_length=32)]
"""NetworkPolicyPeers of Kubernetes: podSelector, namespaceSelector or ipBlock; none: anybody, or any address."""
Ports = Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], Field(min_length=1, max_length=16)]


class Target(StrictModel):
    """A server outside of what the operator makes."""

    ports: Ports
    """TCP ports."""
    to: Peers = ()
    """Where it is; empty: anywhere."""


class Network(StrictModel):
    """NetworkPolicies of gateways, predictors and Jobs, by the values `networkPolicy` of the chart."""

    enabled: bool = False
    """Whether they are made."""
    callers: Peers = ({"podSelector": {}},)
    """Who may call gateways; by default pods of their own namespace."""
    metrics_from: Peers = ()
    """Who may read /metrics of gateways, which is on the same port; empty: callers alone."""
    database: Target = Target(ports=(5432,))
    """PostgreSQL."""
    api_server: Target = Target(ports=(443, 6443))
    """Kubernetes' API, which gateways watch their routing by."""
