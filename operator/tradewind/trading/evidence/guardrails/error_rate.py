"""Error rate: the candidate errs, times out or answers with something invalid too often."""

from typing import ClassVar

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Probability
from tradewind.trading.evidence.guardrails.base import Guardrail, GuardrailResult, Watched
from tradewind.trading.evidence.guardrails.bets import LOG_THRESHOLD, log_e_rate


class ErrorRateSettings(StrictModel):
    """Its field of `spec.guardrails`."""

    error_rate: Probability = "0.02"
    """Share of errors, timeouts and invalid answers that the candidate may have."""


class ErrorRateGuardrail(Guardrail[ErrorRateSettings]):
    """Watches the candidate's requests, at weight 1 too."""

    reason: ClassVar[str] = "ErrorRate"
    settings: ClassVar[type[StrictModel]] = ErrorRateSettings
    trips: ClassVar[str] = (
        "evidence of 100 that the share of failed requests is above `errorRate`; follow-ups and decisions at weight 1 count"
    )
    row: ClassVar[str] = "request of the candidate, in the order of the answers"
    says: ClassVar[str] = "the candidate's error rate is above the accepted one"

    def watch(self, settings: ErrorRateSettings, facts: Watched) -> GuardrailResult | None:
        """None where nothing is known of the requests."""
        if facts.requests is None:
            return None
        return self.result(log_e_rate(facts.requests.failed, float(settings.error_rate)), LOG_THRESHOLD)


ERROR_RATE = ErrorRateGuardrail()
