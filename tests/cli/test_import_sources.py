"""The other sources of `tradewind import`: the seed's tables and dumps, freqtrade, and any table by a mapping file."""

import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from openpyxl import Workbook

from import_rig import START, WHERE, Import, freqtrade_database, freqtrade_json, freqtrade_row, lines, point
from tradewind.main import cli

ASSUMED = ("--price-as-input", "--assume", "take_profit_pct=0.05", "--assume", "confidence=0.5")


@pytest.fixture
def tool(postgres_dsn: str, tmp_path: Path, monkeypatch, capsys) -> Import:
    monkeypatch.setenv("TRADEWIND_DSN", postgres_dsn)
    return Import(postgres_dsn, tmp_path, capsys)


def table_row(number: int) -> dict[str, Any]:
    made = point(number)
    return {
        "decision_id": made["conversation_id"],
        "data": json.dumps(made),
        "status": "labeled",
        "label": made["label"],
    }


def as_csv(rows: list[dict[str, Any]], separator: str = ",") -> str:
    names = list(rows[0])
    cells = [names, *([str(row[name]) for name in names] for row in rows)]
    return "".join(separator.join('"' + cell.replace('"', '""') + '"' for cell in row) + "\r\n" for row in cells)


def as_copy(rows: list[dict[str, Any]]) -> str:
    escaped = [
        [str(cell).replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t") for cell in row.values()]
        for row in rows
    ]
    body = "".join("\t".join(row) + "\n" for row in escaped)
    return f"--\n-- PostgreSQL database dump\n--\n\nCOPY public.training_data ({', '.join(rows[0])}) FROM stdin;\n{body}\\.\n\n"


def as_inserts(rows: list[dict[str, Any]]) -> str:
    made = "-- PostgreSQL database dump\n"
    for row in rows:
        values = ", ".join("'" + str(cell).replace("'", "''") + "'" for cell in row.values())
        made += f"INSERT INTO public.training_data ({', '.join(row)}) VALUES ({values});\n"
    return made


FORMS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "csv": as_csv, "semicolons": lambda rows: as_csv(rows, ";"), "copy": as_copy, "inserts": as_inserts, "json": json.dumps,
    "lines": lambda rows: lines(*rows), "json within": lambda rows: json.dumps([r | {"data": json.loads(r["data"])} for r in rows]),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_seeds_table_is_the_same_in_every_form(tool: Import, form: str) -> None:
    code, told = tool.one(tool.write("table", FORMS[form]([table_row(n) for n in range(5)])))
    assert (code, told["format"], told["new"]) == (0, "seed-training-data", 5)
    assert tool.one(tool.write("d.jsonl", lines(*map(point, range(5)))))[1]["known"] == 5


@pytest.mark.parametrize("form", ["copy", "inserts", "csv"])
def test_half_of_a_dump_or_table_is_none(tool: Import, form: str) -> None:
    text = FORMS[form]([table_row(n) for n in range(5)])
    cut = text.rindex("c00004") + 10 if form != "copy" else text.rindex("\\.")
    code, told = tool.one(tool.write("table", text[:cut]))
    assert (code, told["read"], tool.content()) == (1, 0, [[], []])
    assert told["error"]


def test_a_row_of_the_table_whose_parts_differ_is_refused(tool: Import) -> None:
    rows = [
        table_row(0),
        table_row(1) | {"decision_id": "other"},
        table_row(2) | {"label": "neutral"},
        table_row(3) | {"data": "{"},
    ]
    code, told = tool.one(tool.write("t.json", json.dumps(rows)))
    assert (code, told["new"], told["reasons"]) == (1, 1, {"contradiction": 2, "malformed": 1})
    assert [problem["field"] for problem in told["problems"]] == ["decision_id", "label", "data"]


def test_a_dump_of_mysql_is_refused_by_name(tool: Import) -> None:
    _, told = tool.one(
        tool.write("d.sql", "INSERT INTO `training_data` VALUES ('a');"), "--format", "seed-training-data"
    )
    assert "MySQL" in told["error"]


def test_the_trades_table_gives_decisions_their_outcome_whichever_comes_first(tool: Import) -> None:
    trades = [
        {"decision_id": f"c{n:05}", "model_used": "deepseek_api", "status": "closed", "pnl": 2.5, "created_at": "2026-01-05T00:00:00Z",
         "closed_at": "2026-01-06T08:00:00+08:00"} for n in range(3)
    ]  # fmt: skip
    trades.append(
        {"decision_id": "c9", "model_used": "x", "status": "open", "pnl": "", "created_at": "", "closed_at": ""}
    )
    trades.append(
        {"decision_id": "", "model_used": "x", "status": "closed", "pnl": 1, "created_at": "", "closed_at": ""}
    )
    file = tool.write("trades.csv", as_csv(trades))
    code, told = tool.one(file)
    assert (code, told["format"], told["read"], told["new"], told["stillOpen"], told["refused"]) == (
        1,
        "seed-trades",
        5,
        3,
        1,
        1,
    )
    assert told["outcomesWithoutDecision"] == 3
    assert told["problems"][0]["field"] == "decision_id"
    waiting = [point(n, result=None, label="pending") for n in range(3)]
    assert tool.one(tool.write("d.jsonl", lines(*waiting)))[1]["outcomesWithoutDecision"] == 0
    assert tool.rows("SELECT label, count(*) FROM tradewind.training_data GROUP BY 1") == [("good_decision", 3)]
    assert tool.one(tool.write("trades.json", json.dumps(trades[:3])))[1]["known"] == 3


def test_freqtrades_database(tool: Import) -> None:
    rows = [freqtrade_row(n) for n in range(1, 30)]
    rows.append(freqtrade_row(30, is_open=1, close_date=None, close_profit_abs=None))
    rows.append(freqtrade_row(31, stake_currency="BTC"))
    rows.append(freqtrade_row(32, leverage=2.5))
    rows.append(freqtrade_row(33, close_profit_abs=None))
    file = freqtrade_database(tool.folder / "tradesv3.sqlite", *rows)
    code, told = tool.one(file, *ASSUMED, "--symbol-map", "BTC/USDT:USDT=BTC")
    assert (code, told["format"], told["source"]) == (1, "freqtrade-sqlite", "freqtrade")
    assert (told["read"], told["new"], told["stillOpen"]) == (33, 29, 1)
    assert told["reasons"] == {"currency": 1, "number": 1, "missing": 1}
    ((answer, shown, at, model, closed, pnl),) = tool.rows(
        "SELECT answer, input, decided_at, model, closed_at, pnl_usd FROM tradewind.imported_history WHERE decision_id = 'import:freqtrade:3'"
    )
    assert answer == {
        "action": "open_short", "symbol": "BTC", "size_usd": 60.0, "leverage": 2, "stop_loss_pct": 0.025, "take_profit_pct": 0.05,
        "confidence": 0.5, "reasoning": "",
    }  # fmt: skip
    assert shown == {
        "market_data": {"BTC": {"price": pytest.approx(60_000 * 1.01**3)}},
        "account_state": {},
        "recent_history": [],
    }
    assert (at, closed) == (START + timedelta(hours=3), START + timedelta(hours=5))
    assert (model, float(pnl)) == ("freqtrade/Sample/rsi", 1.5)
    # Its JSON says the same of the same trades, although its stop-loss is written in percent there.
    exported = json.dumps([freqtrade_json(row) for row in rows[:29]])
    code, told = tool.one(tool.write("trades.json", exported), *ASSUMED, "--symbol-map", "BTC/USDT:USDT=BTC")
    assert (code, told["format"], told["known"]) == (0, "freqtrade-json", 29)


def test_trades_alone_say_what_they_lack(tool: Import) -> None:
    file = freqtrade_database(tool.folder / "t.sqlite", freqtrade_row(1))
    for flags, field, words in (
        ((), "take_profit_pct", "--assume take_profit_pct"),
        (ASSUMED[1:], "market_data", "--price-as-input"),
    ):
        code, told = tool.one(file, *flags, "--dry-run")
        assert (code, told["problems"][0]["field"]) == (1, field)
        assert words in told["problems"][0]["message"]


def test_the_result_of_a_backtest_also_as_it_is_packed(tool: Import) -> None:
    trades = []
    for n in range(1, 6):
        trade = freqtrade_json(freqtrade_row(n))
        for name in ("trade_id", "quote_currency", "strategy"):
            del trade[name]
        trades.append(
            trade | {"open_date": trade["open_date"] + "+00:00", "close_date": trade["close_date"] + "+00:00"}
        )
    result = {
        "strategy": {"Sample": {"trades": trades, "stake_currency": "USDT"}},
        "strategy_comparison": [],
        "metadata": {},
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("backtest-result-1.json", json.dumps(result))
        archive.writestr("backtest-result-1_config.json", "{}")
    code, told = tool.one(tool.write("b.zip", packed.getvalue()), *ASSUMED)
    assert (code, told["format"], told["new"], told["symbols"]) == (0, "freqtrade-json", 5, {"BTC/USDT:USDT": 5})
    assert tool.one(tool.write("b.json", json.dumps(result)), *ASSUMED)[1]["known"] == 5, (
        "without ids, by their contents"
    )
    assert "half of a file" in tool.one(tool.write("half.zip", packed.getvalue()[:-40]), *ASSUMED)[1]["error"]


def test_a_database_that_is_damaged_or_another_ones_is_refused(tool: Import) -> None:
    file = freqtrade_database(tool.folder / "t.sqlite", *(freqtrade_row(n) for n in range(1, 300)))
    half = tool.write("half.sqlite", file.read_bytes()[: file.stat().st_size // 2])
    assert "damaged" in tool.one(half, *ASSUMED)[1]["error"]
    connection = sqlite3.connect(tool.folder / "other.sqlite")
    connection.execute("CREATE TABLE trades (id int)")
    connection.close()
    assert "none of freqtrade" in tool.one(tool.folder / "other.sqlite")[1]["error"]
    assert "no seed-json" in tool.one(file, "--format", "seed-json")[1]["error"]
    assert "no SQLite" in tool.one(tool.write("a.json", "[]"), "--format", "freqtrade-sqlite")[1]["error"]
    assert tool.content() == [[], []]


MAPPING: dict[str, Any] = {
    "source": "desk",
    "timeZone": "Asia/Shanghai",
    "fields": {
        "id": {"column": "订单号"},
        "decided_at": {"column": "开仓", "format": "%Y/%m/%d %H:%M"},
        "closed_at": {"column": "平仓", "format": "%Y/%m/%d %H:%M"},
        "symbol": {"column": "合约", "values": {"BTC-USDT-SWAP": "BTC"}},
        "action": {"column": "方向", "values": {"买": "open_long", "卖": "open_short"}},
        "size_usd": {"column": "保证金"},
        "leverage": {"value": 3},
        "stop_loss_pct": {"column": "止损", "unit": "percent"},
        "take_profit_pct": {"column": "止盈", "unit": "percent"},
        "confidence": {"value": 0.6, "unit": "fraction"},
        "pnl_usd": {"column": "盈亏"},
    },
    "market": {"price": {"column": "价格", "as": "number"}, "trend": {"column": "趋势", "as": "text"}},
    "marketWide": {"market_regime": {"value": "normal"}},
    "account": {"balance": {"column": "余额", "as": "number"}},
}
TABLE = (
    "订单号,开仓,平仓,合约,方向,保证金,止损,止盈,盈亏,价格,趋势,余额,备注\n"
    "A1,2026/01/05 08:00,2026/01/05 14:00,BTC-USDT-SWAP,买,100,2,5,3.5,60000,up,600,x\n"
    "A2,2026/01/05 09:00,2026/01/05 15:00,BTC-USDT-SWAP,卖,100,2,5,-9,61000,down,603.5,\n"
)


def mapped(
    tool: Import, table: bytes | str, *flags: str, name: str = "t.csv", **changes: Any
) -> tuple[int, dict[str, Any]]:
    mapping = tool.write("m.yaml", yaml.safe_dump(MAPPING | changes, allow_unicode=True))
    return tool.one(tool.write(name, table), "--mapping", str(mapping), *flags)


def test_any_table_by_a_mapping(tool: Import) -> None:
    code, told = mapped(tool, TABLE)
    assert (code, told["format"], told["source"], told["new"]) == (0, "table", "desk", 2)
    ((answer, shown, at, closed, pnl, label),) = tool.rows(
        "SELECT answer, input, decided_at, closed_at, pnl_usd, label FROM tradewind.imported_history WHERE decision_id = 'import:desk:A2'"
    )
    assert answer == {
        "action": "open_short", "symbol": "BTC", "size_usd": 100.0, "leverage": 3, "stop_loss_pct": 0.02, "take_profit_pct": 0.05,
        "confidence": 0.6, "reasoning": "",
    }  # fmt: skip
    assert shown == {
        "market_data": {"BTC": {"price": 61000.0, "trend": "down"}, "market_regime": "normal"}, "account_state": {"balance": 603.5},
        "recent_history": [],
    }  # fmt: skip
    assert (at, closed) == (START + timedelta(hours=1), START + timedelta(hours=7))
    assert (float(pnl), label) == (-9.0, "bad_decision")
    assert mapped(tool, TABLE.encode("gb18030"), "--encoding", "gb18030", name="gb.csv")[1]["known"] == 2
    assert mapped(tool, "\ufeff" + TABLE.replace(",", ";"), name="semi.csv")[1]["known"] == 2


def test_a_workbook_with_cells_of_the_type_date(tool: Import) -> None:
    sheet = Workbook()
    assert sheet.active is not None
    sheet.active.append(TABLE.splitlines()[0].split(","))
    for line in TABLE.splitlines()[1:]:
        cells: list[Any] = line.split(",")
        cells[1], cells[2] = (datetime.strptime(cell, "%Y/%m/%d %H:%M") for cell in cells[1:3])
        cells[5:9] = map(float, cells[5:9])
        cells[9] = int(cells[9])
        cells[11] = float(cells[11])
        sheet.active.append(cells)
    out = io.BytesIO()
    sheet.save(out)
    fields = MAPPING["fields"] | {
        name: {"column": column} for name, column in (("decided_at", "开仓"), ("closed_at", "平仓"))
    }
    code, told = mapped(tool, out.getvalue(), name="t.xlsx", fields=fields)
    assert (code, told["new"]) == (0, 2)
    assert mapped(tool, TABLE)[1]["known"] == 2
    assert "is a workbook: say --mapping" in tool.one(tool.folder / "t.xlsx")[1]["error"]
    assert "is a zip file" in mapped(tool, out.getvalue()[:-100], name="half.xlsx")[1]["error"]


@pytest.mark.parametrize(
    ("old", "new", "reason", "field"),
    [
        (",买,", ",做多,", "word", "方向"),
        (",BTC-USDT-SWAP,买", ",ETH-USDT-SWAP,买", "word", "合约"),
        ("2026/01/05 08:00", "05.01.2026 08:00", "time", "开仓"),
        ("2026/01/05 14:00", "2026/01/04 14:00", "order", "平仓"),
        (",100,2,5,3.5", ",100,0.02,5,3.5", "percent", "止损"),
        (",100,2,5,3.5", ',"1,000",2,5,3.5', "number", "保证金"),
        (",3.5,60000", ",nan%,60000", "number", "盈亏"),
        (",3.5,60000", ",3.5,1e999", "number", "价格"),
        (",3.5,60000,up", ",-400,60000,up", "contradiction", "盈亏"),
    ],
)  # fmt: skip
def test_a_wrong_cell_is_a_problem_with_row_and_column(
    tool: Import, old: str, new: str, reason: str, field: str
) -> None:
    assert old in TABLE
    code, told = mapped(tool, TABLE.replace(old, new, 1))
    assert (code, told["new"], told["reasons"]) == (1, 1, {reason: 1})
    assert (told["problems"][0]["row"], told["problems"][0]["field"]) == (1, field)


def test_a_table_of_which_a_row_lacks_cells_is_half_of_a_file(tool: Import) -> None:
    code, told = mapped(tool, TABLE[: TABLE.rindex(",61000")])
    assert (code, tool.content()) == (1, [[], []])
    assert "row 2" in told["error"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"timeZone": None}, "timeZone"),
        ({"timeZone": "Shanghai"}, "Asia/Shanghai"),
        ({"source": ""}, "source"),
        ({"fields": {}}, "fields.decided_at: is missing"),
        ({"colour": 1}, "colour: is unknown"),
        ({"fields": MAPPING["fields"] | {"stop_loss_pct": {"column": "止损"}}}, "fields.stop_loss_pct.unit: is missing; say percent"),
        ({"fields": MAPPING["fields"] | {"size_usd": {"column": "保证金", "unit": "percent"}}}, "in USD"),
        ({"fields": MAPPING["fields"] | {"side": {"column": "方向"}}}, "fields.side: is unknown"),
        ({"fields": MAPPING["fields"] | {"id": {"column": "a", "value": 1}}}, "either column or value"),
        ({"market": {}, "marketWide": {}}, "market: is missing"),
        ({"market": {"price": {"column": "价格"}}}, "market.price.as: is missing"),
    ],
)  # fmt: skip
def test_a_mapping_that_leaves_something_open_is_refused_by_its_key(
    tool: Import, change: dict[str, Any], words: str
) -> None:
    mapping = MAPPING | change
    mapping = {key: value for key, value in mapping.items() if value is not None}
    file = tool.write("m.yaml", yaml.safe_dump(mapping, allow_unicode=True))
    assert cli(["import", str(tool.write("t.csv", TABLE)), "--mapping", str(file), *WHERE]) == 2
    assert words in tool.capsys.readouterr().err


def test_a_mapping_with_a_key_twice_or_no_yaml_is_refused(tool: Import) -> None:
    for text, words in (
        ("source: a\nsource: b\n", "'source' comes twice"),
        ("a: [", "m.yaml"),
        ("- 1", "no mapping file"),
    ):
        assert cli(["import", "x", "--mapping", str(tool.write("m.yaml", text)), *WHERE]) == 2
        assert words in tool.capsys.readouterr().err


def test_sides_as_numbers_and_as_words_that_yaml_takes_for_others(tool: Import) -> None:
    table = TABLE.replace("买", "1").replace("卖", "-1")
    text = yaml.safe_dump(MAPPING, allow_unicode=True)
    numbers = text.replace("买: open_long", "1: open_long").replace("卖: open_short", "-1: open_short")
    assert "-1: open_short" in numbers
    code, told = tool.one(tool.write("t.csv", table), "--mapping", str(tool.write("m.yaml", numbers)))
    assert (code, told["new"]) == (0, 2)
    words = tool.write("m.yaml", text.replace("买: open_long", "yes: open_long"))
    assert cli(["import", str(tool.write("t.csv", TABLE)), "--mapping", str(words), *WHERE]) == 2
    assert "in quotes" in tool.capsys.readouterr().err


def test_two_spellings_of_one_symbol_are_not_merged(tool: Import) -> None:
    both = point(0, input__market_data={"BTC": {"price": 1.0}, "BTC/USDT": {"price": 2.0}})
    code, told = tool.one(tool.write("d.jsonl", lines(both)), "--symbol-map", "BTC/USDT=BTC")
    assert (code, told["reasons"]) == (1, {"contradiction": 1})


def test_a_column_that_is_not_there_is_named(tool: Import) -> None:
    _, told = mapped(tool, TABLE.replace("保证金", "金额", 1))
    assert "保证金: missing from the header" in told["error"]


def test_what_is_not_certain_is_asked_for(tool: Import) -> None:
    for content, words in (
        ("a,b\n1,2\n", "--mapping"),
        ('[{"x": 1}]', "--format"),
        ("-- PostgreSQL database dump\n", "--format"),
    ):
        code, told = tool.one(tool.write("f", content))
        assert code == 1
        assert words in told["error"]
    assert "needs --mapping" in tool.one(tool.write("t.csv", TABLE), "--format", "table")[1]["error"]
