"""The rule of papers: what it settles, what it leaves alone, and that it never depends on when it is asked."""

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tradewind.trading.paper import (
    NoPaper,
    Paper,
    PaperExit,
    PaperRule,
    Price,
    Prices,
    hold,
    market_move,
    settled,
)
from tradewind.trading.settings.paper import PaperSettings, pointer_parts
from tradewind.trading.standing import Missing, Trade, trade_of

T = datetime(2026, 1, 5, 10, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RULE = PaperRule(horizon=8 * HOUR, max_gap=2 * HOUR, cost=0.0001, max_hold=24 * HOUR)
LONG, SHORT = Trade(1, 0.02, 0.05), Trade(-1, 0.02, 0.05)


def point(hours: float, price: float, known: float | None = None) -> Price:
    return Price.point(T + hours * HOUR, price, T + (hours if known is None else known) * HOUR)


def bar(start: float, end: float, prices: tuple[float, float, float, float], known: float | None = None) -> Price:
    return Price(T + start * HOUR, T + end * HOUR, *prices, T + (end if known is None else known) * HOUR)


def settle(trade: Trade, *prices: Price, entry: float | None = 100.0, rule: PaperRule = RULE) -> Any:
    return settled(trade, T, entry, Prices(prices), rule)


def flat(until: float, price: float = 100.0) -> list[Price]:
    return [point(hour, price) for hour in range(1, int(until) + 1)]


def test_the_rule_of_an_endpoint_is_in_fractions_and_round_trips() -> None:
    rule = PaperRule.of(PaperSettings(horizon="8h", cost_basis_points="1.2", max_gap="90m"), 24 * HOUR)
    assert (rule.horizon, rule.max_gap) == (8 * HOUR, 90 * MINUTE)
    assert rule.cost == pytest.approx(0.00012)


@pytest.mark.parametrize(
    ("trade", "prices", "ret", "reason"),
    [
        (LONG, [*flat(7), point(8, 101)], 0.01, PaperExit.HORIZON),
        (SHORT, [*flat(7), point(8, 101)], -0.01, PaperExit.HORIZON),
        (LONG, [*flat(7), point(8.5, 101)], 0.01, PaperExit.HORIZON),
        (LONG, [point(1, 97)], -0.03, PaperExit.STOP_LOSS),  # what was observed, not the stop
        (LONG, [point(1, 98)], -0.02, PaperExit.STOP_LOSS),
        (LONG, [point(1, 106)], 0.06, PaperExit.TAKE_PROFIT),
        (SHORT, [point(1, 103)], -0.03, PaperExit.STOP_LOSS),
        (SHORT, [point(1, 94)], 0.06, PaperExit.TAKE_PROFIT),
        (LONG, [bar(0, 1, (100, 101, 97, 101))], -0.02, PaperExit.STOP_LOSS),
        (LONG, [bar(0, 1, (100, 106, 97, 101))], -0.02, PaperExit.STOP_LOSS),  # both: the stop
        (LONG, [bar(0, 1, (100, 106, 99, 101))], 0.05, PaperExit.TAKE_PROFIT),
        (LONG, [bar(0.5, 1, (96, 99, 95, 99))], -0.04, PaperExit.STOP_LOSS),  # opens beyond
        (SHORT, [bar(0.5, 1, (104, 106, 99, 99))], -0.04, PaperExit.STOP_LOSS),
        (SHORT, [bar(0, 1, (100, 103, 94, 99))], -0.02, PaperExit.STOP_LOSS),
        (
            LONG,
            [*flat(7), bar(7, 9, (100, 103, 99, 102))],
            0.02,
            PaperExit.HORIZON,
        ),  # open until the close after the end
        (LONG, [*flat(7), bar(8, 9, (101, 110, 90, 105))], 0.01, PaperExit.HORIZON),  # the open is the first price
        (Trade(1, 0, 0), [point(1, 50), *(point(h, 60) for h in range(2, 9))], -0.4, PaperExit.HORIZON),
    ],
)
def test_settles(trade: Trade, prices: list[Price], ret: float, reason: PaperExit) -> None:
    paper = settle(trade, *prices)
    assert isinstance(paper, Paper)
    assert paper.ret == pytest.approx(ret - RULE.cost, abs=1e-12)
    assert paper.exit_reason is reason


def test_leverage_does_not_enter_and_a_hold_is_nothing() -> None:
    answer = {"action": "open_long", "size_usd": 100, "leverage": 1, "stop_loss_pct": 0.02, "take_profit_pct": 0.05}
    assert trade_of(answer) == trade_of(answer | {"leverage": 50}) == LONG
    assert trade_of({"action": "hold"}) is None
    assert trade_of({"action": "close"}) is None
    assert hold(T) == Paper(0.0, PaperExit.HOLD, T, T)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_usd": None}, {"size_usd": 0}, {"size_usd": math.nan}, {"stop_loss_pct": -0.02}, {"take_profit_pct": -0.1},
        {"stop_loss_pct": math.nan}, {"take_profit_pct": math.inf}, {"stop_loss_pct": "near"}, {"action": "buy"}, {"action": None},
    ],
)  # fmt: skip
def test_an_answer_that_is_none_opens_nothing(wrong: dict[str, Any]) -> None:
    answer = {"action": "open_long", "size_usd": 100, "stop_loss_pct": 0.02, "take_profit_pct": 0.05}
    assert trade_of(answer | wrong) is Missing.NO_DECISION
    for name in answer:
        assert trade_of({key: value for key, value in answer.items() if key != name}) is Missing.NO_DECISION


