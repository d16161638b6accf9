from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tradewind.trading.dataset import Dataset, Imitation, LoggedDecision, OtherArm, build_dataset
from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.gates import GateName, evaluate_gates
from tradewind.trading.prompt import hold
from tradewind.trading.settings.dataset import DatasetGates, DatasetSplit
from tradewind.trading.settings.labels import DatasetLabels
from tradewind.trading.teaching import Dropped

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
NO_SPLIT = DatasetSplit(eval_fraction="0")


def shown(number: int, whose: str = "drawn") -> DecisionInput:
    return DecisionInput(
        market_data={"BTC": {"price": 60_000 * 1.01**number}},
        account_state={"balance": 600.0},
        recent_history=({"of": whose},),
    )


def opening(action: Action = Action.OPEN_SHORT, **changes: float) -> TradeDecision:
    answer = TradeDecision(
        action=action, symbol="BTC", size_usd=80, leverage=2, stop_loss_pct=0.02, take_profit_pct=0.05, confidence=0.6
    )
    return answer.model_copy(update=changes)


def other(number: int, earned: float, answer: TradeDecision | None = None, hours: float = 8) -> OtherArm:
    return OtherArm(shown(number, "other"), answer or opening(), earned, START + (number + hours) * HOUR, "own-v2")


def held(number: int, beside: OtherArm | None, **changes: Any) -> LoggedDecision:
    row = LoggedDecision(
        f"d{number:04}", START + number * HOUR, shown(number), "BTC", hold("BTC"), source_model="api", other=beside
    )
    return replace(row, **changes)


def traded(number: int, pnl: float, beside: OtherArm | None, **changes: Any) -> LoggedDecision:
    return held(
        number, beside, answer=opening(Action.OPEN_LONG), execution_status="opened", closed_at=START + (number + 1) * HOUR, pnl_usd=pnl,
        trade_size_usd=100, filled_notional_usd=200, **changes,
    )  # fmt: skip


def taught(*rows: LoggedDecision, kto: bool = False, **labels: Any) -> Dataset:
    return build_dataset(
        rows, Imitation(DatasetLabels.model_validate({"paper": True} | labels), avoid_bad=kto), NO_SPLIT
    )


def told(dataset: Dataset) -> list[tuple[str, str, float, bool]]:
    return [(str(s.action), s.label, round(s.weight, 6), s.desirable) for s in dataset.samples]


