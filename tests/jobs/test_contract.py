"""The operator's Jobs carry configurations that the scripts accept: whatever a TrainingRun may say."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tradewind.api.crd import crd
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion, ModelVersionStatus
from tradewind.api.parse import parse, parse_manifest
from tradewind.api.registry import BY_KIND
from tradewind.api.training_run import TrainingRun
from tradewind.core.decision import Create, Owner
from tradewind.core.model_version import Seen, Service, decide
from tradewind.core.platform import Platform
from tradewind.core.policy import HostPath, Policy
from tradewind.core.training_run.manifests import build_snapshot_job, build_train_job, empty_window
from tradewind.evaluation.config import EvaluateConfig
from tradewind.trading.dataset import LoggedDecision, build_dataset
from tradewind.trading.decision import DecisionInput
from tradewind.trading.gates import evaluate_gates
from tradewind.trading.prompt import hold
from tradewind.trading.settings.dataset import Selection
from tradewind.trading.settings.evaluation import EvaluationRows, SimulatedTrades
from tradewind.trading.settings.recipe import Recipe
from tradewind.training.config import SnapshotConfig, TrainConfig, load_config
from tradewind.training.request import earlier_fingerprint

SAMPLES = Path(__file__).parents[2] / "crds" / "samples"
FOLDERS = Policy(host_paths=(HostPath(prefix="/a", read_only=False),))
PLATFORM = Platform("tradewind", "tradewind-system", "gateway", "predictor", "trainer", policy=FOLDERS)
OWNER = Owner("tradewind.dev/v1alpha1", "TrainingRun", "run", "trading", "uid")


STARTED = datetime(2026, 11, 1, tzinfo=UTC)
LOG = [
    LoggedDecision(
        decision_id=f"d{day}",
        decided_at=datetime(2026, 10, day, tzinfo=UTC),
        shown=DecisionInput(market_data={"day": day}, account_state={}),
        symbol="BTC",
        answer=hold("BTC"),
    )
    for day in range(1, 9)
]


def load(kind, file: Path):
    raw = next(doc for doc in yaml.safe_load_all(file.read_text()) if doc["kind"] == kind.__name__)
    raw["metadata"] |= {"namespace": "trading", "uid": "uid"}
    return parse(kind, raw)


def config_of(manifest, folder: Path) -> Path:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    text = next(variable["value"] for variable in container["env"] if variable["name"] == "TRADEWIND_CONFIG")
    value = json.loads(text)
    if value.get("datasetSha256", "") is None:
        value["datasetSha256"] = "a" * 64
    file = folder / "config.json"
    file.write_text(json.dumps(value))
    return file


def check(run: TrainingRun, folder: Path) -> tuple[TrainConfig, SnapshotConfig | None]:
    """The configurations of a run's Jobs as the Jobs read them, with every number computed with."""
    train = load_config(TrainConfig, config_of(build_train_job(run, OWNER, PLATFORM, 1, None), folder))
    earlier_fingerprint(train, {"learningRate": 1.0}, None)  # reads each text as the number that it is
    if run.spec.dataset.endpoint is None or empty_window(run, STARTED):
        return train, None
    endpoint = load(Endpoint, SAMPLES / "endpoint-production.yaml")
    job = build_snapshot_job(run, endpoint, OWNER, PLATFORM, STARTED)
    snapshot = load_config(SnapshotConfig, config_of(job, folder))
    evaluate_gates(build_dataset(LOG, snapshot.imitation(), snapshot.split), snapshot.gates, datetime.now(UTC))
    return train, snapshot


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("trainingrun-*.yaml")), ids=lambda path: path.stem)
def test_every_sample_reaches_its_jobs_as_it_stands(sample: Path, tmp_path: Path) -> None:
    run = load(TrainingRun, sample)
    train, snapshot = check(run, tmp_path)
    assert {name: getattr(train, name) for name in Recipe.model_fields} == {
        name: getattr(run.spec, name) for name in Recipe.model_fields
    }
    if snapshot is not None:
        names = set(Selection.model_fields) - {"since", "until"}
        assert all(getattr(snapshot, name) == getattr(run.spec.dataset, name) for name in names)


