"""Trainings on good and bad decisions, by the Job's own script on a tiny model."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from train_rig import Trainer, running_trainer, wait_for

from tradewind.training.files import dataset_sha256

STEPS = 18


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    """Every third row is to avoid."""
    with running_trainer(tmp_path_factory.mktemp("kto")) as trainer:
        trainer.avoid_every_third()
        yield trainer


def asked(trainer: Trainer, name: str, objective: str, **extra: str) -> dict[str, Any]:
    config = trainer.config(trainer.folder / name, objective=objective)
    config["hyperparameters"]["extra"] |= extra
    return config


def trained(trainer: Trainer, config: dict[str, Any]) -> dict[str, Any]:
    started = trainer.start(config)
    assert started.wait() == 0, started.log.read_text()
    return started.result | {"log": started.log.read_text()}


@pytest.mark.parametrize("objective", ["kto", "sft-then-kto"])
def test_terminated_then_killed_then_resumed_gives_the_very_same_adapter(trainer: Trainer, objective: str) -> None:
    noise = {"neftune_noise_alpha": "5"}
    undisturbed = trained(trainer, asked(trainer, f"undisturbed-{objective}", objective, **noise))
    losses = [float(value) for value in re.findall(r'"eval_loss": ([0-9.]+)', undisturbed["log"])]
    if objective == "kto":
        assert undisturbed["steps"] == STEPS
        assert undisturbed["evalLoss"] == min(losses) < losses[0]
    card = (Path(undisturbed["adapter"]) / "README.md").read_text()
    assert f"| objective | {objective} |" in card
    assert "Learned to prefer" in card or "learned to avoid" in card

    config = asked(trainer, f"disturbed-{objective}", objective, **noise)
    output = Path(config["output"])
    terminated = trainer.start(config)
    wait_for(lambda: list(output.glob("checkpoints/step-*")))
    terminated.kill(signal.SIGTERM)
    assert terminated.wait() == 75, terminated.log.read_text()
    # In sft-then-kto, killed once KTO has begun: what it is held to comes from the checkpoint alone.
    begun = terminated.result["step"] if objective == "kto" else undisturbed["steps"] // 2 + 1
    killed = trainer.start(config)
    wait_for(lambda: [path for path in output.glob("checkpoints/step-*") if int(path.name[5:]) > begun])
    killed.kill(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert list(output.glob("checkpoints/step-*/reference.safetensors"))
    resumed = trained(trainer, config)
    assert resumed["resumedFrom"] is not None
    assert resumed["sha256"] == undisturbed["sha256"]
    assert resumed["evalLoss"] == undisturbed["evalLoss"]
    assert resumed["baseEvalLoss"] is None  # the loss is of another kind


def test_what_is_to_be_avoided_is_never_imitated(trainer: Trainer, tmp_path: Path) -> None:
    without = tmp_path / "without"
    without.mkdir()
    for file in ("train.jsonl", "eval.jsonl"):
        lines = (trainer.data / file).read_text().splitlines(keepends=True)
        (without / file).write_text("".join(line for line in lines if "desirable" not in line))
    (without / "manifest.json").write_bytes((trainer.data / "manifest.json").read_bytes())
    mixed = trained(trainer, asked(trainer, "mixed", "sft"))
    config = asked(trainer, "alone", "sft") | {"dataset": str(without), "datasetSha256": dataset_sha256(without)}
    alone = trained(trainer, config)
    assert mixed["steps"] == alone["steps"]
    assert mixed["evalLoss"] == pytest.approx(alone["evalLoss"], rel=1e-4)

    refused = trainer.start(config | {"objective": "kto", "output": str(tmp_path / "one-sided")})
    assert refused.wait() == 65
    assert refused.result["reason"] == "OneSided"
    assert "none is to avoid" in refused.result["message"]


def test_noise_changes_the_training_and_a_changed_knob_is_another_request(trainer: Trainer) -> None:
    config = asked(trainer, "plain", "kto")
    plain = trained(trainer, config)
    noisy = trained(trainer, asked(trainer, "noisy", "kto", neftune_noise_alpha="5"))
    assert noisy["sha256"] != plain["sha256"]
    assert trained(trainer, config)["sha256"] == plain["sha256"], "a finished run is found again"
    refused = trainer.start(config | {"kto": {"beta": "0.2"}})
    assert refused.wait() == 64
    assert "kto.beta was 0.1 and is 0.2" in refused.result["message"]
