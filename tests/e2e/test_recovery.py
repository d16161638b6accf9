"""All objects of a namespace are lost with their cluster and applied again over the kept database."""

from collections.abc import Iterator

import pytest
from gateway_client import GatewayClient
from installation import RELEASE, SYSTEM, Installation
from space import Space

from manifests import endpoint, experiment, external
from workshop.client import condition
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

KINDS = "abexperiments,trainingschedules,trainingruns,endpoints.tradewind.dev,modelversions"


@pytest.fixture(scope="module")
def trader(space: Space) -> Iterator[GatewayClient]:
    space.apply(external("api", "steady"), external("next", "follow"), endpoint("trader", "api"))
    with space.gateway("trader") as gateway:
        yield gateway


def _manifests(space: Space) -> str:
    told = space.tradewind("get", "all", "-o", "manifests")
    assert told.returncode == 0, told.stderr
    return told.stdout


def _lose_everything(space: Space, installation: Installation) -> None:
    """Nobody sees the objects go: as with a cluster that burns, none of them is let go of."""
    system, operator = Space(space.cluster, SYSTEM), f"{RELEASE}-operator"
    system.kubectl("scale", f"deployment/{operator}", "--replicas=0")
    wait_for("the operator to go", installation.operator_pods, lambda pods: not pods, seconds=60)
    user = f"--as=system:serviceaccount:{SYSTEM}:{operator}"  # the only one that may take finalizers of versions in use
    for version in space.select("ModelVersion"):
        nothing = ("--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        space.kubectl("patch", "modelversion", version["metadata"]["name"], *nothing, user)
    space.kubectl("delete", KINDS, "--all", "--wait", seconds=90)
    wait_for(
        "the gateway to go", lambda: space.get("Deployment", "trader-gateway"), lambda found: found is None, seconds=90
    )


def _restart(space: Space) -> None:
    system, operator = Space(space.cluster, SYSTEM), f"{RELEASE}-operator"
    system.kubectl("scale", f"deployment/{operator}", "--replicas=1")
    system.wait_available(operator, seconds=90)


def _champion(space: Space) -> tuple[str, str | None]:
    status = space.must_get("Endpoint", "trader")["status"]
    return status["championRef"]["name"], (status.get("previousChampionRef") or {}).get("name")


def test_champion_history_and_decisions_come_back(
    trader: GatewayClient, space: Space, installation: Installation
) -> None:
    promoted = space.tradewind("promote", "next", "--endpoint", "trader", "--reason", "it is cheaper")
    assert promoted.returncode == 0, promoted.stderr
    assert _champion(space) == ("next", "api")
    answered = trader.decide("before")
    assert answered["_model_used"] == "next"
    space.apply(experiment("again", "trader", None, "api", traffic={"policy": "fixed", "weight": "0.5"}))
    space.wait_active("trader", "again", 90)
    kept = _manifests(space)

    _lose_everything(space, installation)
    space.cluster.kubectl("apply", "-n", space.name, "-f", "-", given=kept)
    _restart(space)
    with space.gateway("trader") as gateway:
        assert _champion(space) == ("next", "api")
        assert gateway.decide("after")["_model_used"] == "next"
        assert gateway.decide("before") == answered
    space.wait_condition("ABExperiment", "again", "Admissible", "False", reason="AlreadyTested", seconds=90)
    ends = installation.database.sql(
        "SELECT name, decision, decision_reason FROM tradewind.experiments WHERE namespace = %s", space.name
    )
    assert ends == [("again", "abort", "ObjectDeleted")]
    back = space.tradewind("rollback", "trader", "--reason", "as before")
    assert back.returncode == 0, back.stderr
    assert _champion(space) == ("api", "next")
    again = space.tradewind("promote", "next", "--endpoint", "trader", "--reason", "as before")
    assert again.returncode == 0, again.stderr


def test_another_spec_under_the_champions_name_is_not_asked_until_it_is_restored(
    trader: GatewayClient, space: Space, installation: Installation
) -> None:
    kept = _manifests(space)
    _lose_everything(space, installation)
    assert "arm-follow" in kept
    space.cluster.kubectl("apply", "-n", space.name, "-f", "-", given=kept.replace("arm-follow", "arm-other"))
    _restart(space)
    seen = space.wait_condition("Endpoint", "trader", "ChampionAvailable", "False", seconds=90)
    said = condition(seen, "ChampionAvailable")
    assert (said["reason"], "ModelVersion next is not what was promoted" in said["message"]) == (
        "ChampionMissing",
        True,
    ), said
    assert condition(seen, "Ready")["status"] == "False"
    assert space.routing("trader") == {}  # so that nobody is asked in its place
    space.kubectl("delete", "modelversion", "next", "--wait=true", seconds=60)
    seen = space.wait(
        "Endpoint",
        "trader",
        "what is missing is said",
        lambda found: "does not exist" in condition(found, "ChampionAvailable").get("message", ""),
        seconds=60,
    )
    space.cluster.kubectl("apply", "-n", space.name, "-f", "-", given=kept)
    with space.gateway("trader") as gateway:
        assert gateway.decide("restored")["_model_used"] == "next"
    assert _champion(space) == ("next", "api")
