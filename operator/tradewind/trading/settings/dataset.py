"""Which logged decisions are taken, how they are split in time, and what is asked of them before anything is trained."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tradewind.schema.names import Symbol
from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import (
    Duration,
    Fraction,
    FractionBelowOne,
    PositiveDecimal,
    SinceOrTime,
    as_timedelta,
    cel_seconds,
)
from tradewind.trading.settings.labels import DatasetLabels


class DatasetSplit(StrictModel):
    """Split by time into training and evaluation rows."""

    eval_fraction: FractionBelowOne = "0.1"
    """Share of the newest rows that is kept for evaluation; 0: nothing is evaluated."""
    embargo: Duration = "24h"
    """Gap before the evaluation window; trades that overlap it are in neither side."""


class DatasetGates(StrictModel):
    """Conditions on the data, checked before any GPU second."""

    min_samples: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    """Rows; fewer end the run as Skipped."""
    min_per_class: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Rows of each label that is trained on."""
    min_desirable: Annotated[int, Field(ge=1, le=10_000_000)] = 150
    """Rows to imitate under an objective of kto; not asked for under sft."""
    min_undesirable: Annotated[int, Field(ge=1, le=10_000_000)] = 150
    """Rows of bad decisions under an objective of kto; not asked for under sft."""
    max_class_share: Fraction = "0.95"
    """Share of the most frequent label."""
    max_action_share: Fraction = "0.95"
    """Share of the most frequent action."""
    max_symbol_share: Fraction = "1"
    """Share of the most frequent symbol; 1 for an Endpoint of one symbol."""
    max_direction_share: Fraction = "0.95"
    """Share of the more frequent of long and short."""
    min_label_consistency: Fraction = "0.9"
    """Agreement of the label with a second rule; consistency, not accuracy."""
    min_reviewed_accuracy: Fraction = "0.9"
    """Share of labels that reviewers agree with; unknown until people have reviewed."""
    require_review: bool = False
    """Whether a run waits for reviews: an unknown accuracy then fails the gate."""
    min_json_validity: Fraction = "0.99"
    """Share of rows whose answer is a valid decision."""
    max_age: Duration | None = None
    """Age of the newest row at most; absent: not gated."""
    max_drift: PositiveDecimal | None = None
    """Population stability index against the dataset of the run before, of actions, labels, symbols or regimes; absent: not gated."""


def _window_is_open(selection: "Selection") -> bool:
    since, until = selection.since, selection.until
    if since is None or until is None or ("T" in since) != ("T" in until):
        return True  # a time and a length of time compare only once the run has started
    if "T" in since:
        return datetime.fromisoformat(since) < datetime.fromisoformat(until)
    return as_timedelta(since) > as_timedelta(until)


class Selection(StrictModel):
    """Which decisions of a log are taken, and how they become samples."""

    since: SinceOrTime | None = None
    """Oldest decision, a time or a length of time back; absent: from the beginning."""
    until: SinceOrTime | None = None
    """Newest decision, a time or a length of time back; absent: until now."""
    max_samples: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Rows at most, the newest first."""
    include_replay: bool = False
    """Whether decisions on recorded data are taken too."""
    dedupe: Literal["none", "exact", "near"] = "exact"
    """Which prompts count as the same and teach once: none, equal ones, or (near) also those whose numbers agree to three digits."""
    symbols: (
        Annotated[
            tuple[Symbol, ...],
            Field(min_length=1, max_length=256, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Symbols that are taken; absent: all."""
    labels: DatasetLabels = DatasetLabels()
    """How closed trades become samples."""
    split: DatasetSplit = DatasetSplit()
    """Split by time."""
    gates: DatasetGates = DatasetGates()
    """Conditions on the data."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.since) || !has(self.until) || self.since.contains('T') != self.until.contains('T') || "
            "(self.since.contains('T') ? timestamp(self.since) < timestamp(self.until) : "
            f"{cel_seconds('self.since')} > {cel_seconds('self.until')})",
            _window_is_open,
            "dataset.since must lie before dataset.until",
            "since",
        ),
    )
