"""Block sums: scores of rows summed by block, with pairs and without, and from which look on pairs must not be used.

Belongs here: rows to block sums, and going on from those that were kept. Does not belong here: what is made of the sums
(evaluate.py), and which of them may be kept (kept.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Ints, Pairing, SettledRows, block_sums
from tradewind.trading.evidence.boundary import BlockScores
from tradewind.trading.evidence.comparable import SetAside, first_incomparable, first_uninformative
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.kept import KeptSums, Memory, proof_of
from tradewind.trading.evidence.metrics import METRICS, Metric, ScoredRows
from tradewind.trading.evidence.metrics.base import calibrating
from tradewind.trading.evidence.running import Running
from tradewind.trading.evidence.settings import MIN_BLOCKS
from tradewind.trading.evidence.spec import EvidenceSpec


@dataclass(frozen=True, eq=False)
class BlockSums:
    """Sums of each block, all of shape (..., blocks).

    Attributes:
        alone: scores of each metric, by its name, without pairs.
        paired: the same with pairs; None: there are none.
        slopes: b of baseline and candidate of the primary metric at the last row; nan without pairs. Of one experiment only.
        set_aside: looks from which on pairs must not be used, shapes (...).
        rows: decisions of baseline and candidate.
        forced: of these, settled by force.
    """

    alone: Mapping[str, BlockScores]
    paired: Mapping[str, BlockScores] | None
    slopes: tuple[float, float]
    set_aside: SetAside
    rows: tuple[Floats, Floats]
    forced: tuple[Floats, Floats]

    @classmethod
    def of(cls, rows: SettledRows, spec: EvidenceSpec, memory: Memory | None = None) -> "BlockSums":
        """Block sums of settled rows; only complete blocks enter.

        Args:
            rows: settled rows.
            spec: what they are scored under.
            memory: what earlier looks kept, and this one keeps.
        """
        kept = memory.recall(rows, spec) if memory is not None else None
        since, done = (kept.complete, kept.blocks) if kept is not None else (0, 0)
        part, running = slice(since, rows.complete), Running(kept.state if kept is not None else None)
        candidate, block, forced = rows.candidate[part], rows.block[part], rows.forced[part]
        scored = ScoredRows.complete(
            rows, spec.scale_rule, spec.pairing, by_symbol=spec.by_symbol, since=since, running=running
        )
        failed = rows.failed[0][part], rows.failed[1][part]
        row = first_incomparable(candidate, rows.weight[part], failed, spec.pairing, spec.shadow_share, running)

        def by_block(values: Floats | Bools) -> Floats:
            return block_sums(block - done, values.astype(np.float64, copy=False), rows.blocks - done)

        new = cls.from_rows(
            scored,
            by_block,
            primary=spec.primary.name,
            rows=(by_block(~candidate), by_block(candidate)),
            forced=(by_block(forced & ~candidate), by_block(forced & candidate)),
            block=block,
            dependent=row,
            done=done,
        )
        sums = new if kept is None else new.after(kept)
        if kept is not None and rows.blocks == kept.blocks:
            return sums
        if memory is not None and rows.complete and not calibrating(rows, spec.scale_rule)[rows.complete - 1]:
            memory.kept = KeptSums(
                spec=spec,
                proof=proof_of(rows, rows.complete),
                complete=rows.complete,
                blocks=rows.blocks,
                state=running.state,
                alone=sums.alone,
                paired=sums.paired,
                slopes=sums.slopes,
                counts=(*sums.rows, *sums.forced),
                set_aside=sums.set_aside,
            )
        return sums

    def after(self, kept: KeptSums) -> "BlockSums":
        """These sums behind those of the blocks before."""

        def joined(one: Floats, other: Floats) -> Floats:
            return np.concatenate([one, other])

        rows = joined(kept.counts[0], self.rows[0]), joined(kept.counts[1], self.rows[1])
        after_first = _after_first(rows)

        def scores(one: Mapping[str, BlockScores], other: Mapping[str, BlockScores]) -> dict[str, BlockScores]:
            return {
                name: BlockScores(
                    joined(one[name].scores, found.scores), joined(one[name].infos, found.infos), after_first
                )
                for name, found in other.items()
            }

        return BlockSums(
            alone=scores(kept.alone, self.alone),
            paired=scores(kept.paired, self.paired) if kept.paired is not None and self.paired is not None else None,
            slopes=kept.slopes if math.isnan(self.slopes[0]) else self.slopes,  # there may be nothing new
            set_aside=SetAside(
                *(
                    np.where(before < kept.blocks, before, now)
                    for before, now in (
                        (kept.set_aside.dependent, self.set_aside.dependent),
                        (kept.set_aside.uninformative, self.set_aside.uninformative),
                    )
                )
            ),
            rows=rows,
            forced=(joined(kept.counts[2], self.forced[0]), joined(kept.counts[3], self.forced[1])),
        )

    @property
    def in_use(self) -> Mapping[str, BlockScores]:
        """Scores that the last look of one experiment uses: those with pairs, as long as they may be used."""
        usable = self.paired is not None and int(self.set_aside.since) >= self.rows[0].shape[-1]
        return self.paired if usable and self.paired is not None else self.alone

    @classmethod
    def from_rows(
        cls,
        scored: ScoredRows,
        by_block: Callable[[Floats | Bools], Floats],
        *,
        primary: str,
        rows: tuple[Floats, Floats],
        forced: tuple[Floats, Floats],
        block: Ints,
        dependent: Ints,
        done: int = 0,
        metrics: Sequence[Metric] = METRICS,
    ) -> "BlockSums":
        """Block sums of scored rows.

        Args:
            scored: the rows.
            by_block: sums values of rows by block.
            primary: name of the metric that decides.
            rows: decisions of baseline and candidate, by block.
            forced: of these, settled by force.
            block: of each row, shape (rows,).
            dependent: row at which the failures of an arm are seen to depend on the draw, shape (...); the number of rows: none.
            done: number of the first of these blocks.
            metrics: those that are scored; the primary one is among them.
        """
        after_first = _after_first(rows)
        blocks = done + rows[0].shape[-1]

        def summed(scores: Floats, infos: Floats) -> BlockScores:
            return BlockScores(by_block(scores), by_block(infos), after_first)

        paired, slopes, uninformative = None, (math.nan, math.nan), np.full(np.shape(dependent), len(block))
        if scored.pairing is not Pairing.UNPAIRED:
            found = {metric.name: metric.paired(scored) for metric in metrics}
            paired = {name: summed(pair.score, pair.info) for name, pair in found.items()}
            b = found[primary].slopes
            uninformative = first_uninformative(b.explained, b.count, block, MIN_BLOCKS - 1, scored.running)
            if b.baseline.ndim == 1 and len(b.baseline):
                slopes = float(b.baseline[-1]), float(b.candidate[-1])
        alone = {metric.name: summed(*metric.scores(scored)) for metric in metrics}
        set_aside = SetAside(_look(dependent, block, blocks), _look(uninformative, block, blocks))
        return cls(alone, paired, slopes, set_aside, rows, forced)


def _look(row: Ints, block: Ints, blocks: int) -> Ints:
    """Block of a row, or the number of blocks where there is no such row."""
    rows = len(block)
    return np.where(row < rows, block[np.minimum(row, rows - 1)], blocks) if rows else np.full(np.shape(row), blocks)


def _after_first(rows: tuple[Floats, Floats]) -> Bools:
    """Blocks before which one had rows."""
    result: Bools = np.cumsum(rows[0] + rows[1], axis=-1) > rows[0] + rows[1]
    return result
