"""The decision gateway of an Endpoint: Deployment, Service, identity, and the routing document it obeys."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tradewind.api.common import SecretKeyRef
from tradewind.api.endpoint import Endpoint, Gateway
from tradewind.core.decision import Manifest, Owner
from tradewind.core.endpoint.guests import Guest, beside_them
from tradewind.core.endpoint.names import (
    ARM_SECRETS,
    AUTH_SECRET,
    HEALTH_PORT,
    SPOOL,
    gateway_name,
    routing_name,
    shared_spool,
)
from tradewind.core.endpoint.ports import port_name
from tradewind.core.manifests.common import (
    CONTAINER_SECURITY,
    GATEWAY_USER,
    child_labels,
    child_metadata,
    pod_security,
    pull_secrets,
    resources,
    scheduling,
    secret_env,
)
from tradewind.core.manifests.database import database_access
from tradewind.core.platform import Platform
from tradewind.schema.scalars import as_milliseconds, as_timedelta
from tradewind.trading.hosts import SECRET_HOSTS_KEY
from tradewind.trading.routing import ROUTING_KEY, Routing
from tradewind.trading.stopping import PRE_STOP_SECONDS, SPOOL_GRACE_SECONDS, pod_grace_seconds

_LATER = ("TRADEWIND_AUTH", "TRADEWIND_OPENAI")
"""Where they always stood: another order replaces every pod."""


def endpoint_of(routing: str) -> str | None:
    """The Endpoint whose document a ConfigMap of that name would be."""
    name = routing.removesuffix("-routing")
    return name if name and name != routing else None


def credential_path(version: str, ref: SecretKeyRef) -> str:
    """Where the gateway finds the API key of an external version."""
    return f"{ARM_SECRETS}/{version}/{ref.key}"


def mounted_versions(pod: Mapping[str, Any]) -> frozenset[str]:
    """Versions whose Secret a gateway pod has."""
    mounts = [m for c in pod.get("spec", {}).get("containers", []) for m in c.get("volumeMounts", [])]
    prefix = f"{ARM_SECRETS}/"
    return frozenset(m["mountPath"].removeprefix(prefix) for m in mounts if m["mountPath"].startswith(prefix))


def build_gateway(
    endpoint: Endpoint,
    owner: Owner,
    platform: Platform,
    credentials: Mapping[str, SecretKeyRef],
    guests: Sequence[Guest] = (),
    *,
    hosts: Collection[str] = (),
    service: Manifest | None = None,
) -> tuple[Manifest, ...]:
    """Everything the gateway runs with but its routing, in the order in which it is applied.

    Args:
        credentials: Secret of each external version that this Endpoint may ask.
        guests: other Endpoints that its pods answer for.
        hosts: other Endpoints whose pods still answer for this one.
        service: where the Service does not send to these pods yet.
    """
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": child_metadata(owner, gateway_name(owner.name), "gateway"),
        "automountServiceAccountToken": False,
    }
    role, binding = build_access(owner, {owner.name, *hosts})
    deployment = _deployment(endpoint, owner, platform, credentials, guests)
    return account, role, binding, service or build_service(owner, owner.name), deployment


def build_access(owner: Owner, readers: Collection[str]) -> tuple[Manifest, Manifest]:
    """Who may read the routing document: pods of these Endpoints."""
    name = gateway_name(owner.name)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": child_metadata(owner, name, "gateway"),
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": [routing_name(owner.name)],
                "verbs": ["get", "list", "watch"],
            }
        ],
    }
    subjects = [
        {"kind": "ServiceAccount", "name": gateway_name(reader), "namespace": owner.namespace}
        for reader in sorted(readers)
    ]
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": child_metadata(owner, name, "gateway"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": subjects,
    }
    return role, binding


def build_service(owner: Owner, sends_to: str, port: int | None = None) -> Manifest:
    """Where callers of an Endpoint come.

    Args:
        sends_to: the Endpoint whose pods answer.
        port: this Endpoint's in pods of another one.
    """
    other = sends_to != owner.name and port is not None
    target = port_name(port) if other and port is not None else "http"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(owner, gateway_name(owner.name), "gateway"),
        "spec": {
            "selector": child_labels(replace(owner, name=sends_to), "gateway"),
            "ports": [{"name": "http", "port": 80, "targetPort": target, "protocol": "TCP"}],
        },
    }


def build_routing(owner: Owner, routing: Routing) -> Manifest:
    """The published routing document, without its signature: who has the key adds it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child_metadata(owner, routing_name(owner.name), "gateway"),
        "data": {ROUTING_KEY: routing.to_json()},
    }


