"""Noise on what a model embeds, while it trains (NEFTune, arXiv 2310.05914).

Belongs here: the draw, from torch's own generator, whose state checkpoints keep: a resumed run draws what it would have drawn.
"""

import math
from typing import Any

import torch


class EmbeddingNoise:
    """Uniform noise of up to alpha / sqrt(tokens x width) on the embeddings of a model in training mode.

    Attributes:
        tokens: of the longest sample of the group that is computed next. A row that several samples share is longer than each
            of them, and its length would make the noise less.
    """

    def __init__(self, model: Any, alpha: float) -> None:
        """Takes effect at once where `alpha` is above 0."""
        self.alpha = alpha
        self.tokens = 1
        if alpha > 0:
            model.get_base_model().get_input_embeddings().register_forward_hook(self._add)

    def _add(self, module: torch.nn.Module, _: Any, embedded: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return embedded
        most = self.alpha / math.sqrt(self.tokens * embedded.shape[-1])
        return embedded + torch.empty_like(embedded).uniform_(-most, most)
