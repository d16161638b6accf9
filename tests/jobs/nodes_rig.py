"""What tests of trainings on several nodes ask for, and what they read of them."""

import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from train_rig import Started, Trainer

from tiny_base import make_dataset

WEIGHTS_TOLERANCE, LOSS_TOLERANCE = 5e-6, 1e-5
"""Sums in another order: absolute, of weights up to 0.11 (found: 4e-7 under sft, 6e-7 under sft-then-kto), and relative, of losses."""


def uneven_rows(trainer: Trainer) -> Trainer:
    """At the last step of an epoch and at the last pass of an evaluation one of two processes has nothing. Every third row is to avoid."""
    make_dataset(trainer.data, train=21, evaluation=13)
    trainer.avoid_every_third()
    return trainer


def two_agree_with_one(
    trainer: Trainer, alone: dict[str, Any], together: dict[str, Any], objective: str
) -> tuple[Started, Started]:
    """Both trainings, the second of two processes, which have the same losses and weights within the tolerances."""
    one = trainer.start(alone)
    assert codes(one) == [0], logs(one)
    two = trainer.start(together, nodes=2)
    assert codes(two) == [0, 0], logs(two)
    for curve in ("loss", "eval_loss"):
        assert losses(two)[curve] == pytest.approx(losses(one)[curve], rel=LOSS_TOLERANCE, abs=2e-6)
    assert len(losses(one)["loss"]) == one.result["steps"]
    assert two.result["baseEvalLoss"] == pytest.approx(one.result["baseEvalLoss"] or 0) or objective != "sft"
    expected, found = load_file(adapter(alone)), load_file(adapter(together))
    moved = max(float(tensor.abs().max()) for name, tensor in expected.items() if "lora_B" in name)
    assert moved > 0.05, "what does not move agrees with everything"
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert float((found[name] - tensor).abs().max()) < WEIGHTS_TOLERANCE, name
    return one, two


def asked(trainer: Trainer, name: str, *, objective: str = "sft", dropout: str = "0.1", **more: Any) -> dict[str, Any]:
    lora = {"rank": 4, "alpha": 8, "dropout": dropout}
    config = trainer.config(trainer.folder / name, objective=objective, lora=lora, **more)
    config["hyperparameters"]["extra"] |= {"logging_steps": "1"}
    return config


def codes(started: Started) -> list[int]:
    return started.wait_all()


def logs(started: Started) -> str:
    return "\n".join(one.log.read_text() for one in (started, *started.others))


def losses(started: Started) -> dict[str, list[float]]:
    """Of the steps and of the evaluations, as the first process logs them."""
    text = started.log.read_text()
    return {
        name: [float(value) for value in re.findall(rf'"{name}": ([0-9.]+)', text)] for name in ("loss", "eval_loss")
    }


def adapter(config: dict[str, Any]) -> Path:
    return Path(config["output"]) / "adapter" / "adapter_model.safetensors"
