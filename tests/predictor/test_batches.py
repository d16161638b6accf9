"""What is answered together is answered as alone: whoever else is there, joins or leaves, is long, or fails."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from architectures import CONFIGS, make_model
from prompt_memory import long_prompt
from tiny_llama import tiny_llama, train_tokenizer

from tradewind.predictor.alike import share_if_alike
from tradewind.predictor.batcher import Batch, Job
from tradewind.predictor.decoder import Decoder, Prose, Written
from tradewind.predictor.grammar import Grammar, Plan
from tradewind.predictor.loader import completion_tokeniser, encode_prompt, static_beginning
from tradewind.predictor.passes import CHUNK
from tradewind.predictor.row import NotFiniteError
from tradewind.predictor.settings import Decoding
from tradewind.pretrained.fault import UnfitError
from tradewind.pretrained.servable import check_servable
from tradewind.trading.decision import Limits
from tradewind.trading.prompt import render_prompt
from workshop.samples import SYMBOLS, random_input
from workshop.tiny_llama import Shape, make_llama

Question = tuple[list[int], Plan]
CLOSE = 1e-4
"""Of a probability: products of other heights are summed in another order."""


def asked(tokenizer: Any, seed: int, count: int) -> list[Question]:
    """Prompts of one line and of many, each of its own symbol and limits."""
    grammar, draw = Grammar(completion_tokeniser(tokenizer)), random.Random(seed)
    questions: list[Question] = []
    for _ in range(count):
        shown, symbol = random_input(draw), draw.choice(SYMBOLS)
        closes = [round(draw.uniform(1, 9), 3) for _ in range(draw.choice((0, 0, 5, 40)))]
        shown = shown.model_copy(update={"market_data": {**shown.market_data, "closes": closes}})
        plan = grammar.plan(symbol, draw.choice((None, Limits(max_leverage=5, max_size_usd=500))))
        questions.append((encode_prompt(tokenizer, render_prompt(shown, symbol)), plan))
    return questions


def together(decoder: Decoder, questions: Sequence[Question], *, room: int = 1 << 20, each: int = 16) -> list[Job]:
    """So many join at each pass, until all are answered."""
    batch, jobs, waiting = Batch(decoder, room), [], list(questions)
    with torch.inference_mode():
        while waiting or batch.busy:
            for prompt, plan in waiting[:each]:
                jobs.append(Job(prompt, plan, len(prompt) + plan.longest))
                batch.add(jobs[-1])
            del waiting[:each]
            batch.step()
    return jobs


def demand_alike(job: Job, alone: Written) -> None:
    written = job.answer.result(0)
    assert written.tokens == alone.tokens
    assert written.decision == alone.decision
    assert list(written.probabilities.values()) == pytest.approx(list(alone.probabilities.values()), abs=CLOSE)


@pytest.mark.parametrize("decoding", Decoding)
@pytest.mark.parametrize("speculate", [0, 16])
@pytest.mark.parametrize("shared", [True, False])
def test_answers_together_are_those_of_each_alone(
    tokenizer: Any, decoding: Decoding, speculate: int, shared: bool
) -> None:
    model = tiny_llama(tokenizer, seed=3)
    beginning = static_beginning(tokenizer) if shared else []
    questions = asked(tokenizer, 21, 9)

    def fresh() -> Decoder:
        return Decoder(model, beginning, decoding=decoding, speculate=speculate)

    alone = [fresh().write(*question) for question in questions]
    assert len({written.decision for written in alone}) > 3
    decoder = fresh()
    for each in (9, 1):  # all at once; one joins at each pass, with the others' answers as its draft
        for job, written in zip(together(decoder, questions, each=each), alone, strict=True):
            demand_alike(job, written)
    assert decoder.passes.packs


@pytest.mark.parametrize("name", CONFIGS)
def test_each_architecture_shares_its_passes_and_answers_alike(tokenizer: Any, name: str) -> None:
    model = make_model(name, len(tokenizer) + 8, end=tokenizer.eos_token_id).eval()
    try:
        check_servable(model, tokenizer)
    except UnfitError:
        pytest.skip("not served at all")
    decoders = [Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY) for _ in range(2)]
    questions = asked(tokenizer, 22, 5)
    share_if_alike(model, decoders[0].passes, [prompt[:200] for prompt, _ in questions])
    assert decoders[0].passes.packs is (name != "Falcon")  # whose attention is not one that can be given row by row
    for job, (prompt, plan) in zip(together(decoders[0], questions), questions, strict=True):
        demand_alike(job, decoders[1].write(prompt, plan))


def test_eager_attention_goes_together_too(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer, seed=3)
    model.set_attn_implementation("eager")
    questions = asked(tokenizer, 23, 5)
    alone = [Decoder(model, [], decoding=Decoding.GREEDY).write(*question) for question in questions]
    for job, written in zip(together(Decoder(model, [], decoding=Decoding.GREEDY), questions), alone, strict=True):
        demand_alike(job, written)
    assert model.config._attn_implementation == "eager"


def test_a_common_beginning_is_read_once(tokenizer: Any) -> None:
    """One market, several accounts: as accounts that ask about one symbol at one moment."""
    model, draw = tiny_llama(tokenizer, seed=3), random.Random(24)
    plan = Grammar(completion_tokeniser(tokenizer)).plan("BTC", None)
    market = {"closes": [round(draw.uniform(1, 9), 3) for _ in range(60)]}
    shown = [random_input(draw).model_copy(update={"market_data": market}) for _ in range(6)]
    questions = [(encode_prompt(tokenizer, render_prompt(each, "BTC")), plan) for each in shown]
    alone = [Decoder(model, [], decoding=Decoding.GREEDY).write(*question) for question in questions]
    decoder = Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY)
    common = min(len(prompt) for prompt, _ in questions) * 2 // 3
    for repeated in range(2):  # in one pass, and then with what is kept of it
        jobs = together(decoder, questions)
        for job, written in zip(jobs, alone, strict=True):
            demand_alike(job, written)
        rows = [job.row for job in jobs if job.row is not None]
        assert len(rows) == len(questions)
        assert all(row.shared > common for row in (rows if repeated else rows[1:]))


def test_long_prompts_and_short_ones_share_passes() -> None:
    tokenizer = train_tokenizer("llama3")
    shape = Shape(hidden=64, heads=4, key_value_heads=2, tied=False, spread=0.3, positions=8192)
    model = make_llama(tokenizer, shape, seed=3).eval()
    plan = Grammar(completion_tokeniser(tokenizer)).plan("BTC", None)
    long = long_prompt(tokenizer, 3 * CHUNK)
    questions = [(long, plan), *asked(tokenizer, 25, 3), ([*long[:-40], *long[-20:]], plan), *asked(tokenizer, 26, 8)]
    beginning = static_beginning(tokenizer)
    alone = [Decoder(model, beginning, decoding=Decoding.GREEDY).write(*question) for question in questions]
    jobs = together(Decoder(model, beginning, decoding=Decoding.GREEDY), questions)
    for job, written in zip(jobs, alone, strict=True):
        demand_alike(job, written)
    second = jobs[4].row
    assert second is not None
    assert second.shared > 2 * CHUNK  # all but the end was the other one's


def test_prose_is_written_together(tokenizer: Any) -> None:
    from llguidance.hf import from_tokenizer

    model = tiny_llama(tokenizer, seed=3)
    closing = tuple(tokenizer('"}', add_special_tokens=False)["input_ids"])
    prose = Prose(from_tokenizer(tokenizer, n_vocab=len(tokenizer)), 20, closing)
    grammar, draw = Grammar(completion_tokeniser(tokenizer), reasoning=True), random.Random(27)
    questions = [
        (encode_prompt(tokenizer, render_prompt(random_input(draw), symbol)), grammar.plan(symbol, None))
        for symbol in SYMBOLS[:4]
    ]
    alone = [Decoder(model, [], decoding=Decoding.GREEDY, prose=prose).write(*question) for question in questions]
    decoder = Decoder(model, [], decoding=Decoding.GREEDY, prose=prose)
    for job, written in zip(together(decoder, questions), alone, strict=True):
        demand_alike(job, written)


@pytest.mark.parametrize("decoding", Decoding)
def test_a_row_of_bad_numbers_fails_alone(tokenizer: Any, decoding: Decoding) -> None:
    model = tiny_llama(tokenizer, seed=3)
    (bad, *_) = tokenizer("𐍈", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        model.model.embed_tokens.weight[bad] = torch.nan
    questions = asked(tokenizer, 28, 6)
    alone = [Decoder(model, [], decoding=decoding).write(*question) for question in questions]
    prompt, plan = questions[2]
    damaged = [*prompt[:-3], bad, *prompt[-3:]]  # it shares all before with a good one
    mixed = [*questions[:2], (damaged, plan), *questions[2:], (damaged, plan)]
    decoder = Decoder(model, static_beginning(tokenizer), decoding=decoding)
    for each in (8, 2):
        jobs = together(decoder, mixed, each=each)
        for job in (jobs.pop(2), jobs.pop(-1)):
            assert isinstance(job.answer.exception(0), NotFiniteError)
        for job, written in zip(jobs, alone, strict=True):
            demand_alike(job, written)


def test_a_pass_that_fails_is_no_fault_of_the_others_in_it(tokenizer: Any) -> None:
    model, questions = tiny_llama(tokenizer, seed=3), asked(tokenizer, 29, 4)
    alone = [Decoder(model, [], decoding=Decoding.GREEDY).write(*question) for question in questions]
    tokens = questions[1][0][-9:]

    def fail(_: Any, args: Any, kwargs: Any) -> None:
        text = kwargs["input_ids"][0].tolist()
        if any(text[at : at + len(tokens)] == tokens for at in range(len(text))):
            raise RuntimeError("out of memory")

    decoder = Decoder(model, [], decoding=Decoding.GREEDY)
    model.register_forward_pre_hook(fail, with_kwargs=True)
    jobs = together(decoder, questions)
    assert "out of memory" in str(jobs[1].answer.exception(0))
    for at in (0, 2, 3):
        demand_alike(jobs[at], alone[at])


def test_a_question_that_nobody_waits_for_is_left_out(tokenizer: Any) -> None:
    model, questions = tiny_llama(tokenizer, seed=3), asked(tokenizer, 32, 3)
    alone = [Decoder(model, [], decoding=Decoding.GREEDY).write(*question) for question in questions]
    batch = Batch(Decoder(model, [], decoding=Decoding.GREEDY), 1 << 20)
    jobs = [Job(prompt, plan, len(prompt) + plan.longest) for prompt, plan in questions]
    assert jobs[1].answer.cancel()
    for job in jobs:
        batch.add(job)
    with torch.inference_mode():
        batch.step()
        assert not jobs[0].answer.cancel()  # it is under way
        while batch.busy:
            batch.step()
    assert jobs[1].row is None
    demand_alike(jobs[0], alone[0])
    demand_alike(jobs[2], alone[2])


def test_no_more_go_together_than_memory_holds(tokenizer: Any) -> None:
    model, questions = tiny_llama(tokenizer, seed=3), asked(tokenizer, 30, 6)
    most = max(len(prompt) + plan.longest for prompt, plan in questions)
    decoder = Decoder(model, [], decoding=Decoding.GREEDY)
    alone = [Decoder(model, [], decoding=Decoding.GREEDY).write(*question) for question in questions]
    seen: list[int] = []
    run = decoder.passes.run

    def watched(wants: Any) -> Any:
        seen.append(sum(len(want.row.cached) + len(want.row.waiting) for want in wants))
        assert seen[-1] + sum(len(row.cached) for row in decoder.passes._kept) <= 2 * most
        return run(wants)

    decoder.passes.run = watched  # type: ignore[method-assign]
    for job, written in zip(together(decoder, questions, room=2 * most), alone, strict=True):
        demand_alike(job, written)
    assert max(seen) > most / 2
    for job, written in zip(together(decoder, questions, room=1), alone, strict=True):  # one at a time, and never none
        demand_alike(job, written)


def test_a_model_that_attends_otherwise_is_answered_one_at_a_time(tokenizer: Any) -> None:
    model, questions = tiny_llama(tokenizer, seed=3), asked(tokenizer, 31, 3)
    decoder = Decoder(model, [], decoding=Decoding.GREEDY)
    alone = [decoder.write(*question) for question in questions]
    attention = model.model.layers[1].self_attn
    inner = attention.forward

    def mixing(hidden_states: torch.Tensor, **kwargs: Any) -> Any:
        """Looks at the token before without a cache, as a convolution does."""
        if hidden_states.shape[1] > len(questions[0][0]) + 90:
            hidden_states = hidden_states + hidden_states.roll(150, 1)
        return inner(hidden_states=hidden_states, **kwargs)

    attention.forward = mixing
    share_if_alike(model, decoder.passes, [prompt[:200] for prompt, _ in questions])
    assert not decoder.passes.packs
    for job, written in zip(together(decoder, questions), alone, strict=True):
        demand_alike(job, written)
