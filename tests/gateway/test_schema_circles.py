"""JSON Schemas of callers that go in circles, double at each step, or go down without end."""

import time
from typing import Any

import pytest

from tradewind.gateway.chat.spelling import FIELDS, form_of
from tradewind.gateway.errors import ApiError
from tradewind.trading.decision import decision_schema


def of_definitions(definitions: dict[str, Any]) -> dict[str, Any]:
    """A response format whose leverage is what the definition `a0` says."""
    schema: Any = decision_schema()
    properties = schema["properties"] | {"leverage": {"$ref": "#/$defs/a0"}}
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"schema": schema | {"properties": properties, "$defs": definitions}},
        }
    }


def refs(*names: str) -> dict[str, Any]:
    return {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}


@pytest.mark.parametrize(
    "definitions",
    [
        {"a0": refs("a0")},
        {"a0": refs("a1"), "a1": refs("a0")},
        {f"a{n}": refs(f"a{n + 1}", f"a{n + 1}") for n in range(40)} | {"a40": {"type": "text"}},
        {f"a{n}": refs(f"a{n + 1}") for n in range(3000)} | {"a3000": {"type": "integer"}},
    ],
    ids=["itself", "each other", "twice as many at each step", "a long way down"],
)
def test_a_schema_without_end_is_refused_at_once(definitions: dict[str, Any]) -> None:
    """Seen: the first two and the last ended in an internal error, the third in no answer for hours."""
    began = time.thread_time()
    with pytest.raises(ApiError) as error:
        form_of(of_definitions(definitions), "BTC")
    assert time.thread_time() - began < 1
    assert (error.value.status, str(error.value.code)) == (400, "unsupported_parameter")
    assert "leverage" in error.value.message


def test_a_schema_that_pydantic_makes_of_an_optional_reference_is_taken() -> None:
    definitions = {"a0": {"anyOf": [{"$ref": "#/$defs/a1"}, {"type": "null"}]}, "a1": {"type": "integer"}}
    assert form_of(of_definitions(definitions), "BTC").fields == FIELDS
