"""A live Endpoint with two gateway pods: what callers are told, who may run, and that serving outlives what is deleted."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from gateway_client import GatewayClient, Load, question
from installation import Installation
from space import Space

from manifests import endpoint, experiment, external, resource
from workshop.client import condition
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

HALF = {"traffic": {"policy": "fixed", "weight": "0.5"}}
RUN = {
    "baseModel": {"uri": "pvc://models/base"},
    "dataset": {"endpoint": "trader"},
    "output": {"uri": "pvc://models/runs"},
}


@pytest.fixture(scope="module")
def trader(space: Space) -> Iterator[GatewayClient]:
    space.apply(
        external("api", "steady"),
        external("next", "follow"),
        external("other", "against"),
        endpoint("trader", "api", replicas=2),
    )
    wait_for("both gateway pods are ready", lambda: _ready_pods(space), lambda ready: ready == 2, seconds=120)
    with space.gateway("trader") as gateway:
        yield gateway


def _ready_pods(space: Space) -> int:
    """Ready pods of the newest template, 0 while an older one still runs."""
    deployment = space.get("Deployment", "trader-gateway") or {}
    status = deployment.get("status") or {}
    settled = status.get("replicas") == status.get("updatedReplicas") == status.get("readyReplicas")
    settled = settled and status.get("observedGeneration") == deployment.get("metadata", {}).get("generation")
    return int(status.get("readyReplicas") or 0) if settled else 0


def _has_key(space: Space, version: str) -> bool:
    """Whether the gateway's template mounts the API key of a version."""
    return f"/arms/{version}" in json.dumps(space.get("Deployment", "trader-gateway"))


