"""`tradewind review` on a real PostgreSQL: the draw, the walk, files, rights, and what the gate makes of it."""

import io
import json
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tradewind.main import cli
from tradewind.migrations import tenants
from tradewind.training.config import EndpointKey
from tradewind.training.log import DecisionLog, Range

START = datetime(2026, 1, 5, tzinfo=UTC)
KEY = ("tradewind", "trading", "trader")
LABELS = ("good_decision",) * 30 + ("bad_decision",) * 6 + ("excellent_decision",) * 2
PNL = {"good_decision": 2.0, "bad_decision": -9.0, "excellent_decision": 9.0}


class Tool:
    def __init__(self, dsn: str, folder: Path, capsys, monkeypatch) -> None:
        self.dsn, self.folder, self._capsys, self._monkeypatch = dsn, folder, capsys, monkeypatch
        self.connection = psycopg.connect(dsn, autocommit=True)

    def trade(self, number: int, label: str, *, market: Any = None, **columns: Any) -> None:
        decided = START + timedelta(hours=number)
        answer = {"action": "open_long", "symbol": "BTC", "size_usd": 100, "leverage": 2, "stop_loss_pct": 0.02,
                  "take_profit_pct": 0.05, "confidence": 0.7, "reasoning": "the trend\u2028holds"}  # fmt: skip
        request = {
            "market_data": market or {"BTC": {"price": 60_000 + number}, "market_regime": "bull"},
            "account_state": {"balance": 600},
        }
        values = {
            "installation": KEY[0], "namespace": KEY[1], "endpoint": KEY[2], "decision_id": f"d{number:05}", "request_hash": b"x",
            "request": Jsonb(request), "shown": Jsonb(request | {"recent_history": [{"action": "hold"}]}), "scope_symbol": "BTC",
            "drawn_version": "api", "answered_by": "api", "assignment_key": "k", "decided_at": decided, "state": "answered",
            "answer": Jsonb(answer),
        } | columns  # fmt: skip
        names, marks = ", ".join(values), ", ".join(f"%({name})s" for name in values)
        self.connection.execute(f"INSERT INTO tradewind.decisions ({names}) VALUES ({marks})", values)
        self.connection.execute(
            "INSERT INTO tradewind.outcomes (installation, namespace, endpoint, decision_id, closed_at, pnl_usd, exit_reason, label)"
            " VALUES (%s, %s, %s, %s, %s, %s, 'take_profit', %s)",
            (*KEY[:2], values["endpoint"], values["decision_id"], decided + timedelta(hours=1), PNL[label], label),
        )

    def __call__(self, *arguments: str, said: str = "", endpoint: str = "trading/trader") -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        code = cli(["review", "--endpoint", endpoint, "--by", "ann", *arguments])
        out, err = self._capsys.readouterr()
        return code, out, err

    def sample(self, *arguments: str) -> list[dict[str, Any]]:
        code, out, err = self("--format", "jsonl", *arguments)
        assert (code, err) == (0, "")
        return [json.loads(line) for line in out.split("\n") if line]

    def write(self, *rows: Any) -> str:
        file = self.folder / "reviews.jsonl"
        file.write_text(
            "\n".join(r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8"
        )
        return str(file)

    def stored(self) -> list[tuple[Any, ...]]:
        query = (
            "SELECT decision_id, reviewer, label, agrees, note FROM tradewind.reviews ORDER BY decision_id, reviewer"
        )
        return self.connection.execute(query).fetchall()

    def of_a_training(self) -> dict[str, float | None]:
        """What a training's gate counts, by decision."""
        from tradewind.trading.dataset import Imitation, build_dataset
        from tradewind.trading.settings.dataset import DatasetSplit

        with DecisionLog(self.dsn) as log:
            rows = log.decisions(EndpointKey(installation=KEY[0], namespace=KEY[1], name=KEY[2]), Range(None, None))
            dataset = build_dataset(rows, Imitation(), DatasetSplit())
        return {trade.decision_id: trade.review for trade in dataset.trades if trade.review is not None}


@pytest.fixture
def tool(postgres_dsn: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("TRADEWIND_DSN", postgres_dsn)
    tool = Tool(postgres_dsn, tmp_path, capsys, monkeypatch)
    yield tool
    tool.connection.close()


@pytest.fixture
def log(tool: Tool) -> Tool:
    for number, label in enumerate(LABELS):
        tool.trade(number, label)
    return tool


def test_the_sample_is_drawn_label_by_label_and_stays(log: Tool) -> None:
    sample = log.sample("--sample", "12")
    assert Counter(each["label"] for each in sample) == {"good_decision": 5, "bad_decision": 5, "excellent_decision": 2}
    assert log.sample("--sample", "12") == sample
    assert log.sample("--sample", "7") == sample[:7], "a smaller one is its beginning"
    other = log.sample("--sample", "12", "--seed", "2")
    assert {each["decision_id"] for each in other} != {each["decision_id"] for each in sample}
    assert len(log.sample()) == len(LABELS)


def test_only_what_a_training_would_judge_is_drawn(tool: Tool) -> None:
    tool.trade(0, "good_decision")
    tool.trade(1, "good_decision", replay=True)
    tool.trade(2, "good_decision", fallback=True)
    tool.trade(3, "good_decision", parent_decision_id="d00000")
    tool.trade(4, "good_decision", bar_from_evidence="conflicting_answers")
    tool.trade(5, "good_decision")
    tool.connection.execute("UPDATE tradewind.outcomes SET voided = true WHERE decision_id = 'd00005'")
    tool.trade(6, "good_decision", endpoint="other")
    assert [each["decision_id"] for each in tool.sample()] == ["d00000"]
    assert {each["decision_id"] for each in tool.sample("--include-replay")} == {"d00000", "d00001"}


def test_the_walk_shows_each_and_keeps_what_is_said_at_once(log: Tool) -> None:
    ids = [each["decision_id"] for each in log.sample("--sample", "5")]
    code, out, _ = log("--sample", "5", said="what?\na\nd too late an entry\ns\nq\n")
    assert code == 0
    assert "5 decisions drawn, 0 of them reviewed by ann before" in out
    assert 'market   {"price": 600' in out
    assert 'history  [{"action": "hold"}]' in out
    assert "answer   open_long 100 USD x 2, stop_loss_pct 0.02 take_profit_pct 0.05 confidence 0.7" in out
    assert "of the margin, take_profit after 1.0 h" in out
    assert "trading/trader: 2 decisions reviewed, mean agreement 0.500" in out
    said = {row[0]: row[1:] for row in log.stored()}
    assert said.keys() == set(ids[:2])
    assert said[ids[0]][0::2] == ("ann", True)
    assert said[ids[1]][2:] == (False, "too late an entry")
    # Who comes again goes on where they were; the end of the input ends the walk.
    code, out, _ = log("--sample", "5", said="a\n")
    assert "5 decisions drawn, 2 of them reviewed by ann before" in out
    assert code == 0
    assert {row[0] for row in log.stored()} == set(ids[:3])


def test_one_review_a_reviewer_and_decision_and_the_last_counts(log: Tool) -> None:
    first = log.sample("--sample", "1")[0]["decision_id"]
    log("--sample", "1", said="a\n")
    _, out, _ = log("--sample", "1", "--again", said="d\n")
    assert "(you agreed before)" in out
    log("--sample", "1", "--by", "bob", said="a fine\n")
    assert [row[:2] + row[3:] for row in log.stored()] == [(first, "ann", False, ""), (first, "bob", True, "fine")]
    assert log.of_a_training() == {first: 0.5}


def test_a_review_is_of_the_label_that_was_shown(log: Tool) -> None:
    log("--sample", "1", said="a\n")
    (first, _, label, _, _) = log.stored()[0]
    assert log.of_a_training() == {first: 1.0}
    other = "bad_decision" if label == "good_decision" else "good_decision"
    log.connection.execute(
        "UPDATE tradewind.outcomes SET label = %s, pnl_usd = %s WHERE decision_id = %s", (other, PNL[other], first)
    )
    assert log.of_a_training() == {}, "nobody has said anything of the corrected one"
    assert first in {each["decision_id"] for each in log.sample()}, "it is drawn anew"


def test_a_file_goes_out_and_comes_back(log: Tool) -> None:
    rows = log.sample("--sample", "4")
    assert [(row["agrees"], row["note"]) for row in rows] == [(None, "")] * 4
    assert rows[0]["result"]["margin_return"] == PNL[rows[0]["label"]] / 100
    assert rows[0]["answer"]["reasoning"] == "the trend\u2028holds"
    rows[0]["agrees"], rows[1]["agrees"], rows[1]["note"] = True, False, "跌破"
    code, out, err = log("--from", log.write(*rows))
    assert (code, err) == (0, "")
    assert "2 reviews of" in out
    assert {(row[0], row[1], row[3], row[4]) for row in log.stored()} == {
        (rows[0]["decision_id"], "ann", True, ""), (rows[1]["decision_id"], "ann", False, "跌破"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"agrees": "yes"}, "reviews.jsonl:2: agrees: yes; write true or false"),
        ({"decision_id": None}, "reviews.jsonl:2: decision_id: is missing"),
        ({"label": "fine"}, "reviews.jsonl:2: label: fine is none"),
        ({"note": 3}, "reviews.jsonl:2: note: 3; write text"),
        ({"note": "x" * 4001}, "reviews.jsonl:2: note: has 4001 characters"),
        ({"decision_id": "nobody"}, "decision_id: 'nobody' is no closed decision"),
        ({"label": "neutral"}, "by now, not neutral"),
    ],
)  # fmt: skip
def test_a_file_with_a_fault_stores_nothing_and_says_where(log: Tool, changes: dict[str, Any], says: str) -> None:
    one, other = (row | {"agrees": True} for row in log.sample("--sample", "2"))
    code, _, err = log("--from", log.write(one, other | changes))
    assert code == 1
    assert says in err
    assert "nothing was stored" in err
    assert log.stored() == []


