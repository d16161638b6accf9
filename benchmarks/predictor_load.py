"""Decisions of one predictor when 1, 4 and 16 ask at once, in one process on the same weights.

    python benchmarks/predictor_load.py [--hidden 512 --layers 8 --questions 64 --tokenizer genuine]

Closed loop without HTTP: each asker has its next question ready when it has its answer. Ratios are to one asker of whose prompts nothing
is kept for the next, as it was before prompts were shared. Two kinds of questions:
  apart        each about its own market: what they have in common is the instruction
  scope        sixteen accounts at a time ask about one market, as when a bar closes: what differs are account and history
Decisions a second are by processor time, which other programs do not stretch; with one thread that is the clock of an idle machine.
Decisions are the same at each level, or it is an error. The bound is what the prompts' tokens alone would take, those that are read, at
the speed at which this model reads 1,024 of them at once: it is arithmetic that no batching shortens, only reading less does.
`genuine` takes DeepSeek's own tokens, renumbered so that the head keeps a large model's share, and random weights; the others learn the
format first. No GPU is needed; with one, the model runs there.
"""

import argparse
import os
import platform
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from benchmarks.predictor import RANDOM, learn_format, market, synchronise, vocabulary

from tradewind.predictor.batcher import Batch, Batcher, Job
from tradewind.predictor.decoder import Decoder
from tradewind.predictor.grammar import Grammar, Plan, Tokens
from tradewind.predictor.loader import completion_tokeniser, encode_prompt, static_beginning
from tradewind.predictor.row import NO_DRAFT, Draft, Want
from tradewind.predictor.settings import Decoding
from tradewind.trading.prompt import render_prompt
from workshop.benchmark import print_ratios, size
from workshop.progress import say
from workshop.samples import SYMBOLS, random_input
from workshop.tiny_llama import Shape, make_llama

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--hidden", type=int, default=size(512, 64))
FLAGS.add_argument("--layers", type=int, default=size(8, 1))
FLAGS.add_argument("--vocabulary", type=int, default=size(2000, 700))
FLAGS.add_argument("--tokenizer", choices=("llama3", "deepseek", "genuine"), default="llama3")
FLAGS.add_argument("--questions", type=int, default=size(64, 4))
FLAGS.add_argument("--bars", type=int, default=size(40, 4), help="closes in a prompt: its length")
FLAGS.add_argument("--steps", type=int, default=size(60, 2), help="of learning the format")
FLAGS.add_argument("--decoding", choices=[each.value for each in Decoding], default="greedy")
FLAGS.add_argument("--speculate", type=int, default=16)
FLAGS.add_argument(
    "--undrafted", action="store_true", help="no answer is like the last one: the worst case of the draft"
)
FLAGS.add_argument("--seed", type=int, default=0)

ROWS = 4096  # of a vocabulary whose tokens are renumbered
LEVELS = (0, 1, 4, 16)
"""Of 0 there is one asker, and nothing is kept of one question for the next but the instruction."""


@dataclass(frozen=True)
class Load:
    """What was measured while so many asked.

    Attributes:
        milliseconds: of each question, in their order.
        seconds: of all of them: processor time, which other programs do not stretch, or beside a GPU by the clock.
        tokens: what was written, in their order.
        passes: calls of the model.
        went_in: tokens that went through it.
        read: tokens of prompts among them.
    """

    milliseconds: list[float]
    seconds: float
    tokens: list[tuple[int, ...]]
    passes: int
    went_in: int
    read: int

    def percentile(self, share: float) -> float:
        return sorted(self.milliseconds)[min(int(share * len(self.milliseconds)), len(self.milliseconds) - 1)]

    @property
    def each_second(self) -> float:
        return len(self.tokens) / self.seconds


