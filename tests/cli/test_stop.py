"""`tradewind stop` against an API server over HTTP whose experiment, routing and pods move on with each look."""

import argparse
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from api_double import SignedHandler, write_config
from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import EndpointStatus
from tradewind.api.parse import parse
from tradewind.cli import stop
from tradewind.core.ab_experiment import Seen, decide

OURS = "/apis/tradewind.dev/v1alpha1"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXPIRES = datetime.now(UTC) + timedelta(hours=1)
ARM = {"protocol": "openai", "baseURL": "http://api.test/v1", "model": "m"}


def document(generation: int, experiment: dict[str, Any] | None) -> dict[str, Any]:
    route = None if experiment is None else experiment
    text = {
        "version": 1, "endpoint": "trader", "generation": generation, "publishedAt": NOW.isoformat(),
        "expiresAt": EXPIRES.isoformat(), "clock": "live", "champion": "api", "fallback": "api",
        "arms": {"api": ARM, "v1": ARM}, "experiment": route,
    }  # fmt: skip
    return {"metadata": {"name": "trader-routing"}, "data": {"routing.json": json.dumps(text)}}


ROUTE = {
    "uid": "uid-ab", "name": "ab", "mode": "Live", "t0": "2026-02-01T00:00:00Z", "blockSeconds": 86400, "baseline": "api",
    "candidate": "v1", "candidateWeight": "0.5", "epoch": 7,
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """Three pods: one obeys, one that ended, and one that may not be reached."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.experiment: dict[str, Any] = {
            "apiVersion": "tradewind.dev/v1alpha1",
            "kind": "ABExperiment",
            "metadata": {"name": "ab", "namespace": "trading", "uid": "uid-ab"},
            "spec": {"endpointRef": {"name": "trader"}, "candidate": "v1"},
            "status": {"phase": "Running"},
        }
        self.endpoint: dict[str, Any] = {
            "metadata": {"name": "trader", "namespace": "trading"},
            "status": {"activeExperiment": {"name": "ab", "uid": "uid-ab"}, "gateway": {"generation": 5}},
        }
        self.routing = document(5, ROUTE)
        self.reported = {"g1": 5, "g2": 5}
        self.obeying = {"g1", "g2"}
        self.phases = {"g1": "Running", "g2": "Running", "g0": "Succeeded", "g3": "Pending"}
        self.of_desk: dict[str, list[int]] = {}
        """Pods of another Endpoint, with the ports of its guests."""
        self.patches: list[Any] = []
        self.works = True

    def turn(self) -> None:
        """The operator and the pods take a step."""
        if not self.patches or not self.works:
            return
        if self.experiment["status"]["phase"] == "Running":
            found = parse(ABExperiment, self.experiment)
            assert isinstance(found, ABExperiment)
            self.experiment["status"] = decide(found, Seen(), NOW).status.to_manifest()  # type: ignore[attr-defined]
        elif self.endpoint["status"].pop("activeExperiment", None) is not None:
            self.routing = document(6, None)
        else:
            self.reported |= dict.fromkeys(self.obeying, 6)

    def read(self, path: str, query: str = "") -> Any:
        if path == OURS:
            kinds = [("endpoints", "Endpoint"), ("abexperiments", "ABExperiment")]
            return {"resources": [{"name": plural, "kind": kind, "namespaced": True} for plural, kind in kinds]}
        if path == "/api/v1":
            kinds = [("pods", "Pod"), ("configmaps", "ConfigMap")]
            return {"resources": [{"name": plural, "kind": kind, "namespaced": True} for plural, kind in kinds]}
        if path == f"{OURS}/namespaces/trading/endpoints/trader":
            self.turn()
            pods = [{"name": name, "generation": number} for name, number in self.reported.items()]
            gateway = {**self.endpoint["status"]["gateway"], "pods": pods}
            return {**self.endpoint, "status": {**self.endpoint["status"], "gateway": gateway}}
        if path == f"{OURS}/namespaces/trading/endpoints":
            return {"metadata": {"resourceVersion": "1"}, "items": [self.endpoint]}
        if path == f"{OURS}/namespaces/trading/abexperiments/ab":
            return self.experiment
        if path == "/api/v1/namespaces/trading/configmaps/trader-routing":
            return self.routing
        if path == "/api/v1/namespaces/trading/pods" and "%3Ddesk" in query:
            ports = {name: [{"name": f"guest-{n}"} for n in numbers] for name, numbers in self.of_desk.items()}
            pods = [
                {"metadata": {"name": name}, "spec": {"containers": [{"ports": each}]}, "status": {"phase": "Running"}}
                for name, each in ports.items()
            ]
            return {"metadata": {"resourceVersion": "1"}, "items": pods}
        if path == "/api/v1/namespaces/trading/pods":
            pods = [{"metadata": {"name": name}, "status": {"phase": phase}} for name, phase in self.phases.items()]
            return {"metadata": {"resourceVersion": "1"}, "items": pods}
        return None


class Handler(SignedHandler):
    server: Server

    def do_GET(self) -> None:
        with self.server.lock:
            parts = urlsplit(self.path)
            found = self.server.read(parts.path, parts.query)
        self.answer(found or {"message": "not found"}, 404 if found is None else 200)

    def do_PATCH(self) -> None:
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.patches.append(patch)
            self.server.experiment["metadata"]["annotations"] = patch["metadata"]["annotations"]
        self.answer(self.server.experiment)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    write_config(tmp_path / "config", monkeypatch, f"http://127.0.0.1:{made.server_port}")
    monkeypatch.setattr(stop, "_EVERY", 0.01)
    yield made
    made.shutdown()
    made.server_close()


def run(*arguments: str, timeout: str = "10") -> int:
    parser = argparse.ArgumentParser()
    stop.add_parser(parser.add_subparsers())
    args = parser.parse_args(["stop", *arguments, "-n", "trading", "--timeout", timeout])
    return int(args.run(args))


def test_a_stop_ends_with_0_once_every_pod_obeys(server: Server, capsys: Any) -> None:
    assert run("trader", "--reason", "v1 loses money") == 0
    told = capsys.readouterr().out
    assert "g1: obeys (document 6)" in told
    assert "g2: obeys (document 6)" in told
    assert "2 of 2 gateway pods obey" in told
    assert "g0" not in told  # it has ended
    assert "g3" not in told  # it has not started
    (patch,) = server.patches
    annotations = patch["metadata"]["annotations"]
    assert (annotations["tradewind.dev/by"], annotations["tradewind.dev/reason"]) == ("ada", "v1 loses money")
    verdict = server.experiment["status"]["verdict"]
    assert (verdict["decision"], verdict["message"]) == ("abort", "aborted by ada: v1 loses money")


def test_of_a_pod_that_does_not_obey_it_is_said_until_when_it_may_ask_the_candidate(
    server: Server, capsys: Any
) -> None:
    server.obeying = {"g1"}
    server.phases["g4"] = "Running"  # of which nothing is known
    assert run("trader", "--reason", "now", timeout="1") == 3
    told = capsys.readouterr()
    until = EXPIRES.isoformat(timespec="seconds")
    assert "g1: obeys" in told.out
    assert f"g2: obeys document 5 still; may ask v1 until {until}" in told.out
    assert f"g4: has not said what it obeys; may ask v1 until {until}" in told.out
    assert "1 of 3 gateway pods obey" in told.err


@pytest.mark.parametrize("role", ["servedBy", "host", "left"])
def test_pods_of_another_endpoint_that_answer_for_it_must_obey_too(server: Server, capsys: Any, role: str) -> None:
    server.phases = {"g1": "Running"} if role == "left" else {}
    server.of_desk = {
        "d1": [20001, 20002],
        "d2": [20001],
        "d3": [20002],
    }  # d3 is not replaced yet, and has no port of it
    server.reported, server.obeying = {"d1": 5, "d2": 5, "g1": 5}, {"d1", "g1"}
    server.endpoint["status"]["gateway"]["hosting"] = {role: "desk", "port": 20001}
    assert run("trader", "--reason", "now", timeout="0.5") == 3
    told = capsys.readouterr().out
    assert "d1: obeys (document 6)" in told
    assert "d2: obeys document 5 still" in told
    assert "d3:" not in told  # a request's id may have these digits
    server.obeying = {"d1", "d2", "g1"}
    assert run("trader", "--reason", "now") == 0


def test_an_operator_that_is_away_is_said(server: Server, capsys: Any) -> None:
    server.works = False
    assert run("trader", "--reason", "now", timeout="0.5") == 3
    told = capsys.readouterr()
    assert "is it running?" in told.err
    assert "may ask v1 until" in told.out


def test_a_stop_of_what_is_over_asks_for_nothing_and_says_who_obeys(server: Server, capsys: Any) -> None:
    del server.endpoint["status"]["activeExperiment"]
    server.routing = document(5, None)
    assert run("trader", "--reason", "now") == 0
    assert "no candidate is drawn" in capsys.readouterr().out
    assert server.patches == []


def test_an_endpoint_that_is_not_there(server: Server, capsys: Any) -> None:
    assert run("tradr", "--reason", "now") == 1
    assert "did you mean trader?" in capsys.readouterr().err


@pytest.mark.parametrize("reason", [[], ["--reason", " "]])
def test_a_stop_needs_a_reason(reason: list[str], server: Server) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("trader", *reason)
    assert stopped.value.code == 2
    assert server.patches == []


def test_a_weight_that_expired_is_drawn_no_more() -> None:
    status = EndpointStatus.model_validate({"gateway": {"pods": [{"name": "g1", "generation": 5}]}})
    pods = [{"metadata": {"name": "g1"}, "status": {"phase": "Running"}}]
    (word,) = stop.pod_words(pods, status, 6, "v1", NOW, NOW + timedelta(seconds=1))
    assert (word.obeys, "expired" in word.said, "drawn no more" in word.said) == (False, True, True)
