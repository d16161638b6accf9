"""A namespace that is being deleted: its versions are let go of, whoever holds them, without the rights that go with it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from server_double import NOW, Json, Server, key, reconciler, thing

from tradewind.api.common import IN_USE_FINALIZER
from tradewind.shell.cache import Cache
from tradewind.shell.cluster import ClusterError
from tradewind.shell.going import _PARALLEL, Going
from tradewind.shell.shards import Shard
from tradewind.shell.watch import refresh
from tradewind.shell.world import ClusterWorld

API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}
OTHERS = "example.com/mine"


def place(name: str = "trading", *, going: bool = True) -> Json:
    since = {"deletionTimestamp": NOW.isoformat()} if going else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **since}}


def held(name: str, **more: Any) -> Json:
    return thing("ModelVersion", name, API, finalizers=[OTHERS, IN_USE_FINALIZER], labels={}, **more)


class Dying(Server):
    """Namespaces by their phase; where `rights` are gone, what a Role in the namespace would allow is refused."""

    rights = True
    patching = most = 0

    async def select(self, *where: Any, **which: Any) -> list[Json]:
        if where[1] == "Namespace":
            assert which["field_selector"] == "status.phase=Terminating"
            found = [o for (kind, _), o in self.objects.items() if kind == "Namespace"]
            return [o for o in found if "deletionTimestamp" in o["metadata"]]
        return list(await super().select(*where, **which))

    async def get(self, version: str, kind: str, namespace: str | None, name: str) -> Json | None:
        if not self.rights and kind != "Namespace":
            raise ClusterError(f"GET {kind} {name}: forbidden", 403)
        return await super().get(version, kind, namespace, name)

    async def listing(self, version: str, kind: str, namespace: str | None = None, **which: Any) -> Any:
        if not self.rights and kind not in ("Namespace", "ModelVersion"):
            raise ClusterError(f"LIST {kind}: forbidden", 403)
        return await super().listing(version, kind, namespace, **which)

    async def merge(self, version: str, kind: str, namespace: str, name: str, patch: Mapping[str, Any]) -> Json:
        found = self.objects.get((kind, name))
        if found is None or found["metadata"]["resourceVersion"] != patch["metadata"]["resourceVersion"]:
            raise ClusterError(f"PATCH {kind} {name}: gone, or another", 409 if found else 404)
        self.patching += 1
        self.most = max(self.most, self.patching)
        await asyncio.sleep(0)
        self.patching -= 1
        return await super().merge(version, kind, namespace, name, patch)

    def finalizers(self, name: str) -> list[str]:
        found: list[str] = self.metadata("ModelVersion", name)["finalizers"]
        return found


async def test_all_versions_are_let_go_of_without_the_namespaces_role_a_few_at_a_time() -> None:
    server = Dying(place(), *(held(f"v{n}") for n in range(150)))
    server.rights = False
    going = Going(Shard(among=("trading",)))
    await going.turn(server)  # type: ignore[arg-type]
    assert [server.finalizers(f"v{n}") for n in range(150)] == [[OTHERS]] * 150, "only the operator's own is taken"
    assert server.most == _PARALLEL
    assert "trading" in going
    await going.turn(server)  # type: ignore[arg-type]
    assert server.calls.count("merge ModelVersion") == 150, "who is let go of is left alone"


async def test_a_namespace_that_stays_keeps_its_versions() -> None:
    server = Dying(place(going=False), held("v"))
    going = Going()
    await going.turn(server)  # type: ignore[arg-type]
    assert server.finalizers("v") == [OTHERS, IN_USE_FINALIZER]
    assert "trading" not in going


async def test_namespaces_that_the_operator_does_not_watch_are_no_concern_of_it() -> None:
    server = Dying(place(), held("v"))
    going = Going(Shard(among=("other",)))
    going.note(place(), deleted=False)
    await going.turn(server)  # type: ignore[arg-type]
    assert "trading" not in going
    assert server.calls == []


async def test_one_that_changes_meanwhile_is_let_go_of_by_the_next_look() -> None:
    class Busy(Dying):
        async def select(self, *where: Any, **which: Any) -> list[Json]:
            found = await super().select(*where, **which)
            if where[1] == "ModelVersion" and not self.calls:
                self.put(self.objects["ModelVersion", "b"])  # another writer, between the list and the patch
                self.remove("ModelVersion", "c")
            return found

    server, going = Busy(place(), held("a"), held("b"), held("c")), Going()
    await going.turn(server)  # type: ignore[arg-type]
    assert (server.finalizers("a"), server.finalizers("b")) == ([OTHERS], [OTHERS, IN_USE_FINALIZER])
    await going.turn(server)  # type: ignore[arg-type]
    assert server.finalizers("b") == [OTHERS]


async def test_a_watch_event_starts_the_work_at_once() -> None:
    patched = asyncio.Event()

    class Told(Dying):
        async def merge(self, *where: Any) -> Json:
            made = await super().merge(*where)
            patched.set()
            return made

    server, going = Told(place(going=False), held("v")), Going()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(going.follow(server))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        going.note(server.put(place()), deleted=False)
        await patched.wait()
        task.cancel()
    assert server.finalizers("v") == [OTHERS]
    going.note(place(), deleted=True)
    assert "trading" not in going, "a namespace of the same name that is made anew is another one"


async def test_an_api_server_that_refuses_is_asked_again() -> None:
    server, going = Dying(place(), held("v")), Going()
    server.refuse = "merge"
    await going.turn(server)  # type: ignore[arg-type]
    server.refuse = None
    await going.turn(server)  # type: ignore[arg-type]
    assert server.finalizers("v") == [OTHERS]


async def test_a_turn_holds_nothing_in_a_namespace_that_goes() -> None:
    """The Endpoint that needs it is still in the cache, and still there."""
    user = thing("Endpoint", "trader", {"fallback": "v"})
    server, cache = Dying(place(), thing("ModelVersion", "v", API), user), Cache()
    cache.take(server.objects["Endpoint", "trader"])
    made = reconciler(server, cache)
    await made(key("ModelVersion", "v"))
    assert IN_USE_FINALIZER in server.metadata("ModelVersion", "v")["finalizers"]
    going = Going()
    going.note(place(), deleted=False)
    world = ClusterWorld(server, None, cache, made.world.seal, going=going)  # type: ignore[arg-type]
    calls = len(server.calls)
    await type(made)(world, made.platform, enqueue=made.enqueue, clock=made.clock)(key("ModelVersion", "v"))
    assert server.metadata("ModelVersion", "v")["finalizers"] == []
    assert server.calls[calls:] == ["merge ModelVersion"]


@pytest.mark.parametrize("there", [True, False])
async def test_a_turn_ends_where_the_rights_went_with_the_namespace(there: bool) -> None:
    server = Dying(*([place()] if there else []), held("v"))
    server.rights = False
    assert await reconciler(server)(key("ModelVersion", "v")) is None


async def test_a_refusal_in_a_namespace_that_stays_is_an_error() -> None:
    server = Dying(place(going=False), held("v"))
    server.rights = False
    with pytest.raises(ClusterError, match="forbidden"):
        await reconciler(server)(key("ModelVersion", "v"))


async def test_an_operator_that_starts_beside_a_namespace_that_goes_gets_its_lists() -> None:
    server, cache = Dying(place(), held("v")), Cache()
    server.rights = False
    await refresh(cache, server, Shard(among=("trading",)))  # type: ignore[arg-type]
    server.put(place(going=False))
    with pytest.raises(ClusterError, match="forbidden"):
        await refresh(cache, server, Shard(among=("trading",)))  # type: ignore[arg-type]
