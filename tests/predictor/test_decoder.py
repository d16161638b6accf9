"""What is saved changes nothing: every shortcut is held against decoding with none of them."""

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from plain_decoding import candidates, next_logits, plain_constrained_greedy
from tiny_llama import tiny_llama, train_tokenizer

from tradewind.predictor.decoder import Decoder, Prose
from tradewind.predictor.grammar import FieldPlan, Grammar, Plan
from tradewind.predictor.loader import completion_tokeniser, encode_prompt, static_beginning
from tradewind.predictor.settings import Decoding
from tradewind.predictor.trie import Trie
from tradewind.trading.decision import Action, Limits
from tradewind.trading.prompt import (
    CONFIDENCE_GRID,
    LEVERAGE_GRID,
    PERCENT_GRID,
    SIZE_GRID_USD,
    render_completion,
    render_number,
    render_prompt,
    snap_to_grid,
)  # fmt: skip
from tradewind.training.files import Example
from tradewind.training.preflight import tokenize
from workshop.samples import SYMBOLS, random_decision, random_input

LIMITS = (None, Limits(max_leverage=5, max_size_usd=500))


def brute_force_scores(model: Any, ids: list[int], field: FieldPlan) -> list[float]:
    """Log-probability of each candidate past the forced text, one pass a candidate."""
    scores = []
    for sequence in candidates(field):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids + list(sequence)])).logits[0].double().log_softmax(-1)
        first = len(ids) + len(field.forced)
        scores.append(sum(float(logits[first + k - 1, token]) for k, token in enumerate(sequence[len(field.forced) :])))
    return scores


def asked(tokenizer: Any, seed: int, count: int):
    grammar = Grammar(completion_tokeniser(tokenizer))
    draw = random.Random(seed)
    for _ in range(count):
        symbol = draw.choice(SYMBOLS)
        prompt = encode_prompt(tokenizer, render_prompt(random_input(draw), symbol))
        yield prompt, grammar.plan(symbol, draw.choice(LIMITS))


@pytest.mark.parametrize(
    ("kind", "speculate"),
    [("llama3", 0), ("llama3", 16), ("deepseek", 16), ("llama2", 3), ("bytes", 16)],
)
def test_greedy_equals_plain_constrained_greedy(kind: str, speculate: int) -> None:
    tokenizer = train_tokenizer(kind)
    model = tiny_llama(tokenizer, seed=3)
    decoder = Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY, speculate=speculate)
    seen = set()
    for prompt, plan in asked(tokenizer, 5, 2 if kind == "bytes" else 4):
        written = decoder.write(prompt, plan)
        assert list(written.tokens) == plain_constrained_greedy(model, prompt, plan)
        assert tokenizer.decode(written.tokens) == render_completion(written.decision)
        if speculate > 3:
            assert written.forward_passes <= 20
        seen.add(written.decision)
    assert len(seen) > 1  # the choices depend on the prompt, so that equality says something


def test_eager_attention_answers_as_sdpa_does() -> None:
    """It adds its mask to scores: the tree's, of booleans, would let everything see everything."""
    tokenizer = train_tokenizer("deepseek")
    sdpa, eager = (tiny_llama(tokenizer, seed=3) for _ in range(2))
    eager.set_attn_implementation("eager")
    decoders = [Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY) for model in (sdpa, eager)]
    for index, (prompt, asked_plan) in enumerate(asked(tokenizer, 14, 4)):
        plan = only_opening(asked_plan) if index % 2 else asked_plan
        one, other = (decoder.write(prompt, plan) for decoder in decoders)
        assert one.tokens == other.tokens
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=1e-4)


def only_opening(plan: Plan) -> Plan:
    """A random model finds short candidates likelier and would always hold; without hold the other fields are tried too."""
    opening = [c[len(plan.action.forced) :] for c in candidates(plan.action)[:2]]
    return replace(plan, action=replace(plan.action, values=plan.action.values[:2], trie=Trie.of(opening)))


