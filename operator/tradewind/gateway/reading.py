"""What an external API said, read as the one decision that it can only mean; which rule was needed is part of the result.

Belongs here: text to the fields of a decision, without changing a value. Does not belong here: envelopes (protocols/), and
whether the decision is valid (answers.py). Never guessed: percent against fraction, numbers that are none, text that was cut
off, keys that come twice, several answers at once. Our own models are held to the schema as it stands and are not read here.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from tradewind.gateway.answers import ArmError, parse_json, refused_json
from tradewind.schema.storable import STRICT_JSON, RefusedJsonError, cleaned, unstorable
from tradewind.trading.decision import MAX_REASONING, Action, TradeDecision
from tradewind.trading.error_kinds import ErrorKind

MAX_EXTRA_BYTES = 4096
_NUMBERS = ("size_usd", "leverage", "stop_loss_pct", "take_profit_pct", "confidence")
_OF_AN_OPENING: Mapping[str, int] = {"size_usd": 0, "leverage": 1, "stop_loss_pct": 0, "take_profit_pct": 0}
"""What hold and close need not say, with the values that an own model writes there."""
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_FENCE = re.compile(r"```[a-zA-Z0-9_-]*[ \t]*\r?\n(.*)\r?\n[ \t]*```", re.DOTALL)
_BEGINS = re.compile(r"\{\s*(.?)", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_TAG = "(think|thinking|thought|reasoning)"
_THOUGHT = re.compile(rf"<{_TAG}>.*?</\1>", re.DOTALL | re.IGNORECASE)
_END_OF_THOUGHT = re.compile(rf"</{_TAG}>", re.IGNORECASE)
_OPEN_THOUGHT = re.compile(rf"<{_TAG}>", re.IGNORECASE)
_ACTIONS = frozenset(Action)


class Rule(StrEnum):
    """What was needed to read an answer; stored with it and counted per arm."""

    COMMENTS = "comments"
    """Comments of an event stream stood before the body."""
    PARTS = "parts"
    """The content was a list of parts, of which the texts are the answer."""
    TOOL_CALL = "tool_call"
    """The answer came as the arguments of one tool call."""
    FENCE = "fence"
    """A Markdown fence stood around it."""
    PROSE = "prose"
    """Prose or thoughts stood around exactly one JSON object."""
    WRAPPED = "wrapped"
    """It lay under its symbol, or in a list of one."""
    CASE = "case"
    """Letters of the action or the symbol were of another case."""
    ALIAS = "alias"
    """The symbol was spelled as one of symbolAliases."""
    STRINGS = "strings"
    """Numbers came as strings."""
    HOLD = "hold"
    """hold or close without what only an opening needs."""
    EXTRA = "extra"
    """It had fields that a decision has not; they are kept beside it."""
    LONG = "long"
    """Its reasoning was cut at 4,000 characters."""


@dataclass(frozen=True, slots=True)
class Read:
    """Fields of a decision as they stand, the rules that were needed, and what the answer said beside them.

    Attributes:
        fields: by the names of `TradeDecision`; not validated yet.
        rules: in the order of `Rule`.
        extra: fields that a decision has not, at most 4 KiB as JSON; None: there were none.
    """

    fields: dict[str, JsonValue]
    rules: tuple[Rule, ...]
    extra: dict[str, JsonValue] | None


def read_answer(text: str, *, symbol: str, aliases: Sequence[str] = ()) -> Read:
    """The decision that a text can only mean.

    Args:
        text: what the API said.
        symbol: what was asked about.
        aliases: other spellings of it.

    Raises:
        ArmError: empty, invalid_json or invalid_decision, with what is wrong.
    """
    rules: set[Rule] = set()
    fields = dict(_unwrapped(_object_in(text, rules), symbol, aliases, rules))
    _read_action(fields, rules)
    _read_numbers(fields, rules)
    _read_symbol(fields, symbol, aliases, rules)
    _read_hold(fields, symbol, rules)
    _read_reasoning(fields, rules)
    extra = {name: fields.pop(name) for name in list(fields) if name not in TradeDecision.model_fields}
    if extra:
        rules.add(Rule.EXTRA)
    return Read(fields, tuple(rule for rule in Rule if rule in rules), _bounded(extra) if extra else None)


def _object_in(text: str, rules: set[Rule]) -> JsonValue:
    """The JSON value that the text is, or the one object that it holds."""
    text = text.strip().removeprefix("\ufeff").strip()
    if not text:
        raise ArmError(ErrorKind.EMPTY, "the answer is empty")
    try:
        return parse_json(text)
    except ArmError as error:
        if error.refused:
            raise
    without = _without_thoughts(text).strip()
    fenced = _FENCE.fullmatch(without)
    if fenced is not None and "```" not in fenced[1]:
        inner = fenced[1].strip()
        rules.add(Rule.FENCE if without == text else Rule.PROSE)
        try:
            return parse_json(inner)
        except ArmError as error:
            if error.refused:
                raise
            without = inner
    rules.discard(Rule.FENCE)
    rules.add(Rule.PROSE)
    return _only_object(without)


def _without_thoughts(text: str) -> str:
    """The text after the thoughts. One that was opened and never closed was cut off: what is in it is no answer."""
    text = _THOUGHT.sub("", text)
    ends = list(_END_OF_THOUGHT.finditer(text))
    if ends:  # some templates swallow the opening tag
        text = text[ends[-1].end() :]
    opened = _OPEN_THOUGHT.search(text)
    if opened is not None:
        raise ArmError(
            ErrorKind.INVALID_JSON, f"a thought ({opened[0]}) was begun and never ended: the answer is cut off"
        )
    return text


def _only_object(text: str) -> dict[str, JsonValue]:
    """The one JSON object in a prose.

    A brace that begins like JSON and is none spoils it: what is broken or cut off may hold whole objects that are not the answer.
    """
    found: list[dict[str, JsonValue]] = []
    at = text.find("{")
    while at >= 0:
        begins = _BEGINS.match(text, at)
        if begins is not None and begins[1] not in ('"', "}", ""):
            placeholder = _PLACEHOLDER.match(text, at)
            if placeholder is None:
                raise _broken()
            at = text.find("{", placeholder.end())
            continue
        value, end = _object_at(text, at)
        found.append(value)
        at = text.find("{", end)
    if not found:
        raise ArmError(ErrorKind.INVALID_JSON, "the answer holds no JSON object")
    if len(found) > 1:
        raise ArmError(
            ErrorKind.INVALID_JSON, f"the answer holds {len(found)} JSON objects: which one is meant is not said"
        )
    return found[0]


def _unwrapped(value: JsonValue, symbol: str, aliases: Sequence[str], rules: set[Rule]) -> Mapping[str, JsonValue]:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
        rules.add(Rule.WRAPPED)
    if not isinstance(value, dict):
        what = f"a list of {len(value)}" if isinstance(value, list) else "no object"
        raise ArmError(ErrorKind.INVALID_JSON, f"the answer is JSON, but {what}")
    if len(value) == 1:
        ((name, inner),) = value.items()
        if isinstance(inner, list) and len(inner) == 1:
            inner = inner[0]
        if isinstance(inner, dict) and _names(name, symbol, aliases):
            rules.add(Rule.WRAPPED)
            return {"symbol": name, **inner}
    return value


def _read_action(fields: dict[str, JsonValue], rules: set[Rule]) -> None:
    said = fields.get("action")
    if isinstance(said, str) and said not in _ACTIONS and (lower := said.strip().lower()) in _ACTIONS:
        fields["action"] = lower
        rules.add(Rule.CASE)


def _read_numbers(fields: dict[str, JsonValue], rules: set[Rule]) -> None:
    for name in _NUMBERS:
        said = fields.get(name)
        if isinstance(said, str) and _NUMBER.fullmatch(said.strip()) and len(said) <= 40:
            number = float(said)
            fields[name] = int(number) if number.is_integer() and abs(number) < 2**53 else number
            rules.add(Rule.STRINGS)


def _read_symbol(fields: dict[str, JsonValue], symbol: str, aliases: Sequence[str], rules: set[Rule]) -> None:
    said = fields.get("symbol")
    if not isinstance(said, str) or said == symbol:
        return
    if said.strip().casefold() == symbol.casefold():
        rules.add(Rule.CASE)
    elif _names(said, symbol, aliases):
        rules.add(Rule.ALIAS)
    else:
        return
    fields["symbol"] = symbol


def _read_hold(fields: dict[str, JsonValue], symbol: str, rules: set[Rule]) -> None:
    """What hold and close need not say is filled in as an own model writes it; a size or stop that cannot be one asks for nothing."""
    if fields.get("action") not in (Action.HOLD, Action.CLOSE):
        return
    for name, neutral in _OF_AN_OPENING.items():
        said = fields.get(name)
        if said is None or (_is_number(said) and not _fits(name, said)):
            fields[name] = neutral
            rules.add(Rule.HOLD)
    for name, value in (("symbol", symbol), ("confidence", 0)):
        if fields.get(name) is None:
            fields[name] = value
            rules.add(Rule.HOLD)


def _read_reasoning(fields: dict[str, JsonValue], rules: set[Rule]) -> None:
    said = fields.get("reasoning", "")
    if said is None:
        fields["reasoning"] = ""
    elif isinstance(said, str) and len(said) > MAX_REASONING:
        fields["reasoning"] = said[:MAX_REASONING]
        rules.add(Rule.LONG)
    elif not isinstance(said, str):
        fields["reasoning"] = cleaned(json.dumps(said, ensure_ascii=False), MAX_REASONING)


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits(name: str, value: JsonValue) -> bool:
    """Whether a number is within the schema's bounds of a field that asks for nothing."""
    assert isinstance(value, int | float)
    if name == "leverage":
        return 1 <= value <= 1000 and float(value).is_integer()
    return 0 <= value <= {"size_usd": float("inf"), "stop_loss_pct": 1, "take_profit_pct": 10}[name]


def _names(said: str, symbol: str, aliases: Sequence[str]) -> bool:
    return said.strip().casefold() in {symbol.casefold(), *(alias.casefold() for alias in aliases)}


def _bounded(extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """As many of the fields, in their order, as can be stored within the bound."""
    kept: dict[str, JsonValue] = {}
    room = MAX_EXTRA_BYTES
    for name, value in extra.items():
        if unstorable({name: value}) is None:
            room -= len(json.dumps({name: value}))
            if room < 0:
                break
            kept[name] = value
    return kept


def _object_at(text: str, at: int) -> tuple[dict[str, JsonValue], int]:
    """The JSON object that begins at a place, and where it ends."""
    try:
        value, end = STRICT_JSON.raw_decode(text, at)
    except RefusedJsonError as error:
        raise refused_json(error) from None
    except (ValueError, RecursionError):
        raise _broken() from None
    assert isinstance(value, dict)
    return value, end


def _broken() -> ArmError:
    return ArmError(ErrorKind.INVALID_JSON, "a JSON object in the answer is broken or cut off")
