"""Who must be looked at when something changes. What each kind says of its neighbours, as keys of the queue."""

from collections.abc import Iterator, Mapping
from typing import Any

from tradewind.api.common import Resource
from tradewind.api.endpoint import Clock, Endpoint
from tradewind.api.parse import InvalidSpec
from tradewind.core.endpoint.manifests import endpoint_of
from tradewind.core.manifests.common import OWNER_KIND, OWNER_NAME
from tradewind.core.registry import BY_KIND
from tradewind.core.world import Neighbour
from tradewind.shell.cache import Cache, Key, key_of

Json = Mapping[str, Any]


def changed(cache: Cache, body: Json, *, deleted: bool, listed: bool = False) -> Iterator[Key]:
    """Note a watch event and name everybody it concerns; nobody has to look at what is finished.

    Args:
        listed: it is no change: a watch begins with what there is. Of what is over and known nobody needs to hear again.
    """
    if listed and cache.is_over(body):
        return
    parsed = cache.drop(body) if deleted else cache.take(body)
    if not deleted and cache.is_quiet(body):
        return
    yield from concerned(cache, key_of(body), parsed)


def concerned(cache: Cache, key: Key, parsed: Resource | InvalidSpec) -> Iterator[Key]:
    """A changed object and its neighbours."""
    if is_open(parsed):
        yield key
    if isinstance(parsed, InvalidSpec):
        return
    for neighbour in BY_KIND[key.kind].neighbours(parsed):
        for found in _found(cache, key, neighbour):
            one = cache.get(neighbour.kind, *found[1:])
            if one is None or is_open(one):  # None: not seen yet, or not valid
                yield found


def _found(cache: Cache, key: Key, neighbour: Neighbour) -> Iterator[Key]:
    kind, name, naming, through = neighbour
    if name is not None:
        yield Key(kind.__name__, key.namespace, name)
    elif through is not None:
        for namer in cache.naming(through, key):
            for one in BY_KIND[through.__name__].neighbours(namer):
                if one.kind is kind and one.name is not None and is_open(namer):
                    yield Key(kind.__name__, key.namespace, one.name)
    else:
        for found in cache.naming(kind, key) if naming else cache.all(kind, key.namespace):
            yield Key(kind.__name__, key.namespace, found.name)


def is_open(parsed: Resource | InvalidSpec) -> bool:
    """Whether an object needs turns of its own: it is not finished."""
    return isinstance(parsed, InvalidSpec) or not BY_KIND[type(parsed).__name__].finished(parsed)


def open_keys(cache: Cache) -> Iterator[Key]:
    """Everybody who is looked at in each round, whatever was missed."""
    return (key for key, parsed in cache.everything() if is_open(parsed))


def notified(cache: Cache, payload: str) -> Iterator[tuple[Key, bool]]:
    """Whom a database notification concerns, and whether it waits for the look.

    `namespace/endpoint`: the experiment that holds the Endpoint, at once in a replay. `namespace/endpoint/arms`: the Endpoint.
    """
    namespace, name, about = f"{payload}//".split("/")[:3]
    endpoint = cache.get(Endpoint, namespace, name)
    if about == "arms":
        if endpoint is not None:
            yield Key("Endpoint", namespace, name), True
    elif endpoint is not None and endpoint.status.active_experiment is not None:
        replay = endpoint.spec.clock is Clock.REPLAY
        yield Key("ABExperiment", namespace, endpoint.status.active_experiment.name), replay


def published_for(body: Json) -> Key | None:
    """The Endpoint whose routing document a ConfigMap is, by its name: labels are whatever the last writer says."""
    name = endpoint_of(body["metadata"]["name"])
    return Key("Endpoint", body["metadata"]["namespace"], name) if name is not None else None


def owner_of(body: Json) -> Key | None:
    """The owner of a child, by its labels."""
    labels = body["metadata"].get("labels") or {}
    kind, name = labels.get(OWNER_KIND), labels.get(OWNER_NAME)
    return Key(kind, body["metadata"]["namespace"], name) if kind and name else None
