"""How the operator learns of changes: kopf's watch events, and a list of each kind at the start and at each resync.

Handlers only note and enqueue: no finalizers, annotations or timers of kopf's own. A watch that was away lists what there
is and says nothing of what was deleted meanwhile, and one that hangs says nothing at all; the lists find both.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import kopf
import structlog

from tradewind.api.common import API_VERSION, GROUP, VERSION
from tradewind.api.registry import KINDS
from tradewind.core.manifests.common import CHILD_SELECTOR
from tradewind.core.registry import BY_KIND
from tradewind.shell.cache import Cache, Key, key_of
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.shell.going import Going, stays
from tradewind.shell.index import changed, concerned, open_keys, owner_of, published_for
from tradewind.shell.memory import give_back
from tradewind.shell.reach import Reach, add_all
from tradewind.shell.shards import Shard
from tradewind.shell.views import Views

log = structlog.get_logger()

_CHILDREN = (
    ("apps", "v1", "deployments", "Deployment"),
    ("batch", "v1", "jobs", "Job"),
    ("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService"),
    ("", "v1", "configmaps", "ConfigMap"),
)
_RETRY_SECONDS = 2.0
_DELAY_SECONDS = 3.0
"""What a list shows and the watch has not told after so long, it has missed."""
_AT_ONCE = 10
"""So many objects are parsed before others have their turn."""


class _NoDiffs(kopf.DiffBaseStorage):  # type: ignore[misc]  # kopf has no types here
    """Nothing of ours asks what of an object has changed since it was handled: else kopf copies each one whole to tell."""

    def build(self, **_: Any) -> dict[str, Any]:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


async def watch(
    cache: Cache, views: Views, add: Callable[[Key], None], reach: Reach, going: Going, stop: asyncio.Event
) -> None:
    """Note and enqueue every change until told to stop."""
    namespaces = reach.shard.named
    options = kopf.OperatorSettings()
    options.posting.enabled = False
    options.watching.server_timeout = 600
    options.watching.client_timeout = 660
    options.watching.connect_timeout = 30
    options.peering.standalone = True
    options.persistence.diffbase_storage = _NoDiffs()
    for group, version, plural, _ in _CHILDREN:
        options.watching.label_selectors[f"{plural}.{version}.{group}" if group else plural] = CHILD_SELECTOR
    await kopf.operator(
        registry=_handlers(cache, views, add, reach, going),
        settings=options,
        standalone=True,
        identity="tradewind",  # else kopf asks for a user name, and a pod's uid has none
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )


def _handlers(
    cache: Cache, views: Views, add: Callable[[Key], None], reach: Reach, going: Going
) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    async def on_ours(event: Mapping[str, Any], namespace: str, **_: Any) -> None:
        if namespace not in reach.shard:
            return
        deleted, listed = event["type"] == "DELETED", event["type"] is None
        for key in changed(cache, event["object"], deleted=deleted, listed=listed):
            add(key)

    async def on_child(event: Mapping[str, Any], namespace: str, param: tuple[str, str], **_: Any) -> None:
        body = event["object"]
        if namespace not in reach.shard:
            return
        if not views.watched(*param, body, deleted=event["type"] == "DELETED"):
            return  # we wrote it
        for key in {owner_of(body), published_for(body) if "data" in body or "spec" not in body else None}:
            if key is not None:
                add(key)

    async def on_namespace(event: Mapping[str, Any], **_: Any) -> None:
        deleted = event["type"] == "DELETED"
        going.note(event["object"], deleted=deleted)
        if not reach.shard.named and reach.note(event["object"], deleted=deleted):
            add_all(cache, add, event["object"]["metadata"]["name"])

    def on_login(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    kopf.on.login(registry=registry)(on_login)
    for kind in KINDS:
        kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=f"ours-{kind.plural}")(on_ours)
    for group, version, plural, kind_name in _CHILDREN:
        kopf.on.event(
            group,
            version,
            plural,
            registry=registry,
            id=f"child-{plural}",
            labels={"app.kubernetes.io/managed-by": "tradewind"},
            param=(f"{group}/{version}" if group else version, kind_name),
        )(on_child)
    kopf.on.event("", "v1", "namespaces", registry=registry, id="namespaces")(on_namespace)
    return registry


async def fill(cache: Cache, cluster: Cluster, shard: Shard) -> None:
    """Take a whole list of each kind, also of those that have no objects; tries until it has them all."""
    while True:
        try:
            await refresh(cache, cluster, shard)
        except ClusterError as error:
            log.warning("waiting for a list of each kind", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


async def resync(
    cache: Cache,
    views: Views,
    cluster: Cluster,
    shard: Shard,
    add: Callable[[Key], None],
    add_round: Callable[[Sequence[Key], float], None],
    seconds: float,
) -> None:
    """Find what the watch has missed, and look at everything that is not finished, for ever.

    Args:
        add: asks for a turn now.
        add_round: asks for one of each within so many seconds.
    """
    while True:
        await asyncio.sleep(seconds)
        try:
            for key in await mend(cache, cluster, shard):
                add(key)
        except ClusterError as error:
            cache.trust(behind=BY_KIND)
            log.warning("list failed", error=str(error))
        await compare(views, cluster, shard)
        await asyncio.to_thread(give_back)
        add_round(list(open_keys(cache)), seconds)


async def refresh(cache: Cache, cluster: Cluster, shard: Shard) -> list[Key]:
    """Compare the cache with a list of each kind; parses what differs alone, and nothing of another shard.

    Gives whom the differences concern.
    """
    found: list[Key] = []
    for kind, namespace in _places(shard):
        listed: set[Key] = set()
        version = "0"
        try:
            async for page, version in cluster.pages(API_VERSION, kind, namespace):  # noqa: B007 - of the last page
                for number, raw in enumerate(page):
                    if not number % _AT_ONCE:
                        await asyncio.sleep(0)
                    key = key_of(raw)
                    if key.namespace not in shard:
                        continue
                    listed.add(key)
                    if int(raw["metadata"]["resourceVersion"]) > cache.version(key):
                        found += concerned(cache, key, cache.take(raw))
        except ClusterError as error:
            await _refused(error, cluster, namespace)
            cache.forget(str(namespace))  # the rights go with a namespace and come with it
            continue
        for key, parsed in cache.keep(kind, namespace, listed, int(version)):
            found += concerned(cache, key, parsed)
    return found


async def mend(cache: Cache, cluster: Cluster, shard: Shard, delay: float = _DELAY_SECONDS) -> list[Key]:
    """Read what the watch has missed, and trust it of the kinds of which it has missed nothing. Gives whom it concerns.

    Raises:
        ClusterError: there is no list.
    """
    lists: list[tuple[str, str | None, dict[Key, int], int]] = []
    suspects: set[Key] = set()
    for kind, namespace in _places(shard):
        versions: dict[Key, int] = {}
        version = "0"
        try:
            async for page, version in cluster.pages(API_VERSION, kind, namespace, metadata=True):  # noqa: B007
                found_here = (raw for raw in page if raw["metadata"]["namespace"] in shard)
                versions |= {key_of(raw): int(raw["metadata"]["resourceVersion"]) for raw in found_here}
        except ClusterError as error:
            await _refused(error, cluster, namespace)
            cache.forget(str(namespace))
            continue
        lists.append((kind, namespace, versions, int(version)))
        suspects.update(cache.differences(kind, namespace, versions, int(version)))
    if suspects:
        await asyncio.sleep(delay)
    missed = [key for each in lists for key in cache.differences(*each) if key in suspects]
    found: list[Key] = []
    for key in missed:
        raw = await cluster.get(API_VERSION, key.kind, key.namespace, key.name)
        if raw is not None:
            found += concerned(cache, key, cache.take(raw))
    for kind, namespace, versions, as_of in lists:
        for key, parsed in cache.keep(kind, namespace, versions.keys(), as_of):
            found += concerned(cache, key, parsed)
    behind = {key.kind for key in missed}
    if behind:
        log.warning("the watch has missed something", kinds=sorted(behind), objects=len(missed))
    cache.trust(behind)
    return found


async def compare(views: Views, cluster: Cluster, shard: Shard) -> None:
    """Find which children are not as they were written."""
    for of_kind in views.kinds():
        try:
            for namespace in shard.named or (None,):
                items: list[Any] = []
                version = "0"
                try:
                    pages = cluster.pages(*of_kind, namespace, metadata=True, label_selector=CHILD_SELECTOR)
                    async for page, version in pages:  # noqa: B007
                        items += (item for item in page if item["metadata"]["namespace"] in shard)
                except ClusterError as error:
                    await _refused(error, cluster, namespace)
                    continue
                views.compare(of_kind, namespace, items, version)
        except ClusterError as error:
            views.distrust(of_kind)
            log.warning("list of children failed", kind=of_kind[1], error=str(error))


def _places(shard: Shard) -> list[tuple[str, str | None]]:
    return [(kind, namespace) for kind in BY_KIND for namespace in (shard.named or (None,))]


async def _refused(error: ClusterError, cluster: Cluster, namespace: str | None) -> None:
    """Raises the error, unless it is only that the namespace does not stay."""
    if namespace is None or error.status != 403 or await stays(cluster, namespace):
        raise error
