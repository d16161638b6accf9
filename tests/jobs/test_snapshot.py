import importlib.util
import json
import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
from psycopg.types.json import Jsonb

from import_rig import lines, point
from tradewind.main import cli
from tradewind.trading.decision import Action, TradeDecision
from tradewind.training.files import dataset_sha256, read_examples

START = datetime(2026, 1, 5, tzinfo=UTC)
KEY = ("tradewind", "trading", "trader")


@pytest.fixture(scope="module")
def job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("snapshot_job", Path(__file__).parents[2] / "jobs" / "snapshot.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Log:
    """Writes decisions as the gateway does."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)

    def trade(self, number: int, pnl: float | None, *, key=KEY, action="open_long", hours=1.0, **columns) -> None:
        decided = START + timedelta(hours=number)
        answer = TradeDecision(
            action=Action(action), symbol="BTC", size_usd=100 if action.startswith("open") else 0, leverage=2,
            stop_loss_pct=0.02, take_profit_pct=0.05, confidence=0.7,
        )  # fmt: skip
        request = {
            "scope": {"symbol": "BTC"},
            "market_data": {"BTC": {"price": 60_000 * 1.01**number}, "market_regime": "bull" if number % 2 else "bear"},
            "account_state": {"balance": 600.0, "secret_field": 1, "positions": [{"id": "other"}]},
        }
        shown = {
            "market_data": request["market_data"],
            "account_state": {"positions": []},
            "recent_history": [{"action": "hold", "pnl": 0.5}],
        }
        values = {
            "installation": key[0], "namespace": key[1], "endpoint": key[2], "decision_id": f"d{number:05}",
            "request_hash": b"x", "request": Jsonb(request), "shown": Jsonb(shown), "scope_symbol": "BTC",
            "drawn_version": "deepseek-api", "answered_by": "deepseek-api", "assignment_key": "k", "decided_at": decided,
            "state": "answered", "answer": Jsonb(answer.model_dump(mode="json")),
        } | columns  # fmt: skip
        names = ", ".join(values)
        marks = ", ".join(f"%({name})s" for name in values)
        self.connection.execute(f"INSERT INTO tradewind.decisions ({names}) VALUES ({marks})", values)
        where = (*key, values["decision_id"])
        if pnl is not None:
            self.connection.execute(
                "INSERT INTO tradewind.executions (installation, namespace, endpoint, decision_id, status, position_id,"
                " opened_at, filled_notional_usd) VALUES (%s, %s, %s, %s, 'opened', %s, %s, 200)",
                (*where, f"p{number}", decided),
            )
            self.connection.execute(
                "INSERT INTO tradewind.outcomes (installation, namespace, endpoint, decision_id, closed_at, pnl_usd,"
                " exit_reason, label) VALUES (%s, %s, %s, %s, %s, %s, 'x', 'neutral')",
                (*where, decided + timedelta(hours=hours), pnl),
            )


@pytest.fixture
def log(postgres_dsn: str):
    log = Log(postgres_dsn)
    yield log
    log.connection.close()


@pytest.fixture
def run(job: ModuleType, postgres_dsn: str, tmp_path: Path, monkeypatch) -> Callable[..., tuple[int, dict, Path]]:
    monkeypatch.setenv("TRADEWIND_DSN", postgres_dsn)

    def run(name: str = "dataset", **changes) -> tuple[int, dict, Path]:
        config = {
            "endpoint": {"installation": KEY[0], "namespace": KEY[1], "name": KEY[2]},
            "output": str(tmp_path / name),
            "split": {"evalFraction": "0.2", "embargo": "2h"},
        } | changes
        (tmp_path / "config.json").write_text(json.dumps(config))
        code = job.main(["--config", str(tmp_path / "config.json"), "--result", str(tmp_path / "result.json")])
        return code, json.loads((tmp_path / "result.json").read_text()), tmp_path / name

    return run


def test_300_rows_fail_the_gate_with_the_numbers_and_are_no_error(log: Log, run) -> None:
    for number in range(300):
        log.trade(number, 2.0 if number % 3 else -4.0)
    code, result, folder = run()
    assert code == 0
    gates = {gate["name"]: gate for gate in result["gates"]}
    assert gates["minSamples"] == {"name": "minSamples", "value": 199, "threshold": 500, "passed": False}
    assert gates["minReviewedAccuracy"] == {
        "name": "minReviewedAccuracy", "value": None, "threshold": 0.9, "passed": None,
    }  # fmt: skip
    assert result["rows"] == 199, "200 gains, and one of them is purged at the boundary"
    assert result["perLabel"] == {"good_decision": 199}
    assert result["perAction"] == {"open_long": 199}
    assert set(result["perRegime"]) == {"bull", "bear"}
    assert result["watermark"] == (START + timedelta(hours=300)).isoformat()
    assert result["sha256"] == dataset_sha256(folder)
    assert len((folder / "eval.jsonl").read_text().splitlines()) == result["evalRows"] == 40


def test_the_prompt_is_what_an_own_model_will_be_shown(log: Log, run) -> None:
    log.trade(0, 2.0)
    _, _, folder = run(split={"evalFraction": "0"})
    (example,) = read_examples(folder / "train.jsonl")
    assert '{"balance":600.0,"positions":[],"secret_field":1}' in example.prompt, "the whole account, its own positions"
    assert 'History: [{"action":"hold","pnl":0.5}]' in example.prompt


def test_the_same_rows_give_the_same_hash_and_one_more_another(log: Log, run, postgres_dsn: str) -> None:
    for number in range(30):
        log.trade(number, 2.0)
    _, first, _ = run("first")
    log.connection.execute(
        "UPDATE tradewind.decisions SET latency_ms = 5 WHERE decision_id < 'd00020'"
    )  # moves the rows
    _, again, _ = run("again")
    assert again["sha256"] == first["sha256"]
    log.trade(30, 2.0)
    _, more, _ = run("more")
    assert more["sha256"] != first["sha256"]


def mixed(log: Log) -> None:
    """Trades good and bad, holds, follow-ups, copies of prompts, and what is left out."""
    for number in range(60):
        if number % 7 == 3:
            log.trade(number, None, action="hold")
        elif number % 11 == 5:
            log.trade(number, None, parent_decision_id=f"d{number - 1:05}", action="close")
        elif number % 13 == 6:
            log.trade(number, None, state="failed", answer=None, error_kind="invalid_json")
        else:
            log.trade(number, (number % 5 - 2) * 3.0, hours=number % 4 + 0.5, replay=number % 17 == 9)
    log.connection.execute(
        "UPDATE tradewind.decisions d SET request = o.request FROM tradewind.decisions o"
        " WHERE d.decision_id = 'd00008' AND o.decision_id = 'd00004'"
    )


def test_the_bytes_are_those_of_before_rows_were_read_one_by_one(log: Log, run) -> None:
    mixed(log)
    _, result, _ = run()
    assert result["dropped"]["duplicate"] == 1
    # What commit cb636a3 wrote of this log, which held all of it in memory.
    assert result["sha256"] == "8b8038c18b187b7a44a58b178921234028ca0ebbb328e04cecb53be3bbc5aafc"


def test_an_outcome_that_was_taken_back_teaches_nothing(log: Log, run) -> None:
    log.trade(0, 2.0)
    log.trade(1, 2.0)
    log.connection.execute("UPDATE tradewind.outcomes SET voided = true WHERE decision_id = 'd00001'")
    _, result, _ = run(split={"evalFraction": "0"})
    assert (result["rows"], result["dropped"]) == (1, {"open": 1})


def test_other_endpoints_replays_fallbacks_and_open_trades_stay_out(log: Log, run) -> None:
    log.trade(0, 2.0)
    log.trade(1, 2.0, key=("tradewind", "trading", "other"))
    log.trade(2, 2.0, key=("other", "trading", "trader"))
    log.trade(3, 2.0, replay=True)
    log.trade(4, 2.0, fallback=True)
    log.trade(5, None)
    log.trade(6, None, state="failed", answer=None, error_kind="invalid_json")
    log.trade(7, None, state="failed", answer=None, error_kind="timeout")
    log.trade(8, None, parent_decision_id="d00000", action="close")
    _, result, _ = run(split={"evalFraction": "0"}, gates={"minJsonValidity": "0.9"})
    assert result["perAction"] == {"open_long": 1, "close": 1}, "a close shares its position's fate"
    assert result["dropped"] == {"replay": 1, "fallback": 1, "open": 1, "invalid_answer": 1, "unanswered": 1}
    validity = next(gate for gate in result["gates"] if gate["name"] == "minJsonValidity")
    assert (validity["value"], validity["passed"]) == (0.75, False)
    _, result, _ = run(split={"evalFraction": "0"}, includeReplay=True)
    assert result["rows"] == 3


def test_until_hides_what_was_not_known_then(log: Log, run) -> None:
    log.trade(0, 2.0, hours=1)
    log.trade(1, 2.0, hours=48)
    log.trade(30, 2.0)
    until = (START + timedelta(hours=10)).isoformat()
    _, result, _ = run(split={"evalFraction": "0"}, until=until)
    assert (result["rows"], result["dropped"]) == (1, {"open": 1})
    assert result["watermark"] < until
    _, result, _ = run(split={"evalFraction": "0"}, since="2026-01-05T00:30:00Z")
    assert result["rows"] == 2


def test_losing_trades_teach_to_hold_when_asked(log: Log, run) -> None:
    log.trade(0, -4.0)
    log.trade(1, 6.0, action="open_short")
    labels = {"counterfactualHolds": True, "holdWeight": "0.8", "thresholds": {"excellent": "0.05", "bad": "0.03"}}
    _, result, folder = run(split={"evalFraction": "0"}, labels=labels)
    assert result["perLabel"] == {"counterfactual_hold": 1, "excellent_decision": 1}
    assert [example.weight for example in read_examples(folder / "train.jsonl")] == [0.8, 1.5]


def test_reviews_are_the_accuracy(log: Log, run) -> None:
    for number in range(3):
        log.trade(number, 2.0)
    for reviewer, agrees in (("ann", True), ("bob", False)):
        log.connection.execute(
            "INSERT INTO tradewind.reviews (installation, namespace, endpoint, decision_id, reviewer, label, agrees)"
            " VALUES (%s, %s, %s, 'd00000', %s, 'good_decision', %s)",
            (*KEY, reviewer, agrees),
        )
    _, result, _ = run()
    gate = next(gate for gate in result["gates"] if gate["name"] == "minReviewedAccuracy")
    assert gate == {"name": "minReviewedAccuracy", "value": 0.5, "threshold": 0.9, "passed": False}


def test_a_snapshot_is_of_one_moment(log: Log, postgres_dsn: str) -> None:
    from tradewind.training.config import EndpointKey
    from tradewind.training.log import DecisionLog, Range

    log.trade(0, 2.0)
    with DecisionLog(postgres_dsn) as snapshot:
        snapshot.now()
        writer = threading.Thread(target=lambda: log.trade(1, 2.0))
        writer.start()
        writer.join()
        key = EndpointKey(installation=KEY[0], namespace=KEY[1], name=KEY[2])
        assert [row.decision_id for row in snapshot.decisions(key, Range(None, None))] == ["d00000"]
        assert len(list(snapshot.decisions(key, Range(None, None)))) == 1
    with DecisionLog(postgres_dsn) as snapshot:
        assert len(list(snapshot.decisions(key, Range(None, None)))) == 2


def test_the_parquet_copy_holds_the_same_samples(log: Log, run) -> None:
    from pyarrow import parquet

    for number in range(10):
        log.trade(number, 2.0)
    _, result, folder = run()
    rows = parquet.read_table(folder / "dataset.parquet").to_pylist()
    assert [row["split"] for row in rows].count("eval") == result["evalRows"]
    lines = (folder / "train.jsonl").read_text().splitlines()
    assert [row["prompt"] for row in rows if row["split"] == "train"] == [json.loads(line)["prompt"] for line in lines]


def test_an_empty_log_is_a_failed_gate(run) -> None:
    code, result, _ = run()
    assert code == 0
    assert result["rows"] == 0
    assert result["gates"][0]["passed"] is False


def test_no_schema_no_database_no_dsn(job: ModuleType, run, empty_postgres_dsn: str, monkeypatch) -> None:
    monkeypatch.setenv("TRADEWIND_DSN", empty_postgres_dsn)
    code, result, _ = run()
    assert (code, result["reason"]) == (65, "SchemaMissing")
    assert "tradewind migrate" in result["message"]
    monkeypatch.setenv("TRADEWIND_DSN", "postgresql://user:s3cret@127.0.0.1:9/x")
    code, result, _ = run()
    assert (code, result["reason"]) == (65, "DatabaseUnavailable")
    assert "s3cret" not in json.dumps(result)
    monkeypatch.delenv("TRADEWIND_DSN")
    code, result, _ = run()
    assert code == 64
    assert "TRADEWIND_DSN: is not set" in result["message"]


def test_a_range_that_is_empty_by_mistake_is_refused(run) -> None:
    code, result, _ = run(since="2026-02-01T00:00:00Z", until="2026-01-01T00:00:00Z")
    assert code == 64
    assert "since: dataset.since must lie before dataset.until" in result["message"]


def history(dsn: str, folder: Path, *points: dict) -> None:
    """Imported for the Endpoint, by the command."""
    (folder / "history.jsonl").write_text(lines(*points), encoding="utf-8")
    assert (
        cli(["import", str(folder / "history.jsonl"), "--endpoint", f"{KEY[1]}/{KEY[2]}", "--assume-hold", "6h"]) == 0
    )


def beside(log: Log, number: int, ret: float | None, *, state="answered", known_hours=8.0, action="open_short") -> None:
    """The other arm's answer to a decision, and its paper."""
    decided = START + timedelta(hours=number)
    answer = {"action": action, "symbol": "BTC", "size_usd": 80, "leverage": 3, "stop_loss_pct": 0.02, "take_profit_pct": 0.05,
              "confidence": 0.6}  # fmt: skip
    shown = {
        "market_data": {},
        "account_state": {"positions": [{"id": "its own"}]},
        "recent_history": [{"of": "other"}],
    }
    log.connection.execute(
        "INSERT INTO tradewind.shadows (installation, namespace, endpoint, decision_id, arm, version, scope_symbol, scope_book, replay,"
        " decided_at, state, answer, answered_by, shown, asked_at)"
        " VALUES (%s, %s, %s, %s, 'candidate', 'own-v2', 'BTC', '', false, %s, %s, %s, 'own-v2', %s, %s)",
        (*KEY, f"d{number:05}", decided, state, Jsonb(answer), Jsonb(shown), decided),
    )
    for arm, earned in (("candidate", ret), ("baseline", -0.5), ("market", 0.5)):
        if earned is not None:
            log.connection.execute(
                "INSERT INTO tradewind.papers VALUES (%s, %s, %s, %s, %s, %s, 'horizon', %s, %s, 'prices')",
                (
                    *KEY,
                    f"d{number:05}",
                    arm,
                    earned,
                    decided + timedelta(hours=7),
                    decided + timedelta(hours=known_hours),
                ),
            )


def test_settled_papers_teach_when_asked_and_are_counted_apart(log: Log, run) -> None:
    drawn = {"experiment_uid": "u", "arm": "baseline", "candidate_weight": 0.5}
    for number in range(6):
        log.trade(number, None, action="hold", **drawn)
    beside(log, 0, 0.01)
    beside(log, 1, -0.02)
    beside(log, 2, None)  # not settled
    beside(log, 3, 0.01, state="failed")  # the fallback's answer
    beside(log, 4, 0.01, known_hours=40)
    log.trade(6, 2.0, **drawn)
    beside(log, 6, 0.2)
    ask = {"split": {"evalFraction": "0"}, "until": (START + timedelta(hours=30)).isoformat()}
    _, without, folder = run("without", **ask)
    assert without["perLabel"] == {"hold": 6, "good_decision": 1}
    assert without["paperRows"] == 0
    _, result, folder = run("with", **ask, labels={"paper": True})
    # One trade real, one on paper, and as many holds as in the log go with them.
    assert result["perLabel"] == {"paper_good_decision": 1, "paper_hold": 1, "hold": 4, "good_decision": 1}
    assert result["paperRows"] == 2
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["papers"] == {"read": 3, "decisions": 2, "samples": 2}
    first = json.loads((folder / "train.jsonl").read_text().splitlines()[0])
    assert (first["label"], first["weight"], first["source_model"]) == ("paper_good_decision", 0.5, "own-v2")
    assert '"positions":[{"id":"its own"}],"secret_field":1}' in first["prompt"]
    assert 'History: [{"of":"other"}]' in first["prompt"]
    assert first["ends_at"] == (START + timedelta(hours=7)).isoformat()


def test_drift_is_told_and_gated_against_the_run_before(log: Log, run) -> None:
    for number in range(40):
        log.trade(number, 2.0, action="open_short" if number % 4 else "open_long")
    before = {
        "run": "earlier",
        "perAction": {"open_long": 30, "open_short": 10},
        "perLabel": {"good_decision": 40},
        "perRegime": {},
    }
    ask = {"split": {"evalFraction": "0"}}
    _, alone, folder = run("alone", **ask)
    assert alone["drift"] is None
    assert alone["gates"][-1] == {"name": "maxDrift", "value": None, "threshold": None, "passed": None}
    assert alone["perSymbol"] == {"BTC": 40}
    assert alone["perRegime"] == {"bear": 20, "bull": 20}
    _, result, folder = run("after", **ask, before=before, gates={"maxDrift": "0.25"})
    assert result["sha256"] == alone["sha256"]
    value = result["drift"]["action"]
    assert result["drift"] == {"run": "earlier", "action": value, "label": 0.0}
    assert value == pytest.approx(2 * (30.5 - 10.5) / 41 * math.log(30.5 / 10.5), abs=1e-6)
    assert result["gates"][-1] == {"name": "maxDrift", "value": value, "threshold": 0.25, "passed": False}
    assert json.loads((folder / "manifest.json").read_text())["drift"] == result["drift"]
    again = {"run": "alone"} | {name: alone[name] for name in ("perAction", "perLabel", "perSymbol", "perRegime")}
    _, same, _ = run("again", **ask, before=again, gates={"maxDrift": "0.25"})
    assert same["drift"] == {"run": "alone", "action": 0.0, "label": 0.0, "symbol": 0.0, "regime": 0.0}
    assert same["gates"][-1]["passed"] is True


def test_the_result_fits_a_termination_message_whatever_symbols_and_regimes_are_called(log: Log, run) -> None:
    for number in range(60):
        symbol = f"{'黄' * 30}{number:02}"
        answer = {"action": "open_long", "symbol": symbol, "size_usd": 100, "leverage": 2, "stop_loss_pct": 0.02,
                  "take_profit_pct": 0.05, "confidence": 0.7}  # fmt: skip
        market = {"market_regime": f"{number:02}{'牛' * 100}"}
        request = {"scope": {}, "market_data": market, "account_state": {}}
        log.trade(number, 2.0, scope_symbol=symbol, answer=Jsonb(answer), request=Jsonb(request))
    mixes = {
        name: {f"{number}{'x' * 20}": 9 for number in range(16)}
        for name in ("perAction", "perLabel", "perSymbol", "perRegime")
    }
    _, result, _ = run(before={"run": "r" * 63, **mixes})
    assert {"gates", "perSymbol", "perRegime", "drift", "dropped"} <= result.keys()
    assert sum(result["perSymbol"].values()) == sum(result["perRegime"].values()) == result["rows"]


def test_imported_history_alone_is_a_dataset_and_the_manifest_says_so(run, postgres_dsn: str, tmp_path: Path) -> None:
    history(postgres_dsn, tmp_path, *map(point, range(1000)))
    code, result, folder = run()
    assert code == 0
    assert all(gate["passed"] is not False for gate in result["gates"]), "a TrainingRun goes on from here"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["imported"] == {"read": 1000, "decisions": result["rows"], "perSource": {"seed": result["rows"]}}
    assert 500 < result["rows"] < 1000
    assert set(result["perLabel"]) == {"excellent_decision", "good_decision", "acceptable_loss"}
    example = read_examples(folder / "train.jsonl")[0]
    assert '"BTC":{"price":60000.0' in example.prompt
    assert '"permission_level":"L2"' in example.prompt
    assert json.loads(example.completion)["stop_loss_pct"] == 0.02


def test_imported_and_own_decisions_stand_side_by_side(log: Log, run, postgres_dsn: str, tmp_path: Path) -> None:
    for number in range(5):
        log.trade(number, 2.0)
    _, alone, folder = run("alone", split={"evalFraction": "0"})
    assert json.loads((folder / "manifest.json").read_text())["imported"] == {
        "read": 0,
        "decisions": 0,
        "perSource": {},
    }
    history(postgres_dsn, tmp_path, *(point(n, result__pnl=4.0, result__profitable=True) for n in range(100, 103)))
    _, both, folder = run("both", split={"evalFraction": "0"})
    assert (alone["rows"], both["rows"]) == (5, 8)
    assert both["perLabel"] == {"good_decision": 5, "excellent_decision": 3}
    _, until, _ = run("until", split={"evalFraction": "0"}, until=(START + timedelta(hours=103)).isoformat())
    assert (until["rows"], until["dropped"]) == (5, {"open": 3}), "what came of them was not known then"
    _, until, _ = run("since", split={"evalFraction": "0"}, since=(START + timedelta(hours=101)).isoformat())
    assert until["rows"] == 2


def test_a_label_counts_where_no_profit_is_given_and_thresholds_where_it_is(
    run, postgres_dsn: str, tmp_path: Path
) -> None:
    def labelled(number: int, label: str, **changes) -> dict:
        return point(number, result=None, label=label, **changes)

    history(
        postgres_dsn, tmp_path, labelled(0, "excellent_decision"), labelled(1, "bad_decision"), labelled(2, "acceptable_loss"),
        labelled(3, "excellent_decision", output={"action": "close", "symbol": "BTC"}),
        labelled(4, "bad_decision", output={"action": "hold", "symbol": "BTC"}),
        labelled(5, "pending", output={"action": "hold", "symbol": "BTC"}),
        labelled(6, "pending"),
        point(7, result__pnl=2.0, result__profitable=True, label="bad_decision"),
    )  # fmt: skip
    thresholds = {"thresholds": {"excellent": "0.02", "bad": "0.03"}}
    _, result, folder = run(split={"evalFraction": "0"}, labels=thresholds)
    assert result["perLabel"] == {"excellent_decision": 3, "acceptable_loss": 1, "hold": 1}
    assert result["dropped"] == {"open": 1, "not_imitated": 2}
    weights = {example.completion.split('"')[3]: example.weight for example in read_examples(folder / "train.jsonl")}
    assert weights["close"] == 0.5, "as a follow-up: at the weight of a hold at most"
    gates = {gate["name"]: gate["value"] for gate in result["gates"]}
    assert gates["minLabelConsistency"] == 1.0, "of the one trade whose profit is known"
