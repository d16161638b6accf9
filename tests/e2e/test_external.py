"""APIs as they are, over real HTTP from a gateway's pod: what they answer is read, what they refuse is told with what to do."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from gateway_client import GatewayClient, question
from installation import Installation
from space import Space

from manifests import endpoint, external
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

PRICES = {"inputPerMillion": "2", "cachedInputPerMillion": "0.5", "outputPerMillion": "8"}
WRONG_KEY = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "wrong-key"},
    "stringData": {"api-key": "sk-this-is-not-it"},
}


@pytest.fixture(scope="module")
def gateways(space: Space) -> Iterator[dict[str, GatewayClient]]:
    """A gateway an API."""
    apis: dict[str, dict[str, Any]] = {
        "odd": {"prices": PRICES},
        "moody": {"pricePerCallCNY": "0.5"},
        "poor": {},
        "barred": {"secretRef": {"name": "wrong-key", "key": "api-key"}},
        "keyless": {"secretRef": {"name": "nowhere", "key": "api-key"}},
        "nameless": {},
    }
    space.apply(WRONG_KEY)
    for name, more in apis.items():
        host = {"host": "no-such-service.nowhere.svc"} if name == "nameless" else {}
        behaviour = name if name in ("odd", "moody", "poor") else "follow"
        space.apply(external(name, behaviour, **host, **more), endpoint(f"asks-{name}", name))
    clients = {name: space.gateway(f"asks-{name}") for name in apis}
    try:
        yield {name: client.__enter__() for name, client in clients.items()}
    finally:
        for client in clients.values():
            client.__exit__(None, None, None)


def row(installation: Installation, space: Space, decision_id: str) -> tuple[Any, ...]:
    (found,) = installation.database.sql(
        "SELECT answered_by, reading_rules, extra, cost_cny, calls, error_kind, error_cause FROM tradewind.decisions"
        " WHERE namespace = %s AND decision_id = %s", space.name, decision_id,
    )  # fmt: skip
    return found


def test_an_answer_in_a_fence_with_thoughts_and_strings_is_read(
    installation: Installation, space: Space, gateways: dict[str, GatewayClient]
) -> None:
    answer = gateways["odd"].decide("odd-1")
    assert (answer["action"], answer["size_usd"], answer["_fallback"]) == ("open_long", 100, False)
    by, rules, extra, cost, calls, *_ = row(installation, space, "odd-1")
    assert (by, rules, extra) == ("odd", ["prose", "case", "strings", "extra"], {"risk_reward": 2.5})
    assert cost == Decimal("0.0018")  # 600 tokens at 2, 400 at 0.5, 50 at 8, a million
    assert calls[0]["tokens"] == {"prompt": 1000, "cached": 400, "completion": 50}


def test_a_busy_api_is_asked_again_and_both_calls_are_kept(
    installation: Installation, space: Space, gateways: dict[str, GatewayClient]
) -> None:
    assert gateways["moody"].decide("moody-1")["_model_used"] == "moody"
    by, rules, _, cost, calls, *_ = row(installation, space, "moody-1")
    assert (by, rules, cost) == ("moody", [], Decimal("0.5"))
    assert [call.get("error_cause") for call in calls] == ["overloaded", None]


@pytest.mark.parametrize(
    ("name", "cause", "says", "remedy"),
    [
        ("poor", "balance", "Insufficient Balance", "top up the account"),
        ("barred", "credential", "HTTP status 401", "put a valid API key into the Secret"),
        ("keyless", "secret", "cannot be read", "create the Secret that external.secretRef"),
        ("nameless", "dns", "ConnectError", "correct external.baseURL"),
    ],
)
def test_what_an_api_refuses_is_told_with_what_to_do(
    installation: Installation, space: Space, gateways: dict[str, GatewayClient], name: str, cause: str, says: str, remedy: str
) -> None:  # fmt: skip
    answer: httpx.Response = gateways[name].http.post("/v1/decisions", json=question(f"{name}-1"))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "no_answer")
    assert says in error["message"]
    assert remedy in error["remedy"]
    assert "sk-this" not in answer.text
    by, *_, kind, stored = row(installation, space, f"{name}-1")
    assert (by, kind is not None, stored) == (None, True, cause)


def test_a_secret_that_comes_later_is_found_by_the_running_gateway(
    space: Space, gateways: dict[str, GatewayClient]
) -> None:
    """An optional volume of a pod: the kubelet brings the key within its sync period, about a minute."""
    key = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "nowhere"}}
    space.apply(key | {"stringData": {"api-key": "api-key-of-the-e2e-tests"}})
    number = iter(range(1000))

    def status() -> int:
        return gateways["keyless"].http.post("/v1/decisions", json=question(f"keyless-late-{next(number)}")).status_code

    wait_for("the key to reach the pod", status, lambda told: told == 200, seconds=150, every=2)
