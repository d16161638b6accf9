"""Papers on bars and the comparison of two versions: by hand where it can be, by simulation where it is a promise about chance."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tradewind.evaluation.bars import Bars, read_bars
from tradewind.evaluation.rows import Row
from tradewind.evaluation.simulated import MIN_BLOCKS, sharpe_difference, simulate, students
from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.paper import PaperRule

T0 = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULE = PaperRule(4 * HOUR, HOUR, 0.001, 5 * HOUR)
NOTHING = DecisionInput(market_data={}, account_state={})


def answer(action: Action, stop: float = 0.0, target: float = 0.0) -> TradeDecision:
    size = 100.0 if action.opens else 0.0
    return TradeDecision(
        action=action,
        symbol="BTC",
        size_usd=size,
        leverage=3,
        stop_loss_pct=stop,
        take_profit_pct=target,
        confidence=0.6,
    )


LONG, SHORT, HOLD = answer(Action.OPEN_LONG), answer(Action.OPEN_SHORT), answer(Action.HOLD)


def walk(folder: Path, closes: list[float], missing: frozenset[int] = frozenset()) -> Bars:
    lines = ["time,open,high,low,close"]
    for number, (before, close) in enumerate(zip([closes[0], *closes], closes, strict=False)):
        if number not in missing:
            low, high = min(before, close), max(before, close)
            lines.append(f"{(T0 + number * HOUR).isoformat()},{before},{high},{low},{close}")
    (folder / "bars.csv").write_text("\n".join(lines))
    return read_bars(folder)


def rows(hours: range) -> list[Row]:
    return [Row(f"d{hour}", T0 + hour * HOUR, "BTC", NOTHING, None) for hour in hours]


def test_a_trade_earns_from_the_close_before_it_to_the_horizon_less_the_cost_and_a_hold_nothing(tmp_path: Path) -> None:
    bars = walk(tmp_path, [100, 100, 101, 102, 103, 104, 105])
    (asked,) = rows(range(2, 3))
    for mine, earned in ((LONG, 104 / 100 - 1 - 0.001), (SHORT, -(104 / 100 - 1) - 0.001), (HOLD, 0.0)):
        found = simulate([asked], [mine], [HOLD], bars, RULE)
        assert found is not None
        assert found.version.profit.value == pytest.approx(earned), (
            "in at 100, the close of hour 1; out at that of hour 5"
        )
        assert found.baseline is not None
        assert found.baseline.profit.value == 0
        assert found.version.trades == int(mine.action.opens)


def test_whether_a_row_counts_does_not_depend_on_what_was_answered_to_it(tmp_path: Path) -> None:
    bars = walk(tmp_path, [100.0] * 12, missing=frozenset({5, 6}))
    asked = rows(range(1, 8))
    for answers in ([HOLD] * 7, [LONG] * 7, [answer(Action.OPEN_SHORT, stop=0.0001)] * 7):
        found = simulate(asked, answers, [HOLD] * 7, bars, RULE)
        assert found is not None
        assert (found.rows, found.left_out) == (2, 5), (
            "only paths from hours 1 and 6 have no hour without a bar beyond maxGap"
        )


def test_a_row_without_an_answer_of_one_is_left_out_for_both(tmp_path: Path) -> None:
    bars = walk(tmp_path, [100.0] * 12)
    found = simulate(rows(range(1, 4)), [LONG, None, LONG], [HOLD, HOLD, None], bars, RULE)
    assert found is not None
    assert (found.rows, found.left_out) == (1, 2)
    assert simulate(rows(range(1, 2)), [None], None, bars, RULE) is None


def test_a_version_beside_itself_is_equal_to_the_last_digit(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    bars = walk(tmp_path, list(np.round(100 * np.exp(np.cumsum(draw.normal(0, 0.01, 400))), 4)))
    asked = rows(range(1, 390))
    answers = [(LONG, SHORT, HOLD)[n] for n in draw.integers(0, 3, len(asked))]
    found = simulate(asked, answers, answers, bars, RULE)
    assert found is not None
    assert found.difference is not None
    assert (found.difference.value, found.difference.lower, found.difference.upper) == (0, 0, 0)
    assert found.version == found.baseline
    assert found.blocks == 17
    profit = found.version.profit
    assert profit.lower is not None
    assert profit.upper is not None
    assert profit.lower < profit.value < profit.upper
    assert found == simulate(asked, answers, answers, bars, RULE), "the draws are always the same"


def test_few_blocks_and_returns_that_do_not_vary_have_no_interval() -> None:
    days = np.repeat(np.arange(MIN_BLOCKS - 1), 4)
    draw = np.random.default_rng(2)
    found = sharpe_difference(draw.normal(size=24), draw.normal(size=24), days)
    assert found is not None
    assert (found.lower, found.upper) == (None, None)
    assert sharpe_difference(np.zeros(24), draw.normal(size=24), days) is None


@pytest.mark.parametrize(("freedom", "quantile"), [(6, 2.4469), (10, 2.2281), (30, 2.0423), (1000, 1.9623)])
def test_the_quantile_is_students(freedom: int, quantile: float) -> None:
    assert students(0.95, freedom) == pytest.approx(quantile, rel=0.002)


@pytest.mark.parametrize("kept", [0.0, 0.3])
def test_equal_versions_are_called_worse_in_about_one_of_forty(kept: float) -> None:
    """1,000 comparisons of 28 days with shared market and fat tails; `kept`: how much of a day's mean the next one has."""
    draw = np.random.default_rng(3)
    days, trades, runs = 28, 8, 1_000
    blocks = np.repeat(np.arange(days), trades)
    worse = outside = 0
    for _ in range(runs):
        market = draw.standard_t(4, days * trades)
        regime = np.zeros(days)
        for day in range(days):
            regime[day] = kept * regime[day - 1] + draw.normal(0, 0.3) if day else draw.normal(0, 0.3)
        mine = market + draw.standard_t(4, days * trades) + regime[blocks]
        theirs = market + draw.standard_t(4, days * trades)
        found = sharpe_difference(mine, theirs, blocks)
        assert found is not None
        assert found.upper is not None
        assert found.lower is not None
        worse += found.upper < 0
        outside += not found.lower <= 0 <= found.upper
    assert worse / runs < 0.045
    assert outside / runs < 0.08
