"""Trade tables: CSV and rows, and errors that name row, column and remedy."""

import io
from datetime import datetime, timedelta

import pytest

from tradewind.trading.evidence import TradeTable
from tradewind.trading.evidence.table import NEVER, from_us, to_us

HEADER = "decision_id,arm,candidate_weight,decided_at,status,closed_at,notional_usd,pnl_usd"
GOOD = "d1,candidate,0.5,2026-01-01T00:00:00+00:00,closed,2026-01-01T04:00:00+00:00,1000,5"


def read(*lines: str, header: str = HEADER) -> TradeTable:
    return TradeTable.from_csv(io.StringIO("\n".join([header, *lines])))


def test_a_row() -> None:
    table = read(GOOD)
    assert (table.decision_id[0], bool(table.candidate[0]), table.weight[0], table.notional[0], table.pnl[0]) == (
        "d1",
        True,
        0.5,
        1000.0,
        5.0,
    )
    assert table.received_us[0] == table.closed_us[0] == table.decided_us[0] + 4 * 3_600_000_000


def test_columns_in_any_order_zones_and_extra_columns() -> None:
    header = "note,received_at,pnl_usd,notional_usd,closed_at,status,decided_at,candidate_weight,arm,decision_id"
    line = "x,2026-01-01T05:00:00Z,5,1000,2026-01-01T12:00:00+08:00,closed,2026-01-01T00:00:00Z,0.5,candidate,d1"
    table = read(line, header=header)
    plain = read(GOOD)
    assert (table.closed_us[0], table.decided_us[0]) == (plain.closed_us[0], plain.decided_us[0])
    assert table.received_us[0] == plain.received_us[0] + 3_600_000_000


def test_no_rows_is_a_table() -> None:
    assert len(read()) == 0


def test_an_open_row_is_never_received_and_a_hold_at_once() -> None:
    opened = "d1,candidate,0.5,2026-01-01T00:00:00Z,open,,1000,"
    hold = "d2,candidate,0.5,2026-01-01T00:00:00Z,hold,,,"
    table = read(opened, hold)
    assert table.received_us[0] == NEVER
    assert table.received_us[1] == table.decided_us[1]


def changed(column: str, value: str) -> str:
    values = GOOD.split(",")
    values[HEADER.split(",").index(column)] = value
    return ",".join(values)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("decision_id", "", "empty; give each decision its id"),
        ("arm", "api", "'api' is unknown; use one of baseline, candidate"),
        ("candidate_weight", "half", "'half' is not a number"),
        ("candidate_weight", "", "empty; give the candidate's weight"),
        ("candidate_weight", "1.2", "is no probability"),
        ("candidate_weight", "nan", "empty; give the candidate's weight"),
        ("decided_at", "", "empty; give the time"),
        ("decided_at", "yesterday", "must be an ISO 8601 time with an offset"),
        ("decided_at", "2026-01-01T00:00:00", "has no offset"),
        ("status", "won", "'won' is unknown; use one of closed, open"),
        ("closed_at", "2026-01-01T04:00:00", "has no offset"),
        ("closed_at", "", "is missing on a closed row"),
        ("closed_at", "2025-12-31T00:00:00Z", "is before decided_at"),
        ("notional_usd", "", "is not a finite number on a closed row"),
        ("notional_usd", "inf", "'inf' is not a number"),
        ("pnl_usd", "", "is not a finite number on a closed row"),
        ("pnl_usd", "nan", "is not a finite number on a closed row"),
    ],
)
def test_a_mistake_is_named_with_row_column_and_remedy(column, value, message) -> None:
    lines = [GOOD.replace("d1", "d0"), changed(column, value)]
    with pytest.raises(ValueError, match=message) as error:
        read(*lines)
    assert f"row 2 ({'' if column == 'decision_id' else 'd1'}), column {column}" in str(error.value)


def test_an_open_row_with_a_close_is_contradictory() -> None:
    with pytest.raises(ValueError, match="column closed_at: is given on an open row"):
        read(changed("status", "open"))


def test_a_decision_counts_once() -> None:
    with pytest.raises(ValueError, match=r"row 3 \(d1\), column decision_id: occurs twice"):
        read(GOOD, GOOD.replace("d1", "d2"), GOOD)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="column pnl_usd: missing from the header"):
        read(header=HEADER.replace(",pnl_usd", ""))


def test_times_go_both_ways_exactly() -> None:
    time = datetime.fromisoformat("2026-03-01T12:34:56.789012+08:00")
    assert from_us(to_us(time, "t")) == time
    with pytest.raises(ValueError, match=r"t: .* has no time zone"):
        to_us(time.replace(tzinfo=None) + timedelta(0), "t")
