"""The Trainer: weighted loss on completions, checkpoints that verify, the best adapter kept, a clean stop on request.

Belongs here: what differs from the stock Trainer. Does not belong here: configuration files, exit codes, publishing.
"""

import contextlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback, Trainer, TrainingArguments

from tradewind.training.checkpoint import Checkpoints
from tradewind.training.collator import Part, PlannedBatches, collate
from tradewind.training.flow import EnoughError, Flow
from tradewind.training.idle import Idle
from tradewind.training.kto import Sides, baseline, kto_losses, put_back, trained_weights
from tradewind.training.loss import completion_logps, keeps_logits, weighted_loss
from tradewind.training.measures import Best, Meter
from tradewind.training.noise import EmbeddingNoise
from tradewind.training.packing import Packing
from tradewind.training.ranks import Ranks

BEST_WEIGHTS: Final = "best.safetensors"
BEST_STATE: Final = "best.json"
REFERENCE: Final = "reference.safetensors"
_RANDOM: Final = "rng_state.pth"
"""The name that transformers looks for; those of other processes than the first have their rank in it."""
_NO_ROOM: Final = (torch.OutOfMemoryError, MemoryError)


def random_state_of(rank: int) -> str:
    """The file of a checkpoint that has the state of a process' generators."""
    return f"rng_state_{rank}.pth" if rank else _RANDOM


class DivergedError(Exception):
    """A loss, a gradient or a weight is no finite number any more."""


