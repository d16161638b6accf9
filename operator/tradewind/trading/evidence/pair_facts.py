"""What the pairs say and what they were worth, for people: no verdict rests on it.

Belongs here: numbers about pairs. Does not belong here: the score (pairs.py), and sentences (verdict.py).
"""

import math
from dataclasses import dataclass

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Pairing, SettledRows
from tradewind.trading.evidence.confidence import Floats

_FEWEST = 3


@dataclass(frozen=True)
class PairFacts:
    """What the pairs of complete blocks say; nan where there is nothing to say it of.

    Attributes:
        pairs: rows that have what the pairing needs.
        share_without: share of the rows that have not.
        alike: share of the rows with both papers whose papers went the same way: both gained, both lost, or both 0.
        slope: b of baseline and candidate at the last row: what the outcome changes by where the predictor changes by 1.
        correlation: of the real return of a trade with its own arm's paper.
        unpaired_days: days that would have told as much without pairs; inf where they would have told nothing.
    """

    pairs: int
    share_without: float
    alike: float
    slope: tuple[float, float]
    correlation: float
    unpaired_days: float


@dataclass(frozen=True, eq=False)
class PaperTrades:
    """Trades of complete blocks whose own paper is known, in the order of their decisions; all of shape (trades,).

    Attributes:
        candidate: the drawn arm is the candidate.
        paper: what its answer earned on paper, return on notional.
        real: what the trade earned, as the evidence counts it.
    """

    candidate: Bools
    paper: Floats
    real: Floats

    @property
    def correlation(self) -> float:
        """Of real returns with papers; nan where there is none."""
        return _correlation(self.paper, self.real)

    def line(self, *, candidate: bool) -> tuple[float, float]:
        """Height at paper 0 and slope of the least-squares line through an arm's trades; nan where there is none."""
        mine = self.candidate == candidate
        paper, real = self.paper[mine], self.real[mine]
        if len(paper) < _FEWEST or not np.ptp(paper) > 0.0:  # equal papers have no slope, whatever rounding says
            return math.nan, math.nan
        with np.errstate(over="ignore", invalid="ignore"):
            away = paper - np.mean(paper)
            squares = float(away @ away)
            slope = float(away @ real) / squares if squares > 0.0 else math.nan
            height = float(np.mean(real) - slope * np.mean(paper))
        return (height, slope) if math.isfinite(height) and math.isfinite(slope) else (math.nan, math.nan)


def paper_trades(rows: SettledRows) -> PaperTrades:
    """Paper and real return of each trade that has both."""
    part = slice(0, rows.complete)
    candidate = rows.candidate[part]
    own = np.where(candidate, rows.paper_candidate[part], rows.paper_baseline[part])
    known = rows.trade[part] & np.isfinite(own)
    return PaperTrades(candidate[known], own[known], rows.ret[part][known])


def pair_facts(
    rows: SettledRows, pairing: Pairing, slope: tuple[float, float], days: float, gain: float
) -> PairFacts | None:
    """What the pairs say; None where there is no pairing.

    Args:
        rows: settled rows.
        pairing: what they were settled with.
        slope: b of both arms at the last row.
        days: length of the complete blocks.
        gain: variance of the difference without pairs over that with them.
    """
    if pairing is Pairing.UNPAIRED:
        return None
    part = slice(0, rows.complete)
    paired, papers = rows.paired[part], (rows.paper_baseline[part], rows.paper_candidate[part])
    both = np.isfinite(papers[0]) & np.isfinite(papers[1])
    return PairFacts(
        pairs=int(np.count_nonzero(paired)),
        share_without=1.0 - float(np.mean(paired)) if len(paired) else math.nan,
        alike=float(np.mean(np.sign(papers[0][both]) == np.sign(papers[1][both]))) if both.any() else math.nan,
        slope=slope,
        correlation=paper_trades(rows).correlation,
        unpaired_days=days * gain,
    )


def _correlation(a: Floats, b: Floats) -> float:
    if len(a) < _FEWEST or not (np.ptp(a) > 0.0 and np.ptp(b) > 0.0):
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
