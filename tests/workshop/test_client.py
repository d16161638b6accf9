"""What objects say of themselves, in a line and in conditions; and a client against programs that are not there."""

import stat
from pathlib import Path

import pytest

from workshop.client import Cluster, condition, is_true, state
from workshop.namespace import Namespace
from workshop.progress import StepError

RUN = {
    "metadata": {"name": "run", "generation": 2},
    "status": {
        "phase": "Training",
        "observedGeneration": 2,
        "progress": {"step": 3, "totalSteps": 10, "loss": 0.5, "etaSeconds": 40},
        "conditions": [
            {"type": "Admitted", "status": "True", "reason": "Ok"},
            {"type": "Succeeded", "status": "Unknown", "reason": "Training", "message": "under way"},
        ],
    },
}


def test_an_object_in_a_line() -> None:
    told = "phase Training; step 3 of 10, loss 0.500, 40 s left; Succeeded=Unknown Training: under way"
    assert state(RUN) == told
    assert state(None) == "not there"
    assert state({"metadata": {}}) == "no status yet"


def test_a_condition_of_an_earlier_generation_is_not_true() -> None:
    assert is_true(RUN, "Admitted")
    assert not is_true(RUN, "Succeeded")
    assert not is_true(None, "Admitted")
    stale = {**RUN, "metadata": {"name": "run", "generation": 3}}
    assert not is_true(stale, "Admitted")
    assert condition(RUN, "Unheard") == {}


def test_a_missing_program_and_a_failed_one_are_told(tmp_path: Path) -> None:
    cluster = Cluster({"PATH": str(tmp_path)})
    with pytest.raises(StepError, match="kubectl is not on PATH"):
        cluster.kubectl("get", "pods")
    with pytest.raises(StepError, match="kubectl is not on PATH"):
        cluster.healthy()
    _program(tmp_path / "kubectl", "echo no such cluster >&2; exit 1")
    with pytest.raises(StepError, match="`kubectl get pods` failed: no such cluster"):
        cluster.kubectl("get", "pods")
    with pytest.raises(StepError, match="`kubectl proxy` ended at once"):
        cluster.healthy()
    assert cluster.refused("delete", "pod") == "no such cluster\n"


def test_a_refused_manifest_is_tried_again_for_as_long_as_one_may(tmp_path: Path) -> None:
    _program(
        tmp_path / "kubectl",
        f'cat >> {tmp_path}/given; printf "%s " "$@" >> {tmp_path}/asked; test -f {tmp_path}/there',
    )
    space = Namespace(Cluster({"PATH": f"{tmp_path}:/usr/bin:/bin"}), "desk")
    with pytest.raises(StepError, match="objects to be accepted: not within 0 s"):
        space.apply({"kind": "A"}, {"kind": "B"})
    (tmp_path / "there").touch()
    space.apply("kind: C\n")
    assert (
        tmp_path / "given"
    ).read_text() == '{"apiVersion": "v1", "kind": "List", "items": [{"kind": "A"}, {"kind": "B"}]}kind: C\n'
    assert (tmp_path / "asked").read_text().count("-n desk apply --server-side --force-conflicts") == 2


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
