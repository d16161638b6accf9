"""Building blocks of the kinds: strict models, rules (CEL beside Python), scalar text types, references, conditions.

Belongs here: what two or more kinds share. Does not belong here: a kind's own fields, reading manifests (parse.py),
turning types into YAML (crd.py), anything that knows a cluster.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tradewind.trading.durations import parse_duration

GROUP = "tradewind.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "tradewind"

IN_USE_FINALIZER = f"{GROUP}/in-use"
"""Finalizer on a ModelVersion that is champion, baseline, fallback or in a running experiment."""
IN_USE_BY_LABEL = f"{GROUP}/in-use-by"
"""Label on such a ModelVersion: the Endpoint that uses it, for the message of the admission policy."""


# --- rules ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule across fields, said twice: in CEL for the API server and in Python for whoever has no cluster.

    Attributes:
        cel: expression over `self` that is true where the rule holds.
        holds: the same over the parsed model.
        message: names the field and the remedy.
        field: the field at fault, in the manifest's spelling (`maxDuration`, `replay.startTime`).
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str
    field: str = ""

    def to_manifest(self) -> dict[str, str]:
        """The rule as the API server reads it."""
        return {"rule": self.cel, "message": self.message} | ({"fieldPath": f".{self.field}"} if self.field else {})


@dataclass(frozen=True, slots=True)
class Immutable:
    """Fields that cannot change once the object exists.

    Attributes:
        remedy: what to do instead.
        mutable: fields of the model that may change all the same, in the manifest's spelling.
        only: where set, these fields alone are immutable.
    """

    remedy: str
    mutable: frozenset[str] = frozenset()
    only: frozenset[str] | None = None

    def covers(self, name: str) -> bool:
        """Whether the field of that name, in the manifest's spelling, is immutable."""
        return name not in self.mutable and (self.only is None or name in self.only)

    def message(self, name: str) -> str:
        """The message of the refused change."""
        return f"{name} is immutable: {self.remedy}"


def wire_name(name: str) -> str:
    """Spelling of a field in manifests: camelCase with acronyms as Kubernetes writes them (`baseURL`, `maxSizeUSD`)."""
    return to_camel(name).replace("Url", "URL").replace("Usd", "USD").replace("Cny", "CNY")


class StrictModel(BaseModel):
    """Part of a spec: frozen, no unknown fields, camelCase in manifests, snake_case in Python."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=wire_name, populate_by_name=True, use_attribute_docstrings=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()
    immutable: ClassVar[Immutable | None] = None

    @model_validator(mode="after")
    def _obeys_its_rules(self) -> Self:
        broken = [rule for rule in self.rules if not rule.holds(self)]
        if broken:
            text = "; ".join(rule.message for rule in broken)
            raise PydanticCustomError("rule", "{text}", {"text": text, "field": broken[0].field})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            made["x-kubernetes-validations"] = [rule.to_manifest() for rule in cls.rules]
        return made

    def to_manifest(self) -> dict[str, Any]:
        """The JSON form that Kubernetes stores: manifest spelling, absent values left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(BaseModel):
    """Part of a status: frozen, everything optional, unknown fields (of a newer operator) are ignored on reading."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=wire_name, populate_by_name=True, use_attribute_docstrings=True
    )

    def to_manifest(self) -> dict[str, Any]:
        """The JSON form that Kubernetes stores: manifest spelling, absent values left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


# --- scalar text types ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checked:
    """Annotation of a text type: a pattern with a message that says what to write instead.

    The pattern uses what RE2 and `re` read alike and no quotes or backslashes; it must match the whole text.
    """

    pattern: str
    message: str
    max_length: int
    forbid: str = ""
    int_or_string: bool = False

    @property
    def cel(self) -> str:
        """The check as CEL over `self`."""
        if self.int_or_string:
            return f"type(self) == int ? self >= 0 : self.matches('^{self.pattern}$')"
        return f"self.matches('^{self.pattern}$')" + (f" && !self.contains('{self.forbid}')" if self.forbid else "")

    def check(self, text: str) -> str:
        """The text, or an error with this type's message."""
        if not re.fullmatch(self.pattern, text, re.ASCII) or (self.forbid and self.forbid in text):
            raise PydanticCustomError("text", "{text}", {"text": self.message})
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = core_schema.str_schema(max_length=self.max_length, strict=True)
        checked: CoreSchema = core_schema.no_info_after_validator_function(self.check, inner)
        if self.int_or_string:
            return core_schema.no_info_before_validator_function(_int_as_text, checked)
        return checked

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        validations = [{"rule": self.cel, "message": self.message}]
        if self.int_or_string:
            return {"x-kubernetes-int-or-string": True, "maxLength": self.max_length} | {
                "x-kubernetes-validations": validations
            }
        return {"type": "string", "maxLength": self.max_length, "x-kubernetes-validations": validations}


