"""Operating characteristics of the spec, against the published ones (tolerance: 2 points, 3 blocks), and the
simulation's weights against the policy that runs in production.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from specs import anytime
from specs import spec as spec_of
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import (
    EvidenceSpec,
    Status,
    TradeRow,
    TradeTable,
    candidate_weight_for_block,
    evaluate,
)
from tradewind.trading.simulation import Market, Share, _draw, operating_characteristics

DAY = timedelta(days=1)
T0 = datetime(2026, 1, 1, tzinfo=UTC)
HALF = anytime(traffic={"policy": "fixed", "weight": "0.5"})
LADDER = anytime(
    traffic={
        "policy": "schedule",
        "steps": [
            {"duration": f"{days}d", "weight": weight}
            for days, weight in ((7, "0.05"), (7, "0.10"), (14, "0.25"), (56, "0.50"))
        ],
    }
)


@pytest.mark.parametrize(
    ("spec", "effect", "promote", "rollback", "block"),
    [
        (HALF, 0.0, 0.010, 0.035, None),
        (HALF, 0.2, 0.985, 0.0, 35),
        (HALF, -0.2, 0.0, 0.975, None),
        (LADDER, 0.0, 0.015, 0.05, None),
        (LADDER, 0.3, 1.0, 0.0, 32),
    ],
)
def test_published_operating_characteristics(spec, effect, promote, rollback, block) -> None:
    result = operating_characteristics(spec, [effect], 1000, np.random.default_rng(1))[0]
    for share, published in ((result.promote, promote), (result.rollback, rollback)):
        # 2 points as published, and two standard errors of the difference: the published shares are of 200 runs.
        error = (published * (1 - published) / 200 + share.standard_error**2) ** 0.5
        assert share.value == pytest.approx(published, abs=0.02 + 2 * error)
    if block is not None:
        assert result.median_block == pytest.approx(block, abs=3)


def test_the_default_policy_promotes_equal_arms_seldom() -> None:
    result = operating_characteristics(EvidenceSpec(), [0.0], 60, np.random.default_rng(3))[0]
    assert result.promote.value <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("spec", [HALF, LADDER, EvidenceSpec()], ids=["anytime, fixed", "anytime, schedule", "gated"])
def test_false_verdicts_of_ten_thousand_experiments(spec) -> None:
    """Equal arms, looked at after each of 84 blocks: what is promised, 5 % and 10 %, is kept with room to spare."""
    promoted = rolled_back = 0.0
    for seed in range(5):
        (result,) = operating_characteristics(spec, [0.0], 2000, np.random.default_rng(100 + seed))
        promoted, rolled_back = promoted + result.promote.value / 5, rolled_back + result.rollback.value / 5
    print(f"promoted {promoted:.2%}, rolled back {rolled_back:.2%}")
    for share, most in ((promoted, 0.05), (rolled_back, 0.10)):
        assert share + 4 * (share * (1 - share) / 10_000) ** 0.5 < most


@pytest.mark.parametrize("kind", ["gated", "thompsonCapped"])
@pytest.mark.parametrize("market", [Market(), Market(decisions_per_day=6, hold=timedelta(hours=1))])
def test_weights_and_decisions_are_those_of_production(kind, market) -> None:
    """A simulated run as a trade table: the same weight for each block and the same decision."""
    spec = spec_of(traffic={"policy": kind}, evidence={"maxDuration": "30d"})
    rng = np.random.default_rng(4)
    runs, rows = 3, 30 * market.decisions_per_day
    noise, uniform = rng.standard_normal((runs, rows)), rng.random((runs, rows))
    candidate, weight = _draw(spec, -0.3, noise, uniform, market)
    for run in range(runs):
        table = as_table(candidate[run], weight[run], noise[run] - 0.3 * candidate[run], market)
        for block in range(30):
            decision = candidate_weight_for_block(table, T0, block, spec)
            assert decision.weight == pytest.approx(weight[run, block * market.decisions_per_day], abs=1e-12), block
    assert len(np.unique(weight)) > 1


def as_table(candidate, weight, returns, market) -> TradeTable:
    rows = []
    for i, ret in enumerate(returns):
        at = T0 + i * DAY / market.decisions_per_day
        arm = Arm.CANDIDATE if candidate[i] else Arm.BASELINE
        rows.append(TradeRow(f"d{i:05d}", arm, weight[i], at, Status.CLOSED, at + market.hold, 100.0, float(ret)))
    return TradeTable.from_rows(rows)


def test_counts_are_those_of_single_evaluations() -> None:
    rng = np.random.default_rng(8)
    result = operating_characteristics(HALF, [0.25], 6, rng)[0]
    rng = np.random.default_rng(8)
    shape = (6, 84 * 24)
    noise, uniform = rng.standard_t(4, shape) / 2**0.5, rng.random(shape)
    blocks = []
    for run in range(6):
        candidate = uniform[run] < 0.5
        table = as_table(candidate, np.full(shape[1], 0.5), noise[run] + 0.25 * candidate, Market())
        blocks.append(evaluate(table, T0, T0 + 85 * DAY, HALF).block)
    found = [block for block in blocks if block is not None]
    assert result.promote.value == len(found) / 6
    assert result.median_block == np.median(found)


def test_a_share_of_zero_has_an_error_too() -> None:
    assert Share.of(np.zeros(200, dtype=bool)).standard_error == pytest.approx(0.005, abs=1e-4)


@pytest.mark.parametrize(
    ("runs", "market", "message"),
    [(0, Market(), "runs: 0"), (1, Market(hold=timedelta(hours=25)), "hold: .* longer than maxHold")],
)
def test_what_cannot_be_simulated_is_refused(runs, market, message) -> None:
    with pytest.raises(ValueError, match=message):
        operating_characteristics(HALF, [0.0], runs, np.random.default_rng(1), market)
    with pytest.raises(ValueError, match="decisions_per_day: 0"):
        Market(decisions_per_day=0)
