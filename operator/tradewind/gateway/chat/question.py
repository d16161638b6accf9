"""The question that a completion's body spells: a decision's request, read from its messages and its metadata.

What a decision rests on comes from three places, none of which is guessed from prose:

- a user message that is the JSON of a decision's body (`scope`, `market_data`, `account_state`, ...), as `/v1/decisions` takes it;
- `metadata`, by the same names, `symbol` and `book` beside them;
- every other message, system and user alike: `market_data.messages`, in order, as it stands.

Belongs here: what is read, what is without effect, what is refused. Does not belong here: how the answer is spelled
(spelling.py), ids that nobody gave (identity.py).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue, ValidationError

from tradewind.gateway import errors
from tradewind.gateway.bodies import parsed_json
from tradewind.gateway.chat.refused import not_offered, unreadable
from tradewind.gateway.chat.spelling import Form, form_of
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.schema.storable import STRICT_JSON, RefusedJsonError, unstorable
from tradewind.trading.decision import DecisionRequest
from tradewind.trading.routing import Routing

Json = dict[str, JsonValue]
MESSAGES: Final = "messages"
"""Field of `market_data` in which an arm is shown the texts."""

METADATA: Final = ("decision_id", "position_id", "symbol", "book", "as_of", "market_data", "account_state")
_SCOPE = ("symbol", "book")
_OBJECTS = ("market_data", "account_state")
_OF_A_DECISION = frozenset({"scope", "market_data", "account_state"})
_READ = frozenset({"model", "messages", "metadata", "response_format", "tools", "tool_choice"})
WITHOUT_EFFECT: Final = frozenset({
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty", "seed", "user",
    "store", "service_tier", "reasoning_effort", "verbosity", "parallel_tool_calls", "prompt_cache_key",
    "prompt_cache_retention", "safety_identifier", "thinking",
})  # fmt: skip
"""Parameters that say how a model is to be asked. The Endpoint's versions say that here, the same for every caller, or the arms of a
test were not asked alike. The answer names those that were sent."""
_NEUTRAL: Mapping[str, tuple[tuple[JsonValue, ...], str]] = {
    "stream": ((None, False), "a decision is given whole, once it is stored; leave stream out"),
    "stream_options": ((None,), "leave it out; nothing is streamed here"),
    "n": ((None, 1), "one question has one answer; leave n out, or ask again with another decision_id"),
    "stop": ((None, []), "leave it out; an answer is a whole decision"),
    "logprobs": (
        (None, False),
        "leave it out; own models tell probabilities of the actions in tradewind._probabilities",
    ),
    "top_logprobs": (
        (None, 0),
        "leave it out; own models tell probabilities of the actions in tradewind._probabilities",
    ),
    "logit_bias": ((None, {}), "leave it out; which decisions are allowed is in the Endpoint's limits"),
    "modalities": ((None, ["text"]), "leave it out; answers are text"),
    "functions": ((None,), "give the function in tools"),
    "function_call": ((None,), "choose the function by tool_choice"),
}
"""Parameters that would change what comes back, with the values that ask for nothing, and the remedy for all others."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A completion's body, read.

    Attributes:
        request: what is asked; its id is None where the body has none.
        form: in which shape it is to be answered.
        without_effect: parameters that were sent and change nothing here.
    """

    request: DecisionRequest
    form: Form
    without_effect: tuple[str, ...]


def read_chat(body: bytes, model: str, routing: Routing) -> Chat:
    """A completion's body as a question.

    Args:
        body: bytes of the HTTP body.
        model: the only one that is served here.
        routing: for the Endpoint's symbols, and for what may leave the cluster.

    Raises:
        ApiError: 400 no JSON, a field that is not read here, or no question in it; 404 another model; 422 a value that
            cannot be stored.
    """
    value = parsed_json(body)
    if not isinstance(value, dict):
        raise unreadable("body", "is no object", "send the body of a chat completion")
    fault = unstorable(value)
    if fault is not None:
        raise unreadable(fault.field, fault.what, "leave it out, or send null where there is no value")
    _check_names(value)
    _check_model(value.get("model"), model)
    request = _request(value, routing)
    without = tuple(sorted(name for name in WITHOUT_EFFECT if value.get(name) is not None))
    return Chat(request, form_of(value, request.scope.symbol), without)


def _check_names(value: Json) -> None:
    for name, given in value.items():
        if name in _NEUTRAL:
            allowed, remedy = _NEUTRAL[name]
            if not any(given == each and type(given) is type(each) for each in allowed):
                raise not_offered(name, "is not offered here", remedy)
        elif name not in _READ and name not in WITHOUT_EFFECT:
            raise not_offered(
                name, "is not read here", f"remove {name}; unknown fields are refused so that none is ignored"
            )


def _check_model(given: JsonValue, model: str) -> None:
    if given != model:
        shown = repr(given) if isinstance(given, str) else "no text"
        raise ApiError(
            ErrorCode.MODEL_NOT_FOUND,
            f"model: {shown[:100]} is not served here",
            f"ask for {model}, or another Endpoint's gateway; which version answers is the Endpoint's to say",
            field="model",
        )


def _request(value: Json, routing: Routing) -> DecisionRequest:
    """The decision's request that messages and metadata spell together."""
    question = _Question()
    for where, role, said in _spoken(value.get("messages")):
        body = said if role == "user" and isinstance(said, dict) and _OF_A_DECISION & said.keys() else None
        if body is None:
            question.texts.append({"role": role, "content": said})
            question.first_text = question.first_text or where
        elif question.body is not None:
            raise unreadable(
                where, f"is a second decision's body, after {question.where}", "ask one question at a time"
            )
        else:
            question.body, question.where = body, where
    metadata = _metadata(value.get("metadata"))
    return question.request(metadata, routing)


