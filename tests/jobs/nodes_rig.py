"""What tests of trainings on several nodes ask for, and what they read of them."""

import re
from pathlib import Path
from typing import Any

from train_rig import Started, Trainer

WEIGHTS_TOLERANCE, LOSS_TOLERANCE = 5e-6, 1e-5
"""Sums in another order: absolute, of weights up to 0.11 (found: 4e-7 under sft, 6e-7 under sft-then-kto), and relative, of losses."""


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
