"""The texts of prompt and completion: nothing that is written means something else than what was decided."""

import json
import random

import pytest

from tradewind.trading.decision import DecisionInput, TradeDecision
from tradewind.trading.prompt import PERCENT_GRID, OffGridError, render_completion, render_prompt, snap_to_grid

OPENING = {
    "action": "open_long", "symbol": "BTC", "size_usd": 100, "leverage": 2, "stop_loss_pct": 0.02, "take_profit_pct": 0.05,
    "confidence": 0.7,
}  # fmt: skip


def opening(**changes: float) -> TradeDecision:
    return TradeDecision.model_validate(OPENING | changes)


def test_distances_of_tenths_of_a_basis_point_stay_distances() -> None:
    for tenths in range(1, 50):
        distance = tenths / 100_000
        taught = snap_to_grid(opening(stop_loss_pct=distance)).stop_loss_pct
        assert 0 < taught <= distance
        assert taught >= distance / 2
        assert json.loads(render_completion(opening(stop_loss_pct=distance)))["stop_loss_pct"] == taught


def test_what_is_decided_is_never_taught_larger_and_never_as_none() -> None:
    draw = random.Random(1)
    for _ in range(2000):
        decided = opening(
            size_usd=10 ** draw.uniform(-2, 6.9), leverage=draw.randint(1, 125),
            stop_loss_pct=10 ** draw.uniform(-5, -0.001), take_profit_pct=10 ** draw.uniform(-5, -0.001),
        )  # fmt: skip
        taught = snap_to_grid(decided)
        for field in ("size_usd", "leverage", "stop_loss_pct", "take_profit_pct"):
            assert 0 < getattr(taught, field) <= getattr(decided, field) * (1 + 1e-9)
        assert snap_to_grid(taught) == taught


def test_no_stop_stays_none() -> None:
    assert snap_to_grid(opening(stop_loss_pct=0)).stop_loss_pct == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stop_loss_pct", 0.000009), ("take_profit_pct", 0.000001), ("take_profit_pct", 1.5), ("stop_loss_pct", 1),
        ("size_usd", 0.004), ("size_usd", 2e7), ("leverage", 500),
    ],
)  # fmt: skip
def test_beyond_the_ends_of_a_grid_nothing_is_taught(field: str, value: float) -> None:
    with pytest.raises(OffGridError, match=f"{field} .* is off the grid"):
        render_completion(opening(**{field: value}))


def test_values_of_the_grid_read_back_as_they_are() -> None:
    for value in PERCENT_GRID:
        assert json.loads(render_completion(opening(take_profit_pct=value)))["take_profit_pct"] == value


def test_numbers_have_one_form_before_and_after_a_database() -> None:
    """PostgreSQL's numeric writes digits without exponent and has no negative zero; parsers make floats of long integers."""
    asked = {
        "a": -0.0,
        "b": 1e16,
        "c": 2.5e22,
        "d": 2**70,
        "e": [1.0, {"f": -1e18}],
        "g": True,
        "h": 10**15 + 1,
        "i": 1e-7,
    }
    stored = {"a": 0.0, "b": 10**16, "c": 25 * 10**21, "d": float(2**70), "e": [1.0, {"f": -(10**18)}], "g": True,
              "h": 10**15 + 1, "i": 0.0000001}  # fmt: skip
    served = render_prompt(DecisionInput(market_data=asked, account_state={"x": -0.0}), "BTC")
    assert served == render_prompt(DecisionInput(market_data=stored, account_state={"x": 0.0}), "BTC")
    assert '"a":0.0,"b":1e+16' in served
    assert '"h":1000000000000001' in served
    assert "true" in served
