"""Several operators: each namespace is of one of them, by its name alone, and nothing of another's is read, kept or let go of."""

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from server_double import Json, Server, thing

from tradewind.api.common import ENABLED_LABEL, IN_USE_FINALIZER
from tradewind.core.manifests.common import MANAGED_BY, OWNER_KIND, OWNER_NAME
from tradewind.shell.cache import PARSES, Cache, Key
from tradewind.shell.going import Going
from tradewind.shell.reach import Reach
from tradewind.shell.shards import UNDIVIDED, Shard
from tradewind.shell.views import Place, Views
from tradewind.shell.watch import _handlers, compare, mend, refresh

API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}
OURS, THEIRS = "kube-public", "trading"
SECOND = Shard(1, 2)
"""OURS is its namespace, and THEIRS the other shard's, by the hash of their names."""


def parses() -> float:
    samples = (sample for metric in PARSES.collect() for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


def version(name: str, namespace: str, **metadata: Any) -> Json:
    return thing("ModelVersion", name, API, namespace=namespace, **metadata)


def both() -> Server:
    return Server(version("ours", OURS), version("theirs", THEIRS))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_named_namespaces_are_dealt_evenly_and_each_to_one(count: int) -> None:
    names = ("e", "b", "d", "a", "c", "b")  # in whatever order they are named, and however often
    dealt = [Shard(index, count, names).named for index in range(count)]
    assert sorted({n for shard in dealt for n in shard}) == ["a", "b", "c", "d", "e"]
    if count > 1:
        assert sum(map(len, dealt)) == 5
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    for index, mine in enumerate(dealt):
        assert [n for n in "abcdef" if n in Shard(index, count, names)] == sorted(set(mine))


def test_labelled_namespaces_are_each_of_one_shard_and_about_as_many_of_each() -> None:
    shards = [Shard(index, 4) for index in range(4)]
    names = [f"desk-{number}" for number in range(1000)]
    of = [[shard.index for shard in shards if name in shard] for name in names]
    assert {len(found) for found in of} == {1}
    assert all(200 < sum(found == [index] for found in of) < 300 for index in range(4))
    assert all(name in UNDIVIDED for name in names)


@pytest.mark.parametrize(
    ("name", "of_two", "of_three", "of_seven"),
    [("trading", 0, 2, 2), ("desk", 0, 0, 1), ("kube-public", 1, 0, 1), ("tradewind-system", 0, 0, 2), ("c", 0, 2, 3)],
)
def test_whose_a_labelled_namespace_is_stays_over_releases(
    name: str, of_two: int, of_three: int, of_seven: int
) -> None:
    """Golden: with another hash two releases would decide for one namespace while an upgrade replaces their pods."""
    for count, index in ((2, of_two), (3, of_three), (7, of_seven)):
        assert [shard for shard in range(count) if name in Shard(shard, count)] == [index]


def test_a_layout_is_what_all_its_shards_have_in_common_and_no_others() -> None:
    layouts = [
        [Shard(index, count, names).layout for index in range(count)]
        for count, names in ((2, ()), (3, ()), (2, ("a", "b", "c")), (3, ("a", "b", "c")), (2, ("a", "b", "d")))
    ]
    assert all(len(set(of)) == 1 for of in layouts)
    assert [of[0] for of in layouts[:3]] == ["2-shards-by-label", "3-shards-by-label", "2-shards-of-ea7fb08b7a2d"]
    assert len({of[0] for of in layouts}) == len(layouts)
    assert Shard(0, 2, ("c", "a", "b", "a")).layout == layouts[2][0], "in whatever order they are named"
    assert UNDIVIDED.layout is Shard(among=("a",)).layout is None


# --- one place says whose a namespace is, and all others ask it ------------------------------------------------------------


async def test_lists_bring_nothing_of_another_shard_into_the_cache() -> None:
    server, cache = both(), Cache()
    before = parses()
    await refresh(cache, server, SECOND)  # type: ignore[arg-type]
    assert {key.name for key, _ in cache.everything()} == {"ours"}
    assert parses() - before == 1
    server.put(version("ours", OURS))
    server.put(version("theirs", THEIRS))
    assert await mend(cache, server, SECOND, delay=0) == [Key("ModelVersion", OURS, "ours")]  # type: ignore[arg-type]
    assert parses() - before == 2
    assert server.looks == ["ModelVersion ours"]


async def test_the_list_of_children_is_taken_of_its_own_alone() -> None:
    """What was known before the other shard had the namespace is as if it had gone, so that it is read again."""
    views, labels = Views(), {MANAGED_BY: "tradewind", OWNER_KIND: "Endpoint", OWNER_NAME: "x"}
    server = Server()
    for namespace in (OURS, THEIRS):
        made = {"namespace": namespace, "name": f"x-{namespace}", "labels": labels}
        views.read(
            Place("v1", "Service", namespace, f"x-{namespace}"),
            server.put({"apiVersion": "v1", "kind": "Service", "metadata": made}),
        )
    places = {place.namespace for place in views._views}
    assert places == {OURS, THEIRS}
    await compare(views, server, SECOND)  # type: ignore[arg-type]
    assert {place.namespace for place in views._views} == {OURS}


def handler(shard: Shard, cache: Cache, views: Views, added: list[Key], name: str) -> Callable[..., Any]:
    """What kopf calls for a watch event."""
    reach = Reach(shard)
    registry = _handlers(cache, views, added.append, reach, Going(shard))
    (found,) = [h for h in registry._watching.get_all_handlers() if h.id == name]
    fn: Callable[..., Any] = found.fn
    return fn


async def test_watch_events_of_another_shard_are_neither_parsed_nor_kept() -> None:
    cache, added = Cache(), list[Key]()
    told = handler(SECOND, cache, Views(), added, "ours-modelversions")
    before = parses()
    for raw in both().objects.values():
        await told(event={"type": "ADDED", "object": raw}, namespace=raw["metadata"]["namespace"])
    assert added == [Key("ModelVersion", OURS, "ours")]
    assert {key.name for key, _ in cache.everything()} == {"ours"}
    assert parses() - before == 1


async def test_children_of_another_shard_are_nobodys_turn_and_not_kept() -> None:
    views, added = Views(), list[Key]()
    told = handler(SECOND, Cache(), views, added, "child-deployments")
    labels = {MANAGED_BY: "tradewind", OWNER_KIND: "Endpoint", OWNER_NAME: "x"}
    for namespace in (OURS, THEIRS):
        metadata = {"namespace": namespace, "name": "x-gateway", "labels": labels, "resourceVersion": "7"}
        event = {"type": "ADDED", "object": {"metadata": metadata, "spec": {}}}
        await told(event=event, namespace=namespace, param=("apps/v1", "Deployment"))
    assert added == [Key("Endpoint", OURS, "x")]
    assert [place.namespace for place in views._views] == [OURS]


def place(name: str, **more: Any) -> Json:
    metadata = {"name": name, "labels": {ENABLED_LABEL: "true"}, **more}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


class Namespaces(Server):
    async def select(self, *where: Any, **which: Any) -> list[Json]:
        found = [o for (kind, _), o in self.objects.items() if kind == where[1]]
        return [o for o in found if where[1] == "Namespace" or o["metadata"]["namespace"] == where[2]]


async def test_a_label_brings_in_the_shards_own_namespaces_alone() -> None:
    reach = Reach(SECOND)
    assert await reach.refresh(Namespaces(place(OURS), place(THEIRS))) == {OURS}  # type: ignore[arg-type]
    assert not reach.note(place(THEIRS), deleted=False)
    assert (OURS in reach, THEIRS in reach) == (True, False)
    reach.note(place(OURS), deleted=True)
    assert reach.note(place(OURS), deleted=False)


async def test_what_lacks_the_label_is_told_of_by_its_own_shard() -> None:
    cache = Cache()
    await refresh(cache, both(), UNDIVIDED)  # type: ignore[arg-type]
    Reach(SECOND).tell(cache)
    assert REGISTRY.get_sample_value("tradewind_objects_outside", {"namespace": OURS}) == 1
    assert REGISTRY.get_sample_value("tradewind_objects_outside", {"namespace": THEIRS}) is None


async def test_versions_of_another_shards_namespace_that_goes_are_left_to_it() -> None:
    goes = {"deletionTimestamp": "2026-03-01T12:00:00Z"}
    held = {"finalizers": [IN_USE_FINALIZER], "labels": {}}
    server = Namespaces(
        place(OURS, **goes), place(THEIRS, **goes), version("ours", OURS, **held), version("theirs", THEIRS, **held)
    )
    going = Going(SECOND)
    for name in (OURS, THEIRS):
        going.note(place(name, **goes), deleted=False)
    assert (OURS in going, THEIRS in going) == (True, False)
    await going.turn(server)  # type: ignore[arg-type]
    assert (OURS in going, THEIRS in going) == (True, False)
    left = {name: server.metadata("ModelVersion", name)["finalizers"] for name in ("ours", "theirs")}
    assert left == {"ours": [], "theirs": [IN_USE_FINALIZER]}
