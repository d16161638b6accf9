"""Objects that have a child's name and are somebody else's: they stay as they are, and the Endpoint says which are in its way."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from installation import RELEASE, SYSTEM
from space import Space

from manifests import endpoint, external, resource
from workshop.client import Json, condition
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

FOREIGN = (("service", "x-gateway"), ("role", "x-gateway"), ("configmap", "x-routing"))
NAMED = ("Service x-gateway", "Role x-gateway", "ConfigMap x-routing")


def foreign() -> list[Json]:
    """A shop's objects, whose names an Endpoint `x` would need."""
    service = {"selector": {"app": "shop"}, "ports": [{"name": "web", "port": 8443, "protocol": "TCP"}]}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x-gateway"}, "spec": service},
        {**role, "metadata": {"name": "x-gateway", "labels": {"app": "shop"}}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x-routing"}, "data": {"shop.json": "{}"}},
    ]


def stored(space: Space, kind: str, name: str) -> str:
    """An object as the API server has it, to the byte; managedFields and resourceVersion with it."""
    return space.kubectl("get", kind, name, "-o", "json", "--show-managed-fields")


def all_stored(space: Space) -> list[str]:
    return [stored(space, kind, name) for kind, name in FOREIGN]


def told(space: Space, name: str = "x") -> Json:
    """The conditions' message while something is in the way."""
    found = space.wait_condition("Endpoint", name, "Reconciling", "False", reason="ForeignObject", seconds=60)
    return condition(found, "Reconciling")


@pytest.fixture(scope="module")
def shop(space: Space) -> Iterator[Space]:
    space.apply(*foreign(), external("api", "follow"))
    yield space
    for kind, name in FOREIGN:
        space.kubectl("delete", kind, name, "--ignore-not-found", check=False)


def test_foreign_objects_stay_to_the_byte_and_the_condition_names_each(shop: Space) -> None:
    before = all_stored(shop)
    shop.apply(endpoint("x", "api"))
    message = told(shop)["message"]
    assert [name for name in NAMED if name not in message] == []
    assert "rename or delete" in message
    ready = condition(shop.must_get("Endpoint", "x"), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ForeignObject")
    assert all_stored(shop) == before
    assert shop.get("Deployment", "x-gateway") is None  # nothing is made beside what is in the way
    assert "x-gateway" not in shop.kubectl("get", "serviceaccounts,rolebindings", "-o", "name")


def test_explain_says_what_is_in_the_way_and_an_event_warns_of_it(shop: Space) -> None:
    command = [sys.executable, "-m", "tradewind.main", "explain", "endpoint/x", "-n", shop.name]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    (cause,) = [line for line in done.stdout.splitlines() if line.startswith("cause:")]
    assert [name for name in NAMED if name not in cause] == []
    warned = [e for e in shop.select("Event") if e.get("reason") == "ForeignObject"]
    assert warned
    assert {event["type"] for event in warned} == {"Warning"}


def test_the_end_of_the_endpoint_takes_nothing_along(shop: Space) -> None:
    before = all_stored(shop)
    shop.kubectl("delete", "endpoints.tradewind.dev", "x", "--wait")
    assert all_stored(shop) == before
    for text in before:
        assert "ownerReferences" not in json.loads(text)["metadata"]  # Kubernetes' collector has nothing to go by


def test_once_they_are_gone_the_endpoint_becomes_ready(shop: Space) -> None:
    shop.apply(endpoint("x", "api"))
    assert [name for name in NAMED if name not in told(shop)["message"]] == []
    (kind, name), *rest = FOREIGN
    shop.kubectl("delete", kind, name)
    wait_for(
        "the Service is no longer in the way",
        lambda: told(shop)["message"],
        lambda message: NAMED[0] not in message and NAMED[1] in message,
        seconds=60,
    )
    for kind, name in rest:
        shop.kubectl("delete", kind, name)
    seen = shop.wait_condition("Endpoint", "x", "Ready", seconds=180)
    assert condition(seen, "Reconciling") == {}
    uid = seen["metadata"]["uid"]
    for kind, name in FOREIGN:
        made = json.loads(stored(shop, kind, name))["metadata"]
        assert [owner["uid"] for owner in made["ownerReferences"]] == [uid]
        # Made by an apply, so that a field which it no longer names is given up.
        ours = [(e["manager"], e["operation"]) for e in made["managedFields"] if e["manager"] == "tradewind"]
        assert ours == [("tradewind", "Apply")]


def test_an_endpoint_that_is_made_anew_gets_its_children_anew(shop: Space) -> None:
    """What its predecessor of that name has made is going: it is waited for, not taken for somebody else's."""
    first = shop.wait_condition("Endpoint", "x", "Ready", seconds=180)["metadata"]["uid"]
    shop.kubectl("delete", "endpoints.tradewind.dev", "x", "--wait")
    shop.apply(endpoint("x", "api"))
    second = shop.wait_condition("Endpoint", "x", "Ready", seconds=180)["metadata"]["uid"]
    assert second != first
    for kind, name in FOREIGN:
        assert [o["uid"] for o in json.loads(stored(shop, kind, name))["metadata"]["ownerReferences"]] == [second]


def test_a_child_that_somebody_replaces_is_not_taken_back_by_force(shop: Space) -> None:
    """While the operator is away: else it would make its own anew before anybody else is there."""
    shop.wait_condition("Endpoint", "x", "Ready", seconds=180)
    operator = ("-n", SYSTEM, "scale", f"deployment/{RELEASE}-operator")
    shop.cluster.kubectl(*operator, "--replicas=0")
    try:
        component = "app.kubernetes.io/component=operator"
        wait_for("the operator to go", lambda: shop.cluster.select("Pod", SYSTEM, component), lambda pods: not pods)
        shop.kubectl("delete", "service", "x-gateway", "--wait")
        shop.apply(foreign()[0])
    finally:
        shop.cluster.kubectl(*operator, "--replicas=1")
    before = stored(shop, "service", "x-gateway")
    found = shop.wait_condition("Endpoint", "x", "Ready", "False", reason="ForeignObject", seconds=120)
    assert NAMED[0] in condition(found, "Ready")["message"]
    assert stored(shop, "service", "x-gateway") == before
    shop.kubectl("delete", "service", "x-gateway")
    shop.wait_condition("Endpoint", "x", "Ready", seconds=120)


def test_a_foreign_job_is_not_taken_for_the_runs_own(shop: Space) -> None:
    """Else its end would be believed to be the snapshot's."""
    container = {"name": "c", "image": "none", "command": ["true"]}
    job = {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    shop.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "taken-snapshot"}, "spec": job})
    before = json.loads(stored(shop, "job", "taken-snapshot"))["metadata"]["uid"]
    spec = {
        "baseModel": {"uri": "pvc://none/base"},
        "dataset": {"endpoint": "x"},
        "output": {"uri": "pvc://none/runs"},
    }
    shop.apply(resource("TrainingRun", "taken", spec))
    seen = shop.wait_condition("TrainingRun", "taken", "Reconciling", "False", reason="ForeignObject", seconds=60)
    assert "Job taken-snapshot exists" in condition(seen, "Reconciling")["message"]
    assert condition(seen, "Succeeded")["status"] == "Unknown"
    after = json.loads(stored(shop, "job", "taken-snapshot"))["metadata"]
    assert after["uid"] == before
    assert "ownerReferences" not in after
    shop.kubectl("delete", "trainingrun", "taken")
    assert json.loads(stored(shop, "job", "taken-snapshot"))["metadata"]["uid"] == before
    shop.kubectl("delete", "job", "taken-snapshot")
