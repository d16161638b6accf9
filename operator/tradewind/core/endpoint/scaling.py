"""How many gateway pods there are, and what keeps them up: the autoscaler, the disruption budget, and their removal.

With `autoscaling` the number belongs to the HorizontalPodAutoscaler, and the Deployment is applied without `replicas`. A field
that its one owner no longer applies falls back to its default, here 1 pod. So before that the number is handed over: applied
once more, as it is, by a field owner that never comes again.
"""

from tradewind.api.endpoint import Endpoint, Gateway
from tradewind.core.decision import FIELD_MANAGER, Apply, Delete, Effect, Manifest, Owner
from tradewind.core.endpoint.names import gateway_name
from tradewind.core.endpoint.seen import Seen
from tradewind.core.manifests.common import child_labels, child_metadata

HANDOVER = f"{FIELD_MANAGER}-handover"
AUTOSCALER = ("autoscaling/v2", "HorizontalPodAutoscaler")
BUDGET = ("policy/v1", "PodDisruptionBudget")
OF_OWN_PODS = frozenset({("apps/v1", "Deployment"), AUTOSCALER, BUDGET})
"""What an Endpoint whose decisions another's pods answer does not have. Its identity stays: nobody bears it."""


def wanted_pods(endpoint: Endpoint, seen: Seen) -> int:
    """How many pods there are to be: the autoscaler's number where there is one, the host's where another's pods answer."""
    if endpoint.spec.gateway.shared_with is not None:
        host = seen.sharing.host
        known = host.status.gateway if host is not None else None
        if known is not None and known.replicas is not None:
            return known.replicas
        before = endpoint.status.gateway
        return (before.replicas if before is not None else None) or 0
    scaling = endpoint.spec.gateway.autoscaling
    if scaling is None:
        return endpoint.spec.gateway.replicas
    if seen.deployment is None:
        return scaling.min_replicas
    return seen.deployment.replicas


def before_the_gateway(endpoint: Endpoint, owner: Owner, seen: Seen) -> list[Effect]:
    """What must be done before the Deployment is applied: whoever the number is taken from lets go of it first."""
    gone = [Delete(*kind, gateway_name(endpoint.name)) for kind in sorted(seen.left_over & unwanted(endpoint))]
    if endpoint.spec.gateway.autoscaling is None or seen.deployment is None or not seen.deployment.holds_replicas:
        return [*gone]
    handover: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": gateway_name(endpoint.name), "namespace": owner.namespace},
        "spec": {"replicas": seen.deployment.replicas},
    }
    return [*gone, Apply(handover, manager=HANDOVER)]


def after_the_gateway(endpoint: Endpoint, owner: Owner) -> list[Effect]:
    """What stands beside the Deployment."""
    spec, name = endpoint.spec.gateway, gateway_name(endpoint.name)
    made: list[Effect] = []
    if BUDGET not in unwanted(endpoint):
        budget = {
            "maxUnavailable": spec.pod_disruption_budget.max_unavailable,
            "selector": {"matchLabels": child_labels(owner, "gateway")},
            # A pod that is not ready keeps nobody's decisions; it must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
        made.append(Apply(_child(BUDGET, owner, name, budget)))
    if spec.autoscaling is not None:
        target = {"type": "Utilization", "averageUtilization": spec.autoscaling.target_cpu_utilization}
        scaler = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": spec.autoscaling.min_replicas,
            "maxReplicas": spec.autoscaling.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        }
        made.append(Apply(_child(AUTOSCALER, owner, name, scaler)))
    return made


def unwanted(endpoint: Endpoint) -> frozenset[tuple[str, str]]:
    """Kinds of children that this spec does not ask for."""
    spec: Gateway = endpoint.spec.gateway
    if spec.shared_with is not None:
        return OF_OWN_PODS
    fewest = spec.autoscaling.min_replicas if spec.autoscaling is not None else spec.replicas
    return frozenset(([AUTOSCALER] if spec.autoscaling is None else []) + ([BUDGET] if fewest < 2 else []))


def _child(kind: tuple[str, str], owner: Owner, name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": kind[0],
        "kind": kind[1],
        "metadata": child_metadata(owner, name, "gateway"),
        "spec": spec,
    }
