"""What every kind is made of: strict models for specs, lenient ones for statuses, and rules across fields.

Belongs here: how a field, a rule and an immutable field are said, in CEL for the API server and in Python for whoever has
no cluster. Does not belong here: the types of single values (scalars.py) and any field of a kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


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
    return to_camel(name).replace("Url", "URL").replace("Usd", "USD").replace("Cny", "CNY").replace("Cpu", "CPU")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field: its name with dots (empty: the whole), pydantic's word for it, and its sentence."""

    field: str
    type: str
    message: str


def first_fault(error: ValidationError) -> Fault:
    """The first thing that is wrong. The value itself stays out: it may be a secret or account data."""
    first = error.errors(include_url=False, include_input=False)[0]
    return Fault(".".join(map(str, first["loc"])), first["type"], first["msg"])


_TYPED: Mapping[str, tuple[tuple[type, ...], str]] = {
    "int": ((int, float), "integer: write it without quotes"),
    "float": ((int, float), "number: write it without quotes"),
    "bool": ((bool,), "boolean: write true or false, without quotes"),
}


def _typed(schema: Any, *, inner: bool = True) -> Any:
    """A model's schema whose numbers and booleans are of their type, as an API server has them: `"2"` and true are no 2."""
    if not isinstance(schema, dict):
        return [_typed(each) for each in schema] if isinstance(schema, list) else schema
    kind = schema.get("type")
    if kind == "model" and inner:
        return schema  # its own business
    if isinstance(kind, str) and kind in _TYPED:
        return core_schema.no_info_before_validator_function(partial(_of_type, kind), cast("CoreSchema", schema))
    parts = {key: schema[key] for key in ("schema", "items_schema", "values_schema", "choices") if key in schema}
    return schema | {key: _typed(part, inner=inner) for key, part in parts.items()} | _typed_fields(schema)


def _typed_fields(schema: dict[str, Any]) -> dict[str, Any]:
    fields = schema.get("fields")
    if schema.get("type") != "model-fields" or not isinstance(fields, dict):
        return {}
    return {"fields": {name: field | {"schema": _typed(field["schema"])} for name, field in fields.items()}}


def _of_type(kind: str, value: Any) -> Any:
    types, text = _TYPED[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "bool"):
        raise PydanticCustomError("text", "{text}", {"text": f"must be of type {text}"})
    return value


class StrictModel(BaseModel):
    """Part of a spec: frozen, no unknown fields, camelCase in manifests, snake_case in Python."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=wire_name, populate_by_name=True, use_attribute_docstrings=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()
    immutable: ClassVar[Immutable | None] = None

    @model_validator(mode="after")
    def _obeys_its_rules(self) -> Self:
        broken = [rule for rule in self.all_rules() if not rule.holds(self)]
        if broken:
            text = "; ".join(rule.message for rule in broken)
            raise PydanticCustomError("rule", "{text}", {"text": text, "field": broken[0].field})
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cast("CoreSchema", _typed(handler(source), inner=False))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler.resolve_ref_schema(handler(schema))
        rules = cls.all_rules()
        if rules:
            made["x-kubernetes-validations"] = [rule.to_manifest() for rule in rules]
        return made

    @classmethod
    def all_rules(cls) -> tuple[Rule, ...]:
        """The rules of the model and of those that it is made of, theirs first."""
        return tuple(rule for part in reversed(cls.__mro__) for rule in vars(part).get("rules", ()))

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
