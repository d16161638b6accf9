"""`tradewind get`, `-w` and `wait` against an API server over HTTP: scope, changes with their time, exit codes, errors."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.config import kube_config

from api_double import JSONHandler, write_config
from tradewind.api.registry import KINDS
from tradewind.cli import wait, watch
from tradewind.main import cli

API = "/apis/tradewind.dev/v1alpha1"
Json = dict[str, Any]
WEIGHT = {"weight": {"desired": "0.1", "reason": "Level"}}


def condition(kind: str, status: str, reason: str = "Why", **more: Any) -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": f"{kind} {status}", **more}


def thing(kind: str, name: str, status: Json, namespace: str = "trading") -> Json:
    meta = {"name": name, "namespace": namespace, "generation": 1}
    return {"apiVersion": "tradewind.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": {}, "status": status}


class Server(ThreadingHTTPServer):
    """Objects whose statuses move on with each read of one: `script` has what is shown next."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects = [
            thing("ABExperiment", "ab", {"phase": "Running", "conditions": [condition("Running", "True")]}),
            thing("Endpoint", "trader", {"phase": "Ready", "championRef": {"name": "api"}}),
            thing("Endpoint", "elsewhere", {"phase": "Ready"}, "other"),
        ]
        self.script: list[Json | int] = []
        self.served = True
        self.refuse: int | None = None

    def next(self) -> int | None:
        """Moves the experiment on; a number is a failure of this one read."""
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, int):
                return step
            self.objects[0] = {**self.objects[0], "status": step}
        return None


class Handler(JSONHandler):
    server: Server

    def do_GET(self) -> None:
        server, path = self.server, self.path.partition("?")[0].removeprefix(API)
        if path == "":
            kinds = [{"name": k.plural, "kind": k.kind, "namespaced": True} for k in KINDS]
            return self.answer({"resources": kinds}) if server.served else self.answer({"message": "nothing"}, 404)
        if server.refuse is not None:
            return self.answer({"message": "no, not you"}, server.refuse)
        parts = path.strip("/").split("/")
        namespace = parts[1] if parts[0] == "namespaces" else None
        plural, *name = parts[2:] if namespace else parts
        if failed := server.next():
            return self.answer({"message": "busy"}, failed)
        kind = next(k.kind for k in KINDS if k.plural == plural)
        found = [o for o in server.objects if o["kind"] == kind and namespace in (None, o["metadata"]["namespace"])]
        if name:
            found = [o for o in found if o["metadata"]["name"] == name[0]]
            return self.answer(found[0]) if found else self.answer({"message": "not found"}, 404)
        return self.answer({"metadata": {"resourceVersion": "1"}, "items": found})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    write_config(tmp_path / "config", monkeypatch, f"http://127.0.0.1:{made.server_port}", namespace="trading")
    for module in (watch, wait):
        monkeypatch.setattr(module, "_EVERY", 0.01)
    yield made
    made.shutdown()
    made.server_close()


def running(**more: Any) -> Json:
    return {"phase": "Running", "conditions": [condition("Running", "True")], **more}


def verdict(decision: str, **more: Any) -> Json:
    return running(verdict={"decision": decision, "reason": "Why", "message": "because", "time": "2026"}, **more)


# --- scope ------------------------------------------------------------------------------------------------------------


def test_the_namespace_is_that_of_the_context(server: Server, capsys: Any) -> None:
    assert cli(["get"]) == 0
    out = capsys.readouterr().out
    assert "trader" in out
    assert "elsewhere" not in out
    assert cli(["get", "endpoints", "-n", "other"]) == 0
    assert "elsewhere" in capsys.readouterr().out
    assert cli(["get", "-n", "nowhere"]) == 0
    assert "nothing of Tradewind's in namespace nowhere: -n NAMESPACE, or -A for all" in capsys.readouterr().out


def test_all_namespaces_have_a_column(server: Server, capsys: Any) -> None:
    assert cli(["get", "endpoints", "-A"]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert rows == [["NAMESPACE", "ENDPOINT"], ["trading", "trader"], ["other", "elsewhere"]]
    assert cli(["get", "endpoints", "trader", "-A"]) == 2
    assert "-A" in capsys.readouterr().err


def test_an_object_may_be_named_in_both_ways(server: Server, capsys: Any) -> None:
    for words in (["abexperiment/ab"], ["twab", "ab"]):
        assert cli(["get", *words]) == 0
        assert "CONDITION" in capsys.readouterr().out
    assert cli(["get", "abexperiment/ab", "ab"]) == 2


# --- errors that help -------------------------------------------------------------------------------------------------


def test_a_name_that_is_not_there_comes_with_the_one_that_is_meant(server: Server, capsys: Any) -> None:
    assert cli(["get", "endpoint", "trade"]) == 1
    assert "did you mean trader?" in capsys.readouterr().err
    assert cli(["explain", "endpoint/zzz"]) == 1
    assert "there are trader" in capsys.readouterr().err
    assert cli(["get", "modelversion", "v1"]) == 1
    assert "is it another namespace? `tradewind get modelversion -A`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("refuse", "words"), [(403, "ask for the ClusterRole `view`"), (401, "the cluster does not know you")]
)
def test_who_may_not_read_is_told_what_to_ask_for(refuse: int, words: str, server: Server, capsys: Any) -> None:
    server.refuse = refuse
    for command in (["get"], ["get", "-w"], ["wait", "endpoint/trader", "--for", "Ready"]):
        assert cli(command) == 2
        assert words in capsys.readouterr().err


