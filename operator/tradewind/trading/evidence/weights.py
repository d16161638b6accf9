"""The candidate's weight, block by block, from the rows alone.

Belongs here: the facts that a policy looks at. Does not belong here: the policies (policies/), verdicts and guardrails,
which set the weight to 0 (verdict.py), and how a weight reaches the gateway.

Nothing is remembered between calls. The level, the time at it and whether the watermark has grown are read off the
logged weights and the times of the reports, so that a restarted operator finds the same path.
"""

from datetime import datetime

import numpy as np

from tradewind.trading.evidence.blocks import settle
from tradewind.trading.evidence.policies import PolicyFacts, WeightDecision
from tradewind.trading.evidence.spec import EvidenceSpec
from tradewind.trading.evidence.sums import BlockSums
from tradewind.trading.evidence.table import TradeTable, to_us


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
    return spec.policy.next_weight(spec.ladder, policy_facts(table, t0, block, spec))


def policy_facts(table: TradeTable, t0: datetime, block: int, spec: EvidenceSpec) -> PolicyFacts:
    """Facts at the start of a block, from the rows known then."""
    t0_us = to_us(t0, "t0")
    start_us = t0_us + block * spec.block_us
    elapsed = block * spec.block_length
    spec = spec.in_block(block)
    if block == 0 or not spec.policy.adaptive:
        return PolicyFacts(elapsed)
    # Rows decided exactly at the start belong to this block.
    known = table.select(table.decided_us < start_us)
    begun_us = t0_us + spec.first_block * spec.block_us
    rows = settle(known, begun_us, start_us, spec.settlement, spec.reading)
    if not len(rows.weight):
        return PolicyFacts(elapsed)
    before = settle(known, begun_us, start_us - spec.block_us, spec.settlement, spec.reading)
    sums = BlockSums.of(rows, spec).in_use[spec.primary.name].scores
    changes = np.flatnonzero(np.diff(rows.weight) != 0.0)
    first = int(changes[-1]) + 1 if len(changes) else 0
    at_level = slice(first, max(first, rows.complete))
    return PolicyFacts(
        elapsed=elapsed,
        level=float(rows.weight[-1]),
        at_level=(block - spec.first_block - int(rows.block[first])) * spec.block_length,
        new_candidate_trades=int(np.count_nonzero(rows.candidate[at_level] & rows.trade[at_level])),
        score=float(sums.sum()),
        variance=float(sums @ sums),
        watermark_grew=rows.blocks > before.blocks,
    )
