from datetime import UTC, datetime, timedelta

import pytest

from tradewind.trading.dataset import ClosedTrade, Imitation, LoggedDecision, build_dataset
from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.gates import Gate, GateName, evaluate_gates, label_consistency
from tradewind.trading.labels import Label
from tradewind.trading.settings.dataset import DatasetGates, DatasetSplit

START = datetime(2026, 1, 5, tzinfo=UTC)


def row(number: int, pnl: float, action: Action = Action.OPEN_LONG, review: float | None = None) -> LoggedDecision:
    decided = START + timedelta(hours=number)
    return LoggedDecision(
        decision_id=f"d{number:04}",
        decided_at=decided,
        shown=DecisionInput(market_data={"n": 1.01**number}, account_state={}),
        symbol="BTC",
        answer=TradeDecision(
            action=action, symbol="BTC", size_usd=100, leverage=1, stop_loss_pct=0, take_profit_pct=0, confidence=0.5
        ),
        execution_status="opened",
        closed_at=decided,
        pnl_usd=pnl,
        trade_size_usd=100,
        filled_notional_usd=100,
        reviews={} if review is None else {"good_decision": review, "excellent_decision": 0.0},
    )


def gates(rows: list[LoggedDecision], **thresholds) -> dict[GateName, Gate]:
    dataset = build_dataset(rows, Imitation(), DatasetSplit(eval_fraction="0"))
    found = evaluate_gates(dataset, DatasetGates(**thresholds), START + timedelta(days=3))
    of_kto = (GateName.MIN_DESIRABLE, GateName.MIN_UNDESIRABLE)
    assert [gate.name for gate in found] == [name for name in GateName if name not in of_kto]
    return {gate.name: gate for gate in found}


def test_kto_asks_for_both_sides_of_the_training() -> None:
    rows = [row(n, 2.0 if n % 3 else -8.0) for n in range(9)]
    dataset = build_dataset(rows, Imitation(avoid_bad=True), DatasetSplit(eval_fraction="0"))
    asked = DatasetGates(min_desirable=6, min_undesirable=4)
    found = evaluate_gates(dataset, asked, START + timedelta(days=3))
    assert [gate.name for gate in found] == list(GateName)
    assert Gate(GateName.MIN_DESIRABLE, 6, 6, passed=True) in found
    assert Gate(GateName.MIN_UNDESIRABLE, 3, 4, passed=False) in found


def test_too_few_samples_fail_with_the_numbers() -> None:
    assert gates([row(n, 2.0) for n in range(300)])[GateName.MIN_SAMPLES] == Gate(
        GateName.MIN_SAMPLES, 300, 500, passed=False
    )


def test_counts_and_shares() -> None:
    rows = [row(n, 2.0) for n in range(6)] + [row(n, 9.0, Action.OPEN_SHORT) for n in range(6, 8)]
    rows += [row(8, -1.0), row(9, -8.0)]
    found = gates(
        rows,
        min_samples=9,
        min_per_class=2,
        max_class_share="0.6",
        max_action_share="0.7",
        max_symbol_share="0.9",
        max_direction_share="0.8",
        max_age="2d",
        min_json_validity="0.9",
    )
    values = {name: (gate.value, gate.passed) for name, gate in found.items()}
    assert values == {
        GateName.MIN_SAMPLES: (9, True),
        GateName.MIN_PER_CLASS: (1, False),
        GateName.MAX_CLASS_SHARE: (0.6, True),
        GateName.MAX_ACTION_SHARE: (0.777778, False),
        GateName.MAX_SYMBOL_SHARE: (1.0, False),
        GateName.MAX_DIRECTION_SHARE: (0.777778, True),
        GateName.MIN_LABEL_CONSISTENCY: (1.0, True),
        GateName.MIN_REVIEWED_ACCURACY: (None, None),
        GateName.MIN_JSON_VALIDITY: (1.0, True),
        GateName.MAX_AGE: (2.625, False),
        GateName.MAX_DRIFT: (None, None),
    }


def test_unknown_is_neither_passed_nor_failed_and_nothing_is_measured_on_nothing() -> None:
    found = gates([], max_class_share="0.5", max_direction_share="0.5")
    assert found.pop(GateName.MIN_SAMPLES).passed is False
    assert found.pop(GateName.MIN_PER_CLASS).value == 0
    assert {gate.value for gate in found.values()} == {None}
    assert {gate.passed for gate in found.values()} == {None}


@pytest.mark.parametrize(("agreement", "passed"), [([1.0, 1.0, 0.5], False), ([1.0, 1.0, 0.8], True)])
def test_reviewed_accuracy_is_what_people_say(agreement: list[float], passed: bool) -> None:
    rows = [row(n, 2.0, review=share) for n, share in enumerate(agreement)] + [row(9, 2.0)]
    gate = gates(rows)[GateName.MIN_REVIEWED_ACCURACY]
    assert gate.passed is passed
    assert gate.value == pytest.approx(sum(agreement) / 3, abs=1e-6)


def test_a_required_review_that_nobody_made_fails() -> None:
    assert gates([row(0, 2.0)], require_review=True)[GateName.MIN_REVIEWED_ACCURACY].passed is False


def closed(number: int, label: Label, pnl: float, notional: float, symbol: str = "BTC") -> ClosedTrade:
    return ClosedTrade(f"d{number}", symbol, Action.OPEN_LONG, label, pnl, notional, None)


def test_labels_are_consistent_where_leverage_is_constant() -> None:
    trades = [closed(n, Label.EXCELLENT if n > 5 else Label.GOOD, n, 200) for n in range(1, 10)]
    assert label_consistency(trades) == 1.0


def test_labels_that_come_from_leverage_are_inconsistent() -> None:
    # the same margin: a move of 1 % is excellent at leverage 10 while one of 4 % is merely good at leverage 1
    trades = [
        closed(1, Label.EXCELLENT, 10, 1000),
        closed(2, Label.GOOD, 4, 100),
        closed(3, Label.BAD, -10, 1000),
        closed(4, Label.ACCEPTABLE_LOSS, -2, 100),
    ]
    assert label_consistency(trades) == 0.0


def test_each_symbol_is_judged_by_its_own_volatility() -> None:
    calm = [closed(n, Label.GOOD, 0.1, 100, "EUR") for n in range(4)]
    wild = [closed(n + 10, Label.GOOD, 4.0, 100, "DOGE") for n in range(4)]
    jump = closed(20, Label.EXCELLENT, 1.0, 100, "EUR")
    assert label_consistency([*calm, *wild, jump]) == 1.0, "ten times its usual move beats what is usual elsewhere"


def test_consistency_of_nothing_is_unknown() -> None:
    assert label_consistency([]) is None
