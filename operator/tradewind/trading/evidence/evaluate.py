"""The statistical decision: every block end of the past is looked at again, from the rows alone.

Belongs here: block sums to looks, looks to the first decision, and what is shown of them. Does not belong here:
guardrails, minimum duration and exposure, which the operator adds (verdict.py).
"""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from tradewind.trading.evidence.blocks import (
    Bools,
    Ints,
    SettledRows,
    block_sums,
    settle,
    sharpe_scores,
    win_scores,
)
from tradewind.trading.evidence.confidence import RHO_ROLLBACK, Floats, interval, log_e, log_e_path
from tradewind.trading.evidence.guardrails import GuardrailResult, fast_harm
from tradewind.trading.evidence.spec import EvidenceSpec, Metric
from tradewind.trading.evidence.table import TradeTable, from_us, to_us

FORCED_SHARE_LIMIT = 0.01
"""Share of rows settled by force, in either arm, above which max_hold is too short for a decision."""


class Verdict(StrEnum):
    """What an experiment leads to; one vocabulary for the statistical decision and the operator's verdict."""

    CONTINUE = "continue"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class ArmCounts:
    """Rows of one arm.

    Attributes:
        decisions: rows in complete blocks.
        trades: of these, closed in time.
        forced: of these, settled by max_hold.
        pending: open rows that are younger than max_hold, in any block.
    """

    decisions: int
    trades: int
    forced: int
    pending: int

    @property
    def forced_share(self) -> float:
        """Share of the rows that were settled by max_hold; 0 without rows."""
        return self.forced / self.decisions if self.decisions else 0.0


@dataclass(frozen=True)
class MetricEvidence:
    """Evidence on one metric over all complete blocks, in the unit that users read.

    Attributes:
        estimate: difference, candidate minus baseline: a probability (win rate) or a per-decision Sharpe; nan: none.
        lower: bound at the promotion level, -inf: none yet.
        upper: its mirror, inf: none yet.
        log_e_better: logarithm of the evidence that the candidate is better.
        log_e_worse: logarithm of the evidence that it is worse.
        score: S, the sum of the block sums.
        variance: V, the sum of their squares.
    """

    estimate: float
    lower: float
    upper: float
    log_e_better: float
    log_e_worse: float
    score: float
    variance: float


@dataclass(frozen=True, eq=False)
class Looks:
    """Every look, one at each block end; all arrays have shape (..., looks).

    Attributes:
        better: logarithm of the evidence that the primary metric is better.
        not_worse: the same that the other metric is not worse by the margin.
        worse: the same that the primary metric is worse.
        ready: enough blocks and rows for a decision.
        held: too many rows were settled by force for a decision.
        superior: "better" has been shown at this look or before.
        not_inferior: "not worse" has been shown at this look or before.
        promote: promotion is called at this look (and, unless held, at every later one).
        rollback: statistical rollback is called at this look.
    """

    better: Floats
    not_worse: Floats
    worse: Floats
    ready: Bools
    held: Bools
    superior: Bools
    not_inferior: Bools
    promote: Bools
    rollback: Bools


