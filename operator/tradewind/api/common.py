"""Parts that two or more kinds share: references, resources, conditions, the frame of every object.

Belongs here: what is the same in several kinds. Does not belong here: a kind's own fields, how models and values are said
(rules.py, scalars.py), reading manifests (parse.py), turning types into YAML (crd.py), anything that knows a cluster.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field

from tradewind.schema.rules import StatusModel, StrictModel
from tradewind.schema.scalars import (
    Annotations,
    Count,
    Labels,
    Message,
    Name,
    Quantity,
    SecretKey,
    SecretName,
    Sha256,
    StorageURI,
    Text64,
    Text128,
    Text256,
    Text1024,
    Timestamp,
)
from tradewind.trading.settings.stores import StoredURI

GROUP = "tradewind.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "tradewind"

IN_USE_FINALIZER = f"{GROUP}/in-use"
"""Finalizer on a ModelVersion that is champion, baseline, fallback or in a running experiment."""
IN_USE_BY_LABEL = f"{GROUP}/in-use-by"
"""Label on such a ModelVersion: the Endpoint that uses it, for the message of the admission policy."""

ENABLED_LABEL = f"{GROUP}/enabled"
"""Label of a namespace in which an operator for the whole cluster acts: `true`."""


# --- shared parts of specs -----------------------------------------------------------------------------------------


class LocalRef(StrictModel):
    """Reference to an object in the same namespace."""

    name: Name
    """Name of the object."""


class SecretKeyRef(StrictModel):
    """One key of a Secret in the same namespace. The operator never reads it: it is mounted into the pods."""

    name: SecretName
    """Name of the Secret."""
    key: SecretKey
    """Key inside the Secret."""


class ResourceRequirements(StrictModel):
    """Requests and limits of a container, as Kubernetes writes them."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] = Field(default_factory=dict)
    """What the scheduler sets aside, by resource name (cpu, memory, nvidia.com/gpu)."""
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] = Field(default_factory=dict)
    """What the container may use at most, by resource name."""


class Toleration(StrictModel):
    """Taint that the pods tolerate, as Kubernetes writes it."""

    key: Text256 | None = None
    """Key of the taint; absent with operator Exists tolerates every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How the value is compared."""
    value: Text64 | None = None
    """Value of the taint, with operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; absent: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """How long NoExecute is tolerated; absent: for ever."""


class TemplateMeta(StrictModel):
    """Metadata that created objects carry besides the operator's own."""

    labels: Labels = Field(default_factory=dict)
    """Labels of the created object."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the created object."""


class BaseModelRef(StoredURI):
    """The pretrained model that adapters are trained on."""

    uri: StorageURI
    """Folder with the model's safetensors, config and tokenizer."""
    revision: Text128 = ""
    """Revision or commit of the model, for the record."""
    sha256: Sha256 | None = None
    """Hash of the folder: SHA-256 over its lines `<sha256>  <path>`, sorted by path, as a SHA256SUMS has them. Nothing else is
    trained on or served; absent: whatever lies there. The versions that runs make have it."""


# --- shared parts of statuses --------------------------------------------------------------------------------------


class ConditionStatus(StrEnum):
    """Value of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(StatusModel):
    """One fact about an object, as `metav1.Condition`."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """What the condition is about, in CamelCase."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=128)]
    """Why, as a fixed word that Events, logs and metrics repeat."""
    message: Message = ""
    """Why, for people."""
    observed_generation: Count | None = None
    """Generation of the spec that the condition speaks of."""
    last_transition_time: Timestamp
    """When the status last changed."""


class CommonStatus(StatusModel):
    """What every kind's status has."""

    observed_generation: Count | None = None
    """Generation of the spec that the status speaks of."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
    ] = ()
    """Facts about the object, one of a type."""
    last_handled: Annotated[dict[str, Text128], Field(max_length=16)] = Field(default_factory=dict)
    """Request id of each verb (`tradewind.dev/<verb>` annotation) that has been carried out; an id acts once."""

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, or None."""
        return next((c for c in self.conditions if c.type == kind), None)


class VersionStatusRef(StatusModel):
    """A ModelVersion as the operator saw it."""

    name: Name
    """Name of the ModelVersion."""
    uid: Text64 | None = None
    """UID of the ModelVersion."""
    sha256: Text64 | None = None
    """Hash of the artifact that it serves; absent for an external API."""
    spec_sha256: Text64 | None = None
    """Hash of all that its answers depend on: artifact, base and decoding, or how an external API is asked."""
    since: Timestamp | None = None
    """Since when it has this role."""


class ObjectStatusRef(StatusModel):
    """An object in the same namespace as the operator saw it."""

    name: Name
    """Name of the object."""
    uid: Text64 | None = None
    """UID of the object."""


class WeightStatus(StatusModel):
    """A share of decisions: what is wanted, what every gateway obeys, what the log shows."""

    desired: Text64 | None = None
    """Weight that the policy asks for, a decimal."""
    applied: Text64 | None = None
    """Weight that every ready gateway has reported."""
    observed: float | None = None
    """Share of the logged decisions."""


class GateResult(StatusModel):
    """One gate with its number."""

    name: Text64
    """Name of the gate, as in the spec."""
    value: float | None = None
    """Measured value; absent where it could not be measured."""
    threshold: float | None = None
    """Threshold of the spec."""
    passed: bool | None = None
    """Whether the gate is passed; absent: unknown."""
    message: Text1024 = ""
    """The number in words."""


# --- resources -----------------------------------------------------------------------------------------------------


class OwnerReference(StatusModel):
    """Owner of an object."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class ObjectMeta(StatusModel):
    """The part of Kubernetes' object metadata that the operator reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: AwareDatetime | None = None
    deletion_timestamp: AwareDatetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


class Resource(StatusModel):
    """An object of one of the kinds; `spec` and `status` are typed by the kinds."""

    name_limit: ClassVar[int] = 50
    """Longest name: the names of children are this name and a suffix, within 63 characters."""

    api_version: Literal["tradewind.dev/v1alpha1"] = API_VERSION  # type: ignore[assignment]
    metadata: ObjectMeta

    @property
    def name(self) -> str:
        """Name of the object."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Namespace of the object."""
        return self.metadata.namespace

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.metadata.namespace, self.metadata.name
