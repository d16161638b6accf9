"""May pairs be used: failures of an arm must not depend on whether it was drawn, and papers must say something.

Belongs here: the tests for that. Does not belong here: what is done without pairs (sums.py, evaluate.py).

A shadow that fails or is late more often than the same arm does when it is drawn is another system than the one that trades.
Its papers are then missing, or stand for another answer, where the market is of one kind, and equal arms get promoted.

A paper that says nothing costs days: until slopes are learnt it adds its own noise. So before the first look that may decide,
once, the pairs are judged by what they explain. Neither test looks at which arm is better.
"""

from dataclasses import dataclass

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Ints, Pairing
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.running import Running

LEAST_EXPLAINED = 0.04
"""Share of the outcomes' variance: below it pairs save less than what learning from them costs."""
MIN_EXPLAINED = 50
"""Rows with a pair that the share is judged on."""

LIMIT = 3.29
"""Standard deviations: two-sided 0.001."""
MIN_FAILURES = 10


@dataclass(frozen=True, eq=False)
class SetAside:
    """Looks from which on pairs must not be used; the number of blocks: never. Shapes (...).

    Attributes:
        dependent: the failures of an arm depend on the draw.
        uninformative: papers say nothing of what trades earn.
    """

    dependent: Ints
    uninformative: Ints

    @property
    def since(self) -> Ints:
        """For either reason."""
        return np.minimum(self.dependent, self.uninformative)


def first_uninformative(
    explained: Floats, count: Floats, block: Ints, look: int, running: Running | None = None
) -> Ints:
    """Number of the row before which papers are seen to say nothing; the number of rows: at none. Shape (...) for rows of
    shape (..., rows).

    It is judged once: at the first row of block `look` or later that has enough rows before it.

    Args:
        explained: share of the outcomes' variance that predictors explain over the rows before; nan: nothing varies.
        count: rows with a pair before.
        block: of each row, shape (rows,) or (..., rows).
        look: number of the first look that may decide.
        running: sums of the rows before these; None: these are the first.
    """
    ready = (block >= look) & (count >= MIN_EXPLAINED)
    found = ready & ((running or Running()).before("papers.judged", ready) == 0.0) & (explained < LEAST_EXPLAINED)
    rows = ready.shape[-1]
    return np.where(found.any(axis=-1), found.argmax(axis=-1) if rows else 0, rows)


def first_incomparable(
    candidate: Bools,
    weight: Floats,
    failed: tuple[Bools, Bools],
    pairing: Pairing,
    shadow_share: float,
    running: Running | None = None,
) -> Ints:
    """Number of the first row, in time order, at which the failures of an arm are seen to depend on the draw; the number of
    rows: at none. Shape (...) for rows of shape (..., rows).

    Args:
        candidate: the drawn arm is the candidate.
        weight: probability of the candidate at this draw.
        failed: baseline and candidate were asked and failed or were late, drawn or as shadow.
        pairing: which arms are asked as shadows at all.
        shadow_share: share of the decisions that a shadow is asked for.
        running: sums of the rows before these; None: these are the first.
    """
    running = running or Running()
    rows = candidate.shape[-1]
    seen = np.zeros(candidate.shape, dtype=np.bool_)
    if pairing in (Pairing.BOTH, Pairing.CANDIDATE):
        seen |= _dependent("candidate", candidate, weight, failed[1], shadow_share, running)
    if pairing is Pairing.BOTH:  # else the baseline is never a shadow, and all its failures are its own
        seen |= _dependent("baseline", ~candidate, 1.0 - weight, failed[0], shadow_share, running)
    return np.where(seen.any(axis=-1), seen.argmax(axis=-1) if rows else 0, rows)


def _dependent(arm: str, own: Bools, drawn: Floats, failed: Bools, shadow_share: float, running: Running) -> Bools:
    """Whether, after each row, the arm was drawn in more or fewer of its failures than the draws say."""
    expected = drawn / (drawn + (1.0 - drawn) * shadow_share)  # it is asked only so often when it is not drawn
    excess = np.where(failed, own - expected, 0.0)
    variance = np.where(failed, expected * (1.0 - expected), 0.0)
    number, total, spread = (
        running.before(f"failures.{arm}.{what}", values) + values
        for what, values in (("number", failed), ("excess", excess), ("variance", variance))
    )
    spread = np.sqrt(spread)
    enough = (number >= MIN_FAILURES) & (spread > 0.0)
    return enough & (np.abs(total) >= LIMIT * np.where(spread > 0.0, spread, np.inf))
