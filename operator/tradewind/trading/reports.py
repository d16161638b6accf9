"""What a trading system reports, as it sends it, and the one kind of event that all of it becomes.

Belongs here: the bodies of the report calls, money and fees in the forms in which bots have them. Does not belong here: what
a position is after its events (positions.py) and what can be true (plausibility.py).

Money is in USD and exact (decimals). What is only words (a reason, a fee in a coin without a rate) never loses the money
beside it: it is kept as far as it can be.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tradewind.schema.names import Identifier
from tradewind.schema.times import ReportTime
from tradewind.trading.decision import canonical_json

MAX_USD = Decimal(10) ** 12
MAX_WORDS = 1000
USD_COINS = frozenset(
    {"USD", "USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USDP", "PYUSD", "DAI", "USDE", "USDS", "USD1", "USDB"}
)
"""Currencies that are counted as dollars."""
UNSPECIFIED = "unspecified"


class EventKind(StrEnum):
    """What happened to a position."""

    OPEN = "open"
    ADD = "add"
    REDUCE = "reduce"
    CLOSE = "close"
    CASH_FLOW = "cash_flow"
    NOT_FILLED = "not_filled"
    REJECTED = "rejected"
    CORRECT = "correct"
    VOID = "void"


def _decimal(value: Any) -> Any:
    """A number, or its text as decimals are sent ("12.5", "12.5 USDT"); never a boolean."""
    if isinstance(value, str):
        text = value.strip()
        amount, _, currency = text.partition(" ")
        if currency.strip().upper() in USD_COINS:
            text = amount
        value = text
    if isinstance(value, bool):
        raise PydanticCustomError("money", "is no number")
    return repr(value) if isinstance(value, float) else value


_SMALLEST = Decimal("1e-18")
_LONGEST = 500  # characters: all digits of what JSON holds, fewer than any database takes
_PLAIN = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,6})?", re.ASCII)


def _number(value: Any) -> Decimal:
    """The number, in plain digits: Python also reads `1_5` and the digits of other scripts, a venue's books do not.

    Raises:
        InvalidOperation: it is none.
    """
    text = str(_decimal(value))
    if len(text) > _LONGEST or _PLAIN.fullmatch(text) is None:
        raise InvalidOperation
    number = Decimal(text)
    return number if number.copy_abs() >= _SMALLEST else Decimal(0)  # no database holds 1e-20000


def _bounded(low: Decimal, high: Decimal) -> BeforeValidator:
    def read(value: Any) -> Decimal:
        try:
            number = _number(value)
        except InvalidOperation:
            raise PydanticCustomError("money", "must be a number such as 12.5") from None
        if not low <= number <= high:
            raise PydanticCustomError(
                "money", "must be a finite number from {low} to {high}", {"low": str(low), "high": str(high)}
            )
        return number

    return BeforeValidator(read)


Usd = Annotated[Decimal, _bounded(-MAX_USD, MAX_USD)]
"""Amount in USD."""
PositiveUsd = Annotated[Decimal, _bounded(_SMALLEST, MAX_USD)]
"""Amount in USD above 0."""
PositiveNumber = Annotated[Decimal, _bounded(_SMALLEST, Decimal(10) ** 18)]
"""Price or quantity above 0."""


@dataclass(frozen=True, slots=True)
class Fees:
    """Fees of a report.

    Attributes:
        usd: their sum; negative: a rebate. Fees in another currency without a rate are not in it.
        unpriced: a fee has no value in USD.
        words: as they were sent, where they were more than a number.
    """

    usd: Decimal = Decimal(0)
    unpriced: bool = False
    words: str | None = None


def fees_of(value: Any) -> Fees:
    """Fees in every form: null, a number, "0.1 USDT", {amount or cost, currency, usd_rate}, or a list of these.

    Raises:
        PydanticCustomError: an amount is no number.
    """
    if value is None or value == "":
        return Fees()
    items = value if isinstance(value, list) else [value]
    total, unpriced = Decimal(0), False
    for item in items:
        usd = _fee(item)
        unpriced |= usd is None
        total += usd or Decimal(0)
    words = None if isinstance(value, int | float) else words_of(value)
    return Fees(total, unpriced, words)


def _fee(item: Any) -> Decimal | None:
    if item is None:
        return Decimal(0)
    currency: Any = "USD"
    rate: Any = None
    amount: Any = item
    if isinstance(item, Mapping):
        amount = next((item[name] for name in ("amount", "cost", "fee", "value") if item.get(name) is not None), 0)
        currency = next((item[name] for name in ("currency", "asset", "token", "coin") if item.get(name)), "USD")
        rate = item.get("usd_rate")
    elif isinstance(item, str) and (match := re.fullmatch(r"\s*(\S+)\s+([A-Za-z][A-Za-z0-9]*)\s*", item)):
        amount, currency = match[1], match[2]
    try:
        number = _number(amount)
        worth = None if rate is None else _number(rate)
    except InvalidOperation:
        raise PydanticCustomError("fees", "must be a number, or objects with amount, currency and usd_rate") from None
    if number.copy_abs() > MAX_USD or (worth is not None and not 0 < worth <= MAX_USD):
        raise PydanticCustomError("fees", "must be finite numbers, and usd_rate above 0")
    if worth is not None:
        return number * worth
    return number if str(currency).upper() in USD_COINS else None


def words_of(value: Any) -> str:
    """Free text that can be stored: what is no text as JSON, without what no database takes, cut to 1,000 characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(
        c if c >= " " and not 0xD800 <= ord(c) <= 0xDFFF else " " if c in "\t\r\n" else "\ufffd" for c in text
    )
    return text.strip()[:MAX_WORDS]


