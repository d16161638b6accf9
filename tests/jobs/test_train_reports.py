"""What a trainer tells of its checkpoints while it runs: whoever deletes its pod deletes what it said at its end."""

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from train_rig import Trainer, running_trainer, wait_for


class Reports(ThreadingHTTPServer):
    """The operator's end of it: what was posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/progress"

    @property
    def saved(self) -> list[int | None]:
        return [body["checkpointStep"] for body in self.bodies]


class Handler(BaseHTTPRequestHandler):
    server: Reports

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def reports() -> Iterator[Reports]:
    with Reports() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    with running_trainer(tmp_path_factory.mktemp("reports")) as trainer:
        yield trainer


def test_the_last_report_of_a_pod_that_is_stopped_has_the_checkpoint_that_it_saved(
    trainer: Trainer, reports: Reports
) -> None:
    config = trainer.config(trainer.folder / "stopped", progressURL=reports.url, progressSeconds=0.001)
    started = trainer.start(config)
    wait_for(lambda: list(Path(config["output"]).glob("checkpoints/step-*/checkpoint.json")))
    started.kill(signal.SIGTERM)
    assert started.wait() == 75, started.log.read_text()
    saved = started.result["step"]
    assert reports.saved[0] is None, "nothing was saved before the first step"
    assert reports.saved[-1] == saved

    reports.bodies.clear()
    resumed = trainer.start(config)
    assert resumed.wait() == 0, resumed.log.read_text()
    assert reports.saved[0] == resumed.result["resumedFrom"] == saved
    assert reports.saved[-1] == resumed.result["steps"]
