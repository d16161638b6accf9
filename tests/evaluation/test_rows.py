"""Recorded decisions as questions: which, whose, and how they turned out."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tradewind.evaluation.rows import Quality, Row, Sampled, logged_row, read_files
from tradewind.trading.dataset import LoggedDecision, OtherArm
from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.labels import Label
from tradewind.trading.prompt import hold, parse_prompt, render_completion, render_prompt
from tradewind.trading.settings.labels import LabelThresholds
from tradewind.training.outcome import JobError

AT = datetime(2026, 3, 1, tzinfo=UTC)
SHOWN = DecisionInput(
    market_data={"BTC": {"price": 1e-7, "说": 'a "quote"\nand a line'}}, account_state={"b": 600.0},
    recent_history=({"action": "hold"},),
)  # fmt: skip
LONG = TradeDecision(
    action=Action.OPEN_LONG, symbol="BTC", size_usd=100, leverage=2, stop_loss_pct=0.02, take_profit_pct=0.05, confidence=0.7
)  # fmt: skip


def logged(**changes: Any) -> LoggedDecision:
    closed: dict[str, Any] = {"closed_at": AT, "pnl_usd": 6.0, "trade_size_usd": 100.0, "execution_status": "opened"}
    values: dict[str, Any] = {
        "decision_id": "d1",
        "decided_at": AT,
        "shown": SHOWN,
        "symbol": "BTC",
        "answer": LONG,
        "source_model": "api",
    }
    return LoggedDecision(**(values | closed | changes))


def of_log(**changes: Any) -> Row | None:
    return logged_row(logged(**changes), LabelThresholds(), include_replay=False)


def quality(**changes: Any) -> Quality | None:
    found = of_log(**changes)
    assert found is not None
    return found.quality


def other(action: Action, earned: float) -> OtherArm:
    return OtherArm(SHOWN, LONG.model_copy(update={"action": action}), earned, AT, "v2")


def test_a_prompt_gives_back_what_was_shown_and_another_text_is_refused() -> None:
    text = render_prompt(SHOWN, "600519.SH")
    assert parse_prompt(text) == (SHOWN, "600519.SH")
    for broken in (text.replace("Market: ", "market: "), text + " ", text.replace("600.0", "600.00"), "hello", ""):
        with pytest.raises(ValueError, match="prompt"):
            parse_prompt(broken)


def test_a_trade_is_good_or_bad_by_its_outcome_and_a_hold_by_the_other_arms_paper() -> None:
    assert quality() is Quality.GOOD
    assert quality(pnl_usd=-3.5) is Quality.BAD
    assert quality(pnl_usd=-2.0) is None, "an acceptable loss is neither"
    assert quality(closed_at=None) is None
    assert quality(execution_status="rejected") is None
    assert quality(pnl_usd=None, given_label=Label.BAD) is Quality.BAD
    held = {"answer": hold("BTC"), "closed_at": None, "pnl_usd": None}
    assert quality(**held) is None
    assert quality(**held, other=other(Action.OPEN_LONG, -0.01)) is Quality.GOOD
    assert quality(**held, other=other(Action.OPEN_SHORT, 0.01)) is Quality.BAD
    assert quality(**held, other=other(Action.HOLD, 0.0)) is None


def test_a_follow_up_and_a_replay_are_no_questions_and_a_fallbacks_answer_is_nobodys() -> None:
    assert of_log(parent_id="d0") is None
    assert of_log(replay=True) is None
    stood_in = of_log(fallback=True)
    assert stood_in is not None
    assert (stood_in.answer, stood_in.quality) == (None, None)


def test_answers_are_found_by_who_gave_them() -> None:
    found = of_log(other=other(Action.OPEN_SHORT, 0.01))
    assert found is not None
    assert found.answer_of("api") == found.answer_of(None) == LONG
    short = found.answer_of("v2")
    assert short is not None
    assert short.action is Action.OPEN_SHORT
    assert found.answer_of("v3") is None


def test_a_sample_is_the_same_in_whatever_order_rows_come() -> None:
    rows = [Row(f"d{n}", AT + timedelta(minutes=n), "BTC", SHOWN, None) for n in range(300)]
    there, back = Sampled(40), Sampled(40)
    for row in rows:
        there.take(row)
    for row in reversed(rows):
        back.take(row)
    assert there.rows == back.rows
    assert (len(there.rows), there.seen) == (40, 300)
    assert there.rows == sorted(there.rows, key=lambda row: row.decided_at)
    assert (
        there.rows[0].decided_at < AT + timedelta(minutes=60) < AT + timedelta(minutes=240) < there.rows[-1].decided_at
    )


def line(number: int, **changes: Any) -> dict[str, Any]:
    shown = DecisionInput(market_data={"n": number}, account_state={})
    return {
        "prompt": render_prompt(shown, "BTC"), "completion": render_completion(LONG), "weight": 1.0, "label": "good_decision",
        "decision_id": f"d{number}", "decided_at": (AT + timedelta(hours=number)).isoformat(),
        "ends_at": (AT + timedelta(hours=number + 1)).isoformat(), "source_model": "api",
    } | changes  # fmt: skip


def write(file: Path, lines: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))


def test_what_is_taught_is_no_question_and_each_decision_is_one(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [line(n) for n in range(5)])
    held = line(11, completion=render_completion(hold("BTC")), label="counterfactual_hold")
    bad = line(12, label="bad_decision", desirable=False)
    write(tmp_path / "eval.jsonl", [line(3, decision_id="copied"), held, line(11), bad])
    found = read_files(tmp_path, 50)
    assert [(row.decision_id, row.quality) for row in found.rows] == [("d11", Quality.GOOD), ("d12", Quality.BAD)]
    assert found.rows[0].answer == LONG
    assert found.leaked == 1
    assert len(found.taught) == 5
    assert found.taught_until == AT + timedelta(hours=5)


@pytest.mark.parametrize(
    "broken",
    [
        "{",
        '{"prompt": 1}',
        json.dumps(line(1, prompt="Decide!")),
        json.dumps(line(1, completion="buy")),
        json.dumps(line(1, decided_at="2026-03-01T00:00:00")),
        json.dumps(line(1) | {"label": None, "decided_at": None}),
        "[]",
    ],
)
def test_a_line_that_is_no_sample_is_named_and_nothing_is_judged_on_the_rest(tmp_path: Path, broken: str) -> None:
    write(tmp_path / "eval.jsonl", [line(0)])
    with (tmp_path / "eval.jsonl").open("a") as file:
        file.write(broken + "\n")
    with pytest.raises(JobError, match=r"eval\.jsonl line 2") as caught:
        read_files(tmp_path, 50)
    assert (caught.value.code, caught.value.reason) == (65, "InvalidDataset")


def test_a_folder_without_decisions_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"no eval\.jsonl"):
        read_files(tmp_path, 50)
