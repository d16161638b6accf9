"""Only our own objects: whose an object is, is asked before it is written, and nothing comes between the look and the write."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from server_double import Json, Server, key, reconciler, thing

from tradewind.core.decision import Apply, Create, Decision, Delete, Effect, Owner
from tradewind.core.registry import BY_KIND
from tradewind.shell.children import NO_OBJECT, Children, ForeignObjectError, Known, ObjectLeavingError
from tradewind.shell.cluster import ClusterError
from tradewind.shell.reconcile import Reconciler
from tradewind.shell.views import Place

OWNER = Owner("tradewind.dev/v1alpha1", "Endpoint", "x", "trading", "uid-x")


def ref(kind: str, name: str, uid: str, api_version: str = "apps/v1") -> Json:
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid}


OURS = ref("Endpoint", "x", "uid-x", OWNER.api_version)


def there(kind: str, name: str, *owners: Json, **metadata: Any) -> Json:
    """An object as the API server has it."""
    owned = {"ownerReferences": list(owners)} if owners else {}
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "trading", "uid": f"uid-of-{name}", **owned, **metadata},
        "spec": {"as": "it was"},
    }


def child(kind: str, name: str = "x-gateway") -> Json:
    """A manifest of a child."""
    metadata = {"name": name, "namespace": "trading", "ownerReferences": [OURS]}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": {"as": "we want it"}}


def children(server: Server, bound: dict[Place, Mapping[str, str]] | None = None) -> Children:
    return Children(server, OWNER, {} if bound is None else bound)  # type: ignore[arg-type]


def deciding(server: Server, *effects: Effect, kind: str = "Endpoint", **status: Any) -> Reconciler:
    """A reconciler that decides on these effects and a status without conditions of its own."""

    async def observe(*_: object) -> None:
        return None

    def decide(resource: Any, *_: object, **__: object) -> Decision:
        return Decision(resource.status.model_copy(update=status), effects)

    return reconciler(server, kinds={**BY_KIND, kind: replace(BY_KIND[kind], observe=observe, decide=decide)})


ENDPOINT = thing("Endpoint", "x", {"fallback": "api"})


async def test_what_is_not_there_is_made_and_later_turns_look_no_more() -> None:
    server = Server(ENDPOINT)
    reconcile = deciding(server, Apply(child("Service")))
    await reconcile(key("Endpoint", "x"))
    assert server.metadata("Service", "x-gateway")["ownerReferences"] == [OURS]
    looks = server.looks.count("Service x-gateway")
    await reconcile(key("Endpoint", "x"))
    assert server.looks.count("Service x-gateway") == looks == 1
    assert server.calls.count("apply Service") == 2


async def test_a_foreign_object_stays_as_it_is_and_the_conditions_name_it_and_its_owner() -> None:
    service = there("Service", "x-gateway", ref("Deployment", "shop", "uid-shop"))
    role = there(
        "Role", "x-gateway", managedFields=[{"manager": "helm"}, {"manager": "kubelet", "subresource": "status"}]
    )
    up = {"phase": "Ready", "conditions": [condition("Ready")]}
    server = Server(thing("Endpoint", "x", {"fallback": "api"}, up), service, role)
    before = {name: dict(found) for name, found in server.objects.items() if name[0] != "Endpoint"}
    wanted = (child("ServiceAccount"), child("Role"), child("Service"), child("ConfigMap", "x-routing"))
    with pytest.raises(ForeignObjectError):
        await deciding(server, *map(Apply, wanted))(key("Endpoint", "x"))
    assert {
        name: found for name, found in server.objects.items() if name[0] != "Endpoint"
    } == before  # nor was one made
    for kind in ("Reconciling", "Ready"):
        said = server.condition("Endpoint", "x", kind)
        assert said is not None
        assert (said["status"], said["reason"]) == ("False", "ForeignObject")
        assert "Service x-gateway exists and belongs to Deployment shop" in said["message"]
        assert "Role x-gateway exists and has no owner (written by helm)" in said["message"]
        assert "rename or delete what is there, or give the Endpoint another name" in said["message"]
    assert server.status("Endpoint", "x")["phase"] == "Degraded"
    assert "event ForeignObject warning" in server.calls


def condition(kind: str, status: str = "True") -> Json:
    when = "2026-02-28T00:00:00Z"
    return {"type": kind, "status": status, "reason": "Ready", "message": "", "lastTransitionTime": when}


async def test_once_the_name_is_free_the_child_is_made_and_the_condition_goes() -> None:
    server = Server(ENDPOINT, there("Service", "x-gateway"))
    reconcile = deciding(server, Apply(child("Service")))
    with pytest.raises(ForeignObjectError):
        await reconcile(key("Endpoint", "x"))
    server.remove("Service", "x-gateway")
    await reconcile(key("Endpoint", "x"))
    assert server.metadata("Service", "x-gateway")["ownerReferences"] == [OURS]
    assert server.condition("Endpoint", "x", "Reconciling") is None


async def test_a_run_whose_job_cannot_be_made_is_not_over() -> None:
    spec = {"baseModel": {"uri": "pvc://m/base"}, "dataset": {"endpoint": "t"}, "output": {"uri": "pvc://m/out"}}
    server = Server(thing("TrainingRun", "x", spec), there("Job", "x-train-1"))
    job = child("Job", "x-train-1")
    with pytest.raises(ForeignObjectError, match="Job x-train-1 exists and has no owner"):
        await deciding(server, Create(job), kind="TrainingRun")(key("TrainingRun", "x"))
    said = server.condition("TrainingRun", "x", "Succeeded")
    assert said is not None
    assert (said["status"], said["reason"]) == ("Unknown", "ForeignObject")


async def test_what_an_earlier_release_has_made_is_ours_by_its_owner() -> None:
    server = Server(there("Service", "x-gateway", OURS))
    bound: dict[Place, Mapping[str, str]] = {}
    await children(server, bound).apply(child("Service"))
    assert server.objects["Service", "x-gateway"]["spec"] == {"as": "we want it"}
    assert list(bound.values()) == [{"uid": "uid-of-x-gateway"}]


@pytest.mark.parametrize(
    "found",
    [
        there("Service", "x-gateway", ref("Endpoint", "x", "uid-before", "tradewind.dev/v1alpha1")),
        there("Service", "x-gateway", deletionTimestamp="2026-03-01T12:00:00Z", finalizers=["a/b"]),
    ],
    ids=["of an Endpoint that was deleted", "being deleted"],
)
async def test_what_is_going_is_waited_for_and_not_called_foreign(found: Json) -> None:
    server = Server(ENDPOINT, found)
    reconcile = deciding(server, Apply(child("Service")))
    with pytest.raises(ObjectLeavingError):
        await reconcile(key("Endpoint", "x"))
    said = server.condition("Endpoint", "x", "Reconciling")
    assert said is not None
    assert said["reason"] == "ObjectLeaving"
    assert "made anew" in said["message"]
    assert server.objects["Service", "x-gateway"]["spec"] == {"as": "it was"}
    server.remove("Service", "x-gateway")
    await reconcile(key("Endpoint", "x"))
    assert server.metadata("Service", "x-gateway")["ownerReferences"] == [OURS]


async def test_an_object_with_another_owner_beside_an_earlier_one_is_foreign() -> None:
    """Kubernetes keeps it for the other owner: to wait for its end would be to wait for ever."""
    earlier = ref("Endpoint", "x", "uid-before", "tradewind.dev/v1alpha1")
    server = Server(there("Service", "x-gateway", earlier, ref("Deployment", "shop", "uid-shop")))
    with pytest.raises(ForeignObjectError):
        await children(server).apply(child("Service"))


async def test_an_endpoint_of_another_group_is_no_earlier_owner() -> None:
    server = Server(there("Service", "x-gateway", ref("Endpoint", "x", "uid-before", "shop.example/v1")))
    with pytest.raises(ForeignObjectError):
        await children(server).apply(child("Service"))


class Overtaken(Server):
    """Somebody else is faster: an object comes between the look and the write."""

    def __init__(self, *objects: Json, coming: Json) -> None:
        super().__init__(*objects)
        self.coming: Json | None = coming

    async def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> Json | None:
        found = await super().get(api_version, kind, namespace, name)
        if self.coming is not None and kind == self.coming["kind"]:
            self.put(self.coming)
            self.coming = None
        return found


async def test_an_object_that_comes_between_the_look_and_the_write_is_not_taken_over() -> None:
    server = Overtaken(coming=there("Service", "x-gateway"))
    with pytest.raises(ForeignObjectError):
        await children(server).apply(child("Service"))
    assert server.objects["Service", "x-gateway"]["spec"] == {"as": "it was"}


async def test_an_object_that_replaces_ours_between_two_turns_is_not_taken_over() -> None:
    server = Server()
    bound: dict[Place, Mapping[str, str]] = {}
    await children(server, bound).apply(child("Service"))
    server.remove("Service", "x-gateway")
    server.put(there("Service", "x-gateway"))
    with pytest.raises(ForeignObjectError):
        await children(server, bound).apply(child("Service"))
    assert server.objects["Service", "x-gateway"]["spec"] == {"as": "it was"}


async def test_a_child_that_somebody_deletes_is_made_again_in_the_same_turn() -> None:
    server = Server()
    bound: dict[Place, Mapping[str, str]] = {}
    await children(server, bound).apply(child("Service"))
    server.remove("Service", "x-gateway")
    await children(server, bound).apply(child("Service"))
    assert server.objects["Service", "x-gateway"]["spec"] == {"as": "we want it"}


async def test_a_status_that_moves_between_the_look_and_the_write_is_looked_at_again() -> None:
    ours = there("Service", "x-gateway", OURS)
    server = Overtaken(ours, coming=ours)
    await children(server).apply(child("Service"))
    assert server.objects["Service", "x-gateway"]["spec"] == {"as": "we want it"}


@pytest.mark.parametrize("bound", [{}, {"uid": "uid-of-x-gateway"}], ids=["first", "later"])
async def test_a_refusal_for_another_reason_is_told_as_it_is(bound: Mapping[str, str]) -> None:
    class Refusing(Server):
        async def apply(self, manifest: Mapping[str, Any], *, manager: str = "tradewind") -> Json:
            self.calls.append("apply")
            raise ClusterError("spec.ports: Required value", 422)

    server = Refusing(there("Service", "x-gateway", OURS))
    place = Place.of(child("Service"))
    with pytest.raises(ClusterError, match="Required value"):
        await children(server, {place: bound} if bound else {}).apply(child("Service"))
    assert server.calls == ["apply"]


async def test_what_an_absent_object_is_made_with_is_no_version_of_one() -> None:
    bound: dict[Place, Mapping[str, str]] = {}
    await children(Server(), bound).check([child("Service")])
    assert list(bound.values()) == [{"resourceVersion": NO_OBJECT}]
    assert NO_OBJECT not in ("", "0")  # these bind to nothing


# --- Create and Delete ------------------------------------------------------------------------------------------------


async def test_a_job_of_an_earlier_turn_is_ours_and_stays() -> None:
    server = Server(there("Job", "x-train-1", OURS))
    assert await children(server).create(child("Job", "x-train-1")) is None
    assert server.objects["Job", "x-train-1"]["spec"] == {"as": "it was"}


async def test_a_conflict_without_an_object_is_tried_again() -> None:
    class Full(Server):
        async def create(self, _: Mapping[str, Any]) -> None:
            return None

    with pytest.raises(ClusterError) as told:
        await children(Full()).create(child("Job"))
    assert told.value.status == 409


@pytest.mark.parametrize(("label", "ours"), [({"tradewind.dev/training-schedule": "nightly"}, True), ({}, False)])
async def test_a_run_is_a_schedules_by_its_label(label: dict[str, str], *, ours: bool) -> None:
    """What outlives its maker has no owner."""
    metadata = {"name": "nightly-1", "namespace": "trading"}
    labels = {"tradewind.dev/training-schedule": "nightly", "team": "fx"}
    wanted = {"apiVersion": "v1", "kind": "TrainingRun", "metadata": {**metadata, "labels": labels}}
    server = Server(there("TrainingRun", "nightly-1", labels=label))
    if ours:
        assert await children(server).create(wanted) is None
    else:
        with pytest.raises(ForeignObjectError, match="TrainingRun nightly-1 exists"):
            await children(server).create(wanted)


async def test_a_foreign_object_is_not_deleted_and_ours_is_by_its_uid() -> None:
    server = Server(there("Job", "a"), there("Job", "b", OURS))
    for name in "abc":
        await children(server).delete("v1", "Job", name, None)
    assert server.calls == ["delete Job b"]
    assert list(server.objects) == [("Job", "a")]


async def test_a_run_that_was_made_anew_since_it_was_seen_is_not_deleted() -> None:
    server = Server(there("TrainingRun", "old"))
    reconcile = deciding(server, Delete("v1", "TrainingRun", "old", "uid-that-was-seen"))
    server.put(ENDPOINT)
    with pytest.raises(ClusterError) as told:
        await reconcile(key("Endpoint", "x"))
    assert told.value.status == 409
    assert ("TrainingRun", "old") in server.objects


def test_what_is_known_is_of_one_resource_and_goes_with_it() -> None:
    known = Known()
    place = Place.of(child("Service"))
    known.of(OWNER)[place] = {"uid": "u"}
    assert place in known.of(OWNER)
    another = Owner(OWNER.api_version, "Endpoint", "x", "trading", "uid-of-the-next")
    assert known.of(another) == {}
    known.of(another)[place] = {"uid": "u"}
    known.forget(key("Endpoint", "x"))
    assert known.of(another) == {}
