"""Somebody who may edit our kinds puts another host behind a champion's name, on the real cluster."""

import time
from collections.abc import Iterator

import httpx
import pytest
from gateway_client import GatewayClient
from installation import RELEASE, SYSTEM, Installation
from space import Space

from manifests import arms_server, endpoint, external
from workshop.client import condition
from workshop.progress import StepError
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

LET_GO = ("--type=merge", "-p", '{"metadata":{"finalizers":null}}')


@pytest.fixture(scope="module")
def trader(space: Space, installation: Installation) -> Iterator[GatewayClient]:
    space.apply(
        *arms_server(installation.images["demo"], "thief"), external("api", "steady"), endpoint("trader", "api")
    )
    space.wait_available("thief", seconds=90)
    with space.gateway("trader") as gateway:
        yield gateway


def _asked(space: Space) -> int:
    """Questions that reached the attacker's host."""
    with httpx.Client(base_url=space.address("thief"), trust_env=False) as http:
        return sum(http.get("/asks").json().values())


def test_the_finalizer_of_a_champion_is_not_an_editors_to_take(trader: GatewayClient, space: Space) -> None:
    wait_for(
        "the champion to be held", lambda: space.must_get("ModelVersion", "api")["metadata"].get("finalizers"), bool
    )
    with pytest.raises(StepError, match="the operator alone takes"):
        space.kubectl("patch", "modelversion", "api", *LET_GO)


def test_a_swapped_champion_is_not_asked_and_its_spec_restores_it(
    trader: GatewayClient, space: Space, installation: Installation
) -> None:
    """With the operator's own right, which the policies do not refuse: the second wall."""
    assert trader.decide("before")["_model_used"] == "api"
    thief = external("api", "against", host=f"thief.{space.name}.svc")

    system, operator = Space(space.cluster, SYSTEM), f"{RELEASE}-operator"
    system.kubectl("scale", f"deployment/{operator}", "--replicas=0")  # it would take the finalizer up again at once
    wait_for("the operator to go", installation.operator_pods, lambda pods: not pods, seconds=60)
    space.kubectl("patch", "modelversion", "api", *LET_GO, f"--as=system:serviceaccount:{SYSTEM}:{operator}")
    space.kubectl("delete", "modelversion", "api")
    space.apply(thief)
    system.kubectl("scale", f"deployment/{operator}", "--replicas=1")
    system.wait_available(operator, seconds=90)
    point = space.wait(
        "Endpoint",
        "trader",
        "the swap is said",
        lambda seen: "made anew" in condition(seen, "ChampionAvailable").get("message", ""),
        seconds=60,
    )
    assert condition(point, "Ready")["status"] == "False"
    assert condition(point, "ChampionAvailable")["reason"] == "ChampionMissing"
    for number in range(20):
        answer = trader.decide(f"swapped-{number}")
        assert (answer["_model_used"], answer["action"]) == ("api", "open_long")
        time.sleep(0.1)
    assert _asked(space) == 0
    space.kubectl("delete", "modelversion", "api", "--wait=false", check=False)
    wait_for(
        "the other version to go", lambda: space.get("ModelVersion", "api"), lambda found: found is None, seconds=60
    )
    space.apply(external("api", "steady"))
    space.wait_condition("Endpoint", "trader", "Ready", seconds=60)
    assert trader.decide("restored")["action"] == "open_long"
    assert _asked(space) == 0
