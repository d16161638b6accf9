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
from tradewind.trading.evidence.running import Running

_SLOPE_MOST = 1.5
_PRIOR = 50.0  # rows that the prior of a slope and of a level counts as
_LEVEL_PRIOR = 20.0
_SPREAD_PRIOR, _SPREAD_LEAST = 10.0, 0.05
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Slopes:
    """How far an outcome follows its predictor, at every row, from the rows before; all of shape (..., rows).

    Attributes:
        baseline, candidate: b.
        explained: share of the outcome's variance that the predictors explain; nan where nothing varies.
        count: rows that the share is of.
    """

    baseline: Floats
    candidate: Floats
    explained: Floats
    count: Floats


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
    running: Running | None = None,
    name: str = "",
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
        running: sums of the rows before these; None: these are the first.
        name: what the sums are of.
    """
    before = _Sums(running or Running(), f"pairs.{name}")
    f = [np.where(paired, predictor, 0.0) for predictor in predictors]
    own = paired & ~candidate, paired & candidate
    x = np.where(candidate, f[1], f[0])
    slopes = _slopes(x, outcome, own, paired & calibration, pairing, before)
    b = slopes.baseline, slopes.candidate

    rest = np.where(paired, outcome - np.where(candidate, b[1], b[0]) * x, 0.0)
    counts = [before(f"own.{arm}", rows) for arm, rows in enumerate(own)]
    level = before("rest", rest) / (counts[0] + counts[1] + _LEVEL_PRIOR)
    q = [
        (before(f"rest.{arm}", rest * own[arm]) + _PRIOR * level) / (counts[arm] + _PRIOR) + b[arm] * f[arm]
        for arm in (0, 1)
    ]
    every = np.ones_like(paired)
    alone = outcome - before("outcome", outcome) / (before("rows", every) + _LEVEL_PRIOR)
    error = np.where(paired, outcome - np.where(candidate, q[1], q[0]), alone)
    difference = np.where(paired, q[1] - q[0], 0.0)

    chance = weight * (1.0 - weight)
    if pairing is Pairing.BOTH:
        noise = _spread("error", error, paired, calibration, before) / chance
    else:
        noise = _spread("error.1", error, own[1], calibration, before) / weight
        noise += _spread("error.0", error, own[0], calibration, before) / (1.0 - weight)
    noise += _spread("difference", difference, paired, calibration, before)
    unpaired = _spread("alone", alone, every, calibration, before) / chance
    info = np.where(calibration, 0.0, 1.0 / np.where(paired, noise, unpaired))
    return PairedScore(info * ((candidate - weight) / chance * error + difference), info, slopes)


class _Sums:
    """Running sums under one name."""

    def __init__(self, running: Running, name: str) -> None:
        self.running, self.name = running, name

    def __call__(self, what: str, values: Floats | Bools) -> Floats:
        return self.running.before(f"{self.name}.{what}", values)

    def first_mean(self, what: str, square: Floats, rows: Bools) -> Floats:
        """Mean over rows of the first block, fixed with it; 0 without rows; shape (..., 1)."""

        def mean() -> Floats:
            total = np.sum(np.where(rows, square, 0.0), axis=-1, keepdims=True)
            result: Floats = total / np.maximum(np.sum(rows, axis=-1, keepdims=True), 1)
            return result

        return self.running.once(f"{self.name}.{what}.first", mean)


def _slopes(
    x: Floats, outcome: Floats, own: tuple[Bools, Bools], first: Bools, pairing: Pairing, before: _Sums
) -> Slopes:
    """Regression of outcome on predictor over earlier rows, shrunk by a prior of 50 rows of the first block's size."""
    prior = _PRIOR * before.first_mean("x", x * x, first)
    arms = [_centred(arm, x, outcome, rows, before) for arm, rows in enumerate(own)]
    (n0, xx0, xy0, yy0), (n1, xx1, xy1, yy1) = arms

    def slopes(baseline: Floats, candidate: Floats, explained: Floats) -> Slopes:
        with np.errstate(divide="ignore", invalid="ignore"):
            share = explained / (yy0 + yy1)
        return Slopes(baseline, candidate, np.where(yy0 + yy1 > _TINY, share, np.nan), n0 + n1)

    match pairing:
        case Pairing.BOTH:  # one rule settles both papers: one slope, and 1 is the best guess
            shared = np.clip((xy0 + xy1 + prior) / (xx0 + xx1 + prior + _TINY), 0.0, _SLOPE_MOST)
            return slopes(shared, shared, np.maximum(xy0 + xy1, 0.0) ** 2 / (xx0 + xx1 + _TINY))
        case Pairing.CANDIDATE:  # the candidate's paper says nothing certain of the baseline's trade
            return slopes(
                np.clip(xy0 / (xx0 + prior + _TINY), -_SLOPE_MOST, _SLOPE_MOST),
                np.clip((xy1 + prior) / (xx1 + prior + _TINY), 0.0, _SLOPE_MOST),
                xy0**2 / (xx0 + _TINY) + np.maximum(xy1, 0.0) ** 2 / (xx1 + _TINY),
            )
        case _:  # either arm may be with or against the market; they start from what both have in common
            common = (xy0 + xy1) / (xx0 + xx1 + prior + _TINY)
            return slopes(
                np.clip((xy0 + prior * common) / (xx0 + prior + _TINY), -_SLOPE_MOST, _SLOPE_MOST),
                np.clip((xy1 + prior * common) / (xx1 + prior + _TINY), -_SLOPE_MOST, _SLOPE_MOST),
                xy0**2 / (xx0 + _TINY) + xy1**2 / (xx1 + _TINY),
            )


def _centred(arm: int, x: Floats, outcome: Floats, rows: Bools, before: _Sums) -> tuple[Floats, Floats, Floats, Floats]:
    """Number of the earlier ones of the arm's rows, and centred sums over them: x squared, x times y, y squared."""
    number = before(f"n.{arm}", rows)
    count = np.maximum(number, 1.0)
    kept, had = np.where(rows, x, 0.0), np.where(rows, outcome, 0.0)
    sums, outcomes = before(f"x.{arm}", kept), before(f"y.{arm}", had)
    squares, products = before(f"xx.{arm}", kept * kept), before(f"xy.{arm}", kept * outcome)
    return (
        number,
        squares - sums * sums / count,
        products - sums * outcomes / count,
        before(f"yy.{arm}", had * had) - outcomes * outcomes / count,
    )


def _spread(what: str, values: Floats, rows: Bools, calibration: Bools, before: _Sums) -> Floats:
    """Mean square over the earlier ones of the rows, with 10 rows of the first block's as prior, at least 0.05."""
    square = np.where(rows, values * values, 0.0)
    start = np.maximum(before.first_mean(what, square, rows & calibration), _SPREAD_LEAST)
    squares, counts = before(f"{what}.squares", square), before(f"{what}.counts", rows)
    result: Floats = (squares + _SPREAD_PRIOR * start) / (counts + _SPREAD_PRIOR)
    return result
