"""Every manifest of the demo, filled in as the driver does it, is what the product's types and Kubernetes take."""

import json
from datetime import timedelta
from typing import Any

import pytest
import yaml

from cluster.images import NAMES
from demo.bars import load_bars, split_index
from demo.manifest import MANIFESTS, SCRIPTS, base_model_scripts, render
from demo.plan import Plan
from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import API_VERSION
from tradewind.api.endpoint import Endpoint
from tradewind.api.parse import InvalidSpec, parse_manifest
from tradewind.cli.experiment_file import experiment_of
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.decision import Limits, TradeDecision, limit_violation

BARS = load_bars()


def plan(count: int = 5000) -> Plan:
    bars = BARS[:count]
    return Plan("r11232200", bars, split_index(bars), 1.2)


def documents(count: int = 5000) -> dict[str, list[dict[str, Any]]]:
    images = {name: f"docker.io/tradewind/{name}:abc" for name in NAMES}
    values = plan(count).values("tradewind-demo", images) | {
        "job": "a-job", "base_key": "0123456789ab", "gateway": "http://g:8080", "start": "120", "stop": "3015",
        "cost_bp": "1.2", "after_experiment": "48", "predictor_url": "http://p", "volume_path": "/volumes/models",
    }  # fmt: skip
    return {p.name: list(yaml.safe_load_all(render(p.name, values))) for p in sorted(MANIFESTS.glob("*.yaml"))}


@pytest.mark.parametrize("count", [5000, 2500, 1500])
def test_our_kinds_are_valid(count: int) -> None:
    ours = [d for found in documents(count).values() for d in found if d["apiVersion"] == API_VERSION]
    assert sorted(d["kind"] for d in ours) == [
        "ABExperiment", "ABExperiment", "Endpoint", "Endpoint", "ModelVersion", "ModelVersion", "TrainingRun",
    ]  # fmt: skip
    for document in ours:
        parsed = parse_manifest(document)
        assert not isinstance(parsed, InvalidSpec), (document["metadata"]["name"], parsed)


def test_everything_lies_in_the_demos_namespace_and_names_resolve() -> None:
    everything = [d for found in documents().values() for d in found]
    assert all(
        d["metadata"].get("namespace") == "tradewind-demo" for d in everything if d["kind"] != "PersistentVolume"
    )
    names = {(d["kind"], d["metadata"]["name"]) for d in everything} | {("ModelVersion", "lora-r11232200")}
    for document in everything:
        if document["kind"] == "ABExperiment":
            spec = document["spec"]
            assert ("Endpoint", spec["endpointRef"]["name"]) in names
            assert ("ModelVersion", spec["baseline"]) in names
            assert ("ModelVersion", spec["candidate"]) in names
        if document["kind"] == "Endpoint":
            assert ("ModelVersion", document["spec"]["fallback"]) in names


def test_the_stand_ins_answer_keeps_the_endpoints_limits() -> None:
    from demo.standin import LEVERAGE, SIZE_USD

    answer = TradeDecision(
        action="open_long", symbol="EURUSD", size_usd=SIZE_USD, leverage=LEVERAGE, stop_loss_pct=0.01,
        take_profit_pct=0.02, confidence=0.5,
    )  # fmt: skip
    for document in (d for found in documents().values() for d in found if d["kind"] == "Endpoint"):
        parsed = parse_manifest(document)
        assert isinstance(parsed, Endpoint)
        level = parsed.spec.limits.permission_levels["L2"]
        limits = Limits(max_leverage=level.max_leverage, max_size_usd=float(level.max_size_usd))
        assert limit_violation(answer, symbol="EURUSD", limits=limits) is None


@pytest.mark.parametrize("count", [5000, 1500])
def test_the_bars_outlast_the_experiment(count: int) -> None:
    found = next(d for d in documents(count)["experiment.yaml"] if d["kind"] == "ABExperiment")
    parsed = parse_manifest(found)
    assert isinstance(parsed, ABExperiment)
    assert parsed.spec.replay is not None
    length = as_timedelta(parsed.spec.evidence.max_duration)
    last = BARS[count - 2].closes_at
    assert parsed.spec.replay.start_time + length <= last < parsed.spec.replay.start_time + length + timedelta(days=1)
    spec = experiment_of(found).spec
    assert spec.max_duration == length


def test_the_next_run_finds_all_that_a_run_leaves() -> None:
    label = "tradewind.dev/demo"
    run = documents()["training.yaml"][0]
    assert run["spec"]["modelVersion"]["labels"] == {label: run["metadata"]["labels"][label]}
    for document in (d for found in documents().values() for d in found):
        if document["apiVersion"].startswith("tradewind.dev") or document["kind"] == "Job":
            assert document["metadata"]["labels"][label], document["metadata"]["name"]


def test_the_training_sees_nothing_of_the_test() -> None:
    run = documents()["training.yaml"][0]
    assert run["spec"]["dataset"]["until"] == documents()["experiment.yaml"][0]["spec"]["replay"]["startTime"]


def test_no_pod_runs_as_root_or_carries_a_secret_in_its_arguments() -> None:
    for found in documents().values():
        for document in found:
            template = (
                document.get("spec", {}).get("template", {}).get("spec")
                if document["kind"] in ("Job", "Deployment")
                else None
            )
            if template is None:
                continue
            assert template["securityContext"]["runAsNonRoot"] is True
            assert template["automountServiceAccountToken"] is False
            for container in template["containers"]:
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["imagePullPolicy"] == "IfNotPresent"
                assert "api-key=" not in json.dumps(container["args"])


def test_the_base_models_scripts_lie_where_python_looks_for_them() -> None:
    (job,) = documents()["base-model.yaml"]
    pod = job["spec"]["template"]["spec"]
    (scripts,) = (volume["configMap"] for volume in pod["volumes"] if "configMap" in volume)
    config = base_model_scripts()
    assert scripts["name"] == config["metadata"]["name"]
    assert [item["path"] for item in scripts["items"]] == list(SCRIPTS)
    assert {item["key"] for item in scripts["items"]} == set(config["data"])
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["scripts"] == pod["containers"][0]["workingDir"]
