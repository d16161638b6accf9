"""openai: chat completions with a JSON object as answer, as DeepSeek and others serve them."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from tradewind.gateway.answers import ArmError, parse_object
from tradewind.gateway.envelopes import arguments_text, only_call, without_comments
from tradewind.gateway.protocols.base import MAX_REMARK, ArmAnswer, ArmProtocol, ArmQuestion, Usage, read_text
from tradewind.gateway.reading import Rule
from tradewind.gateway.refusals import refusal
from tradewind.schema.storable import cleaned
from tradewind.trading.decision import decision_schema
from tradewind.trading.error_kinds import ErrorCause, ErrorKind
from tradewind.trading.external_prompt import external_prompt

_FORMATS: Mapping[str, JsonValue] = {
    "json_object": {"type": "json_object"},
    "json_schema": {
        "type": "json_schema",
        "json_schema": {"name": "decision", "strict": True, "schema": decision_schema()},
    },
}


class OpenAIChat(ArmProtocol):
    """The instruction as system message, what is shown as the user's."""

    def request(self, question: ArmQuestion) -> tuple[str, Mapping[str, JsonValue]]:
        """One completion, not streamed, with what the version says of temperature, format and tokens."""
        target = question.target
        prompt = external_prompt(question.shown, question.symbol, question.limits, target.prompt)
        body: dict[str, JsonValue] = {
            "model": target.model,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            "stream": False,
        }
        if target.response_format != "none":
            body["response_format"] = _FORMATS[target.response_format]
        if target.temperature is not None:
            body["temperature"] = target.temperature
        if target.max_tokens is not None:
            body["max_tokens"] = target.max_tokens
        return f"{target.base_url.rstrip('/')}/chat/completions", {**body, **target.extra_body}

    def read(self, body: bytes, question: ArmQuestion) -> ArmAnswer:
        """The content of the first choice; the name that the API gives itself is model and fingerprint."""
        rules: set[Rule] = set()
        envelope = parse_object(without_comments(body, rules))
        text = _text(_message(envelope), rules)
        said = [envelope.get(name) for name in ("model", "system_fingerprint")]
        return read_text(text, question, rules, "/".join(part for part in said if isinstance(part, str)))

    def usage(self, body: bytes) -> Usage | None:
        """Tokens by the names of OpenAI and of DeepSeek, which has its own for the cache."""
        try:
            told = parse_object(without_comments(body, set())).get("usage")
        except ArmError:
            return None
        if not isinstance(told, dict):
            return None
        details = told.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        return Usage.of(
            told.get("prompt_tokens"),
            told.get("prompt_cache_hit_tokens") if cached is None else cached,
            told.get("completion_tokens"),
        )


def _message(envelope: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """The message of the first choice, unless it is no whole answer."""
    choices = envelope.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        if envelope.get("error") is not None:
            raise refusal(None, envelope)
        raise ArmError(ErrorKind.INVALID_JSON, "choices: not a list with an answer in it")
    why = first.get("finish_reason")
    message = first.get("message")
    if why == "length":
        raise ArmError(
            ErrorKind.LENGTH, "the answer was cut off at its most tokens (finish_reason length); raise maxTokens"
        )
    if why == "content_filter":
        raise ArmError(
            ErrorKind.CONTENT_FILTER, "a filter of the API took the answer away (finish_reason content_filter)"
        )
    if why == "insufficient_system_resource":
        raise ArmError(
            ErrorKind.STATUS, f"the API is overloaded (finish_reason {why})", cause=ErrorCause.OVERLOADED, again=True
        )
    if not isinstance(message, dict):
        raise ArmError(ErrorKind.INVALID_JSON, "choices.0.message: not an object")
    declined = message.get("refusal")
    if isinstance(declined, str) and declined.strip():
        raise ArmError(ErrorKind.REFUSAL, f"the model declined: {cleaned(declined, MAX_REMARK)}")
    return message


def _text(message: Mapping[str, JsonValue], rules: set[Rule]) -> str:
    """What the message says: its content, the texts of its parts, or the arguments of its one tool call."""
    content = message.get("content")
    if isinstance(content, list):
        rules.add(Rule.PARTS)
        content = "".join(_texts(content))
    if isinstance(content, str) and content.strip():
        return content
    if content is not None and not isinstance(content, str):
        raise ArmError(ErrorKind.INVALID_JSON, "choices.0.message.content: neither a text nor a list of parts")
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        call = only_call(calls)
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        return arguments_text(arguments, "choices.0.message.tool_calls.0.function.arguments", rules)
    raise ArmError(ErrorKind.EMPTY, "the answer is empty", again=True)


def _texts(parts: list[JsonValue]) -> Iterator[str]:
    """The texts among the parts; thoughts are parts too, of another type."""
    for part in parts:
        if isinstance(part, str):
            yield part
        elif (
            isinstance(part, dict) and part.get("type") in ("text", "output_text") and isinstance(part.get("text"), str)
        ):
            yield str(part["text"])


PROTOCOL = OpenAIChat()