@dataclass(frozen=True, eq=False)
class Evidence:
    """The statistical state of an experiment at an instant.

    Attributes:
        decision: first decision of any look; final.
        block: number of the block at whose end it fell, from 0; None while there is none or it is inconclusive.
        blocks: nb, number of complete blocks.
        watermark: end of the last complete block; rows decided later are no evidence yet.
        baseline: rows of the baseline.
        candidate: rows of the candidate.
        sharpe: evidence on the per-decision Sharpe.
        win_rate: evidence on the win rate.
        primary: the metric that decides.
        threshold_promote: ln(1/alpha) of this test.
        threshold_rollback: ln(1/alpha_rollback).
        max_hold_too_short: more than 1 % of an arm's rows were settled by force.
        fast_harm: the fast-harm watch over the settled prefix.
        looks: every look up to max_duration.
        refused: closed rows left out because their notional is not positive.
        unrandomised: rows left out because their weight was 0 or 1.
        before_start: rows left out because they were decided before t0.
    """

    decision: Verdict
    block: int | None
    blocks: int
    watermark: datetime
    baseline: ArmCounts
    candidate: ArmCounts
    sharpe: MetricEvidence
    win_rate: MetricEvidence
    primary: Metric
    threshold_promote: float
    threshold_rollback: float
    max_hold_too_short: bool
    fast_harm: GuardrailResult
    looks: Looks
    refused: int
    unrandomised: int
    before_start: int

    @property
    def log_e_not_inferior(self) -> float:
        """Logarithm of the evidence, at the last look, that the other metric is not worse by the margin."""
        return float(self.looks.not_worse[-1]) if len(self.looks.not_worse) else 0.0

    @property
    def superior(self) -> bool:
        """Whether "better" has been shown at some look."""
        return bool(self.looks.superior.any())

    @property
    def not_inferior(self) -> bool:
        """Whether "not worse" has been shown at some look."""
        return bool(self.looks.not_inferior.any())

    @property
    def pending(self) -> int:
        """Open rows that are younger than max_hold."""
        return self.baseline.pending + self.candidate.pending


def evaluate(table: TradeTable, t0: datetime, now: datetime, spec: EvidenceSpec) -> Evidence:
    """Statistical decision at `now`, from the rows known at `now`.

    The order of the rows does not matter, and a later evaluation finds the same decision at the same block.

    Args:
        table: the trade table.
        t0: start of the experiment, with a time zone.
        now: instant of the evaluation, with a time zone.
        spec: levels, margins and durations.

    Raises:
        ValueError: t0 or now has no time zone, or now is before t0.
    """
    t0_us, now_us = to_us(t0, "t0"), to_us(now, "now")
    if now_us < t0_us:
        raise ValueError(f"now: {now.isoformat()} is before t0 {t0.isoformat()}; give a time after the start")
    rows = settle(table, t0_us, now_us, spec)
    sums = MetricSums.of(rows)
    looks = look_back(sums, spec)
    decision, block = _first_decision(looks, rows.blocks, spec)
    baseline, candidate = _count(rows, ~rows.candidate), _count(rows, rows.candidate)
    alpha = spec.effective_alpha()
    return Evidence(
        decision=decision,
        block=block,
        blocks=rows.blocks,
        watermark=from_us(t0_us + rows.blocks * spec.block_us),
        baseline=baseline,
        candidate=candidate,
        sharpe=_metric(sums.sharpe, sums.sharpe_info, alpha, 1.0),
        win_rate=_metric(sums.win, sums.win_info, alpha, 0.5),
        primary=spec.primary,
        threshold_promote=math.log(1.0 / alpha),
        threshold_rollback=math.log(1.0 / spec.alpha_rollback),
        max_hold_too_short=max(baseline.forced_share, candidate.forced_share) > FORCED_SHARE_LIMIT,
        fast_harm=fast_harm(rows, spec.guardrails.fast_harm_margin),
        looks=looks,
        refused=rows.refused,
        unrandomised=rows.unrandomised,
        before_start=rows.before_start,
    )


@dataclass(frozen=True, eq=False)
class MetricSums:
    """Sums of each block, all of shape (..., blocks).

    Attributes:
        sharpe: U of the per-decision Sharpe.
        sharpe_info: its I.
        win: U of the win rate, in units of twice a probability.
        win_info: its I.
        rows: decisions of baseline and candidate.
        forced: of these, settled by force.
    """

    sharpe: Floats
    sharpe_info: Floats
    win: Floats
    win_info: Floats
    rows: tuple[Floats, Floats]
    forced: tuple[Floats, Floats]

    @classmethod
    def of(cls, rows: SettledRows) -> "MetricSums":
        """Block sums of settled rows; only complete blocks enter."""
        part = slice(0, rows.complete)
        candidate, weight, block = rows.candidate[part], rows.weight[part], rows.block[part]
        calibration = block == block[0] if len(block) else np.zeros(0, dtype=np.bool_)
        sharpe, sharpe_info = sharpe_scores(candidate, weight, rows.ret[part], calibration)
        win, win_info = win_scores(candidate, weight, rows.win[part])

        def by_block(values: Floats | Bools) -> Floats:
            return block_sums(block, values.astype(np.float64, copy=False), rows.blocks)

        forced = rows.forced[part]
        return cls(
            sharpe=by_block(sharpe),
            sharpe_info=by_block(sharpe_info),
            win=by_block(win),
            win_info=by_block(win_info),
            rows=(by_block(~candidate), by_block(candidate)),
            forced=(by_block(forced & ~candidate), by_block(forced & candidate)),
        )


