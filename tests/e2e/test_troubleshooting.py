"""docs/troubleshooting.md by symptom: each is provoked on the real cluster, and the page's command shows what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from space import Space

from manifests import endpoint, experiment, external, resource
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
_SYMPTOM = re.compile(r"<!-- symptom: (\S+) command: (.+?) expects: (.+?) -->")
NOWHERE = {"uri": "pvc://nowhere/model", "sha256": "a" * 64}
RUN = {
    "baseModel": {"uri": "pvc://nowhere/base"},
    "dataset": {"endpoint": "nobody"},
    "output": {"uri": "pvc://nowhere/out"},
}


class Symptom(NamedTuple):
    """What the page says of one symptom."""

    name: str
    command: str
    expects: str


SYMPTOMS = {
    name: Symptom(name, command, expects) for name, command, expects in _SYMPTOM.findall(PAGE.read_text("utf-8"))
}
WRONG = sorted(SYMPTOMS.keys() - {"weights-do-not-move", "paused"})


def explained(space: Space, command: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tradewind.main", *command.split(), "-n", space.name]
    return subprocess.run(argv, env=os.environ, capture_output=True, text=True, timeout=60, check=False)


def shows(space: Space, symptom: Symptom, code: int) -> str:
    """The command's text, once it says what the page says, with that exit code."""
    done = wait_for(
        f"`tradewind {symptom.command}` to say {symptom.expects!r} with exit code {code}",
        lambda: explained(space, symptom.command),
        lambda done: symptom.expects in done.stdout and done.returncode == code,
        seconds=120,
        every=2.0,
        show=lambda done: (
            f"exit code {done.returncode}: {done.stdout[-3000:]}{done.stderr[-500:]}" if done else "nothing"
        ),
    )
    return done.stdout


@pytest.fixture(scope="module")
def provoked(space: Space) -> Space:
    """One of each thing that people get wrong, beside an experiment that runs."""
    replay = {"mode": "Replay", "replay": {"startTime": "2026-01-01T00:00:00Z"}}
    space.apply(
        external("api", "against"),
        external("next", "follow"),
        endpoint("trader", "api"),
        endpoint("no-fallback", "nobody"),
        resource("ModelVersion", "no-claim", {"model": NOWHERE}),
        resource("TrainingRun", "no-endpoint", RUN),
        experiment("ab", "trader", "api", "next", traffic={"policy": "fixed", "weight": "0.5"}),
        experiment("no-candidate", "trader", "api", "nobody"),
        experiment("wrong-clock", "trader", "api", "next", **replay),
    )
    space.wait_active("trader", "ab", 180)
    return space


@pytest.mark.parametrize("name", WRONG)
def test_the_cause_of_what_is_wrong_is_named(provoked: Space, name: str) -> None:
    text = shows(provoked, SYMPTOMS[name], 3)
    assert text.count("\n=> ") + text.startswith("=> ") == 1, text
    assert "\ncause: " in text


def test_why_the_weight_is_what_it_is_and_that_a_pause_is_named(provoked: Space) -> None:
    text = shows(provoked, SYMPTOMS["weights-do-not-move"], 0)
    for words in (
        "0.5 wanted, 0.5 applied",
        "Fixed: traffic.weight is 0.5",
        "may move at ",
        "verdict: waits: NotEnoughData",
    ):
        assert words in text, text
    me = provoked.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}").strip()
    provoked.kubectl("annotate", "abexperiment", "ab", "tradewind.dev/pause=t1", f"tradewind.dev/by={me}")
    text = shows(provoked, SYMPTOMS["paused"], 3)
    assert "`tradewind resume` lets it go on" in text
    assert "0 wanted" in text


def test_what_is_not_there_and_what_is_asked_wrongly(provoked: Space) -> None:
    assert explained(provoked, "explain endpoint/nothing").returncode == 1
    wrong = explained(provoked, "explain potato/x")
    assert wrong.returncode == 2
    assert "kind 'potato' is unknown" in wrong.stderr