HOLD = ("hold", "hold", 0.5, True)
RIGHT = ("hold", "paper_hold", 0.75, True)
LONG = ("open_long", "good_decision", 1.0, True)
BAD_LONG = ("open_long", "bad_decision", 1.0, False)
PAPER_GOOD = ("open_short", "paper_good_decision", 0.5, True)
PAPER_BAD = ("open_short", "paper_bad_decision", 0.5, False)
CASES: list[tuple[str, LoggedDecision, list[Any], list[Any]]] = [
    # what the row is, under sft, what kto adds or puts in its place
    ("a hold that missed a gain", held(0, other(0, 0.02)), [PAPER_GOOD],
     [("hold", "paper_missed_hold", 0.5, False), PAPER_GOOD]),
    ("a hold that missed an excellent one", held(0, other(0, 0.2)), [("open_short", "paper_excellent_decision", 0.75, True)],
     [("hold", "paper_missed_hold", 0.5, False), ("open_short", "paper_excellent_decision", 0.75, True)]),
    ("a hold that avoided a small loss", held(0, other(0, -0.02)), [RIGHT], [RIGHT]),
    ("a hold that avoided a large loss", held(0, other(0, -0.2)), [RIGHT], [RIGHT, PAPER_BAD]),
    ("a hold beside nothing earned", held(0, other(0, 0.0)), [HOLD], [HOLD]),
    ("a hold beside a hold", held(0, other(0, 0.0, hold("BTC", confidence=0.9))), [HOLD], [HOLD]),
    ("a gain beside a larger one", traded(0, 2.0, other(0, 0.2)), [LONG], [LONG]),
    ("a gain beside a loss", traded(0, 2.0, other(0, -0.2)), [LONG], [LONG, PAPER_BAD]),
    ("a gain beside a hold", traded(0, 2.0, other(0, 0.0, hold("BTC"))), [LONG], [LONG]),
    ("a bad trade beside a gain", traded(0, -9.0, other(0, 0.02)), [PAPER_GOOD], [BAD_LONG, PAPER_GOOD]),
    ("a bad trade beside an acceptable loss", traded(0, -9.0, other(0, -0.02)), [("open_short", "paper_acceptable_loss", 0.15, True)],
     [BAD_LONG, ("open_short", "paper_acceptable_loss", 0.15, True)]),
    ("a bad trade beside a bad one", traded(0, -9.0, other(0, -0.2)), [], [BAD_LONG, PAPER_BAD]),
    ("a bad trade beside a hold", traded(0, -9.0, other(0, 0.0, hold("BTC", confidence=0.9))), [RIGHT], [BAD_LONG, RIGHT]),
    ("the same answer twice", traded(0, -9.0, other(0, 0.2, opening(Action.OPEN_LONG))), [], [BAD_LONG]),
    ("a gain off the grids", held(0, other(0, 0.2, opening(size_usd=0.004))), [], [("hold", "paper_missed_hold", 0.5, False)]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "sft", "kto"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_a_row_teaches_beside_its_other_arm(row: LoggedDecision, sft: list[Any], kto: list[Any]) -> None:
    assert told(taught(row)) == sft
    assert told(taught(row, kto=True)) == kto


def test_without_being_asked_nothing_of_a_paper_counts() -> None:
    rows = [replace(case[1], decision_id=f"d{n}") for n, case in enumerate(CASES)]
    without = build_dataset([replace(row, other=None) for row in rows], Imitation(), NO_SPLIT)
    beside = build_dataset(rows, Imitation(), NO_SPLIT)
    assert beside.samples == without.samples
    assert (beside.dropped, beside.papers) == (without.dropped, len(CASES))


def test_the_other_arm_is_taught_as_it_was_asked_and_from_its_own_close() -> None:
    dataset = taught(held(0, other(0, 0.02)))
    (sample,) = dataset.samples
    assert '"of":"other"' in dataset.prompts[sample.prompt]
    assert (sample.source_model, sample.ends_at) == ("own-v2", START + 8 * HOUR)
    dataset = taught(held(0, other(0, -0.02)))
    (sample,) = dataset.samples
    assert '"of":"drawn"' in dataset.prompts[sample.prompt]
    assert (sample.source_model, sample.ends_at) == ("api", START + 8 * HOUR), (
        "that holding was right is known at the close"
    )


def test_a_paper_that_is_open_at_the_boundary_is_purged() -> None:
    rows = [held(n, other(n, 0.02, hours=6)) for n in range(20)]
    dataset = build_dataset(rows, Imitation(DatasetLabels(paper=True)), DatasetSplit(eval_fraction="0.2", embargo="2h"))
    assert dataset.dropped == {Dropped.PURGED: 6, Dropped.EMBARGOED: 1}, (
        "decided at 10..15 h and closed at 16 h or later; at 9 h within the embargo"
    )


def test_no_paper_weighs_more_than_a_real_result_of_its_label() -> None:
    for weight in ("0", "0.5", "1"):
        rows = [held(n, other(n, earned)) for n, earned in enumerate((0.2, 0.02, -0.02, -0.2))]
        rows += [traded(n + 10, pnl, None) for n, pnl in enumerate((20.0, 2.0, -2.0, -20.0))]
        dataset = taught(*rows, kto=True, paperWeight=weight)
        real = {s.label: s.weight for s in dataset.samples if not s.label.startswith("paper_")}
        for sample in dataset.samples:
            if sample.label.startswith("paper_") and "hold" not in sample.label:
                assert sample.weight <= real[sample.label.removeprefix("paper_")]
            elif sample.label == "paper_hold":
                assert 0.5 <= sample.weight <= real["good_decision"]
    assert {s.label for s in taught(*rows, kto=True, paperWeight="0").samples if s.of_other} == set()


def test_a_counterfactual_hold_gives_way_to_a_trade_that_earned_and_stands_beside_one_that_did_not() -> None:
    earned, lost = traded(0, -9.0, other(0, 0.02)), traded(1, -9.0, other(1, -0.2))
    assert told(taught(earned, lost, counterfactualHolds=True)) == [
        PAPER_GOOD,
        ("hold", "counterfactual_hold", 0.5, True),
    ]
    aside = traded(0, -9.0, other(0, 0.0, hold("BTC")))
    assert told(taught(aside, counterfactualHolds=True)) == [("hold", "counterfactual_hold", 0.5, True)], (
        "to hold is taught once"
    )


def test_one_prompt_teaches_once_and_a_real_result_goes_first() -> None:
    asked = shown(5)
    rows = [
        held(0, replace(other(0, 0.02), shown=asked)),
        held(1, replace(other(1, 0.02), shown=shown(9, "x"))),
        held(2, replace(other(2, 0.02), shown=shown(9, "x"))),
        traded(5, 2.0, None),
    ]
    dataset = taught(*rows)
    assert [s.decision_id for s in dataset.samples] == ["d0001", "d0005"]
    assert dataset.dropped == {Dropped.DUPLICATE: 2}


def test_holds_are_thinned_out_of_those_first_that_nobody_knows_to_be_right() -> None:
    rows = [traded(n, 2.0 if n % 2 else -9.0, None) for n in range(8)]
    rows += [held(n, other(n, -0.2) if n < 12 else None) for n in range(8, 16)]
    dataset = taught(*rows)
    assert dataset.dropped[Dropped.HOLD_SURPLUS] == 4
    assert [s.label for s in dataset.samples if s.action is Action.HOLD] == ["paper_hold"] * 4


def test_gates_count_real_results() -> None:
    rows = [traded(n, 2.0, None) for n in range(3)] + [held(n, other(n, 0.2)) for n in range(3, 9)]
    dataset = taught(*rows)
    assert len(dataset.samples) == 9
    found = {gate.name: gate.value for gate in evaluate_gates(dataset, DatasetGates(), START)}
    assert found[GateName.MIN_SAMPLES] == 3
    assert found[GateName.MAX_CLASS_SHARE] == 1.0
    assert found[GateName.MIN_PER_CLASS] == 0
