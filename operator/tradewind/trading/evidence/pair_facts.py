"""What the pairs say and what they were worth, for people: no verdict rests on it.

Belongs here: numbers about pairs. Does not belong here: the score (pairs.py), and sentences (verdict.py).
"""

import math
from dataclasses import dataclass

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Pairing, SettledRows
from tradewind.trading.evidence.confidence import Floats


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
    own = np.where(rows.candidate[part], papers[1], papers[0])
    traded = rows.trade[part] & np.isfinite(own)
    return PairFacts(
        pairs=int(np.count_nonzero(paired)),
        share_without=1.0 - float(np.mean(paired)) if len(paired) else math.nan,
        alike=float(np.mean(np.sign(papers[0][both]) == np.sign(papers[1][both]))) if both.any() else math.nan,
        slope=slope,
        correlation=_correlation(rows.ret[part], own, traded),
        unpaired_days=days * gain,
    )


def _correlation(a: Floats, b: Floats, rows: Bools) -> float:
    if np.count_nonzero(rows) < 3 or not (np.ptp(a[rows]) > 0.0 and np.ptp(b[rows]) > 0.0):
        return math.nan
    return float(np.corrcoef(a[rows], b[rows])[0, 1])
