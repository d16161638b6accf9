"""A Live experiment whose candidate answers beside the API, over real HTTP: slow, out of order, talking nonsense, killed."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gateway_client import GatewayClient, question
from installation import Installation
from space import Space

from manifests import arms_server, endpoint, experiment, external
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

ARMS = ("good", "slow", "broken", "nonsense", "killed")
BEHAVIOUR = {"good": "against", "killed": "against"}
EXPECTED: dict[str, tuple[str, str | None, str | None]] = {
    "good": ("answered", None, "open_short"),
    "slow": ("absent", "timeout", None),
    "broken": ("failed", "status", "open_long"),  # what stands is the fallback's answer
    "nonsense": ("failed", "invalid_json", "open_long"),
    "killed": ("absent", "transport", None),
}


@pytest.fixture(scope="module")
def trader(space: Space, installation: Installation) -> Iterator[GatewayClient]:
    """A gateway in front of a steady API, and candidates that it asks beside it."""
    space.apply(*arms_server(installation.images["gateway"], "mortal"))
    space.wait_available("mortal", seconds=60)
    candidates = [external(name, BEHAVIOUR.get(name, name), timeout="1s") for name in ARMS if name != "killed"]
    candidates.append(external("killed", "against", timeout="1s", host=f"mortal.{space.name}.svc"))
    space.apply(external("api", "steady"), *candidates, endpoint("trader", "api", paper={"horizon": "1h"}))
    with space.gateway("trader") as gateway:
        yield gateway


def _ask(trader: GatewayClient, decision_id: str) -> tuple[httpx.Response, float]:
    body = question(decision_id)
    body["market_data"]["EURUSD"]["price"] = 1.0712
    began = time.monotonic()
    answer = trader.post("/v1/decisions", body)
    return answer, time.monotonic() - began


@pytest.mark.parametrize("name", ARMS)
def test_the_caller_gets_the_drawn_arms_answer_at_once_whatever_the_shadow_does(
    name: str, space: Space, installation: Installation, trader: GatewayClient, arms: str
) -> None:
    traffic = {"policy": "fixed", "weight": "0.01", "shadow": "candidate"}
    space.apply(experiment(name, "trader", "api", name, traffic=traffic))
    space.wait_active("trader", name, 120)
    # Until the first weight is obeyed a decision is drawn at weight 0, which is no evidence and so no row.
    wait_for("the first weight to be obeyed", lambda: _obeyed(space), lambda weight: weight == "0.01", seconds=60)
    if name == "killed":
        space.kubectl("scale", "deployment/mortal", "--replicas=0")
        space.kubectl("wait", "--for=delete", "pod", "-l", "app=mortal", "--timeout=60s", seconds=70)
    ids = [f"{name}-{number}" for number in range(8)]
    answers = [_ask(trader, decision_id) for decision_id in ids]
    drawn = {i for i, (answer, _) in zip(ids, answers, strict=True) if answer.json()["_arm"] == "baseline"}
    assert len(drawn) >= 6  # one in a hundred is the candidate's
    for decision_id, (answer, seconds) in zip(ids, answers, strict=True):
        assert answer.status_code == 200, answer.text
        if decision_id in drawn:
            told = answer.json()
            assert (told["action"], told["_model_used"], told["_fallback"]) == ("open_long", "api", False)
            assert seconds < 0.9, "the API takes 0.1 s, the shadow up to 1 s"

    def stored() -> dict[str, tuple[Any, ...]]:
        rows = installation.database.sql(
            "SELECT decision_id, arm, version, state, error_kind, answer ->> 'action' FROM tradewind.shadows "
            "WHERE namespace = %s AND decision_id LIKE %s",
            space.name,
            f"{name}-%",
        )
        return {row[0]: row[1:] for row in rows}

    rows = wait_for(f"a shadow of {name} for each decision", stored, lambda rows: rows.keys() >= drawn, seconds=30)
    states = {rows[decision_id][2:] for decision_id in drawn}
    # Late, out of reach, out of order or without an answer five times in a row, it is not asked for a while.
    closed = {("absent", "breaker_open", None)} if name != "good" else set()
    if name == "killed":  # asked again at once, and then it may be that nobody refuses
        closed.add(("absent", "timeout", None))
    assert EXPECTED[name] in states
    assert states <= {EXPECTED[name]} | closed
    assert {rows[decision_id][:2] for decision_id in drawn} == {("candidate", name)}
    asked = httpx.get(f"{arms}/asks", timeout=30, trust_env=False).json()
    assert {asked[f"steady/{decision_id}"] for decision_id in drawn} == {1}, "the API is never asked twice"
    if name == "good":
        _papers_are_rows(space, installation, trader, min(drawn))
    space.kubectl("delete", "abexperiment", name)
    wait_for("a free Endpoint", lambda: space.routing("trader").get("experiment"), lambda held: not held, seconds=60)


def _obeyed(space: Space) -> str | None:
    """The candidate's weight, once every ready gateway pod has it."""
    route = space.routing("trader").get("experiment") or {}
    reported = (space.must_get("Endpoint", "trader")["status"].get("gateway") or {}).get("reportedEpoch")
    return route.get("candidateWeight") if reported == route.get("epoch") else None


def _papers_are_rows(space: Space, installation: Installation, trader: GatewayClient, decision_id: str) -> None:
    """What is reported of both arms' papers stands beside the row that the verdict rests on."""
    for arm, earned in (("baseline", 0.0011), ("candidate", -0.0013)):
        path, body = f"/v1/decisions/{decision_id}/paper", {"arm": arm, "ret": earned}
        assert trader.post(path, body).status_code == 200
        assert trader.post(path, body).status_code == 200, "the same again is the same"
        assert trader.post(path, {"arm": arm, "ret": 0.5}).status_code == 409

    def row() -> tuple[Any, ...]:
        (found,) = installation.database.sql(
            "SELECT paper_baseline, paper_candidate, paper_at IS NOT NULL, failed, shadow_failed "
            "FROM tradewind.judged_rows WHERE namespace = %s AND decision_id = %s",
            space.name,
            decision_id,
        )
        return found

    expected = (0.0011, -0.0013, True, "", "")
    wait_for("the papers of both arms", row, lambda found: found == expected, seconds=150)
