"""The evaluation Job against real predictors and a real log: what it counts, what it holds back, what it refuses."""

import importlib.util
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from tiny_llama import directory_sha256, tiny_llama, train_tokenizer

from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.prompt import render_completion, render_prompt
from tradewind.training.files import dataset_sha256

START = datetime(2026, 1, 5, tzinfo=UTC)
WATERMARK = START + timedelta(days=2)
KEY = {"installation": "test", "namespace": "trading", "name": "trader"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def job() -> Iterator[ModuleType]:
    """As `python jobs/evaluate.py` finds its neighbour."""
    sys.path.insert(0, str(ROOT / "jobs"))
    spec = importlib.util.spec_from_file_location("evaluate_job", ROOT / "jobs" / "evaluate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["evaluate_job"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "jobs"))


@dataclass(frozen=True)
class Server:
    url: str
    sha256: str


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """v2, trained up to a watermark; champion, trained up to the day before; and one that says nothing of its training."""
    tokenizer = train_tokenizer("llama3")
    found: dict[str, tuple[Server, subprocess.Popen[bytes], Path]] = {}
    for seed, (name, known_until) in enumerate(
        {"v2": WATERMARK, "champion": WATERMARK - timedelta(days=1), "foreign": None}.items()
    ):
        folder = tmp_path_factory.mktemp(name)
        model = folder / "model"
        tiny_llama(tokenizer, seed=seed).save_pretrained(model)
        tokenizer.save_pretrained(model)
        if known_until is not None:
            card = {"run": f"run-{name}", "watermark": known_until.isoformat(), "datasetSha256": "d" * 64, "samples": 3}
            (model / "training.json").write_text(json.dumps(card))
        sha256 = directory_sha256(model)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "tradewind.predictor",
            "--model-name",
            name,
            "--base",
            str(model),
            "--sha256",
            sha256,
        ]
        command += ["--port", str(port), "--termination-log", str(folder / "log"), "--decoding", "scored"]
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=folder, env=os.environ | {"TRADEWIND_THREADS": "1"}
            )
        found[name] = Server(f"http://127.0.0.1:{port}", sha256), process, folder
    try:
        for server, process, folder in found.values():
            deadline = time.monotonic() + 240
            while True:
                try:
                    with urllib.request.urlopen(f"{server.url}/v2/health/ready", timeout=5):
                        break
                except OSError:
                    assert process.poll() is None, (folder / "output").read_text()
                    assert time.monotonic() < deadline, (folder / "output").read_text()
                    time.sleep(0.2)
        yield {name: server for name, (server, _, _) in found.items()}
    finally:
        for _, process, _ in found.values():
            process.send_signal(signal.SIGTERM)
        for _, process, _ in found.values():
            process.wait(30)


def answer(action: Action) -> TradeDecision:
    return TradeDecision(
        action=action, symbol="BTC", size_usd=100 if action.opens else 0, leverage=2 if action.opens else 1,
        stop_loss_pct=0.02 if action.opens else 0, take_profit_pct=0.05 if action.opens else 0, confidence=0.7,
    )  # fmt: skip


