import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tradewind.trading.dataset import Dataset, Imitation, LoggedDecision, build_dataset, dataset_lines
from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.duplicates import Dedupe, near_duplicate_key
from tradewind.trading.prompt import hold
from tradewind.trading.settings.dataset import DatasetSplit
from tradewind.trading.settings.labels import DatasetLabels
from tradewind.trading.teaching import Dropped, Teaching

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
NO_SPLIT = DatasetSplit(eval_fraction="0")


def lines(dataset: Dataset) -> list[str]:
    return list(dataset_lines(dataset.train, dataset.prompts))


def shown(price: float) -> DecisionInput:
    return DecisionInput(
        market_data={"BTC": {"price": price}, "market_regime": "normal"}, account_state={"balance": 600.0}
    )


def trade(number: int, pnl: float, *, hours: float = 1, action: Action = Action.OPEN_LONG, **changes) -> LoggedDecision:
    answer = TradeDecision(
        action=action, symbol="BTC", size_usd=100, leverage=2, stop_loss_pct=0.02, take_profit_pct=0.05, confidence=0.7
    )
    decided = START + number * HOUR
    row = LoggedDecision(
        decision_id=f"d{number:04}",
        decided_at=decided,
        shown=shown(60_000 * 1.01**number),
        symbol="BTC",
        answer=answer,
        execution_status="opened",
        closed_at=decided + hours * HOUR,
        pnl_usd=pnl,
        trade_size_usd=100,
        filled_notional_usd=200,
        source_model="api",
    )
    return replace(row, **changes)


def logged_hold(number: int) -> LoggedDecision:
    return LoggedDecision(
        decision_id=f"d{number:04}",
        decided_at=START + number * HOUR,
        shown=shown(60_000 * 1.01**number),
        symbol="BTC",
        answer=hold("BTC"),
    )


def test_good_trades_are_imitated_by_weight_and_bad_ones_never() -> None:
    rows = [trade(0, 6.0), trade(1, 2.0), trade(2, -2.0), trade(3, -4.0), trade(4, 0.0)]
    dataset = build_dataset(rows, Imitation(), NO_SPLIT)
    assert [(s.decision_id, s.label, s.weight) for s in dataset.train] == [
        ("d0000", "excellent_decision", 1.5),
        ("d0001", "good_decision", 1.0),
        ("d0002", "acceptable_loss", 0.3),
    ]
    assert dataset.dropped == {Dropped.NOT_IMITATED: 2}
    assert len(dataset.trades) == 5, "the gates see bad trades too"


def test_bad_trades_are_samples_to_avoid_where_the_objective_learns_from_them() -> None:
    rows = [trade(0, 2.0), trade(1, -4.0), trade(2, -2.0), *(logged_hold(n) for n in range(3, 9))]
    dataset = build_dataset(rows, Imitation(avoid_bad=True), NO_SPLIT)
    sides = {s.decision_id: (s.label, s.weight, s.desirable) for s in dataset.train if s.label != Teaching.LOGGED_HOLD}
    assert sides == {
        "d0000": ("good_decision", 1.0, True),
        "d0001": ("bad_decision", 1.0, False),
        "d0002": ("acceptable_loss", 0.3, True),
    }
    told = [json.loads(line) for line in lines(dataset)]
    assert [line["decision_id"] for line in told if "desirable" in line] == ["d0001"]
    assert dataset.dropped == {Dropped.HOLD_SURPLUS: 2}, (
        "two trades are imitated, as many holds as in the log go with them"
    )
    without = Imitation(labels=DatasetLabels.model_validate({"weights": {"bad": "0"}}), avoid_bad=True)
    assert all(sample.desirable for sample in build_dataset(rows, without, NO_SPLIT).train)


def test_weights_follow_the_net_return_within_bounds_when_asked() -> None:
    rows = [
        trade(0, 1.0),
        trade(1, 2.0),
        trade(2, 4.5),
        trade(3, 50.0),
        trade(4, -1.0),
        trade(5, -2.0),
        trade(6, -50.0),
    ]
    labels = DatasetLabels(return_exponent="0.5")
    dataset = build_dataset(rows, Imitation(labels=labels, avoid_bad=True), NO_SPLIT)
    plain = build_dataset(rows, Imitation(avoid_bad=True), NO_SPLIT)
    factors = [one.weight / other.weight for one, other in zip(dataset.train, plain.train, strict=True)]
    # The median return is 2 %: roots of 1/2, 1, 9/4, then the bound; a loss that is imitated counts the less, one to avoid the more.
    assert factors == pytest.approx([0.5**0.5, 1, 1.5, 2, 2**0.5, 1, 2])


