"""What is seen under the name of a child counts only where it is one: nobody else's results, documents and pods are believed."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from golden_worlds import build

from tradewind.core.manifests.common import is_child
from tradewind.core.model_version.observe import observe as observe_version
from tradewind.core.pods import read_job
from tradewind.core.world import Json

RESULT = {"sha256": "a" * 64}


def owned(kind: str, name: str, *owners: str, **more: Any) -> dict[str, Any]:
    references = [{"uid": uid} for uid in owners]
    metadata = {"name": name, "uid": f"uid-{name}", "creationTimestamp": "2026-03-01T11:00:00Z"}
    return {"kind": kind, "metadata": {**metadata, "ownerReferences": references}, **more}


def pod(name: str, owner: str, created: str = "2026-03-01T11:00:00Z") -> dict[str, Any]:
    """A pod that ended well with a result."""
    ended = {"terminated": {"exitCode": 0, "message": json.dumps(RESULT | {"by": name})}}
    made = owned("Pod", name, owner, status={"phase": "Succeeded", "containerStatuses": [{"state": ended}]})
    made["metadata"]["creationTimestamp"] = created
    return made


class Place:
    """A namespace with these objects."""

    def __init__(self, *objects: dict[str, Any], pods: Sequence[dict[str, Any]] = ()) -> None:
        self.objects = {(o["kind"], o["metadata"]["name"]): o for o in objects}
        self.labelled = pods

    def naming(self, *_: object) -> tuple[()]:
        return ()

    def unread(self, *_: object) -> tuple[()]:
        return ()

    def is_going(self, _: str) -> bool:
        return False

    async def read(self, _: str, kind: str, __: str, name: str) -> Json | None:
        return self.objects.get((kind, name))

    async def pods(self, _: str, __: str) -> Sequence[Json]:
        return self.labelled

    async def warnings(self, _: str, __: str) -> Sequence[Json]:
        return ()


COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}


async def test_the_result_of_a_job_is_that_of_its_own_pod() -> None:
    """A pod with the Job's label that is not the Job's says nothing, though it is the newest."""
    pods = (pod("mine", "uid-r-train-1"), pod("other", "uid-of-another", "2026-03-01T12:00:00Z"))
    world: Any = Place(owned("Job", "r-train-1", "uid-r", status=COMPLETE), pods=pods)
    facts = await read_job(world, "trading", "r-train-1", "uid-r")
    assert facts is not None
    assert facts.result == RESULT | {"by": "mine"}


@pytest.mark.parametrize("owners", [(), ("uid-of-another",), ("",)])
async def test_a_job_of_somebody_else_is_not_there(owners: tuple[str, ...]) -> None:
    """Else its end would be taken for the run's, and what it says for what was trained."""
    world: Any = Place(owned("Job", "r-train-1", *owners, status=COMPLETE), pods=[pod("p", "uid-r-train-1")])
    assert await read_job(world, "trading", "r-train-1", "uid-r") is None


@pytest.mark.parametrize("ours", [True, False])
async def test_a_version_is_served_by_its_own_service_alone(*, ours: bool) -> None:
    version: Any = build("model_version", {}).resource
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    service = owned("InferenceService", version.name, version.metadata.uid if ours else "uid-of-another", status=ready)
    deployment = owned("Deployment", f"{version.name}-predictor", status={"readyReplicas": 1})
    world: Any = Place(service, deployment, pods=[pod("p", "uid-of-a-replica-set")])
    seen = await observe_version(version, world)
    assert (seen.service is not None, bool(seen.pods)) == (ours, ours)


def test_an_object_without_owners_or_an_owner_without_a_uid_is_nobodys_child() -> None:
    assert not is_child({"metadata": {}}, "u")
    assert not is_child({"metadata": {"ownerReferences": None}}, "u")
    assert not is_child({"metadata": {"ownerReferences": [{"uid": ""}]}}, "")