@pytest.mark.parametrize("champion", [None, "modelversion-deepseek", "modelversion-adapter"])
def test_the_evaluation_reaches_its_job_as_it_stands(champion: str | None, tmp_path: Path) -> None:
    version = load(ModelVersion, SAMPLES / "modelversion-evaluated.yaml")
    endpoint = load(Endpoint, SAMPLES / "endpoint-production.yaml")
    ready = {
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Ready", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ]
    }
    beside = None if champion is None else load(ModelVersion, SAMPLES / f"{champion}.yaml")
    if beside is not None:
        beside = beside.model_copy(update={"status": ModelVersionStatus.model_validate(ready)})
    seen = Seen(service=Service(ready=True, ready_replicas=1), endpoint=endpoint, champion=beside)
    made = decide(version, seen, STARTED, platform=PLATFORM, owner=OWNER)
    (job,) = (effect.manifest for effect in made.effects if isinstance(effect, Create))
    config = load_config(EvaluateConfig, config_of(job, tmp_path))
    asked, bars = version.spec.evaluation.dataset, version.spec.evaluation.bars
    assert asked is not None
    assert bars is not None
    assert config.recorded is not None
    assert config.bars is not None
    assert all(getattr(config.recorded, name) == getattr(asked, name) for name in EvaluationRows.model_fields)
    assert all(getattr(config.bars, name) == getattr(bars, name) for name in SimulatedTrades.model_fields)
    assert set(config.recorded.limits) == set(endpoint.spec.limits.permission_levels)
    compared = config.compared
    assert (compared is None) == (champion is None)
    if compared is not None:
        assert (compared.url is None) == (champion == "modelversion-deepseek"), "an external champion is not asked"
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["python", "/app/jobs/evaluate.py"]
    secret = next(each for each in container["env"] if each["name"] == "TRADEWIND_DSN")["valueFrom"]["secretKeyRef"]
    assert secret == endpoint.spec.database.secret_ref.to_manifest()


def test_the_snapshot_is_told_what_the_run_before_was_made_of(tmp_path: Path) -> None:
    run = load(TrainingRun, SAMPLES / "trainingrun-full.yaml")
    counts = {"perAction": {"hold": 3}, "perLabel": {"hold": 3}, "perSymbol": {"BTC": 2, "(other)": 1}, "perRegime": {}}
    raw = run.to_manifest()
    earlier = parse(
        TrainingRun, raw | {"metadata": raw["metadata"] | {"name": "earlier"}, "status": {"dataset": counts}}
    )
    assert isinstance(earlier, TrainingRun)
    endpoint = load(Endpoint, SAMPLES / "endpoint-production.yaml")
    job = build_snapshot_job(run, endpoint, OWNER, PLATFORM, STARTED, earlier)
    before = load_config(SnapshotConfig, config_of(job, tmp_path)).before
    assert before is not None
    assert before.model_dump(by_alias=True) == {"run": "earlier", **counts}


def test_the_trainer_is_told_what_its_predecessor_was_killed_for(tmp_path: Path) -> None:
    run = load(TrainingRun, min(SAMPLES.glob("trainingrun-*.yaml")))
    for killed in (False, True):
        job = build_train_job(run, OWNER, PLATFORM, 2, None, after_out_of_memory=killed)
        assert load_config(TrainConfig, config_of(job, tmp_path)).after_out_of_memory is killed


EDGES: dict[str, list[Any]] = {
    "must be a SHA-256": ["0" * 64],
    "must be a Kubernetes quantity": ["0", "1.5Gi", 4],
    "must be a decimal number in quotes above 0": ["0.000000001", "999999999999.999999999"],
    "must be a decimal number in quotes, 0 or more": ["0", "999999999999.999999999"],
    "must be a fraction from 0 to 1": ["0", "1", "1.000000000", "0.000000001"],
    "must be a fraction from 0 to below 1": ["0", "0.000000000000001", "0.999999999999999"],
    "must be a latency": ["1ms"],
    "must be a name": ["a", "a" * 50],
    "must be a number in quotes above 0 and up to 10000": ["0.000000001", "10000.0", "9999.999999999"],
    "must be a number in quotes, 0 or more": ["0", ".5", "1.", "1e-99", "9E+99", "0.999999999999", "1"],
    "must be a share above 0, up to 1": ["0.000000001", "0.99", "1", "1.000000000"],
    "must be a symbol": ["B", "A/b:c.d_e-f"],
    "must be a time": ["0s", "1s", "99999d", "999999h", "1000-01-01T00:00:00Z", "2999-12-31T23:59:59.999999-14:59",
                       "2024-02-29T00:00:00+14:00"],
    "must be a weight from 0 to 100": ["0", "100", "100.000000000", "000099.999999999"],
    "must be a whole number and one unit": ["0s", "1s", "365d", "999999d"],
    "must be a whole number from 1 to 1024": ["1", "1024", "0001000"],
    "must be a whole number in quotes, 0": ["0", "999999999"],
    "must be a whole number in quotes, 1": ["1", "999999999", "0000000000000010"],
    "must be a whole number of ms": ["1ms", "999999s"],
    "must be a region": ["r", "cn-hangzhou"],
    "must be an http or https URL of a host": ["https://a.example", "https://minio.example.com:65535"],
    "must be the name of a Secret": ["a", "a" * 63],
    "must be the name of a ServiceAccount": ["a", "a" * 253],
    "must be pvc": ["pvc://c", "pvc://claim/a/b", "file:///a"],
    "must be the name of a PriorityClass": ["a", "a" * 128],
}  # fmt: skip


