"""What happens between the steps of a training: evaluations, checkpoints, a stop, reports.

Belongs here: when. Does not belong here: what (trainer.py).
"""

import json
import logging
from typing import Any, Final

from transformers import TrainerCallback

_CURVES: Final = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "eval_loss": "eval/loss",
}
"""Names in TensorBoard, as transformers gives them, by those of the log."""


_logger = logging.getLogger(__name__)


class EnoughError(Exception):
    """Patience had run out when the training was resumed: there is nothing left to train."""


class Flow(TrainerCallback):  # type: ignore[misc] # transformers has no types
    """After each step: the step's loss, an evaluation where one is due, a checkpoint and a stop where one was asked for."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002, D102 - as in TrainerCallback
        if self.trainer.evaluation_due:
            self.trainer.evaluate()
        if self.trainer.exhausted:
            raise EnoughError

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002, D102 - as in TrainerCallback
        self.trainer.check_gradients()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002, D102 - as in TrainerCallback
        trainer = self.trainer
        trainer.step_loss, trainer.partial_loss = trainer.partial_loss, 0.0
        trainer.meter.steps += 1
        control.should_evaluate = trainer.evaluation_due
        if trainer.stopping:
            control.should_save = True
            control.should_training_stop = True
        trainer.on_progress(trainer)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002, D102 - as in TrainerCallback
        self.trainer.on_progress(self.trainer)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002, D102 - as in TrainerCallback
        shown = {key: round(value, 6) for key, value in (logs or {}).items() if isinstance(value, float)}
        _logger.info("step %s/%s %s", state.global_step, state.max_steps, json.dumps(shown))
        if values := {name: float(logs[key]) for key, name in _CURVES.items() if logs and key in logs}:
            self.trainer.on_values(state.global_step, values)
