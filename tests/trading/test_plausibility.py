"""Bounds of what can be true, at their edges, with field, bound and remedy."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tradewind.trading.plausibility import Decided, demand_possible_event, demand_possible_time
from tradewind.trading.positions import PositionError, fold
from tradewind.trading.reports import Event, EventReport
from tradewind.trading.settings.reports import ReportBounds

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DECIDED = Decided(T0, Decimal(100))
OPEN: dict[str, Any] = {"event": "open", "position_id": "p", "notional_usd": 100}


def events(*bodies: dict[str, Any]) -> list[Event]:
    defaults = [{"decision_id": "d", "at": T0.isoformat(), "event_id": f"e{n}"} for n in range(len(bodies))]
    return [
        EventReport.model_validate(default | body).to_event() for default, body in zip(defaults, bodies, strict=True)
    ]


def tell(*bodies: dict[str, Any], names: dict[str, str] | None = None, side: int = 1, **bounds: str) -> None:
    """Checks the last of these events."""
    told = events(*bodies)
    demand_possible_event(
        told[-1], fold(told[:-1], side), fold(told, side), DECIDED, ReportBounds(**bounds), names or {}
    )


def refused(*bodies: dict[str, Any], field: str, bound: str, **extra: Any) -> str:
    with pytest.raises(PositionError) as error:
        tell(*bodies, **extra)
    assert (error.value.code, error.value.field) == ("out_of_bounds", field)
    assert bound in error.value.remedy
    assert str(error.value).startswith(f"{field}: ")
    return str(error.value)


def test_a_fill_is_at_most_twice_the_exposure() -> None:
    tell(OPEN | {"notional_usd": 200})
    message = refused(OPEN | {"notional_usd": "200.01"}, field="notional_usd", bound="spec.reports.maxFill")
    assert "at most 2 times the decision's size times leverage (100 USD)" in message
    refused(
        OPEN | {"notional_usd": 1e9},
        field="filled_notional_usd",
        bound="maxFill",
        names={"notional_usd": "filled_notional_usd"},
    )
    refused({"event": "open", "position_id": "p", "price": 100, "quantity": 3}, field="quantity", bound="maxFill")
    add = {"event": "add", "notional_usd": 200}
    tell(OPEN, add)
    refused(OPEN, add | {"notional_usd": 201}, field="notional_usd", bound="maxFill")
    tell(OPEN | {"notional_usd": 300}, max_fill="3")


def test_a_position_is_at_most_ten_times_the_exposure() -> None:
    fills = [OPEN | {"notional_usd": 200}] + [{"event": "add", "notional_usd": 200}] * 4
    tell(*fills)
    refused(*fills, {"event": "add", "notional_usd": 1}, field="notional_usd", bound="maxPosition")


def test_a_correction_keeps_the_bound_of_a_fill() -> None:
    mend = {"event": "correct", "target": "execution", "by": "me", "why": "unit"}
    tell(OPEN, mend | {"notional_usd": 200})
    refused(OPEN, mend | {"notional_usd": 201}, field="notional_usd", bound="maxFill")
    tell(OPEN | {"notional_usd": 500}, mend | {"notional_usd": 300})  # stored under other bounds, and made smaller


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("field", ["pnl", "total_pnl"])
def test_losses_and_gains(field: str, side: int) -> None:
    close = {"event": "close"}
    for edge in (-500, 2000):
        tell(OPEN, close | {field: edge}, side=side)
    refused(OPEN, close | {field: "-500.01"}, field=field, bound="spec.reports.maxLoss", side=side)
    refused(OPEN, close | {field: "2000.01"}, field=field, bound="spec.reports.maxGain", side=side)
    refused(OPEN, close | {field: 1e12}, field="pnl", bound="maxGain", names={"pnl": "pnl"}, side=side)
    tell(OPEN, close | {field: -600}, side=side, max_loss="6")


def test_gains_by_prices_and_cash_flows_keep_the_bounds() -> None:
    opening = OPEN | {"price": 1}
    tell(opening, {"event": "close", "price": 21})
    refused(opening, {"event": "close", "price": "21.1"}, field="pnl", bound="maxGain")
    refused(OPEN, {"event": "cash_flow", "amount_usd": -501}, field="amount_usd", bound="maxLoss")
    tell(OPEN, {"event": "cash_flow", "amount_usd": -300})
    refused(
        OPEN,
        {"event": "cash_flow", "amount_usd": -300},
        {"event": "cash_flow", "amount_usd": -201},
        field="amount_usd",
        bound="maxLoss",
    )
    refused(OPEN, {"event": "reduce", "notional_usd": 50, "pnl": 3000}, field="pnl", bound="maxGain")


@pytest.mark.parametrize("sign", [1, -1])
def test_fees_and_rebates(sign: int) -> None:
    tell(OPEN | {"fees": 10 * sign})
    refused(OPEN | {"fees": 10.01 * sign}, field="fees", bound="spec.reports.maxFeeShare")
    refused(
        OPEN | {"fees": 6 * sign},
        {"event": "close", "total_pnl": 1, "fees": 5 * sign},
        field="fees",
        bound="maxFeeShare",
    )
    tell(OPEN, {"event": "close", "total_pnl": 1, "fees": "999 SHIB"})  # in a coin without a rate, nobody knows


def test_times_of_a_position() -> None:
    def close(after: timedelta) -> dict[str, Any]:
        return {"event": "close", "total_pnl": 1, "at": (T0 + after).isoformat()}

    tell(OPEN, close(timedelta(days=365)))
    refused(
        OPEN, close(timedelta(days=365, seconds=1)), field="closed_at", bound="maxHoldTime", names={"at": "closed_at"}
    )
    tell(OPEN, close(timedelta(seconds=-60)))
    with pytest.raises(PositionError, match=r"closed_at: .* is before opened_at") as error:
        tell(OPEN, close(timedelta(seconds=-61)), names={"at": "closed_at"})
    assert (error.value.code, error.value.field) == ("closed_before_opened", "closed_at")


@pytest.mark.parametrize(
    ("ahead", "code"), [(60, None), (60.001, "time_in_future"), (28_800, "time_in_future"), (-3600, None)]
)
def test_clocks_may_be_off_by_a_minute(ahead: float, code: str | None) -> None:
    now = T0 + timedelta(hours=1)
    check(now + timedelta(seconds=ahead), now, code)


@pytest.mark.parametrize(
    ("behind", "code"), [(60, None), (60.001, "time_before_decision"), (28_800, "time_before_decision")]
)
def test_nothing_is_before_its_decision(behind: float, code: str | None) -> None:
    check(T0 - timedelta(seconds=behind), T0 + timedelta(hours=1), code)


def check(at: datetime, now: datetime, code: str | None) -> None:
    if code is None:
        demand_possible_time("closed_at", at, DECIDED, now, ReportBounds())
        return
    with pytest.raises(PositionError, match="closed_at: ") as error:
        demand_possible_time("closed_at", at, DECIDED, now, ReportBounds())
    assert (error.value.code, error.value.field) == (code, "closed_at")
    assert "UTC" in error.value.remedy


def test_what_was_not_opened_has_no_bounds() -> None:
    tell({"event": "not_filled"})
    tell({"event": "rejected"})
    tell(OPEN, {"event": "void", "target": "execution", "by": "me", "why": "x"})
