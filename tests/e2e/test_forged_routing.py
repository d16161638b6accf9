"""Somebody with the right to edit ConfigMaps writes the routing document: nobody obeys it, it is said within seconds, and it is replaced."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from gateway_client import GatewayClient, Load
from installation import Installation
from space import Space

from manifests import arms_server, endpoint, external
from workshop.client import Json, condition
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

NAME = "trader-routing"
SECONDS = 5
EVIL = "evil-arms"


@pytest.fixture(scope="module")
def trader(space: Space, images: dict[str, str]) -> Iterator[GatewayClient]:
    """An Endpoint, a host of the attacker's own that counts who asks it, and a user who may edit ConfigMaps and nothing else."""
    space.apply(
        *arms_server(images["demo"], EVIL),
        external("api", "steady"),
        endpoint("trader", "api", replicas=2),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "editor"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "config-maps"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "config-maps"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "config-maps"},
            "subjects": [{"kind": "ServiceAccount", "name": "editor", "namespace": space.name}],
        },
    )
    space.wait_available(EVIL, seconds=90)
    with space.gateway("trader") as gateway:
        space.wait_condition("Endpoint", "trader", "WeightsApplied")
        yield gateway


@pytest.fixture(autouse=True)
def at_rest(trader: GatewayClient, space: Space) -> Iterator[None]:
    yield
    space.wait_condition("Endpoint", "trader", "WeightsApplied")
    assert asked_there(space) == {}, "the attacker's host was asked"


def as_editor(space: Space, *arguments: str) -> str:
    return space.kubectl(f"--as=system:serviceaccount:{space.name}:editor", *arguments)


def asked_there(space: Space) -> Json:
    """What the attacker's host was asked, by whomever: probes count, too."""
    counts: Json = httpx.get(f"{space.address(EVIL)}/asks", timeout=30, trust_env=False).json()
    return counts


def forged(space: Space) -> Json:
    """The published document with every arm at the attacker's host, a huge generation, and an expiry in 2099."""
    document = space.routing("trader")
    for arm in document["arms"].values():
        arm["baseURL"] = f"http://{EVIL}.{space.name}.svc/follow/v1"
    return document | {
        "generation": 10**15,
        "publishedAt": datetime.now(UTC).isoformat(),
        "expiresAt": "2099-01-01T00:00:00Z",
    }


def patched(space: Space, patch: Json) -> None:
    as_editor(space, "patch", "configmap", NAME, "--type=merge", "-p", json.dumps(patch))


def told(space: Space, since: int) -> Json:
    """The Endpoint, once it tells of a forged document that was found since; the document is back by then."""

    def said() -> tuple[int, str]:
        status = space.must_get("Endpoint", "trader")["status"]
        return (status.get("routingTampered") or {}).get("count", 0), json.dumps(space.routing("trader"))

    wait_for(
        "the forged document to be told of and replaced",
        said,
        lambda seen: seen[0] > since and EVIL not in seen[1],
        seconds=SECONDS,
        every=0.1,
    )
    found = space.must_get("Endpoint", "trader")
    intact = condition(found, "RoutingIntact")
    assert (intact["status"], intact["reason"]) == ("False", "RoutingTampered")
    return found


def count(space: Space) -> int:
    found = space.must_get("Endpoint", "trader")["status"].get("routingTampered") or {}
    return int(found.get("count", 0))


def test_one_patch_sends_not_one_request_elsewhere(
    trader: GatewayClient, space: Space, installation: Installation
) -> None:
    before, since = space.routing("trader"), count(space)
    with Load(trader, "forged") as load:
        load.more(20)
        patched(space, {"data": {"routing.json": json.dumps(forged(space))}})
        found = told(space, since)
        load.more(20)
    assert load.failed == []
    rows = installation.database.sql(
        "SELECT DISTINCT answered_by, fallback FROM tradewind.decisions WHERE namespace = %s AND decision_id LIKE 'forged-%%'",
        space.name,
    )
    assert rows == [("api", False)]
    message = condition(found, "RoutingIntact")["message"]
    assert "does not match its signature" in message
    assert "kubectl" in message  # the field manager of the patch
    assert EVIL not in json.dumps(found["status"])
    after = space.routing("trader")
    assert after["generation"] < 2 * before["generation"]
    assert after["expiresAt"] < "2099"
    assert condition(space.must_get("Endpoint", "trader"), "Ready")["status"] == "True"
    event = wait_for(
        "the Event", lambda: [e for e in space.select("Event") if e["reason"] == "RoutingTampered"], seconds=20
    )
    assert event[0]["type"] == "Warning"