def _gateway_pods(space: Space) -> set[str]:
    """Gateway pods that are to stay."""
    pods = space.select("Pod", "app.kubernetes.io/component=gateway")
    return {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def _error(answer: httpx.Response, status: int, code: str, field: str | None = None) -> str:
    """The message of an error that says what it should."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error.get("field")) == (code, field), error
    assert error["remedy"]
    return str(error["message"])


# --- what callers are told -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(trader: GatewayClient) -> str:
    """A decision with an outcome."""
    assert trader.decide("known")["action"] == "open_long"
    at = datetime.now(UTC).isoformat()
    trader.opened("known", at=at)
    trader.closed("known", at=at, pnl=1.5)
    return "known"


@pytest.fixture
def unchanged(installation: Installation, space: Space, known: str) -> Iterator[None]:
    """What is refused leaves every row as it was."""

    def rows() -> list[tuple[Any, ...]]:
        return [
            row
            for table in ("decisions", "executions", "outcomes")
            for row in installation.database.sql(
                f"SELECT t::text FROM tradewind.{table} t WHERE namespace = %s", space.name
            )
        ]

    before = rows()
    assert before
    yield
    assert sorted(rows()) == sorted(before)


@pytest.mark.usefixtures("unchanged")
class TestRefusals:
    """Through the Service, each with a code, the field and a remedy."""

    def test_malformed_json(self, trader: GatewayClient) -> None:
        _error(trader.http.post("/v1/decisions", content=b'{"decision_id": '), 400, "malformed_json")

    def test_oversized_body(self, trader: GatewayClient) -> None:
        large = question("large") | {"account_state": {"note": "x" * 300_000}}
        assert "262144 bytes" in _error(trader.post("/v1/decisions", large), 413, "body_too_large")

    def test_unknown_symbol(self, trader: GatewayClient) -> None:
        answer = trader.post("/v1/decisions", question("strange", symbol="XAU"))
        assert answer.status_code == 422, answer.text
        assert "XAU" in answer.text
        assert answer.json()["error"]["field"] == "scope.symbol"

    def test_unknown_field(self, trader: GatewayClient) -> None:
        answer = trader.post("/v1/decisions", question("typo") | {"acount_state": {}})
        _error(answer, 422, "invalid_request", "acount_state")

    def test_same_id_with_another_question(self, trader: GatewayClient, known: str) -> None:
        answer = trader.post("/v1/decisions", question(known) | {"recent_history": [{"action": "hold"}]})
        _error(answer, 422, "decision_id_reused", "decision_id")

    def test_same_id_with_fresh_prices_gets_the_stored_answer(self, trader: GatewayClient, known: str) -> None:
        answer = trader.post("/v1/decisions", question(known, hint="down"))
        if answer.status_code == 200:  # a retry; once its lease is over it is another question
            assert (answer.json()["_replayed"], answer.json()["action"]) == (True, "open_long")
        else:
            _error(answer, 422, "decision_id_reused", "decision_id")

    def test_same_id_with_the_same_body_gets_the_same_answer(self, trader: GatewayClient, known: str) -> None:
        first, second = (trader.post("/v1/decisions", question(known)) for _ in range(2))
        assert first.json() == second.json()
        assert first.json()["action"] == "open_long"

    def test_outcome_of_an_unknown_decision(self, trader: GatewayClient) -> None:
        outcome = {"closed_at": datetime.now(UTC).isoformat(), "pnl": 1.0, "fees": 0.0, "exit_reason": "x"}
        _error(trader.post("/v1/decisions/never/outcome", outcome), 404, "unknown_decision", "decision_id")

    def test_an_outcome_of_the_future(self, trader: GatewayClient, known: str) -> None:
        outcome = {"closed_at": "2031-01-01T00:00:00Z", "pnl": 1.0, "exit_reason": "x"}
        _error(trader.post(f"/v1/decisions/{known}/outcome", outcome), 422, "time_in_future", "closed_at")

    def test_an_outcome_that_cannot_be_true(self, trader: GatewayClient, known: str) -> None:
        outcome = {"closed_at": datetime.now(UTC).isoformat(), "pnl": 1e11, "exit_reason": "x"}
        _error(trader.post(f"/v1/decisions/{known}/outcome", outcome), 422, "out_of_bounds", "pnl")

    @pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}], ids=["missing", "wrong"])
    def test_token(self, trader: GatewayClient, header: dict[str, str]) -> None:
        answer = httpx.post(f"{trader.url}/v1/decisions", json=question("intruder"), headers=header, trust_env=False)
        _error(answer, 401, "unauthorized")

    def test_as_of_on_a_live_endpoint(self, trader: GatewayClient) -> None:
        answer = trader.post("/v1/decisions", question("past", as_of="2018-01-02T00:00:00Z"))
        _error(answer, 422, "as_of_refused", "as_of")


def test_a_second_outcome_corrects_the_first_and_both_are_kept(
    trader: GatewayClient, installation: Installation, space: Space
) -> None:
    trader.decide("corrected")
    at = datetime.now(UTC).isoformat()
    trader.opened("corrected", at=at)
    for pnl in (1.5, 1.25):
        trader.closed("corrected", at=at, pnl=pnl)
    (row,) = installation.database.sql(
        "SELECT pnl_usd::float, first_pnl_usd::float, corrections FROM tradewind.outcomes "
        "WHERE namespace = %s AND decision_id = 'corrected'",
        space.name,
    )
    assert row == (1.25, 1.5, 1)
    told = trader.http.get("/v1/decisions/corrected").json()
    assert [event["kind"] for event in told["events"]] == ["open", "close", "correct"]


# --- who may run -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(space: Space, trader: GatewayClient) -> str:
    """The experiment that holds the Endpoint."""
    space.apply(experiment("first", "trader", None, "next", **HALF))
    space.wait_active("trader", "first", 90)
    return "first"


def test_a_second_experiment_waits_and_names_the_holder(space: Space, running: str) -> None:
    space.apply(experiment("second", "trader", None, "other", **HALF))
    waiting = space.wait_condition("ABExperiment", "second", "Succeeded", "Unknown", reason="EndpointBusy")
    assert waiting["status"]["phase"] == "Pending"
    assert f"Endpoint trader runs ABExperiment {running}" in condition(waiting, "Succeeded")["message"]
    space.kubectl("annotate", "abexperiment", running, "tradewind.dev/abort=e2e-1", f"tradewind.dev/by={_me(space)}")
    space.wait_phase("ABExperiment", running, "Aborted")
    started = space.wait_active("trader", "second", 90)
    assert started["status"]["phase"] == "Running"


def _me(space: Space) -> str:
    return space.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")


def test_an_unknown_endpoint_is_named_with_the_remedy(space: Space, trader: GatewayClient) -> None:
    space.apply(experiment("lost", "nowhere", None, "next"))
    seen = space.wait_condition("ABExperiment", "lost", "Admissible", "False", reason="EndpointMissing")
    told = condition(seen, "Admissible")["message"]
    assert told == "spec.endpointRef.name: Endpoint 'nowhere' does not exist: create it or correct it"
    space.kubectl("delete", "abexperiment", "lost")


@pytest.mark.parametrize(
    ("kind", "name", "patch", "told"),
    [
        ("endpoints.tradewind.dev", "trader", '{"spec":{"clock":"replay"}}', ("spec.clock", "create another Endpoint")),
        ("abexperiment", "second", '{"spec":{"candidate":"next"}}', ("spec", "create a new one")),
        ("modelversion", "api", '{"spec":{"external":{"model":"x"}}}', ("spec", "immutable")),
    ],
)
def test_what_is_fixed_cannot_be_edited(
    space: Space, running: str, kind: str, name: str, patch: str, told: tuple[str, str]
) -> None:
    said = space.refused("patch", kind, name, "--type=merge", "-p", patch)
    assert all(part in said for part in told), said


# --- serving goes on -------------------------------------------------------------------------------------------------


def test_deleting_experiment_run_and_schedule_leaves_serving_alone(
    space: Space, trader: GatewayClient, running: str
) -> None:
    schedule = {"schedule": "@yearly", "suspend": True, "template": {"spec": RUN}}
    space.apply(
        resource("TrainingRun", "waiting", RUN | {"suspend": True}), resource("TrainingSchedule", "yearly", schedule)
    )
    space.wait("TrainingRun", "waiting", "has begun", lambda seen: (seen.get("status") or {}).get("phase"), seconds=60)
    holder = (space.routing("trader").get("experiment") or {}).get("name")
    assert holder == "second"
    with Load(trader, "deleted") as load:
        load.more(10)
        for kind, name in (("trainingschedule", "yearly"), ("trainingrun", "waiting"), ("abexperiment", holder)):
            space.kubectl("delete", kind, name)
            load.more(5)
        wait_for(
            "no experiment in the routing", lambda: space.routing("trader").get("experiment"), lambda held: not held
        )
        wait_for("two gateways of one template", lambda: _ready_pods(space), lambda ready: ready == 2, seconds=90)
        load.more(10)
    assert load.failed == []
    assert len(load.answered) > 30
    told = space.refused("delete", "modelversion", "api", "--wait=false")
    assert "ModelVersion api is in use by Endpoint" in told
    space.kubectl("delete", "modelversion", "other", "--timeout=30s")  # nobody needs it any more
    # Its key was still mounted, for the positions that it opened: the gateways are replaced by ones without it.
    wait_for("a template without the candidate's key", lambda: _has_key(space, "other"), lambda has: not has)
    wait_for("gateways without the key", lambda: _ready_pods(space), lambda ready: ready == 2, seconds=90)


def test_a_rolling_restart_fails_and_doubles_no_decision(space: Space, trader: GatewayClient, arms: str) -> None:
    before = _gateway_pods(space)
    with Load(trader, "rolled", threads=3) as load:
        load.more(10)
        space.kubectl("rollout", "restart", "deployment/trader-gateway")
        space.kubectl("rollout", "status", "deployment/trader-gateway", "--timeout=150s", seconds=160)
        load.more(10)
    assert load.failed == []
    after = _gateway_pods(space)
    assert len(after) == 2
    assert not after & before
    asked = httpx.get(f"{arms}/asks", timeout=30, trust_env=False).json()
    assert {tag: asked[f"steady/{tag}"] for tag in load.answered if asked[f"steady/{tag}"] != 1} == {}
