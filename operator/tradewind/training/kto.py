"""KTO: good completions become likelier than they were at the start, bad ones less likely, held to that start (arXiv 2402.01306).

Belongs here: the loss of samples from log-probabilities, the weights of the two sides, the reference without a second model.
Does not belong here: which samples are good, and the pass that computes log-probabilities (loss.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch

from tradewind.training.preflight import TokenizedSample
from tradewind.training.ranks import Ranks

_MOST_DESIRABLE: Final = 4 / 3
"""Weight of the desirable side by that of the undesirable one; the paper asks for 1 to 4/3."""


@dataclass(frozen=True, slots=True)
class Sides:
    """KTO's settings in numbers.

    Attributes:
        beta: how strongly the policy is held to the reference.
        desirable, undesirable: lambda of each side.
    """

    beta: float
    desirable: float = 1.0
    undesirable: float = 1.0


def balanced(
    samples: Sequence[TokenizedSample], *, beta: float, desirable: float | None = None, undesirable: float | None = None
) -> Sides:
    """Weights of the two sides: what is stated, and else as little as brings their ratio into 1 to 4/3.

    Args:
        samples: of the training; each side has one at least, of a weight above 0.
        beta: see `Sides`.
        desirable: where stated; the other side's then follows from it.
        undesirable: likewise.
    """
    good = sum(sample.weight for sample in samples if sample.desirable)
    bad = sum(sample.weight for sample in samples if not sample.desirable)
    ratio = good * (desirable or 1.0) / (bad * (undesirable or 1.0))
    fit = min(max(ratio, 1.0), _MOST_DESIRABLE)
    if desirable is not None and undesirable is not None:
        return Sides(beta, desirable, undesirable)
    if desirable is not None:
        return Sides(beta, desirable, ratio / fit)
    if undesirable is not None:
        return Sides(beta, fit / ratio, undesirable)
    # The rarer side is raised; the other stays at 1.
    return Sides(beta, max(fit / ratio, 1.0), max(ratio / fit, 1.0))


def baseline(policy: torch.Tensor, reference: torch.Tensor, ranks: Ranks = Ranks()) -> torch.Tensor:  # noqa: B008 - frozen
    """The paper's z0 []: how far the policy has moved, as a mean over mismatched pairs, never below 0; 0 without a pair.

    Args:
        policy: log-probabilities of the mismatched completions, in nats [n].
        reference: the same by the reference [n].
        ranks: the processes over whose pairs the mean is taken.
    """
    moved = (policy - reference).detach()
    if ranks.size > 1:
        total, count = ranks.sums(float(moved.sum()), moved.numel())
        return torch.tensor(max(total / count, 0.0) if count else 0.0, dtype=moved.dtype)
    return moved.mean().clamp(min=0) if moved.numel() else torch.zeros(())


def kto_losses(
    policy: torch.Tensor,
    reference: torch.Tensor,
    moved: torch.Tensor,
    desirable: torch.Tensor,
    sides: Sides,
) -> torch.Tensor:
    """Loss of each sample [n], 0 to the lambda of its side.

    Args:
        policy: log-probability of each completion, in nats [n].
        reference: the same by the reference, without a gradient [n].
        moved: `baseline` [].
        desirable: which samples are good [n].
        sides: weights and beta.
    """
    gain = sides.beta * (policy - reference - moved)
    good = sides.desirable * (1 - torch.sigmoid(gain))
    bad = sides.undesirable * (1 - torch.sigmoid(-gain))
    return torch.where(desirable, good, bad)


def trained_weights(model: Any) -> dict[str, torch.Tensor]:
    """A copy of all weights that are trained, where they lie."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


@contextmanager
def put_back(model: Any, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """The model with the trained weights of another moment, without dropout and gradients: the reference, at an adapter's memory.

    Weights are exchanged by pointer. Nothing of a forward pass whose backward pass is to come may lie around this block.
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    kept = {name: weight.data for name, weight in trained.items()}
    model.eval()
    try:
        for name, weight in trained.items():
            weight.data = weights[name].to(weight.device)
        with torch.no_grad():
            yield
    finally:
        for name, weight in trained.items():
            weight.data = kept[name]
