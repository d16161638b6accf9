"""The seed's label rule, at its bounds."""

import pytest

from tradewind.trading.labels import Label, label_outcome
from tradewind.trading.settings.labels import LabelThresholds


@pytest.mark.parametrize(
    ("pnl", "label"),
    [
        (3.01, Label.EXCELLENT),
        (3.0, Label.GOOD),  # exactly 5 % of 60 is not above 5 %
        (0.01, Label.GOOD),
        (0.0, Label.NEUTRAL),
        (-0.01, Label.ACCEPTABLE_LOSS),
        (-1.8, Label.ACCEPTABLE_LOSS),  # exactly 3 %, though -1.8 / 60 is a hair more in binary
        (-1.81, Label.BAD),
    ],
)
def test_bounds_on_a_margin_of_sixty(pnl: float, label: Label) -> None:
    assert label_outcome(pnl, 60.0) is label


def test_thresholds_are_the_users() -> None:
    own = LabelThresholds(excellent="0.02", bad="0")
    assert label_outcome(1.5, 60.0, own) is Label.EXCELLENT
    assert label_outcome(-0.001, 60.0, own) is Label.BAD


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan")])
def test_a_size_that_is_none_is_refused(size: float) -> None:
    with pytest.raises(ValueError, match="size_usd"):
        label_outcome(1.0, size)
