"""One odd trade, wherever it stands, hides nothing; and names that an API leaves out are no other model."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from specs import ANYTIME
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import RequestRow, Requests, Verdict, evaluate, scale
from tradewind.trading.evidence.scale import arm_scales

SPEC = ANYTIME
T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def row_sigma(candidate, ret, calibration):
    scales = arm_scales(candidate, ret, calibration, scale.ANYTIME)
    return np.where(candidate, scales[1], scales[0])


@pytest.mark.parametrize(("name", "decision"), [("worse", Verdict.ROLLBACK), ("better", Verdict.PROMOTE)])
@pytest.mark.parametrize("arm", [True, False])
@pytest.mark.parametrize("sigmas", [20.0, 35.0, 1e3, 1e6, -35.0])
@pytest.mark.parametrize("number", [2, 100, 250])
def test_one_odd_trade_does_not_hide_the_others(name, decision, arm, sigmas, number, published, t0) -> None:
    table, now, expected = published(name)
    pnl = table.pnl.copy()
    at = np.flatnonzero(table.candidate == arm)[number]
    pnl[at] = 0.01 * sigmas * table.notional[at]
    evidence = evaluate(replace(table, pnl=pnl), t0, now, SPEC)
    assert evidence.decision is decision
    assert evidence.block is not None
    assert evidence.block <= expected["block"] + 25  # its own z of -8 or +4 costs some days


def test_a_look_of_the_past_stays(make, t0) -> None:
    """Odd rows that come later change no earlier scale, to the last bit."""
    rows = make.rows(30, 5, messy=True)
    whole = evaluate(make.table(rows), t0, t0 + timedelta(days=40), SPEC).looks
    part = evaluate(make.table(rows), t0, t0 + timedelta(days=20), SPEC).looks
    assert part.better.tolist() == whole.better[: len(part.better)].tolist()


def test_a_market_that_becomes_wilder_is_followed() -> None:
    rng = np.random.default_rng(2)
    ret = np.concatenate([rng.standard_normal(300), 1000.0 * rng.standard_normal(2000)])
    sigma = row_sigma(rng.random(2300) < 0.5, ret, np.arange(2300) < 24)
    assert sigma[299] == pytest.approx(1.0, rel=0.2)
    assert 500.0 < sigma[-1] < 1100.0


def test_without_a_trade_there_is_no_scale_and_nothing_is_odd() -> None:
    ret = np.concatenate([np.zeros(30), np.full(30, 0.01)])
    sigma = row_sigma(np.ones(60, dtype=bool), ret, np.arange(60) < 24)
    assert sigma[30] == 1e-6
    assert 1e-4 < sigma[31] < 0.01


def test_runs_side_by_side_are_scaled_as_each_alone() -> None:
    rng = np.random.default_rng(3)
    ret = rng.standard_normal((4, 200)) * 0.01
    ret[1, 50] = ret[2, 199] = 1e100
    ret[3, ::7] *= 1e6
    candidate = rng.random((4, 200)) < 0.3
    together = row_sigma(candidate, ret, np.arange(200) < 24)
    for run in range(4):
        alone = row_sigma(candidate[run], ret[run], np.arange(200) < 24)
        assert together[run].tolist() == alone.tolist()
    assert together[1, -1] < 0.1


def change(*names: str) -> str | None:
    """The new name, where the baseline called itself these, two on the first day and one on each day after it."""
    times = [T0, T0 + timedelta(hours=1), *(T0 + day * DAY for day in range(1, 20))]
    rows = [
        RequestRow(f"d{i}", Arm.BASELINE, time, reported_model=name)
        for i, (name, time) in enumerate(zip(names, times, strict=False))
    ]
    log = Requests.from_rows(rows).log(T0 + 30 * DAY, 1e9, T0 + DAY)
    return log.changes[0].now if log.changes else None


@pytest.mark.parametrize(
    ("names", "now"),
    [
        (("m/a", "m/a", "m", "m/a"), None),
        (("m/a", "m", "m"), None),
        (("m", "m", "m/a", "m", "m/a"), None),
        (("m", "m", "m/a", "m/b"), "m/b"),
        (("m/a", "m/a", "m/b"), "m/b"),
        (("m/a", "m/b", "m/b", "m/a"), None),
        (("m/a", "m/a", "m", "m/b"), "m/b"),
        (("m/a", "m/a", "n"), "n"),
        (("m", "m", "n/a"), "n/a"),
        (("m7", "m7", "m70"), "m70"),
        (("org/m/fp_1", "org/m", "org/m", "org/m/fp_2"), "org/m/fp_2"),
        (("org/m", "org/m", "org/m-2"), "org/m-2"),
    ],
)
def test_what_is_not_said_is_no_other_model(names, now) -> None:
    assert change(*names) == now


def test_a_cut_at_8_scales_would_move_published_returns_and_one_at_16_does_not(published) -> None:
    """What docs/statistics.md says of the cut: returns of the published tables reach 14.5 scales."""
    reached = 0.0
    for name in ("better", "worse", "null", "never_closed_candidate", "selective_regime"):
        table, _, _ = published(name)
        order = np.argsort(table.decided_us, kind="stable")
        ret = np.where(table.notional > 0, table.pnl / table.notional, np.nan)[order]
        day = (table.decided_us[order] - table.decided_us.min()) // (86_400 * 10**6)
        sigma = row_sigma(table.candidate[order], ret, day == 0)
        reached = max(reached, float(np.nanmax(np.abs(ret) / sigma)))
    assert 8.0 < reached < 16.0