def test_a_losing_trade_teaches_to_hold_on_the_same_input_when_asked() -> None:
    dataset = build_dataset(
        [trade(0, -2.0), trade(1, -4.0), trade(2, 2.0)],
        Imitation(labels=DatasetLabels(counterfactual_holds=True, hold_weight="0.8")),
        NO_SPLIT,
    )
    by_decision: dict[str, list[tuple[str, float, Action]]] = {}
    for sample in dataset.train:
        by_decision.setdefault(sample.decision_id, []).append((sample.label, sample.weight, sample.action))
    assert by_decision == {
        "d0000": [
            ("acceptable_loss", 0.3, Action.OPEN_LONG),
            (Teaching.COUNTERFACTUAL_HOLD, 0.8, Action.HOLD),
        ],
        "d0001": [(Teaching.COUNTERFACTUAL_HOLD, 0.8, Action.HOLD)],
        "d0002": [("good_decision", 1.0, Action.OPEN_LONG)],
    }
    twin = dataset.train[1]
    assert twin.prompt == dataset.train[0].prompt
    assert json.loads(twin.completion)["action"] == "hold"
    assert twin.ends_at == dataset.train[0].ends_at, "that holding was better is known only at the close"
    assert dataset.decisions == 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (trade(0, 1, replay=True), Dropped.REPLAY),
        (trade(0, 1, fallback=True), Dropped.FALLBACK),
        (trade(0, 1, answer=None, invalid=True), Dropped.INVALID),
        (trade(0, 1, answer=None), Dropped.UNANSWERED),
        (trade(0, 1, execution_status="rejected", closed_at=None, pnl_usd=None), Dropped.NOT_FILLED),
        (trade(0, 1, closed_at=None, pnl_usd=None), Dropped.OPEN),
    ],
)
def test_rows_that_teach_nothing_are_dropped_with_their_reason(row: LoggedDecision, reason: Dropped) -> None:
    dataset = build_dataset([row], Imitation(), NO_SPLIT)
    assert dataset.samples == ()
    assert dataset.dropped == {reason: 1}


def test_replay_and_fallback_rows_enter_when_asked_for() -> None:
    rows = [trade(0, 1, replay=True), trade(1, 1, fallback=True)]
    dataset = build_dataset(rows, Imitation(include_replay=True, include_fallback=True), NO_SPLIT)
    assert dataset.decisions == 2


def test_follow_ups_share_the_fate_of_their_position_at_the_weight_of_a_hold_at_most() -> None:
    rows = [
        trade(0, 6.0),
        trade(1, 6.0, action=Action.CLOSE, parent_id="d0000"),
        replace(logged_hold(2), parent_id="x"),
    ]
    dataset = build_dataset(rows, Imitation(), NO_SPLIT)
    assert [(s.action, s.weight) for s in dataset.train] == [(Action.OPEN_LONG, 1.5), (Action.CLOSE, 0.5)]
    assert dataset.dropped == {Dropped.OPEN: 1}
    assert len(dataset.trades) == 1, "a position is one trade"


def test_identical_prompts_teach_once_and_near_ones_only_on_request() -> None:
    rows = [
        trade(0, 2.0),
        trade(1, 2.0, shown=shown(60_000.0)),
        trade(2, 2.0, shown=shown(60_010)),
        trade(3, 2.0, shown=shown(61_000)),
    ]
    exact = build_dataset(rows, Imitation(), NO_SPLIT)
    assert [s.decision_id for s in exact.train] == ["d0000", "d0002", "d0003"]
    assert exact.dropped == {Dropped.DUPLICATE: 1}
    near = build_dataset(rows, Imitation(dedupe=Dedupe.NEAR), NO_SPLIT)
    assert [s.decision_id for s in near.train] == ["d0000", "d0003"]
    assert near.dropped == {Dropped.DUPLICATE: 1, Dropped.NEAR_DUPLICATE: 1}
    assert build_dataset(rows, Imitation(dedupe=Dedupe.NONE), NO_SPLIT).decisions == 4


def test_a_decision_that_teaches_nothing_hides_none_that_does() -> None:
    rows = [trade(0, -9.0), *(trade(n, 9.0, shown=shown(60_000.0)) for n in range(1, 4))]
    dataset = build_dataset(rows, Imitation(), NO_SPLIT)
    assert [s.decision_id for s in dataset.train] == ["d0001"]
    assert dataset.dropped == {Dropped.NOT_IMITATED: 1, Dropped.DUPLICATE: 2}


def test_an_hourly_log_of_one_slow_market_keeps_its_decisions() -> None:
    rows = [trade(n, 2.0, shown=shown(1.08 + 0.00001 * n)) for n in range(300)]
    assert build_dataset(rows, Imitation(), NO_SPLIT).decisions == 300


