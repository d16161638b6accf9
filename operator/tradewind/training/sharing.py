"""Whether a model computes shared prefixes exactly, tried on it before the training, and what its tokens cost.

Belongs here: the probe and its tolerance. Does not belong here: the attention (attention.py), the arrangement (packing.py).
Models differ in what they make of positions and masks, and a list of architectures that are known to be right would be out of date with
the next release of transformers: so it is tried on the base and the samples at hand, adapter included, dropout off.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers.pytorch_utils import Conv1D

from tradewind.training.attention import enable_shared_prefixes
from tradewind.training.collator import group_tensors
from tradewind.training.loss import keeps_logits, weighted_loss
from tradewind.training.memory import set_checkpointing
from tradewind.training.packing import Costs, Group, common_prefix
from tradewind.training.preflight import TokenizedSample

TOLERANCE: Final = 1e-4
"""Distance of two gradients by the norm of the right one, and of two losses, that rounding in float32 explains."""
_OF_PADDED: Final = 3.0  # where numbers are coarser, what padding alone changes says how coarse
_BACKWARD_LINEAR: Final = 1.0  # backward by forward, of frozen weights: gradients of inputs alone
_BACKWARD_PAIRS: Final = 2.5  # of attention: scores anew, then queries, keys, values and weights

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sharing:
    """Whether prefixes are shared, and why.

    Attributes:
        costs: of the model; None: nothing is shared.
        reason: for people.
    """

    costs: Costs | None
    reason: str


@dataclass(frozen=True, slots=True)
class Deviation:
    """Distance of loss and gradient from those of each sample alone, the larger of the two, relative."""

    shared: float
    padded: float

    @property
    def exact(self) -> bool:
        """Whether rounding explains what sharing changes; never where a number is not finite."""
        return self.shared <= max(TOLERANCE, _OF_PADDED * self.padded)


def costs_of(base: Any) -> Costs:
    """What tokens cost on a base, without its head; experts count as often as a token meets one."""
    config = base.config.get_text_config()
    head = base.get_output_embeddings()
    linear = 0.0
    for module in base.modules():
        if module is head:
            continue
        if isinstance(module, Conv1D):
            linear += module.weight.numel()
        elif hasattr(module, "in_features") and hasattr(module, "out_features"):
            linear += module.in_features * module.out_features
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None) or 1
    met = getattr(config, "num_experts_per_tok", None) or 1
    linear += sum(weight.numel() for weight in base.parameters() if weight.ndim == 3) * met / experts
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pair = 2 * config.num_hidden_layers * config.num_attention_heads * width
    return Costs(token=(1 + _BACKWARD_LINEAR) * linear, pair=(1 + _BACKWARD_PAIRS) * pair)


def choose_sharing(
    model: Any,
    costs: Costs,
    samples: Sequence[TokenizedSample],
    pad_token_id: int,
    *,
    asked: bool,
    half: torch.dtype | None,
) -> Sharing:
    """Share prefixes where it is asked for, possible and exact. The model then has its attention exchanged.

    Args:
        model: the PEFT model; its mode and the state of random numbers stay as they are.
        costs: of its base.
        samples: of the training.
        pad_token_id: fills rows on the right.
        asked: False: nothing is tried.
        half: numbers of the training where they are not float32.
    """
    if not asked:
        return Sharing(None, "nothing shared: hyperparameters.extra.packing is false")
    if model.config._attn_implementation != "sdpa":
        return Sharing(None, f"nothing shared: {model.config._attn_implementation} attention")
    by_length = sorted(samples, key=lambda sample: (len(sample.input_ids), sample.input_ids))
    chosen = [by_length[at * (len(by_length) - 1) // 2] for at in (0, 1, 2)]
    group = Group(tuple(chosen), shared_prefix(chosen))
    if not group.prefix or len(samples) < 2:
        return Sharing(None, "nothing shared: prompts begin differently")
    try:
        enable_shared_prefixes(model)
        on_gpu = next(model.parameters()).device.type == "cuda"
        found = deviation(model, group, pad_token_id, half=half, checkpointing=on_gpu)
        said = f"its gradient differs by {found.shared:.1g}, padding changes {found.padded:.1g}"
        if found.exact:
            return Sharing(
                costs,
                f"beginnings that prompts share are computed once, gradients within {max(found.shared, 1e-9):.1g}",
            )
    except (ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        said = f"{type(error).__name__}: {str(error)[:120]}"
    model.set_attn_implementation("sdpa")
    return Sharing(
        None, f"nothing shared: this {model.config.model_type} model does not compute shared prefixes exactly: {said}"
    )


def shared_prefix(samples: Sequence[TokenizedSample]) -> int:
    """Tokens of the prompts that all of these samples begin with; the last token of each prompt is its own."""
    ordered = sorted(samples, key=lambda sample: sample.input_ids)
    return max(0, min(common_prefix(ordered[0], ordered[-1]), *(sample.prompt_length - 1 for sample in samples)))


def deviation(
    model: Any, group: Group, pad_token_id: int, *, half: torch.dtype | None = None, checkpointing: bool = False
) -> Deviation:
    """What sharing a group's prefix changes, and what padding it does, in evaluation mode: no dropout.

    Args:
        model: the PEFT model.
        group: samples and what they share.
        pad_token_id: fills rows on the right.
        half: numbers of the training where they are not float32.
        checkpointing: compute activations again instead of keeping them, where memory is dear.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    set_checkpointing(model, on=checkpointing)
    for module in modes:
        if checkpointing and hasattr(module, "gradient_checkpointing"):
            module.training = (
                True  # layers compute again in training mode alone; what is inside them stays in evaluation
            )
    try:
        right = _gradient(model, [Group((sample,)) for sample in group.samples], pad_token_id, half, plain=True)
        shared, padded = (_gradient(model, [one], pad_token_id, half) for one in (group, Group(group.samples)))
    finally:
        set_checkpointing(model, on=False)
        for module, mode in modes.items():
            module.training = mode
    return Deviation(_distance(shared, right), _distance(padded, right))


_Found = tuple[torch.Tensor, torch.Tensor]


def _gradient(
    model: Any, groups: Sequence[Group], pad_token_id: int, half: torch.dtype | None, *, plain: bool = False
) -> _Found:
    """Loss [] and gradient [all trained weights] of groups together; `plain`: from all logits of rows as anyone computes them."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    device = trained[0].device
    total = weight_sum = torch.zeros((), device=device)
    gradient = torch.zeros(sum(weight.numel() for weight in trained), device=device)
    for group in groups:
        inputs = {name: tensor.to(device) for name, tensor in group_tensors(group, pad_token_id).items()}
        with _precision(device, half):
            part, weight = weighted_loss(model, inputs, keeps=not plain and keeps_logits(model))
        found = torch.autograd.grad(part, trained, allow_unused=True)
        flat = [
            (torch.zeros_like(w) if g is None else g).float().flatten() for g, w in zip(found, trained, strict=True)
        ]
        gradient = gradient + torch.cat(flat)
        total, weight_sum = total + part.detach(), weight_sum + weight
    return total / weight_sum, gradient / weight_sum


def _precision(device: torch.device, half: torch.dtype | None) -> AbstractContextManager[Any]:
    return nullcontext() if half is None else torch.autocast(device.type, half)


def _distance(found: _Found, right: _Found) -> float:
    (loss, gradient), (right_loss, right_gradient) = found, right
    of_gradient = (gradient - right_gradient).norm() / right_gradient.norm()
    return max(abs(float(loss - right_loss)) / abs(float(right_loss)), float(of_gradient))
