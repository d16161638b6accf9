"""The command line on the real chart, as people of limited rights: who may, who signs, and what is told of each verb."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installation import SYSTEM
from space import Space

from manifests import endpoint, experiment, external
from workshop.client import Json
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

MANUAL = {"onPromote": {"approval": "manual"}, "traffic": {"policy": "fixed", "weight": "0.5"}}
Tradewind = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def trader(space: Space) -> Space:
    space.apply(external("api", "against"), external("next", "follow"), endpoint("trader", "api"))
    space.wait_condition("Endpoint", "trader", "Ready", seconds=120)
    space.apply(experiment("first", "trader", None, "next", **MANUAL))
    space.wait_active("trader", "first")
    return space


@pytest.fixture(scope="module")
def people(trader: Space, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A kubeconfig each, by token: a viewer may read the kinds, an editor write them, a chief use the verbs."""
    folder, found = tmp_path_factory.mktemp("people"), {}
    shown = json.loads(trader.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    for name, role in (("viewer", "view"), ("editor", "edit"), ("chief", "admin")):
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        subjects = [{"kind": "ServiceAccount", "name": name, "namespace": trader.name}]
        binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name}}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        trader.apply(account, {**binding, "roleRef": ref, "subjects": subjects})
        token = trader.kubectl("create", "token", name, "--duration=1h").strip()
        context = {**shown["contexts"][0]["context"], "user": name, "namespace": trader.name}
        config = {
            **shown,
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": context}],
            "current-context": name,
        }
        found[name] = folder / name
        found[name].write_text(json.dumps(config), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def tradewind(people: dict[str, Path]) -> Tradewind:
    """The command line as one of them, in the namespace of their context."""

    def run(person: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "tradewind.main", *arguments]
        environment = os.environ | {"KUBECONFIG": str(people[person])}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=150, check=False)

    return run


def user(space: Space, person: str) -> str:
    return f"system:serviceaccount:{space.name}:{person}"


def history(space: Space, kind: str, name: str) -> list[Json]:
    return [e for e in space.must_get(kind, name)["status"].get("history") or [] if e.get("result")]


def told_everywhere(space: Space, name: str, reason: str, entry: Json) -> None:
    """What the history says stands in an Event and in the operator's log, too."""

    def event() -> list[Json]:
        found = [e for e in space.select("Event") if e["involvedObject"].get("name") == name and e["reason"] == reason]
        return [e for e in found if entry["by"] in e["message"] and entry["result"] in e["message"]]

    (first, *_) = wait_for(f"an Event {reason} of {name}", event, bool, seconds=30)
    assert first["type"] == ("Normal" if entry["result"] == "done" else "Warning")

    def lines() -> list[Json]:
        logged = space.kubectl("-n", SYSTEM, "logs", "-l", "app.kubernetes.io/component=operator", "--tail=-1")
        found = [json.loads(line) for line in logged.splitlines() if line.startswith("{") and '"verb"' in line]
        return [line for line in found if line.get("request") == entry["request"] and line.get("name") == name]

    (line, *more) = wait_for(f"{reason} of {name} in the log", lines, bool, seconds=30)
    assert not more
    assert (line["by"], line["result"], line["reason"]) == (entry["by"], entry["result"], reason)
    assert line["time"] == entry["time"].replace("Z", "+00:00")


def test_a_verb_is_signed_carried_out_and_told(trader: Space, tradewind: Tradewind) -> None:
    chief = user(trader, "chief")
    for verb, reason, phase in (("pause", "Paused", "Paused"), ("resume", "Resumed", "Running")):
        done = tradewind("chief", verb, "first")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{chief} {verb}" in done.stdout
        assert trader.must_get("ABExperiment", "first")["status"]["phase"] == phase
        entry = history(trader, "ABExperiment", "first")[-1]
        assert (entry["verb"], entry["by"], entry["result"]) == (verb, chief, "done")
        told_everywhere(trader, "first", reason, entry)


def test_who_may_not_is_refused_and_told_what_to_ask_for(trader: Space, tradewind: Tradewind) -> None:
    before = trader.must_get("ABExperiment", "first")["metadata"]["annotations"]
    for verb in ("pause", "abort"):
        done = tradewind("editor", verb, "first")
        assert done.returncode == 2
        assert f"may not use tradewind.dev/{verb}: ask for update on abexperiments/{verb}" in done.stderr
    done = tradewind("editor", "promote", "next", "--endpoint", "trader", "--reason", "mine")
    assert done.returncode == 2
    assert "ask for update on endpoints/promote" in done.stderr
    done = tradewind("viewer", "abort", "first")
    assert done.returncode == 2
    assert "ask for the ClusterRole" in done.stderr
    assert trader.must_get("ABExperiment", "first")["metadata"]["annotations"] == before
    assert tradewind("viewer", "get", "abexperiment", "first").returncode == 0


