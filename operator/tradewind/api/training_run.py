"""TrainingRun: one training of an adapter on a snapshot of an Endpoint's labelled decisions.

Belongs here: the fields of the kind and the rules across them. Does not belong here: what the operator does with them.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tradewind.api.common import BaseModelRef, LabelThresholds, Resource, ResourceRequirements, Toleration
from tradewind.api.model_version import Evaluation, Serving
from tradewind.api.training_run_status import TrainingRunStatus
from tradewind.schema.rules import Immutable, Rule, StrictModel
from tradewind.schema.scalars import (
    DecimalText,
    Duration,
    Fraction,
    Identifier,
    Labels,
    Name,
    PositiveDecimal,
    Probability,
    Sha256,
    SinceOrTime,
    StorageURI,
    Symbol,
)


class LabelWeights(StrictModel):
    """How much a decision of each label counts in training. Bad decisions are never imitated."""

    excellent: DecimalText = "1.5"
    """Gains above labels.thresholds.excellent."""
    good: DecimalText = "1.0"
    """Smaller gains."""
    acceptable_loss: DecimalText = "0.3"
    """Losses within labels.thresholds.bad: a sound decision, unlucky."""


class DatasetLabels(StrictModel):
    """How closed trades become training samples."""

    thresholds: LabelThresholds = LabelThresholds()
    """Bounds of the labels, as fractions of `size_usd`."""
    weights: LabelWeights = LabelWeights()
    """How much a decision of each label counts."""
    counterfactual_holds: bool = False
    """Whether a losing trade enters also as `hold` on the same input: holding earned 0, which was better."""
    hold_weight: DecimalText = "0.5"
    """Weight of holds, logged or counterfactual."""


class DatasetSplit(StrictModel):
    """Split by time into training and evaluation rows."""

    eval_fraction: Probability = "0.1"
    """Share of the newest rows that is kept for evaluation."""
    embargo: Duration = "24h"
    """Gap before the evaluation window; trades that overlap it are in neither side."""


class DatasetGates(StrictModel):
    """Conditions on the data, checked before any GPU second."""

    min_samples: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    """Rows; fewer end the run as Skipped."""
    min_per_class: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Rows of each label that is trained on."""
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


class Dataset(StrictModel):
    """What is trained on: a snapshot of an Endpoint's decisions, or files that are there already."""

    endpoint: Name | None = None
    """Endpoint whose closed trades are taken."""
    since: SinceOrTime | None = None
    """Oldest decision, a time or a length of time back; absent: from the beginning."""
    until: SinceOrTime | None = None
    """Newest decision, a time or a length of time back; absent: until now."""
    uri: StorageURI | None = None
    """Folder with train.jsonl, eval.jsonl and manifest.json, as a snapshot makes it."""
    sha256: Sha256 | None = None
    """Hash of that folder's data; absent: what the manifest says."""
    max_samples: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Rows at most, the newest first."""
    include_replay: bool = False
    """Whether decisions on recorded data are taken too."""
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
            "has(self.endpoint) != has(self.uri)",
            lambda s: (s.endpoint is None) != (s.uri is None),
            "exactly one of dataset.endpoint and dataset.uri must be set",
        ),
        Rule(
            "!has(self.uri) || (!has(self.since) && !has(self.until))",
            lambda s: s.uri is None or (s.since is None and s.until is None),
            "dataset.since and dataset.until choose an endpoint's decisions: leave them out with dataset.uri",
            "since",
        ),
        Rule(
            "!has(self.sha256) || has(self.uri)",
            lambda s: s.sha256 is None or s.uri is not None,
            "dataset.sha256 is the hash of dataset.uri: leave it out with dataset.endpoint",
            "sha256",
        ),
    )


class Lora(StrictModel):
    """The low-rank adapter."""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    """Rank r of the update."""
    alpha: Annotated[int, Field(ge=1, le=1024)] = 32
    """Scale: the update counts alpha / rank."""
    dropout: Fraction = "0.1"
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


class Hyperparameters(StrictModel):
    """Knobs of the optimiser."""

    epochs: PositiveDecimal = "3"
    """Passes over the data; fractions are allowed."""
    learning_rate: PositiveDecimal = "0.0002"
    """Peak learning rate."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 4
    """Samples of one forward pass on one GPU."""
    gradient_accumulation: Annotated[int, Field(ge=1, le=1024)] = 4
    """Forward passes of one optimiser step."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    """Steps until the learning rate has its peak."""
    max_length: Annotated[int, Field(ge=64, le=131_072)] = 2048
    """Tokens of a sample at most; longer ones are counted, not cut."""
    eval_every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Steps between evaluations."""
    save_every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Steps between checkpoints."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 42
    """Seed of every random choice."""
    extra: Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """Further arguments of the trainer (transformers TrainingArguments), values as text."""


