"""Tables as programs write them: read where there is one meaning, refused by row, column and remedy where there are two."""

import numpy as np
import pytest

from tradewind.trading.evidence import Requests, TradeTable

HEADER = "decision_id,arm,candidate_weight,decided_at,status,closed_at,notional_usd,pnl_usd"
EXTRA = ",received_at,answered_at,latency_ms,error_kind,fallback,reported_model,note"
ROWS = (
    "d1,candidate,0.5,2026-01-01T00:00:00Z,closed,2026-01-01T04:00:00Z,1000.5,-2.25,,2026-01-01T00:00:01Z,40,,false,chat-7,ok",
    "d2,baseline,0.5,2026-01-01T01:00:00Z,open,,1500,,,2026-01-01T01:00:01Z,50.5,timeout,true,,ok",
    "d3,candidate,0.5,2026-01-01T02:00:00Z,hold,,,,,,45,,f,,ok",
)
PLAIN = "\n".join([HEADER + EXTRA, *ROWS]) + "\n"


def read(text: str, decimal: str = ".") -> tuple[TradeTable, Requests]:
    lines = text.splitlines(keepends=True)
    requests = Requests.from_csv(lines, decimal)
    assert requests is not None
    return TradeTable.from_csv(lines, decimal), requests


def same(first: tuple[TradeTable, Requests], second: tuple[TradeTable, Requests]) -> None:
    for one, other in zip(first, second, strict=True):
        for name in one.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def cells(change: dict[tuple[int, str], str]) -> str:
    """The plain table with some cells replaced; rows are counted from 1."""
    names = (HEADER + EXTRA).split(",")
    rows = [row.split(",") for row in ROWS]
    for (number, column), value in change.items():
        rows[number - 1][names.index(column)] = value
    return "\n".join([",".join(names), *(",".join(row) for row in rows)]) + "\n"


def semicolons(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        ("\ufeff" + PLAIN, "."),
        (PLAIN.replace("\n", "\r\n"), "."),
        (PLAIN.replace("\n", "\r"), "."),
        (PLAIN.replace(",", "\t"), "."),
        (PLAIN.replace(",", ";"), "."),
        (semicolons(PLAIN), ","),
        (PLAIN.replace(",", ", "), "."),
        (PLAIN + "\n\n" + "," * 14 + "\n", "."),
        (PLAIN.replace("\n", ",,\n"), "."),
        (PLAIN.replace(HEADER, HEADER.upper().replace("PNL_USD", " Pnl_USD ")), "."),
        (PLAIN.replace("candidate,", "CANDIDATE,").replace("closed", "Closed").replace("timeout", "TIMEOUT"), "."),
        (cells({(1, "decided_at"): "1767225600", (1, "closed_at"): "1767240000000"}), "."),
        (cells({(1, "decided_at"): "1767225600000000", (1, "closed_at"): "1767240000000000000"}), "."),
        (cells({(1, "decided_at"): "2026-01-01 08:00:00+08:00", (2, "decided_at"): "2026-01-01T01:00:00+0000"}), "."),
        (cells({(1, "notional_usd"): '"1,000.50"', (2, "notional_usd"): '"1500.0"'}), "."),
        (cells({(1, "pnl_usd"): "\u22122.25"}), "."),
        (cells({(1, "note"): '"a ""quoted"" word, and\na line"'}), "."),
        (cells({(3, "fallback"): "NO", (1, "fallback"): "0", (2, "fallback"): "True"}), "."),
    ],
)
def test_one_table_in_many_hands(text, decimal) -> None:
    same(read(text, decimal), read(PLAIN))


