"""The fold: what a position is after its events, against numbers worked out by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tradewind.trading.positions import Position, PositionError, PositionStatus, effective, fold
from tradewind.trading.reports import Event, EventReport, OutcomeReport, correction_event, outcome_event

T0 = datetime(2026, 1, 1, tzinfo=UTC)
D = Decimal


def tupled(*values: Any) -> tuple[Any, ...]:
    return values


class Story:
    """Events in the order of their reports, an hour apart."""

    def __init__(self, side: int = 1) -> None:
        self.side = side
        self.events: list[Event] = []

    def __call__(self, kind: str, **fields: Any) -> Position:
        """Adds one; the position after it. What does not fit is not kept."""
        at = T0 + timedelta(hours=len(self.events))
        body = {"decision_id": "d", "event": kind, "at": at.isoformat(), "event_id": f"e{len(self.events)}"} | fields
        event = EventReport.model_validate(body).to_event()
        position = fold([*self.events, event], self.side)
        self.events.append(event)
        return position

    def mend(self, kind: str, target: str, **fields: Any) -> Position:
        return self(kind, target=target, by="me", why="wrong", **fields)

    def refuses(self, kind: str, code: str, **fields: Any) -> PositionError:
        with pytest.raises(PositionError) as error:
            self(kind, **fields)
        assert error.value.code == code
        assert error.value.field
        assert error.value.remedy
        return error.value


@pytest.fixture(params=[1, -1], ids=["long", "short"])
def story(request: pytest.FixtureRequest) -> Story:
    return Story(request.param)


def test_by_prices(story: Story) -> None:
    story("open", position_id="p", price=100, quantity=2, fees=0.2)
    position = story("add", price=120, quantity=1, fees=0.1)
    assert tupled(position.cost, position.quantity, position.filled, position.largest_fill) == (320, 3, 320, 200)
    assert position.entry == pytest.approx(D("106.6666666666666667"))
    position = story("reduce", price=110, quantity=1.5, fees=0.15)
    # Half of 320 at cost; (110 - 106.67) * 1.5 = 5; half of 0.3 entry fees and the exit's.
    assert position.earned == pytest.approx(D(5 * story.side) - D("0.15") - D("0.15"))
    assert tupled(position.cost, position.quantity, position.peak) == (160, D("1.5"), 320)
    position = story("close", price=100, fees="0.12 USDT")
    # (100 - 106.67) * 1.5 = -10
    assert position.total == pytest.approx(D(-5 * story.side) - D("0.15") * 2 - D("0.15") - D("0.12"))
    assert tupled(position.cost, position.is_open, position.fees) == (0, False, D("0.57"))


def test_used_up_is_closed(story: Story) -> None:
    story("open", position_id="p", price=100, quantity=3)
    story("reduce", price=110, quantity=1)
    position = story("reduce", price=120, quantity=2)
    assert position.closed_at == T0 + timedelta(hours=2)
    assert position.total == 50 * story.side
    story.refuses("close", "position_closed", price=1)


def test_by_what_each_exit_earned(story: Story) -> None:
    story("open", position_id="p", notional_usd=100)
    story("reduce", notional_usd=40, pnl=3)
    story("reduce", notional_usd=20, pnl="-1.5 USDT")
    position = story("close", pnl=2)
    assert tupled(position.total, position.peak) == (D("3.5"), 100)


def test_total_of_the_close_stands_for_all(story: Story) -> None:
    story("open", position_id="p", notional_usd=100)
    story("reduce", notional_usd=40, pnl=3)
    story("cash_flow", amount_usd=-1)
    assert story("close", total_pnl=10).total == 10
    assert story("cash_flow", amount_usd="0.25").total == D("10.25")  # what comes later is not in it


def test_cash_flows_come_on_top(story: Story) -> None:
    story("open", position_id="p", notional_usd=100)
    story("cash_flow", amount_usd=-1)
    story("cash_flow", amount_usd="0.25")
    assert story("close", pnl=5).total == D("4.25")
    assert story("cash_flow", amount_usd=-1).total == D("3.25")


@pytest.mark.parametrize(
    ("opening", "closing", "known"),
    [
        ({"notional_usd": 100}, {}, False),
        ({"notional_usd": 100}, {"price": 110}, False),
        ({"notional_usd": 100, "price": 100}, {"price": 110}, True),
        ({"notional_usd": 100, "price": 100}, {}, False),
        ({"notional_usd": 100, "price": 100, "fees": "0.001 BNB"}, {"price": 110}, False),
        ({"notional_usd": 100, "price": 100, "fees": "0.001 BNB"}, {"price": 110, "pnl": 9}, True),
        ({"notional_usd": 100, "price": 100}, {"price": 110, "fees": {"cost": 1, "currency": "OKB"}}, False),
        ({"notional_usd": 100}, {"total_pnl": 9, "fees": "1 BNB"}, True),
    ],
)
def test_what_a_close_must_tell(story: Story, opening: dict[str, Any], closing: dict[str, Any], known: bool) -> None:
    story("open", position_id="p", **opening)
    position = story("close", **closing)
    assert position.closed_at is not None
    assert (position.total is not None) is known


def test_a_close_after_reductions_of_everything_earns_nothing_more(story: Story) -> None:
    story("open", position_id="p", notional_usd=100)
    assert story("reduce", notional_usd=100, pnl=7).is_open  # without a quantity, only the close says that it is flat
    assert story("close", fees=0.5).total == D("6.5")


def test_one_unknown_part_makes_the_whole_unknown(story: Story) -> None:
    story("open", position_id="p", notional_usd=100)
    story("reduce", notional_usd=50)
    assert story("close", pnl=5).total is None
    assert story.mend("correct", "e1", pnl=2).total == 7


def test_corrections(story: Story) -> None:
    story("open", position_id="p", price=100, quantity=1, fees="0.01 BNB")
    assert story("close", price=110).total is None
    assert story.mend("correct", "execution", fees=0.5).total == 10 * story.side - D("0.5")
    assert story.mend("correct", "outcome", pnl=3).total == 3
    assert story.mend("correct", "outcome", total_pnl=4).total == 4
    assert story.mend("correct", "e1", pnl=-2, exit_reason="stop").total == -2
    position = fold(story.events, story.side)
    assert tupled(position.exit_reason, position.position_id, position.fees) == ("stop", "p", D("0.5"))
    assert story.mend("correct", "e0", position_id="q").position_id == "q"


def test_a_second_outcome_corrects_time_and_money(story: Story) -> None:
    story("open", position_id="p", notional_usd=100)
    first = OutcomeReport.model_validate({"closed_at": "2026-01-01T05:00:00Z", "pnl": 5, "fees": "1 BNB"})
    second = OutcomeReport.model_validate({"closed_at": "2026-01-01T04:00:00Z", "pnl": -5, "fees": 0.1})
    close = outcome_event(first)
    position = fold([*story.events, close, correction_event(second, close.event_id)], story.side)
    assert tupled(position.total, position.closed_at, position.fees) == (-5, T0 + timedelta(hours=4), D("0.1"))


def test_voids(story: Story) -> None:
    story("open", position_id="p", notional_usd=100)
    story("add", notional_usd=50)
    story("close", total_pnl=5)
    with pytest.raises(PositionError) as error:  # the close would stand on nothing
        story.mend("void", "execution")
    assert error.value.code == "not_opened"
    position = story.mend("void", "outcome")
    assert tupled(position.is_open, position.total, position.cost) == (True, None, 150)
    assert story.mend("void", "e1").cost == 100
    assert story("close", total_pnl=6).total == 6
    story.mend("void", "outcome")
    assert story.mend("void", "execution").status is PositionStatus.NONE
    assert story("open", position_id="p2", notional_usd=10).position_id == "p2"
    assert [e.event_id for e in effective(story.events)] == ["e8"]


def test_a_correction_of_nothing(story: Story) -> None:
    story("open", position_id="p", notional_usd=100)
    for kind in ("correct", "void"):
        error = story.refuses(kind, "unknown_event", target="outcome", by="me", why="x")
        assert (error.field, "e0" in error.remedy) == ("target", True)
        story.refuses(kind, "unknown_event", target="e9", by="me", why="x")
    story.mend("void", "e0")
    story.refuses("correct", "unknown_event", target="e0", by="me", why="x", notional_usd=1)


@pytest.mark.parametrize("kind", ["add", "reduce", "close", "cash_flow"])
def test_nothing_before_the_opening(story: Story, kind: str) -> None:
    fields = {"amount_usd": 1} if kind == "cash_flow" else {"notional_usd": 1}
    assert "status opened first" in story.refuses(kind, "not_opened", **fields).remedy
    story("rejected")
    assert "rejected" in story.refuses(kind, "not_opened", **fields).remedy


def test_what_may_follow_what(story: Story) -> None:
    story("open", position_id="p", notional_usd=100)
    story.refuses("open", "execution_differs", position_id="p", notional_usd=100)
    story.refuses("not_filled", "execution_differs")
    story("close", total_pnl=1)
    for kind in ("add", "reduce", "close"):
        assert story.refuses(kind, "position_closed", notional_usd=1).field == "event"
    story.mend("void", "outcome")
    story.mend("void", "execution")
    assert story("not_filled").status is PositionStatus.NOT_FILLED
    story.refuses("open", "execution_differs", position_id="p", notional_usd=100)
    story.mend("void", "e4")
    assert story("open", position_id="p", notional_usd=100).is_open


def test_no_exit_is_larger_than_what_is_open(story: Story) -> None:
    story("open", position_id="p", price=100, quantity=1)
    assert story.refuses("reduce", "out_of_bounds", quantity=1.011).field == "quantity"
    story("reduce", quantity=0.5, price=100)
    assert story.refuses("reduce", "out_of_bounds", notional_usd=51).field == "notional_usd"
    position = story("reduce", quantity=0.505, price=100)  # a rounded fill
    assert tupled(position.is_open, position.total) == (False, 0)


def test_without_a_quantity_an_exit_needs_its_exposure(story: Story) -> None:
    story("open", position_id="p", notional_usd=100)
    assert story.refuses("reduce", "invalid_request", quantity=1).field == "notional_usd"
    assert story("reduce", quantity=0.4, price=100, pnl=1).cost == 60
    assert story("add", quantity=0.1, price=100).cost == 70


def test_a_close_is_not_before_the_opening(story: Story) -> None:
    story("open", position_id="p", notional_usd=100, at="2026-01-01T00:00:30Z")
    assert story("close", total_pnl=1, at="2026-01-01T00:00:00Z").closed_at == T0 + timedelta(seconds=30)
