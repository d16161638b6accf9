"""Passes of a process that has nothing to compute while others have, and put their layers together with it.

Belongs here: passes that change nothing: no gradient, no random number, no count. Does not belong here: how many (ranks.py).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from tradewind.training.collator import group_tensors
from tradewind.training.loss import weighted_loss
from tradewind.training.packing import Group
from tradewind.training.preflight import TokenizedSample


class Idle:
    """Passes of two tokens that teach nothing."""

    def __init__(
        self, model: Any, pad_token_id: int, precision: Callable[[], AbstractContextManager[Any]], *, keeps: bool
    ) -> None:
        """For a PEFT model.

        Args:
            model: see above.
            pad_token_id: a token.
            precision: of a pass of the training.
            keeps: whether the model leaves out logits (`keeps_logits`).
        """
        self._model, self._precision, self._keeps = model, precision, keeps
        device = next(weight.device for weight in model.parameters() if weight.requires_grad)
        tensors = group_tensors(Group((TokenizedSample((pad_token_id,) * 2, 1, 0.0),)), pad_token_id)
        self._inputs = {name: tensor.to(device) for name, tensor in tensors.items()}

    def train(self, count: int) -> None:
        """So many forward and backward passes. Gradients stay as they are, those that there are not included."""
        if not count:
            return
        trained = [weight for weight in self._model.parameters() if weight.requires_grad]
        kept = [weight.grad for weight in trained]
        self._model.train()
        with torch.random.fork_rng():
            for _ in range(count):
                self._loss().backward()
        for weight, gradient in zip(trained, kept, strict=True):
            weight.grad = gradient

    def look(self, count: int) -> None:
        """So many forward passes."""
        if not count:
            return
        with torch.no_grad(), torch.random.fork_rng():
            for _ in range(count):
                self._loss()

    def _loss(self) -> Any:
        with self._precision():
            total, _ = weighted_loss(self._model, self._inputs, keeps=self._keeps)
        return total