def _reason(value: Any) -> str:
    words = "" if value is None else words_of(value)
    return words or UNSPECIFIED


Reason = Annotated[str, BeforeValidator(_reason)]
Words = Annotated[str, BeforeValidator(words_of), Field(min_length=1)]


def _hours(value: Any) -> float | None:
    """A length of time that is only told: what is none is left out, since the times say it anyway."""
    if isinstance(value, str) and _PLAIN.fullmatch(value.strip()) is None:
        return None
    try:
        hours = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return hours if 0 <= hours < 10**6 else None


Hours = Annotated[float | None, BeforeValidator(_hours)]
Side = Literal["long", "short"]
"""Which way a position goes."""
FeesField = Annotated[Any, BeforeValidator(lambda value: (fees_of(value), value)[1])]


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExecutionReport(_Report):
    """Body of `POST /v1/decisions/{id}/execution`: what became of the decision. `filled_notional_usd` is exposure so far.

    A second report with a larger `filled_notional_usd` says that the position grew.
    """

    status: Literal["opened", "rejected", "not_filled"]
    opened_at: ReportTime | None = None
    filled_notional_usd: PositiveUsd | None = None
    position_id: Identifier | None = None
    side: Side | None = None
    """Only needed where one id has several answers."""

    @model_validator(mode="after")
    def _opened_is_complete(self) -> Self:
        if self.status == "opened":
            for field in ("opened_at", "filled_notional_usd", "position_id"):
                if getattr(self, field) is None:
                    raise PydanticCustomError("missing", "{field} is required when status is opened", {"field": field})
        return self

    @property
    def fingerprint(self) -> str:
        """The same for the same report; the same as in the versions before."""
        said = {
            "status": self.status,
            "opened_at": _stamp(self.opened_at),
            "filled_notional_usd": None if self.filled_notional_usd is None else float(self.filled_notional_usd),
            "position_id": self.position_id,
        }
        return _fingerprint(said if self.side is None else said | {"side": self.side})


class OutcomeReport(_Report):
    """Body of `POST /v1/decisions/{id}/outcome`: when flat. `pnl` is the whole position's, net of `fees`; null: not known.

    A second, different outcome corrects the first one.
    """

    closed_at: ReportTime
    pnl: Usd | None
    fees: FeesField = 0.0
    duration_hours: Hours = None
    exit_reason: Reason = UNSPECIFIED

    @property
    def fingerprint(self) -> str:
        """The same for the same report; the same as in the versions before."""
        plain = float(self.fees) if isinstance(self.fees, int | float) else _hashable(self.fees)
        return _fingerprint(
            {
                "closed_at": _stamp(self.closed_at),
                "pnl": None if self.pnl is None else float(self.pnl),
                "fees": plain,
                "duration_hours": self.duration_hours,
                "exit_reason": self.exit_reason,
            }
        )


class EventReport(_Report):
    """One entry of `POST /v1/reports`: an event of a position, named by the decision that opened it or by its id."""

    decision_id: Identifier | None = None
    position_id: Identifier | None = None
    event: EventKind
    event_id: Identifier | None = None
    at: ReportTime
    notional_usd: PositiveUsd | None = None
    price: PositiveNumber | None = None
    quantity: PositiveNumber | None = None
    pnl: Usd | None = None
    total_pnl: Usd | None = None
    amount_usd: Usd | None = None
    side: Side | None = None
    fees: FeesField = None
    duration_hours: Hours = None
    exit_reason: Reason = UNSPECIFIED
    target: Identifier | None = None
    by: Words | None = None
    why: Words | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.decision_id is None and self.position_id is None:
            _missing("decision_id", "or position_id")
        if self.event is EventKind.OPEN:
            if self.position_id is None:
                _missing("position_id", "when event is open")
            self._needs_exposure()
        if self.event in (EventKind.ADD, EventKind.REDUCE):
            self._needs_exposure()
        if self.event is EventKind.CASH_FLOW and self.amount_usd is None:
            _missing("amount_usd", "when event is cash_flow: what was received, negative what was paid")
        if self.event in (EventKind.CORRECT, EventKind.VOID):
            for field in ("target", "by", "why"):
                if getattr(self, field) is None:
                    _missing(field, f"when event is {self.event}: the event, who mends it, and why")
        if self.side is not None and self.event is not EventKind.OPEN:
            raise PydanticCustomError("side", "side is only told when event is open")
        if self.pnl is not None and self.total_pnl is not None:
            raise PydanticCustomError(
                "both", "pnl and total_pnl are both given; give what this event earned, or the whole position"
            )
        return self

    def _needs_exposure(self) -> None:
        if self.notional_usd is None and (self.price is None or self.quantity is None):
            if self.event is EventKind.REDUCE and self.quantity is not None:
                return
            _missing("notional_usd", f"(or price and quantity) when event is {self.event}")

    def to_event(self) -> "Event":
        """The event, with its id: the given one, or the hash of what it says."""
        body = self.model_dump(
            mode="json",
            exclude={"decision_id", "event", "event_id", "at", "fees"},
            exclude_unset=True,
            exclude_none=True,
        )
        event = Event.of(self.event, self.at, body, self.fees if "fees" in self.model_fields_set else None)
        return event.named(self.event_id or f"h-{_fingerprint([str(self.event), _stamp(self.at), event.body])[:32]}")


