"""A folder of a bucket: read, written, listed and deleted object by object, with faults in our words.

obstore tries a request again by itself while the store fails or a connection breaks; what is raised here has been tried for
`PATIENCE`.
"""

import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from tradewind.stores.faults import StoreError, is_absence, refused, told, unavailable
from tradewind.stores.identity import Credential, credentials
from tradewind.trading.hosts import Asked, barred
from tradewind.trading.settings.stores import StoredFolder, endpoint_of

if TYPE_CHECKING:
    from obstore import GetResult

PATIENCE: Final = timedelta(minutes=2)
_TRIES: Final = 100  # `PATIENCE` ends them: the pauses are drawn, and a few short ones would be over in a second
_CHUNK_BYTES: Final = 8 << 20
_SMALL_BYTES: Final = 16 << 20


class Bucket:
    """The objects below a folder's prefix, by their path relative to it."""

    def __init__(
        self, folder: StoredFolder, *, patience: timedelta = PATIENCE, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Nothing is asked yet, but the store's name is resolved.

        Args:
            folder: where it lies and how it is reached.
            patience: how long a request is tried.
            stopped: asked between pieces of an object; True gives up.

        Raises:
            StoreError: exit 64: there is no key, or the name leads to where no store may lie; exit 69: it does not resolve.
        """
        self.folder = folder
        self._stopped = stopped
        url = endpoint_of(folder.uri, folder.store)
        asked = Asked.of(url)
        self._credentials = credentials(folder)
        self._keyless: StoreError | None = None
        _check_addresses(folder, asked)
        virtual = folder.uri.startswith("oss://") or folder.store.endpoint is None
        host = url.removeprefix(f"{asked.scheme}://")
        self._store = S3Store(
            folder.bucket,
            endpoint=f"{asked.scheme}://{folder.bucket}.{host}" if virtual else url,
            region=folder.store.region,
            virtual_hosted_style_request=virtual,
            disable_bulk_delete=True,  # OSS has none
            credential_provider=self._credential,  # type: ignore[arg-type] # a mapping of the very keys
            client_options={"allow_http": asked.scheme == "http", "timeout": "10m", "connect_timeout": "10s"},
            retry_config={
                "max_retries": _TRIES,
                "retry_timeout": patience,
                "backoff": {
                    "init_backoff": timedelta(milliseconds=200),
                    "max_backoff": timedelta(seconds=10),
                    "base": 2,
                },
            },
        )

    def read(self, name: str) -> bytes | None:
        """A small object; None where there is none.

        Raises:
            StoreError: also for an object of more than 16 MiB.
        """
        with self._told():
            found = self._found(name)
            if found is None:
                return None
            if found.meta["size"] > _SMALL_BYTES:
                raise refused(
                    self.folder, "StoreObjectTooLarge", f"{name} has {found.meta['size']} bytes and is no list of files"
                )
            return bytes(found.bytes())

    def fetch(self, name: str, target: Path) -> str | None:
        """Write an object into a file and return its SHA-256; None where there is none."""
        digest = hashlib.sha256()
        with self._told():
            found = self._found(name)
            if found is None:
                return None
            with target.open("wb") as file:
                for piece in found.stream(min_chunk_size=_CHUNK_BYTES):
                    if self._stopped():
                        raise unavailable(self.folder, "stopped while it was being fetched", STOPPED)
                    digest.update(piece)
                    file.write(piece)
        return digest.hexdigest()

    def put(self, name: str, content: bytes | Path) -> None:
        """Write an object, whole or not at all, over what was there."""
        with self._told():
            obstore.put(self._store, self._key(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small object where there is none; False: there is one. OSS is not asked for the condition, but looked at before."""
        if self.folder.uri.startswith("oss://"):
            if self.read(name) is not None:
                return False
            self.put(name, content)
            return True
        with self._told():
            try:
                obstore.put(self._store, self._key(name), content, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def names(self, below: str = "") -> list[str]:
        """Paths of all objects below a folder, sorted."""
        prefix, start = self._key(below), self._key("")
        with self._told():
            found = [meta["path"] for page in obstore.list(self._store, prefix=prefix or None) for meta in page]
        return sorted(path.removeprefix(f"{start}/") if start else path for path in found)

    def delete(self, name: str) -> None:
        """Take an object away, if it is there."""
        with self._told():
            try:
                obstore.delete(self._store, self._key(name))
            except FileNotFoundError as error:
                if not is_absence(error):
                    raise

    def _found(self, name: str) -> "GetResult | None":
        try:
            return obstore.get(self._store, self._key(name))
        except FileNotFoundError as error:
            if not is_absence(error):
                raise
            return None

    def _key(self, name: str) -> str:
        return "/".join(part for part in (self.folder.prefix, name) if part)

    def _credential(self) -> Credential:
        """A key; obstore keeps to itself why there is none."""
        try:
            return self._credentials()
        except StoreError as error:
            self._keyless = error
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except (BaseError, FileNotFoundError) as error:
            known, self._keyless = self._keyless, None
            raise known or told(self.folder, error) from None


STOPPED: Final = "Stopped"
"""Reason of what was given up since the pod is being stopped."""


def _check_addresses(folder: StoredFolder, asked: Asked) -> None:
    """Where a name leads, before anything is signed for it: no metadata service, and nothing inside that is not listed."""
    try:
        found: list[Any] = socket.getaddrinfo(asked.host, asked.port, type=socket.SOCK_STREAM)
    except OSError:
        raise unavailable(
            folder, f"{asked.host} does not resolve: correct store.endpoint, or see to the cluster's DNS"
        ) from None
    for address in {ip_address(str(entry[4][0]).partition("%")[0]) for entry in found}:
        place = barred(address, folder.networks)
        if place is not None:
            message = (
                f"{asked.host} leads to {place}: name another store, or have an administrator add the host to "
                "egress.allowedInternalHosts in the values of the chart"
            )
            raise refused(folder, "StoreNotAllowed", message)
