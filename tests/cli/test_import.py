"""`tradewind import` of the seed's decisions on a real PostgreSQL: what goes in, what is refused and why, twice, cut off, killed."""

import gzip
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from import_rig import START, WHERE, Import, lines, point
from tradewind import migrations
from tradewind.main import cli
from tradewind.trading.labels import Label, label_outcome


@pytest.fixture
def tool(postgres_dsn: str, tmp_path: Path, monkeypatch, capsys) -> Import:
    monkeypatch.setenv("TRADEWIND_DSN", postgres_dsn)
    return Import(postgres_dsn, tmp_path, capsys)


def test_a_thousand_decisions_are_there_on_day_one_and_twice_is_once(tool: Import) -> None:
    file = tool.write("d.jsonl", lines(*map(point, range(1000))))
    code, told = tool.one(file, "--dry-run")
    assert (code, told["read"], told["new"], told["known"], told["refused"]) == (0, 1000, 1000, 0, 0)
    assert sum(told["labels"].values()) == 1000
    assert tool.content() == [[], []]
    code, told = tool.one(file, "--by", "ann")
    assert (code, told["new"]) == (0, 1000)
    once = tool.content()
    assert [len(part) for part in once] == [1000, 1000]
    code, told = tool.one(file)
    assert (code, told["new"], told["known"]) == (0, 0, 1000)
    assert tool.content() == once
    ((source, form, name, sha256, read, new, by),) = tool.rows(
        "SELECT source, format, file, sha256, rows_read, rows_new, imported_by FROM tradewind.imports"
    )
    assert (source, form, name, read, new, by) == ("seed", "seed-jsonl", "d.jsonl", 1000, 1000, "ann")
    assert sha256 == told["sha256"]


@pytest.mark.parametrize("seed", range(5))
def test_any_parts_in_any_order_and_repeated_are_the_whole(tool: Import, seed: int) -> None:
    rng = random.Random(seed)
    points = [point(n) for n in range(40)]
    pending = [each | {"result": None, "label": "pending"} for each in points[:10]]  # collected first, labelled later
    unnamed = [{k: v for k, v in point(n).items() if k != "conversation_id"} for n in range(40, 50)]
    everything = points + pending + unnamed
    tool.one(tool.write("whole.jsonl", lines(*everything)))
    whole = tool.content()
    tool(("--forget"), "seed")
    assert tool.content() == [[], []]
    shuffled = everything * 2
    rng.shuffle(shuffled)
    while shuffled:
        cut = rng.randint(1, 30)
        part, shuffled = shuffled[:cut], shuffled[cut:]
        text = lines(*part) if rng.random() < 0.5 else json.dumps(part, indent=rng.choice([None, 2]))
        assert tool.one(tool.write("part", text))[0] == 0
    assert tool.content() == whole


