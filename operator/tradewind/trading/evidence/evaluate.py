"""The statistical decision: every block end of the past is looked at again, from the rows alone.

Belongs here: block sums to looks, looks to the first decision, and what is shown of them. Does not belong here:
guardrails, minimum duration and exposure, which the operator adds (verdict.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Ints, Pairing, SettledRows, settle
from tradewind.trading.evidence.boundary import BlockScores, Path
from tradewind.trading.evidence.comparable import SetAside
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.kept import Looked, Memory
from tradewind.trading.evidence.metrics import METRICS, Metric
from tradewind.trading.evidence.pair_facts import PairFacts, pair_facts
from tradewind.trading.evidence.settings import MIN_BLOCKS
from tradewind.trading.evidence.spec import EvidenceSpec
from tradewind.trading.evidence.sums import BlockSums
from tradewind.trading.evidence.table import TradeTable, from_us, to_us

FORCED_SHARE_LIMIT = 0.01
"""Share of rows settled by force, in either arm, above which max_hold is too short for a decision."""


class Verdict(StrEnum):
    """What an experiment leads to; one vocabulary for the statistical decision and the operator's verdict."""

    CONTINUE = "continue"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    INCONCLUSIVE = "inconclusive"


class PairsSetAside(StrEnum):
    """Why pairs are not used any more."""

    DEPENDENT = "dependent"
    """An arm fails more often in one role, drawn or shadow, than the draws say."""
    UNINFORMATIVE = "uninformative"
    """What answers earn on paper says nothing of what trades earn."""


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
        variance: V, their variance as the boundary counts it.
        info: J, the sum of the blocks' infos.
    """

    estimate: float
    lower: float
    upper: float
    log_e_better: float
    log_e_worse: float
    score: float
    variance: float
    info: float


@dataclass(frozen=True, eq=False)
class Looks:
    """Every look, one at each block end; all arrays have shape (..., looks).

    Attributes:
        better: logarithm of the evidence that the primary metric is better (notInferior: not worse by its margin).
        not_worse: the same, for each other metric by its name, that it is not worse by its margin.
        worse: the same that the primary metric is worse.
        ready: enough blocks and rows for a decision.
        held: too many rows were settled by force for a decision.
        superior: "better" has been shown at this look or before.
        not_inferior: "not worse" has been shown of every other metric, each at this look or before.
        promote: promotion is called at this look (and, unless held, at every later one).
        rollback: statistical rollback is called at this look.
        futile: the experiment is given up at this look.
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
    futile: Bools

    @property
    def ends(self) -> Bools:
        """A decision is called at this look."""
        return self.promote | self.rollback | self.futile


@dataclass(frozen=True, eq=False)
class Evidence:
    """The statistical state of an experiment at an instant.

    Attributes:
        decision: first decision of any look; final.
        block: number of the block at whose end it fell, from 0 at t0; None while there is none, or at the end of max_duration.
        futile: it was given up there.
        blocks: nb, number of complete blocks since the start of the evidence.
        watermark: end of the last complete block; rows decided later are no evidence yet.
        baseline: rows of the baseline.
        candidate: rows of the candidate.
        metrics: evidence on each metric, by its name.
        primary: the metric that decides.
        threshold_promote: logarithm of the evidence that promotes.
        threshold_rollback: the same that rolls back.
        score: which score the last look used.
        pairs: rows in complete blocks that have what the pairing needs.
        set_aside: why pairs are not used any more; None: they may be.
        alone: evidence on each metric without pairs; the same as `metrics` where none were used.
        about_pairs: what the pairs say; None where none are looked for.
        max_hold_too_short: more than 1 % of an arm's rows were settled by force.
        looks: every look up to max_duration.
        unrandomised: rows left out because their weight was 0 or 1.
        before_start: rows left out because they were decided before the start of the evidence.
    """

    decision: Verdict
    block: int | None
    futile: bool
    blocks: int
    watermark: datetime
    baseline: ArmCounts
    candidate: ArmCounts
    metrics: Mapping[str, MetricEvidence]
    primary: Metric
    threshold_promote: float
    threshold_rollback: float
    score: Pairing
    pairs: int
    set_aside: PairsSetAside | None
    alone: Mapping[str, MetricEvidence]
    about_pairs: PairFacts | None
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
    return settle(table, to_us(spec.start(t0), "t0"), now_us, spec.settlement, spec.reading)


