"""What is as it was written is neither read nor written again, until somebody tells otherwise."""

from dataclasses import replace
from typing import Any

import pytest
from server_double import Json, Server, key, reconciler, thing

from tradewind.api.endpoint import EndpointPhase
from tradewind.core.decision import Apply, Decision, Effect
from tradewind.core.manifests.common import MANAGED_BY, OWNER_KIND, OWNER_NAME
from tradewind.core.registry import BY_KIND
from tradewind.shell.cache import Cache, Key
from tradewind.shell.cluster import ClusterError
from tradewind.shell.reconcile import Reconciler
from tradewind.shell.shards import UNDIVIDED
from tradewind.shell.views import PODS_SECONDS, Place, Views
from tradewind.shell.watch import compare, mend, refresh

ENDPOINT = thing("Endpoint", "x", {"fallback": "api"})
LABELS = {MANAGED_BY: "tradewind", OWNER_KIND: "Endpoint", OWNER_NAME: "x"}
API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}


def child(kind: str, text: str = "we want it", api_version: str = "v1") -> Json:
    owner = {"apiVersion": ENDPOINT["apiVersion"], "kind": "Endpoint", "name": "x", "uid": "uid-x"}
    metadata = {"name": "x-gateway", "namespace": "trading", "labels": LABELS, "ownerReferences": [owner]}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": {"as": text}}


class Deciding:
    """A reconciler of Endpoints whose decision a test sets; its world trusts what the lists of a resync have confirmed."""

    def __init__(self, server: Server, *effects: Effect) -> None:
        self.server, self.effects, self.cache = server, effects, Cache()
        self.status: dict[str, Any] = {}
        self.reads: list[bool] = []

        async def observe(_: Any, world: Any) -> None:
            self.reads.append(world.trusting)

        def decide(resource: Any, *_: object, **__: object) -> Decision:
            return Decision(resource.status.model_copy(update=self.status), self.effects)

        kinds = {**BY_KIND, "Endpoint": replace(BY_KIND["Endpoint"], observe=observe, decide=decide)}
        self.reconcile: Reconciler = reconciler(server, self.cache, kinds=kinds)
        self.views: Views = self.reconcile.world.views

    async def turn(self) -> list[str]:
        """What it writes, after the API server was told to forget what was called before."""
        self.server.calls.clear()
        self.server.looks.clear()
        await self.reconcile(key("Endpoint", "x"))
        return [call for call in self.server.calls if not call.startswith("event")]

    async def resync(self) -> None:
        await mend(self.cache, self.server, UNDIVIDED, delay=0)  # type: ignore[arg-type]
        await compare(self.views, self.server, UNDIVIDED)  # type: ignore[arg-type]


async def test_a_child_is_written_again_only_after_somebody_changed_it() -> None:
    made = Deciding(Server(ENDPOINT), Apply(child("Service")), Apply(child("Role", api_version="rbac/v1")))
    assert await made.turn() == ["apply Service", "apply Role"]
    assert await made.turn() == ["apply Service", "apply Role"], "nothing is believed before there was a list"
    await made.resync()
    assert await made.turn() == []
    assert made.server.looks == [], "nor is the Endpoint read"
    written = made.server.objects["Service", "x-gateway"]
    made.server.put({**written, "spec": {"as": "somebody else wants it"}})
    assert await made.turn() == [], "Services have no watch"
    await made.resync()
    assert await made.turn() == ["apply Service"]
    made.server.remove("Role", "x-gateway")
    await made.resync()
    assert set(await made.turn()) == {"apply Role"}
    made.effects = (Apply(child("Service", "now we want another")), made.effects[1])
    assert await made.turn() == ["apply Service"]


async def test_a_watch_tells_of_a_change_at_once_and_our_own_writes_are_no_news() -> None:
    made = Deciding(Server(ENDPOINT), Apply(child("Deployment", api_version="apps/v1")))
    await made.turn()
    await made.resync()
    written = made.server.objects["Deployment", "x-gateway"]
    assert not made.views.watched("apps/v1", "Deployment", written, deleted=False)
    assert await made.turn() == []
    foreign = made.server.put({**written, "spec": {"as": "somebody else wants it"}})
    assert made.views.watched("apps/v1", "Deployment", foreign, deleted=False)
    assert await made.turn() == ["apply Deployment"]
    gone = made.server.remove("Deployment", "x-gateway")
    assert made.views.watched("apps/v1", "Deployment", gone, deleted=True)
    assert set(await made.turn()) == {"apply Deployment"}


async def test_without_a_list_every_turn_writes_as_if_nothing_were_known() -> None:
    made = Deciding(Server(ENDPOINT), Apply(child("Service")))
    await made.turn()
    await made.resync()
    assert await made.turn() == []
    pages = made.server.pages

    async def forbidden(version: str, kind: str, *rest: Any, **which: Any) -> Any:
        if kind == "Service":
            raise ClusterError("services is forbidden", 403)
        async for page in pages(version, kind, *rest, **which):
            yield page

    made.server.pages = forbidden  # type: ignore[method-assign]
    await made.resync()
    assert await made.turn() == ["apply Service"]


