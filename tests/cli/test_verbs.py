"""Verbs of experiments against an API server over HTTP whose experiment the real decision moves on."""

import argparse
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from api_double import JSONHandler, write_config
from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.parse import parse
from tradewind.api.registry import VERBS
from tradewind.cli import verbs
from tradewind.core.ab_experiment import Seen, decide

API = "/apis/tradewind.dev/v1alpha1"
LIST = f"{API}/namespaces/trading/abexperiments"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUNNING = {"phase": "Running", "t0": "2026-02-01T00:00:00Z", "weight": {"desired": "0.1"}}
DECIDED = RUNNING | {
    "phase": "Decided",
    "verdict": {"decision": "promote", "reason": "Better", "time": "2026-02-28T00:00:00Z"},
}
ENDED = ["Succeeded", "RolledBack", "Inconclusive", "Aborted"]


class Server(ThreadingHTTPServer):
    """An API server of one experiment with its operator, which looks at it before each read."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.body: dict[str, Any] = {
            "apiVersion": "tradewind.dev/v1alpha1",
            "kind": "ABExperiment",
            "metadata": {"name": "ab", "namespace": "trading", "uid": "uid-ab"},
            "spec": {"endpointRef": {"name": "trader"}, "candidate": "v1", "onPromote": {"approval": "manual"}},
            "status": RUNNING,
        }
        self.patches: list[Any] = []
        self.works = True
        self.user: str | None = "ada"
        self.refuses: str | None = None

    def turn(self) -> None:
        experiment = parse(ABExperiment, self.body)
        assert isinstance(experiment, ABExperiment)
        status = decide(experiment, Seen(database_error="away"), NOW).status
        self.body = {**self.body, "status": status.to_manifest()}  # type: ignore[attr-defined]


class Handler(JSONHandler):
    server: Server

    def do_GET(self) -> None:
        with self.server.lock:
            if self.path == API:
                self.answer({"resources": [{"name": "abexperiments", "kind": "ABExperiment", "namespaced": True}]})
            elif self.path.partition("?")[0] == LIST:
                self.answer({"metadata": {"resourceVersion": "1"}, "items": [self.server.body]})
            elif self.path == f"{LIST}/ab":
                if self.server.works and self.server.patches:
                    self.server.turn()
                self.answer(self.server.body)
            else:
                self.answer({"message": "not found"}, 404)

    def do_POST(self) -> None:
        assert self.path == "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.user is None:
            self.answer({"message": "no selfsubjectreviews for you"}, 403)
        else:
            self.answer({"status": {"userInfo": {"username": self.server.user}}}, 201)

    def do_PATCH(self) -> None:
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path.partition("?")[0] == f"{LIST}/ab"
        if self.server.refuses is not None:
            self.answer({"message": self.server.refuses}, 403)
            return
        with self.server.lock:
            self.server.patches.append(patch)
            known = self.server.body["metadata"].get("annotations", {})
            self.server.body["metadata"]["annotations"] = known | patch["metadata"]["annotations"]
            self.answer(self.server.body)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    write_config(tmp_path / "config", monkeypatch, f"http://127.0.0.1:{made.server_port}", namespace="trading")
    monkeypatch.setattr(verbs, "_EVERY", 0.01)
    yield made
    made.shutdown()
    made.server_close()


def run(*arguments: str) -> int:
    """The command, in the namespace of the kubeconfig's context."""
    parser = argparse.ArgumentParser()
    verbs.add_parser(parser.add_subparsers())
    args = parser.parse_args([*arguments, "--timeout", "2"])
    return int(args.run(args))


def test_there_is_a_command_for_each_verb_of_an_experiment() -> None:
    assert [verb.name for verb in VERBS if "ABExperiment" in verb.kinds] == list(verbs._VERBS)


