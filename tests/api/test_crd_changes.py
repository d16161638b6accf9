"""What counts as an addition to a kind, and what does not, on made-up CRDs."""

import copy
from typing import Any

import pytest

from tradewind.api import crd
from tradewind.api.crd_changes import Allowed, Change, breaking_changes
from tradewind.api.registry import KINDS

SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 63},
        "mode": {"type": "string", "enum": ["Live", "Replay"], "default": "Live"},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
        "free": {"type": "integer"},
        "steps": {
            "type": "array",
            "maxItems": 8,
            "items": {"type": "object", "properties": {"weight": {"type": "string", "maxLength": 8}}},
        },
        "labels": {"type": "object", "maxProperties": 8, "additionalProperties": {"type": "string", "maxLength": 63}},
    },
    "x-kubernetes-validations": [{"rule": "self.share <= 1.0", "message": "at most 1"}],
}


def kind(spec: dict[str, Any] = SPEC, plural: str = "things") -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": spec}}
    names = {"plural": plural, "kind": "Thing", "shortNames": ["th"]}
    version = {"name": "v1alpha1", "served": True, "schema": {"openAPIV3Schema": schema}}
    return {"spec": {"group": "tradewind.dev", "scope": "Namespaced", "names": names, "versions": [version]}}


def changed(path: str, **values: Any) -> dict[str, Any]:
    """SPEC with keys set (None: taken away) in the schema at `path`, keys of dictionaries joined by dots."""
    made = copy.deepcopy(SPEC)
    found = made
    for part in path.split(".") if path else ():
        found = found[part]
    for key, value in values.items():
        name = key.replace("rules", "x-kubernetes-validations")
        if value is None:
            del found[name]
        else:
            found[name] = value
    return made


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        changed("properties", extra={"type": "integer", "default": 3}),
        changed("properties", extra={"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}),
        changed("properties.name", minLength=0, maxLength=64),
        changed("properties.name", minLength=None, maxLength=None),
        changed("properties.mode", enum=["Live", "Replay", "Shadow"]),
        changed("properties.mode", enum=None),
        changed("properties.share", minimum=-1, maximum=None),
        changed("", required=[]),
        changed("", required=["name", "mode"]),  # its default is filled in before it is demanded
        changed("", rules=None),
        changed("", rules=[{"rule": "self.share <= 1.0", "message": "in other words"}]),
        changed("properties.steps.items.properties", duration={"type": "string"}),
        changed("", description="another text"),
    ],
)
def test_additions_and_widenings_pass(spec: dict[str, Any]) -> None:
    assert breaking_changes([kind()], [kind(spec)]) == ()


@pytest.mark.parametrize(
    ("spec", "where", "what"),
    [
        (changed("properties", free=None), "things spec.free", "the field is gone"),
        (changed("properties.steps.items.properties", weight=None), "things spec.steps[].weight", "the field is gone"),
        (changed("properties.free", type="string"), "things spec.free", "type integer became string"),
        (changed("properties.name", format="date-time"), "things spec.name", "format None became date-time"),
        (changed("properties.name", minLength=2), "things spec.name", "minLength 1 became 2"),
        (changed("properties.name", maxLength=62), "things spec.name", "maxLength 63 became 62"),
        (changed("properties.free", minimum=-5), "things spec.free", "minimum none became -5"),
        (changed("properties.free", maximum=5), "things spec.free", "maximum none became 5"),
        (changed("properties.steps", minItems=1), "things spec.steps", "minItems none became 1"),
        (changed("properties.steps", maxItems=7), "things spec.steps", "maxItems 8 became 7"),
        (changed("properties.mode", enum=["Live"]), "things spec.mode", "the value Replay is gone"),
        (changed("properties.name", enum=["a"]), "things spec.name", "an enum bounds it now"),
        (changed("", required=["name", "free"]), "things spec.free", "the field is required now"),
        (changed("properties.mode", default="Replay"), "things spec.mode", "default Live became Replay"),
        (changed("properties.mode", default=None), "things spec.mode", "default Live became none"),
        (changed("properties.free", default=0), "things spec.free", "default none became 0"),
        (changed("properties.labels", additionalProperties=None), "things spec.labels", "additionalProperties is gone"),
        (
            changed("properties.labels.additionalProperties", maxLength=10),
            "things spec.labels.*",
            "maxLength 63 became 10",
        ),
        (
            changed("properties.steps", **{"x-kubernetes-list-type": "map"}),
            "things spec.steps",
            "x-kubernetes-list-type None became map",
        ),
    ],
)
def test_what_an_old_object_may_not_survive_is_named_and_cannot_be_allowed(
    spec: dict[str, Any], where: str, what: str
) -> None:
    allowed = [Allowed(where, "", "a reason")]
    assert breaking_changes([kind()], [kind(spec)], allowed) == (Change(where, what),)


