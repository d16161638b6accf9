"""Verbs of experiments as annotations: what the command writes, and what it refuses by itself."""

import argparse
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.config import kube_config

from tradewind.api.registry import VERBS
from tradewind.cli import verbs

PATH = "/apis/tradewind.dev/v1alpha1/namespaces/trading/abexperiments/ab"


class Server(ThreadingHTTPServer):
    """An API server of one experiment, and the patches that it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status: dict[str, Any] = {"phase": "Running"}
        self.patches: list[Any] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/apis/tradewind.dev/v1alpha1":
            self.answer({"resources": [{"name": "abexperiments", "kind": "ABExperiment", "namespaced": True}]})
        elif self.path == PATH:
            self.answer({"metadata": {"name": "ab"}, "status": self.server.status})
        else:
            self.answer({"message": "not found"}, 404)

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.partition("?")[0] != PATH:
            self.answer({"message": "not found"}, 404)
            return
        self.server.patches.append(body)
        self.answer(body)

    def answer(self, body: Any, status: int = 200) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class names it
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    config = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{made.server_port}"}}],
        "users": [{"name": "test", "user": {"token": "t"}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(
        kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
    )  # it read the variable once
    yield made
    made.shutdown()
    made.server_close()


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    verbs.add_parser(parser.add_subparsers())
    args = parser.parse_args(arguments)
    return int(args.run(args))


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS if "ABExperiment" in verb.kinds])
def test_every_verb_is_a_command_that_annotates_a_fresh_request(verb: str, server: Server) -> None:
    for _ in range(2):
        assert run(verb, "ab", "-n", "trading", "--by", "ada") == 0
    first, second = (patch["metadata"]["annotations"] for patch in server.patches)
    assert first["tradewind.dev/by"] == "ada"
    assert first[f"tradewind.dev/{verb}"] != second[f"tradewind.dev/{verb}"]


@pytest.mark.parametrize("phase", ["Succeeded", "RolledBack", "Inconclusive", "Aborted"])
def test_a_change_is_not_accepted_in_an_experiment_that_has_ended(phase: str, server: Server, capsys: Any) -> None:
    """Nothing would carry the request out, and nothing would say so."""
    server.status = {"phase": phase}
    assert run("accept", "ab", "-n", "trading") == 2
    assert server.patches == []
    assert f"ab is {phase}" in capsys.readouterr().err


def test_an_experiment_that_is_not_there_is_said(server: Server, capsys: Any) -> None:
    assert run("accept", "other", "-n", "trading") == 2
    assert "other" in capsys.readouterr().err
