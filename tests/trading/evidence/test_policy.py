"""Weight policies: each transition, and that a path is replayed from the table alone."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from specs import spec as spec_of
from tradewind.trading.assignment import Arm, draw_arm
from tradewind.trading.evidence import POLICIES, EvidenceSpec, PolicyFacts, Status, candidate_weight_for_block
from tradewind.trading.evidence.policies import Ladder
from tradewind.trading.evidence.policies.gated import Reason as WeightReason
from tradewind.trading.evidence.policies.thompson import Reason as ThompsonReason
from tradewind.trading.evidence.table import TradeRow

DAY = timedelta(days=1)
GATED, THOMPSON = (next(p for p in POLICIES if p.name == name) for name in ("gated", "thompsonCapped"))
SETTLED = PolicyFacts(
    elapsed=9 * DAY,
    level=0.10,
    at_level=3 * DAY,
    new_candidate_trades=10,
    score=0.0,
    variance=100.0,
    watermark_grew=True,
)


@pytest.mark.parametrize(
    ("changes", "weight", "reason"),
    [
        ({"level": None}, 0.10, WeightReason.START),
        ({}, 0.25, WeightReason.UP),
        ({"level": 0.25}, 0.50, WeightReason.UP),
        ({"level": 0.50}, 0.50, WeightReason.TOP),
        ({"at_level": 2 * DAY}, 0.10, WeightReason.TOO_SOON),
        ({"new_candidate_trades": 9}, 0.10, WeightReason.TOO_FEW_TRADES),
        ({"score": -9.9}, 0.25, WeightReason.UP),
        ({"score": -10.0}, 0.10, WeightReason.NOT_CONVINCING),
        ({"score": -16.45, "level": 0.25}, 0.25, WeightReason.NOT_CONVINCING),
        ({"score": -16.46, "level": 0.25}, 0.10, WeightReason.DOWN),
        ({"score": -16.46, "level": 0.50}, 0.25, WeightReason.DOWN),
        ({"score": -16.46}, 0.10, WeightReason.BOTTOM),
        ({"score": -16.46, "level": 0.25, "at_level": 2 * DAY}, 0.25, WeightReason.TOO_SOON),
        ({"score": -16.46, "level": 0.25, "new_candidate_trades": 0}, 0.10, WeightReason.DOWN),
        ({"watermark_grew": False}, 0.10, WeightReason.NO_NEW_BLOCK),
        ({"level": 0.30}, 0.50, WeightReason.UP),
        ({"level": 0.05}, 0.25, WeightReason.UP),
        ({"score": 0.0, "variance": 0.0}, 0.25, WeightReason.UP),
    ],
)
def test_gated_transitions(changes, weight, reason) -> None:
    decision = GATED.next_weight(Ladder(), replace(SETTLED, **changes))
    assert (decision.weight, decision.reason) == (weight, reason)


@pytest.mark.parametrize(
    ("changes", "weight", "reason"),
    [
        ({"elapsed": DAY}, 0.25, ThompsonReason.START),
        ({"variance": 0.0}, 0.25, ThompsonReason.START),
        ({}, 0.50, ThompsonReason.THOMPSON),
        ({"score": 50.0}, 0.50, ThompsonReason.THOMPSON),
        ({"score": -50.0}, 0.10, ThompsonReason.THOMPSON),
        # Phi(-8 / sqrt(144.4)) = Phi(-0.6657)
        ({"score": -8.0}, 0.2528, ThompsonReason.THOMPSON),
    ],
)
def test_thompson_capped(changes, weight, reason) -> None:
    decision = THOMPSON.next_weight(Ladder(), replace(SETTLED, **changes))
    assert decision.reason is reason
    assert decision.weight == pytest.approx(weight, abs=1e-4)


def test_fixed_and_schedule_go_by_themselves(make, t0) -> None:
    empty = make.table([])
    fixed = spec_of(traffic={"policy": "fixed", "weight": "0.3"})
    assert [candidate_weight_for_block(empty, t0, block, fixed).weight for block in (0, 50)] == [0.3, 0.3]
    steps = [{"duration": f"{days}d", "weight": weight} for days, weight in ((7, "0.05"), (7, "0.10"), (14, "0.25"))]
    schedule = spec_of(traffic={"policy": "schedule", "steps": steps})
    weights = [candidate_weight_for_block(empty, t0, block, schedule).weight for block in (0, 6, 7, 13, 14, 27, 28, 99)]
    assert weights == [0.05, 0.05, 0.10, 0.10, 0.25, 0.25, 0.25, 0.25]
    with pytest.raises(ValueError, match="blocks count from 0"):
        candidate_weight_for_block(empty, t0, -1, fixed)


def play(make, t0, spec, seed, *, effect=0.0, days=40, messy=False):
    """An experiment that asks for each block's weight when the block starts, with the rows it then has."""
    market = make.rows(days, seed, messy=messy)
    rng = np.random.default_rng(seed)
    rows: list[TradeRow] = []
    path = []
    for block in range(days // spec.block_length.days):
        path.append(candidate_weight_for_block(make.table(rows), t0, block, spec))
        for row in market:
            if (row.decided_at - t0) // spec.block_length != block:
                continue
            arm = draw_arm(f"uid-{seed}", row.decision_id, path[-1].weight)
            pnl = row.pnl_usd
            if pnl is not None and arm is Arm.CANDIDATE:
                pnl += 10.0 * effect
            weight = 0.0 if row.candidate_weight == 0.0 else path[-1].weight
            hours = float(rng.uniform(1, 20))
            late = None if row.status is Status.OPEN else row.decided_at + timedelta(hours=hours)
            rows.append(replace(row, arm=arm, pnl_usd=pnl, candidate_weight=weight, received_at=late))
    return rows, path


@pytest.mark.parametrize("kind", ["gated", "thompsonCapped"])
@pytest.mark.parametrize(("seed", "effect", "hold"), [(1, 0.0, 24), (2, -0.2, 24), (3, 0.5, 40)])
def test_the_whole_path_is_replayed_from_the_final_table(kind, seed, effect, hold, make, t0) -> None:
    spec = spec_of(traffic={"policy": kind}, max_hold=timedelta(hours=hold))
    rows, path = play(make, t0, spec, seed, effect=effect, messy=True)
    order = np.random.default_rng(9).permutation(len(rows))
    table = make.table([rows[i] for i in order])
    assert [candidate_weight_for_block(table, t0, block, spec) for block in range(len(path))] == path
    assert len({decision.weight for decision in path}) > 1


def test_a_gated_path_climbs_and_descends(make, t0) -> None:
    _, path = play(make, t0, EvidenceSpec(), 1, effect=0.6)
    assert [path[0].weight, path[-1].weight] == [0.10, 0.50]
    climbs = [block for block, decision in enumerate(path) if decision.reason is WeightReason.UP]
    assert len(climbs) == 2
    assert climbs[0] >= 3
    assert climbs[1] - climbs[0] >= 3
    _, path = play(make, t0, EvidenceSpec(), 2, effect=-1.2)
    assert max(decision.weight for decision in path[-10:]) == 0.10


def test_only_what_was_known_at_the_start_of_the_block_counts(make, t0) -> None:
    spec = EvidenceSpec()
    rows, path = play(make, t0, spec, 1, days=20)
    start = t0 + timedelta(days=12)
    changed = [
        row
        if row.received_at is None or row.received_at <= start
        else replace(row, pnl_usd=-900.0 if row.arm is Arm.CANDIDATE else 900.0)
        for row in rows
    ]
    assert changed != rows
    assert candidate_weight_for_block(make.table(changed), t0, 12, spec) == path[12]


def test_a_stuck_watermark_holds_the_weight(make, t0) -> None:
    """Open positions all over block 0 with a long max_hold: nothing is complete, nothing moves."""
    spec = spec_of(max_hold=timedelta(days=9))
    rows = [make.row(i, i, candidate_weight=0.1, status=Status.OPEN) for i in range(24 * 9)]
    decision = candidate_weight_for_block(make.table(rows), t0, 1, spec)
    assert (decision.weight, decision.reason) == (0.10, WeightReason.NO_NEW_BLOCK)
