"""Who is drawn: weights as the traffic policy has them, and the rows that follow.

Belongs here: chances and weights to rows as the evidence scores them. Does not belong here: chances (scenarios.py, bars.py), and
looks at the rows (characteristics.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Ints, Pairing
from tradewind.trading.evidence.comparable import first_incomparable
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.metrics import METRICS, Metric, ScoredRows
from tradewind.trading.evidence.policies import PolicyFacts
from tradewind.trading.evidence.running import Running
from tradewind.trading.evidence.scale import symbol_scale
from tradewind.trading.evidence.spec import EvidenceSpec
from tradewind.trading.evidence.sums import BlockSums
from tradewind.trading.simulation.scenarios import Chances, Market


@dataclass(frozen=True, eq=False)
class Rows:
    """Decisions as they were drawn, arrays of shape (runs, rows).

    Attributes:
        spec: what they are scored by.
        chances: what either arm would have had.
        candidate: the drawn arm is the candidate.
        weight: probability of that.
        asked: a shadow is asked for here.
        per_block: rows of a block.
        answer_cost: price of an answer of baseline and candidate, in the unit of the returns.
    """

    spec: EvidenceSpec
    chances: Chances
    candidate: Bools
    weight: Floats
    asked: Bools
    per_block: int
    answer_cost: tuple[float, float]

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return int(self.candidate.shape[-1]) // self.per_block

    def own(self, arms: tuple[Floats, Floats] | tuple[Bools, Bools]) -> Floats:
        """Of what each arm has, that of the drawn one."""
        result: Floats = np.where(self.candidate, arms[1], arms[0])
        return result

    @property
    def ret(self) -> Floats:
        """Return as the evidence reads it: net of the answer's price where the spec asks for that."""
        ret = self.own(self.chances.ret)
        if self.spec.rules.evidence.net_of_cost:
            ret = ret - np.where(self.candidate, self.answer_cost[1], self.answer_cost[0])
        return ret

    @property
    def win(self) -> Floats:
        """1 or 0 for a trade, 0.5 where nothing was opened."""
        return np.where(self.own(self.chances.acts), self.ret > 0.0, 0.5)

    @property
    def late(self) -> Bools:
        """The candidate was asked as a shadow, and was late."""
        return self.chances.late & self.asked & ~self.candidate

    @property
    def paired(self) -> Bools:
        """The row has what the pairing needs."""
        if self.spec.pairing is Pairing.MARKET:
            return self.chances.priced
        shadow = self.candidate if self.spec.pairing is Pairing.CANDIDATE else np.zeros_like(self.candidate)
        return self.chances.priced & (self.asked | shadow) & ~self.late

    def waits(self, market: Market) -> Bools:
        """The block is not complete when the next one starts: positions are open, or pairs may still come. (runs, blocks)."""
        left = (self.per_block - np.arange(self.per_block)) * market.spacing.total_seconds()
        shape = (*self.candidate.shape[:-1], self.blocks, self.per_block)
        open_: Any = self.own(self.chances.acts).astype(np.bool_).reshape(shape) & (left < market.hold.total_seconds())
        if self.spec.pairing is not Pairing.UNPAIRED:
            open_ = open_ | ~self.chances.priced.reshape(shape) & (left < self.spec.settlement.max_hold.total_seconds())
        result: Bools = open_.any(axis=-1)
        return result

    def by_block(self, values: Floats | Bools) -> Floats:
        """Sums of each block, shape (runs, blocks)."""
        parts = values.reshape(*values.shape[:-1], -1, self.per_block)
        result: Floats = parts.sum(axis=-1, dtype=np.float64)
        return result

    def scored(self) -> ScoredRows:
        """The rows as the metrics read them."""
        spec, chances, ret = self.spec, self.chances, self.ret
        traded = self.by_block(self.own(chances.acts).astype(np.bool_)) > 0.0
        until = np.where(traded.any(axis=-1), traded.argmax(axis=-1), self.blocks)
        first = np.arange(ret.shape[-1]) // self.per_block <= until[..., None]
        unit = symbol_scale(chances.symbol.astype(np.str_), ret, first, Running()) if spec.by_symbol else 1.0
        paired = spec.pairing is not Pairing.UNPAIRED
        return ScoredRows(
            self.candidate,
            self.weight,
            ret / unit,
            self.win,
            first,
            spec.scale_rule,
            pairing=spec.pairing,
            papers=(chances.papers[0] / unit, chances.papers[1] / unit) if paired else None,
            market=chances.market / unit if paired else None,
            paired=self.paired if paired else None,
        )

    def dependent(self) -> Ints:
        """Row at which failures of shadows are seen to depend on the draw, shape (runs,); the number of rows: at none."""
        late = self.late
        if not late.any() or self.spec.pairing not in (Pairing.BOTH, Pairing.CANDIDATE):
            return np.full(late.shape[:-1], late.shape[-1])
        failed = np.zeros_like(late), late
        return first_incomparable(self.candidate, self.weight, failed, self.spec.pairing, self.spec.shadow_share)

    def sums(self, metrics: Sequence[Metric] = METRICS) -> BlockSums:
        """Block sums of metrics, the primary one among them; shapes (runs, blocks)."""
        none = np.zeros((*self.candidate.shape[:-1], self.blocks))
        return BlockSums.from_rows(
            self.scored(),
            self.by_block,
            primary=self.spec.primary.name,
            rows=(self.by_block(~self.candidate), self.by_block(self.candidate)),
            forced=(none, none),
            block=np.arange(self.candidate.shape[-1]) // self.per_block,
            dependent=self.dependent(),
            metrics=metrics,
        )

    def progress(self) -> tuple[Floats, Floats]:
        """S and V of the primary metric after so many complete blocks, shapes (runs, blocks + 1)."""
        sums, name = self.sums((self.spec.primary,)), self.spec.primary.name
        found = _running(sums.alone[name].scores)
        if sums.paired is None:
            return found
        pairs = _running(sums.paired[name].scores)
        usable = np.arange(self.blocks + 1) <= sums.set_aside.since[..., None]
        return np.where(usable, pairs[0], found[0]), np.where(usable, pairs[1], found[1])


