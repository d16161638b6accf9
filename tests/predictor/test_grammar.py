"""The pieces add up to the canonical tokens of whole completions, for the families of tokenizers that are served."""

import random

import pytest
from tiny_llama import train_tokenizer

from tradewind.predictor.grammar import Grammar, GrammarError, Plan, Tokens
from tradewind.predictor.loader import completion_tokeniser, round_trip_problem
from tradewind.predictor.trie import ROOT
from tradewind.trading.decision import Action, Limits, TradeDecision
from tradewind.trading.prompt import PERCENT_GRID, render_completion, snap_to_grid
from workshop.samples import SYMBOLS, random_decision

KINDS = ("gpt2", "llama3", "deepseek", "llama2", "bytes")


def spell(plan: Plan, decision: TradeDecision) -> list[int]:
    """The tokens by which the plan writes a decision."""
    written: list[int] = []
    for field in (plan.action, *plan.fields_after(decision.action)):
        candidate = field.values.index(getattr(decision, field.name))
        leaf = field.trie.candidate.index(candidate)
        written += [*field.forced, *(field.trie.token[n] for n in reversed(field.trie.ancestors(leaf, ROOT)))]
    return [*written, *plan.tail]


@pytest.mark.parametrize("kind", KINDS)
def test_every_decision_is_written_in_training_tokens(kind: str) -> None:
    tokenizer = train_tokenizer(kind)
    assert round_trip_problem(tokenizer) == ""
    grammar = Grammar(completion_tokeniser(tokenizer))
    draw = random.Random(7)
    for _ in range(60):
        symbol = draw.choice(SYMBOLS)
        decision = snap_to_grid(random_decision(draw, symbol))
        expected = tokenizer(render_completion(decision), add_special_tokens=False)["input_ids"]
        assert spell(grammar.plan(symbol, None), decision) == expected


VENUE_SYMBOLS = (
    "币安人生/USDT:USDT", "M&M", "$MYRO/USDT", "@107", "ES=F", "BRK B", "SPY   260116C00600000", "O'Neil", 'say "x"',
    "back\\slash\\", '","confidence":1}', "🚀/USDT", "❤️/SOL", "e\u0301", "=1+1", "{0}%s<b>", "\U0002070e/USDT",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("symbol", VENUE_SYMBOLS)
def test_symbols_of_venues_are_written_and_read_back(kind: str, symbol: str) -> None:
    tokenizer = train_tokenizer(kind)
    plan = Grammar(completion_tokeniser(tokenizer)).plan(symbol, None)
    draw = random.Random(11)
    for _ in range(6):
        decision = snap_to_grid(random_decision(draw, symbol))
        ids = spell(plan, decision)
        assert ids == tokenizer(render_completion(decision), add_special_tokens=False)["input_ids"]
        assert TradeDecision.model_validate_json(tokenizer.decode(ids, clean_up_tokenization_spaces=False)) == decision


def test_limits_bar_sizes_and_leverages(tokenizer) -> None:
    plan = Grammar(completion_tokeniser(tokenizer)).plan("BTC", Limits(max_leverage=3, max_size_usd=99))
    fields = {field.name: field.values for field in plan.opening}
    assert fields["leverage"] == (1, 2, 3)
    assert max(fields["size_usd"]) == 90


def test_a_widest_stop_leaves_stops_up_to_it_and_none_without(tokenizer) -> None:
    grammar = Grammar(completion_tokeniser(tokenizer))
    plan = grammar.plan("BTC", Limits(max_leverage=3, max_size_usd=99, max_stop_loss_pct=0.002))
    fields = {field.name: field.values for field in plan.opening}
    assert fields["stop_loss_pct"] == tuple(stop for stop in PERCENT_GRID if 0 < stop <= 0.002)
    assert 0.0 in fields["take_profit_pct"]
    barred = grammar.plan("BTC", Limits(max_leverage=3, max_size_usd=99, max_stop_loss_pct=0.000009))
    assert barred.action.values == (Action.CLOSE, Action.HOLD)
    assert barred.opening == ()


@pytest.mark.parametrize("limits", [None, Limits(max_leverage=3, max_size_usd=99)])
def test_an_opening_is_written_with_a_stop(tokenizer, limits: Limits | None) -> None:
    plan = Grammar(completion_tokeniser(tokenizer)).plan("BTC", limits)
    fields = {field.name: field.values for field in plan.opening}
    assert fields["stop_loss_pct"] == tuple(stop for stop in PERCENT_GRID if stop > 0)
    assert 0.0 in fields["take_profit_pct"]


def test_an_opening_without_a_stop_is_written_where_the_level_allows_it(tokenizer) -> None:
    grammar = Grammar(completion_tokeniser(tokenizer))
    plan = grammar.plan("BTC", Limits(max_leverage=3, max_size_usd=99, allow_no_stop=True))
    assert next(field for field in plan.opening if field.name == "stop_loss_pct").values == PERCENT_GRID
    both = grammar.plan("BTC", Limits(max_leverage=3, max_size_usd=99, allow_no_stop=True, max_stop_loss_pct=0.002))
    assert 0.0 not in next(field for field in both.opening if field.name == "stop_loss_pct").values


def test_no_allowed_size_bars_opening(tokenizer) -> None:
    plan = Grammar(completion_tokeniser(tokenizer)).plan("BTC", Limits(max_leverage=3, max_size_usd=0.001))
    assert plan.action.values == (Action.CLOSE, Action.HOLD)


def test_hold_and_close_leave_confidence_alone_free(tokenizer) -> None:
    plan = Grammar(completion_tokeniser(tokenizer)).plan("BTC", None)
    assert [field.name for field in plan.flat] == ["confidence"]


def test_prose_begins_at_a_token_of_its_own(tokenizer) -> None:
    plan = Grammar(completion_tokeniser(tokenizer), reasoning=True).plan("BTC", None)
    decision = snap_to_grid(TradeDecision.model_validate(
        {"action": "hold", "symbol": "BTC", "size_usd": 0, "leverage": 1, "stop_loss_pct": 0, "take_profit_pct": 0, "confidence": 0.5}
    ))  # fmt: skip
    assert tokenizer.decode(spell(plan, decision)) == render_completion(decision)[:-1] + ',"reasoning":"'


def test_a_tokenizer_without_stable_boundaries_is_refused() -> None:
    def one_token_a_text(texts):
        return [Tokens((hash(text) % 1000,), (len(text),)) for text in texts]

    with pytest.raises(GrammarError, match=r"no stable token boundary|does not write"):
        Grammar(one_token_a_text).plan("BTC", None)


def test_a_tokenizer_that_looks_far_back_is_refused() -> None:
    """A boundary may look stable field by field and still move when two values change together."""

    def contextual(texts):
        return [
            Tokens(tuple(ord(c) + (7 if "open_short" in t and '"stop_loss_pct":0,' not in t else 0) for c in t), tuple(range(1, len(t) + 1)))
            for t in texts
        ]  # fmt: skip

    with pytest.raises(GrammarError, match="does not write"):
        Grammar(contextual).plan("BTC", None)
