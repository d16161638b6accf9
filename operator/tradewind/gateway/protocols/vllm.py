"""vllm: an own model that plain vLLM serves, by OpenAI's completions: the prompt as training renders it, no chat template."""

from collections.abc import Mapping

from pydantic import JsonValue

from tradewind.gateway.answers import ArmError, parse_decision, parse_object
from tradewind.gateway.protocols.base import ArmAnswer, ArmProtocol, ArmQuestion
from tradewind.gateway.refusals import refusal
from tradewind.trading.completions import COMPLETIONS_PATH, completion_request
from tradewind.trading.error_kinds import ErrorKind


class VLLMCompletions(ArmProtocol):
    """What may be written is said with each question; the server knows nothing of decisions."""

    def request(self, question: ArmQuestion) -> tuple[str, Mapping[str, JsonValue]]:
        """One greedy completion within symbol and limits."""
        target = question.target
        body = completion_request(target.model, question.shown, question.symbol, question.limits)
        return f"{target.base_url.rstrip('/')}{COMPLETIONS_PATH}", body

    def read(self, body: bytes, question: ArmQuestion) -> ArmAnswer:
        """The text of the one choice, as it stands: there is no prose around it to look through. It states no probabilities."""
        envelope = parse_object(body)
        if envelope.get("error") is not None:
            raise refusal(None, envelope)
        choices = envelope.get("choices")
        choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
        text = choice.get("text") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(text, str):
            raise ArmError(ErrorKind.INVALID_JSON, "choices: not a list of one object with a text")
        if choice.get("finish_reason") == "length":
            detail = "prompt and answer do not fit the model's context; send less market_data or recent_history"
            raise ArmError(ErrorKind.LENGTH, detail)
        decision = parse_decision(parse_object(text), symbol=question.symbol, limits=question.limits)
        return ArmAnswer(decision, None, None)


PROTOCOL = VLLMCompletions()
