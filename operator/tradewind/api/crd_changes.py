"""Whether kinds only grew since a release: what would refuse an object, or read it otherwise, is a breaking change.

Belongs here: the comparison of two CustomResourceDefinitions as values. Does not belong here: where the older one comes from
(cli/crds.py), and what the kinds are (registry.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JSONSchema = Mapping[str, Any]

_LOWEST = ("minimum", "minLength", "minItems", "minProperties")
_HIGHEST = ("maximum", "maxLength", "maxItems", "maxProperties")
_SHAPE = ("type", "format", "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys")
_RULES = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that an object of before may not survive.

    Attributes:
        where: plural name of the kind and the field's path, such as `endpoints spec.limits.maxLeverage`.
        what: what became of it.
        rule: the CEL rule or pattern that is new there; nobody can tell by its text whether it refuses anything old, so it
            may be allowed, with a reason. Empty: the change is breaking and cannot be allowed.
    """

    where: str
    what: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Allowed:
    """A rule that was added on purpose."""

    where: str
    rule: str
    reason: str


def breaking_changes(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], allowed: Sequence[Allowed] = ()
) -> tuple[Change, ...]:
    """The changes from the CRDs `old` to `new` that are no additions, without the rules that are allowed."""
    reasons = {(entry.where, entry.rule) for entry in allowed}
    after = {crd["spec"]["names"]["plural"]: crd["spec"] for crd in new}
    found: list[Change] = []
    for crd in old:
        plural, before = crd["spec"]["names"]["plural"], crd["spec"]
        found += _kind(plural, before, after[plural]) if plural in after else [Change(plural, "the kind is gone")]
    return tuple(change for change in found if not change.rule or (change.where, change.rule) not in reasons)


def _kind(plural: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in ("group", "scope"):
        if old[name] != new[name]:
            yield Change(plural, f"{name} {old[name]} became {new[name]}")
    if old["names"]["kind"] != new["names"]["kind"]:
        yield Change(plural, f"kind {old['names']['kind']} became {new['names']['kind']}")
    for short in old["names"].get("shortNames", []):
        if short not in new["names"].get("shortNames", []):
            yield Change(plural, f"the short name {short} is gone")
    served = {version["name"]: version for version in new["versions"] if version["served"]}
    for version in old["versions"]:
        if not version["served"]:
            continue
        if version["name"] not in served:
            yield Change(plural, f"version {version['name']} is no longer served")
            continue
        before, after = (v["schema"]["openAPIV3Schema"] for v in (version, served[version["name"]]))
        yield from _schema(before, after, plural, "")


def _schema(old: JSONSchema, new: JSONSchema, plural: str, path: str) -> Iterator[Change]:
    where = f"{plural} {path}".rstrip()
    for key in _SHAPE:
        if old.get(key) != new.get(key):
            yield Change(where, f"{key} {old.get(key)} became {new.get(key)}")
    yield from _bounds(old, new, where)
    if old.get("default") != new.get("default"):
        yield Change(where, f"default {old.get('default', 'none')} became {new.get('default', 'none')}")
    yield from _rules(old, new, where)
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in before:
        inner = f"{path}.{name}".lstrip(".")
        if name in after:
            yield from _schema(before[name], after[name], plural, inner)
        else:
            yield Change(f"{plural} {inner}", "the field is gone")
    for name in new.get("required", []):
        if name not in old.get("required", []) and "default" not in after.get(name, {}):
            yield Change(f"{plural} {path}.{name}".replace(" .", " "), "the field is required now")
    for key, suffix in (("items", "[]"), ("additionalProperties", ".*")):
        if key in old and key in new:
            yield from _schema(old[key], new[key], plural, f"{path}{suffix}")
        elif key in old:
            yield Change(where, f"{key} is gone")


def _bounds(old: JSONSchema, new: JSONSchema, where: str) -> Iterator[Change]:
    for key in _LOWEST:
        if key in new and new[key] > old.get(key, 0 if key != "minimum" else float("-inf")):
            yield Change(where, f"{key} {old.get(key, 'none')} became {new[key]}")
    for key in _HIGHEST:
        if key in new and new[key] < old.get(key, float("inf")):
            yield Change(where, f"{key} {old.get(key, 'none')} became {new[key]}")
    if "enum" in new:
        if "enum" not in old:
            yield Change(where, "an enum bounds it now")
        for value in old.get("enum", []):
            if value not in new["enum"]:
                yield Change(where, f"the value {value} is gone")


def _rules(old: JSONSchema, new: JSONSchema, where: str) -> Iterator[Change]:
    if new.get("pattern", old.get("pattern")) != old.get("pattern"):
        yield Change(where, "a pattern is new", new["pattern"])
    known = {rule["rule"] for rule in old.get(_RULES, [])}
    for rule in new.get(_RULES, []):
        concerns = rule.get("fieldPath", "").lstrip(".")
        of_a_new_field = concerns in new.get("properties", {}) and concerns not in old.get("properties", {})
        if rule["rule"] not in known and not of_a_new_field:
            yield Change(where, f"a rule is new ({rule.get('message', '')})", rule["rule"])
