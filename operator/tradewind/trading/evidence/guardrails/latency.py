"""Latency: too many of the candidate's answers come after its objective."""

from typing import ClassVar

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Latency, Probability
from tradewind.trading.evidence.guardrails.base import Guardrail, GuardrailResult, Watched
from tradewind.trading.evidence.guardrails.bets import LOG_THRESHOLD, log_e_rate


class LatencyObjective(StrictModel):
    """The latency that answers should keep."""

    p99: Latency = "100ms"
    """99 of 100 answers arrive within this time."""


class LatencySettings(StrictModel):
    """Its fields of `spec.guardrails`."""

    latency_objective: LatencyObjective | None = None
    """Latency that the candidate must keep; absent: its serving.latencyObjective."""
    latency_share: Probability = "0.05"
    """Share of answers that may be slower than the objective."""


class LatencyGuardrail(Guardrail[LatencySettings]):
    """Watches the candidate's requests, at weight 1 too. What is slow was said when they were read."""

    reason: ClassVar[str] = "LatencyOverObjective"
    settings: ClassVar[type[StrictModel]] = LatencySettings
    live_only: ClassVar[bool] = True
    trips: ClassVar[str] = (
        "evidence of 100 that the share of answers over the latency objective is above `latencyShare`"
    )
    row: ClassVar[str] = "request of the candidate, in the order of the answers"
    says: ClassVar[str] = "the candidate's share of requests over the latency objective is above the accepted one"

    def watch(self, settings: LatencySettings, facts: Watched) -> GuardrailResult | None:
        """None where nothing is known of the requests."""
        if facts.requests is None:
            return None
        return self.result(log_e_rate(facts.requests.slow, float(settings.latency_share)), LOG_THRESHOLD)


LATENCY = LatencyGuardrail()
