"""The loop on the real cluster: outcomes -> dataset -> LoRA -> KServe -> A/B test, with a model made on the spot.

The base model is random but for a handful of steps, so no verdict is expected of it: what is tested is that each part hands
over to the next, and what the statuses and the rows say.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gateway_client import GatewayClient
from installation import Installation
from space import Space
from volumes import claim, make_base, owned

from manifests import endpoint, experiment, external, resource
from workshop.client import condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

START = datetime(2026, 1, 5, tzinfo=UTC)
SAMPLES = 300


@pytest.fixture(scope="module")
def models(space: Space, images: dict[str, str]) -> Iterator[Path]:
    """The claim `models` with a tiny base model in it, and its folder on this machine."""
    with claim(space, "models") as folder:
        make_base(space, images)
        yield folder


@pytest.fixture(scope="module")
def gateway(space: Space, models: Path, arms: str) -> Iterator[GatewayClient]:
    """An Endpoint on recorded data with 300 closed trades of its first champion: three of four won."""
    space.apply(external("api", "follow"), endpoint("trader", "api", clock="replay"))
    space.wait_condition("Endpoint", "trader", "Ready", seconds=180)
    with space.gateway("trader") as client:
        for index in range(SAMPLES):
            trade(client, f"a{index}", START + timedelta(hours=index), won=index % 4 != 3)
        yield client


@pytest.fixture(scope="module")
def version(space: Space, gateway: GatewayClient) -> str:
    """A ModelVersion that a TrainingRun made."""
    space.apply(training_run("small", min_samples=100, epochs="1"))
    run = space.wait_condition("TrainingRun", "small", "Succeeded", seconds=420)
    status = run["status"]
    assert status["phase"] == "Succeeded"
    assert status["dataset"]["rows"] >= 100
    assert len(status["dataset"]["sha256"]) == 64
    assert all(gate.get("passed") is not False for gate in status["gates"])
    assert status["result"]["steps"] > 0
    assert "beginnings that prompts share are computed once" in status["plan"]["reason"], (
        "exact by the torch of the image, too"
    )
    assert status["attempts"] == 1
    assert condition(run, "Registered")["status"] == "True"
    return str(status["modelVersionRef"]["name"])


def test_too_few_samples_skip_the_run_with_the_numbers_and_no_training_pod(
    space: Space, gateway: GatewayClient
) -> None:
    space.apply(training_run("few", min_samples=500))
    run = space.wait_condition("TrainingRun", "few", "Succeeded", "False", reason="Skipped", seconds=180)
    assert run["status"]["phase"] == "Skipped"
    gate = next(g for g in run["status"]["gates"] if g["name"] == "minSamples")
    assert gate["passed"] is False
    assert gate["threshold"] == 500
    assert 0 < gate["value"] <= SAMPLES
    assert f"{gate['value']:g} against 500" in condition(run, "Succeeded")["message"]
    jobs = [job["metadata"]["name"] for job in space.select("Job", "tradewind.dev/owner-name=few")]
    assert jobs == ["few-snapshot"]
    assert space.get("ModelVersion", "few") is None


def test_the_trained_version_is_verified_served_and_measured(
    space: Space, version: str, installation: Installation
) -> None:
    seen = space.wait_condition("ModelVersion", version, "Ready", seconds=300)
    assert condition(seen, "ArtifactVerified")["status"] == "True"
    assert condition(seen, "Served")["status"] == "True"
    assert seen["status"]["sha256"] == seen["spec"]["adapter"]["sha256"]
    benchmark = seen["status"]["benchmark"]
    assert benchmark["valid"] == 1.0
    assert 0 < benchmark["p50Ms"] <= benchmark["p99Ms"]
    assert not seen["metadata"].get("ownerReferences"), "a version outlives the run that made it"
    pods = space.select("Pod", f"serving.kserve.io/inferenceservice={version}")
    container = pods[0]["spec"]["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pods[0]["spec"].get("automountServiceAccountToken") is False
    walked = space.tradewind("verify", f"modelversion/{version}")
    assert walked.returncode == 0, walked.stdout + walked.stderr


def test_an_experiment_on_the_trained_version_reaches_its_end(
    space: Space, version: str, gateway: GatewayClient, installation: Installation
) -> None:
    t0 = START + timedelta(days=20)
    replay = {"startTime": _iso(t0), "endTime": _iso(t0 + timedelta(days=9))}
    rails = {"latencyObjective": {"p99": "10s"}, "fastHarm": {"enabled": False}, "riskBudgetUSD": "100000"}
    more: dict[str, Any] = {"mode": "Replay", "replay": replay, "guardrails": rails}
    more["evidence"] = {"minDuration": "7d", "maxDuration": "30d"}
    more["traffic"] = {"policy": "fixed", "weight": "0.5"}
    space.wait_condition("ModelVersion", version, "Ready", seconds=300)
    space.apply(experiment("loop", "trader", "api", version, **more))
    space.wait_condition("ABExperiment", "loop", "Running", seconds=90)
    for index in range(3 * 24):
        trade(gateway, f"b{index}", t0 + timedelta(hours=index), won=index % 4 != 3)
    rows = installation.database.sql(
        "SELECT drawn_version, answered_by, fallback, error_kind FROM tradewind.decisions"
        " WHERE namespace = %s AND arm = 'candidate'",
        space.name,
    )
    assert rows, "nobody asked the candidate"
    assert {row[0] for row in rows} == {version}
    assert [row for row in rows if row[1] == version], "the trained model never answered"
    assert not [row for row in rows if row[3] is not None], f"its answers were refused: {rows}"

    # The InferenceService is down: the fallback answers, and the rows say whose decision it was.
    t1 = t0 + timedelta(days=3)
    selector = f"serving.kserve.io/inferenceservice={version}"
    space.kubectl("delete", "pod", "-l", selector, "--force", "--grace-period=0", "--wait=false")
    fallen: list[tuple[Any, ...]] = []
    for index in range(48):
        trade(gateway, f"c{index}", t1 + timedelta(hours=index), won=True)
        fallen = installation.database.sql(
            "SELECT drawn_version, answered_by, arm, error_kind, state FROM tradewind.decisions"
            " WHERE namespace = %s AND fallback ORDER BY decided_at",
            space.name,
        )
        if len(fallen) >= 2:
            break
    assert fallen, "no decision was drawn to the candidate while it was down"
    assert {(row[0], row[1], row[2], row[4]) for row in fallen} == {(version, "api", "candidate", "answered")}
    assert all(row[3] in ("transport", "timeout", "status", "breaker_open") for row in fallen), fallen

    # It comes back by itself, and the replay goes on to its end.
    space.wait_condition("ModelVersion", version, "Ready", seconds=300)
    for index in range(0, 5 * 24, 6):
        trade(gateway, f"d{index}", t0 + timedelta(days=5, hours=index), won=index % 4 != 3)
    ended = space.wait("ABExperiment", "loop", "ends", lambda seen: seen["status"].get("verdict"), seconds=120)
    done = ended["status"]
    assert done["phase"] in ("Succeeded", "RolledBack", "Inconclusive")
    assert {arm["role"]: arm["name"] for arm in done["arms"]} == {"baseline": "api", "candidate": version}
    assert all(arm["decisions"] > 0 for arm in done["arms"])
    stored = installation.database.sql(
        "SELECT decision, baseline, candidate, candidate_sha256 FROM tradewind.experiments WHERE namespace = %s",
        space.name,
    )
    sha256 = space.must_get("ModelVersion", version)["spec"]["adapter"]["sha256"]
    assert stored == [(done["verdict"]["decision"], "api", version, sha256)]


def test_a_version_is_judged_on_decisions_that_it_was_not_taught_and_takes_no_traffic_if_it_fails(
    space: Space, version: str, models: Path
) -> None:
    """Three versions of the same adapter, asked about the decisions of the experiment before: they are later than its training data."""
    trained = space.must_get("ModelVersion", version)
    write_bars(models / "bars", START + timedelta(days=19), days=12)
    asked = {"endpoint": "trader", "includeReplay": True, "embargo": "2h", "minRows": 20, "maxRows": 60}
    wanted = {
        "judged": (asked, {"minAgreement": "0", "maxHoldShare": "1"}),
        "strict": (asked, {"minAgreement": "1", "minDisagreement": "1", "maxHoldShare": "0"}),
        "early": (asked | {"minRows": 9_000, "maxRows": 10_000}, {}),
    }
    bars = {"uri": "pvc://models/bars", "horizon": "4h"}
    for name, (dataset, gates) in wanted.items():
        evaluation = {
            "requests": 5,
            "concurrency": [1],
            "dataset": dataset,
            "bars": bars,
            "gates": {"latency": False, **gates},
        }
        spec = {"adapter": trained["spec"]["adapter"], "serving": trained["spec"]["serving"], "evaluation": evaluation}
        space.apply(resource("ModelVersion", name, spec))

    seen = space.wait_condition("ModelVersion", "judged", "Ready", seconds=400)
    found = seen["status"]["evaluation"]
    watermark = seen["status"]["provenance"]["watermark"]
    assert seen["status"]["provenance"]["trainingRun"]["name"] == "small"
    assert watermark < found["since"] <= found["firstDecision"] <= found["lastDecision"]
    assert 20 <= found["rows"] <= 60
    assert found["good"] > 0
    assert found["bad"] > 0
    assert found["baseline"]["version"] == "api"
    assert found["baseline"]["asked"] is False, "an external champion is never asked for it"
    assert found["simulated"]["rows"] == found["baseline"]["answers"], "of the rows that it answered all have prices"
    assert found["hostile"]["kept"] + found["hostile"]["refused"] == found["hostile"]["asked"]
    assert {gate["name"] for gate in found["gates"]} >= {
        "minJsonValidity",
        "hostileInputs",
        "minAgreement",
        "maxHoldShare",
    }

    strict = space.wait_condition("ModelVersion", "strict", "Ready", "False", reason="GateFailed", seconds=400)
    assert "against 1" in condition(strict, "Ready")["message"] or "against 0" in condition(strict, "Ready")["message"]
    early = space.wait_condition("ModelVersion", "early", "Ready", "False", reason="NotEnoughRows", seconds=400)
    assert "dataset.until" in condition(early, "Ready")["message"]
    assert early["status"].get("benchmark") is None

    replay = {"startTime": _iso(START + timedelta(days=40)), "endTime": _iso(START + timedelta(days=49))}
    more: dict[str, Any] = {"mode": "Replay", "replay": replay, "evidence": {"minDuration": "7d", "maxDuration": "30d"}}
    space.apply(experiment("on-strict", "trader", "api", "strict", **more))
    waiting = space.wait_condition(
        "ABExperiment", "on-strict", "Admissible", "False", reason="VersionNotReady", seconds=90
    )
    assert "strict" in condition(waiting, "Admissible")["message"]
    space.kubectl("delete", "abexperiment", "on-strict", "--wait=true")
    for name in wanted:
        space.kubectl("delete", "modelversion", name, "--wait=false")


def test_deleting_run_and_experiment_leaves_the_endpoint_serving(
    space: Space, version: str, gateway: GatewayClient
) -> None:
    space.kubectl("delete", "trainingrun", "small", "few", "--ignore-not-found", "--wait=true")
    space.kubectl("delete", "abexperiment", "loop", "--ignore-not-found", "--wait=true")
    for index in range(20):
        answer = gateway.post("/v1/decisions", question_at(f"e{index}", START + timedelta(days=60, hours=index)))
        assert answer.status_code == 200, answer.text
    assert space.get("ModelVersion", version) is not None
    assert space.get("Deployment", f"{version}-predictor") is not None


def test_a_tampered_adapter_is_refused_with_both_hashes(space: Space, version: str, models: Path) -> None:
    original = space.must_get("ModelVersion", version)["spec"]["adapter"]
    source = models / original["uri"].removeprefix("pvc://models/")
    target = models / "tampered"
    shutil.copytree(source, target)
    weights = target / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    owned(target)
    small = {"requests": {"cpu": "50m", "memory": "256Mi"}}
    spec = {"adapter": {**original, "uri": "pvc://models/tampered"}, "serving": {"resources": small}}
    space.apply(resource("ModelVersion", "tampered", spec))
    seen = space.wait_condition("ModelVersion", "tampered", "Ready", "False", reason="ArtifactMismatch", seconds=180)
    message = condition(seen, "ArtifactVerified")["message"]
    assert original["sha256"] in message
    assert seen["status"]["phase"] == "Failed"


def trade(client: GatewayClient, decision_id: str, at: datetime, *, won: bool) -> None:
    """One decision of the data's clock, and what became of it half an hour later."""
    answer = client.settled("/v1/decisions", question_at(decision_id, at))
    if answer["action"] not in ("open_long", "open_short"):
        return
    client.opened(decision_id, at=_iso(at + timedelta(minutes=1)), notional=answer["size_usd"] * answer["leverage"])
    pnl = 0.04 * answer["size_usd"] if won else -0.04 * answer["size_usd"]
    client.closed(decision_id, at=_iso(at + timedelta(minutes=30)), pnl=pnl)