@pytest.mark.parametrize(
    "word", ["NULL", "None", "nan", "NaN", "\\N", "N/A", "null", "none", "-", "NaT", "<NA>", "#N/A"]
)
def test_no_value_in_every_spelling_is_no_value(word) -> None:
    empty = [(1, "received_at"), (1, "error_kind"), (2, "closed_at"), (2, "pnl_usd"), (2, "reported_model")]
    empty += [(3, "notional_usd"), (3, "answered_at"), (3, "fallback")]
    same(read(cells(dict.fromkeys(empty, word))), read(cells({(3, "fallback"): ""})))
    with pytest.raises(ValueError, match=r"row 1 \(d1\), column pnl_usd: .* closed row"):
        read(cells({(1, "pnl_usd"): word}))
    with pytest.raises(ValueError, match=r"row 2 .*, column candidate_weight: empty"):
        read(cells({(2, "candidate_weight"): word}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({(1, "error_kind"): "0"}, r"row 1 \(d1\), column error_kind: '0' is unknown; use one of timeout, transport"),
        ({(1, "error_kind"): "false"}, r"column error_kind: 'false' is unknown"),
        ({(1, "fallback"): "maybe"}, r"column fallback: 'maybe' is neither yes nor no"),
        ({(1, "notional_usd"): "-1000.5"}, r"row 1 \(d1\), column notional_usd: is not above 0 on a closed row"),
        ({(1, "notional_usd"): "0"}, r"column notional_usd: is not above 0 on a closed row"),
        ({(1, "pnl_usd"): "1.7976931348623157e+308"}, r"row 1 \(d1\), column pnl_usd: 1.79.* cannot be"),
        ({(1, "pnl_usd"): "inf"}, r"column pnl_usd: 'inf' is not a number"),
        ({(1, "pnl_usd"): "1_000"}, r"column pnl_usd: '1_000' is not a number"),
        ({(1, "pnl_usd"): '"1,234"'}, r"column pnl_usd: '1,234' is ambiguous"),
        ({(1, "pnl_usd"): '"-2,25"'}, r"column pnl_usd: '-2,25' has a decimal comma.*--decimal ,"),
        ({(1, "pnl_usd"): "-2,25"}, r"row 1: has 16 cells under 15 headings; if its decimals are commas"),
        ({(1, "latency_ms"): "-1"}, r"column latency_ms: -1 cannot be; give a number from 0"),
        ({(1, "decided_at"): "01.02.2026"}, r"column decided_at: '01.02.2026' must be an ISO 8601 time"),
        ({(1, "decided_at"): "2026-01-01T00:00:00"}, r"column decided_at: .* has no offset"),
        ({(2, "note"): '"stop 6 in'}, r"row 2: "),
        ({(2, "note"): 'stop" 6'}, None),
        ({(2, "note"): '"stop" 6'}, r"row 2: a quote is never closed, or a cell goes on after its quotes"),
        ({(1, "note"): '"stop 6 in', (3, "note"): 'stop 7 in"'}, r"row 1: a cell that begins here swallows rows"),
        ({(1, "note"): '"' + "x" * 200_000 + '"'}, r"row 1: field larger than field limit"),
        ({(1, "note"): "a\0b"}, r"NUL"),
    ],
)  # fmt: skip
def test_what_has_no_one_meaning_is_refused(change, message) -> None:
    if message is None:
        read(cells(change))
        return
    with pytest.raises(ValueError, match=message):
        read(cells(change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN.replace("note", "PNL_usd "), r"column pnl_usd: its heading comes twice"),
        (PLAIN.replace("pnl_usd", "pnl"), r"column pnl_usd: missing from the header \(read as separated by commas\)"),
        (PLAIN.replace(",ok\n", "\n", 1), r"row 1: has 14 cells under 15 headings; give each column its cell"),
        ("sep=;\n" + PLAIN.replace(",", ";"), r"begins with sep="),
        ("", r"column decision_id: missing"),
    ],
)
def test_a_table_that_is_none_is_refused(text, message) -> None:
    with pytest.raises(ValueError, match=message):
        TradeTable.from_csv(text.splitlines(keepends=True))


def test_a_decimal_comma_is_read_when_it_is_told() -> None:
    quoted = {(1, "pnl_usd"): '"-1.234,5"', (1, "notional_usd"): '"1000,5"', (2, "latency_ms"): '"50,5"'}
    weights = {(number, "candidate_weight"): '"0,5"' for number in (1, 2, 3)}
    text = cells(quoted | weights)
    table, _ = read(text, ",")
    assert (table.pnl[0], table.notional[0]) == (-1234.5, 1000.5)
    with pytest.raises(ValueError, match=r"'1\.234' is ambiguous"):
        read(text.replace("-1.234,5", "1.234"), ",")