def test_nobody_signs_as_somebody_else(trader: Space, people: dict[str, Path], tradewind: Tradewind) -> None:
    chief, other = user(trader, "chief"), user(trader, "editor")
    done = tradewind("chief", "pause", "first", "--by", other)
    assert done.returncode == 2
    assert f"the API server knows you as {chief}" in done.stderr
    # Not by the command: the policy compares.
    for by in (other, "admin", "", f"{chief} "):
        annotations = ("tradewind.dev/pause=forged", f"tradewind.dev/by={by}")
        patch = ("annotate", "--overwrite", "abexperiment", "first", *annotations)
        told = trader.refused(f"--kubeconfig={people['chief']}", *patch)
        assert f"set tradewind.dev/by={chief}" in told
    # Nor the signature of what was asked for before.
    told = trader.refused(
        f"--kubeconfig={people['editor']}", "annotate", "--overwrite", "abexperiment", "first", "tradewind.dev/by=admin"
    )
    assert "with your own user name" in told
    told = trader.refused(f"--kubeconfig={people['editor']}", "annotate", "abexperiment", "first", "tradewind.dev/by-")
    assert "with your own user name" in told
    assert trader.must_get("ABExperiment", "first")["status"]["phase"] == "Running"


def test_there_is_nothing_to_approve_yet(trader: Space, people: dict[str, Path], tradewind: Tradewind) -> None:
    done = tradewind("chief", "approve", "first")
    assert done.returncode == 1
    assert "NothingToApprove: first: there is no verdict to approve yet (Running)" in done.stderr
    # Past the command: the operator refuses, and says so.
    chief = user(trader, "chief")
    annotations = ("tradewind.dev/approve=early", f"tradewind.dev/by={chief}")
    trader.kubectl(f"--kubeconfig={people['chief']}", "annotate", "--overwrite", "abexperiment", "first", *annotations)
    (*_, entry) = wait_for(
        "the refusal in the history",
        lambda: [e for e in history(trader, "ABExperiment", "first") if e["request"] == "early"],
        bool,
        seconds=60,
    )
    assert (entry["verb"], entry["by"], entry["result"]) == ("approve", chief, "refused")
    assert "approvedBy" not in trader.must_get("ABExperiment", "first")["status"]
    told_everywhere(trader, "first", "NothingToApprove", entry)


def test_the_end_is_seen_by_who_watches_and_waits(trader: Space, tradewind: Tradewind) -> None:
    assert tradewind("viewer", "wait", "endpoint/trader", "--for", "Ready", "--timeout", "60s").returncode == 0
    late = tradewind("viewer", "wait", "abexperiment/first", "--for", "verdict", "--timeout", "1s")
    assert late.returncode == 3
    ended: dict[str, Any] = {}

    def look(name: str, *arguments: str) -> None:
        ended[name] = tradewind("viewer", *arguments)

    asked = {
        "watch": ("get", "abexperiment", "first", "-w"),
        "wait": ("wait", "abexperiment/first", "--for", "verdict=promoted", "--timeout", "2m"),
    }
    threads = [threading.Thread(target=look, args=(name, *words)) for name, words in asked.items()]
    for thread in threads:
        thread.start()
    time.sleep(8)
    done = tradewind("chief", "abort", "first")
    assert done.returncode == 0, done.stdout + done.stderr
    chief = user(trader, "chief")
    assert f"aborted by {chief}" in done.stdout
    for thread in threads:
        thread.join(120)
    assert (ended["watch"].returncode, ended["wait"].returncode) == (6, 6), ended
    assert f"ABExperiment/first  verdict: abort (Aborted): aborted by {chief}" in ended["watch"].stdout
    told_everywhere(trader, "first", "Aborted", history(trader, "ABExperiment", "first")[-1])
    again = tradewind("chief", "pause", "first")
    assert again.returncode == 1
    assert "Over: first: the experiment is over (Aborted)" in again.stderr


def test_the_champion_by_hand_is_signed_too(trader: Space, tradewind: Tradewind) -> None:
    chief = user(trader, "chief")
    done = tradewind("chief", "promote", "next", "--endpoint", "trader", "--reason", "it is better", "--timeout", "2m")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{chief} promoted next in place of api: it is better" in done.stdout
    entry = history(trader, "Endpoint", "trader")[-1]
    assert (entry["verb"], entry["by"], entry["result"]) == ("promote", chief, "done")
    told_everywhere(trader, "trader", "PromotedByHand", entry)
    refused = tradewind("chief", "promote", "nobody", "--endpoint", "trader", "--reason", "a typo")
    assert refused.returncode == 1
    assert "ModelVersion nobody does not exist" in refused.stderr
