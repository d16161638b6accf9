"""Where the operator acts: in the namespaces that are named to it, or in those of its shard that carry the label.

An operator for the whole cluster may read everywhere, since Kubernetes' rights know no labels. It acts in labelled namespaces
alone, and the chart's admission policy refuses its writes anywhere else, whoever has its token.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from prometheus_client import Gauge

from tradewind.api.common import ENABLED_LABEL
from tradewind.shell.cache import Cache, Key
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.shell.index import is_open
from tradewind.shell.shards import UNDIVIDED, Shard

log = structlog.get_logger()

OUTSIDE = Gauge(
    "tradewind_objects_outside",
    f"Objects of our kinds that nothing is done about: their namespace lacks the label {ENABLED_LABEL}=true.",
    ["namespace"],
)
_RETRY_SECONDS = 2.0


class Reach:
    """The namespaces in which the operator acts.

    Args:
        shard: whose they are by name; where none are named, those of them with the label, as last seen.
    """

    def __init__(self, shard: Shard = UNDIVIDED) -> None:
        self.shard = shard
        self._labelled: set[str] = set()
        self._outside: set[str] = set()

    def __contains__(self, namespace: str) -> bool:
        return namespace in (self.shard.named or self._labelled)

    def note(self, namespace: Mapping[str, Any], *, deleted: bool) -> bool:
        """Take a Namespace as a watch shows it. True: it has come into reach."""
        metadata = namespace["metadata"]
        name: str = metadata["name"]
        if deleted or name not in self.shard or (metadata.get("labels") or {}).get(ENABLED_LABEL) != "true":
            self._labelled.discard(name)
            return False
        came = name not in self._labelled
        self._labelled.add(name)
        return came

    async def refresh(self, cluster: Cluster) -> frozenset[str]:
        """Take the list of labelled namespaces; gives those that have come into reach.

        Raises:
            ClusterError: there is no list.
        """
        found = await cluster.select("v1", "Namespace", label_selector=f"{ENABLED_LABEL}=true")
        names = {item["metadata"]["name"] for item in found}
        before, self._labelled = self._labelled, {name for name in names if name in self.shard}
        return frozenset(self._labelled - before)

    def tell(self, cache: Cache) -> None:
        """Say of which namespaces objects are left alone: in the log when one is new, and in the metrics."""
        left = (key.namespace for key, _ in cache.everything() if key.namespace not in self)
        counts = Counter(namespace for namespace in left if namespace in self.shard)
        for name in sorted(counts.keys() - self._outside):
            remedy = f"kubectl label namespace {name} {ENABLED_LABEL}=true"
            log.warning("namespace without the label: left alone", namespace=name, objects=counts[name], remedy=remedy)
        for name in self._outside - counts.keys():
            OUTSIDE.remove(name)
        for name, count in counts.items():
            OUTSIDE.labels(name).set(count)
        self._outside = set(counts)


def within(reach: Reach, work: Callable[[Key], Awaitable[float | None]]) -> Callable[[Key], Awaitable[float | None]]:
    """The same work for what lies within reach; nothing for what does not."""

    async def turn(key: Key) -> float | None:
        return await work(key) if key.namespace in reach else None

    return turn


def add_all(cache: Cache, add: Callable[[Key], None], namespace: str) -> None:
    """Ask for a turn of everything in a namespace that has come into reach."""
    for key, parsed in cache.everything():
        if key.namespace == namespace and is_open(parsed):
            add(key)


async def fill(reach: Reach, cluster: Cluster) -> None:
    """Learn which namespaces carry the label; tries until it knows."""
    while not reach.shard.named:
        try:
            await reach.refresh(cluster)
        except ClusterError as error:
            log.warning("waiting for a list of namespaces", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


async def follow(reach: Reach, cluster: Cluster, cache: Cache, add: Callable[[Key], None], *, seconds: float) -> None:
    """Find what the watch of namespaces has missed, and say what is left alone, for ever."""
    while True:
        reach.tell(cache)
        await asyncio.sleep(seconds)
        try:
            for namespace in await reach.refresh(cluster):
                add_all(cache, add, namespace)
        except ClusterError as error:
            log.warning("list of namespaces failed", error=str(error))
