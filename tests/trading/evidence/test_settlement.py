"""Which rows count: the watermark, settlement by max_hold, refusals, and what a late report may change."""

import math
from datetime import timedelta

import numpy as np
import pytest

from specs import ANYTIME
from tradewind.trading.evidence import Settlement, Status, Verdict, evaluate
from tradewind.trading.evidence.blocks import settle
from tradewind.trading.evidence.table import to_us

SPEC = ANYTIME


def rows_at(table, t0, **elapsed):
    return settle(table, to_us(t0, ""), to_us(t0 + timedelta(**elapsed), ""), SPEC.settlement)


def test_an_open_trade_holds_the_watermark_until_max_hold(make, t0) -> None:
    rows = [make.row(i, i) for i in range(60)]
    rows[50] = make.row(50, 50, status=Status.OPEN)
    table = make.table(rows)
    assert rows_at(table, t0, hours=73).blocks == 2
    assert rows_at(table, t0, hours=74).blocks == 3, "at max_hold the row is settled by force"
    settled = rows_at(table, t0, hours=74)
    assert settled.forced.sum() == 1
    assert (settled.win[settled.forced], np.isnan(settled.ret[settled.forced])) == (0.0, True)


@pytest.mark.parametrize(("arm", "win"), [("candidate", 0.0), ("baseline", 1.0)])
def test_force_speaks_against_the_candidate(arm, win, make, t0) -> None:
    settled = rows_at(make.table([make.row(0, 0, arm, status=Status.OPEN)]), t0, days=3)
    assert settled.forced.tolist() == [True]
    assert settled.win.tolist() == [win]


def test_a_report_after_max_hold_changes_no_evidence(make, t0) -> None:
    """A closed row that was reported too late counts as settled by force, however late one looks."""
    closed = [make.row(i, i, pnl_usd=5.0 - i % 7, arm=["candidate", "baseline"][i % 2]) for i in range(24 * 9)]
    late, never = closed.copy(), closed.copy()
    late[40] = make.row(40, 40, pnl_usd=5_000.0, received_at=t0 + timedelta(hours=40 + 24, seconds=1))
    never[40] = make.row(40, 40, status=Status.OPEN)
    for days in (3, 9, 20):
        now = t0 + timedelta(days=days)
        first, second = (evaluate(make.table(rows), t0, now, SPEC) for rows in (late, never))
        assert first.metrics == second.metrics
        assert first.candidate.forced == 1


def test_a_report_at_max_hold_is_in_time(make, t0) -> None:
    row = make.row(0, 0, received_at=t0 + timedelta(hours=24))
    assert rows_at(make.table([row]), t0, hours=23).pending.tolist() == [True]
    for hours in (24, 48):
        settled = rows_at(make.table([row]), t0, hours=hours)
        assert (settled.trade.tolist(), settled.forced.tolist()) == ([True], [False])


def test_what_is_reported_later_is_open_now(make, t0) -> None:
    """closed_at counts where received_at is absent; received_at counts where it is given."""
    by_close = make.table([make.row(0, 0)])
    assert rows_at(by_close, t0, hours=3).pending.tolist() == [True]
    assert rows_at(by_close, t0, hours=4).pending.tolist() == [False]
    by_report = make.table([make.row(0, 0, received_at=t0 + timedelta(hours=6))])
    assert rows_at(by_report, t0, hours=5).pending.tolist() == [True]
    assert rows_at(by_report, t0, hours=6).pending.tolist() == [False]


@pytest.mark.parametrize("status", [Status.HOLD, Status.REJECTED, Status.NOT_FILLED])
@pytest.mark.parametrize("notional", [None, 0.0, 1000.0])
def test_no_trade_is_a_row_of_return_zero_and_half_a_win(status, notional, make, t0) -> None:
    """A hold fills nothing: it must not be refused for having no notional, or trading would select the sample."""
    settled = rows_at(make.table([make.row(0, 0, status=status, notional_usd=notional)]), t0, days=1)
    assert (settled.ret.tolist(), settled.win.tolist(), settled.complete) == ([0.0], [0.5], 1)


@pytest.mark.parametrize("notional", [0.0, -5.0])
def test_a_closed_trade_without_exposure_refuses_the_table(notional, make) -> None:
    """Leaving such rows out for what their own trade was promoted a candidate that was worse."""
    rows = [make.row(0, 0), make.row(1, 1, notional_usd=notional)]
    with pytest.raises(ValueError, match=r"row 2 .*, column notional_usd: is not above 0 on a closed row; give"):
        make.table(rows)


def test_rows_that_were_not_randomised_or_not_of_this_experiment_are_no_rows(make, t0) -> None:
    rows = [
        make.row(0, -1),
        make.row(1, 1, candidate_weight=0.0, arm="baseline"),
        make.row(2, 2, candidate_weight=1.0),
        make.row(3, 3),
        make.row(4, 100),
    ]
    evidence = evaluate(make.table(rows), t0, t0 + timedelta(days=2), SPEC)
    assert (evidence.before_start, evidence.unrandomised, evidence.candidate.decisions) == (1, 2, 1)


@pytest.mark.parametrize(("hold", "days"), [("1", 1), ("24", 1), ("24.5", 2), ("72", 3), ("73", 4)])
def test_a_block_is_at_least_as_long_as_a_position(hold, days) -> None:
    assert Settlement(timedelta(hours=float(hold))).block_length == timedelta(days=days)


def test_a_win_is_above_zero_and_the_first_block_calibrates_the_scale(make, t0) -> None:
    rows = [make.row(i, i, ["candidate", "baseline"][i % 2], pnl_usd=[0.0, 1.0][i % 2]) for i in range(48)]
    settled = rows_at(make.table(rows), t0, days=3)
    assert settled.win[:2].tolist() == [0.0, 1.0]
    evidence = evaluate(make.table(rows), t0, t0 + timedelta(days=1, hours=4), SPEC)
    assert evidence.blocks == 1
    assert math.isnan(evidence.metrics["sharpe"].estimate)
    assert evidence.metrics["winRate"].estimate < -0.5


def test_more_than_one_percent_forced_blocks_both_decisions_until_diluted(make, t0) -> None:
    rows = make.rows(60, 11, effect=1.5)
    undisturbed = evaluate(make.table(rows), t0, t0 + timedelta(days=60), SPEC).block
    mine = [i for i in range(24, 72) if rows[i].arm == "candidate"][:2]
    for i in mine:
        rows[i] = make.row(i, i, status=Status.OPEN)
    evidence = evaluate(make.table(rows), t0, t0 + timedelta(days=60), SPEC)
    assert evidence.decision is Verdict.PROMOTE
    held = evidence.looks.held
    assert undisturbed is not None
    assert held[undisturbed]
    assert evidence.block is not None
    assert evidence.block > undisturbed
    assert not held[evidence.block]
    assert not evidence.max_hold_too_short

    worse = make.rows(60, 11, effect=-1.5)
    assert evaluate(make.table(worse), t0, t0 + timedelta(days=60), SPEC).decision is Verdict.ROLLBACK
    for i in [i for i in range(24, 24 * 59) if worse[i].arm == "baseline"][::20]:
        worse[i] = make.row(i, i, "baseline", status=Status.OPEN)
    evidence = evaluate(make.table(worse), t0, t0 + timedelta(days=60), SPEC)
    assert (evidence.decision, evidence.max_hold_too_short) == (Verdict.CONTINUE, True)
