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
from tradewind.shell.cache import Cache, Key
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.shell.going import Going, stays
from tradewind.shell.index import changed, concerned, open_keys, owner_of, published_for
from tradewind.shell.reach import Reach, add_all

log = structlog.get_logger()

_CHILDREN = (
    ("apps", "v1", "deployments"),
    ("batch", "v1", "jobs"),
    ("serving.kserve.io", "v1beta1", "inferenceservices"),
    ("", "v1", "configmaps"),
)
_RETRY_SECONDS = 2.0


async def watch(cache: Cache, add: Callable[[Key], None], reach: Reach, going: Going, stop: asyncio.Event) -> None:
    """Note and enqueue every change until told to stop."""
    namespaces = reach.named
    options = kopf.OperatorSettings()
    options.posting.enabled = False
    options.watching.server_timeout = 600
    options.watching.client_timeout = 660
    options.watching.connect_timeout = 30
    options.peering.standalone = True
    for group, version, plural in _CHILDREN:
        options.watching.label_selectors[f"{plural}.{version}.{group}" if group else plural] = CHILD_SELECTOR
    await kopf.operator(
        registry=_handlers(cache, add, reach, going),
        settings=options,
        standalone=True,
        identity="tradewind",  # else kopf asks for a user name, and a pod's uid has none
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )


def _handlers(cache: Cache, add: Callable[[Key], None], reach: Reach, going: Going) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    async def on_ours(event: Mapping[str, Any], **_: Any) -> None:
        for key in changed(cache, event["object"], deleted=event["type"] == "DELETED"):
            add(key)

    async def on_child(body: kopf.Body, **_: Any) -> None:
        for key in {owner_of(body), published_for(body) if "data" in body or "spec" not in body else None}:
            if key is not None:
                add(key)

    async def on_namespace(event: Mapping[str, Any], **_: Any) -> None:
        deleted = event["type"] == "DELETED"
        going.note(event["object"], deleted=deleted)
        if not reach.named and reach.note(event["object"], deleted=deleted):
            add_all(cache, add, event["object"]["metadata"]["name"])

    def on_login(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    kopf.on.login(registry=registry)(on_login)
    for kind in KINDS:
        kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=f"ours-{kind.plural}")(on_ours)
    for group, version, plural in _CHILDREN:
        kopf.on.event(
            group,
            version,
            plural,
            registry=registry,
            id=f"child-{plural}",
            labels={"app.kubernetes.io/managed-by": "tradewind"},
        )(on_child)
    kopf.on.event("", "v1", "namespaces", registry=registry, id="namespaces")(on_namespace)
    return registry


async def fill(cache: Cache, cluster: Cluster, namespaces: Sequence[str]) -> None:
    """Take a whole list of each kind, also of those that have no objects; tries until it has them all."""
    while True:
        try:
            await refresh(cache, cluster, namespaces)
        except ClusterError as error:
            log.warning("waiting for a list of each kind", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


async def resync(
    cache: Cache, cluster: Cluster, namespaces: Sequence[str], add: Callable[[Key], None], seconds: float
) -> None:
    """Find what the watch has missed, and look at everything that is not finished, for ever."""
    while True:
        await asyncio.sleep(seconds)
        try:
            for key in await refresh(cache, cluster, namespaces):
                add(key)
        except ClusterError as error:
            log.warning("list failed", error=str(error))
        for key in open_keys(cache):
            add(key)


async def refresh(cache: Cache, cluster: Cluster, namespaces: Sequence[str]) -> list[Key]:
    """Compare the cache with a list of each kind; parses what differs alone. Gives whom the differences concern."""
    found: list[Key] = []
    for kind in BY_KIND:
        for namespace in namespaces or (None,):
            try:
                items, version = await cluster.listing(API_VERSION, kind, namespace)
            except ClusterError as error:
                if namespace is None or error.status != 403 or await stays(cluster, namespace):
                    raise
                cache.forget(namespace)  # the rights go with a namespace and come with it
                continue
            for key, parsed in cache.relist(kind, namespace, items, version):
                found += concerned(cache, key, parsed)
    return found