async def test_what_is_to_be_done_is_decided_once_more_on_what_there_is() -> None:
    made = Deciding(Server(ENDPOINT))
    await made.turn()
    await made.resync()
    made.reads.clear()
    await made.turn()
    assert (made.reads, made.server.looks) == ([True], [])
    made.effects = (Apply(child("Service")),)
    await made.turn()
    assert made.reads == [True, True, False]
    assert made.server.looks[0] == "Endpoint x"
    made.server.remove("Endpoint", "x")
    made.effects = (Apply(child("Service", "another")),)
    assert await made.turn() == [], "it is gone, and the watch has not told yet"


async def test_a_status_that_is_written_on_a_view_meets_who_wrote_meanwhile() -> None:
    made = Deciding(Server(ENDPOINT))
    await made.turn()
    await made.resync()
    made.status = {"phase": EndpointPhase.READY}
    assert await made.turn() == ["status"]
    assert made.server.objects["Endpoint", "x"]["spec"] == ENDPOINT["spec"]


async def test_pods_that_were_all_ready_are_listed_again_when_their_deployment_changes_or_time_has_passed() -> None:
    now = [0.0]
    views = Views(lambda: now[0])
    pod = {"metadata": {"name": "a"}}
    deployment = {**child("Deployment", api_version="apps/v1")}
    deployment["metadata"] = {**deployment["metadata"], "resourceVersion": "5"}
    selector = f"app.kubernetes.io/component=gateway,{OWNER_NAME}=x"
    views.keep_pods("trading", selector, [pod])
    assert views.pods("trading", selector) is None, "nothing is believed before there was a list"
    views.compare(("apps/v1", "Deployment"), None, [], "5")
    assert views.pods("trading", selector) == (pod,)
    views.watched("apps/v1", "Deployment", deployment, deleted=False)
    assert views.pods("trading", selector) is None
    views.keep_pods("trading", selector, [pod])
    now[0] = PODS_SECONDS + 1
    assert views.pods("trading", selector) is None


def test_an_older_list_says_nothing_of_what_was_written_since() -> None:
    views, place = Views(), Place("v1", "Service", "trading", "x-gateway")
    made = child("Service")
    written = {**made, "metadata": {**made["metadata"], "resourceVersion": "7"}}
    views.wrote(made, "tradewind", written)
    assert views.compare(("v1", "Service"), None, [], "6") == []
    assert views.is_as_written(made, "tradewind")
    assert views.compare(("v1", "Service"), None, [], "7") == [place]
    assert not views.is_as_written(made, "tradewind")


async def test_a_kind_of_which_the_watch_misses_something_is_read_before_each_turn() -> None:
    server, cache = Server(thing("ModelVersion", "a", API), ENDPOINT), Cache()
    await refresh(cache, server, UNDIVIDED)  # type: ignore[arg-type]
    assert not cache.trusts("Endpoint"), "nothing is believed before the first resync"

    async def mended() -> list[Key]:
        server.lists.clear()
        return await mend(cache, server, UNDIVIDED, delay=0)  # type: ignore[arg-type]

    assert await mended() == []
    assert all(cache.trusts(kind) for kind in BY_KIND)
    assert {text.partition(" of ")[0] for text in server.lists} == {"metadata"}, "no resync reads whole objects"
    server.put(thing("ModelVersion", "a", API, labels={"team": "fx"}))
    assert key("ModelVersion", "a") in await mended()
    assert (cache.trusts("ModelVersion"), cache.trusts("Endpoint")) == (False, True)
    await mended()
    assert cache.trusts("ModelVersion")


async def test_what_the_watch_tells_while_a_resync_waits_was_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    server, cache = Server(thing("ModelVersion", "a", API)), Cache()
    await refresh(cache, server, UNDIVIDED)  # type: ignore[arg-type]
    newer = server.put(thing("ModelVersion", "a", API))

    async def told(_: float) -> None:
        cache.take(newer)

    monkeypatch.setattr("tradewind.shell.watch.asyncio.sleep", told)
    looks = len(server.looks)
    assert await mend(cache, server, UNDIVIDED) == []  # type: ignore[arg-type]
    assert (len(server.looks), cache.trusts("ModelVersion")) == (looks, True)


async def test_pods_of_a_job_are_never_kept() -> None:
    """A running one is ready; a moment later it has ended, and its termination message is what its run waits for."""
    views = Views()
    views.compare(("apps/v1", "Deployment"), None, [], "1")
    selector = "batch.kubernetes.io/job-name=run-snapshot"
    views.keep_pods("trading", selector, [{"metadata": {"name": "run-snapshot-1"}}])
    assert views.pods("trading", selector) is None
