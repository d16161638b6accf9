"""What is kept of a training while it runs: the best adapter so far, and how fast it goes."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch


@dataclass
class Best:
    """The adapter with the lowest evaluation loss so far.

    Attributes:
        step: when it was.
        evaluated_step: step of the newest evaluation.
        without_gain: evaluations since `step`.
    """

    step: int = 0
    evaluated_step: int = 0
    eval_loss: float = math.inf
    without_gain: int = 0
    weights: Mapping[str, torch.Tensor] | None = None


@dataclass
class Meter:
    """What has been trained on in this process, for speeds."""

    tokens: int = 0
    steps: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def tokens_per_second(self) -> float:
        """Mean over this process, padding not counted."""
        return self.tokens / max(time.monotonic() - self.began, 1e-9)

    @property
    def steps_per_second(self) -> float:
        """Mean over this process; 0 before the first step."""
        return self.steps / max(time.monotonic() - self.began, 1e-9)
