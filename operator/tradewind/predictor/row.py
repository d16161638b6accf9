"""One answer in the making: its cache of keys and values, its tokens, and the passes over them.

Three things are never done. A pass with a mask over a whole long prompt: such a mask grows with the square of its tokens, so what
is more than `CHUNK` is read causally before, in pieces. A choice by scores that are not numbers: `finite` looks at what is read
off each pass. A window of attention that begins to bind: caches are plain, and `positions_of` bounds what is asked.

Belongs here: the one call of the model and what goes in and comes out. Does not belong here: what is chosen (decoder.py).
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

CHUNK: Final = 1024
"""Tokens that one pass reads at most; a prompt within them is read together with the first scores."""
_LEAST_CHUNK: Final = 64


class NotFiniteError(ArithmeticError):
    """A pass gave scores that are not numbers: overflow, damaged weights, or a device that fails."""


def finite(scores: list[float]) -> list[float]:
    """Scores as they are.

    Raises:
        NotFiniteError: one of them is infinite or no number.
    """
    if not all(map(math.isfinite, scores)):
        raise NotFiniteError("a pass of the model gave scores that are not finite numbers")
    return scores


def empty_cache(config: Any) -> DynamicCache:
    """A cache whose layers keep every token, those with a window too: within `positions_of` it never binds."""
    cache = DynamicCache(config=config)
    cache.layers = [DynamicLayer() for _ in cache.layers]
    return cache


class Row:
    """One answer in the making: the cache, the tokens in it, and the tokens that go in with the next pass."""

    def __init__(self, model: Any, cache: DynamicCache, past: int) -> None:
        self.cache = cache
        self.cached: list[int] = []
        self.waiting: list[int] = []
        self.passes = 0
        self.last_scores: dict[int, float] = {}
        self._model = model
        self._past = past
        self._draft: Sequence[int] = ()
        self._draft_logits = torch.empty(0, 0)

    def ahead(self) -> torch.Tensor | None:
        """Logits [1, vocabulary] after the waiting tokens, where these are what the last pass's draft foresaw."""
        count = len(self.waiting)
        if 0 < count <= len(self._draft) and list(self._draft[:count]) == self.waiting:
            return self._draft_logits[count - 1 : count]
        return None

    def score(
        self, tree: Sequence[tuple[int, Sequence[int]]], nodes: Sequence[int] = (), draft: Sequence[int] = ()
    ) -> torch.Tensor:
        """One pass over the waiting tokens, a tree and a draft after them; the latter two leave the cache again.

        Args:
            tree: for each node its token and its path: the names of itself and its ancestors in the tree.
            nodes: the names of the tree's nodes, in the tree's order; not negative.
            draft: tokens that may follow the waiting ones; `ahead` has their scores.

        Returns:
            Logits [1 + nodes, vocabulary]: after the last waiting token, then after each node of the tree.
        """
        self._read_what_is_too_long()
        chain, past = len(self.waiting), self._past
        names = [*nodes, *range(-1, -len(draft) - 1, -1)]
        paths = [*(path for _, path in tree), *(range(-1, -count - 1, -1) for count in range(1, len(draft) + 1))]
        logits = self._pass(
            [*self.waiting, *(token for token, _ in tree), *draft],
            [*range(past, past + chain), *(past + chain - 1 + len(p) for p in paths)],
            self._mask(_tree_mask(past, chain, paths, names)) if paths else None,
            1 + len(paths),
        )
        if paths:
            self.cache.crop(-len(paths))
        self._took(chain)
        self._draft, self._draft_logits = draft, logits[1 + len(tree) :]
        return logits[: 1 + len(tree)]

    def _read_what_is_too_long(self) -> None:
        """All but the last tokens of a long prompt, without a mask of ours: attention is causal by itself."""
        chunk = self._chunk()
        while len(self.waiting) > chunk:
            self._pass(self.waiting[:chunk], range(self._past, self._past + chunk), None, 1)
            self._took(chunk)

    def _chunk(self) -> int:
        """Tokens of a pass. Eager attention keeps a score for each pair of tokens and head: no more than those of `CHUNK` alone."""
        total = self._past + len(self.waiting)
        if self._model.config._attn_implementation != "eager" or total <= CHUNK:
            return CHUNK
        return max(_LEAST_CHUNK, CHUNK * CHUNK // total)

    def _pass(self, ids: Sequence[int], positions: Sequence[int], mask: torch.Tensor | None, keep: int) -> torch.Tensor:
        """Logits [keep, vocabulary] after the last so many of some tokens, which are in the cache then."""
        device = self._model.device
        output = self._model(
            input_ids=torch.tensor([list(ids)], device=device),
            position_ids=torch.tensor([list(positions)], device=device),
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        self.passes += 1
        logits: torch.Tensor = output.logits[0]
        return logits

    def _took(self, count: int) -> None:
        """So many of the waiting tokens are in the cache."""
        self._past += count
        self.cached.extend(self.waiting[:count])
        del self.waiting[:count]

    def _mask(self, seen: torch.Tensor) -> torch.Tensor:
        """As the model's attention takes masks: eager attention adds them to its scores, where True would count 1."""
        seen = seen.to(self._model.device)
        if self._model.config._attn_implementation != "eager":
            return seen
        dtype = self._model.dtype
        return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)


def _tree_mask(past: int, chain: int, paths: Sequence[Sequence[int]], nodes: Sequence[int]) -> torch.Tensor:
    """Who sees whom, bool [1, 1, chain + nodes, past + chain + nodes]: the chain is causal, a node sees its own path."""
    size = chain + len(paths)
    mask = torch.ones(size, past + size, dtype=torch.bool).tril_(past)
    mask[chain:, past + chain :] = False
    column = {node: past + chain + index for index, node in enumerate(nodes)}
    for index, path in enumerate(paths):
        mask[chain + index, [column[node] for node in path]] = True
    return mask[None, None]
