"""What breaks, and what callers and statuses say meanwhile: arms down, databases away. And no secret anywhere."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from gateway_client import TOKEN, question
from installation import RELEASE, SYSTEM, Installation
from space import Space

from manifests import API_KEY, arms_server, endpoint, experiment, external
from workshop.client import OURS, Cluster, Json, condition
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

LOST_PASSWORD = "password-of-the-lost-database"
LOST_DSN = f"postgresql://trader:{LOST_PASSWORD}@192.0.2.1:5432/tradewind?connect_timeout=2"  # nobody is there
POSTGRES = f"{RELEASE}-postgres"


@pytest.fixture(scope="module")
def endpoints(space: Space, images: dict[str, str]) -> Space:
    """`steady` with arms of its own that can be stopped, and two Endpoints whose gateways find no database."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "lost-database"},
        "stringData": {"dsn": LOST_DSN},
    }
    lost = {"database": {"secretRef": {"name": "lost-database", "key": "dsn"}}}
    own = f"weak-arms.{space.name}.svc"
    space.apply(
        secret,
        *arms_server(images["demo"], "weak-arms"),
        external("api", "against"),
        external("weak", "follow", host=own),
        external("weaker", "follow", host=own),
        endpoint("steady", "api"),
        endpoint("lost", "api", **lost),
        endpoint("lost-strict", "api", **lost, onDatabaseOutage="refuse"),
    )
    space.wait_available("weak-arms", seconds=90)
    return space


# --- arms ------------------------------------------------------------------------------------------------------------


def test_the_fallback_answers_for_arms_that_are_down(endpoints: Space, installation: Installation) -> None:
    endpoints.apply(experiment("down", "steady", "weak", "weaker", traffic={"policy": "fixed", "weight": "0.5"}))
    uid = endpoints.wait_active("steady", "down", 120)["metadata"]["uid"]
    with endpoints.gateway("steady") as gateway:
        seen = wait_for("a drawn decision", lambda: gateway.decide(f"up-{time.monotonic_ns()}"), lambda a: a["_arm"])
        assert (seen["_fallback"], seen["action"]) == (False, "open_long")
        endpoints.kubectl("scale", "deployment/weak-arms", "--replicas=0")
        wait_for("the arms to go", lambda: endpoints.select("Pod", "app=weak-arms"), lambda pods: not pods)
        answers = {name: gateway.decide(name) for name in (f"down-{index}" for index in range(12))}
    rows = installation.database.sql(
        "SELECT decision_id, arm, drawn_version, answered_by, fallback, error_kind, state FROM tradewind.decisions "
        "WHERE namespace = %s AND experiment_uid = %s AND decision_id LIKE 'down-%%'",
        endpoints.name,
        uid,
    )
    assert len(rows) >= 3  # the guardrail may end the experiment before all twelve are drawn
    for name, arm, drawn, answered_by, fallback, error, state in rows:
        assert (drawn, arm) in {("weak", "baseline"), ("weaker", "candidate")}
        assert (answered_by, fallback, state) == ("api", True, "answered"), name
        assert error in {"transport", "timeout", "breaker_open"}, name
    assert {answer["_model_used"] for answer in answers.values()} == {"api"}
    assert {answer["action"] for answer in answers.values()} == {"open_short"}
    for name, arm, *_ in rows:
        assert (answers[name]["_fallback"], answers[name]["_arm"]) == (True, arm)


def test_an_arm_that_is_down_ends_the_experiment(endpoints: Space, installation: Installation) -> None:
    with endpoints.gateway("steady") as gateway:

        def asked_again(seen: Json) -> object:
            gateway.decide(f"more-{time.monotonic_ns()}")
            return seen["status"].get("verdict")

        ended_one = endpoints.wait("ABExperiment", "down", "the error-rate guardrail ends it", asked_again, seconds=90)
    verdict = ended_one["status"]["verdict"]
    assert (verdict["decision"], verdict["reason"]) == ("rollback", "ErrorRate")
    # What a guardrail saw is in the exported table, too: anybody can find the verdict again.
    told = installation.recomputed(endpoints.name, ended_one)["operator_verdict"]
    assert (told["verdict"], told["reason"], told["message"]) == ("rollback", "ErrorRate", verdict["message"])


# --- databases -------------------------------------------------------------------------------------------------------


