"""The line through real against paper returns: least squares of one arm's trades, and nothing where there is none."""

import math

import numpy as np
import pytest

from tradewind.trading.evidence import PaperTrades


def trades(paper: list[float], real: list[float], candidate: bool = True) -> PaperTrades:
    return PaperTrades(np.full(len(paper), candidate), np.array(paper), np.array(real))


def test_the_line_is_of_one_arms_trades_alone() -> None:
    draw = np.random.default_rng(5)
    paper, arm = draw.normal(0, 0.01, 400), draw.random(400) < 0.3
    real = np.where(arm, 0.001 + 0.5 * paper, 1.2 * paper) + draw.normal(0, 0.001, 400)
    found = PaperTrades(arm, paper, real)
    for candidate in (False, True):
        slope, height = np.polyfit(paper[arm == candidate], real[arm == candidate], 1)
        assert found.line(candidate=candidate) == pytest.approx((height, slope), rel=1e-9)


@pytest.mark.parametrize(
    ("paper", "real"),
    [
        ([], []),
        ([0.1, 0.2], [0.1, 0.2]),
        ([0.1, 0.1, 0.1], [0.1, 0.2, 0.3]),
        ([1e-200, 2e-200, 3e-200], [0.1, 0.2, 0.3]),
        ([1e200, -1e200, 3e200], [0.1, 0.2, 0.3]),
        ([0.1, 0.2, 0.3], [1e308, -1e308, 1e308]),
    ],
)
def test_without_a_line_it_is_nan_and_nothing_is_said(paper: list[float], real: list[float]) -> None:
    with np.errstate(all="raise", under="ignore", over="ignore", invalid="ignore"):
        height, slope = trades(paper, real).line(candidate=True)
    assert (math.isnan(height) and math.isnan(slope)) or (math.isfinite(height) and math.isfinite(slope))
    if len(paper) < 3 or len(set(paper)) == 1 or max(paper) < 1e-100:
        assert math.isnan(slope)


def test_an_arm_without_trades_has_no_line() -> None:
    assert all(math.isnan(part) for part in trades([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]).line(candidate=False))