def test_what_is_no_json_and_what_is_not_there(log: Tool) -> None:
    assert log("--from", log.write("{"))[0] == 1
    assert log("--from", log.write("[1]"))[0] == 1
    code, _, err = log("--from", "/nowhere")
    assert (code, "--from /nowhere: cannot be read" in err) == (2, True)
    for wrong in (("--sample", "0"), ("--from", "x", "--format", "jsonl"), ("--by", " ")):
        assert log(*wrong)[0] == 2
    assert "NAMESPACE/NAME" in log(endpoint="trader")[2]


def test_a_tenant_reads_reviews_and_writes_none(log: Tool, monkeypatch) -> None:
    tenant = tenants.add(
        log.dsn, "tradewind", "trading", role=f"reviewer_{log.folder.name}"[:60].lower(), password="secret"
    )
    try:
        monkeypatch.setenv("TRADEWIND_DSN", tenants.tenant_dsn(log.dsn, tenant.role, "secret"))
        assert len(log.sample("--sample", "3")) == 3
        code, _, err = log("--sample", "1", said="a\n")
        assert code == 2
        assert "reviews are for the owner's role" in err
        assert log.stored() == []
    finally:
        tenants.remove(log.dsn, "tradewind", "trading")


def test_the_database_says_who_wrote(log: Tool) -> None:
    log("--sample", "1", said="a\n")
    assert log.connection.execute("SELECT database_role FROM tradewind.reviews").fetchone() == ("tradewind",)


def test_a_schema_that_is_not_there(empty_postgres_dsn: str, tool: Tool, monkeypatch) -> None:
    monkeypatch.setenv("TRADEWIND_DSN", empty_postgres_dsn)
    code, _, err = tool()
    assert (code, "tradewind migrate" in err) == (2, True)
    monkeypatch.delenv("TRADEWIND_DSN")
    assert "TRADEWIND_DSN is not set" in tool()[2]


def test_what_a_market_says_does_not_move_the_cursor(tool: Tool) -> None:
    tool.trade(0, "good_decision", market={"BTC": "\x1b[2J\x9b1A\u202egnol", "x\r": 1})
    _, out, _ = tool(said="q\n")
    assert not {"\x1b", "\x9b", "\u202e", "\r"} & set(out)
    assert "gnol" in out
