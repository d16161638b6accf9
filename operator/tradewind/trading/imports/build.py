"""From a row's values to a record: all that is needed is there, each value is one, and they can all be true at once.

Belongs here: what a decision and an outcome need, and what cannot be true together. Does not belong here: single values
(fields.py), and where a source keeps them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tradewind.schema.names import Symbol, identifier
from tradewind.schema.rules import first_fault
from tradewind.schema.storable import unstorable
from tradewind.trading.decision import (
    MAX_BODY_BYTES,
    MAX_REASONING,
    Action,
    DecisionInput,
    TradeDecision,
    canonical_json,
)
from tradewind.trading.imports.drafts import Draft
from tradewind.trading.imports.fields import fraction, hours, is_empty, moment, number, shown, whole, word
from tradewind.trading.imports.options import FRACTIONS, Options
from tradewind.trading.imports.problems import Reason, RowError
from tradewind.trading.imports.records import PENDING, ImportedDecision, ImportedOutcome, Record, content_hash
from tradewind.trading.labels import Label

_symbol: TypeAdapter[str] = TypeAdapter(Symbol)
_HOLD_CONFIDENCE = 0.5  # as prompt.hold has it
_NAME = 128


def build(draft: Draft, options: Options) -> Record | None:
    """The record of a row; None: a trade that is still open, which is nothing yet.

    Raises:
        RowError: the row cannot be taken.
    """
    fault = unstorable(dict(draft.values))
    if fault is not None:
        name, _, rest = fault.field.partition(".")
        raise RowError(
            f"{draft.place(name)}.{rest}".rstrip("."), Reason.INVALID, f"{fault.what}; mend it at its source"
        )
    decision = _decision(draft, options) if draft.decides else None
    outcome = _outcome(draft, options, decision)
    if decision is None and outcome is None:
        return None
    return Record(_id(draft, decision), decision, outcome)


def _id(draft: Draft, decision: ImportedDecision | None) -> str:
    value = draft.values.get("id")
    if not is_empty(value):
        try:
            return identifier(value)
        except ValueError as error:
            raise RowError(draft.place("id"), Reason.INVALID, f"{shown(value)} {error}") from None
    if decision is None:
        raise RowError(draft.place("id"), Reason.MISSING, "empty; an outcome belongs to the decision whose id it gives")
    return f"sha256-{content_hash(decision.content).hex()[:32]}"


def _required(draft: Draft, name: str, what: str) -> Any:
    value = draft.values.get(name)
    if is_empty(value):
        raise RowError(draft.place(name), Reason.MISSING, f"empty or missing; {what}")
    return value


def _time(draft: Draft, name: str, value: Any, options: Options) -> datetime:
    zone = options.zone if draft.zone is None else draft.zone
    return moment(draft.place(name), value, zone, options.now)


def _decision(draft: Draft, options: Options) -> ImportedDecision:
    decided_at = _time(draft, "decided_at", _required(draft, "decided_at", "say when it was decided"), options)
    symbol = _own_symbol(draft, options)
    answer = _answer(draft, options, symbol)
    input_ = _input(draft, options, symbol)
    model = draft.values.get("model")
    return ImportedDecision(decided_at, input_, answer, "" if is_empty(model) else str(model)[:_NAME])


def _own_symbol(draft: Draft, options: Options) -> str:
    value = _required(draft, "symbol", "name the instrument")
    try:
        found = _symbol.validate_python(value)
    except ValidationError as error:
        raise RowError(draft.place("symbol"), Reason.SYMBOL, f"{shown(value)} {first_fault(error).message}") from None
    symbol = options.symbol_map.get(found, found)
    if options.symbols is not None and symbol not in options.symbols:
        raise RowError(
            draft.place("symbol"), Reason.SYMBOL, f"{shown(symbol)} is none of --symbols {','.join(sorted(options.symbols))}; add it, or "
            f"say what it is here: --symbol-map '{found}=BTC'"
        )  # fmt: skip
    return symbol


def _answer(draft: Draft, options: Options, symbol: str) -> TradeDecision:
    action = word(draft.place("action"), _required(draft, "action", f"say one of {', '.join(Action)}"), Action)
    reasoning = draft.values.get("reasoning")
    fields: dict[str, Any] = {"action": action, "symbol": symbol, "size_usd": 0.0, "leverage": 1}
    size = draft.values.get("size_usd")
    if action.opens or not is_empty(size):
        value = _required(draft, "size_usd", "a decision to open needs its margin in USD")
        fields["size_usd"] = number(draft.place("size_usd"), value, low=0.0)
        if action.opens and fields["size_usd"] == 0:
            raise RowError(draft.place("size_usd"), Reason.NUMBER, f"must be above 0 for {action}")
    if action.opens:
        fields["leverage"] = whole(draft.place("leverage"), _assumed(draft, options, "leverage"))
    for name in FRACTIONS:
        if action.opens or (name == "confidence" and not is_empty(draft.values.get(name))):
            fields[name] = _fraction(draft, options, name)
        else:  # `hold` and `close` carry nothing but their symbol and confidence
            fields[name] = _HOLD_CONFIDENCE if name == "confidence" else 0.0
    fields["reasoning"] = reasoning[:MAX_REASONING] if isinstance(reasoning, str) else ""
    try:
        return TradeDecision.model_validate(fields)
    except ValidationError as error:
        fault = first_fault(error)
        raise RowError(draft.place(fault.field), Reason.INVALID, fault.message) from None


def _assumed(draft: Draft, options: Options, name: str) -> Any:
    value = draft.values.get(name)
    if not is_empty(value):
        return value
    if name in options.assume:
        return options.assume[name]
    example = {"leverage": "1", "confidence": "0.5"}.get(name, "0.05")
    raise RowError(
        draft.place(name), Reason.MISSING, f"empty or missing, and a model is taught to say it; give it, or say what holds for all "
        f"such rows: --assume {name}={example}"
    )  # fmt: skip


def _fraction(draft: Draft, options: Options, name: str) -> float:
    if is_empty(draft.values.get(name)):
        return float(_assumed(draft, options, name))
    unit = draft.units.get(name) or options.units.get(name)
    return fraction(draft.place(name), name, draft.values[name], unit)


def _input(draft: Draft, options: Options, symbol: str) -> dict[str, Any]:
    market, account = draft.values.get("market_data"), draft.values.get("account_state")
    if market is None and draft.price is not None:
        if not options.price_as_input:
            raise RowError(
                draft.place("market_data"), Reason.NO_INPUT, "a trade does not say what a model would have been shown; import labelled "
                "decisions, or say --price-as-input to teach on the entry price alone (a model learns little from it)"
            )  # fmt: skip
        price = number("price", draft.price, low=1e-12)
        market, account = {symbol: {"price": price}}, {}
    for name, value in (("market_data", market), ("account_state", account)):
        if not isinstance(value, Mapping):
            said = "missing" if value is None else f"{shown(value)} is no JSON object"
            raise RowError(draft.place(name), Reason.NO_INPUT, f"{said}; a model must be told what it was decided on")
    if not market:
        raise RowError(
            draft.place("market_data"), Reason.NO_INPUT, "empty; a model must be told what it was decided on"
        )
    history = draft.values.get("recent_history") or []
    if not isinstance(history, list):
        raise RowError(draft.place("recent_history"), Reason.INVALID, f"{shown(history)} is no JSON array")
    renamed = {options.symbol_map.get(key, key): item for key, item in (market or {}).items()}
    if len(renamed) < len(market or {}):
        raise RowError(
            draft.place("market_data"), Reason.CONTRADICTION, "two of its symbols are one after --symbol-map; which is meant?"
        )  # fmt: skip
    try:
        made = DecisionInput.model_validate(
            {
                "market_data": renamed,
                "account_state": account,
                "recent_history": [_renamed(entry, options) for entry in history],
            }
        )
    except ValidationError as error:
        fault = first_fault(error)
        raise RowError(draft.place(fault.field.partition(".")[0]), Reason.INVALID, fault.message) from None
    _demand_known(draft, options, symbol, made.market_data)
    whole_input: dict[str, Any] = made.model_dump(mode="json")
    size = len(canonical_json(whole_input).encode())
    if size > MAX_BODY_BYTES:
        raise RowError(
            draft.place("market_data"), Reason.TOO_LARGE, f"the input is {size} bytes; the gateway takes {MAX_BODY_BYTES}: leave bars out"
        )  # fmt: skip
    return whole_input


def _renamed(entry: Any, options: Options) -> Any:
    if isinstance(entry, Mapping) and isinstance(entry.get("symbol"), str):
        return {**entry, "symbol": options.symbol_map.get(entry["symbol"], entry["symbol"])}
    return entry


def _demand_known(draft: Draft, options: Options, symbol: str, market: Mapping[str, Any]) -> None:
    """Where the market is told symbol by symbol, the one that was traded must be among them."""
    told = sorted(key for key, item in market.items() if isinstance(item, Mapping))
    if options.symbols is None and told and symbol not in told:
        raise RowError(
            draft.place("symbol"), Reason.SYMBOL, f"{shown(symbol)} is not in {draft.place('market_data')} ({', '.join(told)[:80]}); mend "
            "it, say what it is there with --symbol-map, or which symbols there are with --symbols"
        )  # fmt: skip


def _outcome(draft: Draft, options: Options, decision: ImportedDecision | None) -> ImportedOutcome | None:
    given = draft.values.get("label")
    label = None if is_empty(given) or given == PENDING else word(draft.place("label"), given, Label)
    value = draft.values.get("pnl_usd")
    pnl = None if is_empty(value) else number(draft.place("pnl_usd"), value)
    holds = decision is not None and decision.answer.action is Action.HOLD
    if holds and pnl:
        raise RowError(
            draft.place("pnl_usd"), Reason.CONTRADICTION, f"{pnl:g} was earned by a hold; a hold opens nothing"
        )
    if pnl is None and label is None:
        if isinstance(draft.values.get("profitable"), bool):
            raise RowError(
                draft.place("pnl_usd"), Reason.MISSING, "missing beside profitable; give the profit in USD, or a label"
            )
        return None
    if holds and label is None:
        return None  # it earned nothing, as holds do
    _demand_agreement(draft, pnl, label, decision)
    closed_at = _closed_at(draft, options, decision, holds=holds)
    if decision is not None and closed_at < decision.decided_at:
        raise RowError(
            draft.place("closed_at"), Reason.ORDER, f"closed at {closed_at.isoformat()}, before it was decided at "
            f"{decision.decided_at.isoformat()}; check the time zone"
        )  # fmt: skip
    reason = draft.values.get("exit_reason")
    return ImportedOutcome(closed_at, pnl, "" if is_empty(reason) else str(reason)[:_NAME], label)


def _demand_agreement(draft: Draft, pnl: float | None, label: Label | None, decision: ImportedDecision | None) -> None:
    profitable, place = draft.values.get("profitable"), draft.place("pnl_usd")
    if pnl is not None and isinstance(profitable, bool) and profitable != (pnl > 0):
        raise RowError(
            place, Reason.CONTRADICTION, f"{pnl:g} beside profitable {str(profitable).lower()}; mend the row"
        )
    if pnl is None or decision is None:
        return
    answer = decision.answer
    if label is None and not answer.size_usd:
        raise RowError(
            draft.place("size_usd"),
            Reason.MISSING,
            "0 or missing, so nothing says what the profit is a share of; give a label",
        )
    if answer.action is Action.OPEN_LONG and -pnl > 1.05 * answer.size_usd * answer.leverage:
        raise RowError(
            place, Reason.CONTRADICTION, f"a loss of {-pnl:g} USD is more than the whole position of "
            f"{answer.size_usd * answer.leverage:g} USD; check the units of both"
        )  # fmt: skip


def _closed_at(draft: Draft, options: Options, decision: ImportedDecision | None, *, holds: bool) -> datetime:
    value = draft.values.get("closed_at")
    if not is_empty(value):
        return _time(draft, "closed_at", value, options)
    began = None if decision is None else decision.decided_at
    if began is None and not is_empty(draft.values.get("decided_at")):
        began = _time(draft, "decided_at", draft.values["decided_at"], options)
    length, name = draft.values.get("duration_hours"), "duration_hours"
    if began is not None and holds and is_empty(length):
        return began
    lasted = options.assume_hold if is_empty(length) else hours(draft.place(name), length)
    if began is None or lasted is None:
        raise RowError(
            draft.place("closed_at"), Reason.MISSING, "nothing says when the trade ended, and a training must not look ahead of that; give "
            "closed_at or duration_hours, or say --assume-hold 24h"
        )  # fmt: skip
    return moment(draft.place(name), began + lasted, None, options.now)