FAULTS = [
    ({"output__stop_loss_pct": 2}, "percent", "output.stop_loss_pct", "--percent stop_loss_pct"),
    ({"output__take_profit_pct": 5}, "percent", "output.take_profit_pct", "500 %"),
    ({"output__confidence": 75}, "percent", "output.confidence", "looks like a percentage"),
    ({"output__leverage": 2.5}, "number", "output.leverage", "nothing is rounded"),
    ({"output__size_usd": 0}, "number", "output.size_usd", "above 0"),
    ({"output__size_usd": None}, "missing", "output.size_usd", "margin in USD"),
    ({"output__size_usd": True}, "number", "output.size_usd", "not a number"),
    ({"output__action": "buy"}, "word", "output.action", "open_long, open_short"),
    ({"output__confidence": None}, "missing", "output.confidence", "--assume confidence=0.5"),
    ({"output__symbol": "ETH"}, "symbol", "output.symbol", "not in input.market_data (BTC)"),
    ({"output__symbol": " BTC"}, "symbol", "output.symbol", "without a blank"),
    ({"timestamp": "2026-01-05T00:00:00"}, "time", "timestamp", "--time-zone"),
    ({"timestamp": "yesterday"}, "time", "timestamp", "ISO 8601"),
    ({"timestamp": 17}, "time", "timestamp", "2001 to 2100"),
    ({"timestamp": "2099-01-01T00:00:00Z"}, "future", "timestamp", "has not come yet"),
    ({"result__duration_hours": 900_000}, "number", "result.duration_hours", "from 0"),
    ({"result__duration_hours": 87_000}, "future", "result.duration_hours", "has not come yet"),
    ({"result__duration_hours": None}, "missing", "result.closed_at", "--assume-hold"),
    ({"result__closed_at": "2025-01-01T00:00:00Z"}, "order", "result.closed_at", "before it was decided"),
    ({"result__pnl": float("nan")}, "invalid", "result.pnl", "NaN"),
    ({"result__pnl": float("inf")}, "invalid", "result.pnl", "infinite"),
    ({"result__pnl": "a lot"}, "number", "result.pnl", "not a number"),
    ({"result__profitable": True, "result__pnl": -1.0}, "contradiction", "result.pnl", "beside profitable true"),
    ({"result__profitable": False, "result__pnl": -500.0}, "contradiction", "result.pnl", "whole position of 120 USD"),
    ({"result": {"profitable": True}, "label": None}, "missing", "result.pnl", "give the profit"),
    ({"output__action": "hold"}, "contradiction", "result.pnl", "a hold opens nothing"),
    ({"label": "superb"}, "word", "label", "excellent_decision"),
    ({"input": None}, "no_input", "input", "no JSON object"),
    ({"input__market_data": {}}, "no_input", "input.market_data", "empty"),
    ({"input__market_data": [1]}, "no_input", "input.market_data", "no JSON object"),
    ({"input__account_state": None}, "no_input", "input.account_state", "missing"),
    ({"input__market_data": {"BTC": {"x": "a\0b"}}}, "invalid", "input.market_data.BTC.x", "NUL"),
    ({"input__market_data": {"BTC": {"x": "\ud800"}}}, "invalid", "input.market_data.BTC.x", "surrogate"),
    ({"input__market_data": {"BTC": {"x": "y" * 300_000}}}, "too_large", "input.market_data", "262144"),
    ({"conversation_id": "x" * 200}, "invalid", "conversation_id", "128"),
    ({"output": "open_long"}, "missing", "output", "no JSON object"),
    ({"input__recent_history": "none"}, "invalid", "input.recent_history", "no JSON array"),
    ({"output__stop_loss_pct": -0.02}, "number", "output.stop_loss_pct", "from 0"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason", "field", "words"), FAULTS, ids=lambda value: str(value)[:50])
def test_each_fault_is_a_problem_with_its_line_and_field_and_no_row(
    tool: Import, changes, reason, field, words
) -> None:
    wrong = json.dumps(point(1, **changes))
    code, told = tool.one(tool.write("d.jsonl", lines(point(0)) + wrong + "\n" + lines(point(2))))
    assert (code, told["read"], told["new"], told["refused"]) == (1, 3, 2, 1)
    (problem,) = told["problems"]
    assert (problem["line"], problem["field"], problem["reason"]) == (2, field, reason)
    assert words in problem["message"]
    assert told["reasons"] == {reason: 1}
    assert [row[1] for row in tool.content()[0]] == ["c00000", "c00002"]


BROKEN_LINES = ["nothing", '{"a": 1, "a": 2}', "[1]", "17", '{"a": ' + "[" * 5000 + "]" * 5000 + "}", '{"a": 1} x']


@pytest.mark.parametrize("line", BROKEN_LINES, ids=lambda line: line[:12])
def test_a_line_that_is_no_object_is_a_problem_of_its_own(tool: Import, line: str) -> None:
    code, told = tool.one(tool.write("d.jsonl", lines(point(0)) + line + "\n" + lines(point(1))))
    assert (code, told["new"], told["reasons"]) == (1, 2, {"malformed": 1})
    assert told["problems"][0]["line"] == 2


def whole_files() -> dict[str, bytes]:
    text = lines(*map(point, range(5)))
    array = json.dumps([point(n) for n in range(5)], indent=1, ensure_ascii=False)
    return {
        "half a line": text[:-200].encode(),
        "half a line in the middle of a character": text.encode()[: text.encode().index("势".encode()) + 1],
        "half an array": array[:-300].encode(),
        "an array without its end": array[:-1].encode(),
        "an array that goes on": array.encode() + b"[]",
        "half of gzip": gzip.compress(text.encode())[:-20],
        "damaged gzip": gzip.compress(text.encode())[:50] + b"xxxx" + gzip.compress(text.encode())[54:],
        "UTF-16": text.encode("utf-16"),
        "GB18030": text.encode("gb18030"),
        "an empty file": b"",
        "blanks": b"\n\n",
        "an empty array": b"[]",
        "an old workbook": b"\xd0\xcf\x11\xe0" + b"x" * 100,
        "another JSON": b'{"rows": []}',
        "a text": b"hello\nworld\n",
    }


@pytest.mark.parametrize("name", whole_files())
def test_of_a_file_that_is_not_whole_nothing_is_taken(tool: Import, name: str) -> None:
    good, bad = tool.write("good.jsonl", lines(point(9))), tool.write("bad.jsonl", whole_files()[name])
    code, document = tool(bad, good)
    assert code == 1
    told = document["files"]
    assert told[0]["error"]
    assert (told[0]["new"], told[0]["read"], told[1]["new"]) == (None, 0, 1)
    assert [row[1] for row in tool.content()[0]] == ["c00009"]
    assert cli(["import", str(bad), *WHERE]) == 1
    assert str(bad) in tool.capsys.readouterr().out


@pytest.mark.parametrize("pack", [lambda b: b"\xef\xbb\xbf" + b, gzip.compress, lambda b: b.replace(b"\n", b"\r\n")])
def test_a_byte_order_mark_gzip_and_windows_lines_change_nothing(tool: Import, pack) -> None:
    assert tool.one(tool.write("d.jsonl", pack(lines(point(0), point(1)).encode())))[1]["new"] == 2
    assert tool.one(tool.write("plain.jsonl", lines(point(0), point(1))))[1]["known"] == 2


def test_numbers_as_text_and_whole_numbers_as_ids_are_the_same_rows(tool: Import) -> None:
    tool.one(tool.write("a.json", json.dumps([point(0, conversation_id=17, output__size_usd=60)])))
    other = point(0, conversation_id="17", output__size_usd="60.00", output__leverage=2.0)
    other["input"]["account_state"]["balance"] = 600
    code, told = tool.one(tool.write("b.json", json.dumps([other])))
    assert (code, told["known"]) == (0, 1)


def test_of_an_id_with_two_contents_nothing_is_taken(tool: Import) -> None:
    again = point(1, output__size_usd=61.0)
    code, told = tool.one(tool.write("d.jsonl", lines(point(0), point(1), point(2), again, point(0))))
    assert (code, told["new"], told["known"], told["refused"]) == (1, 2, 1, 2)
    assert [(problem["line"], problem["reason"]) for problem in told["problems"]] == [
        (2, "duplicate"),
        (4, "duplicate"),
    ]
    assert [row[1] for row in tool.content()[0]] == ["c00000", "c00002"]


@pytest.mark.parametrize(
    "change", [{"output__size_usd": 61.0}, {"result__pnl": 1.25, "result__profitable": True, "label": None}]
)
def test_an_id_that_comes_back_with_other_contents_is_named_and_never_overwrites(tool: Import, change) -> None:
    tool.one(tool.write("d.jsonl", lines(point(0), point(1))))
    before = tool.content()
    code, told = tool.one(tool.write("e.jsonl", lines(point(0), point(1, **change), point(2))))
    assert (code, told["new"], told["known"], told["reasons"]) == (1, 1, 1, {"other_content": 1})
    assert "d.jsonl, 2" in told["problems"][0]["message"]
    assert "--forget" in told["problems"][0]["message"]
    after = tool.content()
    assert all(row in part for part, old in zip(after, before, strict=True) for row in old)
    assert [len(part) for part in after] == [3, 3]


def test_strict_stores_nothing_of_any_file_if_a_row_is_refused(tool: Import) -> None:
    good, bad = tool.write("a.jsonl", lines(point(0))), tool.write("b.jsonl", lines(point(1), point(2, label="x")))
    code, document = tool(good, bad, "--strict")
    assert (code, document["stored"]) == (1, False)
    assert tool.content() == [[], []]
    code, document = tool(good, "--strict")
    assert (code, document["stored"], len(tool.content()[0])) == (0, True, 1)


def test_a_decision_that_waits_for_its_outcome_gets_it_later(tool: Import) -> None:
    waiting = point(0, result=None, label="pending")
    code, told = tool.one(tool.write("a.jsonl", lines(waiting)))
    assert (code, told["new"], told["labels"]) == (0, 1, {"pending": 1})
    assert tool.one(tool.write("b.jsonl", lines(point(0))))[1]["new"] == 1
    assert tool.one(tool.write("a.jsonl", lines(waiting)))[1]["known"] == 1
    assert tool.rows("SELECT status FROM tradewind.training_data") == [("labeled",)]


def test_holds_need_nothing_but_their_symbol(tool: Import) -> None:
    hold = point(0, output={"action": "hold", "symbol": "BTC"}, result=None, label="pending")
    closing = point(
        1, output={"action": "close", "symbol": "BTC", "size_usd": None}, result=None, label="good_decision"
    )
    code, told = tool.one(tool.write("d.jsonl", lines(hold, closing)), "--assume-hold", "2h")
    assert (code, told["labels"]) == (0, {"hold": 1, "good_decision": 1})
    bare = point(2, output={"action": "close", "symbol": "BTC"})
    code, told = tool.one(tool.write("e.jsonl", lines(bare)))
    assert told["labels"] == {point(2)["label"]: 1}, (
        "the source's own, where nothing says what the profit is a share of"
    )
    code, told = tool.one(
        tool.write("f.jsonl", lines(point(3, output={"action": "close", "symbol": "BTC"}, label=None)))
    )
    assert (code, told["problems"][0]["field"]) == (1, "output.size_usd")


def test_what_has_no_place_is_told_and_not_lost_in_silence(tool: Import) -> None:
    more = point(0, output___model_used="custom_model", output__mood="fine", input__news=["x"], note=1)
    code, told = tool.one(tool.write("d.jsonl", lines(more)))
    assert code == 0
    assert told["notStored"] == {"note": 1, "input.news": 1, "output.mood": 1}
    assert tool.rows("SELECT model FROM tradewind.imported_decisions") == [("custom_model",)]


def test_units_zones_and_symbols_are_what_the_user_says(tool: Import) -> None:
    percent = point(
        0, output__stop_loss_pct=2, output__take_profit_pct=5, output__confidence=75, output__symbol="BTC/USDT"
    )
    percent["input"]["market_data"] = {"BTC/USDT": {"price": 1.0}}
    percent["timestamp"] = "2026-01-05 08:00:00.5"
    file = tool.write("d.jsonl", lines(percent))
    flags = [
        "--percent",
        "stop_loss_pct,take_profit_pct,confidence",
        "--time-zone",
        "Asia/Shanghai",
        "--symbol-map",
        "BTC/USDT=BTC",
    ]
    code, told = tool.one(file, *flags, "--symbols", "BTC")
    assert (code, told["symbols"]) == (0, {"BTC": 1})
    ((answer, shown, at),) = tool.rows(
        "SELECT answer, input -> 'market_data', decided_at FROM tradewind.imported_decisions"
    )
    assert (answer["stop_loss_pct"], answer["take_profit_pct"], answer["confidence"]) == (0.02, 0.05, 0.75)
    assert shown == {"BTC": {"price": 1.0}}
    assert at == START + timedelta(seconds=0.5)
    tool("--forget", "seed")
    fraction = point(0, output__stop_loss_pct=0.02)
    code, told = tool.one(tool.write("d.jsonl", lines(fraction)), "--percent", "stop_loss_pct")
    assert (code, told["reasons"]) == (1, {"percent": 1})
    code, told = tool.one(
        tool.write("d.jsonl", lines(point(0, output__stop_loss_pct=0.6))), "--fraction", "stop_loss_pct"
    )
    assert code == 0


def test_an_hour_that_comes_twice_is_not_guessed(tool: Import) -> None:
    times = ["2025-10-26T02:30:00", "2025-03-30T02:30:00", "2025-10-26T04:30:00"]
    file = tool.write("d.jsonl", lines(*(point(n, timestamp=at) for n, at in enumerate(times))))
    _, told = tool.one(file, "--time-zone", "Europe/Berlin")
    assert [problem["line"] for problem in told["problems"]] == [1, 2]
    assert "twice or never" in told["problems"][0]["message"]


def test_a_decision_of_the_endpoint_itself_is_not_taught_twice(tool: Import) -> None:
    """Tradewind exports in the seed's shape: its own file comes back sooner or later."""
    own = point(0, conversation_id="d1")
    with psycopg.connect(tool.dsn) as connection:
        connection.execute(
            "INSERT INTO tradewind.decisions (installation, namespace, endpoint, decision_id, request_hash, request, scope_symbol,"
            " drawn_version, assignment_key, decided_at) VALUES ('tradewind', 'trading', 'trader', 'd1', '', '{}', 'BTC', 'v', 'd1', %s)",
            (START,),
        )
    code, told = tool.one(tool.write("d.jsonl", lines(own, point(1))))
    assert (code, told["new"], told["reasons"]) == (1, 1, {"own_decision": 1})


def test_the_labels_in_sql_are_the_rules(tool: Import) -> None:
    rng = random.Random(7)
    profits = [3.0, 3.0000001, 0.0, -0.0, -1.8, -1.8000001, 1e-9, *(rng.uniform(-5, 5) for _ in range(200))]
    points = [point(n, result__pnl=pnl, result__profitable=pnl > 0, label=None) for n, pnl in enumerate(profits)]
    _, told = tool.one(tool.write("d.jsonl", lines(*points)))
    found = dict(tool.rows("SELECT decision_id, label FROM tradewind.training_data"))
    assert found == {f"import:seed:c{n:05}": label_outcome(pnl, 60.0) for n, pnl in enumerate(profits)}
    assert {label: list(found.values()).count(label) for label in Label} == {
        label: told["labels"].get(label, 0) for label in Label
    }


def test_the_first_ten_problems_are_told_and_the_rest_counted(tool: Import) -> None:
    file = tool.write("d.jsonl", lines(*(point(n, label="x") for n in range(13))))
    assert cli(["import", str(file), *WHERE, "--dry-run"]) == 1
    out = tool.capsys.readouterr().out
    assert out.count(f"{file}:") == 1 + 10
    assert f"{file}:10: label: 'x' is unknown" in out
    assert "and 3 more; --problems 0 shows all" in out
    assert len(tool.one(file, "--problems", "0")[1]["problems"]) == 13


def test_without_a_database_a_dry_run_checks_the_file_and_says_what_it_cannot_know(tool: Import, monkeypatch) -> None:
    monkeypatch.delenv("TRADEWIND_DSN")
    file = tool.write("d.jsonl", lines(point(0), point(1, label="x")))
    code, told = tool.one(file, "--dry-run")
    assert (code, told["new"], told["known"], told["refused"]) == (1, None, None, 1)
    code, document = tool(file)
    assert code == 2
    assert "TRADEWIND_DSN is not set" in document["said"]


def test_forget_takes_a_source_back_and_leaves_a_trace(tool: Import) -> None:
    tool.one(tool.write("d.jsonl", lines(point(0), point(1))))
    code, told = tool("--forget", "seed", "--dry-run")
    assert (code, told["decisions"], len(tool.content()[0])) == (0, 2, 2)
    code, told = tool("--forget", "seed", "--by", "bob")
    assert (code, told["decisions"], told["outcomes"], tool.content()) == (0, 2, 2, [[], []])
    assert tool.rows("SELECT forgotten_by FROM tradewind.imports") == [("bob",)]
    code, told = tool("--forget", "sed")
    assert code == 1
    assert "nothing was imported from sed" in told["said"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--endpoint", "trader"], "NAMESPACE/NAME"),
        (["--time-zone", "Shanghai"], "Asia/Shanghai"),
        (["--percent", "size_usd"], "has no unit"),
        (["--percent", "confidence", "--fraction", "confidence"], "in both"),
        (["--assume", "confidence=75"], "fraction from 0 to 1"),
        (["--assume", "leverage=1.5"], "whole number"),
        (["--assume", "size_usd=5"], "must be in the file"),
        (["--assume-hold", "a day"], "--assume-hold"),
        (["--symbol-map", "BTC"], "BTC/USDT:USDT=BTC"),
        (["--symbols", "BTC,,ETH"], "--symbols"),
        (["--problems", "-1"], "--problems"),
        (["--forget", "seed"], "give FILEs"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_2_with_what_to_write(tool: Import, flags: list[str], words: str) -> None:
    file = tool.write("d.jsonl", lines(point(0)))
    assert cli(["import", str(file), *WHERE, *flags]) == 2
    assert words in tool.capsys.readouterr().err


def test_a_slip_in_the_endpoints_name_is_seen(tool: Import) -> None:
    file = tool.write("d.jsonl", lines(point(0)))
    tool.one(file)
    assert "knows no Endpoint" not in tool(file)[1]["said"]
    cli(["import", str(file), "--endpoint", "trading/tradr", "--dry-run"])
    assert "knows no Endpoint trading/tradr yet; it knows trading/trader" in tool.capsys.readouterr().err


def test_an_old_schema_no_database_and_no_right_are_said(tool: Import, empty_postgres_dsn: str, monkeypatch) -> None:
    file = tool.write("d.jsonl", lines(point(0)))
    migrations.upgrade(empty_postgres_dsn, "0012")
    monkeypatch.setenv("TRADEWIND_DSN", empty_postgres_dsn)
    code, document = tool(file)
    assert (code, "tradewind migrate" in document["said"]) == (2, True)
    monkeypatch.setenv("TRADEWIND_DSN", "postgresql://user:s3cret@127.0.0.1:9/x")
    code, document = tool(file)
    assert (code, "nothing listens" in document["said"], "s3cret" in document["said"]) == (2, True, False)
    monkeypatch.setenv("TRADEWIND_DSN", "s3cret is no dsn")
    code, document = tool(file)
    assert (code, "s3cret" in document["said"]) == (2, False)


def test_a_role_without_the_rights_is_told_which_it_needs(tool: Import, monkeypatch) -> None:
    file = tool.write("d.jsonl", lines(point(0)))
    role = f"reader_{os.getpid()}"
    with psycopg.connect(tool.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
        connection.execute(f"GRANT USAGE ON SCHEMA tradewind TO {role}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA tradewind TO {role}")
        try:
            monkeypatch.setenv("TRADEWIND_DSN", re.sub("//[^@]*@", f"//{role}:p@", tool.dsn))
            code, document = tool(file)
            assert code == 2
            assert "permission denied" in document["said"]
            assert "INSERT, UPDATE and DELETE" in document["said"]
        finally:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


def test_a_kill_leaves_nothing_half_and_the_next_run_ends_the_same(tool: Import) -> None:
    file = tool.write("d.jsonl", lines(*map(point, range(3000))))
    command = [
        sys.executable,
        "-c",
        "import sys; from tradewind.main import cli; sys.exit(cli(sys.argv[1:]))",
        "import",
        str(file),
        *WHERE,
    ]
    with psycopg.connect(tool.dsn) as blocker:  # it reaches the last step, and waits there
        blocker.execute("LOCK TABLE tradewind.imported_outcomes IN SHARE MODE")
        process = subprocess.Popen(command, env=os.environ | {"TRADEWIND_DSN": tool.dsn}, stdout=subprocess.DEVNULL)
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%imported_outcomes%'"
        )
        deadline = time.monotonic() + 60
        while tool.rows(waits) == [(0,)]:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert tool.rows("SELECT count(*) FROM tradewind.imported_decisions") == [(0,)]
    assert tool.rows("SELECT count(*) FROM tradewind.imports") == [(0,)]
    assert tool.one(file)[1]["new"] == 3000


def test_two_imports_at_once_wait_for_each_other(tool: Import) -> None:
    file = tool.write("d.jsonl", lines(*map(point, range(300))))
    command = [
        sys.executable,
        "-c",
        "import sys; from tradewind.main import cli; sys.exit(cli(sys.argv[1:]))",
        "import",
        str(file),
        *WHERE,
        "-o",
        "json",
    ]
    racers = [
        subprocess.Popen(
            command, env=os.environ | {"TRADEWIND_DSN": tool.dsn}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    told = [json.loads(racer.communicate(timeout=60)[0])["files"][0] for racer in racers]
    assert sorted(each["new"] for each in told) == [0, 300]
    assert [racer.returncode for racer in racers] == [0, 0]
