"""Which samples share a pass, and the tensors of that pass.

Belongs here: the plan of a whole training and the collator. Does not belong here: the loss, and what of a pass is computed once
(packing.py).
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class PlannedBatches(Dataset[MicroBatch]):
    """The plan as a dataset: item i is the i-th optimiser step, or pass of an evaluation."""

    samples: Sequence[TokenizedSample]
    plan: Sequence[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> MicroBatch:
        return tuple(self.samples[i] for i in self.plan[index])


def collate(batch: Sequence[MicroBatch], pad_token_id: int, packing: Packing) -> dict[str, Any]:
    """Tensors of one pass, group by group.

    Returns:
        groups: tensors of each group, see `group_tensors`; tokens []: of all samples, without padding.
    """
    (samples,) = batch
    return {
        "groups": [group_tensors(group, pad_token_id) for group in packing.arrange(samples)],
        "tokens": torch.tensor(sum(len(sample.input_ids) for sample in samples)),
    }


def group_tensors(group: Group, pad_token_id: int) -> dict[str, torch.Tensor]:
    """Tensors of a group in R rows of L tokens with N supervised tokens.

    Samples are padded on the right only, so causal attention never looks at padding. Rows of their own need no mask: the fast kernel
    stays in use. Where a prefix of P tokens is shared by n samples of at most P + S, there is one row of P + n * S.

    Returns:
        input_ids [R, L]; keep [R, L], True at positions whose logits are needed; labels [N], the token that follows each of them;
        weights [N], of their samples. Shared alone: position_ids [1, L]; attention_mask [1, 1, S, P + S], see attention.py.
    """
    prefix, own = group.prefix, group.width - group.prefix
    input_ids = torch.full((len(group.samples), own), pad_token_id, dtype=torch.long)
    keep = torch.zeros_like(input_ids, dtype=torch.bool)
    labels: list[int] = []
    weights: list[float] = []
    for row, sample in enumerate(group.samples):
        ids = sample.input_ids[prefix:]
        input_ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        # A token is predicted at the position before it.
        keep[row, sample.prompt_length - 1 - prefix : len(ids) - 1] = True
        labels += sample.input_ids[sample.prompt_length :]
        weights += [sample.weight] * sample.supervised
    tensors = {
        "labels": torch.tensor(labels, dtype=torch.long),
        "weights": torch.tensor(weights, dtype=torch.float32),
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