class _Question:
    """What was found so far."""

    def __init__(self) -> None:
        self.body: Json | None = None
        self.where = ""
        self.texts: list[JsonValue] = []
        self.first_text = ""

    def request(self, metadata: Json, routing: Routing) -> DecisionRequest:
        """All of it as one request.

        Raises:
            ApiError: 400 a field is missing, told twice, or not as `/v1/decisions` has it.
        """
        fields = dict(self.body or {})
        scope = fields.pop("scope", {})
        if not isinstance(scope, dict):
            raise unreadable(f"{self.where}.scope", "is no object", 'give {"symbol": ...}')
        scope = dict(scope)
        for name, given in metadata.items():
            target, path = (scope, f"scope.{name}") if name in _SCOPE else (fields, name)
            if name in target:
                raise unreadable(
                    f"metadata.{name}", f"is told in {self.where}.{path}, too", "give it at one of the two places"
                )
            target[name] = given
        symbols = routing.limits.symbols
        if "symbol" not in scope and symbols is not None and len(symbols) == 1:
            scope["symbol"] = symbols[0]  # no other may be asked about
        if "symbol" not in scope:
            raise unreadable(
                "metadata.symbol",
                "the symbol that is asked about is missing, and is not guessed from text",
                'give metadata={"symbol": ...}, or scope.symbol in the JSON of a user message',
            )
        fields["scope"] = scope
        self._add_texts(fields, routing)
        if "market_data" not in fields:
            raise unreadable(
                "messages",
                "there is nothing to decide on",
                "say it in a user message, or give market_data in metadata or in the JSON of a user message",
            )
        fields.setdefault("account_state", {})
        try:
            return DecisionRequest.model_validate(fields)
        except ValidationError as error:
            raise self._told(errors.from_validation(error), metadata) from None

    def _add_texts(self, fields: Json, routing: Routing) -> None:
        """Puts every other message where the arms see it."""
        if not self.texts:
            return
        if routing.external_fields is not None and any(arm.outside for arm in routing.arms.values()):
            raise unreadable(
                self.first_text,
                "the Endpoint says which fields of account_state may leave the cluster (externalFields), and nobody can say which of "
                "them stand in a text",
                "leave text out, system messages too, and send the JSON of a decision's body as the only message",
            )
        market = fields.setdefault("market_data", {})
        if isinstance(market, dict) and MESSAGES in market:
            raise unreadable(
                self.first_text,
                f"market_data has a field {MESSAGES} of its own, in which an arm would be shown this text",
                "call that field otherwise, or leave the text out",
            )
        if isinstance(market, dict):
            fields["market_data"] = {**market, MESSAGES: self.texts}

    def _told(self, error: ApiError, metadata: Json) -> ApiError:
        """The error of a field, named as the caller sent it."""
        field = error.field or ""
        name = field.removeprefix("scope.").partition(".")[0]
        rest = field.removeprefix("scope.")
        where = f"metadata.{rest}" if name in metadata or self.body is None else f"{self.where}.{field}"
        message = error.message.removeprefix(f"{field}: ")
        return unreadable(where if field else self.where or "messages", message, error.remedy)


