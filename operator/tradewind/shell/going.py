"""Namespaces that are being deleted: versions in them are let go of at once, whoever needs them.

A namespace waits for every finalizer in it, and takes the operator's Role and its Endpoints along in any order. So this asks
nobody who holds a version, needs no turn of it, and works by rights that lie outside of the namespace (`rbac.yaml` of the
chart). What is found goes by the API server's list, so that a restart of the operator changes nothing.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from tradewind.api.common import API_VERSION, IN_USE_FINALIZER
from tradewind.shell.cluster import Cluster, ClusterError, Json
from tradewind.shell.holds import hold_patch
from tradewind.shell.shards import UNDIVIDED, Shard

log = structlog.get_logger()

_PARALLEL = 16
"""Patches at a time: a thousand versions take seconds, and the API server's other callers notice nothing."""
_POLL_SECONDS = 10.0
_AGAIN_SECONDS = 2.0


class Going:
    """The namespaces that are being deleted, as last seen.

    Args:
        shard: whose namespaces alone are of concern, labelled or not.
    """

    def __init__(self, shard: Shard = UNDIVIDED) -> None:
        self._shard = shard
        self._names: set[str] = set()
        self._news = asyncio.Event()

    def __contains__(self, namespace: object) -> bool:
        return namespace in self._names

    def note(self, namespace: Mapping[str, Any], *, deleted: bool) -> None:
        """Take a Namespace as a watch shows it; the work on one that begins to go starts now."""
        metadata = namespace["metadata"]
        if deleted or not metadata.get("deletionTimestamp"):
            self._names.discard(metadata["name"])
        elif metadata["name"] in self._shard and metadata["name"] not in self._names:
            self._names.add(metadata["name"])
            self._news.set()

    async def follow(self, cluster: Cluster) -> None:
        """Let go of all versions in them, for ever: those that a turn has taken hold of meanwhile are found by the next look."""
        while True:
            self._news.clear()
            try:
                await self.turn(cluster)
            except ClusterError as error:
                log.warning("list of namespaces that are being deleted failed", error=str(error))
            try:
                async with asyncio.timeout(_AGAIN_SECONDS if self._names else _POLL_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def turn(self, cluster: Cluster) -> None:
        """Look which namespaces go, and let go of what is held in them.

        Raises:
            ClusterError: there is no list of namespaces.
        """
        found = await cluster.select("v1", "Namespace", field_selector="status.phase=Terminating")
        self._names = {item["metadata"]["name"] for item in found if item["metadata"]["name"] in self._shard}
        for name in sorted(self._names):
            try:
                count = await let_go(cluster, name)
            except ClusterError as error:
                log.warning("versions of a namespace that is being deleted are held", namespace=name, error=str(error))
            else:
                if count:
                    log.info("namespace is being deleted: versions let go of", namespace=name, versions=count)


async def stays(cluster: Cluster, namespace: str) -> bool:
    """Whether a namespace is there and is not being deleted: where not, rights in it may be gone before what is in it.

    Raises:
        ClusterError: the API server does not say.
    """
    found = await cluster.get("v1", "Namespace", None, namespace)
    return found is not None and not found["metadata"].get("deletionTimestamp")


async def let_go(cluster: Cluster, namespace: str) -> int:
    """Take the operator's finalizer from every version of a namespace; how many had it.

    Raises:
        ClusterError: there is no list, or a version could not be let go of for another reason than that it has changed or gone.
    """
    versions = await cluster.select(API_VERSION, "ModelVersion", namespace)
    held = [v for v in versions if IN_USE_FINALIZER in v["metadata"].get("finalizers", ())]
    room = asyncio.Semaphore(_PARALLEL)

    async def release(version: Json) -> ClusterError | None:
        name, patch = version["metadata"]["name"], {"metadata": hold_patch(version["metadata"], ())}
        async with room:
            try:
                await cluster.merge(API_VERSION, "ModelVersion", namespace, name, patch)
            except ClusterError as error:
                return None if error.status in (404, 409) else error
        return None

    errors = [error for error in await asyncio.gather(*map(release, held)) if error is not None]
    if errors:
        raise errors[0]
    return len(held)
