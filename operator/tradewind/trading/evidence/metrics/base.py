"""What a metric is: the scores of its rows, the margin that is still not worse, and the words for it.

Belongs here: the interface and the sums that metrics share. Does not belong here: any one metric, and what its evidence
leads to (evaluate.py).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tradewind.schema.rules import StrictModel
from tradewind.trading.evidence.blocks import Bools, SettledRows
from tradewind.trading.evidence.confidence import Floats


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Rows to be scored, in time order along the last axis; all of one shape (..., rows).

    Leading axes are simulated experiments, so that a simulation scores all its runs at once.

    Attributes:
        candidate: the drawn arm is the candidate.
        weight: probability of the candidate at this draw.
        ret: pnl / notional; nan where the row was settled by force.
        win: 1, 0, or 0.5 where nothing was opened.
        calibration: True on the rows of the first block that has rows; shape (rows,) or (..., rows).
    """

    candidate: Bools
    weight: Floats
    ret: Floats
    win: Floats
    calibration: Bools

    @classmethod
    def complete(cls, rows: SettledRows) -> "ScoredRows":
        """The rows of complete blocks."""
        part = slice(0, rows.complete)
        block = rows.block[part]
        first = block == block[0] if len(block) else np.zeros(0, dtype=np.bool_)
        return cls(rows.candidate[part], rows.weight[part], rows.ret[part], rows.win[part], first)


class Metric(ABC):
    """A metric that is tested. The primary one must be better, every other one not worse by more than its margin."""

    name: ClassVar[str]
    """In specs and statuses."""
    key: ClassVar[str]
    """In JSON: also the field of `settings`."""
    title: ClassVar[str]
    """In sentences."""
    unit: ClassVar[float]
    """One unit of the score in the unit that users read."""
    settings: ClassVar[type[StrictModel]]
    """Its field of `evidence.nonInferiority`: the margin, in the unit that users read."""

    @abstractmethod
    def scores(self, rows: ScoredRows) -> tuple[Floats, Floats]:
        """Scores and infos of the rows, shapes as theirs: a block's U and I are their sums."""

    def margin(self, settings: StrictModel) -> float:
        """The margin, in the unit of the score."""
        return float(getattr(settings, self.key)) / self.unit


def sum_before(values: Floats | Bools) -> Floats:
    """Sum over the rows strictly before each row, along the last axis; a row's own value leaves no rounding in it."""
    result = np.zeros(values.shape)
    np.cumsum(values[..., :-1], axis=-1, out=result[..., 1:])
    return result
