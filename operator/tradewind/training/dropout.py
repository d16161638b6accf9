"""Dropout of an adapter's inputs at a quarter of the random numbers: on a CPU drawing them is a quarter of a training step.

Belongs here: the draw. Does not belong here: where dropout is, which peft decides. The generator is torch's own, so that what is drawn
after a resume is what would have been drawn.
"""

from typing import Any, Final

import torch
from torch import nn

_LEVELS: Final = 1 << 16
_LEAST: Final = -(1 << 15)


class QuarterDropout(nn.Dropout):
    """As `nn.Dropout`, on a CPU with 16 random bits an element instead of 64: `p` in steps of 1/65536, scaled to fit."""

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Zeros a share `p` of the elements and scales the others up, in training mode alone."""
        dropped = min(round(self.p * _LEVELS), _LEVELS - 1)
        if not self.training or not dropped or given.device.type != "cpu":
            return super().forward(given)
        drawn = torch.empty(-(-given.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
        kept = drawn.view(torch.int16)[: given.numel()].view(given.shape) >= dropped + _LEAST
        return given * kept.to(given.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def quicken_dropout(model: Any) -> None:
    """Exchange the dropout of a PEFT model's adapter; what the base has of its own stays."""
    for module in model.modules():
        drops = getattr(module, "lora_dropout", None)
        if isinstance(drops, nn.ModuleDict):
            for name, drop in drops.items():
                if type(drop) is nn.Dropout:
                    drops[name] = QuarterDropout(drop.p)
