"""The Trainer: weighted loss on completions, checkpoints that verify, the best adapter kept, a clean stop on request.

Belongs here: what differs from the stock Trainer. Does not belong here: configuration files, exit codes, publishing.
"""

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from tradewind.training.checkpoint import Checkpoints
from tradewind.training.collator import PlannedBatches, collate
from tradewind.training.config import TrainConfig
from tradewind.training.kto import Sides, baseline, kto_losses, put_back, trained_weights
from tradewind.training.loss import completion_logps, keeps_logits, weighted_loss
from tradewind.training.noise import EmbeddingNoise
from tradewind.training.packing import Packing

BEST_WEIGHTS: Final = "best.safetensors"
BEST_STATE: Final = "best.json"
REFERENCE: Final = "reference.safetensors"
_CURVES: Final = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "eval_loss": "eval/loss",
}
"""Names in TensorBoard, as transformers gives them, by those of the log."""

_logger = logging.getLogger(__name__)


class DivergedError(Exception):
    """A loss, a gradient or a weight is no finite number any more."""


class _EnoughError(Exception):
    """Patience had run out when the training was resumed: there is nothing left to train."""


@dataclass
class Best:
    """The adapter with the lowest evaluation loss so far.

    Attributes:
        step: when it was.
        evaluated_step: step of the newest evaluation.
        without_gain: evaluations since `step`.
    """

    step: int = 0
    evaluated_step: int = 0
    eval_loss: float = math.inf
    without_gain: int = 0
    weights: Mapping[str, torch.Tensor] | None = None


@dataclass
class Meter:
    """What has been trained on in this process, for speeds."""

    tokens: int = 0
    steps: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def tokens_per_second(self) -> float:
        """Mean over this process, padding not counted."""
        return self.tokens / max(time.monotonic() - self.began, 1e-9)

    @property
    def steps_per_second(self) -> float:
        """Mean over this process; 0 before the first step."""
        return self.steps / max(time.monotonic() - self.began, 1e-9)


