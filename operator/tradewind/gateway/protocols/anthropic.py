"""anthropic: the Messages API, as Anthropic and others serve it."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import JsonValue
from typing_extensions import override

from tradewind.gateway.answers import ArmError, parse_object
from tradewind.gateway.envelopes import arguments_text, only_call, without_comments
from tradewind.gateway.protocols.base import MAX_REMARK, ArmAnswer, ArmProtocol, ArmQuestion, Usage, read_text
from tradewind.gateway.reading import Rule
from tradewind.gateway.refusals import refusal
from tradewind.schema.storable import cleaned
from tradewind.trading.decision import decision_schema
from tradewind.trading.error_kinds import ErrorKind
from tradewind.trading.external_prompt import external_prompt

MAX_TOKENS = 4096
"""Where the version says nothing: the API demands a bound, every model takes this one, and a decision needs a tenth of it."""

_CUT_OFF: Mapping[str, str] = {
    "max_tokens": "the answer was cut off at its most tokens (stop_reason max_tokens); raise maxTokens",
    "model_context_window_exceeded": "question and answer fill the model's context (stop_reason "
    "model_context_window_exceeded); send less market_data, or choose a model with more",
}


class AnthropicMessages(ArmProtocol):
    """The instruction as system prompt, what is shown as the one message."""

    headers: ClassVar[Mapping[str, str]] = {"anthropic-version": "2023-06-01"}

    def request(self, question: ArmQuestion) -> tuple[str, Mapping[str, JsonValue]]:
        """One message, not streamed. The API has no mode for any JSON object: for json_object the contract asks for one."""
        target = question.target
        prompt = external_prompt(question.shown, question.symbol, question.limits, target.prompt)
        body: dict[str, JsonValue] = {
            "model": target.model,
            "max_tokens": MAX_TOKENS if target.max_tokens is None else target.max_tokens,
            "system": prompt.system,
            "messages": [{"role": "user", "content": prompt.user}],
            "stream": False,
        }
        if target.response_format == "json_schema":
            body["output_config"] = {"format": {"type": "json_schema", "schema": decision_schema()}}
        if target.temperature is not None:
            body["temperature"] = target.temperature
        return f"{target.base_url.rstrip('/')}/messages", {**body, **target.extra_body}

    def read(self, body: bytes, question: ArmQuestion) -> ArmAnswer:
        """The texts of the message, or the input of its one tool call; thoughts are no answer."""
        rules: set[Rule] = set()
        envelope = parse_object(without_comments(body, rules))
        text = _text(envelope, rules)
        model = envelope.get("model")
        return read_text(text, question, rules, model if isinstance(model, str) else None)

    @override
    def authenticate(self, credential: str) -> Mapping[str, str]:
        """A header of its own."""
        return {"x-api-key": credential}

    @override
    def usage(self, body: bytes) -> Usage | None:
        """Tokens; those that were read from the cache or written into it are not among `input_tokens`."""
        try:
            told = parse_object(without_comments(body, set())).get("usage")
        except ArmError:
            return None
        if not isinstance(told, dict):
            return None
        names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        parts = [0 if told.get(name) is None and name != "input_tokens" else told.get(name) for name in names]
        if not all(isinstance(part, int) and not isinstance(part, bool) and part >= 0 for part in parts):
            return None
        fresh, read, written = (int(str(part)) for part in parts)
        return Usage.of(fresh + read + written, read, told.get("output_tokens"), written)


def _text(envelope: Mapping[str, JsonValue], rules: set[Rule]) -> str:
    """What the message says, unless it is no whole answer."""
    if envelope.get("type") == "error" or envelope.get("error") is not None:
        raise refusal(None, envelope)
    why, content = envelope.get("stop_reason"), envelope.get("content")
    if isinstance(why, str) and why in _CUT_OFF:
        raise ArmError(ErrorKind.LENGTH, _CUT_OFF[why])
    if why == "refusal":
        raise ArmError(ErrorKind.REFUSAL, f"the model declined: {_explanation(envelope)}")
    if not isinstance(content, list):
        raise ArmError(ErrorKind.INVALID_JSON, "content: not a list of blocks")
    blocks = [block for block in content if isinstance(block, dict)]
    calls: list[JsonValue] = [block for block in blocks if block.get("type") == "tool_use"]
    texts = [block["text"] for block in blocks if block.get("type") == "text" and isinstance(block.get("text"), str)]
    text = "".join(map(str, texts))
    if calls and (why == "tool_use" or not text.strip()):
        call = only_call(calls)
        return arguments_text(call.get("input") if isinstance(call, dict) else None, "content.input", rules)
    if why == "pause_turn":
        raise ArmError(
            ErrorKind.INVALID_JSON, "the model paused (stop_reason pause_turn); take its tools from extraBody"
        )
    if not text.strip():
        raise ArmError(ErrorKind.EMPTY, "the answer is empty", again=True)
    if len(texts) > 1:
        rules.add(Rule.PARTS)
    return text


def _explanation(envelope: Mapping[str, JsonValue]) -> str:
    details = envelope.get("stop_details")
    said = details.get("explanation") if isinstance(details, dict) else None
    return cleaned(said, MAX_REMARK) if isinstance(said, str) and said.strip() else "stop_reason refusal"


PROTOCOL = AnthropicMessages()
