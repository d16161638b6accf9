"""Objects as an API server may hand them over: parsed or refused by field, decided without an exception, never out of bounds."""

import json
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import jsonschema_rs
import pytest
from fuzz_objects import CANARY, Drawn, drawn, kinds, schema_of
from golden_worlds import decide, shown
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradewind.api.common import Resource
from tradewind.api.parse import InvalidSpec, name_is_valid, parse, parse_manifest
from tradewind.api.registry import BY_KIND
from tradewind.cli.lint import lint
from tradewind.core.decision import Apply, Create

OBJECTS = int(os.environ.get("TRADEWIND_FUZZ_OBJECTS", "100000"))
"""Objects of the soak."""
_UNKNOWN = "unknown field"


def _json_schema(schema: Any) -> Any:
    """A structural schema as JSON Schema: what the API server checks without rules in CEL."""
    if isinstance(schema, list):
        return [_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: _json_schema(value)
        for key, value in schema.items()
        if not key.startswith("x-") and key not in ("default", "description")
    }
    if schema.get("x-kubernetes-int-or-string"):
        made = {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": made.get("maxLength", 10**6)}]}
    return made


@cache
def _validator(kind: str, part: str) -> jsonschema_rs.Validator:
    schema = _json_schema(schema_of(kind)["properties"][part])
    return jsonschema_rs.validator_for(
        {"$schema": "http://json-schema.org/draft-04/schema#", **schema}, validate_formats=True
    )


def _demand_schema(kind: str, part: str, value: Any) -> None:
    wrong = [f"{error.instance_path}: {error.message}" for error in _validator(kind, part).iter_errors(value)]
    assert not wrong


def _without_nulls(value: Any) -> Any:
    """Without fields that are null, which an API server prunes."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def through(one: Drawn, folder: Path | None = None) -> str:
    """Holds one object to what holds for all; what came of it."""
    kind = BY_KIND[one.kind]
    before = json.dumps(one.raw)
    parsed, strict = parse(kind.resource, one.raw), parse_manifest(one.raw)
    assert json.dumps(one.raw) == before
    if folder is not None:
        _demand_lint(one, strict, folder / f"object-{os.getpid()}.json")
    try:
        before.encode().decode("unicode_escape").encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:  # half a surrogate pair, which no API server hands over
        return "refused"
    if isinstance(strict, Resource):
        assert strict == parsed
        _demand_schema(one.kind, "spec", _without_nulls(one.raw["spec"]))
    if isinstance(parsed, InvalidSpec):
        assert isinstance(strict, InvalidSpec)
        for error in parsed.errors:
            assert error.path, error
            assert error.message, error
        assert CANARY not in parsed.message
        assert CANARY not in strict.message
        parsed.message.encode("utf-8", "surrogatepass")
        return "refused"
    if isinstance(strict, InvalidSpec):
        assert all(_UNKNOWN in error.message or error.path == "metadata.name" for error in strict.errors), (
            strict.message
        )
        assert CANARY not in strict.message
    if not name_is_valid(parsed):  # no API server has it
        return "refused"
    _demand_decision(one, parsed)
    return "decided"


def _demand_lint(one: Drawn, strict: Resource | InvalidSpec, file: Path) -> None:
    """`tradewind lint` refuses what the strict reading refuses, and names the same fields."""
    try:
        file.write_text(json.dumps(one.raw), encoding="utf-8")
    except UnicodeEncodeError:
        return
    problems = list(lint(file))
    assert not any(CANARY in problem for problem in problems)
    if isinstance(strict, InvalidSpec):
        unreadable = any("cannot be read" in problem for problem in problems)  # JSON that is no YAML
        for error in strict.errors:
            assert unreadable or any(error.path in problem for problem in problems), (error, problems)
    else:
        known = ("annotations", "promptTemplate", "cannot be read")
        assert all(any(word in problem for word in known) for problem in problems), problems


def _demand_decision(one: Drawn, resource: Resource) -> None:
    seen = repr(one.case.seen)
    first, second = decide(resource, one.case.seen, one.case.now), decide(resource, one.case.seen, one.case.now)
    said = shown(first)
    assert said == shown(second)
    assert repr(one.case.seen) == seen
    manifests = [dict(effect.manifest) for effect in first.effects if isinstance(effect, Apply | Create)]
    texts = [json.dumps(manifest, allow_nan=False) for manifest in manifests]
    texts += [json.dumps(said, allow_nan=False, default=str)]
    assert not any(CANARY in text for text in texts)
    assert all(manifest["kind"] != "Secret" for manifest in manifests)
    status = first.status.to_manifest()  # type: ignore[attr-defined]
    _demand_schema(one.kind, "status", status)
    for manifest in manifests:
        ours = BY_KIND.get(manifest["kind"])
        if ours is not None:
            assert isinstance(parse(ours.resource, manifest), Resource), manifest


@pytest.mark.parametrize("kind", kinds())
@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=[*HealthCheck])
@given(random=st.randoms(use_true_random=False))
def test_no_object_is_more_than_its_own_error(
    kind: str, random: Random, tmp_path_factory: pytest.TempPathFactory
) -> None:
    through(drawn(random, kind), tmp_path_factory.getbasetemp() if random.randrange(4) == 0 else None)


def soak(first: int, count: int, folder: str) -> Counter[str]:
    """Holds the objects of `count` seeds to it.

    Raises:
        AssertionError: with the seed and the object.
    """
    found = Counter[str]()
    for seed in range(first, first + count):
        one = drawn(Random(seed))
        try:
            found[f"{one.kind} {through(one, Path(folder) if seed % 100 == 0 else None)}"] += 1
        except Exception as error:
            raise AssertionError(
                f"seed {seed}: {type(error).__name__}: {str(error)[:800]}: {one.about}: {json.dumps(one.raw)}"
            ) from error
    return found


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_no_object_of_a_hundred_thousand_is_more_than_its_own_error(tmp_path: Path) -> None:
    workers, found = os.cpu_count() or 1, Counter[str]()
    share = -(-OBJECTS // (workers * 20))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        parts = [
            pool.submit(soak, first, min(share, OBJECTS - first), str(tmp_path)) for first in range(0, OBJECTS, share)
        ]
        for part in parts:
            found += part.result()
    print(dict(sorted(found.items())))
    assert found.total() == OBJECTS
    assert all(found[f"{kind} {what}"] for kind in kinds() for what in ("refused", "decided"))
