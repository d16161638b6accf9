"""Numbers of answers beside recorded decisions, by hand."""

import math
from datetime import UTC, datetime

import pytest

from tradewind.evaluation.measures import Answered, measure, reliability
from tradewind.evaluation.rows import Quality, Row
from tradewind.trading.decision import Action, DecisionInput, TradeDecision

AT = datetime(2026, 3, 1, tzinfo=UTC)


def decision(action: Action) -> TradeDecision:
    size = 100.0 if action.opens else 0.0
    return TradeDecision(
        action=action, symbol="BTC", size_usd=size, leverage=1, stop_loss_pct=0, take_profit_pct=0, confidence=0.5
    )


def row(action: Action, quality: Quality | None) -> Row:
    return Row("d", AT, "BTC", DecisionInput(market_data={}, account_state={}), decision(action), quality)


LONG, SHORT, HOLD = Action.OPEN_LONG, Action.OPEN_SHORT, Action.HOLD


def test_good_decisions_are_repeated_and_bad_ones_avoided() -> None:
    rows = [
        row(LONG, Quality.GOOD),
        row(SHORT, Quality.GOOD),
        row(LONG, Quality.BAD),
        row(LONG, Quality.BAD),
        row(LONG, None),
    ]
    answers = [Answered(decision(action)) for action in (LONG, LONG, SHORT, LONG, HOLD)]
    found = measure(rows, answers)
    assert (found.good, found.bad) == (2, 2)
    assert (found.agreement, found.disagreement, found.hold_share) == (0.5, 0.5, 0.2)
    assert found.log_likelihood_gap is None
    assert found.calibration is None


def test_an_invalid_answer_repeats_no_good_decision_and_avoids_no_bad_one() -> None:
    found = measure([row(LONG, Quality.GOOD), row(LONG, Quality.BAD)], [Answered(None), Answered(None)])
    assert (found.agreement, found.disagreement, found.hold_share) == (0.0, 0.0, None)


def test_what_there_is_nothing_to_measure_on_is_unknown_and_not_0_or_1() -> None:
    found = measure([row(LONG, None)], [Answered(decision(LONG))])
    assert (found.agreement, found.disagreement) == (None, None)


def test_the_gap_is_of_the_recorded_actions_and_finite_where_limits_bar_one() -> None:
    sure = {"open_long": 0.8, "open_short": 0.2, "hold": 0.0, "close": 0.0}
    rows = [row(LONG, Quality.GOOD), row(SHORT, Quality.BAD), row(HOLD, Quality.BAD)]
    found = measure(rows, [Answered(decision(LONG), sure)] * 3)
    assert found.log_likelihood_gap == pytest.approx(math.log(0.8) - (math.log(0.2) + math.log(1e-6)) / 2)


def test_calibration_is_the_distance_of_what_is_stated_from_what_comes_true() -> None:
    found = reliability(
        [(0.95, True)] * 8 + [(0.95, False)] * 2 + [(0.55, True)] * 5 + [(0.55, False)] * 5 + [(1.0, True)] * 10
    )
    assert found is not None
    assert [each.count for each in found.bins] == [10, 20]
    assert found.bins[1].mean == pytest.approx(0.975)
    assert found.bins[1].share == pytest.approx(0.9)
    assert found.error == pytest.approx((10 * 0.05 + 20 * 0.075) / 30)
    assert reliability([]) is None
