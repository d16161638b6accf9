"""Which samples of an optimiser step's pass are computed together, and what of them once: chosen by what it costs.

Belongs here: the arrangement of one pass, from token ids alone. Does not belong here: which samples share a pass (plan_batches) and
tensors (collator.py). Whatever is arranged, each sample sees its own tokens and no other, at its own positions: loss and gradient are
those of each sample alone, and only the order of sums differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import Final

from tradewind.training.preflight import TokenizedSample

ATTENTION_PRICE: Final = 2.0
"""Time of an attention kernel's multiply-add in those of a matrix product (docs/training.md has the measurement)."""
CALL_TOKENS: Final = 128
"""What starting a forward and backward pass costs, in tokens through the linear layers."""
_GROUP_SAMPLES: Final = 128  # considered together at most; beyond that nothing more is saved


@dataclass(frozen=True, slots=True)
class Costs:
    """What training costs on one model, in multiply-adds of forward and backward.

    Attributes:
        token: of one token in all layers but the head.
        pair: of one token that looks at one token, in all layers.
    """

    token: float
    pair: float

    def padded(self, samples: int, width: int) -> float:
        """Rows of their own, causal: kernels leave out half of the pairs."""
        return samples * width * (self.token + ATTENTION_PRICE * self.pair * width / 2)

    def shared(self, samples: int, prefix: int, own: int) -> float:
        """A prefix once, then the rest of each sample; each of those tokens is held against prefix and all of its own."""
        pairs = prefix * prefix / 2 + samples * own * (prefix + own)
        return (prefix + samples * own) * self.token + ATTENTION_PRICE * self.pair * pairs


@dataclass(frozen=True, slots=True)
class Group:
    """Samples of one forward and backward pass.

    Attributes:
        samples: padded on the right to the longest.
        prefix: tokens that all of them begin with and that are computed once; 0: each sample is a row of its own.
    """

    samples: tuple[TokenizedSample, ...]
    prefix: int = 0

    @property
    def width(self) -> int:
        """Tokens of the longest sample."""
        return max(len(sample.input_ids) for sample in self.samples)

    @property
    def computed(self) -> int:
        """Tokens that go through the model, padding included."""
        return self.prefix + len(self.samples) * (self.width - self.prefix)


@dataclass(frozen=True, slots=True)
class Packing:
    """How passes are arranged.

    Attributes:
        costs: None: nothing is shared.
        max_tokens: tokens that go through the model at once at most, where more than one sample would; None: as many as there are.
    """

    costs: Costs | None = None
    max_tokens: int | None = None

    def arrange(self, samples: Sequence[TokenizedSample]) -> tuple[Group, ...]:
        """The cheapest groups of a pass; a function of the samples and of this packing alone.

        Samples are put in the order of their tokens, where those with the longest common beginnings are neighbours; each way to cut
        that order into groups is considered, with each group shared or padded.
        """
        costs = self.costs
        if not samples:
            return ()
        if costs is None:
            return self._padded(samples)
        ordered = sorted(samples, key=lambda sample: sample.input_ids)
        common = [0, *starmap(common_prefix, pairwise(ordered))]
        cheapest: list[tuple[float, int, int]] = [
            (0.0, 0, 0)
        ]  # cost of the first n samples, first of the last group, its prefix
        for stop in range(1, len(ordered) + 1):
            best = (float("inf"), 0, 0)
            prefix = width = len(ordered[stop - 1].input_ids)
            room = ordered[stop - 1].prompt_length - 1
            for start in range(stop - 1, max(-1, stop - 1 - _GROUP_SAMPLES), -1):
                count = stop - start
                if count > 1:
                    prefix = min(prefix, common[start + 1])
                    width = max(width, len(ordered[start].input_ids))
                    room = min(room, ordered[start].prompt_length - 1)
                before = cheapest[start][0] + CALL_TOKENS * costs.token
                # The last token of each prompt stays with its sample: it has an answer of its own to predict.
                shared = min(prefix, room) if count > 1 else 0
                for once in {0, max(shared, 0)}:
                    own = width - once
                    if count > 1 and self.max_tokens is not None and once + count * own > self.max_tokens:
                        continue
                    cost = costs.shared(count, once, own) if once else costs.padded(count, width)
                    best = min(best, (before + cost, start, once))
            cheapest.append(best)
        groups = []
        stop = len(ordered)
        while stop:
            _, start, prefix = cheapest[stop]
            groups.append(Group(tuple(ordered[start:stop]), prefix))
            stop = start
        return tuple(reversed(groups))

    def _padded(self, samples: Sequence[TokenizedSample]) -> tuple[Group, ...]:
        groups: list[list[TokenizedSample]] = [[]]
        for sample in sorted(samples, key=lambda sample: -len(sample.input_ids)) if self.max_tokens else samples:
            full = (
                groups[-1]
                and self.max_tokens
                and (len(groups[-1]) + 1) * len(groups[-1][0].input_ids) > self.max_tokens
            )
            if full:
                groups.append([])
            groups[-1].append(sample)
        return tuple(Group(tuple(group)) for group in groups)


def common_prefix(one: TokenizedSample, other: TokenizedSample) -> int:
    """Tokens that two samples begin with alike."""
    pairs = enumerate(zip(one.input_ids, other.input_ids, strict=False))
    shorter = min(len(one.input_ids), len(other.input_ids))
    return next((index for index, (a, b) in pairs if a != b), shorter)
