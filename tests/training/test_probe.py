"""Questions that a training leaves with its weights: markets that the version knows, of nobody's account, as the predictor reads them."""

import json

import pytest

from tradewind.predictor.protocol import Instance
from tradewind.trading.decision import DecisionInput
from tradewind.trading.prompt import render_prompt
from tradewind.training.probe import probe_lines


def prompts(count: int, *, balance: float = 7.0) -> list[str]:
    return [
        render_prompt(
            DecisionInput(
                market_data={"BTC": {"price": 100.5 + n, "note": "Über"}},
                account_state={"balance": balance + n, "secret": "of somebody"},
                recent_history=({"action": "hold", "pnl": n},),
            ),
            "BTC",
        )
        for n in range(count)
    ]


def test_each_line_is_a_question_to_the_predictor_with_the_market_alone() -> None:
    lines = probe_lines(prompts(30)).splitlines()
    asked = [Instance.model_validate(json.loads(line)) for line in lines]
    assert [each.market_data["BTC"]["price"] for each in asked] == [100.5 + n for n in range(30)]  # type: ignore[index,call-overload]
    assert {each.symbols for each in asked} == {("BTC",)}
    assert not [line for line in lines if "secret" in line or "pnl" in line or '"balance": 8' in line]


def test_many_are_thinned_out_evenly() -> None:
    prices = [json.loads(line)["market_data"]["BTC"]["price"] for line in probe_lines(prompts(250)).splitlines()]
    assert len(prices) == 100
    assert prices == sorted(prices)
    assert (prices[0], prices[-1]) == (100.5, 100.5 + 247)


@pytest.mark.parametrize("given", [prompts(19), prompts(1) * 40, ["what shall I do?"] * 40, []])
def test_too_few_that_differ_are_none(given: list[str]) -> None:
    assert probe_lines(given) == ""


def test_prompts_of_another_form_are_passed_over() -> None:
    assert probe_lines(["what shall I do?", *prompts(20)]) == probe_lines(prompts(20))
