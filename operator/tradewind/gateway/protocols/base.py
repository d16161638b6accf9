"""What a protocol is: how a question is written, an answer is read, a caller is known, and what a call costs.

Belongs here: the interface and its values. Does not belong here: any one protocol, and connections, deadlines, retries
(arms.py). What an arm may see is decided before (decide.py), by whether it lies outside, never by its protocol.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any, ClassVar, Self

from pydantic import JsonValue

from tradewind.gateway.answers import ArmError, parse_decision
from tradewind.gateway.reading import Rule, read_answer
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

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other spellings of the symbol that the arm may answer with."""
        return self.target.symbol_aliases.get(self.symbol, ())


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the API counts them."""

    prompt: int
    cached: int
    """Of the prompt, read from the API's cache."""
    completion: int
    written: int = 0
    """Of the prompt, written into the API's cache."""

    @classmethod
    def of(cls, prompt: JsonValue, cached: JsonValue, completion: JsonValue, written: JsonValue = None) -> Self | None:
        """From what the API says; None where that cannot be a number of tokens."""
        numbers = [prompt, 0 if cached is None else cached, completion, 0 if written is None else written]
        if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MOST_TOKENS for n in numbers):
            return None
        whole, part, said, kept = (int(str(n)) for n in numbers)
        part = min(part, whole)
        return cls(whole, part, said, min(kept, whole - part))


@dataclass(frozen=True, slots=True)
class ArmAnswer:
    """A valid answer and what the arm said about itself.

    Attributes:
        decision: the answer.
        probabilities: of the actions, where it states them.
        reported_model: the name that it gives itself.
        rules: what was needed to read it; empty: it was as the schema has it.
        extra: what it said beside the decision.
    """

    decision: TradeDecision
    probabilities: dict[str, float] | None
    reported_model: str | None
    rules: tuple[str, ...] = ()
    extra: dict[str, JsonValue] | None = None


MOST_TOKENS = 10**9


MAX_REMARK = 200
MILLION = Decimal(1_000_000)


def read_text(text: str, question: ArmQuestion, rules: set[Rule], reported: str | None) -> ArmAnswer:
    """What an external API's text says, the same whatever envelope it came in.

    Args:
        text: the answer.
        question: what was asked.
        rules: what was needed to get at the text.
        reported: the name that the API gives itself.

    Raises:
        ArmError: it holds no decision within schema and limits.
    """
    read = read_answer(text, symbol=question.symbol, aliases=question.aliases)
    decision = parse_decision(read.fields, symbol=question.symbol, limits=question.limits)
    needed = tuple(rule for rule in Rule if rule in rules or rule in read.rules)
    return ArmAnswer(decision, None, reported or None, needed, read.extra)


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

    headers: ClassVar[Mapping[str, str]] = {}
    """Sent with every question, with or without a credential."""

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

    def usage(self, body: bytes) -> Usage | None:
        """Tokens that a body of status 200 says were used; None: it says nothing. Never raises."""
        del body
        return None

    def price(self, target: ArmTarget, usage: Usage | None) -> Decimal | None:
        """Price of a call that was answered, in CNY, whatever the answer is worth; None: none is known.

        By tokens where their prices and their numbers are known, else what each call costs.
        """
        prices = target.prices
        if prices is None or usage is None:
            return target.price_per_call_cny
        cached = prices.input if prices.cached_input is None else prices.cached_input
        written = prices.input if prices.cache_write is None else prices.cache_write
        spent = (usage.prompt - usage.cached - usage.written) * prices.input + usage.completion * prices.output
        spent += usage.cached * cached + usage.written * written
        return spent / MILLION * prices.cny_per_unit