def test_a_draft_that_fits_saves_every_pass_but_the_prompts_and_one_that_does_not_changes_nothing() -> None:
    tokenizer = train_tokenizer("deepseek")
    model = tiny_llama(tokenizer, seed=3)
    decoder = Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY)
    opened = 0
    for prompt, plan in asked(tokenizer, 14, 4):
        fresh = Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY).write(prompt, plan)
        drafted = decoder.write(prompt, plan)  # the draft is the previous prompt's answer, of another symbol at times
        again = decoder.write(prompt, plan)
        assert fresh.tokens == drafted.tokens == again.tokens
        assert again.forward_passes == 1
        opened += fresh.decision.action.opens
    assert opened


def test_scored_equals_brute_force() -> None:
    tokenizer = train_tokenizer("deepseek")
    model = tiny_llama(tokenizer, seed=4)
    decoder = Decoder(model, static_beginning(tokenizer), decoding=Decoding.SCORED)
    for index, (prompt, asked_plan) in enumerate(asked(tokenizer, 6, 4)):
        plan = only_opening(asked_plan) if index % 2 else asked_plan
        written = decoder.write(prompt, plan)
        ids = list(prompt)
        for field in (plan.action, *plan.fields_after(written.decision.action)):
            scores = brute_force_scores(model, ids, field)
            chosen = field.values.index(getattr(written.decision, field.name))
            assert scores[chosen] >= max(scores) - 1e-4
            ids += candidates(field)[chosen]
        assert ids == [*prompt, *written.tokens]
        assert written.forward_passes <= 8


def test_probabilities_are_the_softmax_of_whole_actions() -> None:
    tokenizer = train_tokenizer("llama3")
    model = tiny_llama(tokenizer, seed=5)
    decoder = Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY)
    for prompt, plan in asked(tokenizer, 8, 4):
        written = decoder.write(prompt, plan)
        expected = torch.tensor(brute_force_scores(model, prompt, plan.action), dtype=torch.float64).softmax(0).tolist()
        assert [written.probabilities[Action(a)] for a in plan.action.values] == pytest.approx(expected, abs=1e-5)


def test_barred_actions_have_no_probability(tokenizer: Any) -> None:
    decoder = Decoder(tiny_llama(tokenizer), static_beginning(tokenizer), decoding=Decoding.GREEDY)
    plan = Grammar(completion_tokeniser(tokenizer)).plan("BTC", Limits(max_leverage=1, max_size_usd=0.001))
    written = decoder.write(encode_prompt(tokenizer, "Decision: "), plan)
    assert written.probabilities[Action.OPEN_LONG] == 0
    assert sum(written.probabilities.values()) == pytest.approx(1)


def test_requests_leave_nothing_behind(tokenizer: Any) -> None:
    """The shared beginning serves any number of requests, and a prompt without it is answered all the same."""
    model = tiny_llama(tokenizer, seed=3)
    shared = Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY)
    alone = Decoder(model, [], decoding=Decoding.GREEDY)
    questions = list(asked(tokenizer, 9, 4))
    first = [shared.write(*question) for question in questions]
    assert [shared.write(*question).tokens for question in questions] == [written.tokens for written in first]
    assert [alone.write(*question).tokens for question in questions] == [written.tokens for written in first]


def test_a_model_that_learned_the_format_agrees_with_llguidance() -> None:
    """Masks over bytes admit other spellings of the same text; once the format is learned, greedy takes the canonical one."""
    tokenizer = train_tokenizer("llama3")
    model = learned(tokenizer)
    decoder = Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY)
    masks = from_tokenizer(tokenizer, n_vocab=len(tokenizer))
    for prompt, plan in asked(tokenizer, 10, 3):
        matcher = LLMatcher(masks, LLMatcher.grammar_from_regex(decision_regex(plan)))
        written: list[int] = []
        while not matcher.is_stopped() and not matcher.is_accepting():
            logits = next_logits(model, prompt + written)
            barred = torch.frombuffer(bytearray(matcher.compute_logit_bias()), dtype=torch.uint8)[: len(logits)] == 0
            written.append(int(logits.masked_fill(barred, -torch.inf).argmax()))
            assert matcher.consume_token(written[-1])
        assert list(decoder.write(prompt, plan).tokens) == written


