"""APIs as they are, over real HTTP from a gateway's pod: what they answer is read, what they refuse is told with what to do."""

import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest
from gateway_client import GatewayClient, question
from installation import ARMS, NOBODY, Installation
from space import Space

from manifests import API_KEY, api_key, endpoint, experiment, external, resource
from workshop.client import Json
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

PRICES = {"inputPerMillion": "2", "cachedInputPerMillion": "0.5", "outputPerMillion": "8"}
WRONG_KEY = api_key("wrong-key", "sk-this-is-not-it")


FOLLOWS = ("barred", "keyless", "misnamed", "nameless", "plain")
WITHIN_SECONDS = 15
QUICK = {"mode": "Live", "evidence": {"minDuration": "1d", "maxDuration": "30d"}}


@pytest.fixture(scope="module")
def gateways(space: Space) -> Iterator[dict[str, GatewayClient]]:
    """A gateway an API."""
    apis: dict[str, dict[str, Any]] = {
        "odd": {"prices": PRICES},
        "moody": {"pricePerCallCNY": "0.5"},
        "poor": {},
        "limited": {"retry": {"max": 0}},
        "gone": {},
        "sleepy": {"timeout": "1s"},
        "babbling": {"pricePerCallCNY": "0.5"},
        "barred": {"secretRef": {"name": "wrong-key", "key": "api-key"}},
        "keyless": {"secretRef": {"name": "nowhere", "key": "api-key"}},
        "misnamed": {"secretRef": {"name": "arm-key", "key": "apikey"}},
        "nameless": {"host": NOBODY},
        "plain": {"scheme": "https", "host": f"{ARMS}:80"},
    }
    space.apply(WRONG_KEY)
    for name, more in apis.items():
        behaviour = "follow" if name in FOLLOWS else name
        space.apply(external(name, behaviour, **more), endpoint(f"asks-{name}", name))
    clients = {name: space.gateway(f"asks-{name}", until="GatewayReady", seconds=240) for name in apis}
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
    ("name", "reason", "cause", "says", "remedy"),
    [
        ("poor", "NoBalance", "balance", "Insufficient Balance", "top up the account"),
        ("limited", "RateLimited", "rate", "HTTP status 429", "ask again"),
        ("gone", "NotFound", "not_found", "HTTP status 404", "correct external.baseURL or external.model"),
        ("sleepy", "TimedOut", None, "no answer within 1 s", "ask again"),
        ("babbling", "InvalidAnswers", None, "no JSON object", "ask again"),
        ("barred", "CredentialRefused", "credential", "HTTP status 401", "put a valid API key into the Secret"),
        ("keyless", "SecretUnreadable", "secret", "cannot be read", "create the Secret that external.secretRef"),
        ("misnamed", "SecretUnreadable", "secret", "cannot be read", "with that key"),
        ("nameless", "NameNotResolved", "dns", "does not resolve", "correct external.baseURL"),
        ("plain", "TLSFailed", "tls", "speaks no TLS", "correct external.baseURL"),
    ],
)
def test_an_arm_that_does_not_answer_is_nowhere_called_ready(
    installation: Installation, space: Space, gateways: dict[str, GatewayClient],
    name: str, reason: str, cause: str | None, says: str, remedy: str,
) -> None:  # fmt: skip
    up = condition(space, "Endpoint", f"asks-{name}", "GatewayReady")
    for kind, of in (("Endpoint", f"asks-{name}"), ("ModelVersion", name)):
        space.wait_condition(kind, of, "ArmHealthy", "False", seconds=60)
        known = condition(space, kind, of, "ArmHealthy")
        assert known["reason"] == reason
        assert says in known["message"]
        if cause != "rate" and "ask again" not in remedy:
            assert remedy in known["message"]
        told = instant(known) - instant(up)
        assert told.total_seconds() <= WITHIN_SECONDS, f"{kind} said so {told} after the gateway was up"
        ready = condition(space, kind, of, "Ready")
        assert (ready["status"], ready["reason"]) == ("False", reason)
        wait_for("an Event", partial(events, space, kind, of), lambda found: reason in found, seconds=5)
    answer: httpx.Response = gateways[name].http.post("/v1/decisions", json=question(f"{name}-1"))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "no_answer")
    assert says in error["message"]
    assert remedy in error["remedy"]
    assert "sk-this" not in answer.text
    by, *_, error_kind, stored = row(installation, space, f"{name}-1")
    assert (by, error_kind is not None, stored) == (None, True, cause)
    metrics = gateways[name].http.get("/metrics").text
    assert f'tradewind_arm_healthy{{version="{name}"}} 0.0' in metrics
    assert f'tradewind_arm_health_changes_total{{reason="{reason}",version="{name}"}}' in metrics


