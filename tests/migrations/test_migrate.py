"""The schema on a real PostgreSQL, and the command that brings it there."""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tradewind import migrations
from tradewind.cli import migrate

T0 = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ("tradewind", "ns", "trader")
ANSWER = {
    "action": "open_long", "symbol": "BTC", "size_usd": 60.0, "leverage": 2, "stop_loss_pct": 0.02, "take_profit_pct": 0.05,
    "confidence": 0.75, "reasoning": "",
}  # fmt: skip


def run_migrate(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    migrate.add_parser(parser.add_subparsers())
    return migrate.run(parser.parse_args(["migrate", *argv]))


def test_migrate_and_check(empty_postgres_dsn, monkeypatch, capsys):
    monkeypatch.setenv("MY_DSN", empty_postgres_dsn)
    assert run_migrate("--dsn-env", "MY_DSN", "--check") == 1
    assert "schema is at nothing" in capsys.readouterr().err
    assert run_migrate("--dsn-env", "MY_DSN") == 0
    assert run_migrate("--dsn-env", "MY_DSN") == 0  # twice is once
    assert run_migrate("--dsn-env", "MY_DSN", "--check") == 0
    assert migrations.current(empty_postgres_dsn) == migrations.head()


def test_concurrent_migrations_wait_for_each_other(empty_postgres_dsn):
    command = [
        sys.executable,
        "-c",
        "import os; from tradewind import migrations; migrations.upgrade(os.environ['DSN'])",
    ]
    racers = [subprocess.Popen(command, env=os.environ | {"DSN": empty_postgres_dsn}) for _ in range(3)]
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    assert migrations.current(empty_postgres_dsn) == migrations.head()


def test_a_newer_schema_is_left_alone(empty_postgres_dsn, monkeypatch, capsys):
    migrations.upgrade(empty_postgres_dsn)
    with psycopg.connect(empty_postgres_dsn) as connection:
        connection.execute("UPDATE tradewind.schema_version SET version_num = '9999'")
    monkeypatch.setenv("TRADEWIND_DSN", empty_postgres_dsn)
    assert run_migrate() == 1
    assert "9999" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dsn", "code", "words"),
    [
        ("postgresql://u:hunter2@127.0.0.1:1/db", 1, ["127.0.0.1", "port 1", "nothing listens"]),
        ("postgresql://u:hunter2@no-such-host.invalid/db", 1, ["no-such-host.invalid", "5432", "resolve"]),
        ("hunter2 is no dsn", 2, ["TRADEWIND_DSN", "postgresql://user"]),
        ("", 2, ["TRADEWIND_DSN is not set"]),
    ],
)
def test_bad_dsn_names_the_place_and_no_password(dsn, code, words, monkeypatch, capsys):
    monkeypatch.setenv("TRADEWIND_DSN", dsn)
    assert run_migrate() == code
    message = capsys.readouterr().err
    assert all(word in message for word in words), message
    assert "hunter2" not in message
    assert len(message.splitlines()) == 1


def test_wrong_password(postgres_dsn, monkeypatch, capsys):
    monkeypatch.setenv("TRADEWIND_DSN", postgres_dsn.replace("s3cret", "wr0ng"))
    assert run_migrate("--check") == 1
    message = capsys.readouterr().err
    assert "password was refused" in message
    assert "wr0ng" not in message


def insert(connection, decision_id, *, answer=ANSWER, weight=0.5, **extra):
    row = {
        "decision_id": decision_id, "request_hash": b"", "request": Jsonb({"market_data": {}, "account_state": {}}),
        "scope_symbol": "BTC", "experiment_uid": "e1", "arm": "candidate", "candidate_weight": weight, "drawn_version": "v1",
        "assignment_key": decision_id, "decided_at": T0, "state": "answered" if answer else "assigned",
        "answer": Jsonb(answer) if answer else None, "shown": Jsonb({"market_data": {"x": 1}, "account_state": {}, "recent_history": []}),
        **extra,
    }  # fmt: skip
    columns = ", ".join(["installation", "namespace", "endpoint", *row])
    places = ", ".join(["%s"] * (len(row) + 3))
    connection.execute(f"INSERT INTO tradewind.decisions ({columns}) VALUES ({places})", (*KEY, *row.values()))


def execution(connection, decision_id, status="opened", position=None, notional=118.5):
    opened = status == "opened"
    connection.execute(
        "INSERT INTO tradewind.executions (installation, namespace, endpoint, decision_id, status, position_id, opened_at,"
        " filled_notional_usd) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (*KEY, decision_id, status, (position or f"p-{decision_id}") if opened else None, T0 if opened else None, notional if opened else None),
    )  # fmt: skip


def outcome(connection, decision_id, pnl=2.5):
    connection.execute(
        "INSERT INTO tradewind.outcomes (installation, namespace, endpoint, decision_id, closed_at, pnl_usd, exit_reason, label)"
        " VALUES (%s, %s, %s, %s, %s, %s, 'take_profit', 'good_decision')",
        (*KEY, decision_id, T0 + timedelta(hours=6), pnl),
    )


