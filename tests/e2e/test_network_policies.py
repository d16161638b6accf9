"""NetworkPolicies on the real cluster: they are taken, select the pods, and what is needed still works where they are enforced."""

from collections.abc import Iterator

import pytest
from installation import SYSTEM, Installation
from space import Space

from manifests import endpoint, external
from workshop.client import Json

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def closed(space: Space, installation: Installation) -> Iterator[Space]:
    """The tests ask gateways from the node, which a policy names by address: anybody may call here."""
    anybody = [{"ipBlock": {"cidr": "0.0.0.0/0"}}]
    installation.upgrade(networkPolicy={"enabled": True, "callers": anybody, "databaseFrom": anybody})
    space.apply(external("api", "steady"), endpoint("x", "api"))
    yield space
    installation.upgrade()


def policies(space: Space) -> list[Json]:
    names = space.kubectl("get", "networkpolicies", "-o", "jsonpath={.items[*].metadata.name}").split()
    return [
        {"name": n, "pods": space.kubectl("get", "networkpolicy", n, "-o", "jsonpath={.spec.podSelector.matchLabels}")}
        for n in names
    ]


def test_a_gateway_answers_behind_its_policy(closed: Space) -> None:
    with closed.gateway("x") as gateway:
        assert gateway.decide("behind-a-policy")["_model_used"] == "api"
    (found,) = policies(closed)
    assert found["name"] == "x-gateway"
    assert closed.select("Pod", "app.kubernetes.io/component=gateway,tradewind.dev/owner-name=x")


def test_the_charts_pods_have_theirs(closed: Space) -> None:
    found = {p["name"] for p in policies(Space(closed.cluster, SYSTEM))}
    assert {"tw-operator", "tw-postgres", "tw-migrate"} <= found


def test_the_policy_goes_with_its_endpoint(closed: Space) -> None:
    closed.kubectl("delete", "endpoints.tradewind.dev", "x", "--wait")
    closed.kubectl("wait", "--for=delete", "networkpolicy/x-gateway", "--timeout=60s")