@pytest.mark.parametrize("labels", [{}, {"tradewind.dev/owner-name": "another"}], ids=["removed", "of-another"])
def test_labels_that_lead_nowhere_hide_nothing(trader: GatewayClient, space: Space, labels: Json) -> None:
    since = count(space)
    keys = space.must_get("ConfigMap", NAME)["metadata"]["labels"]
    gone = labels or dict.fromkeys(keys)
    patched(space, {"metadata": {"labels": gone}, "data": {"routing.json": json.dumps(forged(space))}})
    told(space, since)
    assert space.must_get("ConfigMap", NAME)["metadata"]["labels"] == keys
    assert trader.decide(f"labels-{time.monotonic_ns()}")["_model_used"] == "api"


def test_one_that_cannot_be_changed_any_more_is_replaced(trader: GatewayClient, space: Space) -> None:
    since = count(space)
    patched(space, {"immutable": True, "data": {"routing.json": json.dumps(forged(space))}})
    told(space, since)
    assert not space.must_get("ConfigMap", NAME).get("immutable")


def test_one_that_is_deleted_comes_back_and_the_gateways_go_on(trader: GatewayClient, space: Space) -> None:
    before = space.must_get("ConfigMap", NAME)
    as_editor(space, "delete", "configmap", NAME)
    wait_for(
        "the document to be back",
        lambda: space.get("ConfigMap", NAME),
        lambda seen: seen is not None and seen["metadata"]["uid"] != before["metadata"]["uid"],
        seconds=SECONDS,
        every=0.1,
    )
    assert trader.decide(f"deleted-{time.monotonic_ns()}")["_model_used"] == "api"


def test_a_gateway_that_starts_on_a_forged_document_obeys_none(
    trader: GatewayClient, space: Space, installation: Installation
) -> None:
    """The forger writes again and again, and pods start meanwhile."""
    since, stop = count(space), threading.Event()
    body = json.dumps({"data": {"routing.json": json.dumps(forged(space))}})

    def write() -> None:
        while not stop.is_set():
            space.attempt(
                f"--as=system:serviceaccount:{space.name}:editor",
                "patch",
                "configmap",
                NAME,
                "--type=merge",
                "-p",
                body,
            )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        old = {pod["metadata"]["name"] for pod in space.select("Pod", "app.kubernetes.io/component=gateway")}
        space.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=gateway", "--wait=false")
        wait_for("further forged documents", lambda: count(space), lambda number: number > since + 2)
    finally:
        stop.set()
        writer.join(30)
    space.wait_condition("Endpoint", "trader", "Ready")
    wait_for(
        "the old pods to go",
        lambda: old & {pod["metadata"]["name"] for pod in space.select("Pod", "app.kubernetes.io/component=gateway")},
        lambda left: not left,
        seconds=120,
    )
    answer = trader.decide(f"started-{time.monotonic_ns()}")
    assert answer["_model_used"] == "api"
    document = space.routing("trader")
    hashes = wait_for(
        "each pod to report the published document",
        lambda: installation.database.sql(
            "SELECT DISTINCT routing_sha256 FROM tradewind.gateway_replicas WHERE namespace = %s AND generation = %s "
            "AND seen_at > now() - interval '30 seconds'",
            space.name,
            document["generation"],
        ),
        lambda rows: len(rows) == 1,
    )
    assert len(hashes[0][0]) == 64
