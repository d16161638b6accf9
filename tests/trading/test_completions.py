"""What a plain completion server may write is what our own decoder may write, letter for letter."""

import random
import re
from collections.abc import Sequence

import pytest

from tradewind.predictor.grammar import Grammar, Tokens
from tradewind.trading.completions import Writable, completion_pattern, completion_request, most_tokens, served_name
from tradewind.trading.decision import Action, DecisionInput, Limits, TradeDecision, limit_violation
from tradewind.trading.prompt import PERCENT_GRID, render_completion, render_prompt

SYMBOLS = ("BTC", "BTC/USDT:USDT", "600519.SH", "沪深300", 'A"B\\C', "X (1|2)*")
LIMITS = (
    None,
    Limits(max_leverage=1, max_size_usd=0.01),
    Limits(max_leverage=5, max_size_usd=1000, max_stop_loss_pct=0.05),
    Limits(max_leverage=125, max_size_usd=1e6, max_stop_loss_pct=1),
    Limits(max_leverage=5, max_size_usd=0.001),  # nothing may be opened
    Limits(max_leverage=5, max_size_usd=100, max_stop_loss_pct=0.000001),
)


def by_bytes(texts: Sequence[str]) -> list[Tokens]:
    """A token a byte; a letter ends with its last one."""
    found = []
    for text in texts:
        ends = [n for n, letter in enumerate(text, 1) for _ in letter.encode()]
        found.append(Tokens(tuple(text.encode()), tuple(ends)))
    return found


def decisions(symbol: str, draw: random.Random, writable: Writable) -> list[TradeDecision]:
    """Decisions within what may be written, of every kind that is left."""
    kinds = [*Action] if writable.opens else [Action.CLOSE, Action.HOLD]
    return [
        TradeDecision(
            action=action,
            symbol=symbol,
            size_usd=draw.choice(writable.sizes) if action.opens else 0,
            leverage=draw.choice(writable.leverages) if action.opens else 1,
            stop_loss_pct=draw.choice(writable.stops) if action.opens else 0,
            take_profit_pct=draw.choice(PERCENT_GRID) if action.opens else 0,
            confidence=draw.randrange(21) / 20,
        )
        for action in kinds
        for _ in range(40)
    ]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_decision_within_the_limits_is_written_as_training_shows_it(symbol: str, limits: Limits | None) -> None:
    pattern = re.compile(completion_pattern(symbol, limits))
    for decision in decisions(symbol, random.Random(7), Writable.within(limits)):
        text = render_completion(decision)
        assert limit_violation(decision, symbol=symbol, limits=limits) is None
        assert pattern.fullmatch(text), text
        assert len(text.encode()) < most_tokens(symbol) < len(text.encode()) + 60
        for other in (text.replace(":", ": "), f"{text} ", text[:-1], text.replace("confidence", "Confidence")):
            assert not pattern.fullmatch(other), other


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_it_is_what_our_own_decoder_may_write(limits: Limits | None) -> None:
    plan, writable = Grammar(by_bytes).plan("BTC", limits), Writable.within(limits)
    assert [field.name for field in plan.opening] == (
        ["size_usd", "leverage", "stop_loss_pct", "take_profit_pct", "confidence"] if writable.opens else []
    )
    if writable.opens:
        sizes, leverages, stops, targets, _ = (field.values for field in plan.opening)
        assert (sizes, leverages, stops) == (writable.sizes, writable.leverages, writable.stops)
        assert targets == PERCENT_GRID
    else:
        assert "open_" not in completion_pattern("BTC", limits)


def test_what_breaks_the_limits_is_not_written() -> None:
    tight = re.compile(completion_pattern("BTC", LIMITS[2]))
    loose = decisions("BTC", random.Random(3), Writable.within(None))
    for decision in loose:
        kept = limit_violation(decision, symbol="BTC", limits=LIMITS[2]) is None
        assert bool(tight.fullmatch(render_completion(decision))) is kept
        assert not tight.fullmatch(render_completion(decision.model_copy(update={"symbol": "ETH"})))


def test_the_question_is_the_prompt_of_training_and_greedy() -> None:
    shown = DecisionInput(market_data={"b": 1, "a": "跌"}, account_state={"balance": 1})
    body = completion_request(served_name("v1", "a" * 64), shown, "BTC", LIMITS[2])
    assert body["model"] == f"v1@{'a' * 64}"
    assert body["prompt"] == render_prompt(shown, "BTC")
    assert body["temperature"] == 0
    assert body["structured_outputs"] == {"regex": completion_pattern("BTC", LIMITS[2])}
