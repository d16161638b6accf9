"""The schema of a decision: one pydantic model is the truth for gateway, prompt, grammar and training.

What the trading system asks with, what an arm answers, and the limits an answer must keep. Nothing here clamps or repairs:
an answer is valid as it stands or it is refused with the field that is wrong. What is reported back is in reports.py.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, model_validator

from tradewind.schema.names import Identifier, Symbol

MAX_BODY_BYTES = 256 * 1024
MAX_REASONING = 4000  # characters
HISTORY_SHOWN = 3  # decisions of its own that an arm is shown, as in the seed's `recent_history`

PositiveFinite = Annotated[FiniteFloat, Field(gt=0)]
NonNegativeFinite = Annotated[FiniteFloat, Field(ge=0)]


class Action(StrEnum):
    """What to do. `close` speaks of the position that is open in the scope; `hold` asks for nothing."""

    OPEN_LONG = "open_long"
    OPEN_SHORT = "open_short"
    CLOSE = "close"
    HOLD = "hold"

    @property
    def opens(self) -> bool:
        """Whether the action puts new money at risk."""
        return self in (Action.OPEN_LONG, Action.OPEN_SHORT)


class TradeDecision(BaseModel):
    """An arm's answer. Field order is the order in which it is written: the decision first, the prose last.

    Units: `size_usd` USD of margin, exposure is size_usd * leverage; `*_pct` and `confidence` are fractions (0.02 is 2 %).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Annotated[Action, Field(description="open_long, open_short, close or hold")]
    symbol: Annotated[Symbol, Field(description="the symbol that is asked about, spelled as in the question")]
    size_usd: Annotated[
        NonNegativeFinite,
        Field(description="margin in USD, above 0 to open; the exposure is size_usd times leverage"),
    ]
    leverage: Annotated[int, Field(ge=1, le=1000, description="a whole number from 1")]
    stop_loss_pct: Annotated[
        FiniteFloat,
        Field(ge=0, le=1, description="distance of the stop from the entry as a fraction below 1: 0.02 is 2 %"),
    ]
    take_profit_pct: Annotated[
        FiniteFloat,
        Field(ge=0, le=10, description="distance of the target from the entry as a fraction below 1: 0.05 is 5 %"),
    ]
    confidence: Annotated[FiniteFloat, Field(ge=0, le=1, description="a fraction from 0 to 1")]
    reasoning: Annotated[
        str, Field(max_length=MAX_REASONING, description="why, in one or two sentences; it may be left out")
    ] = ""

    @model_validator(mode="after")
    def _opening_needs_size(self) -> Self:
        if self.action.opens and self.size_usd <= 0:
            msg = f"size_usd must be above 0 for action {self.action}; answer hold to risk nothing"
            raise ValueError(msg)
        return self


_JSON_TYPES = {"symbol": "string", "leverage": "integer", "reasoning": "string"}


def decision_schema() -> dict[str, JsonValue]:
    """JSON Schema of an answer in the subset that constrained decoding takes: every key required, no bounds, no references."""
    said = {name: field.description for name, field in TradeDecision.model_fields.items()}
    types: dict[str, JsonValue] = {
        name: {"type": _JSON_TYPES.get(name, "number"), "description": text} for name, text in said.items()
    }
    types["action"] = {"type": "string", "enum": [str(action) for action in Action], "description": said["action"]}
    return {"type": "object", "properties": types, "required": list(types), "additionalProperties": False}


class DecisionInput(BaseModel):
    """What an arm is shown: the seed's `input`. Free JSON inside, bounded by the body limit of the gateway."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    market_data: Mapping[str, JsonValue]
    account_state: Mapping[str, JsonValue]
    recent_history: tuple[Mapping[str, JsonValue], ...] = ()


class Scope(BaseModel):
    """Where at most one position is open at a time: a symbol, and a book for systems that run several per symbol."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: Symbol
    book: Annotated[str, Field(max_length=64)] = ""