@pytest.mark.parametrize("entry", [None, 0.0, -1.0, math.nan, math.inf])
def test_no_price_at_the_entry_is_no_paper(entry: float | None) -> None:
    assert settle(LONG, point(1, 90), entry=entry) is NoPaper.NO_ENTRY
    assert market_move(T, entry, Prices([point(8, 101)]), RULE) is NoPaper.NO_ENTRY


@pytest.mark.parametrize("price", [0.0, -5.0, math.nan, math.inf])
def test_a_price_that_is_none_counts_as_if_it_were_not_there(price: float) -> None:
    good = [*flat(7), point(8, 101)]
    for number in range(4):
        four = [100.0] * 4
        four[number] = price
        odd = bar(1, 2, (four[0], four[1], four[2], four[3]), known=0.5)
        assert settle(LONG, odd, *good) == settle(LONG, *good)
    upside_down = Price(T + HOUR, T, 1, 1, 1, 1, T)
    assert settle(LONG, bar(1, 2, (100, 99, 98, 100)), upside_down, *good) == settle(LONG, *good)


def test_a_gap_while_the_trade_is_open_is_no_paper() -> None:
    assert settle(LONG, point(1, 100), point(3.5, 97), point(8, 101)) is NoPaper.GAP
    assert settle(LONG, point(2.5, 97)) is NoPaper.GAP
    assert isinstance(settle(LONG, point(2, 97)), Paper)
    assert isinstance(settle(LONG, bar(0, 7, (100, 101, 99, 100)), point(8, 101)), Paper)  # a bar covers its time


def test_over_a_weekend_there_is_no_paper() -> None:
    assert settle(LONG, *flat(3), point(62, 103)) is None
    assert market_move(T, 100.0, Prices([*flat(3), point(62, 103)]), RULE) is None


def test_nothing_from_before_the_decision_is_seen() -> None:
    """The bar of the entry was touched before or after, nobody knows: only its close counts."""
    paper = settle(LONG, bar(-0.5, 0.5, (90, 110, 90, 100)), *[point(h + 0.5, 100) for h in range(1, 7)], point(8, 101))
    assert isinstance(paper, Paper)
    assert paper.exit_reason is PaperExit.HORIZON
    assert settle(LONG, point(-1, 50), point(0, 50)) is None


def test_nothing_from_long_after_the_end_is_seen() -> None:
    day = bar(1, 25, (100, 150, 50, 120))
    assert settle(LONG, *flat(7), day) is None


def test_a_mistake_in_the_unit_is_no_paper() -> None:
    assert settle(LONG, point(1, 1e6)) is NoPaper.IMPLAUSIBLE
    assert settle(Trade(-1, 0, 0), *flat(7), point(8, 1000)) is NoPaper.IMPLAUSIBLE
    assert market_move(T, 100.0, Prices([point(8, 1e6)]), RULE) is NoPaper.IMPLAUSIBLE