class AdapterTrainer(Trainer):  # type: ignore[misc] # transformers has no types
    """Trains an adapter on `PlannedBatches`; one item of the dataset is one optimiser step, computed group by group.

    Where several processes share each step, every one of them is a stock Trainer of its part that is alone as far as transformers
    knows; gradients and what is divided by are summed here, so that the step is the one that a single process would make.
    """

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
        ranks: Ranks = Ranks(),  # noqa: B008 - frozen
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
            ranks: the processes that share each step. All of them have the same plan, and this one's parts of it.
            stop_requested: asked after each step; True in one process saves a checkpoint and stops them all.
            on_progress: called after each step and each evaluation.
            on_values: called with a step and the values of curves there, such as `train/loss`, at each line of the log.
        """
        super().__init__(
            model=model,
            args=args,
            train_dataset=train,
            data_collator=partial(collate, pad_token_id=pad_token_id, packing=packing),
        )
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True  # releases before 5.20 know this name alone
        self.evaluation = evaluation
        self.checkpoints = checkpoints
        self.eval_every_steps = eval_every_steps
        self.patience = patience
        self.ranks = ranks
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
        self.partial_loss = 0.0
        self.saved_step: int | None = None
        self._keeps_logits = keeps_logits(model)
        self._idle = Idle(model, pad_token_id, self.compute_loss_context_manager, keeps=self._keeps_logits)
        self._draft: Path | None = None
        self.remove_callback(PrinterCallback)
        self.add_callback(Flow(self))

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
        return (unfinished or self.evaluation_due) and self.stopping

    @property
    def stopping(self) -> bool:
        """Whether one of the processes is asked to stop; asked by all of them at the same place."""
        return self.ranks.any(self.stop_requested())

    def train_from(self, checkpoint: Path | None) -> None:
        """Train to the end of the plan, from a checkpoint's step where one is given."""
        if checkpoint is not None:
            self._load_best(checkpoint)
            self.saved_step = int(checkpoint.name.rpartition("-")[2])
        self.meter = Meter()
        with contextlib.suppress(EnoughError):
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
        weights = [group["weights"].sum() for item in batch_samples for group in item["groups"]]
        (total,) = self.ranks.sums(float(torch.stack(weights).sum()) if weights else 0.0)
        return torch.tensor(total, dtype=torch.float32, device=device)

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
            groups = self._against_reference(self._prepare_inputs(inputs), self.ranks)
            (count,) = self.ranks.sums(sum(len(group["desirable"]) for group in groups))
            num_items_in_batch = torch.tensor(count)
        idle = self.ranks.passes(len(groups)) - len(groups)
        with self.ranks.failing_together(_NO_ROOM):
            losses = [super(AdapterTrainer, self).training_step(model, group, num_items_in_batch) for group in groups]
            self._idle.train(idle)
        loss = torch.stack(losses).sum() if losses else torch.zeros((), device=self.args.device)
        value, tokens = self.ranks.sums(loss.item(), int(inputs["tokens"]))
        if not math.isfinite(value):
            raise DivergedError(f"the loss is {value} at step {self.state.global_step + 1}")
        self.ranks.add_gradients(model.parameters())
        self.partial_loss += value
        self.meter.tokens += int(tokens)
        return torch.full_like(loss, value)

    def _logps(self, groups: Sequence[Mapping[str, torch.Tensor]]) -> list[torch.Tensor]:
        idle = self.ranks.passes(len(groups)) - len(groups)
        # Left before weights are exchanged: autocast keeps what it has made of them.
        with self.compute_loss_context_manager():
            found = [completion_logps(self.model, group, keeps=self._keeps_logits) for group in groups]
        self._idle.look(idle)
        return found

    def _against_reference(self, inputs: Mapping[str, Any], ranks: Ranks) -> list[dict[str, torch.Tensor]]:
        """The groups of an item with what KTO holds them against: `reference` [n] and `moved` []. The model is left in evaluation mode.

        Args:
            inputs: of the item.
            ranks: who else has samples of it.
        """
        groups, pairs = inputs["groups"], inputs["mismatched"]
        assert self.reference is not None
        with ranks.failing_together(_NO_ROOM):
            with put_back(self.model, self.reference):
                reference, of_pairs = self._logps(groups), self._logps(pairs)
            with torch.no_grad():
                policy = self._logps(pairs)
        nothing = torch.zeros(0)
        moved = baseline(torch.cat(policy or [nothing]), torch.cat(of_pairs or [nothing]), ranks)
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
        groups = self._against_reference(inputs, Ranks()) if kto else inputs["groups"]
        idle = self.ranks.passes(len(groups)) - len(groups)
        for group in groups:
            with self.compute_loss_context_manager():
                if kto:
                    part, weight = self._kto_losses(group).sum(), group["sample_weights"].sum()
                else:
                    part, weight = weighted_loss(self.model, group, keeps=self._keeps_logits)
            total += part.item()
            count += weight.item()
        self._idle.look(idle)
        return total, count

    def _measured(self) -> float | None:
        """Mean loss of the evaluation set, nan where it has no weight; None where a stop was asked for meanwhile."""
        self.model.eval()
        total = weight = 0.0
        with torch.no_grad():
            for start in range(0, len(self.evaluation), self.ranks.size):  # a pass for each process
                if self.stopping:
                    return None
                with self.ranks.failing_together(_NO_ROOM):
                    index = start + self.ranks.rank
                    own = [self.evaluation[index]] if index < len(self.evaluation) else [Part(())]
                    part, part_weight = self._evaluated(self._prepare_inputs(self.data_collator(own)))
                    total += part
                    weight += part_weight
        total, weight = self.ranks.sums(total, weight)
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
        """The stock checkpoint of the first process, written into a draft that becomes a checkpoint by one rename.

        What the others would draw next lies in it too; they wait until it is written.
        """
        self.check_weights()
        drawn = self.ranks.gather(self._random_state()) if self.ranks.size > 1 else []
        if self.ranks.first:
            self._write_checkpoint(model, trial, drawn)
        self.ranks.share(None)
        self.saved_step = self.state.global_step

    def _random_state(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            self._save_rng_state(folder)
            return (Path(folder) / _RANDOM).read_bytes()

    def _write_checkpoint(self, model: Any, trial: Any, drawn: Sequence[bytes]) -> None:
        step = self.state.global_step
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
            for rank, state in enumerate(drawn):
                (folder / random_state_of(rank)).write_bytes(state)
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
