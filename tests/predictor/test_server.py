"""The real process, as the container runs it."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from predictor_process import QUESTION, Running, command, started
from tiny_llama import Served, read_termination

from tradewind.trading.decision import Action, TradeDecision


@pytest.fixture(scope="module")
def running(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(served, tmp_path_factory.mktemp("server"), "--max-queue", "4") as server:
        yield server
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) in (0, -signal.SIGTERM)


def test_a_decision_keeps_schema_symbol_and_limits(running: Running) -> None:
    status, body, _ = running.predict(QUESTION)
    assert status == 200
    prediction = body["predictions"][0]
    decision = TradeDecision.model_validate({k: v for k, v in prediction.items() if not k.startswith("_")})
    assert decision.symbol == "BTC"
    assert decision.leverage <= 2
    assert decision.size_usd <= 100
    assert set(prediction["_probabilities"]) == {action.value for action in Action}
    assert sum(prediction["_probabilities"].values()) == pytest.approx(1)
    assert 1 <= prediction["_forward_passes"] <= 20
    assert prediction["_latency_ms"] > 0


def test_several_instances_are_answered_in_order(running: Running) -> None:
    _, body, _ = running.predict(QUESTION, {**QUESTION, "symbols": ["ETH"]})
    assert [p["symbol"] for p in body["predictions"]] == ["BTC", "ETH"]


def test_verification_names_what_is_served(running: Running, served: Served) -> None:
    status, body, _ = running.call("/tradewind/v1/verification")
    assert status == 200
    assert body["sha256"] == served.sha256
    assert body["roundTrip"] is True
    assert body["decoding"] == "greedy"
    assert body["batched"] is True
    assert running.call("/v1/models/v1")[1] == {"name": "v1", "ready": True}


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"symbols": []}, 400, "instances.0.symbols"),
        ({"symbols": ["BTC", "ETH"]}, 400, "instances.0.symbols"),
        ({"limits": {"max_leverage": 0, "max_size_usd": 1}}, 400, "instances.0.limits.max_leverage"),
        ({"extra": 1}, 400, "instances.0.extra"),
        ({"market_data": {"x": "long " * 2000}}, 422, "market_data"),
    ],
)
def test_a_bad_request_names_the_field_and_the_remedy(running: Running, change: Any, status: int, field: str) -> None:
    answered, body, _ = running.predict({**QUESTION, **change})
    assert answered == status
    assert body["error"]["field"] == field
    assert body["error"]["remedy"]


def test_no_json_and_no_such_model(running: Running) -> None:
    assert running.call("/v1/models/v1:predict", b"{")[0] == 400
    assert running.call("/v1/models/v2:predict", {"instances": [QUESTION]})[0] == 404


def test_a_full_queue_refuses_at_once_and_recovers(running: Running) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(running.predict, [QUESTION] * 24))
    assert {status for status, _, _ in answers} == {200, 503}
    _, body, headers = next(answer for answer in answers if answer[0] == 503)
    assert body["error"]["code"] == "queue_full"
    assert int(headers["Retry-After"]) >= 1
    assert running.predict(QUESTION)[0] == 200


def test_more_instances_than_may_wait_are_never_told_to_come_again(running: Running) -> None:
    status, body, headers = running.predict(*[QUESTION] * 5)
    assert status == 413
    assert body["error"]["field"] == "instances"
    assert "send at most 4 instances, or raise serving.maxQueue" in body["error"]["remedy"]
    assert "Retry-After" not in headers
    assert running.predict(*[QUESTION] * 4)[0] == 200


def test_the_benchmark_job_measures_the_endpoint(running: Running, served: Served, tmp_path: Path) -> None:
    job = Path(__file__).parents[2] / "jobs" / "benchmark.py"
    result = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, str(job), "--url", running.url, "--model", "v1", "--sha256", served.sha256, "--requests", "6",
         "--concurrency", "1,4", "--result", str(result)], capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured = json.loads(result.read_text())
    assert measured == json.loads(done.stdout.splitlines()[-1])
    assert measured["verified"] is True
    assert measured["valid"] == 1.0
    assert measured["forwardPasses"] <= 20


def test_a_tampered_adapter_is_never_served(served: Served, tmp_path: Path) -> None:
    tampered = tmp_path / "adapter"
    shutil.copytree(served.adapter, tampered)
    weights = tampered / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    done = subprocess.run(command(served, tmp_path, adapter=tampered), capture_output=True, timeout=60, check=False)
    assert done.returncode == 65
    message = read_termination(tmp_path / "log")
    assert message["reason"] == "ArtifactMismatch"
    assert message["expected"] == served.sha256 != message["actual"]


def test_an_adapter_on_another_base_is_never_served(served: Served, tmp_path: Path) -> None:
    pinned = [*command(served, tmp_path), "--base-sha256", "0" * 64]
    done = subprocess.run(pinned, capture_output=True, timeout=60, check=False)
    assert done.returncode == 65
    message = read_termination(tmp_path / "log")
    assert message["reason"] == "ArtifactMismatch"
    assert message["expected"] == "0" * 64 != message["actual"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        (b"", "body"),
        (b'{"instances": NaN}', "body"),
        (b'{"instances": "x"}', "instances"),
        (b"[]", "body"),
        (b'"x"', "body"),
        (b"null", "body"),
        (b"{}", "instances"),
        (b'{"instances": []}', "instances"),
        (b'{"instances": [7]}', "instances.0"),
        (b'{"instances": [{}]}', "instances.0.market_data"),
        (json.dumps({"instances": [QUESTION] * 17}).encode(), "instances"),
        (json.dumps({"instances": [QUESTION | {"recent_history": [{}] * 101}]}).encode(), "instances.0.recent_history"),
    ],
)
def test_a_malformed_body_is_the_askers_fault(running: Running, body: bytes, field: str) -> None:
    status, said, _ = running.call("/v1/models/v1:predict", body)
    assert status == 400, said
    assert said["error"]["field"] == field
    assert said["error"]["remedy"]


@pytest.mark.parametrize(
    "data",
    [
        "[" * 300 + "]" * 300,
        '{"x":' * 900 + "1" + "}" * 900,
        "1" + "0" * 400,
        "1e400",
        '"\\ud800"',
        '"\\u0000"',
        "18446744073709551616",
    ],
)
def test_odd_data_is_answered_or_refused_and_counts_against_nobody(running: Running, data: str) -> None:
    """Three in a row of what is no fault of the model's would end it."""
    body = json.dumps({"instances": [QUESTION | {"market_data": {"x": "@"}}]}).replace('"@"', data).encode()
    for _ in range(4):
        status, said, _ = running.call("/v1/models/v1:predict", body)
        assert status in (200, 400, 422), said
    assert running.predict(QUESTION)[0] == 200
    assert running.metric('tradewind_predictor_bad_passes_total{kind="failed"}') == 0


