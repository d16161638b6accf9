"""Notice: Ready once its Endpoint exists."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tradewind.api.endpoint import Endpoint
from tradewind.api.notice import Notice
from tradewind.core.conditions import Fact, with_facts
from tradewind.core.decision import Decision


class Reason(StrEnum):
    """Why a condition says what it says."""

    READY = "Ready"
    """Its Endpoint exists."""
    ENDPOINT_MISSING = "EndpointMissing"
    """It does not."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about a notice; None is: not there."""

    endpoint: Endpoint | None = None


def decide(notice: Notice, seen: Seen, now: datetime) -> Decision:
    """What to do about a notice now."""
    there = seen.endpoint is not None
    reason = Reason.READY if there else Reason.ENDPOINT_MISSING
    fact = Fact("Ready", there, reason, "" if there else f"spec.endpoint: create Endpoint {notice.spec.endpoint}")
    generation = notice.metadata.generation
    conditions = with_facts(notice.status.conditions, [fact], generation=generation, now=now)
    return Decision(notice.status.model_copy(update={"observed_generation": generation, "conditions": conditions}))
