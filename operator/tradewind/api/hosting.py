"""An Endpoint whose decisions another Endpoint's pods answer: `gateway.sharedWith`, and what its status says of it.

Belongs here: which fields of `spec.gateway` are those of pods, and are refused beside `sharedWith`. Does not belong here: the fields
themselves (endpoint.py), and what the operator does (core/endpoint/hosting.py).
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from tradewind.api.common import ResourceRequirements, SecretKeyRef
from tradewind.api.placement import PodDisruptionBudget, TopologySpread
from tradewind.schema.rules import Rule, StatusModel
from tradewind.schema.scalars import Count, Name, Text256

REPLICAS = 2
RESOURCES = ResourceRequirements(requests={"cpu": "100m", "memory": "256Mi"})
TOPOLOGY_SPREAD = TopologySpread()
DISRUPTION_BUDGET = PodDisruptionBudget()


def _of_pods(name: str, is_left: str, holds: Callable[[Any], bool]) -> Rule:
    """A field that only an Endpoint with pods of its own has. The API server writes defaults out: those are no wish."""
    return Rule(
        f"!has(self.sharedWith) || {is_left}",
        lambda s: s.shared_with is None or holds(s),
        f"gateway.{name} is of pods, and with gateway.sharedWith those of the other Endpoint answer: "
        "leave it out, or set it there",
        name,
    )


HOSTED_RULES: tuple[Rule, ...] = (
    _of_pods("replicas", f"!has(self.replicas) || self.replicas == {REPLICAS}", lambda s: s.replicas == REPLICAS),
    _of_pods("autoscaling", "!has(self.autoscaling)", lambda s: s.autoscaling is None),
    _of_pods(
        "resources",
        "!has(self.resources) || ((!has(self.resources.limits) || size(self.resources.limits) == 0) && "
        "has(self.resources.requests) && size(self.resources.requests) == 2 && "
        + " && ".join(
            f"'{key}' in self.resources.requests && self.resources.requests['{key}'] == '{value}'"
            for key, value in sorted(RESOURCES.requests.items())
        )
        + ")",
        lambda s: s.resources == RESOURCES,
    ),
    _of_pods("env", "!has(self.env) || size(self.env) == 0", lambda s: not s.env),
    _of_pods("nodeSelector", "!has(self.nodeSelector) || size(self.nodeSelector) == 0", lambda s: not s.node_selector),
    _of_pods("tolerations", "!has(self.tolerations) || size(self.tolerations) == 0", lambda s: not s.tolerations),
    _of_pods("affinity", "!has(self.affinity)", lambda s: s.affinity is None),
    _of_pods(
        "topologySpread",
        "!has(self.topologySpread) || ["
        + ", ".join(
            f"!has(self.topologySpread.{key}) || self.topologySpread.{key} == '{value}'"
            for key, value in TOPOLOGY_SPREAD.to_manifest().items()
        )
        + "].all(left, left)",
        lambda s: s.topology_spread == TOPOLOGY_SPREAD,
    ),
    _of_pods("priorityClassName", "!has(self.priorityClassName)", lambda s: s.priority_class_name is None),
    _of_pods(
        "spool",
        "!has(self.spool) || !has(self.spool.claimName)",
        lambda s: s.spool.claim_name is None,
    ),
    _of_pods(
        "podDisruptionBudget",
        "!has(self.podDisruptionBudget) || !has(self.podDisruptionBudget.maxUnavailable) || "
        f"self.podDisruptionBudget.maxUnavailable == {DISRUPTION_BUDGET.max_unavailable}",
        lambda s: s.pod_disruption_budget == DISRUPTION_BUDGET,
    ),
)


class ArmKeyStatus(StatusModel):
    """The API key of a version that may be asked."""

    version: Name
    """Name of the ModelVersion."""
    secret_ref: SecretKeyRef
    """Secret key that is mounted for it."""


class GatewayHostingStatus(StatusModel):
    """What another Endpoint's pods need to answer for this one, and which pods its Service sends to."""

    host: Name | None = None
    """The Endpoint whose pods are to answer; absent: pods of its own."""
    served_by: Name | None = None
    """The Endpoint whose pods the Service sends to; absent: pods of its own, or nobody yet."""
    left: Name | None = None
    """The Endpoint whose pods the Service sent to before, as long as one of them may still answer on a connection that it has."""
    port: Count
    """Port of this Endpoint in those pods."""
    variables: Annotated[dict[str, Text256], Field(max_length=16)] = Field(default_factory=dict)
    """Settings of this Endpoint in those pods."""
    token_secret_ref: SecretKeyRef | None = None
    """Secret key with the tokens of its callers; absent: it asks for none."""
    keys: Annotated[tuple[ArmKeyStatus, ...], Field(max_length=64)] = ()
    """API keys of the versions that it may ask."""