def _metadata(value: JsonValue) -> Json:
    """The fields of `metadata`, objects among them read from the texts that the protocol makes of them."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise unreadable("metadata", "is no object", f"give an object of {', '.join(METADATA)}")
    for name in value:
        if name not in METADATA:
            raise unreadable(
                f"metadata.{name}",
                "is not read here",
                "give symbol: one question is about one"
                if name == "symbols"
                else f"remove it; read are {', '.join(METADATA)}, others are refused so that none is ignored",
            )
    given = {name: each for name, each in value.items() if each is not None}
    return {name: _object(f"metadata.{name}", each) if name in _OBJECTS else each for name, each in given.items()}


def _object(where: str, value: JsonValue) -> JsonValue:
    """An object, or the one that a text holds."""
    if not isinstance(value, str):
        return value
    read = _json(where, value)
    if not isinstance(read, dict):
        raise unreadable(
            where, "is a text that holds no JSON object", "give json.dumps of an object, or the object itself"
        )
    return read


def _spoken(messages: JsonValue) -> Iterator[tuple[str, str, JsonValue]]:
    """Where, by whom and what was said: a text, or the object that it is the JSON of."""
    if not isinstance(messages, list) or not messages:
        raise unreadable("messages", "is no list of messages", "give at least one user message")
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        if not isinstance(message, dict):
            raise unreadable(where, "is no object", 'give {"role": "user", "content": ...}')
        role = message.get("role")
        if role in ("assistant", "tool", "function"):
            raise not_offered(
                f"{where}.role",
                f"messages of {role} are not passed on: an earlier answer may be the other arm's, and neither may see those",
                "send system and user messages; the gateway shows each arm its own past",
            )
        if role not in ("system", "developer", "user"):
            raise unreadable(f"{where}.role", "is not read here", "give system, developer or user")
        name = next((name for name in message if name not in ("role", "content")), None)
        if name is not None:
            raise unreadable(f"{where}.{name}", "is not read here", f"remove {name}, or say it in the content")
        for path, text in _texts(f"{where}.content", message.get("content")):
            yield path, role, _said(path, text)


def _texts(where: str, content: JsonValue) -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        yield where, content
        return
    if not isinstance(content, list):
        raise unreadable(where, "is neither a text nor a list of parts", "give the text")
    for index, part in enumerate(content):
        path = f"{where}.{index}"
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise not_offered(path, "only parts of type text are read here", "say it in words, or leave it out")
        yield path, text


def _said(where: str, text: str) -> JsonValue:
    """A text as it stands, or the object that it is the JSON of."""
    stripped = text.strip()
    if not stripped:
        raise unreadable(where, "is empty", "say something, or leave the message out")
    if not (stripped.startswith("{") and stripped.endswith("}")):
        return text
    return _json(where, stripped)


def _json(where: str, text: str) -> JsonValue:
    """What a text is the JSON of. One that looks like an object and is none was meant to be read: it is not passed on as prose."""
    try:
        value: JsonValue = STRICT_JSON.decode(text.strip())
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, RefusedJsonError | json.JSONDecodeError) else "it is nested too deep"
        raise unreadable(
            where, f"looks like JSON and is none: {said}", "correct it; json.dumps(..., allow_nan=False) says where"
        ) from None
    fault = unstorable(value)
    if fault is not None:
        raise unreadable(f"{where}.{fault.field}", fault.what, "leave it out, or send null where there is no value")
    return value
