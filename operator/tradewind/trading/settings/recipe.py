"""How an adapter is trained: what a TrainingRun asks for and what its Job is told are this one model."""

from typing import ClassVar, Literal

from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import FractionBelowOne, PositiveDecimal
from tradewind.trading.settings.adapter import Lora
from tradewind.trading.settings.hyperparameters import Checkpoint, Hyperparameters

Objective = Literal["sft", "kto", "sft-then-kto"]
Strategy = Literal["auto", "ddp", "fsdp"]


class Kto(StrictModel):
    """Knobs of `objective: kto` and of the second part of `sft-then-kto`; nothing else reads them."""

    beta: PositiveDecimal = "0.1"
    """How strongly the adapter is held to the model that it started from."""
    desirable_weight: PositiveDecimal | None = None
    """How much good decisions count beside bad ones; absent: as many as balance the two sides."""
    undesirable_weight: PositiveDecimal | None = None
    """How much bad decisions count beside good ones; absent: as many as balance the two sides."""
    sft_share: FractionBelowOne = "0.5"
    """Share of hyperparameters.epochs that `sft-then-kto` spends on sft."""


class Recipe(StrictModel):
    """Method, objective and knobs of a training."""

    method: Literal["auto", "lora", "qlora"] = "auto"
    """auto: the trainer measures memory and picks; the choice and the reason stand in status.plan."""
    lora: Lora = Lora()
    """The low-rank adapter."""
    objective: Objective = "sft"
    """sft imitates good decisions; kto also learns from bad ones; sft-then-kto does one after the other."""
    kto: Kto = Kto()
    """Knobs of kto."""
    hyperparameters: Hyperparameters = Hyperparameters()
    """Knobs of the optimiser."""
    checkpoint: Checkpoint = Checkpoint()
    """Checkpoints that a run resumes from."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.objective) || self.objective == 'sft' || !has(self.hyperparameters) || "
            "!has(self.hyperparameters.batchSize) || !has(self.hyperparameters.gradientAccumulation) || "
            "self.hyperparameters.batchSize > 1 || self.hyperparameters.gradientAccumulation > 1",
            lambda s: (
                s.objective == "sft" or s.hyperparameters.batch_size * s.hyperparameters.gradient_accumulation > 1
            ),
            "kto holds the samples of a step against each other: raise hyperparameters.batchSize or "
            "gradientAccumulation so that a step has two samples or more",
            "objective",
        ),
    )
