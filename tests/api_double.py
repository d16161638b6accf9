"""What the doubles of an API server over HTTP share: answers in JSON, silence, and a kubeconfig that leads to them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.config import kube_config


class JSONHandler(BaseHTTPRequestHandler):
    """Answers in JSON and logs nothing."""

    def answer(self, body: Any, status: int = 200) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class names it
        """Nothing."""


class SignedHandler(JSONHandler):
    """Knows who asks, whom the verbs are signed by."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"status": {"userInfo": {"username": "ada"}}}, 201)


@contextmanager
def serving(server: HTTPServer, path: Path, monkeypatch: pytest.MonkeyPatch, **context: str) -> Iterator[None]:
    """It answers meanwhile, and is who KUBECONFIG names."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    write_config(path, monkeypatch, f"http://127.0.0.1:{server.server_port}", **context)
    yield
    server.shutdown()
    server.server_close()


def write_config(path: Path, monkeypatch: pytest.MonkeyPatch, server: str, **context: str) -> None:
    """A kubeconfig with the contexts `test` and `spare`, which is the one that is read."""
    contexts = [{"name": name, "context": {"cluster": "c", "user": "u", **context}} for name in ("test", "spare")]
    config = {
        "current-context": "test",
        "contexts": contexts,
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))  # it read the variable once