def test_kinds_that_are_not_installed_are_said(server: Server, capsys: Any) -> None:
    server.served = False
    assert cli(["get"]) == 2
    assert "helm install tradewind-crds" in capsys.readouterr().err


def test_an_unknown_context_is_said_with_those_that_there_are(server: Server, capsys: Any) -> None:
    assert cli(["get", "--context", "prod"]) == 2
    assert "context 'prod' is not in KUBECONFIG; it has test, spare" in capsys.readouterr().err
    assert cli(["get", "--context", "spare"]) == 0


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write_config(tmp_path / "config", monkeypatch, "http://127.0.0.1:9")
    assert cli(["get"]) == 2
    error = capsys.readouterr().err
    assert "no answer from http://127.0.0.1:9" in error
    assert "kubectl config get-contexts" in error


@pytest.mark.parametrize("text", [None, "", "a: [1", "[]", "current-context: gone"])
def test_a_kubeconfig_that_is_none_is_said(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    if text is not None:
        (tmp_path / "config").write_text(text)
    assert cli(["get"]) == 2
    assert "no cluster is configured" in capsys.readouterr().err


# --- what changes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decision", "code"), [("promote", 0), ("rollback", 4), ("inconclusive", 5), ("abort", 6)])
def test_changes_are_told_with_their_time_until_the_verdict(
    decision: str, code: int, server: Server, capsys: Any
) -> None:
    server.script = [
        running(),
        running(),
        running(**WEIGHT),
        503,
        503,
        verdict(decision, **WEIGHT),
    ]
    assert cli(["get", "abexperiment", "ab", "-w"]) == code
    captured = capsys.readouterr()
    lines = [line for line in captured.out.splitlines() if "ABExperiment/ab" in line]
    assert [line.partition("  ")[2] for line in lines] == [
        "ABExperiment/ab  weight: 0.1, applied not yet (Level)",
        f"ABExperiment/ab  verdict: {decision} (Why): because",
    ]
    assert all(time.strptime(line.partition("  ")[0], "%Y-%m-%dT%H:%M:%SZ") for line in lines)
    assert captured.err.count("asked again until it answers") == 1


def test_an_object_that_goes_away_is_no_verdict(server: Server, capsys: Any) -> None:
    threading.Timer(0.3, server.objects.pop, [0]).start()
    assert cli(["get", "abexperiment", "ab", "-w"]) == 1
    assert "ABExperiment ab is gone" in capsys.readouterr().err


def test_in_json_each_change_is_a_line(server: Server, capsys: Any) -> None:
    server.script = [running(), running(), verdict("rollback")]
    assert cli(["get", "abexperiment/ab", "-w", "-o", "json"]) == 4
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert "verdict" not in first["status"]
    assert second["status"]["verdict"]["decision"] == "rollback"


def test_what_comes_and_goes_is_told() -> None:
    old = {("n", "Endpoint", "a"): {"": "Ready"}, ("n", "Endpoint", "b"): {"": "Ready"}}
    new = {("n", "Endpoint", "b"): {"": "Down"}, ("n", "Endpoint", "c"): {"": "Ready"}}
    assert watch.changes(old, new, "T") == ["T  Endpoint/b  Down", "T  Endpoint/c  Ready", "T  Endpoint/a  gone"]
    assert watch.changes({}, new, "T", everywhere=True)[0] == "T  n/Endpoint/b  Down"
    assert watch.changes({("n", "E", "a"): {"x": "1"}}, {("n", "E", "a"): {}}, "T") == ["T  E/a  x: no more"]


# --- wait -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ("Running", running(), 0),
        ("running=true", running(), 0),
        ("Running=False", running(), 3),
        ("Unheard", running(), 3),
        ("verdict", running(), 3),
        ("verdict", verdict("rollback"), 0),
        ("verdict=promoted", verdict("promote"), 0),
        ("verdict=promote", verdict("promote"), 0),
        ("verdict=promoted", verdict("rollback"), 4),
        ("verdict=promoted", verdict("inconclusive"), 5),
        ("verdict=promoted", verdict("abort"), 6),
        ("verdict=rolled-back", verdict("promote"), 1),
        ("verdict", {"phase": "Invalid"}, 1),
        (
            "Succeeded",
            verdict("rollback", completionTime="2026") | {"conditions": [condition("Succeeded", "False")]},
            1,
        ),
        ("Running", {"conditions": [condition("Running", "True", observedGeneration=0)]}, 3),
    ],
)
def test_what_is_waited_for_ends_with_its_code(
    wanted: str, status: Json, code: int, server: Server, capsys: Any
) -> None:
    server.objects[0]["status"] = status
    assert cli(["wait", "abexperiment/ab", "--for", wanted, "--timeout", "0"]) == code
    captured = capsys.readouterr()
    assert bool(captured.out) == (code == 0)
    assert bool(captured.err) == (code != 0)


