"""openai: chat completions with a JSON object as answer, as DeepSeek and others serve them."""

from collections.abc import Mapping

from pydantic import JsonValue

from tradewind.gateway.answers import ArmError, parse_decision, parse_object
from tradewind.gateway.protocols.base import ArmAnswer, ArmProtocol, ArmQuestion
from tradewind.trading.error_kinds import ErrorKind
from tradewind.trading.prompt import INSTRUCTION, render_prompt


class OpenAIChat(ArmProtocol):
    """The instruction as system message, what is shown as the user's."""

    def request(self, question: ArmQuestion) -> tuple[str, Mapping[str, JsonValue]]:
        """One completion, at temperature 0, not streamed."""
        target, limits, system = question.target, question.limits, INSTRUCTION
        if limits is not None:
            system += f"Limits: leverage at most {limits.max_leverage}, size_usd at most {limits.max_size_usd:g}.\n"
        user = render_prompt(question.shown, question.symbol).removeprefix(INSTRUCTION)
        return f"{target.base_url.rstrip('/')}/chat/completions", {
            "model": target.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "response_format": {"type": "json_object"},
            "temperature": 0,
            "stream": False,
        }

    def read(self, body: bytes, question: ArmQuestion) -> ArmAnswer:
        """The content of the first choice; the name that the API gives itself is model and fingerprint."""
        envelope = parse_object(body)
        answer = parse_object(_content(envelope))
        decision = parse_decision(answer, symbol=question.symbol, limits=question.limits)
        said = [envelope.get(name) for name in ("model", "system_fingerprint")]
        reported = "/".join(part for part in said if isinstance(part, str))
        return ArmAnswer(decision, None, reported or None)


def _content(envelope: Mapping[str, JsonValue]) -> str:
    choices = envelope.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, str):
        raise ArmError(ErrorKind.INVALID_JSON, "choices.0.message.content: not a text")
    return content


PROTOCOL = OpenAIChat()