def evaluate_rows(rows: SettledRows, t0: datetime, spec: EvidenceSpec, memory: Memory | None = None) -> Evidence:
    """Statistical decision from the rows that `settled_at` gives; `memory` keeps from look to look what need not be computed anew."""
    if memory is None:
        return _evaluated(rows, t0, spec, None)
    look = Looked.at(rows, t0, spec)
    evidence = memory.evidence(look) or _evaluated(rows, t0, spec, memory)
    memory.found = look, evidence
    return evidence


def _evaluated(rows: SettledRows, t0: datetime, spec: EvidenceSpec, memory: Memory | None) -> Evidence:
    sums = BlockSums.of(rows, spec, memory)
    looks = look_back(sums, spec)
    decision, block = _first_decision(looks, rows.blocks, spec)
    baseline, candidate = _count(rows, ~rows.candidate), _count(rows, rows.candidate)
    uses_pairs, pairs = sums.in_use is sums.paired, int(np.count_nonzero(rows.paired[: rows.complete]))
    alone = {m.name: _metric(sums.alone[m.name], m, spec) for m in METRICS}
    return Evidence(
        decision=decision,
        block=None if block is None else spec.first_block + block,
        futile=block is not None and bool(looks.futile[block]) and decision is Verdict.INCONCLUSIVE,
        blocks=rows.blocks,
        watermark=from_us(to_us(spec.start(t0), "t0") + rows.blocks * spec.block_us),
        baseline=baseline,
        candidate=candidate,
        metrics={m.name: _metric(sums.in_use[m.name], m, spec) for m in METRICS} if uses_pairs else alone,
        primary=spec.primary,
        threshold_promote=spec.threshold,
        threshold_rollback=spec.threshold_rollback,
        score=spec.pairing if uses_pairs and pairs else Pairing.UNPAIRED,
        pairs=pairs,
        set_aside=_set_aside(sums.set_aside, rows.blocks),
        alone=alone,
        about_pairs=pair_facts(
            rows,
            spec.pairing,
            sums.slopes,
            days=rows.blocks * spec.block_length.days,
            gain=_gain(sums, spec) if uses_pairs else 1.0,
        ),
        max_hold_too_short=max(baseline.forced_share, candidate.forced_share) > FORCED_SHARE_LIMIT,
        looks=looks,
        unrandomised=rows.unrandomised,
        before_start=rows.before_start,
    )


def look_back(sums: BlockSums, spec: EvidenceSpec) -> Looks:
    """All looks from the start of the evidence to the end of max_duration.

    Superiority and each "not worse" latch at the look where their evidence suffices, but only at looks that may decide:
    ready, and not held because max_hold is too short. Where pairs must not be used any more, they latch anew without them.
    """
    count = min(sums.rows[0].shape[-1], spec.looks)
    part = (..., slice(0, count))
    rows = [np.cumsum(arm[part], axis=-1) for arm in sums.rows]
    forced = [np.cumsum(arm[part], axis=-1) for arm in sums.forced]
    enough = np.minimum(rows[0], rows[1]) >= spec.min_trades_per_arm
    ready = enough & (np.arange(1, count + 1) >= MIN_BLOCKS)
    held = (forced[0] > FORCED_SHARE_LIMIT * rows[0]) | (forced[1] > FORCED_SHARE_LIMIT * rows[1])
    if sums.paired is None:
        return _looks(sums.alone, spec, count, ready=ready, held=held, may=ready & ~held)
    usable = np.arange(count) < sums.set_aside.since[..., None]
    paired = _looks(sums.paired, spec, count, ready=ready, held=held, may=ready & ~held & usable)
    if usable.all():
        return paired
    alone = _looks(sums.alone, spec, count, ready=ready, held=held, may=ready & ~held & ~usable)
    return _merged(usable, paired, alone)


