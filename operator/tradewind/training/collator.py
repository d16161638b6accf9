"""Which samples share a forward pass, and the tensors of that pass.

Belongs here: the plan of a whole training and the collator. Does not belong here: the loss.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch.utils.data import Dataset

from tradewind.training.preflight import TokenizedSample

IGNORED: Final = -100  # cross_entropy's ignore_index
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


@dataclass(frozen=True)
class PlannedBatches(Dataset[MicroBatch]):
    """The plan as a dataset: item i is the i-th forward pass."""

    samples: Sequence[TokenizedSample]
    plan: Sequence[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> MicroBatch:
        return tuple(self.samples[i] for i in self.plan[index])


def collate(batch: Sequence[MicroBatch], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Tensors of one pass over B samples of at most L tokens, with logits at K positions.

    Samples are padded on the right only, so causal attention never looks at padding and needs no mask: the fast kernel stays
    in use. Positions are kept where any sample of the pass has something to learn.

    Returns:
        input_ids [B, L]; logits_to_keep [K], positions whose logits are computed; labels [B, K], the token that follows each,
        or -100; weights [B]; tokens [], real tokens without padding.
    """
    (samples,) = batch
    width = max(len(sample.input_ids) for sample in samples)
    # A token is predicted at the position before it.
    first = min(sample.prompt_length for sample in samples) - 1
    input_ids = torch.full((len(samples), width), pad_token_id, dtype=torch.long)
    labels = torch.full((len(samples), width - 1 - first), IGNORED, dtype=torch.long)
    for row, sample in enumerate(samples):
        ids = torch.tensor(sample.input_ids, dtype=torch.long)
        input_ids[row, : len(ids)] = ids
        labels[row, sample.prompt_length - 1 - first : len(ids) - 1 - first] = ids[sample.prompt_length :]
    return {
        "input_ids": input_ids,
        "logits_to_keep": torch.arange(first, width - 1),
        "labels": labels,
        "weights": torch.tensor([sample.weight for sample in samples], dtype=torch.float32),
        "tokens": torch.tensor(sum(len(sample.input_ids) for sample in samples)),
    }