def edges(schema: dict[str, Any]) -> list[Any]:
    """Values at the bounds of a field of the CRD."""
    if "enum" in schema:
        return list(schema["enum"])
    if rules := schema.get("x-kubernetes-validations"):
        (values,) = (values for says, values in EDGES.items() if rules[0]["message"].startswith(says))
        return values
    match schema["type"]:
        case "boolean":
            return [False, True]
        case "integer":
            return [schema["minimum"], schema["maximum"]]
        case "string":
            return ["x" * schema.get("minLength", 0), "x" * schema["maxLength"]]
        case "array":
            values = edges(schema["items"]) if "properties" not in schema["items"] else [{}]
            return [values[:1], values[: schema["maxItems"]]]
    return [{}]


def leaves(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    if "properties" not in schema:
        yield path, edges(schema)
    for name, field in schema.get("properties", {}).items():
        yield from leaves(field, (*path, name))


def with_evaluation(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """What belongs together in an evaluation; its parts that may lie in a store."""
    evaluation = spec.get("modelVersion", {}).get("evaluation", {})
    gates, dataset, bars = (evaluation.get(name) for name in ("gates", "dataset", "bars"))
    if (gates and "maxSharpeLoss" in gates) or bars is not None:
        bars = evaluation.setdefault("bars", {})
        bars.setdefault("uri", "pvc://models/bars")
    of_dataset = set(gates or ()) & {
        "minAgreement",
        "minDisagreement",
        "maxHoldShare",
        "maxCalibrationError",
        "maxSharpeLoss",
    }
    if of_dataset or bars is not None or dataset is not None:
        dataset = evaluation.setdefault("dataset", {})
        if "sha256" in dataset or "uri" in dataset:
            dataset.setdefault("uri", "pvc://models/d")
            dataset.pop("endpoint", None)
        elif "store" not in dataset:
            dataset.setdefault("endpoint", "trader")
        if "minRows" in dataset or "maxRows" in dataset:
            dataset["maxRows"] = max(dataset.get("minRows", 30), dataset.get("maxRows", 500))
            dataset["minRows"] = min(dataset.get("minRows", 30), dataset["maxRows"])
    return [part for part in (dataset, bars) if part is not None]


def spec_with(*chosen: tuple[tuple[str, ...], Any]) -> dict[str, Any]:
    uri = any(path in (("dataset", "uri"), ("dataset", "sha256")) for path, _ in chosen)
    spec: dict[str, Any] = {
        "baseModel": {"uri": "pvc://models/base"},
        "dataset": {"uri": "pvc://models/d"} if uri else {"endpoint": "trader"},
        "output": {"uri": "pvc://models/runs"},
    }
    for path, value in chosen:
        part = spec
        for name in path[:-1]:
            part = part.setdefault(name, {})
        part[path[-1]] = value
    if "paperWeight" in (labels := spec["dataset"].get("labels", {})):
        labels["paper"] = True
    serving = spec.get("modelVersion", {}).get("serving", {})
    if "autoscaling" in serving:
        serving.setdefault("resources", {}).setdefault("requests", {}).setdefault("cpu", "2")
        serving["autoscaling"].setdefault("maxReplicas", serving["autoscaling"].get("minReplicas", 1))
    if "sharedMemory" in serving:
        serving["runtime"] = "huggingface"
    judged = with_evaluation(spec)
    for part in (spec["baseModel"], spec["dataset"], spec["output"], *judged):
        if "store" in part:
            part.pop("endpoint", None)
            part["uri"] = "s3://models/x"
            part["store"].setdefault("region", "r")
            if "serviceAccountName" not in part["store"]:
                part["store"].setdefault("secretRef", {"name": "key"})
    return spec


def test_what_the_kind_accepts_its_jobs_accept(tmp_path: Path) -> None:
    """Each bound alone, then many fields at once at their bounds: whatever passes lint is no bad configuration."""
    schema = crd(BY_KIND["TrainingRun"])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    alone = [(path, value) for path, values in leaves(schema) for value in values]
    accepted = [one for one in alone if is_trained(spec_with(one), tmp_path)]
    assert {path for path, _ in accepted} == {path for path, _ in alone}
    draw = random.Random(9)
    volumes = [one for one in accepted if "store" not in one[0]]
    mixed = [spec_with(*draw.sample(volumes, 12)) for _ in range(300)]
    assert sum(is_trained(spec, tmp_path) for spec in mixed) > 200, "rules refuse nearly all: nothing is shown"


def is_trained(spec: dict[str, Any], folder: Path) -> bool:
    """Whether lint accepts the spec; its Jobs must then accept it too."""
    head = {"apiVersion": "tradewind.dev/v1alpha1", "kind": "TrainingRun"}
    run = parse_manifest(head | {"metadata": {"name": "run", "namespace": "trading"}, "spec": spec})
    if isinstance(run, TrainingRun):
        check(run, folder)
    return isinstance(run, TrainingRun)
