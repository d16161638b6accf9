"""What a protocol is: how a question is written, an answer is read, a caller is known, and what a call costs.

Belongs here: the interface and its values. Does not belong here: any one protocol, and connections, deadlines, retries
(arms.py). What an arm may see is decided before (decide.py), by whether it lies outside, never by its protocol.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pydantic import JsonValue

from tradewind.trading.decision import DecisionInput, Limits, TradeDecision
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