def training_arguments(config: TrainConfig, learning_rate: float, dtype: torch.dtype) -> TrainingArguments:
    """What the stock Trainer is told: an item is a planned optimiser step, and the plan holds all epochs.

    Args:
        config: what the Job was told.
        learning_rate: the peak in use, which is lower than asked after a divergence.
        dtype: of the frozen weights.
    """
    settings, extra = config.hyperparameters, config.hyperparameters.extra
    arguments = TrainingArguments(
        output_dir=str(config.output / "checkpoints"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        num_train_epochs=1,
        learning_rate=learning_rate,
        lr_scheduler_type=extra.lr_scheduler_type,
        warmup_steps=settings.warmup_steps,
        weight_decay=float(extra.weight_decay),
        max_grad_norm=float(extra.max_grad_norm),
        adam_beta1=float(extra.adam_beta1),
        adam_beta2=float(extra.adam_beta2),
        seed=settings.seed,
        data_seed=settings.seed,
        train_sampling_strategy="sequential",
        save_strategy="steps",
        save_steps=settings.save_every_steps,
        logging_steps=int(extra.logging_steps),
        logging_nan_inf_filter=False,
        bf16=dtype is torch.bfloat16,
        fp16=dtype is torch.float16,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process trains on one GPU; DataParallel would split the plan
    return arguments


class AdapterTrainer(Trainer):  # type: ignore[misc] # transformers has no types
    """Trains an adapter on `PlannedBatches`; one item of the dataset is one optimiser step, computed group by group."""

    control: Any

    def __init__(
        self,
        *,
        model: Any,
        args: TrainingArguments,
        train: PlannedBatches,
        evaluation: PlannedBatches,
        pad_token_id: int,
        packing: Packing,
        checkpoints: Checkpoints,
        eval_every_steps: int,
        patience: int = 0,
        sides: Sides | None = None,
        kto_after: int = 0,
        noise_alpha: float = 0.0,
        stop_requested: Callable[[], bool] = lambda: False,
        on_progress: Callable[["AdapterTrainer"], None] = lambda _: None,
        on_values: Callable[[int, Mapping[str, float]], None] = lambda _, __: None,
    ) -> None:
        """Everything is given.

        Args:
            model: a PEFT model.
            args: batch size 1 and no accumulation (an item is a step), one epoch (the plan holds all).
            train: the plan of the training.
            evaluation: the evaluation set in passes; may be empty.
            pad_token_id: fills rows on the right.
            packing: how the samples of a pass are computed.
            checkpoints: where checkpoints go.
            eval_every_steps: steps between evaluations; there is one at the end in any case.
            patience: evaluations without a gain after which training stops; 0 never.
            sides: of KTO; None: sft alone.
            kto_after: steps of sft before KTO, where there are sides.
            noise_alpha: of NEFTune; 0: no noise.
            stop_requested: asked after each step; True saves a checkpoint and stops.
            on_progress: called after each step and each evaluation.
            on_values: called with a step and the values of curves there, such as `train/loss`, at each line of the log.
        """
        super().__init__(
            model=model,
            args=args,
            train_dataset=train,
            data_collator=partial(collate, pad_token_id=pad_token_id, packing=packing, mismatched=sides is not None),
        )
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True  # releases before 5.20 know this name alone
        self.evaluation = evaluation
        self.checkpoints = checkpoints
        self.eval_every_steps = eval_every_steps
        self.patience = patience
        self.stop_requested = stop_requested
        self.on_progress = on_progress
        self.on_values = on_values
        self.sides = sides
        self.kto_after = kto_after
        self.reference: Mapping[str, torch.Tensor] | None = None
        self.noise = EmbeddingNoise(model, noise_alpha)
        self.best = Best()
        self.meter = Meter()
        self.step_loss: float | None = None
        self.eval_loss: float | None = None
        self._partial_loss = 0.0
        self._keeps_logits = keeps_logits(model)
        self._draft: Path | None = None
        self.remove_callback(PrinterCallback)
        self.add_callback(_Flow(self))

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        waited = self.best.without_gain >= self.patience > 0
        return waited and (self.sides is None or self.best.evaluated_step > self.kto_after)

    @property
    def evaluation_due(self) -> bool:
        """Whether the step that was just made is to be evaluated and is not yet."""
        step = self.state.global_step
        planned = step % self.eval_every_steps == 0 or step >= self.state.max_steps
        return len(self.evaluation) > 0 and step > 0 and planned and self.best.evaluated_step < step

    @property
    def interrupted(self) -> bool:
        """Whether the training was stopped on request before its end; one whose patience ran out is at its end."""
        unfinished = self.state.global_step < self.state.max_steps and not self.exhausted
        return self.stop_requested() and (unfinished or self.evaluation_due)

    def train_from(self, checkpoint: Path | None) -> None:
        """Train to the end of the plan, from a checkpoint's step where one is given."""
        if checkpoint is not None:
            self._load_best(checkpoint)
        self.meter = Meter()
        with contextlib.suppress(_EnoughError):
            self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    def use_best(self) -> None:
        """Put the best adapter into the model; the last one stays where nothing was evaluated.

        Raises:
            DivergedError: it is not finite.
        """
        if self.best.weights is not None:
            set_peft_model_state_dict(self.model, dict(self.best.weights))
        self.check_weights()

    def check_weights(self) -> None:
        """Raises:
        DivergedError: a weight that is trained is no finite number.
        """
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not bool(parameter.detach().isfinite().all()):
                raise DivergedError(f"{name} is not finite after step {self.state.global_step}")

    def check_gradients(self) -> None:
        """Raises:
        DivergedError: a gradient is no finite number, before the weights are touched.
        """
        if self.args.fp16:
            return  # the scaler leaves such a step out and halves its scale
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                raise DivergedError(f"the gradient of {name} is not finite at step {self.state.global_step + 1}")

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor | None:
        """Sum of the weights of all supervised tokens of an optimiser step: what its loss is divided by."""
        if not batch_samples:
            return None
        return (
            torch.stack([group["weights"].sum() for item in batch_samples for group in item["groups"]]).sum().to(device)
        )

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,  # noqa: ARG002, FBT001, FBT002 - the base's signature
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """Weighted mean negative log-likelihood of the supervised tokens of a group, in nats; of KTO, the group's part of the mean."""
        self.noise.tokens = int(inputs["width"])
        if "reference" in inputs:
            summed: torch.Tensor = self._kto_losses(inputs).sum() / num_items_in_batch
            return summed
        total, weight = weighted_loss(model, inputs, keeps=self._keeps_logits)
        return total / (weight if num_items_in_batch is None else num_items_in_batch)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """The forward and backward passes of the groups of one item; their losses add up to the item's.

        Raises:
            DivergedError: before the weights are touched.
        """
        groups = inputs["groups"]
        if self.sides is not None and self.state.global_step >= self.kto_after:
            if self.reference is None:
                self.reference = trained_weights(self.model)
                self.best = Best(evaluated_step=self.best.evaluated_step)  # what was measured before is another measure
            groups = self._against_reference(self._prepare_inputs(inputs))
            num_items_in_batch = torch.tensor(sum(len(group["desirable"]) for group in groups))
        losses = [super(AdapterTrainer, self).training_step(model, group, num_items_in_batch) for group in groups]
        loss = torch.stack(losses).sum()
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(f"the loss is {value} at step {self.state.global_step + 1}")
        self._partial_loss += value
        self.meter.tokens += int(inputs["tokens"])
        return loss

    def _logps(self, groups: Sequence[Mapping[str, torch.Tensor]]) -> list[torch.Tensor]:
        # Left before weights are exchanged: autocast keeps what it has made of them.
        with self.compute_loss_context_manager():
            return [completion_logps(self.model, group, keeps=self._keeps_logits) for group in groups]

    def _against_reference(self, inputs: Mapping[str, Any]) -> list[dict[str, torch.Tensor]]:
        """The groups of an item with what KTO holds them against: `reference` [n] and `moved` []. The model is left in evaluation mode."""
        groups, pairs = inputs["groups"], inputs["mismatched"]
        assert self.reference is not None
        with put_back(self.model, self.reference):
            reference, of_pairs = self._logps(groups), self._logps(pairs)
        with torch.no_grad():
            policy = self._logps(pairs)
        nothing = torch.zeros(0)
        moved = baseline(torch.cat(policy or [nothing]), torch.cat(of_pairs or [nothing]))
        return [
            {**group, "reference": values, "moved": moved.to(values.device)}
            for group, values in zip(groups, reference, strict=True)
        ]

    def _kto_losses(self, group: Mapping[str, torch.Tensor]) -> torch.Tensor:
        assert self.sides is not None
        policy = completion_logps(self.model, group, keeps=self._keeps_logits)
        losses = kto_losses(policy, group["reference"], group["moved"], group["desirable"], self.sides)
        return losses * group["sample_weights"]

    def _evaluated(self, inputs: Mapping[str, Any]) -> tuple[float, float]:
        """Sum of the losses of a pass, and what it is divided by: tokens by weight, or samples where KTO has begun."""
        total = count = 0.0
        kto = self.reference is not None
        for group in self._against_reference(inputs) if kto else inputs["groups"]:
            with self.compute_loss_context_manager():
                if kto:
                    part, weight = self._kto_losses(group).sum(), group["sample_weights"].sum()
                else:
                    part, weight = weighted_loss(self.model, group, keeps=self._keeps_logits)
            total += part.item()
            count += weight.item()
        return total, count

    def _measured(self) -> float | None:
        """Mean loss of the evaluation set, nan where it has no weight; None where a stop was asked for meanwhile."""
        self.model.eval()
        total = weight = 0.0
        with torch.no_grad():
            for index in range(len(self.evaluation)):
                if self.stop_requested():
                    return None
                inputs = self._prepare_inputs(self.data_collator([self.evaluation[index]]))
                part, part_weight = self._evaluated(inputs)
                total += part
                weight += part_weight
        return total / weight if weight > 0 else math.nan

    def base_loss(self) -> float | None:
        """What `evaluate` gives of the base model alone: what a training is held against that other rows were kept from.

        None where there is no row, after KTO (whose loss is of another model), and where a stop is asked for meanwhile.
        """
        if not len(self.evaluation) or self.reference is not None:
            return None
        with self.model.disable_adapter():
            measured = self._measured()
        return measured if measured is not None and math.isfinite(measured) else None

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Weighted mean loss of the whole evaluation set, per supervised token or, of KTO, per sample; keeps the best adapter.

        Where a stop is asked for meanwhile, it is given up (evaluating can last longer than the time that is left): the
        checkpoint that is then saved says so, and who resumes from it evaluates first.
        """
        measured = self._measured()
        if measured is None:
            self.control.should_save = self.control.should_training_stop = True
            return {}
        step = self.state.global_step
        if not math.isfinite(measured):
            raise DivergedError(f"the evaluation loss is {measured} at step {step}")
        self.eval_loss = measured
        if self.eval_loss < self.best.eval_loss:
            state = get_peft_model_state_dict(self.model)
            weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
            self.best = Best(step, step, self.eval_loss, 0, weights)
        else:
            self.best.evaluated_step = step
            self.best.without_gain += 1
            self.control.should_training_stop |= self.exhausted
        metrics = {"eval_loss": self.eval_loss}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._draft is None else str(self._draft)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The stock checkpoint, written into a draft that becomes a checkpoint by one rename."""
        step = self.state.global_step
        self.check_weights()
        with self.checkpoints.write(step) as folder:
            self._draft = folder
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._draft = None
            inner = folder / f"checkpoint-{step}"
            for path in inner.iterdir():
                path.rename(folder / path.name)
            inner.rmdir()
            self._save_best(folder)

    def _save_best(self, folder: Path) -> None:
        best = self.best
        if self.reference is not None:
            save_file({name: weight.cpu() for name, weight in self.reference.items()}, folder / REFERENCE)
        if best.weights is not None:
            save_file(dict(best.weights), folder / BEST_WEIGHTS)
            state = {key: value for key, value in vars(best).items() if key != "weights"}
            (folder / BEST_STATE).write_text(json.dumps(state), encoding="utf-8")

    def _load_best(self, folder: Path) -> None:
        if (folder / REFERENCE).is_file():
            self.reference = load_file(folder / REFERENCE)
        if (folder / BEST_STATE).is_file():
            state = json.loads((folder / BEST_STATE).read_text(encoding="utf-8"))
            self.best = Best(**state, weights=load_file(folder / BEST_WEIGHTS))
            self.eval_loss = self.best.eval_loss


class _Flow(TrainerCallback):  # type: ignore[misc] # transformers has no types
    """After each step: the step's loss, an evaluation where one is due, a checkpoint and a stop where one was asked for."""

    def __init__(self, trainer: AdapterTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if self.trainer.evaluation_due:
            self.trainer.evaluate()
        if self.trainer.exhausted:
            raise _EnoughError

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self.trainer.check_gradients()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        trainer = self.trainer
        trainer.step_loss, trainer._partial_loss = trainer._partial_loss, 0.0
        trainer.meter.steps += 1
        control.should_evaluate = trainer.evaluation_due
        if trainer.stop_requested():
            control.should_save = True
            control.should_training_stop = True
        trainer.on_progress(trainer)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self.trainer.on_progress(self.trainer)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        shown = {key: round(value, 6) for key, value in (logs or {}).items() if isinstance(value, float)}
        _logger.info("step %s/%s %s", state.global_step, state.max_steps, json.dumps(shown))
        if values := {name: float(logs[key]) for key, name in _CURVES.items() if logs and key in logs}:
            self.trainer.on_values(state.global_step, values)
