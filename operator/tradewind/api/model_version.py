"""ModelVersion: something that answers decisions: an adapter, a whole model, or an external API.

Belongs here: the fields of the kind and the rules across them. Does not belong here: what the operator does with them.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tradewind.api.common import (
    BaseModelRef,
    CommonStatus,
    ObjectStatusRef,
    Resource,
    ResourceRequirements,
    Toleration,
)
from tradewind.api.evaluation import Evaluation, EvaluationStatus
from tradewind.api.external_model import ExternalModel
from tradewind.api.placement import PredictorAutoscaling
from tradewind.schema.bounds import ARM_TIMEOUT, RETIRE_AFTER, Within
from tradewind.schema.rules import Immutable, Rule, StatusModel, StrictModel
from tradewind.schema.scalars import (
    AdapterURI,
    Count,
    Duration,
    Latency,
    Name,
    Quantity,
    Sha256,
    Share,
    StorageURI,
    Text64,
    Text128,
    Text256,
    Text1024,
    Timestamp,
)
from tradewind.trading.evidence import LatencyObjective
from tradewind.trading.settings.stores import StoredURI, one_service_account


class ModelVersionPhase(StrEnum):
    """For display only."""

    PENDING = "Pending"
    VERIFYING = "Verifying"
    EVALUATING = "Evaluating"
    READY = "Ready"
    DEGRADED = "Degraded"
    RETIRED = "Retired"
    FAILED = "Failed"
    INVALID = "Invalid"


class Stage(StrEnum):
    """Role of the version, computed from the Endpoints."""

    CANDIDATE = "Candidate"
    CHAMPION = "Champion"
    RETIRED = "Retired"


class Adapter(StoredURI):
    """A LoRA adapter on a base model."""

    uri: AdapterURI
    """Folder with the adapter's safetensors, tokenizer and SHA256SUMS."""
    sha256: Sha256
    """Hash of the folder: SHA-256 over the lines of its SHA256SUMS."""
    base_model: BaseModelRef
    """The model that the adapter was trained on."""
    training_run: Name | None = None
    """TrainingRun that made it, for the record."""

    rules: ClassVar[tuple[Rule, ...]] = (
        one_service_account("store", "baseModel.store", lambda s: (s.store, s.base_model.store)),
    )


class WholeModel(StoredURI):
    """A model without adapter: a merged one or a base."""

    uri: StorageURI
    """Folder with the model's safetensors, config and tokenizer."""
    sha256: Sha256
    """Hash of the folder: SHA-256 over the lines of its SHA256SUMS."""


