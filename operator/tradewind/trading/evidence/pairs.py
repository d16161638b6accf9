"""The paired score: a predictor of what each arm would have had sharpens the comparison, whatever it is worth.

Belongs here: outcomes and predictors to scores. Does not belong here: what outcome and predictor of a metric are (metrics/),
and which rows have a predictor (blocks.py).

An augmented inverse-probability-weighted score (Robins, Rotnitzky and Zhao 1994) on a sequence of decisions: q_a is what arm
a is expected to earn here, from earlier rows only, so E[u | past] = k (x_1 - x_0) however wrong q is; a good q makes u small.
k weighs a row by what it can tell, from earlier rows alone.
"""

from dataclasses import dataclass

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Pairing
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.scale import sum_before

_SLOPE_MOST = 1.5
_PRIOR = 50.0  # rows that the prior of a slope and of a level counts as
_LEVEL_PRIOR = 20.0
_SPREAD_PRIOR, _SPREAD_LEAST = 10.0, 0.05
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Slopes:
    """How far an outcome follows its predictor, at every row; b of baseline and candidate, shape (..., rows)."""

    baseline: Floats
    candidate: Floats


@dataclass(frozen=True, eq=False)
class PairedScore:
    """Scores and infos of the rows, shape (..., rows), and the slopes that they rest on."""

    score: Floats
    info: Floats
    slopes: Slopes


def paired_score(
    candidate: Bools,
    weight: Floats,
    outcome: Floats,
    predictors: tuple[Floats, Floats],
    paired: Bools,
    calibration: Bools,
    pairing: Pairing,
) -> PairedScore:
    """Scores of rows in time order; the first block gives first spreads and carries no evidence of its own.

    Args:
        candidate: the drawn arm is the candidate, shape (..., rows), as all arrays here.
        weight: probability of the candidate at this draw.
        outcome: y, what the drawn arm had.
        predictors: f of baseline and candidate; read where `paired`.
        paired: the row has a predictor.
        calibration: rows of the first block that has rows.
        pairing: how slopes and spreads are shared between the arms.
    """
    f = [np.where(paired, predictor, 0.0) for predictor in predictors]
    own = paired & ~candidate, paired & candidate
    x = np.where(candidate, f[1], f[0])
    slopes = _slopes(x, outcome, own, paired & calibration, pairing)
    b = slopes.baseline, slopes.candidate

    rest = np.where(paired, outcome - np.where(candidate, b[1], b[0]) * x, 0.0)
    counts = [sum_before(arm) for arm in own]
    level = sum_before(rest) / (counts[0] + counts[1] + _LEVEL_PRIOR)
    q = [
        (sum_before(rest * arm) + _PRIOR * level) / (count + _PRIOR) + slope * predictor
        for arm, count, slope, predictor in zip(own, counts, b, f, strict=True)
    ]
    alone = outcome - sum_before(outcome) / (np.arange(outcome.shape[-1]) + _LEVEL_PRIOR)
    error = np.where(paired, outcome - np.where(candidate, q[1], q[0]), alone)
    difference = np.where(paired, q[1] - q[0], 0.0)

    chance = weight * (1.0 - weight)
    if pairing is Pairing.BOTH:
        noise = _spread(error, paired, calibration) / chance
    else:
        noise = _spread(error, own[1], calibration) / weight + _spread(error, own[0], calibration) / (1.0 - weight)
    noise += _spread(difference, paired, calibration)
    unpaired = _spread(alone, np.ones_like(paired), calibration) / chance
    info = np.where(calibration, 0.0, 1.0 / np.where(paired, noise, unpaired))
    return PairedScore(info * ((candidate - weight) / chance * error + difference), info, slopes)


def _slopes(x: Floats, outcome: Floats, own: tuple[Bools, Bools], first: Bools, pairing: Pairing) -> Slopes:
    """Regression of outcome on predictor over earlier rows, shrunk by a prior of 50 rows of the first block's size."""
    mean = np.sum(np.where(first, x * x, 0.0), axis=-1, keepdims=True)
    prior = _PRIOR * mean / np.maximum(np.sum(first, axis=-1, keepdims=True), 1)
    (xx0, xy0), (xx1, xy1) = (_centred(x, outcome, arm) for arm in own)
    match pairing:
        case Pairing.BOTH:  # one rule settles both papers: one slope, and 1 is the best guess
            shared = np.clip((xy0 + xy1 + prior) / (xx0 + xx1 + prior + _TINY), 0.0, _SLOPE_MOST)
            return Slopes(shared, shared)
        case Pairing.CANDIDATE:  # the candidate's paper says nothing certain of the baseline's trade
            return Slopes(
                np.clip(xy0 / (xx0 + prior + _TINY), -_SLOPE_MOST, _SLOPE_MOST),
                np.clip((xy1 + prior) / (xx1 + prior + _TINY), 0.0, _SLOPE_MOST),
            )
        case _:  # either arm may be with or against the market; they start from what both have in common
            common = (xy0 + xy1) / (xx0 + xx1 + prior + _TINY)
            return Slopes(
                np.clip((xy0 + prior * common) / (xx0 + prior + _TINY), -_SLOPE_MOST, _SLOPE_MOST),
                np.clip((xy1 + prior * common) / (xx1 + prior + _TINY), -_SLOPE_MOST, _SLOPE_MOST),
            )


def _centred(x: Floats, outcome: Floats, rows: Bools) -> tuple[Floats, Floats]:
    """Centred sums of squares and of products over the earlier ones of the rows."""
    count = np.maximum(sum_before(rows), 1.0)
    kept = np.where(rows, x, 0.0)
    sums, outcomes = sum_before(kept), sum_before(np.where(rows, outcome, 0.0))
    return sum_before(kept * kept) - sums * sums / count, sum_before(kept * outcome) - sums * outcomes / count


def _spread(values: Floats, rows: Bools, calibration: Bools) -> Floats:
    """Mean square over the earlier ones of the rows, with 10 rows of the first block's as prior, at least 0.05."""
    square = np.where(rows, values * values, 0.0)
    first = rows & calibration
    start = np.sum(np.where(first, square, 0.0), axis=-1, keepdims=True)
    start = np.maximum(start / np.maximum(np.sum(first, axis=-1, keepdims=True), 1), _SPREAD_LEAST)
    result: Floats = (sum_before(square) + _SPREAD_PRIOR * start) / (sum_before(rows) + _SPREAD_PRIOR)
    return result
