"""How closed trades are labelled, and how much each label counts in training."""

from typing import Annotated, ClassVar

from tradewind.schema.checked import Checked
from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import Fraction

SampleWeight = Annotated[
    str,
    Checked(
        "0*(100([.]0{1,9})?|[0-9]{1,2}([.][0-9]{1,9})?)", "must be a weight from 0 to 100 in quotes, such as '1.5'", 24
    ),
]
"""How much a sample counts in the loss beside others; 0: not at all."""


class LabelThresholds(StrictModel):
    """Bounds of the labels, as fractions of `size_usd`."""

    excellent: Fraction = "0.05"
    """Above this gain a decision is excellent."""
    bad: Fraction = "0.03"
    """Beyond this loss a decision is bad; a smaller loss is acceptable."""


class LabelWeights(StrictModel):
    """How much a decision of each label counts in training. Bad decisions are never imitated; kto learns to avoid them."""

    excellent: SampleWeight = "1.5"
    """Gains above labels.thresholds.excellent."""
    good: SampleWeight = "1.0"
    """Smaller gains."""
    acceptable_loss: SampleWeight = "0.3"
    """Losses within labels.thresholds.bad: a sound decision, unlucky."""
    bad: SampleWeight = "1.0"
    """Larger losses, which an objective of kto learns to avoid; sft leaves them out."""


class DatasetLabels(StrictModel):
    """How closed trades become training samples."""

    thresholds: LabelThresholds = LabelThresholds()
    """Bounds of the labels, as fractions of `size_usd`."""
    weights: LabelWeights = LabelWeights()
    """How much a decision of each label counts."""
    counterfactual_holds: bool = False
    """Whether a losing trade enters also as `hold` on the same input: holding earned 0, which was better."""
    hold_weight: SampleWeight = "0.5"
    """Weight of holds, logged or counterfactual."""
    return_exponent: Fraction = "0"
    """How far a trade's weight follows its net return: times (return / its symbol's median) to this power, from 1/2 to 2; 0: not."""
    paper: bool = False
    """Whether paper results of the arm that was asked beside the drawn one teach as well: its own answer, and whether a hold was right."""
    paper_weight: Fraction | None = None
    """What a paper result counts beside a real one of the same label, from 0 to 1; absent: 0.5."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.paperWeight) || (has(self.paper) && self.paper)",
            lambda s: s.paper_weight is None or s.paper,
            "labels.paperWeight counts only with labels.paper: set labels.paper to true, or leave labels.paperWeight out",
            "paperWeight",
        ),
    )