def _running(scores: Floats) -> tuple[Floats, Floats]:
    """Running sums of block sums and of their squares, from 0 on."""
    start = np.zeros((*scores.shape[:-1], 1))
    total, square = (np.cumsum(np.concatenate((start, each), axis=-1), axis=-1) for each in (scores, scores**2))
    return total, square


def draw_rows(
    spec: EvidenceSpec,
    chances: Chances,
    market: Market,
    rng: np.random.Generator,
    answer_cost: tuple[float, float] = (0.0, 0.0),
) -> Rows:
    """Rows of all runs; whole blocks only."""
    uniform = rng.random(chances.market.shape)
    share = spec.shadow_share
    asked = np.ones(uniform.shape, np.bool_) if share >= 1.0 else rng.random(uniform.shape) < share
    per_block = market.decisions_per_day * spec.block_length.days
    weights = np.zeros((uniform.shape[0], uniform.shape[1] // per_block))

    def rows(runs: Ints, blocks: int) -> Rows:
        weight = np.repeat(weights[runs, :blocks], per_block, axis=-1)
        part = (runs, slice(0, weight.shape[-1]))
        drawn = uniform[part] < weight
        return Rows(spec, chances.part(runs, weight.shape[-1]), drawn, weight, asked[part], per_block, answer_cost)

    settle_weights(spec, weights, rows, market)
    return rows(np.arange(len(weights)), weights.shape[1])


def settle_weights(spec: EvidenceSpec, weights: Floats, rows: Callable[[Ints, int], Rows], market: Market) -> None:
    """Fills in the weight of each block, shape (runs, blocks), as the policy has it.

    A policy that looks at the evidence is followed by guessing: the weights known so far are taken to stay, and a run whose
    policy moves is drawn again from that block on. Scores of a row rest on earlier rows alone, so what was right stays right.

    Args:
        spec: its policy.
        weights: filled in.
        rows: rows of some runs in the first so many blocks, at the weights as they stand.
        market: how decisions come.
    """
    blocks, length = weights.shape[1], spec.block_length
    first = PolicyFacts(timedelta(0))
    weights[:] = spec.policy.next_weight(spec.ladder, first).weight
    if not spec.policy.adaptive:
        weights[:] = [spec.policy.next_weight(spec.ladder, PolicyFacts(b * length)).weight for b in range(blocks)]
        return
    known, ahead = np.ones(len(weights), np.int64), 8
    while (todo := np.flatnonzero(known < blocks)).size:
        until = min(int(known[todo].min()) + ahead, blocks)
        todo = todo[known[todo] < until]
        drawn = rows(todo, until)
        score, variance = drawn.progress()
        waits = drawn.waits(market).astype(np.int64)
        acted = drawn.candidate & drawn.own(drawn.chances.acts).astype(np.bool_)
        trades = np.concatenate((np.zeros((len(todo), 1)), np.cumsum(drawn.by_block(acted), axis=-1)), axis=-1)
        moved = 0
        for i, run in enumerate(todo):
            path = weights[run]
            for block in range(int(known[run]), until):
                complete, since = block - int(waits[i, block - 1]), _since(path, block)
                before = max(block - 1 - int(waits[i, block - 2]), 0) if block > 1 else 0
                facts = PolicyFacts(
                    elapsed=block * length,
                    level=float(path[block - 1]),
                    at_level=(block - since) * length,
                    new_candidate_trades=int(trades[i, complete] - trades[i, since]) if complete > since else 0,
                    score=float(score[i, complete]),
                    variance=float(variance[i, complete]),
                    watermark_grew=complete > before,
                )
                chosen = spec.policy.next_weight(spec.ladder, facts).weight
                known[run] = block + 1
                if chosen != path[block]:
                    path[block:] = chosen
                    moved += 1
                    break
        # Where most runs move, what was drawn far ahead is drawn in vain.
        ahead = 2 * ahead if moved < len(todo) / 4 else max(ahead // 2, 1)


def _since(path: Floats, block: int) -> int:
    """First block of the unbroken run of the weight before a block."""
    since = block - 1
    while since and path[since - 1] == path[block - 1]:
        since -= 1
    return since