def test_a_gateway_without_its_database_answers_by_policy(endpoints: Space) -> None:
    with endpoints.gateway("lost", until="GatewayReady") as gateway:
        answer = gateway.decide("unlogged")
        assert (answer["_model_used"], answer["_arm"], answer["action"]) == ("api", None, "open_short")
        again = gateway.post("/v1/decisions", question("unlogged"))
        assert again.json() == answer  # the replica that answered knows it still
        report = {"status": "rejected"}
        refused = gateway.post("/v1/decisions/unlogged/execution", report)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_unavailable")
    # Where the policy is to refuse, no pod takes traffic at all.
    pods = wait_for("a strict gateway pod", lambda: _running(endpoints, "lost-strict"), seconds=90)
    answer_of_pod = httpx.post(
        f"http://{pods[0]}:8080/v1/decisions",
        json=question("strict"),
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=30,
        trust_env=False,
    )
    assert answer_of_pod.status_code == 503, answer_of_pod.text
    seen = endpoints.wait_condition("Endpoint", "lost-strict", "Ready", "False")
    assert condition(seen, "Ready")["reason"] == "GatewayStarting"
    seen = endpoints.wait_condition("Endpoint", "lost", "WeightsApplied", "False", reason="Applying")
    assert "have not reported" in condition(seen, "WeightsApplied")["message"]
    # Whether its arm answers, nobody but the pod could say, and it says so nowhere.
    ready = condition(seen, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Probing")
    assert "no gateway pod has reported" in ready["message"]


def _running(space: Space, point: str) -> list[str]:
    labels = f"tradewind.dev/owner-name={point},app.kubernetes.io/component=gateway"
    pods = [pod for pod in space.select("Pod", labels) if pod["status"].get("phase") == "Running"]
    return [
        pod["status"]["podIP"] for pod in pods if (pod["status"].get("containerStatuses") or [{}])[0].get("started")
    ]


def test_a_lock_on_the_database_is_said_within_seconds(endpoints: Space, installation: Installation) -> None:
    """Seen: a lock of 75 s left DatabaseReachable, Ready and WeightsApplied at True, though the weights had expired."""
    endpoints.wait_condition("Endpoint", "steady", "DatabaseReachable", "True", seconds=60)
    with psycopg.connect(installation.database.dsn, connect_timeout=10) as holder:
        holder.execute("LOCK TABLE tradewind.decisions IN ACCESS EXCLUSIVE MODE")
        seen = endpoints.wait_condition("Endpoint", "steady", "DatabaseReachable", "False", seconds=15)
        assert "who holds it up" in condition(seen, "DatabaseReachable")["message"]
        assert condition(seen, "Ready")["status"] == "False"
        holder.rollback()
    endpoints.wait_condition("Endpoint", "steady", "DatabaseReachable", "True", seconds=30)
    endpoints.wait_condition("Endpoint", "steady", "Ready", seconds=60)


def test_a_database_that_forgot_the_experiment_sends_nobody_to_the_candidate(
    endpoints: Space, installation: Installation
) -> None:
    """As after a restore of an older copy; and what is lost may come back."""
    endpoints.apply(
        external("calm", "follow"),
        endpoint("forgetful", "api"),
        experiment("forgotten", "forgetful", "api", "calm", traffic={"policy": "fixed", "weight": "0.5"}),
    )
    endpoints.wait_active("forgetful", "forgotten")
    seen = endpoints.wait(
        "ABExperiment",
        "forgotten",
        "has its first weight",
        lambda seen: (seen["status"].get("epoch") or 0) > 0,
        seconds=90,
    )
    uid = seen["metadata"]["uid"]
    with psycopg.connect(installation.database.dsn, autocommit=True, connect_timeout=10) as connection:
        for table in ("experiments", "epochs"):
            connection.execute(
                f"CREATE TABLE kept_{table} AS SELECT * FROM tradewind.{table} WHERE experiment_uid = %s", (uid,)
            )
            connection.execute(f"DELETE FROM tradewind.{table} WHERE experiment_uid = %s", (uid,))
        lost = endpoints.wait_condition(
            "ABExperiment", "forgotten", "EvidenceKnown", "False", reason="EvidenceLost", seconds=30
        )
        assert "no longer holds the start of this experiment" in condition(lost, "EvidenceKnown")["message"]
        wait_for(
            "the candidate to get no decision",
            lambda: float(
                (endpoints.routing("forgetful").get("experiment") or {"candidateWeight": 0})["candidateWeight"]
            ),
            lambda weight: weight == 0,
            seconds=30,
        )
        assert not installation.database.sql("SELECT block FROM tradewind.epochs WHERE experiment_uid = %s", uid)
        for table in ("experiments", "epochs"):
            connection.execute(f"INSERT INTO tradewind.{table} OVERRIDING SYSTEM VALUE SELECT * FROM kept_{table}")
            connection.execute(f"DROP TABLE kept_{table}")
    endpoints.wait_condition("ABExperiment", "forgotten", "Running", "True", seconds=60)
    endpoints.kubectl("delete", "abexperiment", "forgotten", "--wait=false")


@pytest.fixture
def outage(cluster: Cluster, installation: Installation) -> Iterator[None]:
    """PostgreSQL is cut off from everybody, and every connection to it broken. Its data stay."""
    system = Space(cluster, SYSTEM)
    service = system.must_get("Service", POSTGRES)
    away = {"spec": {"selector": {**service["spec"]["selector"], "app.kubernetes.io/component": "nobody"}}}
    system.kubectl("patch", "service", POSTGRES, "-p", json.dumps(away))
    system.kubectl("exec", f"{POSTGRES}-0", "--", "sh", "-c", "kill -INT 1", check=False)
    yield
    _bring_back(system)


def _bring_back(system: Space) -> None:
    back = {"spec": {"selector": {"app.kubernetes.io/component": "postgres"}}}
    system.kubectl("patch", "service", POSTGRES, "-p", json.dumps(back))


@pytest.mark.usefixtures("outage")
def test_the_database_goes_away_and_comes_back(cluster: Cluster, endpoints: Space, installation: Installation) -> None:
    seen = endpoints.wait_condition("Endpoint", "steady", "DatabaseReachable", "False", seconds=90)
    told = condition(seen, "DatabaseReachable")
    assert told["reason"] == "DatabaseUnreachable"
    assert f"{POSTGRES}.{SYSTEM}.svc:5432/tradewind does not answer" in told["message"]
    assert condition(seen, "Ready")["reason"] == "DatabaseUnreachable"
    with endpoints.gateway("steady", until=None) as gateway:
        answers = [gateway.decide(f"outage-{index}") for index in range(5)]
        assert {(a["_model_used"], a["_arm"], a["action"]) for a in answers} == {("api", None, "open_short")}
        (pod,) = installation.operator_pods()
        restarts = pod["status"]["containerStatuses"][0]["restartCount"]
        _bring_back(Space(cluster, SYSTEM))
        endpoints.wait_condition("Endpoint", "steady", "DatabaseReachable", "True", seconds=120)
        endpoints.wait_condition("Endpoint", "steady", "Ready", seconds=60)
        # What was answered meanwhile is written, once, and counts as no evidence; reports find it.
        rows = wait_for(
            "five spooled decisions to be written",
            lambda: _written(installation, endpoints),
            lambda rows: len(rows) == 5,
        )
        assert all(row[1:] == ("answered", "api", None) for row in rows)
        gateway.opened("outage-0", at=datetime.now(UTC).isoformat())
        assert gateway.decide("outage-0") == answers[0]
    (pod,) = installation.operator_pods()
    assert pod["status"]["containerStatuses"][0]["restartCount"] == restarts  # it held, and did not die


def _written(installation: Installation, space: Space) -> list[tuple[object, ...]]:
    return installation.database.sql(
        "SELECT decision_id, state, answered_by, experiment_uid FROM tradewind.decisions "
        "WHERE namespace = %s AND decision_id LIKE 'outage-%%'",
        space.name,
    )


def test_no_secret_is_in_any_log_status_or_event(
    cluster: Cluster, endpoints: Space, installation: Installation
) -> None:
    texts: dict[str, str] = {}
    for space in (endpoints, Space(cluster, SYSTEM)):
        for pod in space.select("Pod"):
            name = pod["metadata"]["name"]
            texts[f"log of {name}"] = cluster.log(space.name, name)
            texts[f"last log of {name}"] = cluster.log(space.name, name, previous=True)
        for kind in (*OURS, "ConfigMap", "Deployment", "Event", "Pod"):
            texts[f"{kind} in {space.name}"] = json.dumps(space.select(kind))
    hidden = {installation.database.password, LOST_PASSWORD, TOKEN, API_KEY}
    hidden |= {base64.b64encode(secret.encode()).decode() for secret in hidden}
    script = f"{API_KEY}"  # the stand-in's own script, a ConfigMap of the tests, holds the key it asks for
    found = [
        where
        for where, text in texts.items()
        for secret in hidden
        if secret in text and not (secret == script and where.startswith("ConfigMap"))
    ]
    assert found == []
    assert sum("started" in text for where, text in texts.items() if where.startswith("log of")) >= 1