def main() -> None:
    flags = FLAGS.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = vocabulary(flags)
    heads, inner = max(flags.hidden // 64, 1), flags.hidden * 8 // 3
    spread = RANDOM if flags.tokenizer == "genuine" else 0.02
    shape = Shape(flags.hidden, flags.layers, heads, inner=inner, positions=4096, tied=False, spread=spread)
    words = Words(tokenizer, few=flags.tokenizer == "genuine")
    grammar = Grammar(words.completions)
    kinds = {"apart": questions(flags, words, grammar, 1), "scope": questions(flags, words, grammar, 16)}
    beginning = words.renumbered(static_beginning(tokenizer))
    if flags.tokenizer == "genuine":
        model = make_llama(ROWS, shape, seed=flags.seed)
    else:
        model = make_llama(tokenizer, shape, seed=flags.seed)
        learn_format(model, tokenizer, flags)
    model = model.to(device).eval()
    where = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU"
    say(f"torch {torch.__version__}, {where}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    ratios: dict[str, tuple[float, float]] = {}
    for kind, asked in kinds.items():
        lengths = [len(prompt) for prompt, _ in asked]
        rate = reading(model, beginning, asked)
        say(f"{kind}: prompts of {statistics.median(lengths):.0f} tokens, read at {rate:.0f} tokens/s")
        loads: dict[int, Load] = {}
        for level in LEVELS:
            kind_of = Forgetful if flags.undrafted else Decoder
            decoder = kind_of(model, beginning, decoding=Decoding(flags.decoding), speculate=flags.speculate)
            loads[level] = load = asking(decoder, asked, level)
            if load.tokens != loads[0].tokens:
                raise SystemExit(f"{kind}: other decisions with {level} at once than with 1")
            bound = load.read / rate
            say(
                f"  {f'{level} at once' if level else '1, nothing kept':15} {load.percentile(0.5):8.1f} ms p50 {load.percentile(0.99):8.1f} ms p99 {load.each_second:7.2f} decisions/s, "
                f"{load.passes / len(asked):5.2f} passes and {load.went_in / len(asked):6.1f} tokens a decision, {load.read / len(asked):6.1f} of "
                f"them prompt; reading it takes {bound / load.seconds:.0%} of the time"
            )
        most, one = loads[LEVELS[-1]], loads[0]
        ratios[f"{kind}_16_vs_1"] = (most.each_second / one.each_second, 3.0)
        ratios[f"{kind}_p50_of_p99_16"] = (most.percentile(0.5) / most.percentile(0.99), 0.5)
    print_ratios(ratios)


class Forgetful(Decoder):
    """Knows nothing of earlier answers."""

    def _draft(self, *_: Any) -> Draft:
        return NO_DRAFT


class Words:
    """A tokenizer; or its tokens in few numbers, those that occur, so that the head has the share of a large model's."""

    def __init__(self, tokenizer: Any, *, few: bool) -> None:
        self._tokenizer = tokenizer
        self._numbers: dict[int, int] | None = {} if few else None

    def renumbered(self, ids: Sequence[int]) -> list[int]:
        if self._numbers is None:
            return list(ids)
        numbers = [self._numbers.setdefault(token, len(self._numbers)) for token in ids]
        assert len(self._numbers) <= ROWS
        return numbers

    def prompt(self, text: str) -> list[int]:
        return self.renumbered(encode_prompt(self._tokenizer, text))

    def completions(self, texts: Sequence[str]) -> list[Tokens]:
        written = completion_tokeniser(self._tokenizer)(texts)
        return [Tokens(tuple(self.renumbered(each.ids)), each.ends) for each in written]


def questions(flags: argparse.Namespace, words: Words, grammar: Grammar, accounts: int) -> list[tuple[list[int], Plan]]:
    """Prompts and plans; so many in a row are about one market."""
    draw = random.Random(flags.seed + accounts)
    asked = []
    for number in range(flags.questions):
        if number % accounts == 0:
            shown, symbol = market(draw, flags.bars), SYMBOLS[number // accounts % len(SYMBOLS)]
        mine = random_input(draw).model_copy(update={"market_data": shown.market_data})
        asked.append((words.prompt(render_prompt(mine, symbol)), grammar.plan(symbol, None)))
    return asked


def asking(decoder: Decoder, asked: Sequence[tuple[list[int], Plan]], level: int) -> Load:
    """So many askers, each with its next question when it has its answer."""
    counted = [0, 0]
    hook = decoder.passes._model.register_forward_pre_hook(counting(counted), with_kwargs=True)
    batcher = Batcher(Batch(decoder, 1 << 20 if level else 1))
    jobs = [Job(prompt, plan, len(prompt) + plan.longest) for prompt, plan in asked]
    milliseconds = [0.0] * len(jobs)
    turns = iter(range(len(jobs)))
    lock = threading.Lock()

    def ask() -> None:
        while True:
            with lock:
                number = next(turns, None)
            if number is None:
                return
            began = time.perf_counter()
            batcher.submit(jobs[number]).result()
            milliseconds[number] = (time.perf_counter() - began) * 1000

    for job in (Job(*asked[0], 1000) for _ in range(2)):  # warms up; what it leaves behind is one market of many
        batcher.submit(job).result()
    counted[:] = [0, 0]
    threads = [threading.Thread(target=ask) for _ in range(level or 1)]
    clock = clock_of(decoder.passes._model.device.type)
    begun = clock()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = clock() - begun
    hook.remove()
    written = [job.answer.result().tokens for job in jobs]
    read = sum(len(job.prompt_ids) - job.row.shared for job in jobs if job.row is not None)
    return Load(milliseconds, seconds, written, counted[0], counted[1], read)


def clock_of(device: str) -> Callable[[], float]:
    return time.process_time if device == "cpu" else time.perf_counter


def counting(counted: list[int]) -> Any:
    def count(_: Any, __: Any, kwargs: Any) -> None:
        counted[0] += 1
        counted[1] += kwargs["input_ids"].shape[1]

    return count


def reading(model: Any, beginning: Sequence[int], asked: Sequence[tuple[list[int], Plan]]) -> float:
    """Prompt tokens a second where a pass has about as many as it takes, of several prompts."""
    rates = []
    for attempt in range(4):
        decoder = Decoder(model, beginning, decoding=Decoding.GREEDY)
        wants = [Want(decoder.passes.row([*prompt[:-1], attempt, *prompt[-1:]])) for prompt, _ in asked[:4]]
        counted = [0, 0]
        hook = model.register_forward_pre_hook(counting(counted), with_kwargs=True)
        synchronise(model.device.type)
        clock = clock_of(model.device.type)
        begun = clock()
        with torch.inference_mode():
            while any(want.row.waiting for want in wants):
                decoder.passes.run([want for want in wants if want.row.waiting])
        synchronise(model.device.type)
        rates.append(counted[1] / (clock() - begun))
        hook.remove()

    return max(rates)


if __name__ == "__main__":
    main()
