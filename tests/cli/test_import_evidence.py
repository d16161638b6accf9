"""What was imported is history and never evidence: nothing but trainings sees it, by the schema, by the code and by trial."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from import_rig import START, Import, lines, point
from tradewind.api.common import VersionStatusRef
from tradewind.core.decision import RecordExperiment
from tradewind.gateway import statements
from tradewind.shell.database import Database

ROOT = Path(__file__).parents[2]
IMPORTED = {"imports", "imported_decisions", "imported_outcomes"}
SEEN_BY = {"imported_history", "training_data"}
"""The views in which imported rows are; what reads those is listed below."""
READERS = {
    "imported_history": {"operator/tradewind/training/log.py", "operator/tradewind/shell/database.py"},
    "training_data": {"operator/tradewind/gateway/statements.py", "jobs/export.py"},
}
KEY = {"installation": "tradewind", "namespace": "trading", "endpoint": "trader"}


@pytest.fixture
def tool(postgres_dsn: str, tmp_path: Path, monkeypatch, capsys) -> Import:
    monkeypatch.setenv("TRADEWIND_DSN", postgres_dsn)
    return Import(postgres_dsn, tmp_path, capsys)


def relations(tool: Import) -> set[str]:
    found = tool.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'tradewind'")
    return {name for (name,) in found}


def test_no_view_function_or_trigger_but_those_of_training_reads_the_tables(tool: Import) -> None:
    used = tool.rows(
        "SELECT DISTINCT view_name, table_name FROM information_schema.view_table_usage WHERE table_schema = 'tradewind'"
    )
    assert {view for view, table in used if table in IMPORTED | SEEN_BY} == SEEN_BY
    functions = tool.rows(
        "SELECT p.proname, p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'tradewind'"
    )
    assert len(functions) > 5
    assert [name for name, source in functions if "imported" in source or "training_data" in source] == []
    triggers = tool.rows(
        "SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT tgisinternal AND c.relname LIKE 'import%'"
    )
    assert triggers == []


def test_no_other_code_reads_them() -> None:
    found: dict[str, set[str]] = {}
    for file in [*ROOT.glob("operator/**/*.py"), *ROOT.glob("jobs/*.py")]:
        if "versions" not in file.parts:
            text = file.read_text(encoding="utf-8")
            for name in re.findall(r"tradewind\.(imports|imported_[a-z]+|training_data)\b", text):
                found.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    stores = {name: {"operator/tradewind/shell/imported.py"} for name in IMPORTED}
    assert found == READERS | stores


async def a_running_experiment(tool: Import) -> None:
    """The champion `api` traded before t0, and both arms since; imported rows have the same names, symbols and times."""
    async with Database(tool.dsn, "tradewind") as database:
        await database.record_experiment(
            "trading",
            RecordExperiment(
                "trader",
                "u1",
                "ab",
                "Live",
                VersionStatusRef(name="api"),
                VersionStatusRef(name="v2", sha256="x"),
                START + timedelta(hours=5),
                0.05,
                {},
            ),
        )
    with psycopg.connect(tool.dsn) as connection:
        for number in range(10):
            at, live = START + timedelta(hours=number), number >= 5
            row = {
                **KEY, "decision_id": f"c{number:05}-own", "request_hash": b"", "request": Jsonb({"market_data": {}, "account_state": {}}),
                "scope_symbol": "BTC", "drawn_version": "api", "answered_by": "api", "assignment_key": "k", "decided_at": at,
                "state": "answered", "answer": Jsonb(point(number)["output"]), "answered_at": at,
                "experiment_uid": "u1" if live else None, "arm": "baseline" if live else None, "candidate_weight": 0.5 if live else None,
            }  # fmt: skip
            names = ", ".join(row)
            connection.execute(
                f"INSERT INTO tradewind.decisions ({names}) VALUES ({', '.join(f'%({name})s' for name in row)})", row
            )


def everything_else(tool: Import) -> dict[str, list[Any]]:
    names = relations(tool) - IMPORTED - SEEN_BY
    return {name: tool.rows(f"SELECT t::text FROM tradewind.{name} t ORDER BY 1") for name in names}


async def test_an_import_changes_nothing_that_is_judged_shown_counted_or_purged(tool: Import) -> None:
    await a_running_experiment(tool)
    history = "SELECT tradewind.history('tradewind', 'trading', 'trader', 'api', 'BTC', '', false, now(), 'new', 100)"
    performance = statements.PERFORMANCE.replace("%(days)s", "365").replace("%(replay)s", "false")
    for name, value in KEY.items():
        performance = performance.replace(f"%({name})s", f"'{value}'")
    asked = (history, performance)
    async with Database(tool.dsn, "tradewind") as database:
        prior = await database.prior("trading", "trader", "api", None)
        past = await database.past_decisions("trading", "trader", "api")
        before, told = everything_else(tool), [tool.rows(sql) for sql in asked]
        assert len(before["judged_rows"]) == 10
        assert {
            "judged_rows",
            "prior_decisions",
            "first_decisions",
            "lost_decisions",
            "changes",
            "decisions",
            "outcomes",
        } <= set(before)
        points = [point(n, output___model_used="api", conversation_id=f"c{n:05}-imported") for n in range(200)]
        assert tool.one(tool.write("d.jsonl", lines(*points)))[1]["new"] == 200
        assert everything_else(tool) == before
        assert [tool.rows(sql) for sql in asked] == told
        assert await database.prior("trading", "trader", "api", None) == prior
        assert await database.past_decisions("trading", "trader", "api") == past
        # A schedule that waits for samples sees them, as its trainings do.
        assert await database.new_samples("trading", "trader", None) == 200
        assert await database.new_samples("trading", "trader", START + timedelta(hours=149)) == 50
    assert tool.rows("SELECT count(*) FROM tradewind.training_data WHERE imported_from = 'seed'") == [(200,)]
    assert tool.rows("SELECT count(*) FROM tradewind.training_data WHERE imported_from IS NULL") == [(10,)]


def test_retention_of_decisions_leaves_history_alone(tool: Import) -> None:
    tool.one(tool.write("d.jsonl", lines(point(0))))
    with psycopg.connect(tool.dsn) as connection:
        connection.execute("DELETE FROM tradewind.decisions")
    assert [len(part) for part in tool.content()] == [1, 1]
