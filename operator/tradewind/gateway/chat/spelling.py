"""In which shape the client wants its answer, and whether every decision can be spelled in it.

A schema is held against all that a decision may be before anybody is asked: an answer that turned out not to fit would be
stored and could not be given. So a schema is taken where no decision breaks it, and refused by name where one might.

Belongs here: response formats, tools, JSON Schema. Does not belong here: writing the answer (answer.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from tradewind.gateway.chat.refused import not_offered, unreadable
from tradewind.gateway.errors import ApiError
from tradewind.trading.decision import Action, TradeDecision
from tradewind.trading.prompt import DECISION_FIELDS

FIELDS: Final = (*DECISION_FIELDS, "reasoning")
TRADED: Final = ("action", "size_usd", "leverage", "stop_loss_pct", "take_profit_pct")
"""Without one of these an answer is another trade. The symbol is known to who asked; confidence and reasoning are about the trade."""

Json = dict[str, JsonValue]
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "$comment", "$schema", "$id", "$defs", "definitions", "deprecated"}
)
_OF_THE_WHOLE = _ANNOTATIONS | {"type", "properties", "required", "additionalProperties"}
_MOST_REFERENCES = 16
_MOST_LOOKS = 100
"""Schemas within a field's: references may go in circles, or double at each step."""
_AS_A_TOOL_CALL = ("auto", "required")


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is spelled.

    Attributes:
        fields: of the decision, in their order.
        tool: name of the function whose arguments they are; None: they are the content.
    """

    fields: tuple[str, ...] = FIELDS
    tool: str | None = None


def form_of(body: Mapping[str, JsonValue], symbol: str) -> Form:
    """The shape that `response_format`, `tools` and `tool_choice` of a completion's body ask for.

    Args:
        body: of the completion.
        symbol: what is asked about: the one symbol that the answer will hold.

    Raises:
        ApiError: 400 a schema or a tool that some decision does not fit, or none that is read here.
    """
    content = _content_form(body.get("response_format"), symbol)
    tool = _tool_form(body.get("tools"), symbol)
    choice = body.get("tool_choice")
    if tool is None:
        if choice not in (None, "none", "auto"):
            raise unreadable("tool_choice", "there are no tools to choose from", "give tools, or leave tool_choice out")
        return content
    if choice == "none":
        return content
    if isinstance(choice, dict):
        function = choice.get("function")
        named = function.get("name") if isinstance(function, dict) else None
        if choice.get("type") != "function" or not isinstance(named, str):
            raise not_offered(
                "tool_choice", "only a function can be chosen", 'give {"type": "function", "function": {"name": ...}}'
            )
        if named != tool.tool:
            raise unreadable(
                "tool_choice.function.name", f"{named!r} is not among the tools", f"choose {tool.tool!r}, or auto"
            )
    elif choice is not None and choice not in _AS_A_TOOL_CALL:
        raise unreadable("tool_choice", "is not read here", "give auto, required, none or the function's name")
    return tool


def _content_form(response_format: JsonValue, symbol: str) -> Form:
    if response_format is None:
        return Form()
    if not isinstance(response_format, dict):
        raise unreadable("response_format", "is no object", 'give {"type": "json_object"}, or leave it out')
    match response_format.get("type"):
        case "text" | "json_object":
            return Form()
        case "json_schema":
            given = response_format.get("json_schema")
            schema = given.get("schema") if isinstance(given, dict) else None
            return Form(_fields_of(schema, "response_format.json_schema.schema", symbol))
        case _:
            raise not_offered("response_format.type", "is not offered here", "give text, json_object or json_schema")


def _tool_form(tools: JsonValue, symbol: str) -> Form | None:
    if tools is None or tools == []:
        return None
    if not isinstance(tools, list):
        raise unreadable("tools", "is no list", "give a list of one function, or leave it out")
    if len(tools) > 1:
        raise not_offered(
            "tools.1",
            "a decision is one call of one function, others are never called here",
            "give only the function whose parameters are a decision, and look up what it needs before asking",
        )
    tool = tools[0]
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(function, dict):
        raise not_offered("tools.0.type", "only functions are called here", 'give {"type": "function", ...}')
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise unreadable("tools.0.function.name", "is no text", "give the function a name")
    return Form(_fields_of(function.get("parameters"), f"tools.0.function.parameters ({name})", symbol), name)


def _fields_of(schema: JsonValue, where: str, symbol: str) -> tuple[str, ...]:
    """The fields of a decision that a schema has room for, all of which it takes whatever the decision is."""
    if not isinstance(schema, dict):
        raise unreadable(
            where, "is no JSON Schema of an object", "give the schema of a decision as docs/gateway.md has it"
        )
    definitions = _Definitions(schema)
    whole = definitions.resolved(schema)
    if not isinstance(whole, dict):
        raise _no_room(where, "the reference is not found in it")
    keyword = next((name for name in whole if name not in _OF_THE_WHOLE and not name.startswith("x-")), None)
    if keyword is not None:
        raise _no_room(f"{where}.{keyword}", "this keyword of the whole object is not read here")
    if whole.get("type", "object") != "object":
        raise _no_room(f"{where}.type", "a decision is an object")
    properties, required = whole.get("properties", {}), whole.get("required", [])
    closed = whole.get("additionalProperties", True)
    if not isinstance(properties, dict) or not isinstance(required, list) or not isinstance(closed, bool):
        raise _no_room(where, "properties, required or additionalProperties cannot be read")
    missing = next((name for name in TRADED if name not in properties), None)
    if missing is not None:
        raise _no_room(f"{where}.properties", f"{missing} is missing, and a decision without it is another trade")
    foreign = next((name for name in required if name not in FIELDS), None)
    if foreign is not None:
        raise _no_room(f"{where}.required", f"{foreign!r} is no field of a decision, so nobody could give it")
    for name in FIELDS:
        if name in properties:
            definitions.left = _MOST_LOOKS
            fault = _fault(properties[name], _domain(name, symbol), definitions)
            if fault is not None:
                raise _no_room(f"{where}.properties.{name}{fault[0]}", fault[1])
    return tuple(name for name in FIELDS if closed or name in properties)


def _no_room(where: str, why: str) -> ApiError:
    return not_offered(
        where,
        f"{why}; a schema must take every decision",
        f"declare {', '.join(TRADED)} as docs/gateway.md has them, and leave bounds to the Endpoint's limits; or use json_object",
    )


# --- whether a schema takes every value of a field ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Domain:
    """All values that a field of a decision may have.

    Attributes:
        types: of JSON Schema, each of which holds all of them.
        low: smallest number, or length of a text.
        high: largest.
        values: all of them; None: they are no list.
    """

    types: tuple[str, ...]
    low: float
    high: float
    values: tuple[str, ...] | None = None


def _domain(name: str, symbol: str) -> _Domain:
    """What the field may hold, as `TradeDecision` itself says."""
    if name in ("action", "symbol"):
        values = tuple(map(str, Action)) if name == "action" else (symbol,)
        return _Domain(("string",), min(map(len, values)), max(map(len, values)), values)
    said: Json = TradeDecision.model_json_schema()["properties"][name]
    if said["type"] == "string":
        return _Domain(("string",), 0, _number(said.get("maxLength"), math.inf))
    types = ("integer", "number") if said["type"] == "integer" else ("number",)
    return _Domain(types, _number(said.get("minimum"), -math.inf), _number(said.get("maximum"), math.inf))


class _Definitions:
    """The schemas that a schema refers to by name.

    Attributes:
        left: schemas that may still be looked at for one field.
    """

    def __init__(self, schema: Json) -> None:
        self._named = {
            f"#/{name}/{key}": each
            for name in ("$defs", "definitions")
            if isinstance(found := schema.get(name), dict)
            for key, each in found.items()
        }
        self.left = _MOST_LOOKS

    def resolved(self, schema: JsonValue) -> JsonValue:
        """The schema that a reference names, with what stands beside it as annotations; None: there is no such one."""
        for _ in range(_MOST_REFERENCES):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            if not schema.keys() <= _ANNOTATIONS | {"$ref"}:
                return None
            schema = self._named.get(str(schema["$ref"]))
        return None


def _fault(schema: JsonValue, domain: _Domain, definitions: _Definitions) -> tuple[str, str] | None:
    """Where (`.keyword`) and why a schema does not take every value; None: it does."""
    definitions.left -= 1
    if definitions.left < 0:
        return "", f"is made of more than {_MOST_LOOKS} schemas, or refers to itself"
    schema = definitions.resolved(schema)
    if schema is True:
        return None
    if not isinstance(schema, dict):
        return "", "is no schema, or a reference that is not found"
    for keyword, value in schema.items():
        why = (
            None
            if keyword in _ANNOTATIONS or keyword.startswith("x-")
            else _refuses(keyword, value, domain, definitions)
        )
        if why is not None:
            return f".{keyword}", why
    return None


def _refuses(keyword: str, value: JsonValue, domain: _Domain, definitions: _Definitions) -> str | None:
    """Why a keyword keeps a value out; None: it lets all of them in. JSON Schema ignores bounds of another type."""
    text = domain.types == ("string",)
    match keyword:
        case "type":
            given = value if isinstance(value, list) else [value]
            fits = any(name in given for name in domain.types)
            return None if fits else f"takes no {domain.types[0]}"
        case "enum" | "const":
            given = value if keyword == "enum" and isinstance(value, list) else [value]
            left = [each for each in domain.values or () if each not in given]
            if domain.values is None:
                return "is a list, the field is none"
            return f"{left[0]!r} is missing" if left else None
        case "anyOf":
            faults = [_fault(each, domain, definitions) for each in value] if isinstance(value, list) else [("", "")]
            return None if None in faults else "no branch takes every value"
        case "minimum" | "minLength":
            bound = _number(value, math.inf)
            return _bound(bound <= domain.low or (keyword == "minimum") == text, value, domain.low)
        case "maximum" | "maxLength":
            bound = _number(value, -math.inf)
            return _bound(bound >= domain.high or (keyword == "maximum") == text, value, domain.high)
        case "exclusiveMinimum":
            return _bound(_number(value, math.inf) < domain.low or text, value, domain.low)
        case "exclusiveMaximum":
            return _bound(_number(value, -math.inf) > domain.high or text, value, domain.high)
        case _:
            return "this keyword is not read here"


def _bound(holds: bool, value: JsonValue, reached: float) -> str | None:  # noqa: FBT001 - read at its one place
    if holds:
        return None
    return f"{value} keeps values out: the field may be {'of any size' if math.isinf(reached) else f'{reached:g}'}"


def _number(value: JsonValue, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