def _int_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_DURATION = "[0-9]{1,6}[smhd]"

Duration = Annotated[
    str, Checked(_DURATION, "must be a whole number and one unit of s, m, h or d, such as 30s, 24h or 14d", 8)
]
"""Length of time as text; `as_timedelta` reads it."""

Latency = Annotated[
    str, Checked("[1-9][0-9]{0,5}(ms|s)", "must be a whole number of ms or s above 0, such as 100ms or 2s", 8)
]
"""Short time as text; `as_milliseconds` reads it."""

SinceOrTime = Annotated[
    str,
    Checked(
        f"({_DURATION}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}([.][0-9]{{1,6}})?(Z|[+-][0-9]{{2}}:[0-9]{{2}}))",
        "must be a time such as 2026-01-31T00:00:00Z or a length of time back from the start such as 90d",
        40,
    ),
]
"""Point in time, absolute or as a duration back from when the run starts."""

DecimalText = Annotated[
    str,
    Checked(
        "[0-9]{1,12}([.][0-9]{1,9})?", "must be a decimal number in quotes, 0 or more, such as '1000' or '0.5'", 24
    ),
]
"""Decimal number, 0 or more."""

PositiveDecimal = Annotated[
    str,
    Checked(
        "([1-9][0-9]{0,11}([.][0-9]{1,9})?|0[.][0-9]{0,8}[1-9][0-9]{0,8})",
        "must be a decimal number in quotes above 0, such as '1000' or '0.5'",
        24,
    ),
]
"""Decimal number above 0."""

Fraction = Annotated[
    str, Checked("(0([.][0-9]{1,9})?|1([.]0{1,9})?)", "must be a fraction from 0 to 1 in quotes, such as '0.05'", 12)
]
"""Decimal number from 0 to 1."""

Probability = Annotated[
    str,
    Checked("0[.][0-9]{0,8}[1-9][0-9]{0,8}", "must be a probability above 0 and below 1 in quotes, such as '0.05'", 20),
]
"""Decimal number strictly between 0 and 1."""

Quantity = Annotated[
    str,
    Checked(
        "([0-9]{1,15}([.][0-9]{1,9})?|[.][0-9]{1,9})(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?",
        "must be a Kubernetes quantity, such as 500m, 2 or 8Gi",
        32,
        int_or_string=True,
    ),
]
"""Kubernetes quantity; whole numbers may be written without quotes."""

_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

Name = Annotated[
    str, Checked(_NAME, "must be a name of lower-case letters, digits and dashes, such as deepseek-api", 63)
]
"""Name of an object in the same namespace."""

SecretName = Annotated[
    str, Checked("[a-z0-9]([-a-z0-9.]*[a-z0-9])?", "must be the name of a Secret in the same namespace", 253)
]
"""Name of a Secret."""

SecretKey = Annotated[
    str,
    Checked("[-._a-zA-Z0-9]{1,253}", "must be a key of the Secret: letters, digits, dots, dashes, underscores", 253),
]
"""Key inside a Secret."""

Sha256 = Annotated[str, Checked("[0-9a-f]{64}", "must be a SHA-256 of 64 lower-case hexadecimal digits", 64)]
"""SHA-256 of an artifact, lower-case hexadecimal."""

StorageURI = Annotated[
    str,
    Checked(
        "(pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[-._a-zA-Z0-9/]*)?|file:///[-._a-zA-Z0-9/]+)",
        "must be pvc://<claim>/<path> or file:///<path> without '..'; other stores are not supported yet: "
        "copy the files onto a PersistentVolumeClaim",
        512,
        forbid="..",
    ),
]
"""Where files lie: a PersistentVolumeClaim in the same namespace, or (tests) a folder of the node."""

HttpURL = Annotated[
    str, Checked("https?://[-a-zA-Z0-9.:]+(/[-._~a-zA-Z0-9/]*)?", "must be an http or https URL without query", 512)
]
"""Base URL of an HTTP API."""

Symbol = Annotated[
    str, Checked("[A-Za-z0-9][-._/:A-Za-z0-9]*", "must be a symbol of letters, digits and . _ - / :, such as BTC", 32)
]
"""Instrument, as the trading system names it."""

Cron = Annotated[
    str,
    Checked(
        "(@(hourly|daily|weekly|monthly|yearly)|[-0-9*/,]+ [-0-9*/,]+ [-0-9*/,?LW]+ [-0-9A-Za-z*/,]+ [-0-9A-Za-z*/,?L#]+)",
        "must be a cron expression of five fields, such as '0 2 * * 0'",
        100,
    ),
]
"""Cron expression of five fields."""