@pytest.fixture
def log(postgres_dsn: str) -> Iterator[Callable[..., None]]:
    """Writes a closed long of an hour, as gateway and reports do."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:

        def trade(hour: float, pnl: float) -> None:
            decided, name = START + timedelta(hours=hour), f"d{hour:07.1f}"
            request = {
                "scope": {"symbol": "BTC"}, "market_data": {"BTC": {"price": round(60_000 * (1 + 0.1 * math.sin(hour)), 1)}},
                "account_state": {"balance": 600.0, "permission_level": "L1"},
            }  # fmt: skip
            connection.execute(
                "INSERT INTO tradewind.decisions (installation, namespace, endpoint, decision_id, request_hash, request, shown, scope_symbol,"
                " drawn_version, answered_by, assignment_key, decided_at, state, answer)"
                " VALUES (%s, %s, %s, %s, 'x', %s, %s, 'BTC', 'api', 'api', 'k', %s, 'answered', %s)",
                (
                    *KEY.values(), name, Jsonb(request), Jsonb({"account_state": {}, "recent_history": []}), decided,
                    Jsonb(answer(Action.OPEN_LONG).model_dump(mode="json")),
                ),
            )  # fmt: skip
            connection.execute(
                "INSERT INTO tradewind.executions (installation, namespace, endpoint, decision_id, status, position_id, opened_at,"
                " filled_notional_usd) VALUES (%s, %s, %s, %s, 'opened', %s, %s, 200)",
                (*KEY.values(), name, name, decided),
            )
            connection.execute(
                "INSERT INTO tradewind.outcomes (installation, namespace, endpoint, decision_id, closed_at, pnl_usd, exit_reason, label)"
                " VALUES (%s, %s, %s, %s, %s, %s, 'x', 'neutral')",
                (*KEY.values(), name, decided + timedelta(hours=1), pnl),
            )

        yield trade


Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(
    job: ModuleType, servers: dict[str, Server], postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.setenv("TRADEWIND_DSN", postgres_dsn)

    def run(config: dict[str, Any], version: str = "v2", url: str | None = None) -> tuple[int, dict[str, Any]]:
        (tmp_path / "config.json").write_text(json.dumps(config))
        server = servers[version]
        arguments = [
            "--url",
            url or server.url,
            "--model",
            version,
            "--sha256",
            server.sha256,
            "--requests",
            "2",
            "--concurrency",
            "1",
        ]
        arguments += [
            "--config",
            str(tmp_path / "config.json"),
            "--result",
            str(tmp_path / "result.json"),
            "--patience",
            "0.1",
        ]
        code = job.main(arguments)
        text = (tmp_path / "result.json").read_text()
        assert len(text.encode()) <= 4096
        return code, json.loads(text)

    return run


def recorded(**changes: Any) -> dict[str, Any]:
    limits = {"L1": {"maxLeverage": 2, "maxSizeUSD": "50"}}
    return {"endpoint": KEY, "minRows": 5, "embargo": "24h", "limits": limits} | changes


def write_bars(folder: Path, days: int = 14) -> Path:
    lines = ["time,open,high,low,close"]
    price = 60_000.0
    for hour in range(24 * days):
        after = round(price * (1 + 0.01 * math.sin(hour / 3)), 2)
        lines.append(
            f"{(START + timedelta(hours=hour)).isoformat()},{price},{max(price, after)},{min(price, after)},{after}"
        )
        price = after
    folder.mkdir()
    (folder / "bars.csv").write_text("\n".join(lines))
    return folder


def test_only_what_nobody_was_taught_is_asked_and_all_of_it_is_told(log, run: Run, servers, tmp_path: Path) -> None:
    for hour in range(0, 240, 4):
        log(hour, 6.0 if hour % 8 else -6.0)
    bars = write_bars(tmp_path / "bars")
    champion = {"version": "champion", "url": servers["champion"].url, "sha256": servers["champion"].sha256}
    code, result = run(
        {
            "recorded": recorded(),
            "compared": champion,
            "bars": {"folder": str(bars), "horizon": "8h", "costBasisPoints": "1.2"},
        }
    )
    assert code == 0, result
    assert result["verified"] is True
    assert result["card"] == {"run": "run-v2", "watermark": WATERMARK.isoformat(), "datasetSha256": "d" * 64}
    assert result["hostile"] == {"asked": 48, "kept": 45, "refused": 3, "broken": None}, (
        "a text of 2,000 letters is too long for it"
    )
    found = result["evaluation"]
    since = WATERMARK + timedelta(days=1)
    assert found["since"] == since.isoformat(), "the newest watermark of both, and the embargo"
    assert found["firstDecision"] == since.isoformat()
    assert found["rows"] == found["found"] == 42, "every fourth hour from the fourth day to the end of the tenth"
    assert (found["good"], found["bad"]) == (21, 21)
    assert found["valid"] == 1.0
    assert 0 <= found["agreement"] <= 1
    assert found["baseline"] == {
        "version": "champion", "asked": True, "answers": 42, "holdShare": found["baseline"]["holdShare"],
    }  # fmt: skip
    assert found["calibration"]["error"] >= 0
    simulated = found["simulated"]
    assert (simulated["rows"], simulated["leftOut"], simulated["blocks"]) == (42, 0, 7)


def test_a_version_beside_itself_earns_the_same(log, run: Run, servers, tmp_path: Path) -> None:
    for hour in range(72, 240, 4):
        log(hour, 6.0)
    itself = {"version": "v2", "url": servers["v2"].url, "sha256": servers["v2"].sha256}
    bars = write_bars(tmp_path / "bars")
    _, result = run({"recorded": recorded(), "compared": itself, "bars": {"folder": str(bars)}})
    simulated = result["evaluation"]["simulated"]
    assert simulated["version"] == simulated["baseline"]
    assert simulated["sharpeDifference"] in (None, {"value": 0.0, "lower": 0.0, "upper": 0.0})
    assert result["evaluation"]["holdShare"] == result["evaluation"]["baseline"]["holdShare"]


def test_too_few_rows_are_counted_and_nothing_is_judged_on_them(log, run: Run) -> None:
    for hour in (0, 1, 2, 73, 74):
        log(hour, 6.0)
    code, result = run({"recorded": recorded()})
    assert code == 0
    assert result["evaluation"]["rows"] == 2
    assert "agreement" not in result["evaluation"]


def test_an_external_champion_is_never_asked_and_its_recorded_answers_count(log, run: Run) -> None:
    for hour in range(72, 240, 12):
        log(hour, 6.0)
    _, result = run({"recorded": recorded(), "compared": {"version": "api"}})
    assert result["evaluation"]["baseline"] == {"version": "api", "asked": False, "answers": 14, "holdShare": 0.0}
    _, result = run({"recorded": recorded(), "compared": {"version": "another-api"}})
    assert result["evaluation"]["baseline"]["answers"] == 0


def test_a_model_that_says_nothing_of_its_training_is_judged_only_since_a_stated_time(log, run: Run) -> None:
    for hour in range(0, 240, 24):
        log(hour, 6.0)
    code, result = run({"recorded": recorded()}, version="foreign")
    assert code == 64
    assert "evaluation.dataset.since" in result["message"]
    code, result = run({"recorded": recorded(since=(START + timedelta(days=4)).isoformat())}, version="foreign")
    assert code == 0
    assert result["evaluation"]["rows"] == 6


def test_a_since_before_the_watermark_adds_no_row(log, run: Run) -> None:
    for hour in range(0, 240, 12):
        log(hour, 6.0)
    _, result = run({"recorded": recorded(since=START.isoformat())})
    assert result["evaluation"]["since"] == (WATERMARK + timedelta(days=1)).isoformat()


def test_a_champion_that_serves_something_else_is_not_compared_with(log, run: Run, servers) -> None:
    log(100, 6.0)
    other = {"version": "champion", "url": servers["champion"].url, "sha256": "e" * 64}
    code, result = run({"recorded": recorded(minRows=1), "compared": other})
    assert (code, result["reason"]) == (1, "BaselineChanged")


def test_wrong_files_are_refused_before_anything_is_asked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars" / "bars.csv").write_text("time,open,high,low,close\n2026-01-01,1,1,1,1\n")
    nobody = "http://127.0.0.1:9"
    code, result = run({"recorded": recorded(), "bars": {"folder": str(tmp_path / "bars")}}, url=nobody)
    assert (code, result["reason"]) == (65, "InvalidBars")
    assert "no zone" in result["message"]
    code, result = run({"recorded": {"endpoint": KEY, "rows": 5}}, url=nobody)
    assert code == 64
    assert "recorded.rows: is not supported" in result["message"]


def test_the_evaluation_side_of_its_own_dataset_counts_after_what_was_taught(run: Run, tmp_path: Path, servers) -> None:
    def line(number: int) -> str:
        shown = DecisionInput(market_data={"n": number}, account_state={})
        decided = START + timedelta(hours=number)
        return json.dumps(
            {
                "prompt": render_prompt(shown, "BTC"), "completion": render_completion(answer(Action.OPEN_LONG)), "weight": 1.0,
                "label": "good_decision", "decision_id": f"d{number}", "decided_at": decided.isoformat(),
                "ends_at": (decided + timedelta(hours=1)).isoformat(), "source_model": "api",
            }
        ) + "\n"  # fmt: skip

    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("".join(line(n) for n in range(10)))
    (tmp_path / "set" / "eval.jsonl").write_text("".join(line(n) for n in (3, 8, *range(20, 40))))
    config = recorded(folder=str(tmp_path / "set"), embargo="1h")
    del config["endpoint"]
    code, result = run({"recorded": config})
    assert code == 0, result
    assert result["evaluation"]["rows"] == 0, "of another dataset: all of it lies before the watermark"
    config["since"] = START.isoformat()
    code, result = run({"recorded": config}, version="foreign")
    found = result["evaluation"]
    assert found["rows"] == 20, "two are taught"
    assert found["taught"] == {"leaked": 2, "asked": 10, "agreement": found["taught"]["agreement"]}
    code, result = run({"recorded": config | {"sha256": "a" * 64}}, version="foreign")
    assert (code, result["reason"]) == (65, "DatasetMismatch")
    assert run({"recorded": config | {"sha256": dataset_sha256(tmp_path / "set")}}, version="foreign")[0] == 0
