"""What one run of the demo trades and when, and the numbers that its manifests are filled with.

Belongs here: the options COST_BP and BARS, dates, the settings of the training. Does not belong here: the cluster.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from demo.bars import WARMUP, Bar, load_bars, split_index
from workshop.progress import StepError

# Chosen on the first 60 % of the bars alone; docs/demo.md says how.
TRAINING: Final = {
    "label_excellent": "0.01",
    "label_bad": "0.005",
    "good_weight": "0.1",
    "small_loss_weight": "0",
    "hold_weight": "0.48",
    "epochs": "3",
    "learning_rate": "0.005",
}


@dataclass(frozen=True)
class Plan:
    """What this run trades and when, from the bars and the options."""

    run: str
    bars: tuple[Bar, ...]
    split: int
    cost_bp: float

    @property
    def t0(self) -> datetime:
        """Start of the A/B test: the midnight before the first bar after the split closes."""
        return _midnight(self.bars[self.split].closes_at)

    @property
    def days(self) -> int:
        """Whole days of the A/B test that the bars cover."""
        return (self.bars[-2].closes_at - self.t0) // timedelta(days=1)

    @property
    def broken_start(self) -> int:
        """First bar of the second experiment, at a midnight."""
        return next(i for i in range(WARMUP, len(self.bars)) if self.bars[i].closes_at.hour == 0)

    def values(self, namespace: str, images: Mapping[str, str]) -> dict[str, str]:
        """What the manifests are filled with."""
        return {
            "namespace": namespace,
            "run": self.run,
            **{f"image_{name}": reference for name, reference in images.items()},
            **TRAINING,
            "cost_bp": f"{self.cost_bp:g}",
            "post_bars": "",
            "min_samples": str(min(500, self.split // 4)),
            "train_until": self.t0.isoformat().replace("+00:00", "Z"),
            "t0": self.t0.isoformat().replace("+00:00", "Z"),
            "min_duration": f"{min(14, self.days)}d",
            "max_duration": f"{self.days}d",
            "broken_t0": self.bars[self.broken_start].closes_at.isoformat().replace("+00:00", "Z"),
        }


def _midnight(when: datetime) -> datetime:
    return when.replace(hour=0, minute=0, second=0, microsecond=0)


def make_plan() -> Plan:
    """The plan of this run.

    Raises:
        StepError: an option cannot be used.
    """
    try:
        cost_bp, count = float(os.environ.get("COST_BP") or 1.2), int(os.environ.get("BARS") or 5000)
    except ValueError as error:
        raise StepError(f"COST_BP or BARS is not a number: {error}", "COST_BP=1.2 BARS=5000 make demo") from error
    bars = load_bars()
    if not 0 <= cost_bp <= 100:
        raise StepError(f"COST_BP={cost_bp:g} is no cost in basis points", "use 0 to 100, such as COST_BP=1.2")
    if not 1500 <= count <= len(bars):
        raise StepError(f"BARS={count}: too few or too many", f"use 1500 to {len(bars)}; the test needs weeks of bars")
    bars = bars[:count]
    return Plan(datetime.now(tz=UTC).strftime("r%m%d%H%M%S"), bars, split_index(bars), cost_bp)
