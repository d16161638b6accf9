"""Sums that are kept from look to look give what a look from nothing gives, to the last bit."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from specs import spec
from tradewind.trading.evidence import EvidenceSpec, Memory, TradeTable, judge, judgement_json
from tradewind.trading.evidence.kept import KeptSums
from tradewind.trading.evidence.table import NEVER, TIMEOUT

DAY = timedelta(days=1)


def _table(make, seed: int, *, odd: bool = True, weak: bool = False) -> TradeTable:
    """Messy rows of two symbols with pairs, late papers, missing ones, and failures; `weak`: papers say nothing."""
    rng = np.random.default_rng(seed)
    table: TradeTable = make.table(make.rows(40, seed, weights=(0.25, 0.5), messy=True))
    count = len(table)
    symbol = np.where(rng.random(count) < 0.3, "XAUUSD", "EURUSD")
    market = 0.01 * rng.standard_t(4, count)
    if not weak:
        market = np.where(np.isfinite(table.pnl), table.pnl / table.notional, market)
    papers = [market + 0.003 * rng.standard_normal(count) for _ in range(2)]
    missing = rng.random(count) < 0.1
    papers[1][missing] = np.nan
    hours = np.where(rng.random(count) < 0.05, 30, 8)
    failed = np.where(rng.random(count) < 0.03, TIMEOUT, 0).astype(np.int8)
    if odd:
        at = rng.integers(0, count, 5)
        table.pnl[at] = 0.5 * table.notional[at]
    return replace(
        table,
        symbol=symbol,
        paper_baseline=papers[0],
        paper_candidate=papers[1],
        paper_us=table.decided_us + hours * 3_600_000_000,
        market=market,
        market_us=table.decided_us + 8 * 3_600_000_000,
        shadow_failed=failed,
    )


SPECS: dict[str, EvidenceSpec] = {
    "both": spec(traffic={"shadow": "both"}, evidence={"scaleBySymbol": True}),
    "candidate": spec(traffic={"shadow": "candidate"}),
    "market": spec(evidence={"marketAdjustment": True}),
    "anytime": spec(evidence={"boundary": "anytime"}),
    "anytime with pairs": spec(traffic={"shadow": "both"}, evidence={"boundary": "anytime"}),
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(("seed", "weak"), [(1, False), (2, False), (3, True)])
def test_looks_at_any_times_agree_with_looks_from_nothing(name: str, seed: int, weak: bool, make, t0) -> None:
    table, memory = _table(make, seed, weak=weak), Memory()
    hours = np.sort(np.random.default_rng(seed).uniform(0.0, 45 * 24.0, 40))
    recalled = 0
    for at in (t0 + timedelta(hours=float(h)) for h in hours):
        seen = table.select(table.decided_us < int(at.timestamp() * 1e6))
        before = memory.kept
        judge(seen, t0, at, SPECS[name], memory=memory)
        kept, fresh = judge(seen, t0, at, SPECS[name], memory=memory), judge(seen, t0, at, SPECS[name])
        recalled += before is not None and memory.kept is not before
        got, expected = (_bits(judgement) for judgement in (kept, fresh))
        assert got == expected
    assert recalled > 10


def _bits(judgement: Any) -> Any:
    looks = judgement.evidence.looks
    paths = {
        key: path.tolist() for key, path in {**looks.not_worse, "better": looks.better, "worse": looks.worse}.items()
    }
    return judgement_json(judgement), paths, [bool(x) for x in looks.ends]


@pytest.mark.parametrize("later", [0, 1])
@pytest.mark.parametrize("column", ["pnl", "paper_candidate", "weight", "shadow_failed", "symbol"])
def test_a_past_row_that_changed_is_not_what_was_kept(column: str, later: int, make, t0) -> None:
    """A table that was edited by hand, or another experiment's: the sums of other rows are never taken for these."""
    table, memory, name = _table(make, 3, odd=False), Memory(), "both"
    judge(table, t0, t0 + 30 * DAY, SPECS[name], memory=memory)
    values = getattr(table, column).copy()
    drawn = ~table.candidate & (table.status == 0) & np.isfinite(table.paper_candidate)
    rows = np.flatnonzero(drawn)[200:240] if column == "shadow_failed" else np.flatnonzero(drawn)[200:201]
    words = {"symbol": "GBPUSD", "shadow_failed": 2}
    values[rows] = words[column] if column in words else values[rows] / 2
    other = replace(table, **{column: values})
    now = t0 + (30 + later) * DAY
    kept = judge(other, t0, now, SPECS[name], memory=memory)
    assert _bits(kept) == _bits(judge(other, t0, now, SPECS[name]))
    assert _bits(kept) != _bits(judge(table, t0, now, SPECS[name]))


def test_where_nothing_is_new_nothing_is_judged_anew(make, t0) -> None:
    table, memory, now = _table(make, 5), Memory(), t0 + 30 * DAY
    first = judge(table, t0, now, SPECS["both"], memory=memory)
    again = judge(table, t0, now + timedelta(minutes=1), SPECS["both"], memory=memory)
    assert again.evidence is first.evidence


def test_what_stands_beside_the_rows_counts_too(make, t0) -> None:
    """Another spec or start, or a row more whose report is missing or that is left out: what was found before is not found again."""
    table, now = _table(make, 5), t0 + 30 * DAY
    late = replace(table, received_us=np.where(np.arange(len(table)) == 700, NEVER, table.received_us))
    certain = replace(table, weight=np.where(np.arange(len(table)) == 700, 1.0, table.weight))
    for other, start, rules in (
        (late, t0, SPECS["both"]),
        (certain, t0, SPECS["both"]),
        (table, t0 - timedelta(hours=1), SPECS["both"]),
        (table, t0, SPECS["candidate"]),
    ):
        memory = Memory()
        judge(table, t0, now, SPECS["both"], memory=memory)
        assert _bits(judge(other, start, now, rules, memory=memory)) == _bits(judge(other, start, now, rules))


def test_only_new_rows_are_summed(make, t0, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a look sums does not grow with the rows that were judged before."""
    table, memory, name = _table(make, 4), Memory(), "both"
    summed: list[int] = []
    holds = KeptSums.holds

    def counted(self: KeptSums, rows: Any, spec: EvidenceSpec) -> bool:
        found = holds(self, rows, spec)
        summed.append(rows.complete - self.complete if found else rows.complete)
        return found

    monkeypatch.setattr(KeptSums, "holds", counted)
    for day in range(5, 40):
        judge(table, t0, t0 + day * DAY, SPECS[name], memory=memory)
    assert max(summed[2:]) < 100  # a few days of 24 rows each, at the most