def test_known_when_the_price_that_settled_it_was() -> None:
    paper = settle(LONG, bar(0, 1, (100, 101, 97, 101), known=1.25))
    assert isinstance(paper, Paper)
    assert (paper.exit_at, paper.known_at) == (T + HOUR, T + 1.25 * HOUR)
    assert settle(LONG, point(1, 97, known=0)).known_at == T + HOUR  # not before it was


def test_a_late_point_changes_nothing() -> None:
    early = [point(1, 100), point(2, 106)]
    late = point(1.5, 90, known=3)
    assert settle(LONG, *early, late) == settle(LONG, *early)
    assert settle(LONG, *flat(7), point(8, 101), point(4.5, 50, known=9)) == settle(LONG, *flat(7), point(8, 101))


def test_what_is_known_after_max_hold_settles_nothing() -> None:
    assert settle(LONG, *[point(h, 100, known=25) for h in range(1, 9)]) is None


def test_the_market_is_over_the_horizon_without_side_stop_and_cost() -> None:
    crash = [point(1, 50), point(8, 110)]
    move = market_move(T, 100.0, Prices(crash), RULE)
    assert isinstance(move, Paper)
    assert move.ret == pytest.approx(0.1)
    assert move.known_at == T + 8 * HOUR
    assert market_move(T, 100.0, Prices([bar(7, 9, (1, 500, 1, 120))]), RULE).ret == pytest.approx(0.2)  # type: ignore[union-attr]
    assert market_move(T, 100.0, Prices([bar(8.5, 9, (90, 500, 1, 120))]), RULE).ret == pytest.approx(-0.1)  # type: ignore[union-attr]
    assert market_move(T, 100.0, Prices([point(10.5, 120)]), RULE) is None


def _walk(rng: random.Random) -> list[Price]:
    """Points and bars on a random path, some late, some twice, some invalid."""
    prices: list[Price] = []
    level, hour = 100.0, 0.0
    while hour < 12:
        step = rng.choice([0.1, 0.5, 1.0, 1.0, 2.5])
        opened, level = level, level * math.exp(rng.gauss(0, 0.012))
        known = hour + step + rng.choice([0, 0, 0, 0.01, 3])
        if rng.random() < 0.5:
            prices.append(point(hour + step, level, known))
        else:
            high, low = max(opened, level) * (1 + rng.random() / 100), min(opened, level) * (1 - rng.random() / 100)
            prices.append(bar(hour, hour + step, (opened, high, low, level), known))
        if rng.random() < 0.05:
            prices.append(point(hour + step, rng.choice([math.nan, 0.0, -1.0, math.inf]), known))
        hour += step
    return prices


@pytest.mark.parametrize("seed", range(300))
def test_a_paper_is_the_same_whenever_and_in_whatever_order_it_is_asked(seed: int) -> None:
    rng = random.Random(seed)
    prices = _walk(rng)
    trade = Trade(rng.choice([1, -1]), rng.choice([0, 0.005, 0.02]), rng.choice([0, 0.01, 0.05]))
    whole = settle(trade, *prices)
    assert settle(trade, *rng.sample(prices, len(prices)), *prices[:3]) == whole
    found = []
    for cut in sorted({max(price.known_at, price.end) for price in prices}):
        so_far = settle(trade, *(price for price in prices if max(price.known_at, price.end) <= cut))
        if so_far is not None:
            found.append(so_far)
            if isinstance(so_far, Paper):
                assert so_far.known_at <= cut
    assert all(paper == whole for paper in found)
    if isinstance(whole, Paper):
        assert math.isfinite(whole.ret)
        assert whole.known_at > T
        assert T <= whole.exit_at <= T + RULE.horizon + RULE.max_gap
        mirrored = Trade(-trade.side, 0, 0)
        if trade.stop_loss == trade.take_profit == 0:
            assert settle(mirrored, *prices).ret == pytest.approx(-whole.ret - 2 * RULE.cost)


def test_a_pointer_is_taken_apart_as_rfc_6901_says() -> None:
    assert pointer_parts("/market_data/{symbol}/price") == ("market_data", "{symbol}", "price")
    assert pointer_parts("/market_data/a~1b/~01") == ("market_data", "a/b", "~1")
