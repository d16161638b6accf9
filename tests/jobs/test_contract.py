"""The operator's Jobs carry configurations that the scripts accept: whatever a TrainingRun may say."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tradewind.api.endpoint import Endpoint
from tradewind.api.parse import parse
from tradewind.api.training_run import TrainingRun
from tradewind.core.decision import Owner
from tradewind.core.platform import Platform
from tradewind.core.training_run.manifests import snapshot_job, train_job
from tradewind.training.config import load_snapshot_config, load_train_config
from tradewind.training.outcome import JobError

SAMPLES = Path(__file__).parents[2] / "crds" / "samples"
PLATFORM = Platform("tradewind", "tradewind-system", "gateway", "predictor", "trainer")
OWNER = Owner("tradewind.dev/v1alpha1", "TrainingRun", "run", "trading", "uid")


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


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("trainingrun-*.yaml")), ids=lambda path: path.stem)
def test_every_sample_is_trained_or_refused_by_name(sample: Path, tmp_path: Path) -> None:
    run = load(TrainingRun, sample)
    assert isinstance(run, TrainingRun)
    file = config_of(train_job(run, OWNER, PLATFORM, 1, None), tmp_path)
    if run.spec.objective == "sft":
        config = load_train_config(file)
        assert config.lora.target_modules == run.spec.lora.target_modules
        assert config.hyperparameters.epochs == float(run.spec.hyperparameters.epochs)
    else:
        with pytest.raises(JobError, match="is not supported yet; use sft"):
            load_train_config(file)
    if run.spec.dataset.endpoint is not None:
        endpoint = load(Endpoint, SAMPLES / "endpoint-production.yaml")
        job = snapshot_job(run, endpoint, OWNER, PLATFORM, datetime(2026, 11, 1, tzinfo=UTC))
        snapshot = load_snapshot_config(config_of(job, tmp_path))
        assert snapshot.gates.min_samples == run.spec.dataset.gates.min_samples
        assert snapshot.labels.counterfactual_holds == run.spec.dataset.labels.counterfactual_holds
