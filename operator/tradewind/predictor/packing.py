"""Several rows in one call of the model: their new tokens lie side by side, and each attends to its own keys and values alone.

All that a layer does token by token (projections, the inner layer, the head) is done for all rows at once; attention is done row by
row by the model's own attention, with the keys, values and mask that the row would have alone. So nothing is padded, a row whose
numbers are no numbers touches no other, and what differs from a row alone is the rounding of products of other heights.

A row may borrow: the beginning that it has in common with a row before it in the same call is computed once.

Belongs here: the cache and the attention that take the rows apart. Does not belong here: which rows go together (passes.py).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Self

import torch
from transformers.cache_utils import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tradewind.predictor.row import Row, layer_of

_NAME: Final = "tradewind_rows"


class PackingError(RuntimeError):
    """The model does not attend by what its cache gives it; rows of it are answered one at a time."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What one row adds in one call.

    Attributes:
        row: whose.
        ids: the new tokens: of its text, then those that leave the cache again.
        positions: of each.
        mask: who sees whom, as the model's attention takes it; None: causal.
        chain: how many of the tokens stay.
        lines: indices of the tokens after which logits are wanted.
        lender: the segment before it in the call whose row has all that comes before the row's new tokens, if any.
    """

    row: Row
    ids: Sequence[int]
    positions: Sequence[int]
    mask: torch.Tensor | None
    chain: int
    lines: Sequence[int]
    lender: Self | None = None


class PackedCache(DynamicCache):  # type: ignore[misc] # transformers has no types for us
    """The caches of the rows of one call, as one; for each layer's new keys it knows what each row attends to."""

    def __init__(self, segments: Sequence[Segment], attention: str, *, whole: bool) -> None:
        """A cache for one call.

        Args:
            segments: of the call, in order.
            attention: of the model.
            whole: give each layer all that its rows attend to, one after the other, as layers need that compute keys from what is
                kept (latent attention); else only the new keys, which saves copies.
        """
        super().__init__()
        self.attention = attention
        self._whole = whole
        self.segments = segments
        self._sizes = [len(segment.ids) for segment in segments]
        self._seen: dict[int, tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]] = {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give each row its own; what comes back is of all rows, [1, heads, tokens, width] each."""
        parts = zip(torch.split(key_states, self._sizes, -2), torch.split(value_states, self._sizes, -2), strict=True)
        mine = []
        for segment, (keys, values) in zip(self.segments, parts, strict=True):
            cache = segment.row.cache
            if segment.lender is not None:
                lent = segment.lender.row.cache.layers[layer_idx]
                cache.layers[layer_idx] = layer_of(lent, segment.positions[0])
            mine.append(cache.update(keys, values, layer_idx, *args, **kwargs))
        if self._whole:
            return torch.cat([keys for keys, _ in mine], dim=-2), torch.cat([values for _, values in mine], dim=-2)
        self._seen[id(key_states)] = key_states, mine  # the keys are held, so that no other tensor gets their id
        return key_states, value_states

    def of(self, keys: torch.Tensor, values: torch.Tensor) -> Sequence[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each row, by what `update` gave back, or what the layer made of it token by token.

        Raises:
            PackingError: the model attends to something else.
        """
        if self._whole:
            sizes = [segment.positions[0] + len(segment.ids) for segment in self.segments]
            if keys.shape[2] != sum(sizes) or values.shape[2] != sum(sizes):
                raise PackingError("the model attends to other tokens than are kept")
            return list(zip(torch.split(keys, sizes, 2), torch.split(values, sizes, 2), strict=True))
        found = self._seen.get(id(keys))
        if found is None:
            raise PackingError("the model changes keys after they are kept")
        return found[1]


_called: ContextVar[PackedCache] = ContextVar("tradewind_packed_cache")


def _attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    del mask
    cache = _called.get()
    inner = _inner(module, cache.attention)
    begun, outputs = 0, []
    for segment, (keys, values) in zip(cache.segments, cache.of(key, value), strict=True):
        mine = query[:, :, begun : begun + len(segment.ids)]
        outputs.append(inner(module, mine, keys, values, segment.mask, **kwargs)[0])
        begun += len(segment.ids)
    if begun != query.shape[2]:
        raise PackingError("the model attends with other tokens than it was given")
    return torch.cat(outputs, dim=1), None


def _inner(module: Any, attention: str) -> Callable[..., tuple[torch.Tensor, Any]]:
    """The attention that the model would have called."""
    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    found = ALL_ATTENTION_FUNCTIONS.get_interface(attention, own)
    if found is None:
        raise PackingError(f"{type(module).__name__} has no attention that can be called row by row")
    result: Callable[..., tuple[torch.Tensor, Any]] = found
    return result


ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)


@contextmanager
def packed(model: Any, segments: Sequence[Segment], *, whole: bool) -> Iterator[PackedCache]:
    """The cache for one call of a model over several rows; meanwhile its layers attend row by row. `whole`: see `PackedCache`."""
    config = model.config.get_text_config()
    attention = config._attn_implementation
    cache = PackedCache(segments, attention, whole=whole)
    token = _called.set(cache)
    config._attn_implementation = _NAME
    try:
        yield cache
    finally:
        config._attn_implementation = attention
        _called.reset(token)