def look_back(sums: MetricSums, spec: EvidenceSpec) -> Looks:
    """All looks within max_duration.

    Superiority and "not worse" latch, each at the look where its evidence suffices, but only at looks that may decide:
    ready, and not held because max_hold is too short.
    """
    count = min(sums.sharpe.shape[-1], spec.max_blocks)
    part = (..., slice(0, count))
    if spec.primary is Metric.SHARPE:
        primary, other, other_info, null = sums.sharpe, sums.win, sums.win_info, -2.0 * spec.margin_win_rate
    else:
        primary, other, other_info, null = sums.win, sums.sharpe, sums.sharpe_info, -spec.margin_sharpe
    shifted = other[part] - null * other_info[part]
    score, variance = np.cumsum(primary[part], axis=-1), np.cumsum(primary[part] ** 2, axis=-1)
    better = log_e_path(score, variance)
    not_worse = log_e_path(np.cumsum(shifted, axis=-1), np.cumsum(shifted**2, axis=-1))
    worse = log_e_path(-score, variance, RHO_ROLLBACK)

    rows = [np.cumsum(arm[part], axis=-1) for arm in sums.rows]
    forced = [np.cumsum(arm[part], axis=-1) for arm in sums.forced]
    enough = np.minimum(rows[0], rows[1]) >= spec.min_trades_per_arm
    ready = enough & (np.arange(1, count + 1) >= spec.min_blocks)
    held = (forced[0] > FORCED_SHARE_LIMIT * rows[0]) | (forced[1] > FORCED_SHARE_LIMIT * rows[1])
    may = ready & ~held
    threshold = math.log(1.0 / spec.effective_alpha())
    superior = np.logical_or.accumulate(may & (better >= threshold), axis=-1)
    not_inferior = np.logical_or.accumulate(may & (not_worse >= threshold), axis=-1)
    return Looks(
        better=better,
        not_worse=not_worse,
        worse=worse,
        ready=ready,
        held=held,
        superior=superior,
        not_inferior=not_inferior,
        promote=may & superior & not_inferior,
        rollback=may & (worse >= math.log(1.0 / spec.alpha_rollback)),
    )


def _first_decision(looks: Looks, blocks: int, spec: EvidenceSpec) -> tuple[Verdict, int | None]:
    decided = looks.promote | looks.rollback
    if decided.any():
        block = int(np.argmax(decided))
        return (Verdict.ROLLBACK if looks.rollback[block] else Verdict.PROMOTE), block
    return (Verdict.INCONCLUSIVE if blocks >= spec.max_blocks else Verdict.CONTINUE), None


def _count(rows: SettledRows, arm: Bools) -> ArmCounts:
    part = slice(0, rows.complete)

    def number(which: Bools | Ints) -> int:
        return int(np.count_nonzero(which))

    return ArmCounts(
        decisions=number(arm[part]),
        trades=number(arm[part] & rows.trade[part]),
        forced=number(arm[part] & rows.forced[part]),
        pending=number(arm & rows.pending),
    )


def _metric(scores: Floats, infos: Floats, alpha: float, unit: float) -> MetricEvidence:
    bounds = interval(scores, infos, alpha)
    score, variance = float(scores.sum()), float(scores @ scores)
    return MetricEvidence(
        estimate=bounds.estimate * unit,
        lower=bounds.lower * unit,
        upper=bounds.upper * unit,
        log_e_better=log_e(score, variance),
        log_e_worse=log_e(-score, variance, RHO_ROLLBACK),
        score=score,
        variance=variance,
    )
