"""What counts as the same training: what was asked for, not what releases make of the rest."""

from typing import Any

import pytest

from tradewind.trading.settings.adapter import Lora
from tradewind.training import request
from tradewind.training.config import TrainConfig
from tradewind.training.request import differences, earlier_fingerprint, request_of

RUN = {"run": "r", "base": "/b", "dataset": "/d", "output": "/o"}
FACTS: dict[str, Any] = {
    "baseModel": "pvc://models/tiny",
    "baseRevision": "r1",
    "baseConfigSha256": "b" * 64,
    "datasetSha256": "d" * 64,
    "samples": 24,
    "method": "lora",
    "objective": "sft",
    "warmStart": None,
}
ASKED: dict[str, Any] = {
    "lora": {"rank": 4, "alpha": 8, "dropout": "0.05", "targetModules": ["all-linear"]},
    "hyperparameters": {
        "epochs": "3",
        "learningRate": "0.0001",
        "batchSize": 2,
        "seed": 7,
        "extra": {"threads": "1", "weight_decay": "1e-2", "max_steps": "30", "lr_scheduler_type": "cosine"},
    },
}


def record(rate: float = 1e-4, **asked: Any) -> dict[str, Any]:
    return dict(request_of(TrainConfig.model_validate(RUN | asked), FACTS | {"learningRate": rate}))


def test_the_same_request_differs_in_nothing() -> None:
    assert differences(record(**ASKED), record(**ASKED)) == ""


def test_a_changed_request_is_named_field_by_field() -> None:
    now = record(rate=5e-5, lora={"rank": 8}, hyperparameters={"extra": {"max_steps": "30"}})
    assert differences(record(), now) == (
        "hyperparameters.extra.max_steps was null and is 30; learningRate was 0.0001 and is 5e-05; "
        "lora.rank was 16 and is 8"
    )
    assert "hyperparameters.extra.max_steps was 30 and is null" in differences(now, record())


def test_a_field_that_a_later_release_brings_restarts_nothing_until_it_is_used() -> None:
    of_the_release_before = record()
    del of_the_release_before["lora.dora"], of_the_release_before["hyperparameters.extra.max_steps"]
    assert differences(of_the_release_before, record()) == ""
    assert differences(of_the_release_before, record(lora={"dora": True})) == "lora.dora was false and is true"


def test_a_default_that_changes_restarts_nothing_that_stores_its_own_value(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = TrainConfig.model_validate(RUN).lora.to_manifest()
    before = record(lora=stored)
    changed = Lora.model_fields["rank"].default
    monkeypatch.setattr(request, "Lora", lambda: request_lora(changed * 2))
    assert differences(before, record(lora=stored)) == ""


def request_lora(rank: int) -> Any:
    return TrainConfig.model_validate(RUN | {"lora": {"rank": rank}}).lora


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ({}, "d1b146d7a71e557702107f322176c00dbdad8436cba1cc7665e4e62b9d370230"),
        (ASKED, "81f0034548593f2cf87dcca0b3f8913b59b62b408c3676bc688317afb3f596c5"),
    ],
)
def test_the_fingerprint_of_the_release_before_records_is_still_known(asked: dict[str, Any], written: str) -> None:
    config = TrainConfig.model_validate(RUN | asked)
    rate = float(config.hyperparameters.learning_rate) / 2
    assert earlier_fingerprint(config, FACTS | {"learningRate": rate}, "2026-02-01T00:00:00+00:00") == written
