"""The decision gateway of an Endpoint: Deployment, Service, identity, and the routing document it obeys."""

from collections.abc import Mapping
from typing import Any

from tradewind.api.common import SecretKeyRef
from tradewind.api.endpoint import Endpoint, Gateway
from tradewind.core.decision import Manifest, Owner
from tradewind.core.manifests.common import (
    COMPONENT,
    CONTAINER_SECURITY,
    GATEWAY_USER,
    OWNER_NAME,
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
from tradewind.trading.stopping import PRE_STOP_SECONDS, pod_grace_seconds

ARM_SECRETS = "/var/run/secrets/tradewind/arms"
AUTH_SECRET = "/var/run/secrets/tradewind/auth"  # noqa: S105 - a path
SPOOL = "/var/spool/tradewind"
HEALTH_PORT = 8081


def gateway_name(endpoint: str) -> str:
    """Name of the gateway's Deployment, Service and identity."""
    return f"{endpoint}-gateway"


def gateway_pods(endpoint: str) -> str:
    """Selects the gateway's pods."""
    return f"{COMPONENT}=gateway,{OWNER_NAME}={endpoint}"


def routing_name(endpoint: str) -> str:
    """Name of the ConfigMap with the routing document."""
    return f"{endpoint}-routing"


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
    endpoint: Endpoint, owner: Owner, platform: Platform, credentials: Mapping[str, SecretKeyRef]
) -> tuple[Manifest, ...]:
    """Everything the gateway runs with but its routing, in the order in which it is applied.

    Args:
        credentials: Secret of each external version that this Endpoint may ask.
    """
    name = gateway_name(endpoint.metadata.name)
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": child_metadata(owner, name, "gateway"),
        "automountServiceAccountToken": False,
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": child_metadata(owner, name, "gateway"),
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": [routing_name(endpoint.metadata.name)],
                "verbs": ["get", "list", "watch"],
            }
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": child_metadata(owner, name, "gateway"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": owner.namespace}],
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(owner, name, "gateway"),
        "spec": {
            "selector": child_labels(owner, "gateway"),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    return account, role, binding, service, _deployment(endpoint, owner, platform, credentials)


def build_routing(owner: Owner, routing: Routing) -> Manifest:
    """The published routing document, without its signature: who has the key adds it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child_metadata(owner, routing_name(owner.name), "gateway"),
        "data": {ROUTING_KEY: routing.to_json()},
    }


def _deployment(
    endpoint: Endpoint, owner: Owner, platform: Platform, credentials: Mapping[str, SecretKeyRef]
) -> Manifest:
    spec = endpoint.spec.gateway
    decision, database = (as_milliseconds(text) / 1000 for text in (spec.timeouts.decision, spec.timeouts.database))
    name = gateway_name(endpoint.metadata.name)
    access = database_access(endpoint.spec.database)
    claim = spec.spool.claim_name
    kept = {"emptyDir": {"sizeLimit": "256Mi"}} if claim is None else {"persistentVolumeClaim": {"claimName": claim}}
    # A pod's folder has its name. Not a subPath: another pod must find what it leaves.
    spool = SPOOL if claim is None else f"{SPOOL}/{endpoint.metadata.name}/$(TRADEWIND_REPLICA)"
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
        *([] if claim is None else [{"name": "TRADEWIND_SPOOL_SHARED", "value": "enabled"}]),
        {"name": "TRADEWIND_HEALTH_PORT", "value": str(HEALTH_PORT)},
        {"name": "TRADEWIND_DECISION_TIMEOUT_SECONDS", "value": f"{decision:g}"},
        {"name": "TRADEWIND_DATABASE_TIMEOUT_SECONDS", "value": f"{database:g}"},
        {"name": "TRADEWIND_BREAKER_FAILURES", "value": str(spec.breaker.failures)},
        {
            "name": "TRADEWIND_BREAKER_OPEN_SECONDS",
            "value": f"{as_timedelta(spec.breaker.open_for).total_seconds():.15g}",
        },
        {"name": "TRADEWIND_RETENTION_SECONDS", "value": f"{as_timedelta(spec.retention).total_seconds():.15g}"},
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
    for index, (version, ref) in enumerate(sorted(credentials.items())):
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
        "terminationGracePeriodSeconds": pod_grace_seconds(decision, database),
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
                    "httpGet": {"path": "/readyz", "port": "http"},
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
