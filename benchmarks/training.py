"""Samples per second of the trainer's recipe against the seed's and against a padded completion-only one.

    python benchmarks/training.py

One tiny random Llama, one set of samples shaped as the design's (482 static, about 270 own and 59 answer tokens), one machine,
one run; every recipe makes forward and backward passes over the same samples, in turns, and the median counts. Ratios are
what carries over to another machine, samples per second are not. Goals: 7 times the seed's recipe (pad to 2,048, loss on all), 1.8
times padded completion-only. The loss per supervised token of all recipes that learn completions is shown: it must be equal.
"""

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from tradewind.training.collator import IGNORED, collate, plan_batches
from tradewind.training.preflight import TokenizedSample
from tradewind.training.trainer import AdapterTrainer

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--samples", type=int, default=16, help="samples of one measurement")
FLAGS.add_argument("--batch-size", type=int, default=4)
FLAGS.add_argument("--rounds", type=int, default=2, help="measurements of each recipe; the median counts")
FLAGS.add_argument("--hidden", type=int, default=128)
FLAGS.add_argument("--vocab", type=int, default=8192, help="tokens in the vocabulary")
FLAGS.add_argument("--static", type=int, default=482, help="tokens of the instruction")
FLAGS.add_argument("--own", type=int, default=270, help="mean tokens of the request, from half to twice as many")
FLAGS.add_argument("--answer", type=int, default=59, help="tokens of the completion")
FLAGS.add_argument("--threads", type=int, default=0, help="0: the library's choice")
FLAGS.add_argument("--json", action="store_true", help="print JSON alone")

SEED_LENGTH = 2048


def main(argv: Sequence[str] | None = None) -> int:
    flags = FLAGS.parse_args(argv)
    if flags.threads:
        torch.set_num_threads(flags.threads)
    draw = random.Random(1)
    static = [draw.randrange(2, flags.vocab) for _ in range(flags.static)]

    def sample() -> TokenizedSample:
        own = min(max(int(draw.lognormvariate(0, 0.35) * flags.own), flags.own // 2), 2 * flags.own)
        ids = [*static, *(draw.randrange(2, flags.vocab) for _ in range(own + flags.answer))]
        return TokenizedSample(tuple(ids), flags.static + own, draw.choice((0.3, 1.0, 1.5)))

    samples = [sample() for _ in range(flags.samples)]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=flags.vocab, hidden_size=flags.hidden, intermediate_size=3 * flags.hidden, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=SEED_LENGTH, tie_word_embeddings=True,
    )  # fmt: skip
    lora = LoraConfig(
        r=16, lora_alpha=32, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM"
    )
    model = get_peft_model(LlamaForCausalLM(config), lora)
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
            (part / weights.sum()).backward()
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
            (part / part_weight).backward()
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
    result = {
        "samplesPerSecond": {name: round(value, 2) for name, value in speed.items()},
        "againstSeed": round(speed["tradewind"] / speed["seed"], 2),
        "againstCompletionOnly": round(speed["tradewind"] / speed["completion_only"], 2),
        "lossPerSupervisedToken": {name: round(losses[name], 6) for name in ("completion_only", "tradewind")},
        "seedLossOnAllTokens": round(losses["seed"], 6),
        "tokens": {"mean": statistics.mean(len(s.input_ids) for s in samples), "supervised": flags.answer},
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if flags.json:
        print(json.dumps(result))
        return 0
    print(f"{'recipe':<18}{'samples/s':>10}{'x seed':>8}{'loss per supervised token':>28}")
    for name, value in speed.items():
        loss = "(on all tokens)" if name == "seed" else f"{losses[name]:.6f}"
        print(f"{name:<18}{value:>10.2f}{value / speed['seed']:>8.2f}{loss:>28}")
    print(f"against the seed's recipe {result['againstSeed']} (goal 7), against completion-only {result['againstCompletionOnly']}"
          f" (goal 1.8); {result['threads']} threads, torch {torch.__version__}")  # fmt: skip
    equal = abs(losses["tradewind"] - losses["completion_only"]) < 1e-4
    print("losses are equal" if equal else "LOSSES DIFFER")
    return 0 if equal else 1


def padded(rows: Sequence[Sequence[int]], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return ids, mask


if __name__ == "__main__":
    sys.exit(main())
