"""The generator: bounded structural schemas, defaults in one place, rules, and generated files that are up to date."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from tradewind.api import crd as generator
from tradewind.api.crd import UnsupportedTypeError, crd, main, structural
from tradewind.api.registry import KINDS, Kind
from tradewind.schema.rules import Rule, StatusModel, StrictModel, wire_name
from tradewind.schema.scalars import Duration, Fraction, Latency, Quantity, Text64

ROOT = Path(__file__).parents[2]


def schema_of(kind: Kind) -> dict[str, Any]:
    return crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from walk(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from walk(schema[key], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_every_field_is_described_and_bounded(kind: Kind) -> None:
    for path, field in walk(schema_of(kind)):
        if field.get("type") == "string":
            assert "maxLength" in field or "enum" in field or field.get("format") == "date-time", path
        if field.get("type") == "array":
            assert "maxItems" in field, path
        named = not path.endswith("[]") and not path.startswith(".metadata")
        assert not named or field.get("description"), f"{path} has no description"


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_no_rule_stands_twice_which_an_api_server_refuses(kind: Kind) -> None:
    for path, field in walk(schema_of(kind)):
        rules = [rule["rule"] for rule in field.get("x-kubernetes-validations", [])]
        assert len(rules) == len(set(rules)), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_status_has_no_defaults_that_the_server_would_write(kind: Kind) -> None:
    assert [path for path, field in walk(schema_of(kind)["properties"]["status"]) if "default" in field] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_defaults_fill_a_spec_to_the_same_as_the_types_do(kind: Kind) -> None:
    """What the API server stores for an omitted part and what Python assumes for it must be one thing."""
    for path, field in walk(schema_of(kind)["properties"]["spec"]):
        for name, child in field.get("properties", {}).items():
            if "default" in child and name in field.get("required", []):
                pytest.fail(f"{path}.{name} is required and has a default")
    empty = {
        name: f.default.to_manifest() for name, f in kind.spec.model_fields.items() if hasattr(f.default, "to_manifest")
    }
    for name, default in empty.items():
        field = schema_of(kind)["properties"]["spec"]["properties"][wire_name(name)]
        assert prune(filled(field["default"], field)) == prune(default), name


def filled(value: Any, schema: dict[str, Any]) -> Any:
    """The API server's defaulting."""
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    made = dict(value)
    for name, field in schema["properties"].items():
        if name not in made and "default" in field:
            made[name] = field["default"]
        if name in made:
            made[name] = filled(made[name], field)
    return made


def prune(value: Any) -> Any:
    """Without empty maps and lists, which mean the same as absence."""
    if isinstance(value, dict):
        return {k: p for k, v in value.items() if (p := prune(v)) not in ({}, [])}
    return value


def test_the_conditions_are_a_map_by_type() -> None:
    for kind in KINDS:
        conditions = schema_of(kind)["properties"]["status"]["properties"]["conditions"]
        assert conditions["x-kubernetes-list-type"] == "map"
        assert conditions["x-kubernetes-list-map-keys"] == ["type"]
        assert set(conditions["items"]["required"]) == {"type", "status", "reason", "lastTransitionTime"}


def test_a_template_of_runs_is_not_immutable_but_a_run_is() -> None:
    by_name = {kind.kind: schema_of(kind)["properties"]["spec"] for kind in KINDS}
    run = [rule["message"] for rule in by_name["TrainingRun"]["x-kubernetes-validations"]]
    assert any("immutable" in message for message in run)
    assert not any(message.startswith("suspend") for message in run)
    template = by_name["TrainingSchedule"]["properties"]["template"]["properties"]["spec"]
    assert not any("immutable" in rule["message"] for rule in template["x-kubernetes-validations"])


def test_optional_drops_null_and_a_field_description_wins() -> None:
    class Inner(StrictModel):
        """The class's words."""

        size: Annotated[int, Field(ge=1)] = 3

    class Outer(StrictModel):
        inner: Inner | None = None
        """The field's words."""
        other: Inner = Inner(size=4)

    made = structural(Outer, "spec")["properties"]
    assert made["inner"]["type"] == "object"
    assert made["inner"]["description"] == "The field's words."
    assert "default" not in made["inner"]
    assert made["other"]["default"] == {"size": 4}
    assert made["other"]["properties"]["size"]["default"] == 3


class Union(StrictModel):
    value: Text64 | int


class UnboundText(StrictModel):
    value: str


