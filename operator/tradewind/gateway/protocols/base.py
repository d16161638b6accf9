"""What a protocol is: how a question is written, an answer is read, a caller is known, and what a call costs.

Belongs here: the interface and its values. Does not belong here: any one protocol, and connections, deadlines, retries
(arms.py). What an arm may see is decided before (decide.py), by whether it lies outside, never by its protocol.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from pydantic import JsonValue

from tradewind.gateway.answers import ArmError
from tradewind.schema.storable import cleaned, unstorable
from tradewind.trading.decision import DecisionInput, Limits, TradeDecision
from tradewind.trading.error_kinds import ErrorKind
from tradewind.trading.routing import ArmTarget


@dataclass(frozen=True, slots=True)
class ArmQuestion:
    """One question to one arm.

    Attributes:
        target: where it is.
        shown: what it may see.
        symbol: what is asked about.
        limits: what its answer must keep.
    """

    target: ArmTarget
    shown: DecisionInput
    symbol: str
    limits: Limits | None


@dataclass(frozen=True, slots=True)
class ArmAnswer:
    """A valid answer and what the arm said about itself."""

    decision: TradeDecision
    probabilities: dict[str, float] | None
    reported_model: str | None


MAX_REMARK = 200


def storable(answer: ArmAnswer) -> ArmAnswer:
    """The answer as it can be stored: remarks about it (every field but the decision) are cleaned, or dropped.

    Holds for every protocol, whatever it has checked itself: nothing that an arm says may fail in the database.

    Raises:
        ArmError: invalid_decision; the decision itself cannot be stored.
    """
    fault = unstorable(answer.decision.model_dump(mode="json"))
    if fault is not None:
        raise ArmError(ErrorKind.INVALID_DECISION, str(fault))
    remarks = {field.name: getattr(answer, field.name) for field in fields(answer) if field.name != "decision"}
    return replace(answer, **{name: _remark(value) for name, value in remarks.items()})


def _remark(value: Any) -> Any:
    if isinstance(value, str):
        return cleaned(value, MAX_REMARK)
    return value if unstorable(value) is None else None


class ArmProtocol(ABC):
    """How arms of one kind are asked."""

    @abstractmethod
    def request(self, question: ArmQuestion) -> tuple[str, Mapping[str, JsonValue]]:
        """URL and JSON body of the question."""

    @abstractmethod
    def read(self, body: bytes, question: ArmQuestion) -> ArmAnswer:
        """The answer in a body of status 200.

        Raises:
            ArmError: it is no decision within schema and limits.
        """

    def authenticate(self, credential: str) -> Mapping[str, str]:
        """Headers by which the arm knows its caller."""
        return {"Authorization": f"Bearer {credential}"}

    def price(self, target: ArmTarget) -> Decimal | None:
        """Price of a call that was answered, in CNY, whatever the answer is worth; None: none is known."""
        return target.price_per_call_cny
