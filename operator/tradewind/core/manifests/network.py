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
from tradewind.trading.hosts import Asked, Pattern, Place, Refused, address_of, judged, place_of

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
_EVERYWHERE: Sequence[Json] = (
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": [*_PRIVATE4, *_NEVER4]}},
    {"ipBlock": {"cidr": "2000::/3"}},
)
"""Public addresses."""
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


def predictor_policy(
    owner: Owner,
    platform: Platform,
    stores: Sequence[str] = (),
    asked_stores: Sequence[str] = (),
    *,
    reads_log: bool = False,
) -> list[Effect]:
    """The policies of a version's predictors and of its benchmark, which asks them.

    Args:
        stores: URLs that the predictor's init container asks.
        asked_stores: URLs that the benchmark asks for recorded decisions and bars.
        reads_log: whether the benchmark reads an Endpoint's log; it then asks that Endpoint's champion as well.
    """
    if not platform.network.enabled:
        return []
    askers = [
        {"podSelector": {"matchLabels": {MANAGED_BY: "tradewind", COMPONENT: c}}} for c in ("gateway", "benchmark")
    ]
    own = {SERVED_BY: owner.name}
    served = _policy(
        owner,
        f"{owner.name}-predictor",
        "serving",
        own,
        [_rule("from", askers, (_HTTP,))],
        [_DNS, *_stores(platform, stores)],
    )
    others: Json = {"matchExpressions": [{"key": SERVED_BY, "operator": "Exists"}]}
    asks = [_DNS, _rule("to", [{"podSelector": others if reads_log else {"matchLabels": own}}], (_HTTP,))]
    asks += [*([_target(platform.network.database)] if reads_log else []), *_stores(platform, asked_stores)]
    measures = _policy(owner, f"{owner.name}-benchmark", "benchmark", child_labels(owner, "benchmark"), [], asks)
    return [Apply(served), Apply(measures)]


def with_run_policy(
    effects: Sequence[Effect], owner: Owner, platform: Platform, stores: Sequence[str] = (), *, peers: bool = False
) -> tuple[Effect, ...]:
    """The effects, with the policy of a run's Jobs before the first of them that makes one.

    Args:
        effects: of a turn.
        owner: the run.
        platform: of the installation.
        stores: URLs that its Jobs ask.
        peers: whether its pods train together: they then reach each other at every port, since gloo and NCCL listen where they like.
    """
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
    egress += _stores(platform, stores)
    pods = {MANAGED_BY: "tradewind", OWNER_KIND: owner.kind, OWNER_NAME: owner.name}
    together: Sequence[Json] = [{"podSelector": {"matchLabels": child_labels(owner, "train")}}] if peers else ()
    ingress: list[Json] = [{"from": list(together)}] if peers else []
    egress += [{"to": list(together)}] if peers else []
    policy = Apply(_policy(owner, f"{owner.name}-training", "training", pods, ingress, egress))
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


def _stores(platform: Platform, urls: Sequence[str]) -> list[Json]:
    """What stores need, by the lists of egress: an address alone, public addresses at the port, and what may lie inside."""
    rules: list[Json] = []
    for url in urls:
        reach, asked = judged(url, platform.policy.egress, credential=True), Asked.of(url)
        if isinstance(reach, Refused):
            continue
        address = address_of(asked.host)
        if address is not None:
            alone: Json = {"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}
            found = [_rule("to", [alone], (asked.port,))]
        else:
            found = [_rule("to", _EVERYWHERE, (asked.port,))] if place_of(asked.host) is Place.PUBLIC else []
            found += [_private()] if reach.networks else []
        rules += [rule for rule in found if rule not in rules]
    return rules


def _private() -> Json:
    """To every pod and private address: a Service's port is not that of its pods."""
    return {"to": [{"namespaceSelector": {}}, *({"ipBlock": _block(cidr)} for cidr in (*_PRIVATE4, *_PRIVATE6))]}


def _hosts(platform: Platform) -> list[Json]:
    """What external APIs need, by the lists of egress."""
    egress = platform.policy.egress
    public = [Pattern.of(text) for text in egress.allowed_hosts]
    inside = [Pattern.of(text) for text in egress.allowed_internal_hosts]
    rules: list[Json] = []
    if public:
        ports = sorted({80, 443} | {p.port for p in public if p.port is not None})
        rules.append(_rule("to", _EVERYWHERE, ports))
    for pattern in inside:
        if pattern.network is not None:
            rule: Json = {"to": [{"ipBlock": {"cidr": str(pattern.network)}}]}
            at = {} if pattern.port is None else {"ports": [{"port": pattern.port, "protocol": "TCP"}]}
            rules.append(rule | at)
    if any(pattern.network is None for pattern in inside):
        rules.append(_private())
    return rules


def _block(cidr: str) -> Json:
    """A network without the metadata services that lie in it."""
    found: Json = {"cidr": cidr}
    if ":" in cidr:
        return found | {"except": ["fd00:ec2::254/128"]}
    return found | ({"except": [_METADATA]} if IPv4Network(_METADATA).subnet_of(IPv4Network(cidr)) else {})
