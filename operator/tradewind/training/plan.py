"""The plan of a training: which samples share an optimiser step, to its end, and how they are weighed against each other.

Belongs here: what follows from settings and samples alone. Does not belong here: how a step is computed (packing.py) and shared out
(collator.py).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tradewind.trading.exits import ExitCode
from tradewind.training.collator import PlannedBatches, plan_batches, plan_training
from tradewind.training.config import TrainConfig
from tradewind.training.files import TRAIN_FILE
from tradewind.training.kto import Sides, balanced
from tradewind.training.outcome import JobError, bad_config
from tradewind.training.preflight import TokenizedSample, check_sides

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """A training from its first step to its last.

    Attributes:
        samples: of the training.
        steps: indices of the samples of each optimiser step.
        sft_steps: how many of them are sft, before KTO.
        sides: of KTO; None: sft alone.
        evaluation: the evaluation set in passes.
        longest: tokens of the longest sample, of the evaluation too.
        room_lengths: tokens for which the model must have room.
    """

    samples: Sequence[TokenizedSample]
    steps: Sequence[tuple[int, ...]]
    sft_steps: int
    sides: Sides | None
    evaluation: PlannedBatches
    longest: int
    room_lengths: Sequence[int]

    def training(self, rank: int, size: int) -> PlannedBatches:
        """The part of each step that one of several processes computes."""
        return PlannedBatches(self.samples, self.steps, self.sides is not None, rank, size)


def plan_of(config: TrainConfig, samples: Sequence[TokenizedSample], evaluated: Sequence[TokenizedSample]) -> Plan:
    """The plan that a configuration makes of these samples.

    Raises:
        JobError: exit 64 where an evaluation is waited for that there is not; exit 65 where there is nothing to learn from, or one of
            KTO's sides is missing; exit 66 where no sample fits.
    """
    settings, extra = config.hyperparameters, config.hyperparameters.extra
    epochs = float(settings.epochs)
    _check(config, samples, evaluated)
    sides = _sides(config, samples, evaluated)
    planned = partial(
        plan_training,
        samples,
        batch_size=settings.batch_size,
        seed=settings.seed,
        accumulation=settings.gradient_accumulation,
    )
    sft_share = {"sft": 1.0, "kto": 0.0, "sft-then-kto": float(config.kto.sft_share)}[config.objective]
    most = None if extra.max_steps is None else int(extra.max_steps)
    sft_most, kto_most = (None, None) if most is None else (round(most * sft_share), most - round(most * sft_share))
    sft = planned(epochs=epochs * sft_share, max_steps=sft_most, desirable=True)
    steps = sft + planned(epochs=epochs * (1 - sft_share), max_steps=kto_most, desirable=False)

    eval_lengths = [len(sample.input_ids) for sample in evaluated]
    passes = plan_batches(eval_lengths, batch_size=4 * settings.batch_size, epochs=1, seed=settings.seed)
    lengths = [len(sample.input_ids) for sample in samples] + eval_lengths
    room = list(lengths)
    if sides is not None:  # each prompt meets the completion of another sample
        both = [*samples, *evaluated]
        room.append(max(s.prompt_length for s in both) + max(s.supervised for s in both))
    evaluation = PlannedBatches(evaluated, passes, sides is not None)
    return Plan(samples, steps, len(sft), sides, evaluation, max(lengths), room)


def _check(config: TrainConfig, samples: Sequence[TokenizedSample], evaluated: Sequence[TokenizedSample]) -> None:
    patience = int(config.hyperparameters.extra.early_stopping_patience)
    if patience and not evaluated:
        remedy = "set it to 0, or dataset.split.evalFraction so that rows are kept for evaluation"
        message = f"{patience} evaluations are to be waited for, but there is no row to evaluate; {remedy}"
        raise bad_config("hyperparameters.extra.early_stopping_patience", message)
    if not samples:
        message = f"no sample of {config.dataset / TRAIN_FILE} fits hyperparameters.maxLength {config.hyperparameters.max_length}"
        raise JobError(ExitCode.PREFLIGHT, "TooLong", message)


def _sides(
    config: TrainConfig, samples: Sequence[TokenizedSample], evaluated: Sequence[TokenizedSample]
) -> Sides | None:
    if config.objective == "sft":
        if any(sample.desirable for sample in samples):
            return None
        message = (
            f"no sample of {config.dataset / TRAIN_FILE} is to be imitated; choose an objective of kto, or other data"
        )
        raise JobError(ExitCode.BAD_DATA, "EmptyDataset", message)
    good, bad = (
        None if value is None else float(value)
        for value in (config.kto.desirable_weight, config.kto.undesirable_weight)
    )
    check_sides(samples, evaluated, config.objective)
    sides = balanced(samples, beta=float(config.kto.beta), desirable=good, undesirable=bad)
    _logger.info("kto: weight %.4g of desirable, %.4g of undesirable samples", sides.desirable, sides.undesirable)
    return sides