TimeZone = Annotated[
    str,
    Checked("[A-Za-z][-+_A-Za-z0-9]*(/[-+_A-Za-z0-9]+){0,2}", "must be an IANA time zone, such as Asia/Shanghai", 64),
]
"""IANA time zone."""

Text64 = Annotated[str, Field(max_length=64)]
Text128 = Annotated[str, Field(max_length=128)]
Text256 = Annotated[str, Field(max_length=256)]
Text1024 = Annotated[str, Field(max_length=1024)]
Message = Annotated[str, Field(max_length=4096)]
Identifier = Annotated[str, Field(min_length=1, max_length=128)]
"""Plain identifier of bounded length: field names, module names, map keys."""

Timestamp = Annotated[AwareDatetime, WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339 time with an offset."""

Count = Annotated[int, Field(ge=0, le=2**53)]
"""Whole number, 0 or more."""

Labels = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)]
"""Kubernetes labels."""

Annotations = Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32)]
"""Kubernetes annotations."""


def as_timedelta(text: str) -> timedelta:
    """The timedelta of a `Duration`. Raises ValueError where the text is none."""
    return parse_duration(text)


def as_milliseconds(text: str) -> float:
    """Milliseconds of a `Latency` such as `100ms` or `2s`. Raises ValueError where the text is none."""
    match = re.fullmatch(r"(\d{1,6})(ms|s)", text, re.ASCII)
    if match is None:
        msg = f"{text!r} is no latency; write a whole number of ms or s, such as 100ms or 2s"
        raise ValueError(msg)
    return float(match[1]) * (1 if match[2] == "ms" else 1000)


def cel_seconds(expression: str) -> str:
    """CEL of the seconds in a `Duration` expression; 0 where its text is malformed (another rule says so)."""
    unit = " : ".join(f"{expression}.endsWith('{u}') ? {n}" for u, n in (("d", 86_400), ("h", 3_600), ("m", 60)))
    number = f"int({expression}.substring(0, {expression}.size() - 1))"
    return f"({expression}.matches('^{_DURATION}$') ? {number} * ({unit} : 1) : 0)"


def cel_number(expression: str) -> str:
    """CEL of the number in a decimal text; 0 where the text is malformed (another rule says so)."""
    return f"({expression}.matches('^[0-9]+([.][0-9]+)?$') ? double({expression}) : 0.0)"


@dataclass(frozen=True, slots=True)
class StorageLocation:
    """A storage URI taken apart: the claim to mount (None: a path of the node) and the path under it."""

    claim: str | None
    path: str


def parse_storage_uri(uri: str) -> StorageLocation:
    """Claim and path of a `StorageURI`.

    `pvc://models/trader/v1` is claim `models`, path `trader/v1` (relative to the claim's root, "" for the root);
    `file:///mnt/x` is claim None, path `/mnt/x`. Raises ValueError for every other text.
    """
    pvc = re.fullmatch(r"pvc://([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)(?:/(.*))?", uri, re.ASCII)
    path = pvc[2] or "" if pvc else uri.removeprefix("file://")
    if ".." in PurePosixPath(path).parts or not (pvc or uri.startswith("file:///")):
        msg = f"{uri!r}: write pvc://<claim>/<path> or file:///<path> without '..'; other stores are not supported yet"
        raise ValueError(msg)
    return StorageLocation(pvc[1], path.strip("/")) if pvc else StorageLocation(None, path)


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


class BaseModelRef(StrictModel):
    """The pretrained model that adapters are trained on."""

    uri: StorageURI
    """Folder with the model's safetensors, config and tokenizer."""
    revision: Text128 = ""
    """Revision or commit of the model, for the record."""


class LabelThresholds(StrictModel):
    """Bounds of the labels, as fractions of `size_usd`."""

    excellent: Fraction = "0.05"
    """Above this gain a decision is excellent."""
    bad: Fraction = "0.03"
    """Beyond this loss a decision is bad; a smaller loss is acceptable."""


class LatencyObjective(StrictModel):
    """The latency that answers should keep."""

    p99: Latency = "100ms"
    """99 of 100 answers arrive within this time."""


class WeightStep(StrictModel):
    """One level of the candidate's share of decisions."""

    weight: Fraction
    """Share of decisions that the candidate is drawn for."""
    duration: Duration | None = None
    """How long the level lasts (policy schedule, ramp); absent: until the policy moves on."""


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
    """Hash of what it serves; absent for an external API."""
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