@pytest.mark.parametrize(
    ("verb", "status", "told"),
    [
        ("pause", RUNNING, "ada paused it"),
        ("resume", RUNNING | {"phase": "Paused"}, "ada resumed it"),
        ("approve", DECIDED, "ada approved it"),
        ("abort", {"phase": "Pending"}, "aborted by ada"),
    ],
)
def test_a_verb_is_signed_and_what_came_of_it_is_told(
    verb: str, status: dict[str, Any], told: str, server: Server, capsys: Any
) -> None:
    server.body["status"] = status
    assert run(verb, "ab") == 0
    out = capsys.readouterr().out
    assert f"ab: {verb} requested as" in out
    assert told in out
    (patch,) = server.patches
    assert patch["metadata"]["annotations"]["tradewind.dev/by"] == "ada"
    (entry,) = server.body["status"]["history"]
    assert (entry["verb"], entry["by"], entry["result"]) == (verb, "ada", "done")
    assert entry["request"] == patch["metadata"]["annotations"][f"tradewind.dev/{verb}"]


def test_each_request_is_a_fresh_one(server: Server) -> None:
    assert [run("pause", "ab"), run("resume", "ab"), run("pause", "ab")] == [0, 0, 0]
    first, _, second = (patch["metadata"]["annotations"] for patch in server.patches)
    assert first["tradewind.dev/pause"] != second["tradewind.dev/pause"]


@pytest.mark.parametrize(
    ("verb", "status", "why"),
    [
        (
            "approve",
            {"phase": "Pending"},
            "NothingToApprove: ab: there is no verdict to approve: the experiment has not",
        ),
        ("approve", RUNNING, "there is no verdict to approve yet (Running)"),
        ("approve", DECIDED | {"approvedBy": "bob"}, "bob approved the promotion before"),
        ("resume", RUNNING, "NotPaused"),
        ("pause", RUNNING | {"phase": "Paused"}, "AlreadyPaused"),
        ("abort", {"phase": "Succeeded"}, "`tradewind rollback trader` takes its promotion back"),
        *(("accept", {"phase": phase}, f"the experiment is over ({phase})") for phase in ENDED),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_asked_for(
    verb: str, status: dict[str, Any], why: str, server: Server, capsys: Any
) -> None:
    server.body["status"] = status
    assert run(verb, "ab") == 1
    assert server.patches == []
    assert why in capsys.readouterr().err


def test_what_the_operator_refuses_is_told(server: Server, capsys: Any) -> None:
    """Between the look and the request somebody else was faster."""
    server.body["status"] = DECIDED
    server.body["metadata"]["annotations"] = {"tradewind.dev/pause": "p1", "tradewind.dev/by": "eve"}
    assert run("approve", "ab") == 1
    assert "first `tradewind resume ab`" in capsys.readouterr().err


def test_nobody_signs_for_somebody_else(server: Server, capsys: Any) -> None:
    assert run("pause", "ab", "--by", "eve") == 2
    assert "--by eve: the API server knows you as ada" in capsys.readouterr().err
    assert server.patches == []
    assert run("pause", "ab", "--by", "ada") == 0


def test_without_a_word_who_one_is_the_name_has_to_be_given(server: Server, capsys: Any) -> None:
    server.user = None
    assert run("pause", "ab") == 2
    assert "no selfsubjectreviews for you" in capsys.readouterr().err
    assert run("pause", "ab", "--by", "ada") == 0


def test_what_the_policy_refuses_is_told_as_it_says_it(server: Server, capsys: Any) -> None:
    server.refuses = "ada may not use tradewind.dev/pause: ask for update on abexperiments/pause of group tradewind.dev"
    assert run("pause", "ab") == 2
    error = capsys.readouterr().err
    assert server.refuses in error
    assert "ClusterRole" not in error


def test_a_pause_before_the_start_waits_and_says_so(server: Server, capsys: Any) -> None:
    server.body["status"] = {"phase": "Pending"}
    assert run("pause", "ab") == 3
    assert "it is carried out at the start" in capsys.readouterr().err
    assert run("resume", "ab") == 3


def test_an_operator_that_does_not_work_is_named(server: Server, capsys: Any) -> None:
    server.works = False
    assert run("pause", "ab") == 3
    assert "is it running?" in capsys.readouterr().err


def test_an_experiment_that_is_not_there_is_said_with_those_that_are(server: Server, capsys: Any) -> None:
    assert run("abort", "other") == 1
    assert "no ABExperiment 'other' in namespace trading; there are ab" in capsys.readouterr().err


def test_a_spec_that_cannot_be_read_is_said(server: Server, capsys: Any) -> None:
    server.body["spec"]["candidate"] = 7
    assert run("abort", "ab") == 1
    assert "spec.candidate" in capsys.readouterr().err
    assert server.patches == []
