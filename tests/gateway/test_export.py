"""The exports of jobs/export.py: what the seed's collector writes, and what `tradewind evaluate` reads."""

import asyncio
import importlib.util
import json
from pathlib import Path

import pytest
from gateway_rig import T0, ask

from tradewind.trading.evidence import Requests, TradeTable

_spec = importlib.util.spec_from_file_location("export_job", Path(__file__).parents[2] / "jobs" / "export.py")
assert _spec is not None
assert _spec.loader is not None
export_job = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(export_job)


def run(tmp_path, *argv: str) -> tuple[int, dict]:
    result = tmp_path / "result.json"
    code = export_job.main([*argv, "--namespace", "ns", "--endpoint", "trader", "--result", str(result)])
    return code, json.loads(result.read_text())


async def test_exports_of_a_real_log(rig, gateway, tmp_path, monkeypatch):
    monkeypatch.setenv("TRADEWIND_DSN", rig.dsn)
    rig.publish(experiment=rig.experiment())
    await rig.seen()
    for n, pnl in enumerate([3.5, 1.0, -5.0]):
        await rig.trade(gateway, f"d{n}", f"p{n}")
        await rig.close(gateway, f"d{n}", pnl=pnl)
    await rig.trade(gateway, "open", "p9")
    await gateway.post("/v1/decisions", json=ask("rejected", scope={"symbol": "BTC", "book": "b"}))
    await gateway.post("/v1/decisions/rejected/execution", json={"status": "rejected"})
    table, lines = tmp_path / "T.csv", tmp_path / "data.jsonl"
    code, result = await asyncio.to_thread(run, tmp_path, "evidence", "--experiment", "exp-1", "-o", str(table))
    assert (code, result["rows"], result["perStatus"]) == (0, 5, {"closed": 3, "open": 1, "rejected": 1})
    header, *rows = table.read_text().splitlines()
    assert header == (
        "decision_id,arm,candidate_weight,decided_at,status,closed_at,notional_usd,pnl_usd,received_at,"
        "answered_at,latency_ms,error_kind,fallback,reported_model,corrected,symbol,"
        "answer_cost_usd,paper_baseline,paper_candidate,paper_at,market_return,market_at,failed,shadow_failed"
    )
    assert [row.split(",")[0] for row in rows] == ["d0", "d1", "d2", "open", "rejected"]
    assert rows[0].split(",")[6:8] == ["118.5", "3.5"]
    assert rows[4].split(",")[4:8] == ["rejected", "", "", ""]
    assert rows[4].split(",")[8] > rows[4].split(",")[9]  # received after the answer
    TradeTable.from_csv(table.read_text().splitlines())
    requests = Requests.from_csv(table.read_text().splitlines())
    assert requests is not None
    assert len(requests) == 5
    assert not requests.failed.any()
    assert (requests.latency_ms > 0).all()
    code, result = await asyncio.to_thread(run, tmp_path, "training-data", "-o", str(lines))
    assert (code, result["total_samples"], result["excellent"], result["good"], result["bad"]) == (0, 3, 1, 1, 1)
    assert [json.loads(line)["conversation_id"] for line in lines.read_text().splitlines()] == ["d2", "d1", "d0"]
    assert lines.read_text() == (await gateway.get("/v1/training-data")).text
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("argv", "dsn", "code", "reason", "words"),
    [
        (["evidence"], None, 64, "InvalidConfiguration", "--experiment is missing"),
        (["evidence", "--experiment", "my-test"], None, 65, "NoEvidence", "metadata.uid"),
        (["training-data"], "", 64, "InvalidConfiguration", "TRADEWIND_DSN is not set"),
        (["training-data"], "postgresql://u:hunter2@127.0.0.1:1/x", 65, "DatabaseUnreachable", "127.0.0.1, port 1"),
        (["training-data", "--min-samples", "0"], None, 64, "InvalidConfiguration", "--min-samples"),
        (["training-data", "-o", "/nonexistent/x"], None, 64, "InvalidConfiguration", "--output"),
    ],
)
def test_errors(postgres_dsn, tmp_path, monkeypatch, argv, dsn, code, reason, words):
    monkeypatch.setenv("TRADEWIND_DSN", postgres_dsn if dsn is None else dsn)
    output = [] if "-o" in argv else ["-o", str(tmp_path / "x")]
    got, result = run(tmp_path, *argv, *output)
    assert (got, result["reason"]) == (code, reason)
    assert words in result["message"]
    assert "hunter2" not in result["message"]


def test_without_schema(empty_postgres_dsn, tmp_path, monkeypatch):
    monkeypatch.setenv("TRADEWIND_DSN", empty_postgres_dsn)
    assert run(tmp_path, "training-data", "-o", str(tmp_path / "x"))[1]["reason"] == "SchemaMissing"


def test_cells_read_back():
    assert export_job.cell(T0) == "2026-01-01T00:00:00+00:00"
    assert float(export_job.cell(0.1 + 0.2)) == 0.1 + 0.2
