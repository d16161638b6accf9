"""TrainingRun: one training of an adapter on a snapshot of an Endpoint's labelled decisions.

Belongs here: the fields of the kind and the rules across them. Does not belong here: what the operator does with them.
"""

from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from tradewind.api.common import BaseModelRef, Resource, ResourceRequirements, Toleration
from tradewind.api.evaluation import Evaluation
from tradewind.api.model_version import Serving
from tradewind.api.placement import PriorityClassName
from tradewind.api.training_run_status import TrainingRunStatus
from tradewind.schema.rules import Immutable, Rule, StrictModel
from tradewind.schema.scalars import (
    DecimalText,
    Duration,
    Labels,
    Name,
    Sha256,
    StorageURI,
    as_timedelta,
    cel_seconds,
)
from tradewind.trading.settings.dataset import Selection
from tradewind.trading.settings.recipe import Recipe, Strategy
from tradewind.trading.settings.stores import StoredURI, one_service_account

ZERO: Final = timedelta(0)


class DatasetSource(StoredURI):
    """Where the data comes from."""

    endpoint: Name | None = None
    """Endpoint whose closed trades are taken."""
    uri: StorageURI | None = None
    """Folder with train.jsonl, eval.jsonl and manifest.json, as a snapshot makes it."""
    sha256: Sha256 | None = None
    """Hash of that folder's data; absent: what the manifest says."""


class Dataset(Selection, DatasetSource):  # the fields of the last base are listed first
    """What is trained on: a snapshot of an Endpoint's decisions, or files that are there already."""

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


class Output(StoredURI):
    """Where the run writes."""

    uri: StorageURI
    """Folder; the run writes into a folder of its own name under it."""
    merged: bool = False
    """Whether the base model with the adapter merged in is written beside it, in the folder `merged`: a whole model for other
    servers. The trainer then needs memory for the base model once more."""


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


class TrainingSource(StrictModel):
    """What is trained, and where the result goes."""

    base_model: BaseModelRef
    """The pretrained model."""
    dataset: Dataset
    """What is trained on."""
    output: Output
    """Where the run writes."""
    warm_start_from: Name | None = None
    """ModelVersion whose adapter training starts from; absent: a fresh adapter."""

    rules: ClassVar[tuple[Rule, ...]] = (
        one_service_account("baseModel.store", "output.store", lambda s: (s.base_model.store, s.output.store)),
        one_service_account("dataset.store", "output.store", lambda s: (s.dataset.store, s.output.store)),
        one_service_account("baseModel.store", "dataset.store", lambda s: (s.base_model.store, s.dataset.store)),
    )


class TrainingRunSpec(Recipe, TrainingSource):  # the fields of the last base are listed first
    """What the user wants of a TrainingRun."""

    model_version: ModelVersionTemplate = ModelVersionTemplate()
    """The ModelVersion that the run registers."""
    resources: ResourceRequirements = ResourceRequirements()
    """Requests and limits of a trainer pod, of each where there are several."""
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] = Field(
        default_factory=dict
    )
    """Labels of the nodes that trainer pods run on."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = ()
    """Taints that trainer pods tolerate."""
    num_nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Pods that train together, each with one GPU or the CPU: every step's samples are shared out, and the step is that of one pod."""
    strategy: Strategy = "auto"
    """How several pods hold the base: ddp, each all of it; fsdp, each a share, and layers are put together as they compute; auto: ddp
    wherever one pod can hold it. The choice and the reason stand in status.plan."""
    queue_name: Name | None = None
    """Kueue LocalQueue; absent: the run starts at once."""
    priority_class_name: PriorityClassName | None = None
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

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.numNodes) || !has(self.hyperparameters) || "
            "(self.hyperparameters.batchSize * self.hyperparameters.gradientAccumulation) % self.numNodes == 0",
            lambda s: s.hyperparameters.batch_size * s.hyperparameters.gradient_accumulation % s.num_nodes == 0,
            "hyperparameters.batchSize times gradientAccumulation must be a multiple of numNodes: each node has as many samples of a "
            "step; change one of the three",
            "numNodes",
        ),
        Rule(
            "!has(self.strategy) || self.strategy != 'fsdp' || (has(self.numNodes) && self.numNodes > 1)",
            lambda s: s.strategy != "fsdp" or s.num_nodes > 1,
            "strategy fsdp shares the base out among pods: set numNodes to 2 or more, or leave strategy out",
            "strategy",
        ),
        Rule(
            "!has(self.strategy) || self.strategy != 'fsdp' || !has(self.method) || self.method != 'qlora'",
            lambda s: s.strategy != "fsdp" or s.method != "qlora",
            "strategy fsdp shares out weights of two bytes or more, and method qlora holds them in four bits: use method lora, or strategy ddp",
            "strategy",
        ),
        Rule(
            "!has(self.numNodes) || self.numNodes <= 10 || !has(self.retry) || "
            "self.retry.maxFailures + self.retry.maxInterruptions <= 998",
            lambda s: s.num_nodes <= 10 or s.retry.max_failures + s.retry.max_interruptions <= 998,
            "with numNodes above 10, retry.maxFailures and retry.maxInterruptions must be 998 together at most: the host name of a pod "
            "has no room for a longer number of its attempt",
            "retry",
        ),
        Rule(
            f"!has(self.activeDeadline) || ({cel_seconds('self.activeDeadline')} > 0 && "
            f"{cel_seconds('self.activeDeadline')} <= 31536000)",
            lambda s: s.active_deadline is None or ZERO < as_timedelta(s.active_deadline) <= timedelta(days=365),
            "activeDeadline must be above 0s and up to 365d; leave it out for none",
            "activeDeadline",
        ),
        Rule(
            f"!has(self.stallTimeout) || {cel_seconds('self.stallTimeout')} > 0",
            lambda s: as_timedelta(s.stall_timeout) > ZERO,
            "stallTimeout must be above 0s",
            "stallTimeout",
        ),
    )
    immutable: ClassVar[Immutable | None] = Immutable(
        "create a new TrainingRun; only suspend can change", mutable=frozenset({"suspend"})
    )


class TrainingRun(Resource):
    """One training of an adapter on a snapshot of an Endpoint's labelled decisions."""

    kind: Literal["TrainingRun"] = "TrainingRun"
    spec: TrainingRunSpec
    status: TrainingRunStatus = TrainingRunStatus()