class Checkpoint(StrictModel):
    """Checkpoints that a run resumes from."""

    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """Checkpoints that are kept."""
    resume: bool = True
    """Whether a new attempt resumes from the newest checkpoint that verifies."""


class Output(StrictModel):
    """Where the run writes."""

    uri: StorageURI
    """Folder; the run writes into a folder of its own name under it."""


class ModelVersionTemplate(StrictModel):
    """The ModelVersion that the run registers."""

    name: Name | None = None
    """Name; absent: the run's name."""
    labels: Labels = Field(default_factory=dict)
    """Labels of the ModelVersion."""
    serving: Serving = Serving()
    """How the version is served."""
    evaluation: Evaluation = Evaluation()
    """What the version must show before it takes traffic."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.name) || self.name.size() <= 50",
            lambda s: s.name is None or len(s.name) <= 50,
            "modelVersion.name must be at most 50 characters",
            "name",
        ),
    )


class RetryPolicy(StrictModel):
    """How often a run is tried again. A retry resumes from the newest checkpoint."""

    max_failures: Annotated[int, Field(ge=0, le=100)] = 2
    """Failed attempts that are retried."""
    max_interruptions: Annotated[int, Field(ge=0, le=1000)] = 20
    """Interrupted attempts (preemption, node loss) that are retried; they cost no failure."""


class TrainingCosts(StrictModel):
    """Prices for status.costCNY."""

    gpu_hour_cny: DecimalText | None = None
    """Price of one GPU for an hour in CNY."""


class TrainingRunSpec(StrictModel):
    """What the user wants of a TrainingRun."""

    base_model: BaseModelRef
    """The pretrained model."""
    dataset: Dataset
    """What is trained on."""
    output: Output
    """Where the run writes."""
    warm_start_from: Name | None = None
    """ModelVersion whose adapter training starts from; absent: a fresh adapter."""
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
    model_version: ModelVersionTemplate = ModelVersionTemplate()
    """The ModelVersion that the run registers."""
    resources: ResourceRequirements = ResourceRequirements()
    """Requests and limits of a trainer pod."""
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] = Field(
        default_factory=dict
    )
    """Labels of the nodes that trainer pods run on."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = ()
    """Taints that trainer pods tolerate."""
    num_nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Pods that train together."""
    queue_name: Name | None = None
    """Kueue LocalQueue; absent: the run starts at once."""
    priority_class_name: Identifier | None = None
    """PriorityClass of the trainer pods."""
    suspend: bool = False
    """true stops the run after a checkpoint, false goes on from there."""
    active_deadline: Duration | None = None
    """Longest time of one attempt; absent: none."""
    stall_timeout: Duration = "10m"
    """Time without progress after which the condition Stalled is True."""
    retry: RetryPolicy = RetryPolicy()
    """How often the run is tried again."""
    costs: TrainingCosts = TrainingCosts()
    """Prices for status.costCNY."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """Seconds after which the finished run's Jobs are deleted; absent: never. The ModelVersion stays."""

    immutable: ClassVar[Immutable | None] = Immutable(
        "create a new TrainingRun; only suspend can change", mutable=frozenset({"suspend"})
    )


class TrainingRun(Resource):
    """One training of an adapter on a snapshot of an Endpoint's labelled decisions."""

    kind: Literal["TrainingRun"] = "TrainingRun"
    spec: TrainingRunSpec
    status: TrainingRunStatus = TrainingRunStatus()