def test_an_arm_that_answers_is_ready_and_its_probe_was_paid(
    installation: Installation, space: Space, gateways: dict[str, GatewayClient]
) -> None:
    for kind, of in (("Endpoint", "asks-odd"), ("ModelVersion", "odd")):
        space.wait_condition(kind, of, "Ready", seconds=30)
        assert condition(space, kind, of, "ArmHealthy")["status"] == "True"
    (probe,) = installation.database.sql(
        "SELECT version, error_kind, cost_cny FROM tradewind.probes WHERE namespace = %s AND endpoint = 'asks-odd'",
        space.name,
    )
    assert probe == ("odd", None, Decimal("0.0018"))
    (arm,) = space.must_get("Endpoint", "asks-odd")["status"]["arms"]
    assert (arm["version"], arm["healthy"], arm["probes"], arm["probeCostCNY"]) == ("odd", True, 1, "0.001800")


def test_an_api_that_breaks_later_is_told_and_its_recovery_too(
    space: Space, gateways: dict[str, GatewayClient]
) -> None:
    """The key is taken back while the Endpoint serves: found by the next decision that fails, or the next probe."""
    space.wait_condition("Endpoint", "asks-moody", "Ready", seconds=30)
    space.apply(external("fickle", "follow", secretRef={"name": "fickle-key", "key": "api-key"}))
    space.apply(fickle("api-key-of-the-e2e-tests"), endpoint("asks-fickle", "fickle"))
    with space.gateway("asks-fickle") as client:
        space.apply(fickle("sk-this-is-not-it"))
        space.wait_condition("Endpoint", "asks-fickle", "ArmHealthy", "False", reason="CredentialRefused", seconds=150)
        assert client.http.post("/v1/decisions", json=question("fickle-1")).status_code == 503
        space.apply(fickle("api-key-of-the-e2e-tests"))
        space.wait_condition("Endpoint", "asks-fickle", "Ready", seconds=150)
        assert client.decide("fickle-2")["_model_used"] == "fickle"


def fickle(key: str) -> Json:
    return api_key("fickle-key", key)


def test_an_external_candidate_is_asked_before_the_experiment_starts(
    space: Space, gateways: dict[str, GatewayClient]
) -> None:
    space.apply(external("other", "poor"), experiment("against-poor", "asks-odd", None, "other", **QUICK))
    space.wait_condition("ABExperiment", "against-poor", "Admissible", "False", reason="VersionNotReady", seconds=60)
    wait_for(
        "the cause to be told",
        lambda: condition(space, "ABExperiment", "against-poor", "Admissible")["message"],
        lambda said: "NoBalance" in said,
        seconds=60,
    )
    assert not space.must_get("ABExperiment", "against-poor")["status"].get("t0")
    space.kubectl("delete", "abexperiment", "against-poor")


def test_what_keeps_a_pod_from_running_is_told_in_kubernetes_words(space: Space) -> None:
    base = {"baseModel": {"uri": "pvc://nowhere/base"}, "output": {"uri": "pvc://nowhere/out"}}
    run = resource("TrainingRun", "adrift", base | {"dataset": {"endpoint": "asks-odd"}})
    adrift = endpoint("adrift", "odd", database={"secretRef": {"name": "no-database", "key": "dsn"}})
    began = time.monotonic()
    space.apply(run, adrift)
    for kind, name, fact, reason, says in (
        ("TrainingRun", "adrift", "DataReady", "FailedScheduling", '"nowhere" not found'),
        ("Endpoint", "adrift", "GatewayReady", "CreateContainerConfigError", "no-database"),
    ):
        space.wait_condition(kind, name, fact, "False", reason=reason, seconds=60)
        assert says in condition(space, kind, name, fact)["message"]
    assert time.monotonic() - began <= WITHIN_SECONDS + 5  # of which the pods' making is a part
    space.kubectl("delete", "trainingrun/adrift", "endpoint.tradewind.dev/adrift", "--wait=false")


def condition(space: Space, kind: str, name: str, of: str) -> Json:
    found = space.must_get(kind, name)["status"]["conditions"]
    return next(known for known in found if known["type"] == of)


def instant(known: Json) -> datetime:
    return datetime.fromisoformat(known["lastTransitionTime"])


def events(space: Space, kind: str, name: str) -> set[str]:
    """Reasons of the Warnings about an object."""
    found = space.select("Event")
    return {
        e["reason"]
        for e in found
        if (e["involvedObject"]["kind"], e["involvedObject"]["name"]) == (kind, name) and e["type"] == "Warning"
    }


def test_a_secret_that_comes_later_is_found_by_the_running_gateway(
    space: Space, gateways: dict[str, GatewayClient]
) -> None:
    """An optional volume of a pod: the kubelet brings the key within its sync period, about a minute."""
    space.apply(api_key("nowhere", API_KEY))
    number = iter(range(1000))

    def status() -> int:
        return gateways["keyless"].http.post("/v1/decisions", json=question(f"keyless-late-{next(number)}")).status_code

    wait_for("the key to reach the pod", status, lambda told: told == 200, seconds=150, every=2)