class Serving(StrictModel):
    """How the version is served. Without meaning for an external API."""

    runtime: Literal["tradewind", "huggingface"] = "tradewind"
    """tradewind: our own predictor. huggingface: plain vLLM, which knows no attention, decoding, merge and maxQueue."""
    replicas: Annotated[int, Field(ge=1, le=50)] = 1
    """Pods of the predictor. Without meaning where autoscaling is set."""
    autoscaling: PredictorAutoscaling | None = None
    """Pods by their load; absent: `replicas`. Where the cluster has no metrics server such a version is not served."""
    resources: ResourceRequirements = ResourceRequirements()
    """Requests and limits of a predictor pod."""
    shared_memory: Quantity | None = None
    """Most of /dev/shm, by which the processes of runtime huggingface talk, such as 8Gi for several GPUs; it counts as the pod's
    memory. Absent: as much as that allows."""
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] = Field(
        default_factory=dict
    )
    """Labels of the nodes that predictor pods run on."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = ()
    """Taints that predictor pods tolerate."""
    quantization: Literal["none", "int8", "int4"] = "none"
    """Weights as they are, or those of linear layers in 8 or 4 bits, quantised while loading, after the merge. Embeddings and head
    stay as they are."""
    min_agreement: Share = "0.99"
    """Share of decisions on a probe of prompts that quantised weights must leave as they were, in every field; a predictor that
    finds fewer does not serve."""
    merge: bool = True
    """Whether the adapter is merged into the base while loading; merged weights answer faster. Runtime huggingface never merges."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Numbers that the weights are kept in; auto: float32 on a CPU, bfloat16 on a GPU that has it, else float16."""
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    """How attention is computed; auto: sdpa, or eager where the model has no sdpa."""
    base_mismatch: Literal["refuse", "allow"] = "refuse"
    """What is done with an adapter that says that it was trained on another base than the one that lies there. allow: it is
    served, and nothing says any more that it answers as it was trained."""
    decoding: Literal["greedy", "scored"] = "scored"
    """greedy: token by token under the grammar. scored: each field's values scored whole. Runtime huggingface is always greedy."""
    reasoning: Literal["none", "brief", "full"] = "none"
    """How much prose follows the decision."""
    max_queue: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Requests that wait at most; more get 503 with Retry-After. Runtime huggingface bounds nothing."""
    timeout: Annotated[Latency, Within(ARM_TIMEOUT, latency=True)] = "2s"
    """How long the gateway waits for an answer."""
    latency_objective: LatencyObjective = LatencyObjective()
    """The latency that answers should keep."""
    retire_after: Annotated[Duration, Within(RETIRE_AFTER, latency=False)] = "7d"
    """How long pods stay once no Endpoint and no experiment needs the version; who needs it later starts them again. The champion
    before counts from when another took its place, so that a rollback is at once for as long."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.runtime) || self.runtime == 'tradewind' || !has(self.reasoning) || self.reasoning == 'none'",
            lambda s: s.runtime == "tradewind" or s.reasoning == "none",
            "serving.reasoning is not written by runtime huggingface; use none, or runtime tradewind",
            "reasoning",
        ),
        Rule(
            "!has(self.autoscaling) || (has(self.resources) && "
            "((has(self.resources.requests) && 'cpu' in self.resources.requests) || "
            "(has(self.resources.limits) && 'cpu' in self.resources.limits)))",
            lambda s: s.autoscaling is None or "cpu" in {*s.resources.requests, *s.resources.limits},
            "serving.autoscaling goes by the share of the requested CPU: set serving.resources.requests.cpu, such as 2",
            "resources",
        ),
        Rule(
            "!has(self.sharedMemory) || (has(self.runtime) && self.runtime == 'huggingface')",
            lambda s: s.shared_memory is None or s.runtime == "huggingface",
            "serving.sharedMemory is of runtime huggingface: our predictor is one process; leave it out",
            "sharedMemory",
        ),
        Rule(
            "!has(self.attention) || self.attention == 'auto' || !has(self.runtime) || self.runtime == 'tradewind'",
            lambda s: s.attention == "auto" or s.runtime == "tradewind",
            "serving.attention is chosen by vLLM itself under runtime huggingface; use auto, or runtime tradewind",
            "attention",
        ),
        Rule(
            "!has(self.quantization) || self.quantization == 'none' || !has(self.runtime) || self.runtime == 'tradewind'",
            lambda s: s.quantization == "none" or s.runtime == "tradewind",
            "serving.quantization is measured against the weights as they are, which runtime huggingface cannot do; use none, or runtime"
            " tradewind",
            "quantization",
        ),
        Rule(
            "!has(self.quantization) || self.quantization == 'none' || !has(self.merge) || self.merge",
            lambda s: s.quantization == "none" or s.merge,
            "serving.quantization takes an adapter merged into the base; use merge true, or quantization none",
            "quantization",
        ),
    )