def test_a_decision_off_the_grids_is_counted_and_not_taught_as_something_else() -> None:
    def with_answer(number: int, pnl: float, **changes: float) -> LoggedDecision:
        row = trade(number, pnl, shown=shown(50_000.0 + number))
        assert row.answer is not None
        return replace(row, answer=row.answer.model_copy(update=changes))

    rows = [
        with_answer(0, 6.0),
        with_answer(1, 6.0, stop_loss_pct=0.000009),
        with_answer(2, 6.0, take_profit_pct=1.5),
        with_answer(3, 6.0, size_usd=0.004),
        with_answer(4, -9.0, size_usd=0.004),
    ]
    dataset = build_dataset(rows, Imitation(), NO_SPLIT)
    assert [s.decision_id for s in dataset.train] == ["d0000"]
    assert dataset.dropped == {Dropped.OFF_GRID: 3, Dropped.NOT_IMITATED: 1}


def test_near_duplicate_key_tells_symbols_signs_and_flags_apart() -> None:
    one = DecisionInput(market_data={"x": 1.0, "y": [-0.00012345], "z": True}, account_state={})
    same = DecisionInput(market_data={"x": 1.001, "y": [-0.00012349], "z": True}, account_state={})
    sign = DecisionInput(market_data={"x": 1.0, "y": [0.00012345], "z": True}, account_state={})
    flag = DecisionInput(market_data={"x": 1.0, "y": [-0.00012345], "z": 1}, account_state={})
    assert near_duplicate_key(one, "BTC") == near_duplicate_key(same, "BTC")
    assert len({near_duplicate_key(i, s) for i, s in ((one, "BTC"), (one, "ETH"), (sign, "BTC"), (flag, "BTC"))}) == 4


def test_holds_are_thinned_out_to_their_share_of_the_log() -> None:
    # half of the trades are bad: without thinning, holds would be 2/3 of what is taught instead of 1/2
    rows = [trade(n, 2.0 if n % 2 else -4.0) for n in range(40)] + [logged_hold(n) for n in range(40, 80)]
    dataset = build_dataset(rows, Imitation(), NO_SPLIT)
    holds = [s.decision_id for s in dataset.train if s.action is Action.HOLD]
    assert len(holds) == 20
    assert dataset.dropped[Dropped.HOLD_SURPLUS] == 20
    assert {s.weight for s in dataset.train if s.action is Action.HOLD} == {0.5}
    again = build_dataset(list(reversed(rows)), Imitation(), NO_SPLIT)
    assert lines(again) == lines(dataset)


def test_split_is_in_time_purged_and_embargoed() -> None:
    rows = [trade(n, 2.0, hours=3) for n in range(20)]
    dataset = build_dataset(rows, Imitation(), DatasetSplit(eval_fraction="0.2", embargo="2h"))
    boundary = START + 16 * HOUR
    assert [s.decided_at for s in dataset.evaluation] == [START + n * HOUR for n in range(16, 20)]
    assert all(s.ends_at <= boundary - 2 * HOUR for s in dataset.train)
    # decided at 13..15 h they close at or past the boundary; at 12 h they close within the embargo
    assert dataset.dropped == {Dropped.PURGED: 3, Dropped.EMBARGOED: 1}
    assert dataset.train[-1].decision_id == "d0011"
    assert dataset.watermark == START + 22 * HOUR


def test_the_newest_decisions_stay_when_there_are_too_many() -> None:
    rows = [trade(n, 2.0) for n in range(10)]
    dataset = build_dataset(rows, Imitation(max_samples=4), NO_SPLIT)
    assert [s.decision_id for s in dataset.train] == ["d0006", "d0007", "d0008", "d0009"]
    assert dataset.dropped == {Dropped.OVER_MAX_SAMPLES: 6}


def test_an_empty_log_gives_an_empty_dataset() -> None:
    dataset = build_dataset([], Imitation(), DatasetSplit())
    assert dataset.samples == ()
    assert dataset.watermark is None


def test_lines_are_golden() -> None:
    (line,) = lines(build_dataset([trade(0, 6.0)], Imitation(), NO_SPLIT))
    sample = json.loads(line)
    assert sample.pop("prompt").endswith("Symbol: BTC\nDecision: ")
    assert sample == {
        "action": "open_long",
        "completion": (
            '{"action":"open_long","symbol":"BTC","size_usd":100,"leverage":2,'
            '"stop_loss_pct":0.02,"take_profit_pct":0.05,"confidence":0.7}'
        ),
        "decided_at": "2026-01-05T00:00:00+00:00",
        "decision_id": "d0000",
        "ends_at": "2026-01-05T01:00:00+00:00",
        "label": "excellent_decision",
        "regime": "normal",
        "source_model": "api",
        "symbol": "BTC",
        "weight": 1.5,
    }
