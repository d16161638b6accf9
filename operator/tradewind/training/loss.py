"""The loss of a group of samples: weighted negative log-likelihood of what is learned, logits where something is and nowhere else.

Belongs here: the one computation that training, evaluation, the probes and the benchmark share.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional


def keeps_logits(model: Any) -> bool:
    """Whether a PEFT model's base can leave out logits before they are computed."""
    return "logits_to_keep" in inspect.signature(model.get_base_model().forward).parameters


def weighted_loss(model: Any, inputs: Mapping[str, torch.Tensor], *, keeps: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of weight x negative log-likelihood over supervised tokens, in nats, and the sum of the weights.

    Args:
        model: a causal language model.
        inputs: tensors of a group, as `collate` makes them.
        keeps: whether the model leaves out logits (`keeps_logits`).
    """
    losses = _token_losses(model, inputs, keeps=keeps)
    return (losses * inputs["weights"]).sum(), inputs["weights"].sum()


def completion_logps(model: Any, inputs: Mapping[str, torch.Tensor], *, keeps: bool) -> torch.Tensor:
    """Log-probability of each sample's completion given its prompt, in nats [n]."""
    losses = _token_losses(model, inputs, keeps=keeps)
    return torch.zeros_like(inputs["sample_weights"], dtype=losses.dtype).index_add(0, inputs["owners"], -losses)


def _token_losses(model: Any, inputs: Mapping[str, torch.Tensor], *, keeps: bool) -> torch.Tensor:
    keep = inputs["keep"]
    given = {name: inputs[name] for name in ("input_ids", "position_ids", "attention_mask") if name in inputs}
    if keeps:
        logits = model(**given, use_cache=False, logits_to_keep=keep).logits
    else:
        logits = model(**given, use_cache=False).logits[keep]
    return functional.cross_entropy(logits.float(), inputs["labels"], reduction="none")
