"""The vectorised statistic against the same specification written row by row (benchmarks/evidence.py)."""

import importlib.util
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from specs import ANYTIME, anytime
from tradewind.trading.evidence import evaluate
from tradewind.trading.evidence.blocks import settle
from tradewind.trading.evidence.sums import BlockSums
from tradewind.trading.evidence.table import to_us


@pytest.fixture(scope="module")
def naive() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "evidence.py"
    spec = importlib.util.spec_from_file_location("benchmarks_evidence", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("hold", [timedelta(hours=6), timedelta(hours=24), timedelta(hours=30)])
def test_block_sums_of_messy_tables(seed, hold, make, naive, t0) -> None:
    rows = make.rows(20, seed, effect=0.3, weights=(0.05, 0.1, 0.25, 0.5), messy=True)
    spec = anytime(max_hold=hold)
    for now in (t0, t0 + timedelta(days=3, hours=5), t0 + timedelta(days=19), t0 + timedelta(days=60)):
        expected = np.array(naive.naive_block_sums(rows, t0, now, spec)).reshape(-1, 6)
        sums = BlockSums.of(settle(make.table(rows), to_us(t0, ""), to_us(now, ""), spec.settlement), spec)
        scored = [sums.alone[name] for name in ("sharpe", "winRate")]
        got = np.stack([*(part for of in scored for part in (of.scores, of.infos)), *sums.rows], axis=-1)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("seed", "effect"), [(1, 0.0), (2, 0.3), (3, -0.3), (4, 0.3)])
def test_decisions_and_intervals(seed, effect, make, naive, t0) -> None:
    rows = make.rows(84, seed, effect=effect, weights=(0.1,) * 5 + (0.5,))
    now, spec = t0 + timedelta(days=90), ANYTIME
    decision, block, metrics = naive.naive_evaluate(rows, t0, now, spec)
    evidence = evaluate(make.table(rows), t0, now, spec)
    assert (evidence.decision.value, evidence.block) == (decision, block)
    for name, expected in metrics.items():
        metric = evidence.metrics[name]
        assert (metric.estimate, metric.lower, metric.upper) == pytest.approx(expected, abs=1e-6)
