"""A position as its events tell it: one pure fold, from the first fill to what is corrected long after it was closed.

Belongs here: which event may follow which, exposure, what was earned. Does not belong here: what can be true of amounts and
times (plausibility.py), how reports are written (reports.py), and where events are kept (the gateway).

Exposure is counted at cost, as `notional_usd` of the fills. Where quantities are given, a reduction takes its share of it,
and the position is flat once the quantity is used up. What was earned is, in this order: `total_pnl` of the close; the sum
of `pnl` of its reductions and its close; or, from prices, share of the cost * side * (exit / average entry - 1) less the
fees. Cash flows (funding, rebates) are added; those before a close that states `total_pnl` are in it already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from tradewind.trading.reports import UNSPECIFIED, Event, EventKind

_ZERO = Decimal(0)
_FLAT_SHARE = Decimal("1e-9")  # of a quantity: what rounding of fills leaves over
_OVER_SHARE = Decimal("1.01")  # of the exposure: a reduction at market value may be a little larger than what is left


class PositionError(ValueError):
    """An event that does not fit those before it. `field` names the fault, `code` the kind of it."""

    def __init__(self, code: str, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code, self.field, self.remedy = code, field, remedy


class PositionStatus(StrEnum):
    """What became of a decision that opens."""

    NONE = "none"
    OPENED = "opened"
    REJECTED = "rejected"
    NOT_FILLED = "not_filled"


@dataclass(frozen=True, slots=True)
class Position:
    """A position after some events. Amounts in USD.

    Attributes:
        status: none: nothing was reported.
        position_id: of the trading system.
        opened_at: first fill.
        closed_at: when flat; None: it is not.
        cost: exposure that is open, at cost.
        peak: largest exposure at a time.
        filled: sum of all fills.
        largest_fill: largest of them.
        quantity: what is open; None: not told.
        entry: average price of what is open; None: not told.
        earned: by reductions and the close; None: of a part it is not known.
        cash: cash flows that are not in `earned`.
        fees: reported fees, for information: what was earned is net of them.
        total: what the position earned in all; None: not closed, or not known.
        exit_reason: of the close.
        duration_hours: as reported.
    """

    status: PositionStatus = PositionStatus.NONE
    position_id: str | None = None
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    cost: Decimal = _ZERO
    peak: Decimal = _ZERO
    filled: Decimal = _ZERO
    largest_fill: Decimal = _ZERO
    quantity: Decimal | None = None
    entry: Decimal | None = None
    earned: Decimal | None = _ZERO
    cash: Decimal = _ZERO
    fees: Decimal = _ZERO
    entry_fees: Decimal | None = _ZERO
    total: Decimal | None = None
    exit_reason: str = UNSPECIFIED
    duration_hours: float | None = None

    @property
    def is_open(self) -> bool:
        """Opened and not flat."""
        return self.status is PositionStatus.OPENED and self.closed_at is None


def effective(events: Sequence[Event]) -> tuple[Event, ...]:
    """What happened after corrections and voids, in the order in which it was reported.

    Raises:
        PositionError: a correction or void names no event.
    """
    found: dict[str, Event] = {}
    for event in events:
        if event.kind not in (EventKind.CORRECT, EventKind.VOID):
            found[event.event_id] = event
            continue
        target = target_of(found, event)
        if event.kind is EventKind.VOID:
            del found[target.event_id]
            continue
        words = {"target", "by", "why", "at"}
        body = {**target.body, **{name: value for name, value in event.body.items() if name not in words}}
        if "total_pnl" in event.body:
            body.pop("pnl", None)
        elif "pnl" in event.body:
            body.pop("total_pnl", None)
        if "fees_usd" in event.body and "fees_unpriced" not in event.body:
            body.pop("fees_unpriced", None)
        at = datetime.fromisoformat(event.body["at"]) if "at" in event.body else target.at
        found[target.event_id] = Event(target.event_id, target.kind, at, body)
    return tuple(found.values())


def target_of(found: dict[str, Event], event: Event) -> Event:
    """The event that a correction or void speaks of: by its id, or `execution` and `outcome` for the first fill and the close.

    Raises:
        PositionError: there is none.
    """
    name = str(event.body.get("target", ""))
    kinds = {"execution": EventKind.OPEN, "outcome": EventKind.CLOSE}
    target = found.get(name) or next((e for e in found.values() if e.kind is kinds.get(name)), None)
    if target is None:
        raise PositionError(
            "unknown_event",
            "target",
            f"target: no event {name} of this decision stands",
            f"name one of {', '.join(found) or 'the events (there are none)'}, or execution or outcome",
        )
    return target


def fold(events: Sequence[Event], side: int | None) -> Position:
    """The position after these events.

    Args:
        events: in the order in which they were reported, corrections and voids among them.
        side: 1 for a long position, -1 for a short one; None: not known, so that prices alone tell no result.

    Raises:
        PositionError: an event does not fit those before it.
    """
    position = Position()
    for event in effective(events):
        position = _STEPS[event.kind](position, event, side)
    return position


def _open(position: Position, event: Event, _: int | None) -> Position:
    if position.status is not PositionStatus.NONE:
        raise PositionError(
            "execution_differs",
            "event",
            f"the decision was reported as {position.status} before",
            "report an add where the position grew, or correct or void the first report",
        )
    position = _grown(position, event)
    return replace(
        position,
        status=PositionStatus.OPENED,
        position_id=event.body.get("position_id"),
        opened_at=event.at,
    )


def _add(position: Position, event: Event, _: int | None) -> Position:
    _require_open(position, event)
    return _grown(position, event)


def _grown(position: Position, event: Event) -> Position:
    price, quantity, notional = event.money("price"), event.money("quantity"), event.money("notional_usd")
    if notional is None:
        assert price is not None
        assert quantity is not None
        notional = price * quantity
    cost = position.cost + notional
    total_quantity, entry = None, None
    if quantity is not None and (position.cost == 0 or position.quantity is not None):
        total_quantity = (position.quantity or _ZERO) + quantity
    if price is not None and (position.cost == 0 or position.entry is not None):
        old = position.cost / position.entry if position.entry else _ZERO  # in units of what was bought
        entry = cost / (old + notional / price)
    paid = event.money("fees_usd") or _ZERO
    known = None if event.body.get("fees_unpriced") or position.entry_fees is None else position.entry_fees + paid
    return replace(
        position,
        cost=cost,
        peak=max(position.peak, cost),
        filled=position.filled + notional,
        largest_fill=max(position.largest_fill, notional),
        quantity=total_quantity,
        entry=entry,
        fees=position.fees + paid,
        entry_fees=known,
    )


def _reduce(position: Position, event: Event, side: int | None) -> Position:
    _require_open(position, event)
    quantity, notional = event.money("quantity"), event.money("notional_usd")
    if position.quantity is not None and quantity is not None:
        if quantity > position.quantity * _OVER_SHARE:
            raise _too_much("quantity", quantity, position.quantity)
        share = min(quantity / position.quantity, Decimal(1))
        left = position.quantity - quantity
        flat = left <= position.quantity * _FLAT_SHARE
    else:
        if notional is None:
            price = event.money("price")
            notional = None if price is None or quantity is None else price * quantity
        if notional is None:
            raise PositionError(
                "invalid_request",
                "notional_usd",
                "notional_usd: the opening told no quantity",
                "give the exposure that went",
            )
        if notional > position.cost * _OVER_SHARE:
            raise _too_much("notional_usd", notional, position.cost)
        share, left, flat = min(notional / position.cost, Decimal(1)), None, False
    went = position.cost * share
    reduced = replace(
        position,
        cost=position.cost - went,
        quantity=left,
        earned=_sum(position.earned, _result(position, event, side, went, share)),
        fees=position.fees + (event.money("fees_usd") or _ZERO),
        entry_fees=None if position.entry_fees is None else position.entry_fees * (1 - share),
    )
    return _closed(reduced, event, None) if flat else reduced


def _close(position: Position, event: Event, side: int | None) -> Position:
    _require_open(position, event)
    total = event.money("total_pnl")
    earned = (
        position.earned
        if total is not None
        else _sum(position.earned, _result(position, event, side, position.cost, Decimal(1)))
    )
    reduced = replace(
        position, earned=earned, fees=position.fees + (event.money("fees_usd") or _ZERO), cost=_ZERO, quantity=None
    )
    return _closed(reduced, event, total)


def _closed(position: Position, event: Event, total: Decimal | None) -> Position:
    if total is not None:
        position = replace(position, earned=total, cash=_ZERO)  # what came before is in it
    return replace(
        position,
        closed_at=event.at if position.opened_at is None else max(event.at, position.opened_at),
        total=_sum(position.earned, position.cash),
        exit_reason=str(event.body.get("exit_reason") or UNSPECIFIED),
        duration_hours=event.body.get("duration_hours"),
    )


def _cash_flow(position: Position, event: Event, _: int | None) -> Position:
    if position.status is not PositionStatus.OPENED:
        raise _not_opened(position, event)
    amount = event.money("amount_usd") or _ZERO
    flowed = replace(position, cash=position.cash + amount)
    return flowed if position.closed_at is None else replace(flowed, total=_sum(position.total, amount))


def _never_opened(position: Position, event: Event, _: int | None) -> Position:
    if position.status is not PositionStatus.NONE:
        raise PositionError(
            "execution_differs",
            "status",
            f"the decision was reported as {position.status} before",
            "the first report stands; void it (event void, target execution) if it was wrong",
        )
    return replace(position, status=PositionStatus(event.kind.value))


def _result(position: Position, event: Event, side: int | None, cost: Decimal, share: Decimal) -> Decimal | None:
    """What a reduction or close earned by itself, net of fees; None: it is not told and cannot be computed."""
    told, price = event.money("pnl"), event.money("price")
    if told is not None:
        return told
    if cost == 0:  # reductions took all of it: nothing is left to earn
        return None if event.body.get("fees_unpriced") else -(event.money("fees_usd") or _ZERO)
    if price is None or side is None or position.entry is None or position.entry_fees is None:
        return None
    if event.body.get("fees_unpriced"):
        return None
    fees = position.entry_fees * share + (event.money("fees_usd") or _ZERO)
    return cost * side * (price / position.entry - 1) - fees


def _require_open(position: Position, event: Event) -> None:
    if position.status is not PositionStatus.OPENED:
        raise _not_opened(position, event)
    if position.closed_at is not None:
        raise PositionError(
            "position_closed",
            "event",
            f"event: the position was closed at {position.closed_at.isoformat()}, and {event.kind} comes after it",
            "correct or void the close (target outcome) if it was wrong",
        )


def _not_opened(position: Position, event: Event) -> PositionError:
    remedy = "report its execution with status opened first"
    if position.status is not PositionStatus.NONE:
        remedy = f"its execution was reported as {position.status}: there is no position to {event.kind}"
    return PositionError("not_opened", "decision_id", "no position was opened by this decision", remedy)


def _too_much(field: str, given: Decimal, left: Decimal) -> PositionError:
    return PositionError(
        "out_of_bounds",
        field,
        f"{field}: {given:f} is more than the {left:f} that is open",
        "give what this exit took off, or report the fills before it first",
    )


def _sum(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return None if first is None or second is None else first + second


_STEPS = {
    EventKind.OPEN: _open,
    EventKind.ADD: _add,
    EventKind.REDUCE: _reduce,
    EventKind.CLOSE: _close,
    EventKind.CASH_FLOW: _cash_flow,
    EventKind.NOT_FILLED: _never_opened,
    EventKind.REJECTED: _never_opened,
}
