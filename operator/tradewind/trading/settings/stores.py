"""How an object store is reached, and what a pod fetches from one: the part of a spec that its Jobs and predictors are told as it stands.

Belongs here: the fields, and what follows from a URI alone. Does not belong here: requests (tradewind/stores), volumes of pods
(core/manifests).
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tradewind.schema.checked import Checked
from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import SecretName, Sha256, parse_storage_uri

STORES_VARIABLE = "TRADEWIND_STORES"
"""Variable with the JSON of `Stores`, for a program that has no other configuration."""

Region = Annotated[
    str, Checked("[a-z0-9]([-a-z0-9]*[a-z0-9])?", "must be a region such as us-east-1 or cn-hangzhou", 63)
]
"""Region of a store."""

StoreURL = Annotated[
    str,
    Checked(
        "https?://[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[1-9][0-9]{0,4})?",
        "must be an http or https URL of a host and where it is not the scheme's own a port, such as https://minio.example.com:9000, "
        "without bucket, path and user",
        256,
    ),
]
"""Address of a store."""

ServiceAccountName = Annotated[
    str, Checked("[a-z0-9]([-a-z0-9.]*[a-z0-9])?", "must be the name of a ServiceAccount in the same namespace", 253)
]
"""Name of a ServiceAccount."""


class SecretKeys(StrEnum):
    """Keys of the Secret of a store. Only these are mounted."""

    ACCESS_KEY_ID = "accessKeyId"
    SECRET_ACCESS_KEY = "secretAccessKey"  # noqa: S105 - a name
    SESSION_TOKEN = "sessionToken"  # noqa: S105 - a name
    ALLOWED_HOSTS = "allowedHosts"


class StoreSecret(StrictModel):
    """A Secret with the keys accessKeyId and secretAccessKey, sessionToken where there is one, and allowedHosts."""

    name: SecretName
    """Name of the Secret, in the same namespace. Its key allowedHosts names the host of the store, or nothing is sent."""


class Store(StrictModel):
    """How an s3:// or oss:// URI is reached, and as whom."""

    region: Region
    """Region that requests are signed for; for MinIO us-east-1 unless it was told another."""
    endpoint: StoreURL | None = None
    """Address of the store; absent: that of the region, https://s3.<region>.amazonaws.com or https://s3.oss-<region>.aliyuncs.com."""
    secret_ref: StoreSecret | None = None
    """Access key in a Secret."""
    service_account_name: ServiceAccountName | None = None
    """ServiceAccount with a role of the cloud: the pods run as it (RRSA of ACK, IRSA of EKS)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.secretRef) != has(self.serviceAccountName)",
            lambda s: (s.secret_ref is None) != (s.service_account_name is None),
            "exactly one of store.secretRef and store.serviceAccountName must be set",
        ),
    )


def one_service_account(one: str, other: str, stores: Callable[[Any], tuple[Store | None, Store | None]]) -> Rule:
    """Two parts of a spec that one pod reads: it runs as one ServiceAccount."""

    def account(at: str) -> str:
        parts = at.split(".")
        there = [f"has(self.{'.'.join(parts[: n + 1])})" for n in range(len(parts))]
        return " && ".join([*there, f"has(self.{at}.serviceAccountName)"])

    def holds(spec: Any) -> bool:
        names = {store.service_account_name for store in stores(spec) if store is not None}
        return len(names - {None}) < 2

    return Rule(
        f"!({account(one)} && {account(other)}) || self.{one}.serviceAccountName == self.{other}.serviceAccountName",
        holds,
        f"{one}.serviceAccountName and {other}.serviceAccountName must be the same: one pod uses both, and runs as one "
        "ServiceAccount; give it both roles, or use a secretRef for one of them",
        f"{one}.serviceAccountName",
    )


IN_STORE = "({uri}.startsWith('s3://') || {uri}.startsWith('oss://'))"
"""CEL of whether a URI is one of a store."""


def in_store(uri: str | None) -> bool:
    """Whether a URI names a folder of an object store."""
    return uri is not None and uri.startswith(("s3://", "oss://"))


class StoredURI(StrictModel):
    """What has a `uri` that may lie in a store."""

    store: Store | None = None
    """How an s3:// or oss:// URI is reached; left out with pvc:// and file://."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"(has(self.uri) && {IN_STORE.format(uri='self.uri')}) == has(self.store)",
            lambda s: in_store(s.uri) == (s.store is not None),
            "store says how an s3:// or oss:// URI is reached: set it beside one, and leave it out with pvc:// and file://",
            "store",
        ),
    )


def endpoint_of(uri: str, store: Store) -> str:
    """The URL that requests for a URI go to, without the bucket."""
    if store.endpoint is not None:
        return store.endpoint
    if uri.startswith("oss://"):
        return f"https://s3.oss-{store.region}.aliyuncs.com"
    return f"https://s3.{store.region}.amazonaws.com"


def token_endpoint_of(uri: str, store: Store) -> str:
    """The URL at which a ServiceAccount's token is changed for a key."""
    if uri.startswith("oss://"):
        return f"https://sts.{store.region}.aliyuncs.com"
    return f"https://sts.{store.region}.amazonaws.com"


def store_urls(stored: Sequence[tuple[str | None, Store | None]]) -> tuple[str, ...]:
    """The URLs that pods with these URIs ask, each once."""
    urls: dict[str, None] = {}
    for uri, store in stored:
        if uri is None or store is None:
            continue
        urls[endpoint_of(uri, store)] = None
        if store.service_account_name is not None:
            urls[token_endpoint_of(uri, store)] = None
    return tuple(urls)


class StoredFolder(StrictModel):
    """A folder of a store and where it lies in the pod.

    Attributes:
        field: of the spec, for messages.
        path: in the pod.
        secret_folder: where the keys of the Secret are mounted; None: the pod's ServiceAccount has a role.
        networks: beside the public addresses, in which the store may lie by the installation's lists.
        sha256: of the folder; None: what its SHA256SUMS says.
        only: endings of the names that are fetched; empty: all. The hash of the whole folder is then not asked.
    """

    field: str
    path: Path
    uri: str
    store: Store
    secret_folder: Path | None = None
    networks: tuple[str, ...] = ()
    sha256: Sha256 | None = None
    only: tuple[str, ...] = ()

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return parse_storage_uri(self.uri).bucket or ""

    @property
    def prefix(self) -> str:
        """Where the folder lies in the bucket, without slashes at its ends; "": the bucket itself."""
        return parse_storage_uri(self.uri).path


class Stores(StrictModel):
    """All that a pod has of stores.

    Attributes:
        read: folders that are fetched before anything else.
        output: the folder of a run, whose results are put there as they are made.
        owner: whose output it is: installation, namespace and run.
    """

    read: Annotated[tuple[StoredFolder, ...], Field(max_length=8)] = ()
    output: StoredFolder | None = None
    owner: str = ""
