import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tradewind.trading.duplicates import Dedupe
from tradewind.trading.exits import ExitCode
from tradewind.trading.labels import Label
from tradewind.training.config import SnapshotConfig, TrainConfig, load_config, resolve_time
from tradewind.training.outcome import JobError

TRAIN = {
    "run": "weekly",
    "attempt": 1,
    "base": "/mnt/base",
    "warmStart": None,
    "dataset": "/mnt/output/weekly/dataset",
    "datasetSha256": "a" * 64,
    "output": "/mnt/output/weekly",
    "method": "auto",
    "objective": "sft",
    "progressURL": None,
    "progressTokenFile": None,
}
SNAPSHOT = {
    "endpoint": {"installation": "tradewind", "namespace": "trading", "name": "trader"},
    "since": "90d",
    "until": "2026-01-31T00:00:00Z",
    "labels": {
        "thresholds": {"excellent": "0.01", "bad": "0.005"},
        "weights": {"excellent": "2", "acceptableLoss": "0"},
        "counterfactualHolds": True,
        "holdWeight": "0.7",
    },
    "split": {"evalFraction": "0.2", "embargo": "36h"},
    "gates": {"minSamples": 200, "maxActionShare": "0.9", "maxAge": "14d"},
    "output": "/mnt/output/weekly/dataset",
}


def file_of(folder: Path, value: object) -> Path:
    path = folder / "config.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_train_config_has_the_defaults_of_the_seed(tmp_path: Path) -> None:
    config = load_config(TrainConfig, file_of(tmp_path, TRAIN))
    assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (16, 32, "0.1")
    settings = config.hyperparameters
    assert (settings.epochs, settings.learning_rate, settings.batch_size) == ("3", "0.0002", 4)
    assert settings.warmup_steps == 50


def test_decimals_and_durations_are_text_as_in_the_spec(tmp_path: Path) -> None:
    config = load_config(SnapshotConfig, file_of(tmp_path, SNAPSHOT))
    imitation = config.imitation()
    assert imitation.labels.thresholds.excellent == "0.01"
    weights = {label: imitation.weight(label) for label in Label if imitation.weight(label)}
    assert weights == {Label.EXCELLENT: 2.0, Label.GOOD: 1.0}
    assert imitation.hold_weight == 0.7
    assert imitation.dedupe is Dedupe.EXACT
    now = datetime(2026, 4, 1, tzinfo=UTC)
    assert resolve_time(config.since, now) == datetime(2026, 1, 1, tzinfo=UTC)
    assert resolve_time(config.until, now) == datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"objective": "kto", "hyperparameters": {"batchSize": 1, "gradientAccumulation": 1}},
            "objective: kto holds the samples of a step",
        ),
        ({"objective": "dpo"}, "objective: "),
        ({"packing": "sharedPrefix"}, "packing: is not supported; remove it"),
        (
            {"hyperparameters": {"extra": {"neftune_alpha": "5"}}},
            "hyperparameters.extra.neftune_alpha: is not",
        ),
        (
            {"hyperparameters": {"learningRate": "0"}},
            "hyperparameters.learningRate: must be a decimal number in quotes above 0",
        ),
        ({"lora": {"targetModules": ["all-linear", "q_proj"]}}, "lora.targetModules: all-linear stands alone"),
        ({"datasetSha256": "abc"}, "datasetSha256: must be a SHA-256 of 64"),
        ({"progressURL": "file:///etc/passwd"}, "progressURL: String should match pattern '^https?://'"),
        ({"run": None}, "run: must be text; write it in quotes, got 'None'"),
        ({"hyperparameters": {"epochs": 3}}, "hyperparameters.epochs: must be text; write it in quotes, got '3'"),
    ],
)
def test_what_is_wrong_or_not_there_yet_is_refused_by_name(tmp_path: Path, changes: dict, says: str) -> None:
    with pytest.raises(JobError) as caught:
        load_config(TrainConfig, file_of(tmp_path, TRAIN | changes))
    assert caught.value.code is ExitCode.BAD_CONFIG
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"since": "yesterday"},
            "since: must be a time such as 2026-01-31T00:00:00Z or a length of time back from the start such as 90d",
        ),
        ({"labels": {"weights": {"neutral": 1}}}, "labels.weights.neutral: is not supported; remove it"),
        ({"split": {"embargo": "two days"}}, "split.embargo: must be a whole number and one unit"),
        ({"split": {"evalFraction": "1"}}, "split.evalFraction: must be a fraction from 0 to below 1"),
    ],
)
def test_a_wrong_snapshot_config_is_refused_by_name(tmp_path: Path, changes: dict, says: str) -> None:
    with pytest.raises(JobError) as caught:
        load_config(SnapshotConfig, file_of(tmp_path, SNAPSHOT | changes))
    assert says in caught.value.message


@pytest.mark.parametrize(("text", "says"), [("[]", "must be a JSON object"), ("{", "is not JSON")])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(JobError, match=says):
        load_config(TrainConfig, file_of(tmp_path, text))


def test_a_missing_field_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="base: is missing; set it"):
        load_config(TrainConfig, file_of(tmp_path, {key: value for key, value in TRAIN.items() if key != "base"}))
    with pytest.raises(JobError, match="No such file"):
        load_config(TrainConfig, tmp_path / "absent.json")