def question_at(decision_id: str, at: datetime) -> dict[str, Any]:
    """A question whose hint alternates, as of a moment of the recorded data."""
    return {
        "decision_id": decision_id,
        "scope": {"symbol": "EURUSD"},
        "as_of": _iso(at),
        "market_data": {
            "EURUSD": {"hint": "up" if at.hour % 2 else "down", "hour": at.hour, "day": at.timetuple().tm_yday}
        },
        "account_state": {"balance": 1000, "permission_level": "L1", "positions": []},
    }


def write_bars(folder: Path, since: datetime, *, days: int) -> None:
    """Hourly bars that go up and down within a day."""
    lines, price = ["time,open,high,low,close"], 1.1
    for hour in range(24 * days):
        after = 1.1 + (0.002 if hour % 12 < 6 else -0.002) + 0.0001 * (hour % 5)
        at = _iso(since + timedelta(hours=hour))
        lines.append(f"{at},{price:.5f},{max(price, after):.5f},{min(price, after):.5f},{after:.5f}")
        price = after
    folder.mkdir()
    (folder / "bars.csv").write_text("\n".join(lines) + "\n")
    owned(folder)


def training_run(name: str, *, min_samples: int, epochs: str = "1") -> dict[str, Any]:
    """A run on the Endpoint's replayed trades."""
    small = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}}
    return resource(
        "TrainingRun",
        name,
        {
            "baseModel": {"uri": "pvc://models/base", "revision": "e2e"},
            "dataset": {
                "endpoint": "trader",
                "includeReplay": True,
                "split": {"evalFraction": "0.1", "embargo": "2h"},
                "gates": {"minSamples": min_samples, "maxClassShare": "1", "maxActionShare": "1"},
            },
            "method": "lora",
            "lora": {"rank": 4, "alpha": 8, "targetModules": ["all-linear"]},
            "hyperparameters": {
                "epochs": epochs,
                "batchSize": 16,
                "gradientAccumulation": 1,
                "warmupSteps": 2,
                "maxLength": 1024,
                "evalEverySteps": 50,
                "saveEverySteps": 50,
            },
            "output": {"uri": "pvc://models/runs"},
            "resources": small,
            "modelVersion": {
                "serving": {"resources": small, "timeout": "10s", "latencyObjective": {"p99": "10s"}},
                "evaluation": {"requests": 10, "concurrency": [1]},
            },
        },
    )


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
