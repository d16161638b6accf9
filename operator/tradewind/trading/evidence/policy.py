"""The candidate's weight, block by block, from the rows alone.

Belongs here: the four weight policies and the facts that they look at. Does not belong here: verdicts and guardrails,
which set the weight to 0 (verdict.py), and how a weight reaches the gateway.

Nothing is remembered between calls. The level, the time at it and whether the watermark has grown are read off the
logged weights and the times of the reports, so that a restarted operator finds the same path.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from tradewind.trading.evidence.blocks import SettledRows, settle, sharpe_scores, win_scores
from tradewind.trading.evidence.blocks import block_sums as sums_of
from tradewind.trading.evidence.confidence import normal_cdf
from tradewind.trading.evidence.spec import EvidenceSpec, Metric, PolicyKind, TrafficPolicy
from tradewind.trading.evidence.table import TradeTable, to_us

MIN_AT_LEVEL = timedelta(days=3)
MIN_NEW_TRADES = 10

_UP_ABOVE = -1.0
_DOWN_BELOW = -1.645
_THOMPSON_PRIOR = 44.4
_THOMPSON_RANGE = (0.10, 0.50)
_THOMPSON_START = 0.25
_THOMPSON_WAIT = timedelta(days=2)


class WeightReason(StrEnum):
    """Why a block has its weight."""

    START = "Start"
    NO_NEW_BLOCK = "NoNewBlock"
    TOO_SOON = "TooSoonAtLevel"
    TOO_FEW_TRADES = "TooFewTradesAtLevel"
    NOT_CONVINCING = "EvidenceTooWeak"
    UP = "LevelUp"
    TOP = "TopLevel"
    DOWN = "LevelDown"
    BOTTOM = "BottomLevel"
    FIXED = "Fixed"
    SCHEDULE = "Schedule"
    THOMPSON = "ThompsonCapped"


@dataclass(frozen=True)
class WeightDecision:
    """Weight of a block and why."""

    weight: float
    reason: WeightReason


@dataclass(frozen=True)
class PolicyFacts:
    """What a policy looks at, at the start of a block.

    Attributes:
        elapsed: time since t0.
        level: the last logged weight; None before the first row.
        at_level: time since the start of the block in which the last logged weight was first used without a break.
        new_candidate_trades: candidate trades at that level, closed, in complete blocks.
        score: S of the primary metric over complete blocks.
        variance: V of it.
        watermark_grew: a block was completed since the start of the previous block.
    """

    elapsed: timedelta
    level: float | None = None
    at_level: timedelta = timedelta(0)
    new_candidate_trades: int = 0
    score: float = 0.0
    variance: float = 0.0
    watermark_grew: bool = False

    @property
    def z(self) -> float:
        """S / sqrt(V); 0 without evidence."""
        return self.score / math.sqrt(self.variance) if self.variance > 0.0 else 0.0


def candidate_weight_for_block(table: TradeTable, t0: datetime, block: int, spec: EvidenceSpec) -> WeightDecision:
    """Weight to use in a block: a function of the rows known when the block starts, at t0 + block * L.

    A row whose report comes later counts as open, and rows decided later do not exist.

    Args:
        table: the trade table; rows after the start of the block make no difference.
        t0: start of the experiment, with a time zone.
        block: number of the block, from 0.
        spec: gives policy, primary metric and block length.

    Raises:
        ValueError: the block is negative or t0 has no time zone.
    """
    if block < 0:
        raise ValueError(f"block: {block}; blocks count from 0")
    return next_weight(spec.traffic, policy_facts(table, t0, block, spec))


def next_weight(policy: TrafficPolicy, facts: PolicyFacts) -> WeightDecision:
    """Weight that a policy gives on these facts."""
    match policy.kind:
        case PolicyKind.FIXED:
            return WeightDecision(policy.weight, WeightReason.FIXED)
        case PolicyKind.SCHEDULE:
            return WeightDecision(_scheduled(policy, facts.elapsed), WeightReason.SCHEDULE)
        case PolicyKind.THOMPSON_CAPPED:
            return _thompson(facts)
        case PolicyKind.GATED:
            return _gated(policy.levels, facts)


def policy_facts(table: TradeTable, t0: datetime, block: int, spec: EvidenceSpec) -> PolicyFacts:
    """Facts at the start of a block, from the rows known then."""
    t0_us = to_us(t0, "t0")
    start_us = t0_us + block * spec.block_us
    elapsed = block * spec.block_length
    if block == 0 or spec.traffic.kind in (PolicyKind.FIXED, PolicyKind.SCHEDULE):
        return PolicyFacts(elapsed)
    # Rows decided exactly at the start belong to this block.
    known = table.select(table.decided_us < start_us)
    rows = settle(known, t0_us, start_us, spec)
    if not len(rows.weight):
        return PolicyFacts(elapsed)
    before = settle(known, t0_us, start_us - spec.block_us, spec)
    score, variance = _score(rows, spec.primary)
    changes = np.flatnonzero(np.diff(rows.weight) != 0.0)
    first = int(changes[-1]) + 1 if len(changes) else 0
    at_level = slice(first, max(first, rows.complete))
    return PolicyFacts(
        elapsed=elapsed,
        level=float(rows.weight[-1]),
        at_level=(block - int(rows.block[first])) * spec.block_length,
        new_candidate_trades=int(np.count_nonzero(rows.candidate[at_level] & rows.trade[at_level])),
        score=score,
        variance=variance,
        watermark_grew=rows.blocks > before.blocks,
    )


def _gated(levels: tuple[float, ...], facts: PolicyFacts) -> WeightDecision:
    if facts.level is None:
        return WeightDecision(levels[0], WeightReason.START)
    # A weight off the ladder (the policy was another one) counts as the level below it.
    at = max((i for i, level in enumerate(levels) if level <= facts.level + 1e-9), default=0)
    here = levels[at]
    if not facts.watermark_grew:
        return WeightDecision(here, WeightReason.NO_NEW_BLOCK)
    if facts.at_level < MIN_AT_LEVEL:
        return WeightDecision(here, WeightReason.TOO_SOON)
    if facts.z < _DOWN_BELOW:
        return WeightDecision(levels[max(at - 1, 0)], WeightReason.DOWN if at else WeightReason.BOTTOM)
    if at + 1 == len(levels):
        return WeightDecision(here, WeightReason.TOP)
    if facts.new_candidate_trades < MIN_NEW_TRADES:
        return WeightDecision(here, WeightReason.TOO_FEW_TRADES)
    if facts.z <= _UP_ABOVE:
        return WeightDecision(here, WeightReason.NOT_CONVINCING)
    return WeightDecision(levels[at + 1], WeightReason.UP)


def _thompson(facts: PolicyFacts) -> WeightDecision:
    # Without any evidence Phi(0) would give the candidate half of the traffic: the start weight stays.
    if facts.elapsed < _THOMPSON_WAIT or facts.variance <= 0.0:
        return WeightDecision(_THOMPSON_START, WeightReason.START)
    low, high = _THOMPSON_RANGE
    chance = normal_cdf(facts.score / math.sqrt(facts.variance + _THOMPSON_PRIOR))
    return WeightDecision(min(max(chance, low), high), WeightReason.THOMPSON)


def _scheduled(policy: TrafficPolicy, elapsed: timedelta) -> float:
    end = timedelta(0)
    for step in policy.steps:
        end += step.duration
        if elapsed < end:
            return step.weight
    return policy.steps[-1].weight


def _score(rows: SettledRows, primary: Metric) -> tuple[float, float]:
    """S and V of the primary metric over complete blocks."""
    part = slice(0, rows.complete)
    if not rows.complete:
        return 0.0, 0.0
    candidate, weight, block = rows.candidate[part], rows.weight[part], rows.block[part]
    if primary is Metric.SHARPE:
        values, _ = sharpe_scores(candidate, weight, rows.ret[part], block == block[0])
    else:
        values, _ = win_scores(candidate, weight, rows.win[part])
    sums = sums_of(block, values, rows.blocks)
    return float(sums.sum()), float(sums @ sums)