def test_evidence_status_of_every_kind_of_row(postgres_dsn):
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        insert(connection, "answered-only")
        insert(connection, "pending", answer=None)
        insert(connection, "failed", answer=None, state="failed", error_kind="timeout")
        insert(connection, "hold", answer=ANSWER | {"action": "hold", "size_usd": 0})
        insert(connection, "close-of-nothing", answer=ANSWER | {"action": "close"})
        for status in ("rejected", "not_filled", "opened"):
            insert(connection, status)
            execution(connection, status, status)
        insert(connection, "closed")
        execution(connection, "closed")
        outcome(connection, "closed")
        insert(connection, "replayed", replay=True)
        execution(connection, "replayed")
        outcome(connection, "replayed")
        extras: dict[str, dict[str, Any]] = {
            "follow-up": {"parent_decision_id": "closed"},
            "barred": {"bar_from_evidence": "database_outage"},
            "certain": {"weight": 1.0},
            "no-weight": {"weight": 0.0},
            "no-experiment": {"experiment_uid": None, "arm": None, "weight": None},
        }
        for name, extra in extras.items():
            insert(connection, name, **extra)
        rows = connection.execute(
            "SELECT decision_id, status, notional_usd, pnl_usd, closed_at IS NOT NULL, answered_at IS NOT NULL,"
            " received_at = closed_at FROM tradewind.judged_rows WHERE experiment_uid = 'e1' AND candidate_weight < 1"
        ).fetchall()
        assert {row[0]: row[1:6] for row in rows} == {
            "answered-only": ("open", 120.0, None, False, True),
            "pending": ("open", None, None, False, False),
            "failed": ("rejected", None, None, False, True),
            "hold": ("hold", None, None, False, True),
            "close-of-nothing": ("hold", None, None, False, True),
            "rejected": ("rejected", None, None, False, True),
            "not_filled": ("not_filled", None, None, False, True),
            "opened": ("open", 118.5, None, False, True),
            "closed": ("closed", 118.5, 2.5, True, True),
            "replayed": ("closed", 118.5, 2.5, True, True),
        }
        assert {row[0]: row[6] for row in rows if row[1] == "closed"} == {"closed": False, "replayed": True}


def test_what_nobody_uses_goes_but_nothing_that_was_written(empty_postgres_dsn):
    """An upgrade keeps every row; what somebody wrote by hand into what goes stops it, with a remedy."""
    with psycopg.connect(empty_postgres_dsn, autocommit=True) as connection:
        migrations.upgrade(empty_postgres_dsn, "0003")
        insert(connection, "d1")
        execution(connection, "d1")
        outcome(connection, "d1")
        before = connection.execute("SELECT * FROM tradewind.judged_rows ORDER BY decision_id").fetchall()
        connection.execute("INSERT INTO tradewind.forced_settlements VALUES (%s, %s, %s, 'd1', 'e1')", KEY)
        with pytest.raises(Exception, match="copy what you need"):
            migrations.upgrade(empty_postgres_dsn)
        connection.execute("DELETE FROM tradewind.forced_settlements")
        migrations.upgrade(empty_postgres_dsn)
        after = connection.execute("SELECT * FROM tradewind.judged_rows ORDER BY decision_id").fetchall()
        assert [row[: len(before[0])] for row in after] == before
        assert connection.execute("SELECT pnl_usd FROM tradewind.outcomes").fetchall() == [(2.5,)]


def test_training_data_has_the_seeds_shape(postgres_dsn):
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        insert(connection, "d1")
        columns = connection.execute("SELECT * FROM tradewind.training_data").description
        assert [c.name for c in columns or ()][:5] == ["decision_id", "data", "status", "label", "created_at"]
        pending = connection.execute("SELECT data, status, label FROM tradewind.training_data").fetchone()
        assert pending is not None
        assert pending[1:] == ("pending", None)
        assert (pending[0]["result"], pending[0]["label"]) == (None, "pending")
        execution(connection, "d1")
        outcome(connection, "d1")
        labeled = connection.execute("SELECT data, status, label FROM tradewind.training_data").fetchone()
        assert labeled is not None
        assert labeled[1:] == ("labeled", "good_decision")
        assert set(labeled[0]) == {"conversation_id", "timestamp", "input", "output", "result", "label"}
        assert labeled[0]["input"] == {"market_data": {"x": 1}, "account_state": {}, "recent_history": []}
        assert labeled[0]["output"] == ANSWER
        assert labeled[0]["result"] == {
            "profitable": True,
            "pnl": 2.5,
            "duration_hours": 6,
            "exit_reason": "take_profit",
        }
        assert datetime.fromisoformat(labeled[0]["timestamp"]) == T0
        json.dumps(labeled[0])


def test_a_position_id_is_unique_while_open(postgres_dsn):
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        for name in ("a", "b", "c"):
            insert(connection, name)
        execution(connection, "a", position="p")
        with pytest.raises(psycopg.errors.UniqueViolation):
            execution(connection, "b", position="p")
        outcome(connection, "a")
        execution(connection, "c", position="p")