def _hashable(fees: Any) -> Any:
    """Fees as the fingerprint has them: as they were sent, or their words where those are no JSON that has a hash."""
    try:
        canonical_json(fees).encode()
    except ValueError:  # NaN, an infinity, half a surrogate pair
        return words_of(fees)
    return fees


def _missing(field: str, when: str) -> None:
    raise PydanticCustomError("missing", "{field} is required {when}", {"field": field, "when": when})


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a position, as it is stored.

    Attributes:
        event_id: unique among the events of its decision.
        kind: what happened.
        at: when, on the trading system's clock, UTC.
        body: what was said, as JSON with decimals as text: position_id, notional_usd, price, quantity, pnl (of this event),
            total_pnl (of the whole position), amount_usd, side, fees_usd, fees_unpriced, fees, exit_reason, duration_hours,
            target, by, why.
    """

    event_id: str
    kind: EventKind
    at: datetime
    body: Mapping[str, Any]

    @classmethod
    def of(cls, kind: EventKind, at: datetime, body: Mapping[str, Any], fees: Any = None) -> Self:
        """An event without an id yet; fees in any form become their value in USD, and their words where they had any."""
        paid = fees_of(fees)
        extra: dict[str, Any] = {"fees_usd": str(paid.usd)} if fees is not None else {}
        if paid.unpriced:
            extra["fees_unpriced"] = True
        if paid.words is not None:
            extra["fees"] = paid.words
        return cls("", kind, at, {**body, **extra})

    def named(self, event_id: str) -> "Event":
        """The same with its id."""
        return Event(event_id, self.kind, self.at, self.body)

    def money(self, name: str) -> Decimal | None:
        """An amount of the body; None where it says nothing."""
        value = self.body.get(name)
        return None if value is None else Decimal(str(value))

    def says_the_same(self, other: "Event") -> bool:
        """Whether a repetition under the same id is one."""
        return (self.kind, self.at, _comparable(self.body)) == (other.kind, other.at, _comparable(other.body))


def execution_event(report: ExecutionReport, kind: EventKind, notional: Decimal | None, at: datetime) -> Event:
    """The event of an execution report: opened, grown by `notional`, or not."""
    body: dict[str, Any] = {}
    if kind is EventKind.OPEN:
        body["position_id"] = report.position_id
        body |= {} if report.side is None else {"side": report.side}
    if notional is not None:
        body["notional_usd"] = str(notional)
    return Event.of(kind, at, body).named(report.fingerprint)


def outcome_event(report: OutcomeReport) -> Event:
    """The closing event of an outcome report."""
    body: dict[str, Any] = {"exit_reason": report.exit_reason}
    if report.pnl is not None:
        body["total_pnl"] = str(report.pnl)
    if report.duration_hours is not None:
        body["duration_hours"] = report.duration_hours
    return Event.of(EventKind.CLOSE, report.closed_at, body, report.fees).named(report.fingerprint)


def correction_event(report: OutcomeReport, target: str) -> Event:
    """A second outcome as what it is: a correction of the first."""
    said = outcome_event(report)
    body = {**said.body, "target": target, "by": "outcome report", "why": "another outcome was reported"}
    return Event(report.fingerprint, EventKind.CORRECT, said.at, {**body, "at": said.at.isoformat()})


_MONEY = frozenset({"notional_usd", "price", "quantity", "pnl", "total_pnl", "amount_usd", "fees_usd"})


def _comparable(body: Mapping[str, Any]) -> dict[str, Any]:
    """Amounts by their value, all else as it is: a reason may read `nan`, and ids `1e3` and `1000` are two."""
    return {name: Decimal(str(value)) if name in _MONEY else value for name, value in body.items()}


def _stamp(time: datetime | None) -> str | None:
    """A time as pydantic writes it in JSON, which the fingerprints of the versions before rest on."""
    return None if time is None else time.isoformat().replace("+00:00", "Z")


def _fingerprint(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
