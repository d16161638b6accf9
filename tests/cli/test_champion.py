"""`tradewind promote` and `rollback` against an API server over HTTP whose Endpoint the real decision moves on."""

import argparse
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from api_double import JSONHandler, write_config
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import parse
from tradewind.cli import champion
from tradewind.core.decision import Owner, RecordPromotion
from tradewind.core.endpoint import Promotion, Seen, decide
from tradewind.core.platform import Platform

API = "/apis/tradewind.dev/v1alpha1"
PATH = f"{API}/namespaces/trading/endpoints/trader"
PLATFORM = Platform("tradewind", "system", "g:1", "p:1", "t:1")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SINCE = "2026-03-01T12:00:00Z"


def version(name: str, *, ready: bool = True) -> ModelVersion:
    fact = {"type": "Ready", "status": str(ready), "reason": "Given", "lastTransitionTime": SINCE}
    made = parse(
        ModelVersion,
        {
            "apiVersion": "tradewind.dev/v1alpha1",
            "kind": "ModelVersion",
            "metadata": {"name": name, "namespace": "trading", "uid": f"uid-{name}"},
            "spec": {"external": {"baseURL": "http://api.test/v1", "model": "m"}},
            "status": {"conditions": [fact]},
        },
    )
    assert isinstance(made, ModelVersion)
    return made


class Server(ThreadingHTTPServer):
    """An API server of one Endpoint, with its operator: each read comes after another turn."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.body: dict[str, Any] = {
            "apiVersion": "tradewind.dev/v1alpha1",
            "kind": "Endpoint",
            "metadata": {"name": "trader", "namespace": "trading", "uid": "uid-trader"},
            "spec": {"fallback": "api"},
            "status": {
                "championRef": {"name": "v1", "uid": "uid-v1"},
                "previousChampionRef": {"name": "api", "uid": "uid-api"},
            },
        }
        versions = [version("api"), version("v1"), version("v2"), version("slow", ready=False)]
        self.seen = Seen(
            versions={made.name: made for made in versions},
            promotion=Promotion("v1", None),
            ready_pods=frozenset({"g1"}),
        )
        self.patches: list[Any] = []
        self.records: list[RecordPromotion] = []
        self.works = True

    def turn(self) -> None:
        point = parse(Endpoint, self.body)
        assert isinstance(point, Endpoint)
        decision = decide(point, self.seen, NOW, platform=PLATFORM, owner=Owner.of(point))
        for effect in decision.effects:
            if isinstance(effect, RecordPromotion):
                self.records.append(effect)
                newest = Promotion(effect.version, effect.sha256, effect.spec_sha256, request=effect.request)
                self.seen = replace(self.seen, promotion=newest)
        self.body = {**self.body, "status": decision.status.to_manifest()}  # type: ignore[attr-defined]


class Handler(JSONHandler):
    server: Server

    def do_GET(self) -> None:
        with self.server.lock:
            if self.path == API:
                kinds = [{"name": "endpoints", "kind": "Endpoint", "namespaced": True}]
                self.answer({"resources": kinds})
            elif self.path.partition("?")[0] == f"{API}/namespaces/trading/endpoints":
                self.answer({"metadata": {"resourceVersion": "1"}, "items": [self.server.body]})
            elif self.path == PATH:
                if self.server.works and self.server.patches:
                    self.server.turn()
                self.answer(self.server.body)
            else:
                self.answer({"message": "not found"}, 404)

    def do_POST(self) -> None:
        assert self.path == "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"status": {"userInfo": {"username": "ada"}}}, 201)

    def do_PATCH(self) -> None:
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.patches.append(patch)
            known = self.server.body["metadata"].get("annotations", {})
            merged = {k: v for k, v in {**known, **patch["metadata"]["annotations"]}.items() if v is not None}
            self.server.body["metadata"]["annotations"] = merged
            self.answer(self.server.body)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    write_config(tmp_path / "config", monkeypatch, f"http://127.0.0.1:{made.server_port}")
    monkeypatch.setattr(champion, "_EVERY", 0.01)
    yield made
    made.shutdown()
    made.server_close()


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    champion.add_parser(parser.add_subparsers())
    args = parser.parse_args([*arguments, "-n", "trading", "--timeout", "2"])
    return int(args.run(args))


def test_a_promotion_is_carried_out_and_recorded_with_who_and_why(server: Server, capsys: Any) -> None:
    assert run("promote", "v2", "--endpoint", "trader", "--reason", "v2 is cheaper") == 0
    assert "ada promoted v2 in place of v1: v2 is cheaper" in capsys.readouterr().out
    (record,) = server.records
    assert (record.version, record.previous, record.requested_by, record.message) == (
        "v2",
        "v1",
        "ada",
        "v2 is cheaper",
    )
    assert record.request is not None
    assert record.request.startswith("promote=v2/")


def test_a_rollback_says_where_it_leads_and_where_another_would(server: Server, capsys: Any) -> None:
    server.body["metadata"]["annotations"] = {"tradewind.dev/reason": "of something else"}
    assert run("rollback", "trader") == 0
    told = capsys.readouterr().out
    assert "ada rolled back to api in place of v1" in told
    assert "another rollback would lead to v1" in told
    (record,) = server.records
    assert (record.reason, record.message) == ("RolledBackByHand", None)
    assert server.patches[0]["metadata"]["annotations"]["tradewind.dev/rollback"].startswith("api/")


def test_what_is_refused_ends_with_1_and_the_reason(server: Server, capsys: Any) -> None:
    for name, reason in (("slow", "VersionNotReady"), ("nobody", "VersionMissing"), ("v1", "AlreadyChampion")):
        assert run("promote", name, "--endpoint", "trader", "--reason", "because") == 1
        assert reason in capsys.readouterr().err
    assert server.records == []


def test_a_rollback_without_a_champion_before_is_refused(server: Server, capsys: Any) -> None:
    del server.body["status"]["previousChampionRef"]
    assert run("rollback", "trader") == 1
    assert "NoPreviousChampion" in capsys.readouterr().err


@pytest.mark.parametrize("reason", [[], ["--reason", " "], ["--reason", "x" * 513]])
def test_a_promotion_needs_a_reason_before_anything_is_asked(reason: list[str], server: Server, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("promote", "v2", "--endpoint", "trader", *reason)
    assert stopped.value.code == 2
    assert "--reason" in capsys.readouterr().err
    assert server.patches == []


def test_while_the_database_is_down_it_waits_and_says_so(server: Server, capsys: Any) -> None:
    server.seen = replace(server.seen, database_error="the database does not answer")
    assert run("promote", "v2", "--endpoint", "trader", "--reason", "because") == 3
    assert "it waits for the database" in capsys.readouterr().err
    assert server.records == []


def test_an_operator_that_does_not_work_is_named(server: Server, capsys: Any) -> None:
    server.works = False
    assert run("rollback", "trader") == 3
    assert "is it running?" in capsys.readouterr().err


def test_an_endpoint_that_is_not_there_is_said_with_the_name_that_is_meant(server: Server, capsys: Any) -> None:
    assert run("rollback", "tradr") == 1
    assert "no Endpoint 'tradr' in namespace trading; did you mean trader?" in capsys.readouterr().err


def test_it_is_signed_by_who_asks_and_by_nobody_else(server: Server, capsys: Any) -> None:
    assert run("rollback", "trader", "--by", "eve") == 2
    assert "the API server knows you as ada" in capsys.readouterr().err
    assert server.patches == []
    assert run("rollback", "trader", "--by", "ada") == 0
    assert server.patches[0]["metadata"]["annotations"]["tradewind.dev/by"] == "ada"