class DecisionRequest(BaseModel):
    """Body of `POST /v1/decisions`. `as_of` is the data's clock and belongs to replay endpoints only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision_id: Identifier | None = None
    position_id: Identifier | None = None
    scope: Scope
    as_of: AwareDatetime | None = None
    market_data: Mapping[str, JsonValue]
    account_state: Mapping[str, JsonValue]
    recent_history: Annotated[tuple[Mapping[str, JsonValue], ...], Field(max_length=100)] = ()

    @property
    def permission_level(self) -> str | None:
        """The account's permission level as the trading system states it, e.g. `L2`."""
        level = self.account_state.get("permission_level")
        return level if isinstance(level, str) else None


class Limits(BaseModel):
    """What a permission level allows: the largest leverage, the largest margin in USD, and which stop of an opening.

    An opening must have a stop unless the level says that it may have none: without, its loss has no bound but liquidation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_leverage: Annotated[int, Field(ge=1, le=1000)]
    max_size_usd: PositiveFinite
    max_stop_loss_pct: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    allow_no_stop: bool = False

    @property
    def may_lack_stop(self) -> bool:
        """Whether an opening may have none. A widest stop is one that there must be."""
        return self.allow_no_stop and self.max_stop_loss_pct is None

    def as_shown(self) -> dict[str, JsonValue]:
        """For a predictor, which need not know what is not set."""
        return self.model_dump(mode="json", exclude_defaults=True)


FRACTIONS = ("stop_loss_pct", "take_profit_pct", "confidence")


def percent_for_fraction(fields: Mapping[str, JsonValue]) -> str | None:
    """The first field of an answer that looks like percent where a fraction is asked for, in words, or None.

    A stop or a target of an opening that is 100 % away is none at all; the plain reading of `"stop_loss_pct": 1` is 1 %.
    """
    opens = fields.get("action") in (Action.OPEN_LONG, Action.OPEN_SHORT)
    for name in FRACTIONS:
        value = fields.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if 1 < value <= 1000 or (value == 1 and opens and name != "confidence"):
            return f"{name}: {value:g} looks like percent; give a fraction, {value / 100:g} for {value:g} %"
    return None


def limit_violation(decision: TradeDecision, *, symbol: str, limits: Limits | None) -> str | None:
    """The first way in which an answer breaks the request's scope or limits, or None.

    Args:
        decision: the arm's answer.
        symbol: the symbol that was asked about; an answer about another one is no answer.
        limits: of the account's permission level; None where the endpoint sets none.
    """
    if decision.symbol != symbol:
        return f"symbol is {decision.symbol}, asked was {symbol}"
    if limits is None or not decision.action.opens:
        return None
    if decision.leverage > limits.max_leverage:
        return f"leverage {decision.leverage} is over the limit of {limits.max_leverage}"
    if decision.size_usd > limits.max_size_usd:
        return f"size_usd {decision.size_usd:g} is over the limit of {limits.max_size_usd:g}"
    if decision.stop_loss_pct == 0 and not limits.may_lack_stop:
        return "stop_loss_pct is 0, which is no stop, and allowNoStop of the permission level is not set"
    cap = limits.max_stop_loss_pct
    if cap is not None and not 0 < decision.stop_loss_pct <= cap:
        return f"stop_loss_pct {decision.stop_loss_pct:g} is not above 0 and at most the limit of {cap:g}"
    return None


def canonical_json(value: JsonValue | Mapping[str, Any]) -> str:
    """Compact JSON with sorted keys: equal values give equal text. NaN and infinities are refused with ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def request_hash(request: DecisionRequest) -> bytes:
    """SHA-256 over the request without its id: the same id with another hash is another question, or a retry (`retry_hash`)."""
    body = request.model_dump(mode="json", exclude={"decision_id"}, exclude_none=True)
    return hashlib.sha256(canonical_json(body).encode()).digest()


def retry_hash(request: DecisionRequest) -> bytes:
    """SHA-256 over what stays when a bot asks again with fresh prices: all but id, market data and account state."""
    fresh = {"decision_id", "market_data", "account_state"}
    body = request.model_dump(mode="json", exclude=fresh, exclude_none=True)
    return hashlib.sha256(canonical_json(body).encode()).digest()