def test_epochs_are_idempotent_and_monotone(postgres_dsn):
    statement = (
        "INSERT INTO tradewind.epochs (installation, namespace, endpoint, experiment_uid, block, candidate_weight, reason)"
        " VALUES ('i', 'n', 'e', 'x', %s, 0.1, 'start') ON CONFLICT DO NOTHING RETURNING epoch"
    )
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        first = connection.execute(statement, (0,)).fetchone()
        again = connection.execute(statement, (0,)).fetchone()
        second = connection.execute(statement, (1,)).fetchone()
    assert again is None
    assert first is not None
    assert second is not None
    assert second[0] > first[0]


def test_an_upgrade_knows_every_open_position_and_logs_what_was_reported(empty_postgres_dsn):
    with psycopg.connect(empty_postgres_dsn, autocommit=True) as connection:
        migrations.upgrade(empty_postgres_dsn, "0004")
        for name in ("open", "closed", "rejected", "asked"):
            insert(connection, name)
        execution(connection, "open")
        execution(connection, "closed")
        outcome(connection, "closed")
        execution(connection, "rejected", "rejected")
        before = connection.execute("SELECT * FROM tradewind.judged_rows ORDER BY decision_id").fetchall()
        migrations.upgrade(empty_postgres_dsn)
        after = connection.execute("SELECT * FROM tradewind.judged_rows ORDER BY decision_id").fetchall()
        place = [
            column.name for column in connection.execute("SELECT * FROM tradewind.judged_rows").description or ()
        ].index("received_at")
        told = {row[4]: row[place] for row in after}
        assert [row[:place] for row in after] == [row[:place] for row in before]
        assert [row[place + 1 : len(before[0])] for row in after] == [row[place + 1 :] for row in before]
        # When it became known that nothing was opened is told since then, too.
        assert told["rejected"] > told["closed"] > T0
        assert told["open"] is told["asked"] is None
        assert not any(row[-1] for row in after), "nothing was corrected"
        held = connection.execute(
            "SELECT decision_id, holding, held_since, released_by, reports FROM tradewind.decisions ORDER BY 1"
        )
        assert held.fetchall() == [
            ("asked", False, None, None, 0),
            ("closed", False, None, "closed", 2),
            ("open", True, T0, None, 1),
            ("rejected", False, None, None, 1),
        ]
        events = connection.execute(
            "SELECT decision_id, number, kind, body FROM tradewind.events ORDER BY 1, 2"
        ).fetchall()
        assert [event[:3] for event in events] == [
            ("closed", 1, "open"), ("closed", 2, "close"), ("open", 1, "open"), ("rejected", 1, "rejected"),
        ]  # fmt: skip
        assert events[1][3] == {"total_pnl": 2.5, "fees_usd": 0, "exit_reason": "take_profit"}


def test_what_a_gateway_of_the_version_before_writes_is_logged(postgres_dsn):
    """Its pods run on the new schema until they are replaced."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        insert(connection, "d1")
        execution(connection, "d1")
        state = "SELECT holding, released_by, reports FROM tradewind.decisions"
        assert connection.execute(state).fetchone() == (True, None, 1)
        outcome(connection, "d1")
        assert connection.execute(state).fetchone() == (False, "closed", 2)
        kinds = connection.execute("SELECT kind FROM tradewind.events ORDER BY number").fetchall()
        assert kinds == [("open",), ("close",)]
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute("UPDATE tradewind.events SET body = '{}'")


def test_what_is_lost_and_why(postgres_dsn):
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        insert(connection, "row")
        insert(connection, "follow", parent_decision_id="row")
        insert(connection, "inside", parent_decision_id="row")
        execution(connection, "inside")
        insert(connection, "outage", experiment_uid=None, arm=None, weight=None, bar_from_evidence="database_outage")
        insert(connection, "unpriced", released_at=T0, released_by="unpriced")
        insert(connection, "refused")
        for name in ("refused", "row-of-nobody"):
            connection.execute(
                "INSERT INTO tradewind.refused_reports (installation, namespace, endpoint, report_hash, decision_id, code, message,"
                " body) VALUES (%s, %s, %s, %s, %s, 'x', 'y', '{}')", (*KEY, name.encode(), name),
            )  # fmt: skip
        lost = connection.execute("SELECT decision_id, reason FROM tradewind.lost_decisions ORDER BY 1").fetchall()
        assert lost == [
            ("follow", "follow_up"), ("inside", "opened_inside"), ("outage", "outage"), ("refused", "refused"),
            ("unpriced", "no_price"),
        ]  # fmt: skip


def test_the_pages_list_of_tables_is_the_schemas(postgres_dsn):
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    rows = page.split("| table | one row is | written by |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    listed = [row.split("|")[1].strip().strip("`") for row in rows]
    with psycopg.connect(postgres_dsn) as connection:
        found = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'tradewind' AND table_type = 'BASE TABLE'"
        ).fetchall()
    assert sorted(listed) == sorted(name for (name,) in found if name != migrations.VERSION_TABLE)
