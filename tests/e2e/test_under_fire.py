"""Under load and under attack on the real cluster: half requests are closed, and a candidate is stopped while it is asked."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from gateway_client import GatewayClient, question
from installation import Installation
from space import Space

from manifests import endpoint, experiment, external
from workshop.client import Json
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

HALVES = 50


@pytest.fixture(scope="module")
def fire(space: Space) -> Space:
    """Two gateway pods, and a candidate that takes three seconds."""
    space.apply(external("api", "against"), external("slow", "slow"), endpoint("fire", "api", replicas=2))
    space.wait_condition("Endpoint", "fire", "Ready", seconds=120)
    return space


def test_half_requests_are_closed_and_whole_ones_answered(fire: Space) -> None:
    with fire.gateway("fire") as gateway:
        place = (gateway.url.removeprefix("http://"), 80)
        halves = [socket.create_connection(place, timeout=60) for _ in range(HALVES)]
        try:
            for half in halves:
                half.sendall(b"POST /v1/decisions HTTP/1.1\r\nhost: fire\r\ncontent-length: 100\r\n\r\n{")
            assert gateway.post("/v1/decisions", question("beside-halves")).status_code == 200
            for half in halves:
                said = b""
                while chunk := half.recv(4096):  # until it is closed
                    said += chunk
                assert b"408" in said
        finally:
            for half in halves:
                half.close()


def test_liveness_has_a_port_of_its_own(fire: Space) -> None:
    labels = "tradewind.dev/owner-name=fire,app.kubernetes.io/component=gateway"
    for pod in fire.select("Pod", labels):
        (container,) = pod["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"]["port"] == "health"
        assert container["readinessProbe"]["httpGet"]["port"] == "http"
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_stop_takes_the_candidate_away_while_it_is_asked(
    fire: Space, installation: Installation, tmp_path: Path
) -> None:
    fire.apply(experiment("ab", "fire", None, "slow", traffic={"policy": "fixed", "weight": "0.5"}))
    fire.wait_active("fire", "ab")
    fire.wait_condition("Endpoint", "fire", "WeightsApplied", seconds=60)
    config = tmp_path / "config"
    config.write_text(fire.kubectl("config", "view", "--raw", "--minify", "--flatten"), encoding="utf-8")
    answers: dict[str, Json] = {}

    def ask(gateway: GatewayClient, name: str) -> None:
        answers[name] = gateway.post("/v1/decisions", question(name)).json()

    def drawn() -> int:
        sql = (
            "SELECT count(*) FROM tradewind.decisions WHERE namespace = %s AND endpoint = 'fire' "
            "AND arm = 'candidate' AND state = 'assigned'"
        )
        return int(installation.database.sql(sql, fire.name)[0][0])

    with fire.gateway("fire") as gateway:
        threads = [threading.Thread(target=ask, args=(gateway, f"fire-{n}")) for n in range(12)]
        for thread in threads:
            thread.start()
        wait_for("the candidate to be asked", drawn, bool, seconds=30)
        argv = [sys.executable, "-m", "tradewind.main", "stop", "fire", "--reason", "a drill", "-n", fire.name]
        environment = os.environ | {"KUBECONFIG": str(config)}
        stopped = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=150, check=False)
        for thread in threads:
            thread.join()
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        assert "2 of 2 gateway pods obey" in stopped.stdout
        after = {name: gateway.post("/v1/decisions", question(name)).json() for name in ("after-1", "after-2")}
    assert {answer["_model_used"] for answer in after.values()} == {"api"}
    assert {answer["_arm"] for answer in after.values()} == {None}
    verdict = fire.must_get("ABExperiment", "ab")["status"]["verdict"]
    assert (verdict["decision"], verdict["message"].endswith(": a drill")) == ("abort", True)
    # Whoever was drawn for the candidate and not answered by it is the champion's, and nobody's evidence.
    rows = installation.database.sql(
        "SELECT decision_id, arm, answered_by, state FROM tradewind.decisions WHERE namespace = %s AND endpoint = 'fire' "
        "AND decision_id LIKE 'fire-%%'",
        fire.name,
    )
    assert {(arm, by) for _, arm, by, _ in rows} <= {("baseline", "api"), ("candidate", "slow"), (None, "api")}
    assert {state for *_, state in rows} == {"answered"}
    for name, arm, by, _ in rows:
        assert (answers[name]["_arm"], answers[name]["_model_used"]) == (arm, by)
