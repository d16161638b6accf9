from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from demo.bars import SYMBOL, WARMUP, load_bars, market_view, split_index

BARS = load_bars()


def test_bars_are_the_5000_hours_of_the_package_in_order() -> None:
    assert len(BARS) == 5000
    assert BARS[0].opens_at == datetime(2017, 4, 19, 9, tzinfo=UTC)
    assert all(a.closes_at <= b.opens_at for a, b in pairwise(BARS))
    assert all(b.low <= min(b.open, b.close) <= max(b.open, b.close) <= b.high for b in BARS)


@pytest.mark.parametrize("index", [WARMUP, 1000, 3500, 4999])
def test_features_know_nothing_after_their_bar(index: int) -> None:
    upside_down = tuple(replace(b, open=9.0, high=9.0, low=9.0, close=9.0) for b in BARS[index + 1 :])
    assert market_view(BARS[: index + 1], index) == market_view(BARS[: index + 1] + upside_down, index)


def test_features_see_the_bar_that_has_just_closed() -> None:
    index = 1000
    jump = replace(BARS[index], close=BARS[index].close * 1.01, high=BARS[index].high * 1.01)
    seen = market_view((*BARS[:index], jump), index)[SYMBOL]
    assert isinstance(seen, dict)
    assert seen["momentum_1h"] == seen["momentum_3h"] == "up"
    assert seen["move_3h"] == "large"


def test_momentum_of_three_hours_is_the_sign_of_the_last_three_closes() -> None:
    for index in range(WARMUP, 700):
        change = BARS[index].close - BARS[index - 3].close
        seen = market_view(BARS, index)[SYMBOL]
        assert isinstance(seen, dict)
        assert seen["momentum_3h"] == ("up" if change > 0 else "down" if change < 0 else "flat")


def test_no_feature_is_constant() -> None:
    views = [market_view(BARS, index)[SYMBOL] for index in range(WARMUP, 2000)]
    for name in views[0]:
        assert len({view[name] for view in views if isinstance(view, dict)}) > 1, name


def test_bars_without_history_are_refused() -> None:
    with pytest.raises(IndexError, match=f"use {WARMUP} to 4999"):
        market_view(BARS, WARMUP - 1)


def test_the_test_starts_at_a_midnight_after_the_first_part() -> None:
    index = split_index(BARS)
    assert 3000 <= index < 3030
    assert BARS[index].closes_at.hour == 0
    assert BARS[index - 1].closes_at < BARS[index].closes_at
