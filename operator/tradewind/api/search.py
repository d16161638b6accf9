"""Search of a TrainingSchedule: settings that its runs try, and what came of them.

Belongs here: the fields and the rules across them. Does not belong here: which setting comes next (core/training_schedule/search.py).
"""

import math
from typing import Annotated, ClassVar, Final, TypeVar

from pydantic import Field

from tradewind.schema.rules import Rule, StatusModel, StrictModel
from tradewind.schema.scalars import Count, Fraction, FractionBelowOne, PositiveDecimal, Text64, Text256, Timestamp
from tradewind.trading.settings.hyperparameters import Epochs, Number

MOST_SETTINGS: Final = 256
"""Settings that a space may have: more than anybody tries."""
MOST_TRIALS: Final = 52
"""Runs that a status keeps: a year of weeks."""

V = TypeVar("V")
Values = Annotated[
    tuple[V, ...], Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
]
"""What is tried of one knob."""


class SearchSpace(StrictModel):
    """What is tried of each knob; one that is left out stays as the template has it. Every combination is a setting."""

    learning_rate: Values[PositiveDecimal] | None = None
    """hyperparameters.learningRate."""
    epochs: Values[Epochs] | None = None
    """hyperparameters.epochs."""
    warmup_steps: Values[Annotated[int, Field(ge=0, le=1_000_000)]] | None = None
    """hyperparameters.warmupSteps."""
    weight_decay: Values[Number] | None = None
    """hyperparameters.extra.weight_decay."""
    neftune_noise_alpha: Values[Number] | None = None
    """hyperparameters.extra.neftune_noise_alpha."""
    rank: Values[Annotated[int, Field(ge=1, le=512)]] | None = None
    """lora.rank."""
    alpha: Values[Annotated[int, Field(ge=1, le=1024)]] | None = None
    """lora.alpha; where it is left out, it stays while the rank changes, and the update counts alpha / rank."""
    dropout: Values[FractionBelowOne] | None = None
    """lora.dropout."""

    @property
    def settings(self) -> int:
        """How many combinations there are."""
        return math.prod(len(values) for _, values in self if values is not None)


_SIZES: Final = " * ".join(
    f"(has(self.over.{name}) ? self.over.{name}.size() : 1)"
    for name in (field.alias or "" for field in SearchSpace.model_fields.values())
)


class Search(StrictModel):
    """Which setting each run has: mostly the best of the last runs by what they gained on rows they were not trained on."""

    over: SearchSpace
    """What is tried."""
    window: Annotated[int, Field(ge=1, le=MOST_TRIALS)] = 8
    """Newest runs that are compared."""
    explore: Fraction = "0.3"
    """Share of the runs that try what was tried least of late."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"{_SIZES} > 1 && {_SIZES} <= {MOST_SETTINGS}",
            lambda s: 1 < s.over.settings <= MOST_SETTINGS,
            f"search.over must have 2 to {MOST_SETTINGS} combinations: name values of a knob, or fewer of them",
            "over",
        ),
    )


class Trial(StatusModel):
    """A finished run of the search."""

    run: Text256
    """Its name."""
    time: Timestamp | None = None
    """When it ended."""
    settings: Annotated[dict[str, Text64], Field(max_length=16)] = Field(default_factory=dict)
    """What it was trained with."""
    outcome: Text64 = ""
    """Succeeded, or why it failed, where that is the setting's fault: Diverged, OutOfMemory."""
    gain: float | None = None
    """1 - evalLoss / baseEvalLoss: the share of the base model's loss that is gone; absent: it failed."""
    template: Text64 = ""
    """Hash of the rest of the template: of another one it is no measure."""


class BestSetting(StatusModel):
    """The setting with the highest mean gain in the window; one that does not gain is none."""

    settings: Annotated[dict[str, Text64], Field(max_length=16)] = Field(default_factory=dict)
    """Its values."""
    gain: float | None = None
    """Mean of its runs."""
    runs: Count | None = None
    """How many runs in the window had it."""


class SearchStatus(StatusModel):
    """What the search has seen."""

    trials: Annotated[tuple[Trial, ...], Field(max_length=MOST_TRIALS)] = ()
    """Finished runs, the newest last; they stay here when the runs are deleted."""
    best: BestSetting | None = None
    """What the next run has that does not explore; absent: nothing has gained yet."""
