"""The statistical decision: every block end of the past is looked at again, from the rows alone.

Belongs here: block sums to looks, looks to the first decision, and what is shown of them. Does not belong here:
guardrails, minimum duration and exposure, which the operator adds (verdict.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Ints, SettledRows, block_sums, settle
from tradewind.trading.evidence.confidence import RHO_ROLLBACK, Floats, interval, log_e, log_e_path
from tradewind.trading.evidence.metrics import METRICS, Metric, ScoredRows
from tradewind.trading.evidence.settings import MIN_BLOCKS
from tradewind.trading.evidence.spec import EvidenceSpec
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
        not_worse: the same, for each other metric by its name, that it is not worse by its margin.
        worse: the same that the primary metric is worse.
        ready: enough blocks and rows for a decision.
        held: too many rows were settled by force for a decision.
        superior: "better" has been shown at this look or before.
        not_inferior: "not worse" has been shown of every other metric, each at this look or before.
        promote: promotion is called at this look (and, unless held, at every later one).
        rollback: statistical rollback is called at this look.
    """

    better: Floats
    not_worse: Mapping[str, Floats]
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
        block: number of the block at whose end it fell, from 0 at t0; None while there is none or it is inconclusive.
        blocks: nb, number of complete blocks since the start of the evidence.
        watermark: end of the last complete block; rows decided later are no evidence yet.
        baseline: rows of the baseline.
        candidate: rows of the candidate.
        metrics: evidence on each metric, by its name.
        primary: the metric that decides.
        threshold_promote: ln(1/alpha) of this test.
        threshold_rollback: ln(1/alpha_rollback).
        max_hold_too_short: more than 1 % of an arm's rows were settled by force.
        looks: every look up to max_duration.
        unrandomised: rows left out because their weight was 0 or 1.
        before_start: rows left out because they were decided before the start of the evidence.
    """

    decision: Verdict
    block: int | None
    blocks: int
    watermark: datetime
    baseline: ArmCounts
    candidate: ArmCounts
    metrics: Mapping[str, MetricEvidence]
    primary: Metric
    threshold_promote: float
    threshold_rollback: float
    max_hold_too_short: bool
    looks: Looks
    unrandomised: int
    before_start: int

    def log_e_not_inferior(self, metric: str) -> float | None:
        """Logarithm of the evidence, at the last look, that another metric is not worse; None before any, and of the primary."""
        path = self.looks.not_worse.get(metric)
        return float(path[-1]) if path is not None and len(path) else None

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
    spec = spec.known_at(now)
    return evaluate_rows(settled_at(table, t0, now, spec), t0, spec)


def settled_at(table: TradeTable, t0: datetime, now: datetime, spec: EvidenceSpec) -> SettledRows:
    """The rows that count at `now`: those from the start of the evidence on, their blocks counted from there.

    Raises:
        ValueError: t0 or now has no time zone, or now is before t0.
    """
    t0_us, now_us = to_us(t0, "t0"), to_us(now, "now")
    if now_us < t0_us:
        raise ValueError(f"now: {now.isoformat()} is before t0 {t0.isoformat()}; give a time after the start")
    return settle(table, to_us(spec.start(t0), "t0"), now_us, spec.settlement)


def evaluate_rows(rows: SettledRows, t0: datetime, spec: EvidenceSpec) -> Evidence:
    """Statistical decision from the rows that `settled_at` gives."""
    sums = MetricSums.of(rows)
    looks = look_back(sums, spec)
    decision, block = _first_decision(looks, rows.blocks, spec)
    baseline, candidate = _count(rows, ~rows.candidate), _count(rows, rows.candidate)
    return Evidence(
        decision=decision,
        block=None if block is None else spec.first_block + block,
        blocks=rows.blocks,
        watermark=from_us(to_us(spec.start(t0), "t0") + rows.blocks * spec.block_us),
        baseline=baseline,
        candidate=candidate,
        metrics={m.name: _metric(m, sums, spec.alpha) for m in METRICS},
        primary=spec.primary,
        threshold_promote=math.log(1.0 / spec.alpha),
        threshold_rollback=math.log(1.0 / spec.alpha_rollback),
        max_hold_too_short=max(baseline.forced_share, candidate.forced_share) > FORCED_SHARE_LIMIT,
        looks=looks,
        unrandomised=rows.unrandomised,
        before_start=rows.before_start,
    )


@dataclass(frozen=True, eq=False)
class MetricSums:
    """Sums of each block, all of shape (..., blocks).

    Attributes:
        scores: U of each metric, by its name.
        infos: its I.
        rows: decisions of baseline and candidate.
        forced: of these, settled by force.
    """

    scores: Mapping[str, Floats]
    infos: Mapping[str, Floats]
    rows: tuple[Floats, Floats]
    forced: tuple[Floats, Floats]

    @classmethod
    def of(cls, rows: SettledRows) -> "MetricSums":
        """Block sums of settled rows; only complete blocks enter."""
        part = slice(0, rows.complete)
        candidate, block, forced = rows.candidate[part], rows.block[part], rows.forced[part]
        scored = {metric.name: metric.scores(ScoredRows.complete(rows)) for metric in METRICS}

        def by_block(values: Floats | Bools) -> Floats:
            return block_sums(block, values.astype(np.float64, copy=False), rows.blocks)

        return cls(
            scores={name: by_block(score) for name, (score, _) in scored.items()},
            infos={name: by_block(info) for name, (_, info) in scored.items()},
            rows=(by_block(~candidate), by_block(candidate)),
            forced=(by_block(forced & ~candidate), by_block(forced & candidate)),
        )


def look_back(sums: MetricSums, spec: EvidenceSpec) -> Looks:
    """All looks from the start of the evidence to the end of max_duration.

    Superiority and each "not worse" latch at the look where their evidence suffices, but only at looks that may decide:
    ready, and not held because max_hold is too short.
    """
    primary = sums.scores[spec.primary.name]
    count = min(primary.shape[-1], spec.looks)
    part = (..., slice(0, count))
    score, variance = np.cumsum(primary[part], axis=-1), np.cumsum(primary[part] ** 2, axis=-1)

    def path_not_worse(metric: Metric) -> Floats:
        shifted = sums.scores[metric.name][part] + spec.margin(metric) * sums.infos[metric.name][part]
        return log_e_path(np.cumsum(shifted, axis=-1), np.cumsum(shifted**2, axis=-1))

    better, worse = log_e_path(score, variance), log_e_path(-score, variance, RHO_ROLLBACK)
    not_worse = {metric.name: path_not_worse(metric) for metric in spec.others}

    rows = [np.cumsum(arm[part], axis=-1) for arm in sums.rows]
    forced = [np.cumsum(arm[part], axis=-1) for arm in sums.forced]
    enough = np.minimum(rows[0], rows[1]) >= spec.min_trades_per_arm
    ready = enough & (np.arange(1, count + 1) >= MIN_BLOCKS)
    held = (forced[0] > FORCED_SHARE_LIMIT * rows[0]) | (forced[1] > FORCED_SHARE_LIMIT * rows[1])
    may = ready & ~held
    threshold = math.log(1.0 / spec.alpha)

    def latched(path: Floats) -> Bools:
        shown: Bools = np.logical_or.accumulate(may & (path >= threshold), axis=-1)
        return shown

    superior = latched(better)
    not_inferior = np.logical_and.reduce([latched(path) for path in not_worse.values()])
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
    return (Verdict.INCONCLUSIVE if blocks >= spec.looks else Verdict.CONTINUE), None


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


def _metric(metric: Metric, sums: MetricSums, alpha: float) -> MetricEvidence:
    scores = sums.scores[metric.name]
    bounds = interval(scores, sums.infos[metric.name], alpha)
    score, variance = float(scores.sum()), float(scores @ scores)
    return MetricEvidence(
        estimate=bounds.estimate * metric.unit,
        lower=bounds.lower * metric.unit,
        upper=bounds.upper * metric.unit,
        log_e_better=log_e(score, variance),
        log_e_worse=log_e(-score, variance, RHO_ROLLBACK),
        score=score,
        variance=variance,
    )