def endpoint_variables(spec: Gateway) -> dict[str, str]:
    """Settings of one Endpoint in the gateway's process."""
    decision, database = waits_of(spec)
    found = {
        "TRADEWIND_DECISION_TIMEOUT_SECONDS": f"{decision:g}",
        "TRADEWIND_DATABASE_TIMEOUT_SECONDS": f"{database:g}",
        "TRADEWIND_BREAKER_FAILURES": str(spec.breaker.failures),
        "TRADEWIND_BREAKER_OPEN_SECONDS": f"{as_timedelta(spec.breaker.open_for).total_seconds():.15g}",
        "TRADEWIND_RETENTION_SECONDS": f"{as_timedelta(spec.retention).total_seconds():.15g}",
    }
    if spec.auth.secret_ref is None:
        found["TRADEWIND_AUTH"] = "disabled"
    if spec.openai.enabled:  # not set where it is off: an upgrade replaces no pod for it
        found["TRADEWIND_OPENAI"] = "enabled"
    return found


def waits_of(spec: Gateway) -> tuple[float, float]:
    """Seconds of a decision and of a statement."""
    decision, database = (as_milliseconds(text) / 1000 for text in (spec.timeouts.decision, spec.timeouts.database))
    return decision, database


def _deployment(
    endpoint: Endpoint,
    owner: Owner,
    platform: Platform,
    credentials: Mapping[str, SecretKeyRef],
    guests: Sequence[Guest],
) -> Manifest:
    spec = endpoint.spec.gateway
    decision, database = waits_of(spec)
    name = gateway_name(endpoint.metadata.name)
    access = database_access(endpoint.spec.database)
    claim = spec.spool.claim_name
    # Room for the spool of each Endpoint.
    room = {"sizeLimit": f"{256 + 64 * len(guests)}Mi"}
    kept = {"emptyDir": room} if claim is None else {"persistentVolumeClaim": {"claimName": claim}}
    spool = SPOOL if claim is None else shared_spool(endpoint.metadata.name)
    volumes: list[Manifest] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "spool", **kept},
        *access.volumes,
    ]
    mounts: list[Manifest] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
        {"name": "spool", "mountPath": SPOOL},
        *access.mounts,
    ]
    env: list[Manifest] = [
        {"name": "TRADEWIND_INSTALLATION", "value": platform.installation},
        {"name": "TRADEWIND_NAMESPACE", "value": owner.namespace},
        {"name": "TRADEWIND_ENDPOINT", "value": endpoint.metadata.name},
        {"name": "TRADEWIND_ROUTING", "value": f"configmap:{owner.namespace}/{routing_name(endpoint.metadata.name)}"},
        {"name": "TRADEWIND_ROUTING_KEYS", "value": ",".join(platform.routing_keys)},
        {"name": "TRADEWIND_REPLICA", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "TRADEWIND_SPOOL_DIR", "value": spool},
        {"name": "TRADEWIND_SPOOL_GRACE_SECONDS", "value": str(SPOOL_GRACE_SECONDS)}
        if claim is None
        else {"name": "TRADEWIND_SPOOL_SHARED", "value": "enabled"},
        {"name": "TRADEWIND_HEALTH_PORT", "value": str(HEALTH_PORT)},
        *({"name": key, "value": value} for key, value in endpoint_variables(spec).items() if key not in _LATER),
        *(each for each in access.env if each["name"] not in {own.name for own in spec.env}),
    ]
    if spec.auth.secret_ref:
        volumes.append({"name": "auth", "secret": {"secretName": spec.auth.secret_ref.name, "defaultMode": 0o440}})
        mounts.append({"name": "auth", "mountPath": AUTH_SECRET, "readOnly": True})
        env.append({"name": "TRADEWIND_AUTH_TOKEN_FILE", "value": f"{AUTH_SECRET}/{spec.auth.secret_ref.key}"})
    else:
        env.append({"name": "TRADEWIND_AUTH", "value": "disabled"})
    if spec.openai.enabled:  # not set where it is off: an upgrade replaces no pod for it
        env.append({"name": "TRADEWIND_OPENAI", "value": "enabled"})
    for each in spec.env:
        if each.secret_ref is not None:
            env.append(secret_env(each.name, each.secret_ref))
        else:
            env.append({"name": each.name, "value": each.value})
    beside = beside_them(guests, owner.namespace, shared=claim is not None)
    env += beside.env
    volumes += beside.volumes
    mounts += beside.mounts
    for index, (version, ref) in enumerate(sorted({**beside.credentials, **credentials}.items())):
        volume = f"arm-{index}"
        # Of the Secret no more than is needed. A key that is missing, being optional, is told by the gateway.
        items = [{"key": key, "path": key} for key in dict.fromkeys((ref.key, SECRET_HOSTS_KEY))]
        secret = {"secretName": ref.name, "defaultMode": 0o440, "optional": True, "items": items}
        volumes.append({"name": volume, "secret": secret})
        mounts.append({"name": volume, "mountPath": f"{ARM_SECRETS}/{version}", "readOnly": True})
    pod: dict[str, Any] = {
        "serviceAccountName": name,
        "automountServiceAccountToken": True,
        "securityContext": pod_security(GATEWAY_USER),
        "terminationGracePeriodSeconds": pod_grace_seconds(
            max(decision, beside.decision_timeout),
            max(database, beside.database_timeout),
            SPOOL_GRACE_SECONDS if claim is None else 0,
        ),
        "volumes": volumes,
        **pull_secrets(platform.gateway_pull_secrets),
        **scheduling(spec.node_selector, spec.tolerations),
        **_placement(spec, owner),
        "containers": [
            {
                "name": "gateway",
                "image": platform.gateway_image,
                "imagePullPolicy": platform.pull_policy,
                "ports": [
                    {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                    {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
                    *beside.ports,
                ],
                "env": env,
                "resources": resources(spec.resources),
                "securityContext": dict(CONTAINER_SECURITY),
                "volumeMounts": mounts,
                # Goes on answering until every node has stopped sending: a Service learns late that a pod leaves.
                "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
                # Apart from the work: what is busy is alive. Readiness is not: what cannot be reached takes no more.
                "livenessProbe": {
                    "httpGet": {"path": "/healthz", "port": "health"},
                    "periodSeconds": 10,
                    "timeoutSeconds": 5,
                    "failureThreshold": 6,
                },
                "readinessProbe": {
                    "httpGet": {"path": "/readyz/pod" if guests else "/readyz", "port": "http"},
                    "periodSeconds": 2,
                    "timeoutSeconds": 5,
                },
            }
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": child_metadata(owner, name, "gateway"),
        "spec": {
            **({"replicas": spec.replicas} if spec.autoscaling is None else {}),
            "selector": {"matchLabels": child_labels(owner, "gateway")},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": child_labels(owner, "gateway")}, "spec": pod},
        },
    }


def _placement(spec: Gateway, owner: Owner) -> dict[str, Any]:
    """Which nodes are better, and which pods go first where there is no room."""
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": wish,
            "labelSelector": {"matchLabels": child_labels(owner, "gateway")},
            # Pods of the template before are on their way out: their places must not count.
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key, wish in (
            ("topology.kubernetes.io/zone", spec.topology_spread.zones),
            ("kubernetes.io/hostname", spec.topology_spread.hosts),
        )
        if wish != "None"
    ]
    placed: dict[str, Any] = {"topologySpreadConstraints": spread} if spread else {}
    if spec.affinity is not None:
        placed["affinity"] = spec.affinity.to_manifest()
    if spec.priority_class_name is not None:
        placed["priorityClassName"] = spec.priority_class_name
    return placed