def _looks(
    sums: Mapping[str, BlockScores], spec: EvidenceSpec, count: int, *, ready: Bools, held: Bools, may: Bools
) -> Looks:
    boundary, blocks = spec.boundary, spec.looks
    primary = sums[spec.primary.name].until(count)
    path = boundary.path(primary, spec.shift, blocks)
    better, worse = path.better, path.worse
    not_worse = {
        metric.name: boundary.path(sums[metric.name].until(count), -spec.margin(metric), blocks).better
        for metric in spec.others
    }

    def latched(path: Floats) -> Bools:
        shown: Bools = np.logical_or.accumulate(may & (path >= spec.threshold), axis=-1)
        return shown

    superior = latched(better)
    not_inferior = np.logical_and.reduce([latched(path) for path in not_worse.values()])
    futile = np.zeros_like(superior)
    if spec.futility_z is not None:
        look = np.arange(count)
        late = look >= -(-blocks // 3)
        to_come = np.maximum(blocks - 1 - look, 0) / np.maximum(look, 1)
        # What S would be at the end if the rest went as the past and futility_z standard errors better.
        hoped = path.score + (path.score + spec.futility_z * np.sqrt(path.variance)) * to_come
        at_end = path.variance * (blocks - 1) / np.maximum(look, 1)
        hopeless = Path(hoped, at_end, path.rho, path.rho_worse).better < spec.threshold
        futile = may & late & ~superior & (path.variance > 0.0) & np.isfinite(path.rho) & hopeless
    return Looks(
        better=better,
        not_worse=not_worse,
        worse=worse,
        ready=ready,
        held=held,
        superior=superior,
        not_inferior=not_inferior,
        promote=may & superior & not_inferior,
        rollback=may & (worse >= spec.threshold_rollback),
        futile=futile,
    )


def _merged(first: Bools, a: Looks, b: Looks) -> Looks:
    """Of two sets of looks, the first where `first` says so, else the second."""

    def pick(name: str) -> Any:
        one, other = getattr(a, name), getattr(b, name)
        if isinstance(one, Mapping):
            return {key: np.where(first, one[key], other[key]) for key in one}
        return np.where(first, one, other)

    return Looks(**{field.name: pick(field.name) for field in fields(Looks)})


def _first_decision(looks: Looks, blocks: int, spec: EvidenceSpec) -> tuple[Verdict, int | None]:
    ends = looks.ends
    if not ends.any():
        return (Verdict.INCONCLUSIVE if blocks >= spec.looks else Verdict.CONTINUE), None
    block = int(np.argmax(ends))
    if looks.rollback[block]:
        return Verdict.ROLLBACK, block
    return (Verdict.PROMOTE if looks.promote[block] else Verdict.INCONCLUSIVE), block


def _set_aside(since: SetAside, blocks: int) -> PairsSetAside | None:
    if int(since.dependent) < blocks:
        return PairsSetAside.DEPENDENT
    return PairsSetAside.UNINFORMATIVE if int(since.uninformative) < blocks else None


def _gain(sums: BlockSums, spec: EvidenceSpec) -> float:
    """Variance of the primary metric's difference without pairs over that with them; 1 before either is known."""

    def spread(of: Mapping[str, BlockScores]) -> float:
        found = of[spec.primary.name]
        info = float(found.infos.sum())
        return float(spec.boundary.variance(found.scores)[-1]) / info**2 if info > 0.0 else math.nan

    gain = spread(sums.alone) / (spread(sums.in_use) or math.nan) if len(sums.rows[0]) else math.nan
    return gain if math.isfinite(gain) else 1.0


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


def _metric(sums: BlockScores, metric: Metric, spec: EvidenceSpec) -> MetricEvidence:
    bounds = spec.boundary.interval(sums, spec.threshold, spec.looks)
    path = spec.boundary.path(sums, 0.0, spec.looks)

    def last(values: Floats) -> float:
        return float(values[-1]) if len(values) else 0.0

    return MetricEvidence(
        estimate=bounds.estimate * metric.unit,
        lower=bounds.lower * metric.unit,
        upper=bounds.upper * metric.unit,
        log_e_better=last(path.better),
        log_e_worse=last(path.worse),
        score=last(path.score),
        variance=last(path.variance),
        info=float(sums.infos.sum()),
    )
