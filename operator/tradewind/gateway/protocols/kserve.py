"""kserve: the predictor's own protocol, KServe's v1 with one instance a call."""

from collections.abc import Mapping

from pydantic import JsonValue

from tradewind.gateway.answers import ArmError, parse_decision, parse_object, parse_probabilities
from tradewind.gateway.protocols.base import ArmAnswer, ArmProtocol, ArmQuestion
from tradewind.trading.error_kinds import ErrorKind


class KServePredict(ArmProtocol):
    """What is shown goes as it is; the predictor renders the prompt itself."""

    def request(self, question: ArmQuestion) -> tuple[str, Mapping[str, JsonValue]]:
        """One instance with its limits."""
        target, limits = question.target, question.limits
        instance: dict[str, JsonValue] = {
            **question.shown.model_dump(mode="json"),
            "symbols": [question.symbol],
            "limits": None if limits is None else limits.as_shown(),
        }
        return f"{target.base_url.rstrip('/')}/v1/models/{target.model}:predict", {"instances": [instance]}

    def read(self, body: bytes, question: ArmQuestion) -> ArmAnswer:
        """The one prediction; fields that begin with an underscore are the predictor's remarks."""
        predictions = parse_object(body).get("predictions")
        if not isinstance(predictions, list) or len(predictions) != 1 or not isinstance(predictions[0], dict):
            raise ArmError(ErrorKind.INVALID_JSON, "predictions: not a list of one object")
        fields = {name: value for name, value in predictions[0].items() if not name.startswith("_")}
        decision = parse_decision(fields, symbol=question.symbol, limits=question.limits)
        return ArmAnswer(decision, parse_probabilities(predictions[0].get("_probabilities")), None)


PROTOCOL = KServePredict()
