"""What an Endpoint or a ModelVersion may say, the gateway and the routing document take; what they refuse, it may not say.

The fields are found by walking the types, so that a new one is compared without being listed here.
"""

from collections.abc import Iterator
from dataclasses import replace
from types import UnionType
from typing import Any, Union, get_args, get_origin

import golden_worlds
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from tradewind.api.endpoint import EndpointSpec
from tradewind.api.model_version import ModelVersion, ModelVersionSpec
from tradewind.core.decision import Apply
from tradewind.core.endpoint import arm_target
from tradewind.core.policy import Policy
from tradewind.gateway.settings import VARIABLES, Settings
from tradewind.schema import bounds
from tradewind.schema.bounds import Bounds, Within
from tradewind.schema.rules import wire_name
from tradewind.trading.routing import ArmTarget, Routing

NUMBERS = (0, 1, 2, 9, 10, 29, 30, 31, 49, 50, 51, 59, 60, 61, 99, 100, 101, 299, 300, 301, 599, 600, 601, 899, 900, 901,
           999, 1000, 1001, 3599, 3600, 3601, 9999, 10_000, 10_001, 36_500, 99_999, 115_741, 899_999, 900_000, 999_999)  # fmt: skip
TIMES = [f"{number}{unit}" for number in NUMBERS for unit in ("ms", "s", "m", "h", "d")]
ENDPOINT = golden_worlds.load("endpoint", "renews-expiry-and-keeps-the-generation")
OF_THE_OPERATOR = (bounds.RETIRE_AFTER,)
"""Bounds of what the operator alone goes by."""
IN_THE_DOCUMENT = (bounds.ARM_TIMEOUT, bounds.PROBE_INTERVAL)
"""Bounds that the routing document has, and no variable of the gateway."""
NARROWER = {"gateway.retention": (bounds.RETENTION_KEPT, bounds.RETENTION)}
"""What users may say of a variable of the gateway where that is less than the variable takes."""
KNOWN = {id(each): name for name, each in vars(bounds).items() if isinstance(each, Bounds)}


