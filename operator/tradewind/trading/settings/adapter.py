"""The adapter that is trained."""

from typing import Annotated, ClassVar, Final

from pydantic import Field

from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import FractionBelowOne, Identifier

ALL_LINEAR: Final = "all-linear"


class Lora(StrictModel):
    """The low-rank adapter."""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    """Rank r of the update."""
    alpha: Annotated[int, Field(ge=1, le=1024)] = 32
    """Scale: the update counts alpha / rank."""
    dropout: FractionBelowOne = "0.1"
    """Dropout on the adapter's input."""
    target_modules: Annotated[
        tuple[Identifier, ...],
        Field(min_length=1, max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Modules that get an adapter; `all-linear` for every linear layer."""
    dora: bool = False
    """Whether magnitude and direction are learned apart (DoRA)."""
    rslora: bool = False
    """Whether the update counts alpha / sqrt(rank) (rsLoRA)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!has(self.targetModules) || self.targetModules.size() == 1 || !('{ALL_LINEAR}' in self.targetModules)",
            lambda s: len(s.target_modules) == 1 or ALL_LINEAR not in s.target_modules,
            "all-linear stands alone; leave the other names out",
            "targetModules",
        ),
    )