def test_nobody_may_take_the_model_away(running: Running) -> None:
    assert running.call("/v2/repository/models/v1/unload", b"{}")[0] == 405
    assert running.predict(QUESTION)[0] == 200


def test_metrics_say_what_was_decided_and_what_it_took(running: Running) -> None:
    def decided() -> float:
        return sum(
            running.metric(f'tradewind_predictor_decisions_total{{action="{action.value}"}}') for action in Action
        )

    before, passes, seconds = (
        decided(),
        running.metric("tradewind_predictor_passes_count"),
        running.metric("tradewind_predictor_decision_seconds_count"),
    )
    assert running.predict(QUESTION, QUESTION)[0] == 200
    assert decided() == before + 2
    assert running.metric("tradewind_predictor_passes_count") == passes + 2
    assert running.metric("tradewind_predictor_decision_seconds_count") == seconds + 2
    assert running.metric("tradewind_predictor_queue") == 0
    assert running.metric("tradewind_predictor_action_seconds_count") == decided()
    assert running.metric('tradewind_predictor_batch_bucket{le="1.0"}') < running.metric(
        "tradewind_predictor_batch_count"
    )
    assert running.metric('tradewind_predictor_prompt_tokens_total{source="shared"}') > 0
    assert running.metric('tradewind_predictor_bad_passes_total{kind="not_finite"}') == 0