def leaves(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every field of a spec that is no model, with its path as in manifests."""
    for name, field in model.model_fields.items():
        where = (*path, wire_name(name))
        union = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else ()
        inner = next((p for p in (field.annotation, *union) if isinstance(p, type) and issubclass(p, BaseModel)), None)
        if inner is None:
            yield where, field
        else:
            yield from leaves(inner, where)


def settings_of(model: type[BaseModel]) -> dict[tuple[str, ...], list[Any]]:
    """The fields of a spec that are a whole number or a time, with the values that their type takes."""
    found = {}
    for path, field in leaves(model):
        adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())

        def takes(value: object, adapter: TypeAdapter[Any] = adapter) -> bool:
            try:
                adapter.validate_python(value, strict=True)
            except ValidationError:
                return False
            return True

        if takes(1) or ((takes("1s") or takes("30d")) and not takes("x")):
            found[path] = [value for value in (*NUMBERS, *TIMES) if takes(value)]
    return found


def with_value(manifest: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    name, rest = path[0], path[1:]
    return manifest | {name: with_value(manifest.get(name) or {}, rest, value) if rest else value}


ENDPOINT_SETTINGS = settings_of(EndpointSpec)
VERSION_SETTINGS = {p: v for p, v in settings_of(ModelVersionSpec).items() if p[0] in ("external", "serving")}


def test_the_walk_finds_the_settings() -> None:
    assert {".".join(path) for path in ENDPOINT_SETTINGS} >= {
        "gateway.timeouts.decision",
        "gateway.timeouts.database",
        "gateway.breaker.failures",
        "gateway.breaker.openFor",
        "gateway.retention",
        "maxHold",
    }
    assert {".".join(path) for path in VERSION_SETTINGS} >= {
        "external.timeout",
        "external.retry.max",
        "serving.timeout",
    }


@pytest.mark.parametrize("path", ENDPOINT_SETTINGS, ids=".".join)
def test_a_gateway_starts_with_whatever_an_endpoint_may_say(path: tuple[str, ...]) -> None:
    """Seen: `decision: 900s`, `database: 60s` and `openFor: 2h` passed, and each pod ended with exit code 64."""
    spec = ENDPOINT.resource.spec  # type: ignore[attr-defined]
    taken = 0
    for value in ENDPOINT_SETTINGS[path]:
        manifest = spec.to_manifest()
        if "autoscaling" in path:  # which is nothing without its most pods
            manifest = with_value(manifest, ("gateway", "autoscaling", "maxReplicas"), 50)
        try:
            changed = EndpointSpec.model_validate(with_value(manifest, path, value))
        except ValidationError:  # a rule across fields refuses it
            continue
        decision = replace(ENDPOINT, resource=ENDPOINT.resource.model_copy(update={"spec": changed})).decide()
        (deployment,) = [
            e.manifest for e in decision.effects if isinstance(e, Apply) and e.manifest["kind"] == "Deployment"
        ]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        environment = {each["name"]: each.get("value", "postgresql://u:p@db/x") for each in container["env"]}
        Settings.from_environment(environment)
        published = golden_worlds.published(decision)
        assert published is None or Routing.from_json(published.to_json()) == published
        taken += 1
    assert taken


@pytest.mark.parametrize("path", VERSION_SETTINGS, ids=".".join)
def test_the_routing_document_takes_whatever_a_version_may_say(path: tuple[str, ...]) -> None:
    """Seen: a timeout over 300 s passed, and the Endpoint's decision failed."""
    own = {"model": {"uri": "pvc://m/x", "sha256": "a" * 64}}
    spec = {"external": {"baseURL": "https://api.test/v1", "model": "m"}} if path[0] == "external" else own
    if "autoscaling" in path:  # which goes by a request, and is nothing without its most pods
        spec = with_value(spec, ("serving", "resources", "requests", "cpu"), "2")
        spec = with_value(spec, ("serving", "autoscaling", "maxReplicas"), 50)
    if "sharedMemory" in path:
        spec = with_value(spec, ("serving", "runtime"), "huggingface")
    taken = 0
    for value in VERSION_SETTINGS[path]:
        manifest = {"kind": "ModelVersion", "metadata": {"name": "v"}, "spec": with_value(spec, path, value)}
        try:
            version = ModelVersion.model_validate(manifest)
        except ValidationError:
            continue
        target = arm_target(version, Policy())
        assert ArmTarget.model_validate_json(target.model_dump_json(by_alias=True)) == target
        taken += 1
    assert taken


def bounded(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, Within]]:
    for path, field in leaves(model):
        for each in field.metadata:
            if isinstance(each, Within):
                yield ".".join(path), field, each


BOUNDED = [*bounded(EndpointSpec), *bounded(ModelVersionSpec)]


@pytest.mark.parametrize(("name", "field", "within"), BOUNDED, ids=[name for name, _, _ in BOUNDED])
def test_bounds_are_taken_and_what_lies_outside_is_refused(name: str, field: FieldInfo, within: Within) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
    low, high = within.message.removeprefix("must be from ").split(" to ")
    least = "ms" if within.latency else "s"
    for value in (low, high, field.default):
        adapter.validate_python(value)
    for value in (
        f"{int(within.bounds.high) + 1}s",
        *([f"0{least}"] * (within.bounds.low > 0)),
        *([f"{int(within.bounds.low * 1000) - 1}ms"] * within.latency),
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(value)
    assert any(within.cel == rule["rule"] for rule in adapter.json_schema()["x-kubernetes-validations"])
    known = {id(v.range) for v in VARIABLES} | {id(each) for each in (*IN_THE_DOCUMENT, *OF_THE_OPERATOR)}
    said, taken = NARROWER.get(name, (within.bounds, within.bounds))
    assert within.bounds is said
    assert taken.low <= said.low <= said.high <= taken.high
    assert id(taken) in known, f"{name} has bounds of its own"


def test_each_bound_of_the_table_is_used_by_the_gateway() -> None:
    used = {id(variable.range) for variable in VARIABLES if variable.range is not None}
    used |= {id(each) for each in (*IN_THE_DOCUMENT, *OF_THE_OPERATOR)} | {id(said) for said, _ in NARROWER.values()}
    assert set(KNOWN) == used
