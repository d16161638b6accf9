"""What a metric is: what a row had, what may tell it beforehand, the margin that is still not worse, and the words for it.

Belongs here: the interface and the scores that follow from it. Does not belong here: any one metric, and what its evidence
leads to (evaluate.py).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Final

import numpy as np

from tradewind.schema.rules import StrictModel
from tradewind.trading.evidence.blocks import Bools, Pairing, SettledRows
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.pairs import PairedScore, paired_score
from tradewind.trading.evidence.running import Running
from tradewind.trading.evidence.scale import ANYTIME, ROBUST, ScaleRule, arm_scales, symbol_scale

DEFAULT_MARGIN: Final = {"superior": 0.05, "notInferior": 0.075}
"""How much worse a metric may be where no margin is given, by objective, in the unit that users read."""

_MARKET_CLIP = 8.0
_MARKET_PRIOR = 10.0


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Rows to be scored, in time order along the last axis; all of one shape (..., rows).

    Leading axes are simulated experiments, so that a simulation scores all its runs at once.

    Attributes:
        candidate: the drawn arm is the candidate.
        weight: probability of the candidate at this draw.
        ret: return of the drawn arm; nan where the row was settled by force.
        win: 1, 0, or 0.5 where nothing was opened.
        calibration: True on the rows of the first block, which give first scales; shape (rows,) or (..., rows).
        scale_rule: what an odd return counts in the scale.
        pairing: what a pair is.
        papers: returns on paper of baseline and candidate; read where `paired`.
        market: the market's move; read where `paired`.
        paired: the row has what the pairing needs; None: no row has.
        running: sums of the rows before these.
    """

    candidate: Bools
    weight: Floats
    ret: Floats
    win: Floats
    calibration: Bools
    scale_rule: ScaleRule = ROBUST
    pairing: Pairing = Pairing.UNPAIRED
    papers: tuple[Floats, Floats] | None = None
    market: Floats | None = None
    paired: Bools | None = None
    running: Running = field(default_factory=Running)

    @classmethod
    def complete(
        cls,
        rows: SettledRows,
        scale_rule: ScaleRule = ROBUST,
        pairing: Pairing = Pairing.UNPAIRED,
        *,
        by_symbol: bool = False,
        since: int = 0,
        running: Running | None = None,
    ) -> "ScoredRows":
        """The rows of complete blocks.

        Args:
            rows: settled rows.
            scale_rule: what an odd return counts in the scale.
            pairing: what the rows were settled with.
            by_symbol: returns are divided by their symbol's scale first.
            since: number of leading rows whose sums are in `running`.
            running: sums of these rows.
        """
        part, running = slice(since, rows.complete), running or Running()
        ret = rows.ret[part]
        first = calibrating(rows, scale_rule)[part]
        unit = symbol_scale(rows.symbol[part], ret, first, running) if by_symbol else 1.0
        scored = cls(
            rows.candidate[part],
            rows.weight[part],
            ret / unit,
            rows.win[part],
            first,
            scale_rule,
            running=running,
        )
        if pairing is Pairing.UNPAIRED:
            return scored
        return replace(
            scored,
            pairing=pairing,
            papers=(rows.paper_baseline[part] / unit, rows.paper_candidate[part] / unit),
            market=rows.market[part] / unit,
            paired=rows.paired[part],
        )

    @cached_property
    def scales(self) -> tuple[Floats, Floats]:
        """Scale of the returns of each arm at every row, baseline first."""
        return arm_scales(self.candidate, self.ret, self.calibration, self.scale_rule, self.running)

    def own(self, arms: tuple[Floats, Floats]) -> Floats:
        """Of what each arm has, baseline first, that of the drawn one."""
        result: Floats = np.where(self.candidate, arms[1], arms[0])
        return result

    @cached_property
    def market_scores(self) -> Floats:
        """The market's move in units of what it moves by, from the rows before, at most 8."""
        assert self.market is not None
        assert self.paired is not None
        square = np.where(self.paired, self.market, 0.0) ** 2
        first = self.paired & self.calibration
        start = self.running.once(
            "market.start",
            lambda: (
                np.sum(square * first, axis=-1, keepdims=True) / np.maximum(np.sum(first, axis=-1, keepdims=True), 1)
            ),
        )
        before = self.running.before
        mean = (before("market.squares", square) + _MARKET_PRIOR * start) / (
            before("market.counts", self.paired) + _MARKET_PRIOR
        )
        move = np.where(self.paired, self.market, 0.0) / np.maximum(np.sqrt(mean), 1e-6)
        result: Floats = np.clip(move, -_MARKET_CLIP, _MARKET_CLIP)
        return result


def calibrating(rows: SettledRows, scale_rule: ScaleRule) -> Bools:
    """The rows of complete blocks that calibrate: up to the end of the first block with a trade, for nothing before it tells
    how large a return is.
    """
    block, trade = rows.block[: rows.complete], rows.trade[: rows.complete]
    if not len(block):
        return np.zeros(0, dtype=np.bool_)
    until = block[0]
    if scale_rule is not ANYTIME:
        until = block[int(np.argmax(trade))] if trade.any() else block[-1]
    result: Bools = block <= until
    return result


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
        """Scores and infos of the rows without their pairs, shapes as theirs: a block's U and I are their sums."""

    @abstractmethod
    def outcome(self, rows: ScoredRows) -> Floats:
        """What each row's drawn arm had, in the unit of the score."""

    @abstractmethod
    def on_paper(self, rows: ScoredRows, arm: int, paper: Floats) -> Floats:
        """What an arm (0 baseline, 1 candidate) would have had with these returns, in the unit of the score."""

    @abstractmethod
    def show(self, number: float) -> str:
        """A difference, with its sign, as a person reads it."""

    def paired(self, rows: ScoredRows) -> PairedScore:
        """Scores and infos of rows that have pairs."""
        assert rows.papers is not None
        assert rows.paired is not None
        match rows.pairing:
            case Pairing.MARKET:
                predictors = rows.market_scores, rows.market_scores
            case Pairing.CANDIDATE:
                one = self.on_paper(rows, 1, rows.papers[1])
                predictors = one, one
            case _:
                predictors = self.on_paper(rows, 0, rows.papers[0]), self.on_paper(rows, 1, rows.papers[1])
        return paired_score(
            rows.candidate,
            rows.weight,
            self.outcome(rows),
            predictors,
            rows.paired,
            rows.calibration,
            rows.pairing,
            rows.running,
            self.name,
        )

    def margin(self, settings: StrictModel, objective: str) -> float:
        """The margin, in the unit of the score."""
        given = getattr(settings, self.key)
        return (DEFAULT_MARGIN[objective] if given is None else float(given)) / self.unit
