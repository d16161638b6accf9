"""NetworkPolicies of children: everything is denied but what a pod needs.

Names cannot be written into one: public hosts are all public addresses at their ports, and hosts inside that are allowed by
name are every pod and private address. What a gateway may ask is judged exactly in the gateway (gateway/guarded.py); this is
what is left where somebody else's code runs in the pod.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network
from typing import Any

from tradewind.core.decision import Apply, Create, Effect, Manifest, Owner
from tradewind.core.manifests.common import COMPONENT, MANAGED_BY, OWNER_KIND, OWNER_NAME, child_labels, child_metadata
from tradewind.core.network import Target
from tradewind.core.platform import Platform
from tradewind.trading.hosts import Pattern

Json = dict[str, Any]

SERVED_BY = "serving.kserve.io/inferenceservice"
"""Label that KServe gives a predictor's pod: the name of its InferenceService."""
_OPERATORS = ("operator", "operator-shard")
"""Components of the chart: the first or only operator, and the others (operator.shards)."""
_HTTP = 8080
_PRIVATE4 = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
_PRIVATE6 = ("fc00::/7",)
_NEVER4 = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32")
_METADATA = "100.100.100.200/32"
_DNS: Json = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
"""To anywhere: a cluster's name server may be a pod, an address of the node or one of the cloud."""


def gateway_policy(owner: Owner, platform: Platform, name: str, guests: Iterable[int] = ()) -> list[Effect]:
    """The policy of an Endpoint's gateways; nothing where the installation makes none.

    Args:
        guests: ports of other Endpoints that they answer for.
    """
    network = platform.network
    if not network.enabled:
        return []
    predictors = [{"podSelector": {"matchExpressions": [{"key": SERVED_BY, "operator": "Exists"}]}}]
    egress = [
        _DNS,
        _rule("to", predictors, (_HTTP,)),
        _target(network.database),
        _target(network.api_server),
        *_hosts(platform),
    ]
    ingress = [_rule("from", [dict(peer) for peer in (*network.callers, *network.metrics_from)], (_HTTP, *guests))]
    return [Apply(_policy(owner, name, "gateway", child_labels(owner, "gateway"), ingress, egress))]


def predictor_policy(owner: Owner, platform: Platform) -> list[Effect]:
    """The policies of a version's predictors and of its benchmark, which asks them."""
    if not platform.network.enabled:
        return []
    askers = [
        {"podSelector": {"matchLabels": {MANAGED_BY: "tradewind", COMPONENT: c}}} for c in ("gateway", "benchmark")
    ]
    own = {SERVED_BY: owner.name}
    served = _policy(owner, f"{owner.name}-predictor", "serving", own, [_rule("from", askers, (_HTTP,))], [_DNS])
    asks = [_DNS, _rule("to", [{"podSelector": {"matchLabels": own}}], (_HTTP,))]
    measures = _policy(owner, f"{owner.name}-benchmark", "benchmark", child_labels(owner, "benchmark"), [], asks)
    return [Apply(served), Apply(measures)]


def with_run_policy(effects: Sequence[Effect], owner: Owner, platform: Platform) -> tuple[Effect, ...]:
    """The effects, with the policy of a run's Jobs before the first of them that makes one."""
    first = next((n for n, e in enumerate(effects) if isinstance(e, Create) and e.manifest["kind"] == "Job"), None)
    if first is None or not platform.network.enabled:
        return tuple(effects)
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": platform.operator_namespace}},
        "podSelector": {
            "matchLabels": {"app.kubernetes.io/name": "tradewind"},
            "matchExpressions": [{"key": COMPONENT, "operator": "In", "values": list(_OPERATORS)}],
        },
    }
    egress = [_DNS, _target(platform.network.database), _rule("to", [operator], (platform.progress_port,))]
    pods = {MANAGED_BY: "tradewind", OWNER_KIND: owner.kind, OWNER_NAME: owner.name}
    policy = Apply(_policy(owner, f"{owner.name}-training", "training", pods, [], egress))
    return (*effects[:first], policy, *effects[first:])


def _policy(
    owner: Owner, name: str, component: str, pods: Json, ingress: Sequence[Json], egress: Sequence[Json]
) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": child_metadata(owner, name, component),
        "spec": {
            "podSelector": {"matchLabels": dict(pods)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": list(ingress),
            "egress": list(egress),
        },
    }


def _rule(direction: str, peers: Sequence[Json], ports: Iterable[int]) -> Json:
    return {direction: list(peers), "ports": [{"port": port, "protocol": "TCP"} for port in ports]}


def _target(target: Target) -> Json:
    rule = _rule("to", [dict(peer) for peer in target.to], target.ports)
    return rule if target.to else {"ports": rule["ports"]}


def _hosts(platform: Platform) -> list[Json]:
    """What external APIs need, by the lists of egress."""
    egress = platform.policy.egress
    public = [Pattern.of(text) for text in egress.allowed_hosts]
    inside = [Pattern.of(text) for text in egress.allowed_internal_hosts]
    rules: list[Json] = []
    if public:
        ports = sorted({80, 443} | {p.port for p in public if p.port is not None})
        everywhere: list[Json] = [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": [*_PRIVATE4, *_NEVER4]}},
            {"ipBlock": {"cidr": "2000::/3"}},
        ]
        rules.append(_rule("to", everywhere, ports))
    for pattern in inside:
        if pattern.network is not None:
            rule: Json = {"to": [{"ipBlock": {"cidr": str(pattern.network)}}]}
            at = {} if pattern.port is None else {"ports": [{"port": pattern.port, "protocol": "TCP"}]}
            rules.append(rule | at)
    if any(pattern.network is None for pattern in inside):  # a Service's port is not that of its pods: any
        private = [{"ipBlock": _block(cidr)} for cidr in (*_PRIVATE4, *_PRIVATE6)]
        rules.append({"to": [{"namespaceSelector": {}}, *private]})
    return rules


def _block(cidr: str) -> Json:
    """A network without the metadata services that lie in it."""
    found: Json = {"cidr": cidr}
    if ":" in cidr:
        return found | {"except": ["fd00:ec2::254/128"]}
    return found | ({"except": [_METADATA]} if IPv4Network(_METADATA).subnet_of(IPv4Network(cidr)) else {})
