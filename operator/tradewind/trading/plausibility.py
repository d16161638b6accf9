"""What can be true of a report: checked against its decision, the clock, the bounds of the Endpoint and the events before it.

Belongs here: the checks, each with field, bound and remedy. Does not belong here: the order of events (positions.py). A
report that fails is a mistake of the sender (another unit, another decision, a local time said to be UTC), and is refused
before it becomes money.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from tradewind.schema.scalars import as_timedelta
from tradewind.trading.positions import Position, PositionError
from tradewind.trading.reports import Event, EventKind
from tradewind.trading.settings.reports import ReportBounds


@dataclass(frozen=True, slots=True)
class Decided:
    """The decision that a report speaks of.

    Attributes:
        decided_at: its time, on the data's clock in a replay.
        exposure: size times leverage, USD.
    """

    decided_at: datetime
    exposure: Decimal


def demand_possible_time(name: str, at: datetime, decided: Decided, now: datetime, bounds: ReportBounds) -> None:
    """Refuses a time that lies ahead of the clock or before the decision, each by more than the skew.

    Args:
        name: the field.
        at: what it says.
        decided: the decision.
        now: the gateway's clock.
        bounds: of the Endpoint.

    Raises:
        PositionError: it cannot be true.
    """
    skew = as_timedelta(bounds.clock_skew)
    if at > now + skew:
        raise PositionError(
            "time_in_future",
            name,
            f"{name}: {at.isoformat()} lies {_length(at - now)} ahead of the clock ({now.isoformat(timespec='seconds')})",
            "give the time in UTC, or with its own offset such as +08:00",
        )
    if at < decided.decided_at - skew:
        raise PositionError(
            "time_before_decision",
            name,
            f"{name}: {at.isoformat()} lies {_length(decided.decided_at - at)} before the decision "
            f"({decided.decided_at.isoformat(timespec='seconds')})",
            "give the time in UTC, or with its own offset; check that the report belongs to this decision",
        )


def demand_possible_event(
    event: Event, before: Position, after: Position, decided: Decided, bounds: ReportBounds, names: dict[str, str]
) -> None:
    """Refuses amounts that cannot be true of this decision.

    Args:
        event: what is reported.
        before, after: the position without and with it.
        decided: the decision.
        bounds: of the Endpoint.
        names: the fields as the report has them, where they differ from the event's.

    Raises:
        PositionError: it cannot be true; field, bound and remedy are named.
    """
    grown = after.filled - before.filled if event.kind in (EventKind.OPEN, EventKind.ADD) else Decimal(0)
    if event.kind is EventKind.CORRECT and after.largest_fill > before.largest_fill:
        grown = after.largest_fill
    told = "notional_usd" if "notional_usd" in event.body else "quantity"
    field = names.get("notional_usd", told)
    if grown > decided.exposure * Decimal(bounds.max_fill):
        raise _beyond(
            field, grown, "one fill", bounds.max_fill, "the decision's size times leverage", decided.exposure, "maxFill"
        )
    if after.peak > decided.exposure * Decimal(bounds.max_position):
        raise _beyond(
            field,
            after.peak,
            "the position",
            bounds.max_position,
            "the decision's size times leverage",
            decided.exposure,
            "maxPosition",
        )
    if abs(after.fees) > after.peak * Decimal(bounds.max_fee_share):
        raise _beyond("fees", after.fees, "all fees", bounds.max_fee_share, "the exposure", after.peak, "maxFeeShare")
    earned = after.total if after.total is not None else (after.earned or Decimal(0)) + after.cash
    told = "total_pnl" if "total_pnl" in event.body else "pnl"
    field = names.get("pnl", "amount_usd" if event.kind is EventKind.CASH_FLOW else told)
    if earned < -after.peak * Decimal(bounds.max_loss):
        raise _beyond(field, earned, "the loss", bounds.max_loss, "the exposure", after.peak, "maxLoss")
    if earned > after.peak * Decimal(bounds.max_gain):
        raise _beyond(field, earned, "the gain", bounds.max_gain, "the exposure", after.peak, "maxGain")
    if after.closed_at is not None and after.opened_at is not None:
        _demand_order(event, after, bounds, names.get("at", "at"))


def _demand_order(event: Event, after: Position, bounds: ReportBounds, field: str) -> None:
    assert after.opened_at is not None
    assert after.closed_at is not None
    at = event.at if event.kind in (EventKind.REDUCE, EventKind.CLOSE) else after.closed_at
    if at < after.opened_at - as_timedelta(bounds.clock_skew):
        raise PositionError(
            "closed_before_opened",
            field,
            f"{field}: {at.isoformat()} is before opened_at {after.opened_at.isoformat()}",
            "give the time at which the position was flat",
        )
    if after.closed_at - after.opened_at > as_timedelta(bounds.max_hold_time):
        raise PositionError(
            "out_of_bounds",
            field,
            f"{field}: the position was open for {_length(after.closed_at - after.opened_at)}, "
            f"more than {bounds.max_hold_time}",
            "correct the time, or raise spec.reports.maxHoldTime of the Endpoint",
        )


def _beyond(field: str, given: Decimal, what: str, factor: str, of: str, base: Decimal, bound: str) -> PositionError:
    return PositionError(
        "out_of_bounds",
        field,
        f"{field}: {given:.10g} USD; {what} may be at most {factor} times {of} ({base:.10g} USD)",
        f"correct the unit or the decision it belongs to, or raise spec.reports.{bound} of the Endpoint",
    )


def _length(length: timedelta) -> str:
    seconds = int(length.total_seconds())
    return (
        f"{seconds} s" if seconds < 7200 else f"{seconds // 3600} h" if seconds < 172_800 else f"{seconds // 86_400} d"
    )
