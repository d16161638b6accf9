"""What all children share: names, labels, ownership, the pod's security, mounts of storage URIs."""

from collections.abc import Mapping, Sequence
from typing import Any

from tradewind.api.common import ResourceRequirements, SecretKeyRef, Toleration
from tradewind.core.decision import Manifest, Owner
from tradewind.core.manifests.stores import StoreMounts
from tradewind.core.policy import Policy
from tradewind.schema.scalars import Sha256, parse_storage_uri
from tradewind.trading.settings.stores import Store

GATEWAY_USER, MODEL_USER = 65531, 65532
"""Of gateways, and of trainers and predictors: the files of adapters are written for their owner alone (safetensors), and those of
earlier releases lie in people's volumes. The operator's, 65530, is in the chart."""
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
OWNER_KIND = "tradewind.dev/owner-kind"
OWNER_NAME = "tradewind.dev/owner-name"
CHILD_SELECTOR = f"{MANAGED_BY}=tradewind"

CONTAINER_SECURITY: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod_security(user: int) -> dict[str, Any]:
    """The security of a pod that runs as a user, with a group of the same number, which is that of its volumes too."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def child_labels(owner: Owner, component: str) -> dict[str, str]:
    """Labels by which children are watched and found again. The parent's own labels are never copied."""
    return {MANAGED_BY: "tradewind", COMPONENT: component, OWNER_KIND: owner.kind, OWNER_NAME: owner.name}


def child_metadata(owner: Owner, name: str, component: str) -> dict[str, Any]:
    """Metadata of a disposable child: it goes when its owner goes."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": child_labels(owner, component),
        "ownerReferences": [
            {
                "apiVersion": owner.api_version,
                "kind": owner.kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def is_child(body: Mapping[str, Any], owner_uid: str) -> bool:
    """Whether an object belongs to the resource with this uid. A name or a label would not say so: anybody can choose them."""
    owners = body["metadata"].get("ownerReferences") or ()
    return bool(owner_uid) and any(ref.get("uid") == owner_uid for ref in owners)


def secret_env(name: str, ref: SecretKeyRef) -> dict[str, Any]:
    """An environment variable whose value the kubelet reads from a Secret; the operator never does."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}


def pull_secrets(names: Sequence[str]) -> dict[str, Any]:
    """Secrets of the pod's namespace by which the kubelet may pull its images."""
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}


def scheduling(node_selector: Mapping[str, str], tolerations: Sequence[Toleration]) -> dict[str, Any]:
    """Where pods may run."""
    placed: dict[str, Any] = {}
    if node_selector:
        placed["nodeSelector"] = dict(node_selector)
    if tolerations:
        placed["tolerations"] = [t.to_manifest() for t in tolerations]
    return placed


def resources(wanted: ResourceRequirements) -> dict[str, Any]:
    """Requests and limits of a container, as given."""
    return wanted.to_manifest()


class Mounts:
    """Collects the volumes of storage URIs: one volume a claim, one mount a URI."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.stores = StoreMounts(policy)
        self.volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {}}]
        self.mounts: list[Manifest] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own emptyDir
        self._claims: dict[str, str] = {}

    def add(self, uri: str, path: str, *, read_only: bool = True) -> None:
        """Mount what a storage URI names at `path`.

        Of a folder of the node the volume is what the policy lists, and the rest a path in it: the kubelet then follows no link
        that leads out of it.

        Raises:
            ValueError: the policy does not list it; who asks has looked at `core/policy.py` before.
        """
        location = parse_storage_uri(uri)
        below = location.path
        if location.claim is not None:
            source: dict[str, Any] = {"persistentVolumeClaim": {"claimName": location.claim}}
        else:
            folder = self._policy.folder(location.path, write=not read_only)
            if folder is None:
                msg = f"{uri} is not in policy.hostPaths"
                raise ValueError(msg)
            source = {"hostPath": {"path": folder.prefix, "type": "Directory"}}
            below = folder.below(location.path)
        key = str(source)
        volume = self._claims.get(key)
        if volume is None:
            volume = self._claims[key] = f"storage-{len(self._claims)}"
            self.volumes.append({"name": volume, **source})
        mount: dict[str, Any] = {"name": volume, "mountPath": path, "readOnly": read_only}
        if below:
            mount["subPath"] = below
        self.mounts.append(mount)

    def take(
        self,
        field: str,
        uri: str,
        store: Store | None,
        path: str,
        *,
        sha256: Sha256 | None = None,
        only: tuple[str, ...] = (),
    ) -> None:
        """Have what a storage URI names at `path`, to read: mounted, or fetched from its store."""
        if store is None:
            self.add(uri, path)
        else:
            self.stores.read(field, uri, store, path, sha256=sha256, only=only)

    def add_claim(self, uri: str, path: str) -> str:
        """Mount the whole claim, writable, and return where the URI's folder lies in it.

        A folder that does not exist yet cannot be mounted by itself: the kubelet would make it for root alone.
        """
        location = parse_storage_uri(uri)
        if location.claim is None:
            self.add(uri, path, read_only=False)
            return path
        self.add(f"pvc://{location.claim}", path, read_only=False)
        return f"{path}/{location.path}".rstrip("/")
