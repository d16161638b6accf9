"""Attention over a prefix that several samples share: the prefix looks at itself, each sample at the prefix and at itself.

Belongs here: the function that models call in the place of sdpa. A dense mask over the whole row would cost its square, most of it
for pairs of tokens of different samples that do not look at each other.
Does not belong here: for which models it is used (exactness.py), what is shared (packing.py).

The mask says what is shared, since it is the one thing that reaches every model's attention as it was given: [1, 1, S, P + S] for P
tokens of the prefix and S of each sample, causal from the lower right corner. The row is the prefix, then the samples, S tokens each.
"""

from typing import Any, Final

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SHARED: Final = "tradewind_shared"


def enable_shared_prefixes(model: Any) -> None:
    """Let a model's attention take rows with a shared prefix; all else is computed as by sdpa.

    Raises:
        ValueError: the model's attention cannot be exchanged.
    """
    AttentionInterface.register(SHARED, _attention)
    AttentionMaskInterface.register(SHARED, sdpa_mask)
    model.set_attn_implementation(SHARED)


def shared_mask(prefix: int, own: int) -> torch.Tensor:
    """Bool [1, 1, own, prefix + own]: what a sample's own tokens look at."""
    return torch.ones(own, prefix + own, dtype=torch.bool).tril_(prefix)[None, None]


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Query [1, heads, P + n * S, width], key and value alike; the answer is [1, P + n * S, heads, width]."""
    if attention_mask is None or attention_mask.shape[-1] == query.shape[2]:
        answer: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **settings
        )
        return answer
    own = attention_mask.shape[-2]
    prefix = attention_mask.shape[-1] - own
    first = [tensor[:, :, :prefix] for tensor in (query, key, value)]
    alone = [_samples(tensor[:, :, prefix:], own) for tensor in (query, key, value)]
    count = len(alone[0])
    seen = [
        torch.cat((shared.expand(count, -1, -1, -1), mine), dim=2)
        for shared, mine in zip(first[1:], alone[1:], strict=True)
    ]
    of_prefix, _ = sdpa_attention_forward(module, *first, None, **settings)
    of_samples, _ = sdpa_attention_forward(module, alone[0], *seen, attention_mask, **settings)
    return torch.cat((of_prefix, of_samples.reshape(1, count * own, *of_samples.shape[2:])), dim=1), None


def _samples(tensor: torch.Tensor, own: int) -> torch.Tensor:
    """[1, heads, n * S, width] as [n, heads, S, width]."""
    _, heads, length, width = tensor.shape
    return tensor.reshape(heads, length // own, own, width).transpose(0, 1)
