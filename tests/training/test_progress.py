import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tradewind.training.progress import ProgressReporter


@pytest.fixture
def operator() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.received.append((self.path, self.headers["Authorization"], body))  # type: ignore[attr-defined]
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.received = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_progress_is_pushed_with_the_token_of_now_and_rate_limited(operator, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    url = f"http://127.0.0.1:{operator.server_port}/v1/trainingruns/ns/run/progress"
    reporter = ProgressReporter(url, token, seconds=3600)
    reporter.report({"step": 1}, force=True)
    for step in range(2, 50):
        reporter.report({"step": step})
    token.write_text("renewed")
    reporter.report({"step": 50}, force=True)
    path = "/v1/trainingruns/ns/run/progress"
    assert operator.received == [(path, "Bearer first", {"step": 1}), (path, "Bearer renewed", {"step": 50})]


@pytest.mark.parametrize("token", [None, "absent"])
def test_a_push_that_fails_never_fails_training(tmp_path: Path, token: str | None, caplog) -> None:
    reporter = ProgressReporter("http://127.0.0.1:9/", tmp_path / token if token else None)
    reporter.report({"step": 1}, force=True)
    reporter.report({"step": 2}, force=True)
    assert caplog.text.count("progress was not delivered") == 2


def test_without_a_url_nothing_is_sent() -> None:
    ProgressReporter(None).report({"step": 1}, force=True)