def test_a_new_required_field_is_breaking_where_its_object_is_old() -> None:
    spec = changed("properties", extra={"type": "integer"}) | {"required": ["name", "extra"]}
    assert breaking_changes([kind()], [kind(spec)]) == (Change("things spec.extra", "the field is required now"),)


@pytest.mark.parametrize(
    "rules",
    [
        [{"rule": "self.share <= 1.0", "message": ""}, {"rule": "self.free > 0", "message": "above 0"}],
        [{"rule": "self.free > 0", "message": "above 0"}],  # in place of the old one
    ],
)
def test_a_new_or_changed_rule_needs_an_entry_with_its_place_and_text(rules: list[dict[str, str]]) -> None:
    new = kind(changed("", rules=rules))
    found = breaking_changes([kind()], [new])
    assert found == (Change("things spec", "a rule is new (above 0)", "self.free > 0"),)
    assert breaking_changes([kind()], [new], [Allowed("things spec", "self.free > 0", "was a bound")]) == ()
    assert breaking_changes([kind()], [new], [Allowed("things spec.free", "self.free > 0", "elsewhere")]) == found
    assert breaking_changes([kind()], [new], [Allowed("things spec", "self.free > 1", "another")]) == found


def test_a_rule_about_a_new_field_alone_is_an_addition() -> None:
    rule = {"rule": "has(self.extra) == has(oldSelf.extra)", "message": "immutable", "fieldPath": ".extra"}
    rules = [*SPEC["x-kubernetes-validations"], rule]
    spec = changed("properties", extra={"type": "integer"})
    assert breaking_changes([kind()], [kind(spec | {"x-kubernetes-validations": rules})]) == ()
    of_an_old_field = [*SPEC["x-kubernetes-validations"], rule | {"fieldPath": ".free"}]
    assert breaking_changes([kind()], [kind(changed("", rules=of_an_old_field))]) != ()


def test_a_new_pattern_is_a_rule() -> None:
    new = kind(changed("properties.name", pattern="^[a-z]+$"))
    assert breaking_changes([kind()], [new]) == (Change("things spec.name", "a pattern is new", "^[a-z]+$"),)
    assert breaking_changes([kind()], [new], [Allowed("things spec.name", "^[a-z]+$", "always so")]) == ()


def test_kinds_versions_and_names_stay() -> None:
    assert breaking_changes([kind()], [kind(), kind(plural="others")]) == ()
    assert breaking_changes([kind(), kind(plural="others")], [kind()]) == (Change("others", "the kind is gone"),)
    for name, value, what in (
        ("group", "other.dev", "group tradewind.dev became other.dev"),
        ("scope", "Cluster", "scope Namespaced became Cluster"),
        ("versions", [], "version v1alpha1 is no longer served"),
    ):
        new = kind()
        new["spec"][name] = value
        assert breaking_changes([kind()], [new]) == (Change("things", what),)
    new = kind()
    new["spec"]["names"] |= {"kind": "Other", "shortNames": []}
    assert [c.what for c in breaking_changes([kind()], [new])] == [
        "kind Thing became Other",
        "the short name th is gone",
    ]


def test_the_committed_kinds_have_only_what_the_comparison_knows() -> None:
    """A keyword of the generator that the comparison passes over would let a breaking change through."""
    compared = {"enum", "default", "required", "properties", "items", "additionalProperties", "x-kubernetes-validations",
                "pattern", "description", "type", "format", "x-kubernetes-int-or-string", "x-kubernetes-list-type",
                "x-kubernetes-list-map-keys", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
                "minProperties", "maxProperties"}  # fmt: skip

    def keys(schema: dict[str, Any]) -> set[str]:
        inner = list(schema.get("properties", {}).values())
        inner += [schema[key] for key in ("items", "additionalProperties") if key in schema]
        return set(schema).union(*(keys(each) for each in inner))

    for each in KINDS:
        made = crd.crd(each)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert keys(made) <= compared