class ModelVersionSpec(StrictModel):
    """What the user wants of a ModelVersion."""

    adapter: Adapter | None = None
    """A LoRA adapter on a base model."""
    model: WholeModel | None = None
    """A model without adapter."""
    external: ExternalModel | None = None
    """A model behind somebody else's API."""
    serving: Serving = Serving()
    """How the version is served."""
    evaluation: Evaluation = Evaluation()
    """What the version must show before it takes traffic."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.adapter), has(self.model), has(self.external)].exists_one(x, x)",
            lambda s: sum(part is not None for part in (s.adapter, s.model, s.external)) == 1,
            "exactly one of adapter, model and external must be set",
        ),
    )
    immutable: ClassVar[Immutable | None] = Immutable("create a new ModelVersion and start an ABExperiment with it")


class LatencyAt(StatusModel):
    """Benchmark at one number of concurrent requests."""

    concurrency: Count
    """Concurrent requests."""
    p50_ms: float | None = None
    """Median latency."""
    p99_ms: float | None = None
    """99th percentile of the latency."""
    decisions_per_second: float | None = None
    """Throughput."""


class BenchmarkStatus(StatusModel):
    """Speed and validity of the served version."""

    p50_ms: float | None = None
    """Median latency, one request at a time."""
    p99_ms: float | None = None
    """99th percentile of the latency, one request at a time."""
    decisions_per_second: float | None = None
    """Best throughput."""
    valid: float | None = None
    """Share of answers that were valid decisions."""
    requests: Count | None = None
    """Requests that were sent."""
    at: Annotated[tuple[LatencyAt, ...], Field(max_length=8)] = ()
    """The same at each number of concurrent requests."""
    completed_time: Timestamp | None = None
    """When it was measured."""


class MemoryBytes(StatusModel):
    """Bytes of the weights, embeddings and head included."""

    before: Count | None = None
    """As they are."""
    after: Count | None = None
    """Quantised."""


class QuantizationStatus(StatusModel):
    """Quantised weights against the same weights as they are, as the predictor measured them when it loaded."""

    bits: Count | None = None
    """Of a weight of a linear layer."""
    agreement: float | None = None
    """Share of decisions of the probe that stayed the same, in every field."""
    action_agreement: float | None = None
    """Share of them whose action stayed the same."""
    probability_difference: float | None = None
    """Largest difference of an action's probability."""
    probe: Text64 | None = None
    """Where its prompts are from: artifact, the folder's probe.jsonl; generated, made-up ones."""
    probe_rows: Count | None = None
    """Its prompts."""
    memory_bytes: MemoryBytes | None = None
    """What the weights take."""


class ServingStatus(StatusModel):
    """How the version is served, as its predictor says."""

    quantization: QuantizationStatus | None = None
    """Of quantised weights; absent: they are as they are."""


class Provenance(StatusModel):
    """Where the version comes from and with what it is served, pinned at first Ready."""

    training_run: ObjectStatusRef | None = None
    """TrainingRun that made it."""
    base_model: Text1024 | None = None
    """URI of the base model."""
    base_revision: Text128 | None = None
    """Revision of the base model."""
    dataset_sha256: Text64 | None = None
    """Hash of the training data."""
    watermark: Timestamp | None = None
    """Newest decision of the training data."""
    image: Text1024 | None = None
    """Image with digest that serves it."""
    template_hash: Text64 | None = None
    """Hash of the rendered serving template."""
    torch: Text64 | None = None
    """Version of torch that serves it."""


class ServingImages(StatusModel):
    """Images that the pods of a version are made of, as references."""

    predictor: Text1024
    """Of our predictor; beside vLLM, of the container that verifies."""
    vllm: Text1024 | None = None
    """Of vLLM; absent: our predictor serves."""


class ModelVersionStatus(CommonStatus):
    """What the operator sees of a ModelVersion."""

    phase: ModelVersionPhase | None = None
    """For display only; the condition Ready decides."""
    stage: Stage | None = None
    """Role of the version, computed from the Endpoints."""
    url: Text1024 | None = None
    """Where the version is asked."""
    sha256: Text64 | None = None
    """Hash of what is served, verified by the predictor."""
    in_use_by: Annotated[tuple[Text256, ...], Field(max_length=32)] = ()
    """Endpoints and experiments that need the version (Kind/name)."""
    benchmark: BenchmarkStatus | None = None
    """Speed and validity of the served version."""
    evaluation: EvaluationStatus | None = None
    """What the version showed."""
    serving: ServingStatus | None = None
    """How it is served, as the predictor said when it was measured."""
    provenance: Provenance | None = None
    """Where it comes from and with what it is served."""
    attempts: Count | None = None
    """Benchmark Jobs that were started."""
    images: ServingImages | None = None
    """What serves it. While it is a champion or an arm of a running experiment they stay as they are, whatever an upgrade brings."""
    unused_since: Timestamp | None = None
    """Since when no Endpoint and no experiment needs it; absent: one does, or it was not measured yet."""
    retired_time: Timestamp | None = None
    """When it was said that its pods go (spec.serving.retireAfter after unusedSince); absent once they answer again."""


class ModelVersion(Resource):
    """Something that answers decisions: an adapter, a whole model, or an external API."""

    kind: Literal["ModelVersion"] = "ModelVersion"
    spec: ModelVersionSpec
    status: ModelVersionStatus = ModelVersionStatus()
