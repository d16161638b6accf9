"""One gateway Deployment for two Endpoints on the real cluster: each is its own for callers, and one leaves and comes back under load."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_client import GatewayClient, Load, question
from installation import Installation
from space import Space

from manifests import endpoint, experiment, external, resource
from workshop.client import Json
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

TOKEN = "token-of-the-guest"
AUTH = {"secretRef": {"name": "eth-token", "key": "token"}}
HALF = {"traffic": {"policy": "fixed", "weight": "0.5"}}
SHARED = {"sharedWith": "desk", "auth": AUTH}


def _guest(gateway: dict[str, Any]) -> Json:
    limits = {
        "symbols": ["EURUSD"],
        "permissionLevels": {"L1": {"maxLeverage": 2, "maxSizeUSD": "100", "allowNoStop": True}},
    }
    return resource("Endpoint", "eth", {"fallback": "eth-api", "gateway": gateway, "limits": limits})


def _own(replicas: int = 2) -> Json:
    return endpoint("eth", "eth-api", replicas=replicas, gateway={"auth": AUTH}, allowAutoPromote=False)


@pytest.fixture(scope="module")
def shared(space: Space) -> Space:
    """`desk` with two pods, and `eth`, for which they answer, too; another version, and another token."""
    space.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "eth-token"}, "stringData": {"token": TOKEN}},
        external("desk-api", "follow"),
        external("eth-api", "against"),
        external("slow", "slow"),
        endpoint("desk", "desk-api", replicas=2),
        _guest(SHARED),
    )
    for name in ("desk", "eth"):
        space.wait_condition("Endpoint", name, "Ready", seconds=180)
        space.wait_condition("Endpoint", name, "WeightsApplied", seconds=60)
    wait_for("pods with the guest's port alone", lambda: _pods_of_both(space), lambda pods: len(pods) == 2, seconds=180)
    return space


@pytest.fixture
def both(shared: Space) -> Iterator[tuple[GatewayClient, GatewayClient]]:
    with shared.gateway("desk") as desk, shared.gateway("eth") as eth, GatewayClient(eth.url, token=TOKEN) as guest:
        yield desk, guest


def _pods_of_both(space: Space) -> set[str]:
    """Pods of desk, once none of an earlier template is left that does not answer for the guest; none before."""
    port = f"guest-{_hosting(space).get('port')}"
    pods = space.select("Pod", "tradewind.dev/owner-name=desk,app.kubernetes.io/component=gateway")
    mine = [pod for pod in pods if port in {p["name"] for p in pod["spec"]["containers"][0]["ports"]}]
    return {pod["metadata"]["name"] for pod in mine} if len(mine) == len(pods) else set()


def _hosting(space: Space) -> Json:
    gateway: Json = space.must_get("Endpoint", "eth").get("status", {}).get("gateway") or {}
    return gateway.get("hosting") or {}


def _command(space: Space, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = folder / "config"
    config.write_text(space.kubectl("config", "view", "--raw", "--minify", "--flatten"), encoding="utf-8")
    argv = [sys.executable, "-m", "tradewind.main", *arguments, "-n", space.name]
    environment = os.environ | {"KUBECONFIG": str(config)}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=150, check=False)


def test_both_answer_in_the_pods_of_one(
    shared: Space, both: tuple[GatewayClient, GatewayClient], installation: Installation, tmp_path: Path
) -> None:
    desk, eth = both
    answers = [each.decide("one-id")["_model_used"] for each in (desk, eth)]
    assert answers == ["desk-api", "eth-api"]
    assert shared.get("Deployment", "eth-gateway") is None
    assert shared.must_get("Endpoint", "desk")["status"]["gateway"]["guests"] == ["eth"]
    hosting = _hosting(shared)
    assert (hosting["host"], hosting["servedBy"]) == ("desk", "desk")
    reported = installation.database.sql(
        "SELECT DISTINCT endpoint, replica FROM tradewind.gateway_replicas WHERE namespace = %s", shared.name
    )
    assert {replica for name, replica in reported if name == "eth"} >= _pods_of_both(shared)
    told = _command(shared, tmp_path, "get", "endpoint")
    assert "gateway of desk" in told.stdout, told.stdout + told.stderr


def test_tokens_of_one_are_refused_at_the_other(both: tuple[GatewayClient, GatewayClient]) -> None:
    desk, eth = both
    for place, token in ((desk, TOKEN), (eth, desk.token)):
        with GatewayClient(place.url, token=token) as wrong:
            assert wrong.post("/v1/decisions", question("stranger")).status_code == 401


def test_a_stop_of_one_leaves_the_candidate_of_the_other(
    shared: Space, both: tuple[GatewayClient, GatewayClient], tmp_path: Path
) -> None:
    desk, eth = both
    shared.apply(experiment("desk-ab", "desk", None, "slow", **HALF), experiment("eth-ab", "eth", None, "slow", **HALF))
    for name in ("desk", "eth"):
        shared.wait_active(name, f"{name}-ab")
        shared.wait_condition("Endpoint", name, "WeightsApplied", seconds=90)
    stopped = _command(shared, tmp_path, "stop", "eth", "--reason", "a drill")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "2 of 2 gateway pods obey" in stopped.stdout
    assert {eth.decide(f"stopped-{number}")["_model_used"] for number in range(6)} == {"eth-api"}
    assert shared.must_get("ABExperiment", "desk-ab")["status"]["phase"] == "Running"
    drawn = {desk.decide(f"goes-on-{number}")["_arm"] for number in range(16)}
    assert drawn == {"baseline", "candidate"}
    assert _command(shared, tmp_path, "stop", "desk", "--reason", "the end of the test").returncode == 0


def test_a_guest_leaves_and_comes_back_under_load_without_a_lost_decision(
    shared: Space, both: tuple[GatewayClient, GatewayClient], installation: Installation
) -> None:
    desk, eth = both
    with Load(eth, "moving") as moving, Load(desk, "staying") as staying:
        moving.more(5)
        shared.apply(_own())
        wait_for("the guest to have left", lambda: _hosting(shared), lambda hosting: not hosting, seconds=240)
        assert shared.must_get("Service", "eth-gateway")["spec"]["selector"]["tradewind.dev/owner-name"] == "eth"
        moving.more(10)
        shared.apply(_guest(SHARED | {"replicas": 2}))
        wait_for(
            "the guest to be back",
            lambda: (_hosting(shared).get("servedBy"), shared.get("Deployment", "eth-gateway")),
            lambda seen: seen == ("desk", None),
            seconds=240,
        )
        moving.more(10)
        staying.more(5)
    assert (moving.failed, staying.failed) == ([], [])
    rows = installation.database.sql(
        "SELECT decision_id, state, answered_by FROM tradewind.decisions WHERE namespace = %s AND endpoint = 'eth' "
        "AND decision_id LIKE 'moving-%%'",
        shared.name,
    )
    assert {(state, by) for _, state, by in rows} == {("answered", "eth-api")}
    assert set(moving.answered) == {name for name, *_ in rows}


def test_a_guest_of_an_endpoint_that_is_gone_says_so(shared: Space) -> None:
    shared.kubectl("delete", "endpoints.tradewind.dev", "desk", "--wait=true")
    shared.wait(
        "Endpoint",
        "eth",
        "says that its host is gone",
        lambda seen: any(
            (c["type"], c["status"], c["reason"]) == ("GatewayReady", "False", "HostMissing")
            for c in (seen.get("status") or {}).get("conditions", [])
        ),
        seconds=90,
    )
