"""Folders of a real store as pods are told of them, and what lies on its disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tradewind.stores.bucket import Bucket
from tradewind.trading.artifact import SUMS_FILE, artifact_sha256, sums_text
from tradewind.trading.settings.stores import StoredFolder
from tradewind.training.files import folder_hashes
from workshop.stores import ACCESS_KEY, SECRET_KEY, StoreServer

LOOPBACK = ("127.0.0.0/8",)


def secret(folder: Path, **changes: str | None) -> Path:
    """A Secret as the kubelet mounts it; None leaves a key out."""
    values: dict[str, str | None] = {
        "accessKeyId": ACCESS_KEY,
        "secretAccessKey": SECRET_KEY,
        "allowedHosts": "127.0.0.1",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in (values | changes).items():
        (folder / key).unlink(missing_ok=True)
        if value is not None:
            (folder / key).write_text(value)
    return folder


@dataclass
class Rig:
    """A store and a place for Secrets and scratch."""

    server: StoreServer
    folder: Path

    def secret(self, folder: Path, **changes: str | None) -> Path:
        """A Secret for this store."""
        return secret(folder, **({"allowedHosts": f"127.0.0.1:{self.server.port}"} | changes))

    def described(self, uri: str, path: Path, **changes: Any) -> dict[str, Any]:
        """A folder of the store in the words of a Job's configuration."""
        key = changes.pop("secret", None) or self.secret(self.folder / "secret")
        store = {"region": self.server.region, "endpoint": self.server.url, "secretRef": {"name": "key"}}
        described = {
            "field": "spec.baseModel",
            "path": str(path),
            "uri": uri,
            "secretFolder": str(key),
            "networks": LOOPBACK,
        }
        return {**described, "store": store | changes.pop("store", {}), **changes}

    def stored(self, uri: str, path: Path = Path("/nowhere"), **changes: Any) -> StoredFolder:
        """The same, parsed."""
        return StoredFolder.model_validate(self.described(uri, path, **changes))

    def bucket(self, uri: str, **changes: Any) -> Bucket:
        """Its objects."""
        return Bucket(self.stored(uri, **changes))


def with_sums(folder: Path) -> str:
    """Writes SHA256SUMS as somebody who copies files does, and returns the folder's hash."""
    hashes = folder_hashes(folder)
    (folder / SUMS_FILE).write_text(sums_text(hashes))
    return artifact_sha256(hashes)
