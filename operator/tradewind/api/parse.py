"""Manifests to typed resources, with errors in the API server's words plus a remedy.

Belongs here: reading manifests and comparing two versions of one. Does not belong here: files, YAML, clusters.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tradewind.api.common import API_VERSION, Resource
from tradewind.api.registry import BY_KIND
from tradewind.schema.rules import Immutable, wire_name

R = TypeVar("R", bound=Resource)

NAME_PATTERN = "[a-z]([-a-z0-9]*[a-z0-9])?"
"""What `metadata.name` looks like: a DNS label that starts with a letter."""

_BOUNDS = {
    "greater_than_equal": ("ge", "should be greater than or equal to {}"),
    "greater_than": ("gt", "should be greater than {}"),
    "less_than_equal": ("le", "should be less than or equal to {}"),
    "less_than": ("lt", "should be less than {}"),
    "string_too_long": ("max_length", "may not be more than {} characters"),
    "string_too_short": ("min_length", "should be at least {} characters long"),
    "too_long": ("max_length", "must have at most {} items"),
    "too_short": ("min_length", "should have at least {} items"),
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong: the field's path in the manifest and what to write instead."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class InvalidSpec:
    """A manifest that no cluster should have accepted; the user must change it."""

    errors: tuple[FieldError, ...]

    @property
    def message(self) -> str:
        """All errors in one line."""
        return "; ".join(map(str, self.errors))


def parse(resource: type[R], raw: Mapping[str, Any], *, strict: bool = False) -> R | InvalidSpec:
    """The typed resource of a manifest, or what is wrong with it.

    Fields that this version does not know are ignored: after a rollback of the operator the API server still fills in
    the defaults of the newer kinds. A status that cannot be read at all (written by a newer operator) counts as empty:
    it is rebuilt from what is observed.

    Args:
        resource: type of the kind.
        raw: the object as Kubernetes gives it.
        strict: for files of users: an unknown field of the spec is an error, most likely a misspelling.
    """
    known = {k: v for k, v in raw.items() if k in {"apiVersion", "kind", "metadata", "spec", "status"}}
    if not isinstance(known.get("status"), Mapping):
        known.pop("status", None)
    try:
        return resource.model_validate(known)
    except ValidationError as error:
        details = error.errors(include_url=False)
    if any(d["loc"][:1] == ("status",) for d in details):
        return parse(resource, {k: v for k, v in known.items() if k != "status"}, strict=strict)
    unknown = [d["loc"] for d in details if d["type"] == "extra_forbidden"]
    if unknown and not strict:
        pruned = deepcopy(known)
        for loc in unknown:
            _remove(pruned, loc)
        return parse(resource, pruned)
    return InvalidSpec(tuple(explain(d) for d in details if not _follows(d, details)))


def parse_manifest(raw: Mapping[str, Any]) -> Resource | InvalidSpec:
    """Strict `parse` of a file's manifest, whose `kind` is not known beforehand; its name is checked too."""
    kind = BY_KIND.get(str(raw.get("kind")))
    if kind is None or raw.get("apiVersion") != API_VERSION:
        kinds = ", ".join(BY_KIND)
        return InvalidSpec((FieldError("kind", f"must be one of {kinds} with apiVersion {API_VERSION}"),))
    parsed = parse(kind.resource, raw, strict=True)
    if isinstance(parsed, Resource) and not name_is_valid(parsed):
        return InvalidSpec((FieldError("metadata.name", name_message(kind.resource)),))
    return parsed


def name_is_valid(resource: Resource) -> bool:
    """Whether the name leaves room for the names of children and starts with a letter."""
    return len(resource.name) <= resource.name_limit and re.fullmatch(NAME_PATTERN, resource.name) is not None


def name_message(resource: type[Resource]) -> str:
    """What a name of this kind must look like."""
    return (
        f"metadata.name must be at most {resource.name_limit} characters of a-z, 0-9 and -, starting with a letter "
        "and ending with a letter or digit"
    )


def refused_changes(old: Resource, new: Resource) -> tuple[FieldError, ...]:
    """Changes of immutable fields between two versions of one object, as the API server would refuse them."""
    before: BaseModel = getattr(old, "spec")  # noqa: B009 - every kind has one, each of its own type
    after: BaseModel = getattr(new, "spec")  # noqa: B009
    immutable: Immutable | None = getattr(type(after), "immutable", None)
    if immutable is None:
        return ()
    return tuple(
        FieldError(f"spec.{wire_name(name)}", immutable.message(wire_name(name)))
        for name in type(after).model_fields
        if immutable.covers(wire_name(name)) and getattr(before, name) != getattr(after, name)
    )


def _remove(manifest: Any, loc: tuple[int | str, ...]) -> None:
    for part in loc[:-1]:
        manifest = manifest[part]
    del manifest[loc[-1]]


def _follows(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether a list is too short only because its items are refused, which other errors say."""
    loc = detail["loc"]
    return detail["type"] == "too_short" and any(d["loc"][: len(loc)] == loc and d is not detail for d in details)


def explain(detail: ErrorDetails) -> FieldError:
    """One error of pydantic in the API server's words, with a remedy."""
    path = _path(detail["loc"])
    context = detail.get("ctx", {})
    value = detail["input"]
    match detail["type"]:
        case "missing":
            return FieldError(path, "Required value: add this field")
        case "extra_forbidden":
            return FieldError(path, f'unknown field "{path}": check the spelling or remove it')
        case "enum" | "literal_error":
            allowed = str(context["expected"]).replace("'", '"').replace(" or ", ", ")
            return FieldError(path, f'Unsupported value: "{value}": supported values: {allowed}')
        case "rule":
            field = str(context["field"])
            return FieldError(f"{path}.{field}" if field else path, str(context["text"]))
        case "text":
            return FieldError(path, f'Invalid value: "{value}": {context["text"]}')
        case "string_type":
            return FieldError(path, f"must be of type string: write it in quotes, got {value!r}")
        case kind if kind in _BOUNDS:
            key, text = _BOUNDS[kind]
            return FieldError(path, f"Invalid value: {_shown(value)}: {text.format(context.get(key))}")
        case _:
            return FieldError(path, f"Invalid value: {_shown(value)}: {detail['msg']}")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str | int | float | bool) else f"{type(value).__name__}"


def _path(location: Sequence[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
