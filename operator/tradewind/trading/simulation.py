"""Simulated experiments under a spec: how often equal arms are promoted, and how soon a better one is.

Belongs here: drawing experiments and running the spec's own code over them, all runs at once. Does not belong here:
any statistic of its own (evidence/), and the clock or a source of randomness (the generator is an argument).

The market is the plainest one: independent returns with Student's t (4) tails, evenly spaced decisions, one holding
time, every decision a filled trade, one notional. What is measured is the statistical decision; guardrails,
minDuration and exposure are not simulated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from tradewind.trading.evidence.blocks import Bools
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.evaluate import BlockSums, look_back
from tradewind.trading.evidence.metrics import ScoredRows
from tradewind.trading.evidence.policies import PolicyFacts
from tradewind.trading.evidence.spec import EvidenceSpec

_DEGREES = 4
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Market:
    """How decisions come.

    Attributes:
        decisions_per_day: evenly spaced, the first at the start of the day.
        hold: time from decision to report.
    """

    decisions_per_day: int = 24
    hold: timedelta = timedelta(hours=4)

    def __post_init__(self) -> None:
        if self.decisions_per_day < 1:
            raise ValueError(f"decisions_per_day: {self.decisions_per_day}; give a whole number from 1 up")
        if self.hold < timedelta(0):
            raise ValueError("hold: negative; give a duration from 0s up")


@dataclass(frozen=True)
class Share:
    """A share of runs with its Monte-Carlo standard error."""

    value: float
    standard_error: float

    @classmethod
    def of(cls, hits: Bools) -> "Share":
        """Share of the runs, shape (runs,), with the error of a binomial share; of a share of 0 or 1 that of 1 hit."""
        runs = len(hits)
        value = float(np.mean(hits))
        kept = min(max(value, 1.0 / runs), 1.0 - 1.0 / runs)
        return cls(value, math.sqrt(max(kept * (1.0 - kept), 0.0) / runs))


@dataclass(frozen=True)
class Characteristics:
    """What the spec does at one true difference.

    Attributes:
        effect: true per-trade Sharpe of the candidate minus that of the baseline (which is 0).
        runs: simulated experiments.
        promote: share that is promoted.
        rollback: share that is rolled back statistically.
        median_block: median block of the promotions, or of the rollbacks for a negative effect; None without any.
        median_block_error: standard error of that median, from its order statistics; None for fewer than 10.
    """

    effect: float
    runs: int
    promote: Share
    rollback: Share
    median_block: float | None
    median_block_error: float | None


def operating_characteristics(
    spec: EvidenceSpec,
    effects: Sequence[float],
    runs: int,
    rng: np.random.Generator,
    market: Market | None = None,
) -> tuple[Characteristics, ...]:
    """Operating characteristics of the spec at each effect.

    Args:
        spec: what is simulated, its traffic policy included.
        effects: true per-trade Sharpe differences.
        runs: experiments for each effect, >= 1.
        rng: source of randomness; a given state gives a given answer.
        market: how decisions come; None: 24 a day, held 4 hours.

    Raises:
        ValueError: there are no runs, or positions are held longer than the spec's max_hold.
    """
    if runs < 1:
        raise ValueError(f"runs: {runs}; give a whole number from 1 up")
    market = market or Market()
    if market.hold > spec.settlement.max_hold:
        max_hold = spec.settlement.max_hold
        raise ValueError(f"hold: {market.hold} is longer than maxHold {max_hold}; every row would be forced")
    return tuple(_simulate(spec, effect, runs, rng, market) for effect in effects)


def _simulate(
    spec: EvidenceSpec, effect: float, runs: int, rng: np.random.Generator, market: Market
) -> Characteristics:
    blocks, per_block = spec.max_blocks, market.decisions_per_day * spec.block_length.days
    shape = (runs, blocks * per_block)
    noise = rng.standard_t(_DEGREES, shape) / math.sqrt(_DEGREES / (_DEGREES - 2.0))
    candidate, weight = _draw(spec, effect, noise, rng.random(shape), market)
    returns = noise + effect * candidate
    sums = _sums(spec, candidate, weight, returns, blocks)
    looks = look_back(sums, spec)
    first = [
        np.where(called.any(axis=-1), called.argmax(axis=-1), blocks) for called in (looks.promote, looks.rollback)
    ]
    promoted, rolled_back = first[0] < first[1], (first[1] <= first[0]) & (first[1] < blocks)
    at = first[1][rolled_back] if effect < 0.0 else first[0][promoted]
    return Characteristics(
        effect=effect,
        runs=runs,
        promote=Share.of(promoted),
        rollback=Share.of(rolled_back),
        median_block=float(np.median(at)) if len(at) else None,
        median_block_error=_median_error(np.sort(at)),
    )


def _draw(spec: EvidenceSpec, effect: float, noise: Floats, uniform: Floats, market: Market) -> tuple[Bools, Floats]:
    """Arms and weights of all rows, shapes (runs, rows), block by block as the traffic policy has it."""
    runs, rows = noise.shape
    per_block = market.decisions_per_day * spec.block_length.days
    candidate, weight = np.zeros((runs, rows), dtype=np.bool_), np.empty((runs, rows))
    # The last decisions of a block are still open when the next one starts: then the watermark lags by one block.
    spacing = _DAY / market.decisions_per_day
    lag = 1 if market.hold > spacing else 0
    since = np.zeros(runs, dtype=np.int64)
    level = np.full(runs, np.nan)
    facts = PolicyFacts(timedelta(0))
    for block in range(rows // per_block):
        start, complete = block * per_block, max(block - lag, 0) * per_block
        part = slice(start, start + per_block)
        elapsed = block * spec.block_length
        if spec.policy.adaptive and block:
            score, variance = _progress(
                spec, candidate, weight, noise, effect=effect, complete=complete, per_block=per_block
            )
            new = np.cumsum(candidate[:, ::-1][:, rows - complete :], axis=1) if complete else np.zeros((runs, 1))
            chosen = np.empty(runs)
            for run in range(runs):
                kept = complete - since[run] * per_block
                facts = PolicyFacts(
                    elapsed=elapsed,
                    level=float(level[run]),
                    at_level=(block - int(since[run])) * spec.block_length,
                    new_candidate_trades=int(new[run, kept - 1]) if kept > 0 else 0,
                    score=float(score[run]),
                    variance=float(variance[run]),
                    watermark_grew=complete > 0,
                )
                chosen[run] = spec.policy.next_weight(spec.ladder, facts).weight
        else:
            chosen = np.full(runs, spec.policy.next_weight(spec.ladder, replace(facts, elapsed=elapsed)).weight)
        since[chosen != level] = block
        level = chosen
        weight[:, part] = chosen[:, None]
        candidate[:, part] = uniform[:, part] < weight[:, part]
    return candidate, weight


def _progress(
    spec: EvidenceSpec,
    candidate: Bools,
    weight: Floats,
    noise: Floats,
    *,
    effect: float,
    complete: int,
    per_block: int,
) -> tuple[Floats, Floats]:
    """S and V of the primary metric over the first `complete` rows, shapes (runs,)."""
    if not complete:
        return np.zeros(len(noise)), np.zeros(len(noise))
    part = (slice(None), slice(0, complete))
    returns = noise[part] + effect * candidate[part]
    rows, _ = spec.primary.scores(_scored(spec, candidate[part], weight[part], returns, per_block))
    scores = rows.reshape(len(rows), -1, per_block).sum(axis=-1)
    return scores.sum(axis=-1), (scores**2).sum(axis=-1)


def _sums(spec: EvidenceSpec, candidate: Bools, weight: Floats, returns: Floats, blocks: int) -> BlockSums:
    """Block sums of rows of equal blocks, shapes (runs, blocks)."""
    per_block = returns.shape[-1] // blocks

    def by_block(values: Floats | Bools) -> Floats:
        result: Floats = values.reshape(*values.shape[:-1], blocks, per_block).sum(axis=-1, dtype=np.float64)
        return result

    none = np.zeros((*returns.shape[:-1], blocks))
    return BlockSums.from_rows(
        _scored(spec, candidate, weight, returns, per_block),
        by_block,
        primary=spec.primary.name,
        rows=(by_block(~candidate), by_block(candidate)),
        forced=(none, none),
        paired_until=np.full(returns.shape[:-1], blocks),
    )


def _scored(spec: EvidenceSpec, candidate: Bools, weight: Floats, returns: Floats, per_block: int) -> ScoredRows:
    """Filled trades as the metrics read them."""
    calibration = np.arange(returns.shape[-1]) < per_block
    return ScoredRows(candidate, weight, returns, (returns > 0.0).astype(np.float64), calibration, spec.scale_rule)


def _median_error(ordered: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float | None:
    """Half the distance of the order statistics one standard error around the median."""
    count = len(ordered)
    if count < 10:
        return None
    spread = 0.5 * math.sqrt(count)
    low, high = math.floor(0.5 * count - spread), math.ceil(0.5 * count + spread)
    return float(ordered[min(high, count - 1)] - ordered[max(low, 0)]) / 2.0
