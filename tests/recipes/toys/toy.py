"""toy: a JSON object that is the decision itself, for a caller whose key stands in a header of its own."""

from collections.abc import Mapping

from pydantic import JsonValue
from typing_extensions import override

from tradewind.gateway.answers import parse_decision, parse_object
from tradewind.gateway.protocols.base import ArmAnswer, ArmProtocol, ArmQuestion


class Toy(ArmProtocol):
    """The plainest one."""

    def request(self, question: ArmQuestion) -> tuple[str, Mapping[str, JsonValue]]:
        """What is shown, as it is."""
        return f"{question.target.base_url}/ask", {"shown": question.shown.model_dump(mode="json")}

    def read(self, body: bytes, question: ArmQuestion) -> ArmAnswer:
        """The body is the decision."""
        decision = parse_decision(parse_object(body), symbol=question.symbol, limits=question.limits)
        return ArmAnswer(decision, None, None)

    @override
    def authenticate(self, credential: str) -> Mapping[str, str]:
        """A header of its own."""
        return {"X-Key": credential}


PROTOCOL = Toy()
