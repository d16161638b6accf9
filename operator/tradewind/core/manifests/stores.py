"""What a pod has of object stores: scratch volumes, the keys of Secrets, a ServiceAccount, and what it is told to fetch.

The operator reads no Secret and asks no store: a Job fetches by itself, a predictor's pod by its init container.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tradewind.core.decision import Manifest
from tradewind.core.policy import Policy
from tradewind.schema.scalars import Sha256
from tradewind.trading.hosts import Refused, judged
from tradewind.trading.settings.stores import SecretKeys, Store, StoredFolder, Stores, endpoint_of

SECRETS_PATH = "/var/run/secrets/tradewind/stores"


class StoreMounts:
    """Collects the folders of stores that a pod uses.

    Attributes:
        scratch: volumes that folders are fetched into, or made in.
        scratch_mounts: of these.
        secrets: volumes with the keys.
        secret_mounts: of these; only the container that speaks to stores has them.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.scratch: list[Manifest] = []
        self.scratch_mounts: list[Manifest] = []
        self.secrets: list[Manifest] = []
        self.secret_mounts: list[Manifest] = []
        self.asked = Stores()
        self._service_account: str | None = None

    def read(
        self, field: str, uri: str, store: Store, path: str, *, sha256: Sha256 | None = None, only: tuple[str, ...] = ()
    ) -> None:
        """Have a folder at `path` before anything else runs.

        Args:
            field: of the spec, for messages.
            uri: of the folder.
            store: how it is reached.
            path: in the pod.
            sha256: of the folder.
            only: endings of the names that are needed; empty: all.
        """
        self._scratch(path)
        folder = self._folder(field, uri, store, path).model_copy(update={"sha256": sha256, "only": only})
        self.asked = self.asked.model_copy(update={"read": (*self.asked.read, folder)})

    def write(self, field: str, uri: str, store: Store, path: str, run: str, owner: str) -> None:
        """Have a scratch volume at `path`, whose folder `run` is put into the store as it is made."""
        self._scratch(path)
        folder = self._folder(field, f"{uri.rstrip('/')}/{run}", store, f"{path}/{run}")
        self.asked = self.asked.model_copy(update={"output": folder, "owner": owner})

    @property
    def config(self) -> dict[str, Any]:
        """What a Job's configuration has of it; nothing where the pod uses no store."""
        return {"stores": self.asked.to_manifest()} if self.asked != Stores() else {}

    @property
    def identity(self) -> dict[str, Any]:
        """The pod's ServiceAccount; its token for the API server is not mounted all the same."""
        return {"serviceAccountName": self._service_account} if self._service_account is not None else {}

    def _folder(self, field: str, uri: str, store: Store, path: str) -> StoredFolder:
        reach = judged(endpoint_of(uri, store), self._policy.egress, credential=True)
        assert not isinstance(reach, Refused), "who asks has looked at core/policy.py before"
        secret = None
        if store.secret_ref is not None:
            secret = self._secret(store.secret_ref.name)
        else:
            self._service_account = store.service_account_name
        return StoredFolder(
            field=field, path=Path(path), uri=uri, store=store, secret_folder=secret, networks=reach.networks
        )

    def _scratch(self, path: str) -> None:
        volume = f"scratch-{len(self.scratch)}"
        self.scratch.append({"name": volume, "emptyDir": {}})
        self.scratch_mounts.append({"name": volume, "mountPath": path})

    def _secret(self, name: str) -> Path:
        """Of the Secret no more than is needed. What is missing, being optional, is told by the pod."""
        path = f"{SECRETS_PATH}/{name}"
        if all(mount["mountPath"] != path for mount in self.secret_mounts):
            volume = f"store-key-{len(self.secrets)}"
            items = [{"key": str(key), "path": str(key)} for key in SecretKeys]
            source: Mapping[str, Any] = {"secretName": name, "defaultMode": 0o440, "optional": True, "items": items}
            self.secrets.append({"name": volume, "secret": source})
            self.secret_mounts.append({"name": volume, "mountPath": path, "readOnly": True})
        return Path(path)