def test_what_is_written_is_what_training_supervises() -> None:
    """Prompt, completion and stop token as the trainer makes a sample of them are the server's prompt, its answer, the stop."""
    for kind in ("llama3", "deepseek"):
        tokenizer = train_tokenizer(kind)
        decoder = Decoder(tiny_llama(tokenizer, seed=3), static_beginning(tokenizer), decoding=Decoding.GREEDY)
        draw = random.Random(12)
        grammar = Grammar(completion_tokeniser(tokenizer))
        for symbol in SYMBOLS:
            prompt = render_prompt(random_input(draw), symbol)
            written = decoder.write(encode_prompt(tokenizer, prompt), grammar.plan(symbol, None))
            example = Example(prompt=prompt, completion=render_completion(written.decision), weight=1.0)
            (sample,) = tokenize([example], tokenizer, max_length=2048, max_too_long_share=0).samples
            assert sample.input_ids == (*encode_prompt(tokenizer, prompt), *written.tokens, tokenizer.eos_token_id)


def test_prose_is_bounded_and_closes_the_object(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer, seed=3)
    closing = tuple(tokenizer('"}', add_special_tokens=False)["input_ids"])
    prose = Prose(from_tokenizer(tokenizer, n_vocab=len(tokenizer)), 60, closing)
    decoder = Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY, prose=prose)
    grammar = Grammar(completion_tokeniser(tokenizer), reasoning=True)
    for prompt, _ in asked(tokenizer, 11, 3):
        written = decoder.write(prompt, grammar.plan("BTC", None))
        text = tokenizer.decode(written.tokens)
        assert text.startswith(render_completion(written.decision)[:-1] + ',"reasoning":"')
        assert text.endswith('"}')
        assert written.decision.reasoning in text


def decision_regex(plan: Plan) -> str:
    def either(values: Any) -> str:
        return "(" + "|".join(render_number(v).replace(".", r"\.") for v in values) + ")"

    symbol = plan.symbol.replace(".", r"\.")
    sizes = next(f for f in plan.opening if f.name == "size_usd").values
    leverages = next(f for f in plan.opening if f.name == "leverage").values
    stops = next(f for f in plan.opening if f.name == "stop_loss_pct").values
    opening = (
        rf'open_(long|short)","symbol":"{symbol}","size_usd":{either(sizes)},"leverage":{either(leverages)},'
        rf'"stop_loss_pct":{either(stops)},"take_profit_pct":{either(PERCENT_GRID)}'
    )
    flat = rf'(close|hold)","symbol":"{symbol}","size_usd":0,"leverage":1,"stop_loss_pct":0,"take_profit_pct":0'
    return rf'\{{"action":"({opening}|{flat}),"confidence":{either(CONFIDENCE_GRID)}\}}'


def learned(tokenizer: Any) -> Any:
    """A few dozen steps on completions: enough for the canonical spelling, far from enough for the market."""
    draw = random.Random(2)
    model = tiny_llama(tokenizer, seed=6, scale=0.05).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    assert LEVERAGE_GRID
    assert SIZE_GRID_USD
    for _ in range(90):
        rows = []
        for _ in range(16):
            symbol = draw.choice(SYMBOLS)
            answer = render_completion(snap_to_grid(random_decision(draw, symbol)))
            rows.append(
                encode_prompt(tokenizer, f"Symbol: {symbol}\nDecision: ")
                + tokenizer(answer, add_special_tokens=False)["input_ids"]
                + [1]
            )
        width = max(map(len, rows))
        ids = torch.tensor([row + [1] * (width - len(row)) for row in rows])
        loss = model(input_ids=ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()
