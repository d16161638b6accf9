"""Which samples share a pass, and the tensors of that pass.

Belongs here: the plan of a whole training and the collator. Does not belong here: the loss, and what of a pass is computed once
(packing.py).
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch.utils.data import Dataset

from tradewind.training.attention import shared_mask
from tradewind.training.packing import Group, Packing
from tradewind.training.preflight import TokenizedSample

_WINDOW_BATCHES: Final = 50  # samples of this many passes are sorted by length together

MicroBatch = tuple[TokenizedSample, ...]


def plan_batches(lengths: Sequence[int], *, batch_size: int, epochs: float, seed: int) -> list[tuple[int, ...]]:
    """Indices of each forward pass of the whole training, in order; a function of its arguments alone.

    Samples are shuffled anew in each epoch, then sorted by length within windows, so that a pass holds like lengths and little
    padding; the order of the passes is shuffled again. Having one plan for all epochs makes resuming a matter of counting.

    Args:
        lengths: tokens of each sample.
        batch_size: samples of one pass.
        epochs: passes over the data; a fraction ends the plan early.
        seed: of the shuffles.
    """
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    plan: list[tuple[int, ...]] = []
    for _ in range(math.ceil(epochs)):
        order = list(range(len(lengths)))
        draw.shuffle(order)
        window = batch_size * _WINDOW_BATCHES
        passes: list[tuple[int, ...]] = []
        for start in range(0, len(order), window):
            by_length = sorted(order[start : start + window], key=lambda index: -lengths[index])
            passes += [tuple(by_length[i : i + batch_size]) for i in range(0, len(by_length), batch_size)]
        draw.shuffle(passes)
        plan += passes
    return plan[: math.ceil(math.ceil(len(lengths) / batch_size) * epochs)]


def join_steps(plan: Sequence[tuple[int, ...]], accumulation: int) -> list[tuple[int, ...]]:
    """The passes of each optimiser step as one: its samples share what they have in common, and memory says how they are cut.

    Args:
        plan: as `plan_batches` makes it.
        accumulation: passes of an optimiser step.
    """
    parts = (plan[start : start + accumulation] for start in range(0, len(plan), accumulation))
    return [tuple(itertools.chain.from_iterable(part)) for part in parts]


def plan_training(
    samples: Sequence[TokenizedSample],
    *,
    batch_size: int,
    accumulation: int,
    epochs: float,
    seed: int,
    max_steps: int | None,
    desirable: bool,
) -> list[tuple[int, ...]]:
    """Indices of each optimiser step, over all samples or over those to imitate.

    Args:
        samples: of the training.
        batch_size: samples of one pass.
        accumulation: passes of a step.
        epochs: passes over the chosen samples; 0: no step.
        seed: of the shuffles.
        max_steps: at most; None: as the epochs say.
        desirable: whether only samples to imitate are taken.
    """
    chosen = [index for index, sample in enumerate(samples) if sample.desirable or not desirable]
    lengths = [len(samples[index].input_ids) for index in chosen]
    plan = plan_batches(lengths, batch_size=batch_size, epochs=epochs, seed=seed)
    steps = join_steps(plan if max_steps is None else plan[: max_steps * accumulation], accumulation)
    return [tuple(chosen[index] for index in step) for step in steps]


@dataclass(frozen=True, slots=True)
class Part:
    """What one process computes of an optimiser step, or of a pass of an evaluation.

    Attributes:
        samples: its own; none where a last step has fewer samples than there are processes.
        pairs: each of these prompts with the completion of the sample that follows in the whole step; empty without KTO.
    """

    samples: MicroBatch
    pairs: MicroBatch = ()


@dataclass(frozen=True)
class PlannedBatches(Dataset[Part]):
    """The plan as a dataset: item i is the i-th optimiser step, or pass of an evaluation.

    Attributes:
        mismatched: whether pairs are made.
        rank, size: of the process whose parts these are, among those that share each step.
    """

    samples: Sequence[TokenizedSample]
    plan: Sequence[tuple[int, ...]]
    mismatched: bool = False
    rank: int = 0
    size: int = 1

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Part:
        samples = tuple(self.samples[i] for i in self.plan[index])
        pairs = mismatch(samples) if self.mismatched else ()
        if self.size == 1:
            return Part(samples, pairs)
        own = deal([len(sample.input_ids) for sample in samples], self.size)[self.rank]
        return Part(tuple(samples[i] for i in own), tuple(pairs[i] for i in own if pairs))


def deal(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Samples of a step for each process, the longest first, to and fro: as many each, and about as many tokens.

    Args:
        lengths: tokens of each sample.
        size: processes.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    parts: list[list[int]] = [[] for _ in range(size)]
    for position, index in enumerate(order):
        turn, place = divmod(position, size)
        parts[size - 1 - place if turn % 2 else place].append(index)
    return parts


def collate(batch: Sequence[Part], pad_token_id: int, packing: Packing) -> dict[str, Any]:
    """Tensors of one part, group by group.

    Returns:
        groups: tensors of each group, see `group_tensors`; tokens []: of all samples, without padding; mismatched: the same of the
        pairs.
    """
    (part,) = batch
    return {
        "mismatched": [group_tensors(group, pad_token_id) for group in packing.arrange(part.pairs)],
        "groups": [group_tensors(group, pad_token_id) for group in packing.arrange(part.samples)],
        "tokens": torch.tensor(sum(len(sample.input_ids) for sample in part.samples)),
    }


def mismatch(samples: Sequence[TokenizedSample]) -> MicroBatch:
    """Each prompt with the completion of the sample after it; of the last with that of the first. One sample has no other."""
    if len(samples) < 2:
        return ()
    following = (*samples[1:], samples[0])
    return tuple(
        replace(sample, input_ids=sample.input_ids[: sample.prompt_length] + other.input_ids[other.prompt_length :])
        for sample, other in zip(samples, following, strict=True)
    )


def group_tensors(group: Group, pad_token_id: int) -> dict[str, torch.Tensor]:
    """Tensors of a group in R rows of L tokens with N supervised tokens.

    Samples are padded on the right only, so causal attention never looks at padding. Rows of their own need no mask: the fast kernel
    stays in use. Where a prefix of P tokens is shared by n samples of at most P + S, there is one row of P + n * S.

    Returns:
        input_ids [R, L]; keep [R, L], True at positions whose logits are needed; labels [N], the token that follows each of them;
        weights [N], of their samples, 0 where those are to be avoided; owners [N], rows of their samples; sample_weights [n];
        desirable [n]; width [], tokens of the longest sample. Shared alone: position_ids [1, L]; attention_mask [1, 1, S, P + S], see attention.py.
    """
    prefix, own = group.prefix, group.width - group.prefix
    input_ids = torch.full((len(group.samples), own), pad_token_id, dtype=torch.long)
    keep = torch.zeros_like(input_ids, dtype=torch.bool)
    labels: list[int] = []
    weights: list[float] = []
    owners: list[int] = []
    for row, sample in enumerate(group.samples):
        ids = sample.input_ids[prefix:]
        input_ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        # A token is predicted at the position before it.
        keep[row, sample.prompt_length - 1 - prefix : len(ids) - 1] = True
        labels += sample.input_ids[sample.prompt_length :]
        weights += [sample.weight if sample.desirable else 0.0] * sample.supervised
        owners += [row] * sample.supervised
    tensors = {
        "labels": torch.tensor(labels, dtype=torch.long),
        "weights": torch.tensor(weights, dtype=torch.float32),
        "owners": torch.tensor(owners, dtype=torch.long),
        "sample_weights": torch.tensor([sample.weight for sample in group.samples], dtype=torch.float32),
        "desirable": torch.tensor([sample.desirable for sample in group.samples], dtype=torch.bool),
        "width": torch.tensor(group.width),
    }
    if not prefix:
        return {"input_ids": input_ids, "keep": keep, **tensors}
    beginning = torch.tensor([group.samples[0].input_ids[:prefix]], dtype=torch.long)
    positions = [*range(prefix), *(len(group.samples) * list(range(prefix, group.width)))]
    return {
        "input_ids": torch.cat((beginning, input_ids.view(1, -1)), dim=1),
        "keep": torch.cat((torch.zeros_like(beginning, dtype=torch.bool), keep.view(1, -1)), dim=1),
        "position_ids": torch.tensor([positions], dtype=torch.long),
        "attention_mask": shared_mask(prefix, own),
        **tensors,
    }
