"""Trade tables for the tests: the published ones and small ones made on the spot."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import Status, TradeRow, TradeTable

FIXTURES = Path(__file__).parents[2] / "fixtures" / "stats"
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def t0() -> datetime:
    return T0


@pytest.fixture(scope="session")
def published() -> Callable[[str], tuple[TradeTable, datetime, dict[str, Any]]]:
    """Table, now and expected answer of a published case."""
    cases = json.loads((FIXTURES / "expected.json").read_text())["cases"]

    def load(name: str) -> tuple[TradeTable, datetime, dict[str, Any]]:
        with (FIXTURES / f"{name}.csv").open(newline="") as lines:
            table = TradeTable.from_csv(lines)
        return table, datetime.fromisoformat(cases[name]["now"]), cases[name]

    return load


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """`row` makes one row, `rows` a random experiment, `table` a table of rows."""
    return SimpleNamespace(row=_row, rows=_rows, table=TradeTable.from_rows)


def _row(number: int, hours: float, arm: str = "candidate", **changes: Any) -> TradeRow:
    """A winning trade decided at t0 + hours and closed four hours later."""
    at = T0 + timedelta(hours=hours)
    row = TradeRow(
        decision_id=f"d{number:06d}",
        arm=Arm(arm),
        candidate_weight=0.5,
        decided_at=at,
        status=Status.CLOSED,
        closed_at=at + timedelta(hours=4),
        notional_usd=1000.0,
        pnl_usd=10.0,
    )
    if changes.get("status", Status.CLOSED) is not Status.CLOSED:
        changes = {"closed_at": None, "notional_usd": None, "pnl_usd": None} | changes
    return replace(row, **changes)


def _rows(
    days: int,
    seed: int,
    *,
    effect: float = 0.0,
    weights: Sequence[float] = (0.5,),
    per_day: int = 24,
    messy: bool = False,
) -> list[TradeRow]:
    """Independent t(4) returns of 1 %; messy: holds, rejections, open and late rows, tiny notionals among them."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(days * per_day):
        hours = i * 24 / per_day
        weight = weights[min(i // per_day, len(weights) - 1)]
        arm = "candidate" if rng.random() < weight else "baseline"
        ret = 0.01 * (rng.standard_t(4) / 2**0.5 + effect * (arm == "candidate"))
        row = _row(i, hours, arm, candidate_weight=weight, pnl_usd=1000.0 * ret)
        kind = rng.random() if messy else 1.0
        if kind < 0.10:
            row = _row(i, hours, arm, candidate_weight=weight, status=Status.HOLD)
        elif kind < 0.13:
            row = _row(i, hours, arm, candidate_weight=weight, status=Status.REJECTED)
        elif kind < 0.14:
            row = _row(i, hours, arm, candidate_weight=weight, status=Status.OPEN)
        elif kind < 0.16:
            row = replace(row, received_at=row.decided_at + timedelta(hours=float(rng.uniform(4, 60))))
        elif kind < 0.17:
            row = replace(row, notional_usd=1.0, pnl_usd=row.pnl_usd and row.pnl_usd / 1000.0)
        elif kind < 0.18:
            row = replace(row, candidate_weight=0.0)
        rows.append(row)
    return rows
