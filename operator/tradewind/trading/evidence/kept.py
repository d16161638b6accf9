"""What is kept from look to look: complete blocks never change, so a look adds what is new, and where nothing is new it finds the same.

Belongs here: what may be kept, and the proof that it is still that of these rows. Does not belong here: how rows are
summed (sums.py) and judged (evaluate.py). Without what was kept everything is summed from nothing, to the same bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

from tradewind.trading.evidence.blocks import SettledRows
from tradewind.trading.evidence.boundary import BlockScores
from tradewind.trading.evidence.comparable import SetAside
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.running import State
from tradewind.trading.evidence.spec import EvidenceSpec

if TYPE_CHECKING:
    from tradewind.trading.evidence.evaluate import Evidence

_SUMMED: Final = (
    "candidate",
    "weight",
    "block",
    "ret",
    "win",
    "forced",
    "pending",
    "trade",
    "symbol",
    "paper_baseline",
    "paper_candidate",
    "market",
    "paired",
)
"""What sums and evidence depend on of a row, beside its failures."""


@dataclass(frozen=True, eq=False)
class KeptSums:
    """Sums of the first blocks.

    Attributes:
        spec: what they were summed under.
        proof: `proof_of` the rows that they are of.
        complete: number of these rows.
        blocks: number of blocks.
        state: what the sums over rows ended with.
        alone, paired: scores of each metric by block, as `BlockSums` has them.
        slopes: b of both arms at the last row.
        counts: decisions of baseline and candidate, and of these the forced ones, by block.
        set_aside: looks from which on pairs must not be used; `blocks`: at none of these.
    """

    spec: EvidenceSpec
    proof: bytes
    complete: int
    blocks: int
    state: State
    alone: Mapping[str, BlockScores]
    paired: Mapping[str, BlockScores] | None
    slopes: tuple[float, float]
    counts: tuple[Floats, Floats, Floats, Floats]
    set_aside: SetAside

    def holds(self, rows: SettledRows, spec: EvidenceSpec) -> bool:
        """Whether these are the sums of the first blocks of the rows."""
        if spec != self.spec or rows.blocks < self.blocks or rows.complete < self.complete:
            return False
        if int(np.searchsorted(rows.block, self.blocks)) != self.complete:
            return False
        return proof_of(rows, self.complete) == self.proof


def proof_of(rows: SettledRows, complete: int) -> bytes:
    """Digest of all that the sums of the first rows depend on; what differs in a bit, be it the width of texts, has another one.

    Kept in place of the rows: at thousands of them for each of hundreds of experiments they are most of the memory of looks.
    """
    found = blake2b(digest_size=32)
    for column in (*(getattr(rows, name) for name in _SUMMED), *rows.failed):
        part = np.ascontiguousarray(column[:complete])
        found.update(f"{part.dtype.str};".encode())
        found.update(part.view(np.uint8).data)
    return found.digest()


@dataclass(frozen=True)
class Looked:
    """All that the evidence of a look depends on.

    Attributes:
        spec: under which it is looked.
        t0: start of the experiment.
        counts: of the rows: all, blocks, complete ones, and those left out.
        proof: `proof_of` all rows.
    """

    spec: EvidenceSpec
    t0: datetime
    counts: tuple[int, ...]
    proof: bytes

    @classmethod
    def at(cls, rows: SettledRows, t0: datetime, spec: EvidenceSpec) -> "Looked":
        """A look at these rows."""
        counts = len(rows.index), rows.blocks, rows.complete, rows.unrandomised, rows.before_start
        return cls(spec, t0, counts, proof_of(rows, len(rows.index)))


class Memory:
    """What one experiment's looks keep. Losing it costs time and changes nothing."""

    def __init__(self) -> None:
        self.kept: KeptSums | None = None
        self.found: tuple[Looked, Evidence] | None = None
        """The last look, and what it found."""

    def recall(self, rows: SettledRows, spec: EvidenceSpec) -> KeptSums | None:
        """The sums of the first blocks of these rows; None where there are none, or where they are of others."""
        return self.kept if self.kept is not None and self.kept.holds(rows, spec) else None

    def evidence(self, look: Looked) -> "Evidence | None":
        """What this very look has found before."""
        return self.found[1] if self.found is not None and self.found[0] == look else None


assert set(_SUMMED) <= {field.name for field in fields(SettledRows)}
