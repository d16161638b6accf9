"""Samples per second of the trainer's recipe against the seed's and against a padded completion-only one.

    python benchmarks/training.py

One tiny random Llama, one set of samples shaped as the design's (482 static, about 270 own and 59 answer tokens), one machine,
one run; every recipe makes forward and backward passes over the same samples, in turns, and the median counts. Ratios are
what carries over to another machine, samples per second are not. Goals: 7 times the seed's recipe (pad to 2,048, loss on all), 1.8
times padded completion-only. The loss per supervised token of all recipes that learn completions is shown: it must be equal.
"""

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from tradewind.training.collator import IGNORED, collate, plan_batches
from tradewind.training.preflight import TokenizedSample
from tradewind.training.trainer import AdapterTrainer
from workshop.benchmark import print_ratios, size
from workshop.progress import say
from workshop.tiny_llama import Shape, make_llama

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--samples", type=int, default=size(16, 4), help="samples of one measurement")
FLAGS.add_argument("--batch-size", type=int, default=4)
FLAGS.add_argument("--rounds", type=int, default=size(2, 1), help="measurements of each recipe; the median counts")
FLAGS.add_argument("--hidden", type=int, default=size(128, 32))
FLAGS.add_argument("--vocab", type=int, default=size(8192, 300), help="tokens in the vocabulary")
FLAGS.add_argument("--static", type=int, default=size(482, 40), help="tokens of the instruction")
FLAGS.add_argument(
    "--own", type=int, default=size(270, 30), help="mean tokens of the request, from half to twice as many"
)
FLAGS.add_argument("--answer", type=int, default=size(59, 8), help="tokens of the completion")
FLAGS.add_argument("--threads", type=int, default=0, help="0: the library's choice")

SEED_LENGTH = size(2048, 256)


def main() -> None:
    flags = FLAGS.parse_args()
    if flags.threads:
        torch.set_num_threads(flags.threads)
    draw = random.Random(1)
    static = [draw.randrange(2, flags.vocab) for _ in range(flags.static)]

    def sample() -> TokenizedSample:
        own = min(max(int(draw.lognormvariate(0, 0.35) * flags.own), flags.own // 2), 2 * flags.own)
        ids = [*static, *(draw.randrange(2, flags.vocab) for _ in range(own + flags.answer))]
        return TokenizedSample(tuple(ids), flags.static + own, draw.choice((0.3, 1.0, 1.5)))

    samples = [sample() for _ in range(flags.samples)]
    base = make_llama(
        flags.vocab, Shape(flags.hidden, layers=4, heads=4, inner=3 * flags.hidden, positions=SEED_LENGTH)
    )
    lora = LoraConfig(
        r=16, lora_alpha=32, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM"
    )
    model = get_peft_model(base, lora)
    model.train()

    # The same passes for all: ours are planned over many epochs, as length grouping needs a window to choose from.
    order = list(range(len(samples)))
    arrival = [order[i : i + flags.batch_size] for i in range(0, len(order), flags.batch_size)]
    planned = plan_batches([len(s.input_ids) for s in samples], batch_size=flags.batch_size, epochs=1, seed=1)

    def seed_recipe() -> tuple[float, float]:
        """Pad to 2,048, loss on every token, padding masked."""
        total = weight = 0.0
        for batch in arrival:
            rows = [samples[i].input_ids for i in batch]
            ids, mask = padded(rows, SEED_LENGTH)
            labels = ids.masked_fill(mask == 0, IGNORED)
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            total, weight = total + loss.item(), weight + 1
        return total, weight

    def completion_only() -> tuple[float, float]:
        """Pad to the longest of the batch, mask, logits everywhere, weighted loss on completions."""
        total = weight = 0.0
        for batch in arrival:
            chosen = [samples[i] for i in batch]
            ids, mask = padded([s.input_ids for s in chosen], max(len(s.input_ids) for s in chosen))
            labels = ids.masked_fill(mask == 0, IGNORED)
            for row, one in enumerate(chosen):
                labels[row, : one.prompt_length] = IGNORED
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            targets = labels[:, 1:]
            losses = functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
            )
            weights = (targets != IGNORED) * torch.tensor([[s.weight] for s in chosen])
            part = (losses * weights.flatten()).sum()
            (part / weights.sum()).backward()  # type: ignore[no-untyped-call]
            total, weight = total + part.item(), weight + weights.sum().item()
        return total, weight

    trainer = AdapterTrainer.__new__(AdapterTrainer)
    trainer._keeps_logits = True

    def ours() -> tuple[float, float]:
        """Like lengths together, no mask, logits where something is learned."""
        total = weight = 0.0
        for batch in planned:
            inputs = collate([tuple(samples[i] for i in batch)], 0)
            part, part_weight = trainer._weighted_loss(model, inputs)
            (part / part_weight).backward()  # type: ignore[no-untyped-call]
            total, weight = total + part.item(), weight + part_weight.item()
        return total, weight

    recipes: dict[str, Callable[[], tuple[float, float]]] = {
        "seed": seed_recipe,
        "completion_only": completion_only,
        "tradewind": ours,
    }
    seconds: dict[str, list[float]] = {name: [] for name in recipes}
    losses: dict[str, float] = {}
    for round_number in range(flags.rounds + 1):  # the first warms up
        for name, recipe in recipes.items():
            model.zero_grad()
            began = time.perf_counter()
            total, weight = recipe()
            if round_number:
                seconds[name].append(time.perf_counter() - began)
            losses[name] = total / weight

    speed = {name: len(samples) / statistics.median(taken) for name, taken in seconds.items()}
    tokens = statistics.mean(len(s.input_ids) for s in samples)
    say(
        f"{tokens:.0f} tokens a sample, {flags.answer} of them learned; {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    for name, value in speed.items():
        loss = "on all tokens" if name == "seed" else "per supervised token"
        say(f"{name:<18}{value:>10.2f} samples/s, loss {losses[name]:.6f} {loss}")
    if abs(losses["tradewind"] - losses["completion_only"]) >= 1e-4:
        raise SystemExit(f"the recipes learn different things: {losses}")
    print_ratios(
        {
            "training_vs_seed": (speed["tradewind"] / speed["seed"], 7.0),
            "training_vs_completion_only": (speed["tradewind"] / speed["completion_only"], 1.8),
        }
    )


def padded(rows: Sequence[Sequence[int]], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return ids, mask


if __name__ == "__main__":
    main()
