"""Refusals and counting of the benchmark Job against a small HTTP server; tests/predictor runs it against the real one."""

import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHA = "a" * 64
HOLD = {
    "action": "hold", "symbol": "BTC", "size_usd": 0, "leverage": 1, "stop_loss_pct": 0, "take_profit_pct": 0,
    "confidence": 0.5, "reasoning": "", "_forward_passes": 3,
}  # fmt: skip

spec = importlib.util.spec_from_file_location("benchmark_job", ROOT / "jobs" / "benchmark.py")
assert spec is not None
assert spec.loader is not None
job = importlib.util.module_from_spec(spec)
spec.loader.exec_module(job)

Reply = Callable[[int], tuple[int, dict[str, Any]]]


@contextmanager
def endpoint(verification: dict[str, Any], reply: Reply) -> Iterator[str]:
    """An endpoint that states `verification` and answers the n-th question by `reply(n)`."""
    asked = iter(range(10**6))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send(200, verification)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send(*reply(next(asked)))

        def send(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Retry-After", "0.01")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answered(_: int) -> tuple[int, dict[str, Any]]:
    return 200, {"predictions": [HOLD]}


def run(tmp_path: Path, url: str, *extra: str) -> tuple[int, dict[str, Any]]:
    out = tmp_path / "result.json"
    code = job.main(["--url", url, "--model", "v1", "--sha256", SHA, "--patience", "0", "--result", str(out), *extra])
    return code, json.loads(out.read_text())


def test_numbers_of_each_concurrency(tmp_path: Path) -> None:
    with endpoint({"sha256": SHA, "roundTrip": True}, answered) as url:
        code, result = run(tmp_path, url, "--requests", "6", "--concurrency", "1,3")
    assert code == 0
    assert result["verified"] is True
    assert result["requests"] == 12
    assert result["valid"] == 1.0
    assert result["forwardPasses"] == 3
    assert set(result["concurrency"]) == {"1", "3"}
    assert 0 < result["p50Ms"] <= result["p99Ms"]
    assert {k: result[k] for k in ("p50Ms", "p99Ms", "decisionsPerSecond")} == result["concurrency"]["1"]


def test_answers_that_break_schema_symbol_or_limits_are_not_valid(tmp_path: Path) -> None:
    bad = [
        {**HOLD, "confidence": 2},
        {**HOLD, "symbol": "ETH"},
        {**HOLD, "action": "open_long", "size_usd": 5000},
        {**HOLD, "note": 1},
    ]

    def reply(n: int) -> tuple[int, dict[str, Any]]:
        return 200, {"predictions": [bad[n - 3] if 3 <= n < 7 else HOLD]}  # the first three warm up

    with endpoint({"sha256": SHA, "roundTrip": True}, reply) as url:
        code, result = run(tmp_path, url, "--requests", "8", "--concurrency", "1")
    assert code == 0
    assert result["valid"] == 0.5
    assert len(result["problems"]) == 3


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    def reply(n: int) -> tuple[int, dict[str, Any]]:
        return (503, {}) if n == 4 else answered(n)

    with endpoint({"sha256": SHA, "roundTrip": True}, reply) as url:
        _, result = run(tmp_path, url, "--requests", "4", "--concurrency", "1")
    assert result["valid"] == 1.0
    assert result["busy"] == 1


def test_another_artifact_is_refused(tmp_path: Path) -> None:
    with endpoint({"sha256": "b" * 64, "roundTrip": True}, answered) as url:
        code, result = run(tmp_path, url)
    assert code == 65
    assert result["reason"] == "ArtifactMismatch"


def test_a_lossy_tokenizer_is_refused(tmp_path: Path) -> None:
    with endpoint({"sha256": SHA, "roundTrip": False}, answered) as url:
        code, result = run(tmp_path, url)
    assert code == 66
    assert result["reason"] == "TokenizerRoundTrip"


def test_nobody_there(tmp_path: Path) -> None:
    code, result = run(tmp_path, "http://127.0.0.1:9")
    assert code == 1
    assert result["reason"] == "EndpointUnreachable"


@pytest.mark.parametrize(
    ("option", "value"),
    [("--concurrency", "0"), ("--concurrency", "1,x"), ("--requests", "0"), ("--sha256", "abc"), ("--url", "ftp://x")],
)
def test_bad_configuration_names_the_option(tmp_path: Path, option: str, value: str) -> None:
    code, result = run(tmp_path, "http://127.0.0.1:9", option, value)
    assert code == 64
    assert result["message"].startswith(option)


def completed(_: int) -> tuple[int, dict[str, Any]]:
    """As vLLM answers."""
    text = json.dumps({name: value for name, value in HOLD.items() if name not in ("reasoning", "_forward_passes")})
    return 200, {"choices": [{"text": text, "finish_reason": "stop"}], "usage": {"completion_tokens": 41}}


def test_vllm_is_measured_by_its_own_protocol(tmp_path: Path) -> None:
    with endpoint({"data": [{"id": "base"}, {"id": f"v1@{SHA}"}]}, completed) as url:
        code, result = run(tmp_path, url, "--protocol", "vllm", "--requests", "3", "--concurrency", "1")
    assert (code, result["verified"], result["valid"], result["forwardPasses"]) == (0, True, 1.0, 41)


def test_a_vllm_that_serves_another_artifact_is_refused(tmp_path: Path) -> None:
    """A pod of the version that had the name before, which the rollout has not replaced yet."""
    for served, said in (([{"id": f"v1@{'b' * 64}"}], "b" * 64), ([{"id": "base"}], "None")):
        with endpoint({"data": served}, completed) as url:
            code, result = run(tmp_path, url, "--protocol", "vllm")
        assert code == 65
        assert f"serves {said}" in result["message"]