class UnboundList(StrictModel):
    value: tuple[Text64, ...]


class UnboundMap(StrictModel):
    value: dict[str, Text64]


class FreeForm(StrictModel):
    value: Annotated[dict[str, Any], Field(max_length=3)]


class Exclusive(StrictModel):
    value: Annotated[int, Field(gt=0)]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Union, "spec.value: a union of 2 types"),
        (UnboundText, "spec.value: a string without maxLength"),
        (UnboundList, "spec.value: a list without maxItems"),
        (UnboundMap, "spec.value: a map without maxProperties"),
        (FreeForm, "spec.value: free-form objects are not allowed"),
        (Exclusive, "spec.value: exclusiveMinimum cannot be said"),
    ],
)
def test_what_kubernetes_cannot_hold_is_refused(model: type[StrictModel], message: str) -> None:
    with pytest.raises(UnsupportedTypeError, match=f"^{re.escape(message)}"):
        structural(model, "spec")


def test_rules_and_text_types_become_validations() -> None:
    class Ruled(StrictModel):
        share: Fraction = "0.5"
        rules = (Rule("self.share != '1'", lambda s: s.share != "1", "share must not be 1", "share"),)

    made = structural(Ruled, "spec")
    assert made["x-kubernetes-validations"] == [
        {"rule": "self.share != '1'", "message": "share must not be 1", "fieldPath": ".share"}
    ]
    (check,) = made["properties"]["share"]["x-kubernetes-validations"]
    assert check["rule"].startswith("self.matches('^(")


def test_names_in_manifests_keep_kubernetes_acronyms() -> None:
    names = ["max_size_usd", "base_url", "price_per_call_cny", "p50_ms", "cost_cny", "url", "alpha_spent12_months"]
    spelled = ["maxSizeUSD", "baseURL", "pricePerCallCNY", "p50Ms", "costCNY", "url", "alphaSpent12Months"]
    assert [wire_name(name) for name in names] == spelled


def test_quantity_is_int_or_string_in_the_schema_and_text_in_python() -> None:
    class Box(StrictModel):
        cpu: Quantity

    assert Box.model_validate({"cpu": 2}).cpu == "2"
    assert structural(Box, "spec")["properties"]["cpu"]["x-kubernetes-int-or-string"] is True


def test_pattern_texts_have_no_quotes_that_would_end_the_cel_text() -> None:
    class Times(StatusModel):
        a: Duration = "1d"
        b: Latency = "1s"

    for kind in KINDS:
        for path, field in walk(schema_of(kind)):
            for rule in field.get("x-kubernetes-validations", []):
                assert rule["rule"].count("'") % 2 == 0, path
                assert "\\" not in re.sub(r"\\(u[0-9a-f]{4}|U[0-9a-f]{8})", "", rule["rule"]), path
                assert rule["rule"].isascii(), path
    assert structural(Times, "status")


def test_no_object_has_a_rule_twice() -> None:
    """An API server keys the rules of an object by their text and refuses a definition that repeats one."""
    for kind in KINDS:
        for path, field in walk(schema_of(kind)):
            rules = [rule["rule"] for rule in field.get("x-kubernetes-validations", [])]
            assert len(rules) == len(set(rules)), path


def test_the_committed_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--directory", str(ROOT)]) == 0, capsys.readouterr().err


def test_check_names_the_stale_file_and_writing_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--directory", str(tmp_path)]) == 0
    stale = tmp_path / "crds" / "endpoints.yaml"
    stale.write_text("kind: Nothing\n", encoding="utf-8")
    assert main(["--check", "--directory", str(tmp_path)]) == 1
    assert "out of date: crds/endpoints.yaml;" in capsys.readouterr().err
    assert main(["--directory", str(tmp_path)]) == 0
    assert main(["--check", "--directory", str(tmp_path)]) == 0
    chart = tmp_path / "charts" / "tradewind-crds" / "templates" / "endpoints.yaml"
    assert chart.read_text(encoding="utf-8") == stale.read_text(encoding="utf-8")
    assert "helm.sh/resource-policy: keep" in stale.read_text(encoding="utf-8")


def test_a_text_that_helm_would_take_for_an_action_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen before: a field's docstring that named a field of templates broke the chart of the CRDs."""
    monkeypatch.setattr(generator, "crd", lambda kind: crd(kind) | {"description": "such as {{market_data}}"})
    with pytest.raises(UnsupportedTypeError, match="action to Helm"):
        generator.generated_files()
