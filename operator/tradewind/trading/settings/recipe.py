"""How an adapter is trained: what a TrainingRun asks for and what its Job is told are this one model."""

from typing import ClassVar, Literal

from tradewind.schema.rules import Rule, StrictModel
from tradewind.trading.settings.adapter import Lora
from tradewind.trading.settings.hyperparameters import Checkpoint, Hyperparameters


class Recipe(StrictModel):
    """Method, objective and knobs of a training."""

    method: Literal["auto", "lora", "qlora"] = "auto"
    """auto: the trainer measures memory and picks; the choice and the reason stand in status.plan."""
    lora: Lora = Lora()
    """The low-rank adapter."""
    objective: Literal["sft", "kto", "sft-then-kto"] = "sft"
    """sft imitates good decisions; kto also learns from bad ones."""
    hyperparameters: Hyperparameters = Hyperparameters()
    """Knobs of the optimiser."""
    checkpoint: Checkpoint = Checkpoint()
    """Checkpoints that a run resumes from."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.objective) || self.objective == 'sft'",
            lambda s: s.objective == "sft",
            "an objective of kto or sft-then-kto is not supported yet; use sft",
            "objective",
        ),
    )
