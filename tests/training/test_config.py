import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tradewind.trading.duplicates import Dedupe
from tradewind.trading.labels import Label
from tradewind.training.config import load_snapshot_config, load_train_config, resolve_time
from tradewind.training.outcome import ExitCode, JobError

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
    "progressUrl": None,
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
    config = load_train_config(file_of(tmp_path, TRAIN))
    assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (16, 32, 0.1)
    settings = config.hyperparameters
    assert (settings.epochs, settings.learning_rate, settings.batch_size, settings.warmup_steps) == (3, 2e-4, 4, 50)


def test_decimals_and_durations_are_text_as_in_the_spec(tmp_path: Path) -> None:
    config = load_snapshot_config(file_of(tmp_path, SNAPSHOT))
    imitation = config.imitation()
    assert imitation.thresholds.excellent == 0.01
    assert dict(imitation.weights) == {Label.EXCELLENT: 2.0, Label.GOOD: 1.0, Label.ACCEPTABLE_LOSS: 0.0}
    assert imitation.counterfactual_weight == imitation.hold_weight == 0.7
    assert imitation.dedupe is Dedupe.NEAR
    assert config.time_split().embargo == timedelta(hours=36)
    assert config.gates.thresholds().max_age == timedelta(days=14)
    now = datetime(2026, 4, 1, tzinfo=UTC)
    assert resolve_time(config.since, now, "since") == datetime(2026, 1, 1, tzinfo=UTC)
    assert resolve_time(config.until, now, "until") == datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": "kto"}, "objective: kto is not supported yet; use sft"),
        ({"numNodes": 2}, "numNodes: training on 2 nodes is not supported yet; use 1"),
        ({"packing": "sharedPrefix"}, "packing: is not supported; remove it"),
        (
            {"hyperparameters": {"extra": {"neftune_noise_alpha": "5"}}},
            "hyperparameters.extra.neftune_noise_alpha: is not",
        ),
        (
            {"hyperparameters": {"learningRate": "0"}},
            "hyperparameters.learningRate: Input should be greater than 0, got '0'",
        ),
        ({"lora": {"targetModules": ["all-linear", "q_proj"]}}, "lora.targetModules: all-linear stands alone"),
        ({"datasetSha256": "abc"}, "datasetSha256: String should match pattern"),
        ({"progressUrl": "file:///etc/passwd"}, "progressUrl: must begin with http"),
        ({"run": None}, "run: Input should be a valid string, got 'None'"),
    ],
)
def test_what_is_wrong_or_not_there_yet_is_refused_by_name(tmp_path: Path, changes: dict, says: str) -> None:
    with pytest.raises(JobError) as caught:
        load_train_config(file_of(tmp_path, TRAIN | changes))
    assert caught.value.code is ExitCode.BAD_CONFIG
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"since": "yesterday"},
            "since: must be a time such as 2026-01-31T00:00:00Z or a length of time back such as 90d",
        ),
        ({"labels": {"weights": {"bad": 1}}}, "labels.weights.bad: is not supported; remove it"),
        ({"split": {"embargo": "two days"}}, "split.embargo: duration: 'two days' is not a duration"),
        ({"split": {"evalFraction": "1"}}, "split.evalFraction: Input should be less than 1"),
    ],
)
def test_a_wrong_snapshot_config_is_refused_by_name(tmp_path: Path, changes: dict, says: str) -> None:
    with pytest.raises(JobError) as caught:
        load_snapshot_config(file_of(tmp_path, SNAPSHOT | changes))
    assert says in caught.value.message


@pytest.mark.parametrize(("text", "says"), [("[]", "must be a JSON object"), ("{", "is not JSON")])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(JobError, match=says):
        load_train_config(file_of(tmp_path, text))


def test_a_missing_field_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="base: is missing; set it"):
        load_train_config(file_of(tmp_path, {key: value for key, value in TRAIN.items() if key != "base"}))
    with pytest.raises(JobError, match="No such file"):
        load_train_config(tmp_path / "absent.json")