def test_a_condition_that_comes_late_is_waited_for(server: Server, capsys: Any) -> None:
    server.script = [running(), 503, running(), running() | {"conditions": [condition("Admissible", "True", "Given")]}]
    assert cli(["wait", "abexperiment", "ab", "--for", "admissible", "--timeout", "30s"]) == 0
    assert "Admissible=True Given" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["abexperiment/ab", "--for", "Ready=Yes"], 2, "CONDITION=True, =False or =Unknown"),
        (["abexperiment/ab", "--for", "verdict=better"], 2, "there are promote, rollback"),
        (["endpoint/trader", "--for", "verdict"], 2, "comes to no verdict"),
        (["trainingrun/x", "--for", "verdict=promoted"], 2, "--for Succeeded"),
        (["endpoint", "--for", "Ready"], 2, "write KIND/NAME"),
        (["thing/x", "--for", "Ready"], 2, "kind 'thing' is unknown"),
        (["endpoint/tradr", "--for", "Ready"], 1, "did you mean trader?"),
    ],
)
def test_what_cannot_be_waited_for_is_said_at_once(
    arguments: list[str], code: int, words: str, server: Server, capsys: Any
) -> None:
    assert cli(["wait", *arguments]) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("time_given", ["nan", "-1", "inf", "10 minutes", "", "999d", "1e9"])
def test_a_time_that_is_none_is_refused(time_given: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        cli(["wait", "endpoint/x", "--for", "Ready", f"--timeout={time_given}"])
    assert ended.value.code == 2
    assert "--timeout" in capsys.readouterr().err


def test_cost_and_exposure_are_shown_where_the_status_has_them(server: Server, capsys: Any) -> None:
    arms = [
        {
            "name": "api",
            "role": "baseline",
            "closedTrades": 3,
            "exposure": 950.0,
            "exposureHours": 12.0,
            "costCNY": 13.0,
        },
        {"name": "v1", "role": "candidate", "closedTrades": 2},
    ]
    entry = {"verb": "pause", "time": "2026-03-01T12:00:00Z", "result": "done", "message": "ada paused it"}
    server.objects[0]["status"] = running(arms=arms, riskBudgetUSD=120.0, history=[entry])
    server.objects.append(thing("TrainingRun", "run", {"phase": "Succeeded", "gpuSeconds": 5400, "costCNY": 15.0}))
    assert cli(["get", "abexperiment", "ab"]) == 0
    out = capsys.readouterr().out
    head = next(line for line in out.splitlines() if "EXPOSURE USD" in line)
    assert head.split()[-6:] == ["EXPOSURE", "USD", "HOURS", "OPEN", "COST", "CNY"]
    assert "13.00 CNY" in out
    assert "risk budget 120.00 USD" in out
    assert "pause 2026-03-01T12:00:00Z: done: ada paused it" in out
    assert cli(["get", "trainingrun", "run"]) == 0
    assert "1.50 GPU hours, 15.00 CNY" in capsys.readouterr().out


def test_whether_the_arms_of_an_endpoint_answer_is_shown_with_its_price(server: Server, capsys: Any) -> None:
    answers = {"version": "api", "healthy": True, "reason": "Answers", "since": "2026-01-01T00:00:00Z", "probes": 3}
    refused = {"version": "other", "healthy": False, "reason": "CredentialRefused", "message": "HTTP status 401"}
    asked = {"version": "new", "reason": "Probing"}
    arms = [answers | {"probeCostCNY": "0.0030"}, refused, asked]
    server.objects.append(thing("Endpoint", "asks", {"phase": "Ready", "arms": arms}))
    assert cli(["get", "endpoint", "asks", "-n", "trading"]) == 0
    told = capsys.readouterr().out
    assert "arm api: answers since 2026-01-01T00:00:00Z (3 probes in 30 days for 0.0030 CNY)" in told
    assert "arm other: DOES NOT ANSWER: CredentialRefused: HTTP status 401 (0 probes in 30 days)" in told
    assert "arm new: not known yet" in told
    assert "WIN RATE" not in told
