"""One answer in the making: its cache of keys and values, its tokens, and what it wants of the next pass.

Two things are never done. A choice by scores that are not numbers: `finite` looks at what is read off each pass. A window of
attention that begins to bind: caches are plain, and `positions_of` bounds what is asked.

Belongs here: what one row keeps and asks for. Does not belong here: the call of the model (passes.py), and what is chosen
(decoder.py).
"""

import copy
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

T = TypeVar("T")


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


def layer_of(lent: DynamicLayer, tokens: int) -> DynamicLayer:
    """A layer that begins with so many tokens of another one. It grows by concatenation into new tensors, so the two share them."""
    layer = copy.copy(lent)
    if layer.is_initialized:  # layers that use another one's keys keep nothing
        layer.keys, layer.values = lent.keys[:, :, :tokens], lent.values[:, :, :tokens]
    return layer


@dataclass(frozen=True, slots=True)
class Tree:
    """Tokens that may follow a text, several next to each other.

    Attributes:
        nodes: names of the nodes, not negative.
        tokens: of each.
        paths: of each, the names of itself and its ancestors in the tree.
        scored: indices of those after which scores are wanted, in ascending order: over a large vocabulary they are dear.
    """

    nodes: Sequence[int] = ()
    tokens: Sequence[int] = ()
    paths: Sequence[Sequence[int]] = ()
    scored: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that may follow a text, one after the other.

    Attributes:
        tokens: they.
        choices: after so many of them scores are wanted, in ascending order; none of them 0.
    """

    tokens: Sequence[int] = ()
    choices: Sequence[int] = ()


NO_TREE: Final = Tree()
NO_DRAFT: Final = Draft()


class Row:
    """One answer in the making: the cache, the tokens in it, and the tokens that go in with the next pass."""

    def __init__(self, config: Any, tokens: Sequence[int]) -> None:
        """Args: config: of the model. tokens: of the text so far, none of them read."""
        self.cache = empty_cache(config)
        self.cached: list[int] = []
        self.waiting: list[int] = list(tokens)
        self.passes = 0
        self.shared = 0
        """Tokens that were not read for this row, since another one had read them."""
        self.borrowed = False
        """Whether some of them were those of a row that was not answered yet: what made that one fail may be in them."""
        self.last_scores: dict[int, float] = {}
        self._draft: Draft = NO_DRAFT
        self._draft_logits = torch.empty(0, 0)

    def ahead(self) -> torch.Tensor | None:
        """Logits [1, vocabulary] after the waiting tokens, where these are what the last pass's draft foresaw."""
        count = len(self.waiting)
        if count not in self._draft.choices or list(self._draft.tokens[:count]) != self.waiting:
            return None
        line = self._draft.choices.index(count)
        return self._draft_logits[line : line + 1]

    def score(self, tree: "Tree", draft: "Draft") -> "Steps[torch.Tensor]":
        """One pass over the waiting tokens, a tree and a draft after them; the latter two leave the cache again.

        Args:
            tree: what may follow.
            draft: what may follow, too; `ahead` has its scores.

        Returns:
            Logits [1 + scored nodes, vocabulary]: after the last waiting token, then after each node of the tree that is to be scored.
        """
        logits = yield Want(self, tree, draft)
        self._draft, self._draft_logits = draft, logits[1 + len(tree.scored) :]
        return logits[: 1 + len(tree.scored)]

    def begin_with(self, other: "Row", tokens: int) -> None:
        """Begin with so many tokens that another row has read; this one has them waiting."""
        self.cache.layers = [layer_of(layer, tokens) for layer in other.cache.layers]
        self.skip(tokens)

    def skip(self, tokens: int) -> None:
        """So many tokens of the text are, or will be, in the cache without being read for this row."""
        self.shared += tokens - len(self.cached)
        self.took(tokens - len(self.cached))

    def took(self, count: int) -> None:
        """So many of the waiting tokens are in the cache."""
        self.cached.extend(self.waiting[:count])
        del self.waiting[:count]

    def rest(self) -> None:
        """Nothing more is written; others may begin with it."""
        self._draft, self._draft_logits = NO_DRAFT, torch.empty(0, 0)


@dataclass(frozen=True, slots=True)
class Want:
    """What a row wants to be scored; see `Row.score`."""

    row: Row
    tree: Tree = NO_TREE
    draft: Draft = NO_DRAFT

    @property
    def extra(self) -> int:
        """Tokens beside those of the text."""
        return len(self.tree.nodes) + len(self.draft.tokens)

    @property
    def lines(self) -> int:
        """Tokens after which scores are wanted."""
        return 1 + len(self.tree.scored) + len(self.draft.choices)


Steps = Generator[Want, torch.Tensor, T]
"""A computation that stops at each pass it needs, and goes on with the logits of it [1 + scored nodes + choices, vocabulary]."""
