"""A run's folder in a store as its Jobs see it: the snapshot's, then attempts that start with nothing."""

from pathlib import Path

import pytest
from store_rig import Rig

from tradewind.trading.exits import ExitCode
from tradewind.trading.settings.stores import Stores
from tradewind.training.outcome import JobError
from tradewind.training.stored import StoredOutput, bring


def job(rig: Rig, run: str, pod: Path, *, dataset: bool = False, owner: str = "tradewind/trading/r") -> StoredOutput:
    output = rig.stored(f"s3://models/runs/{run}", pod, field="spec.output")
    return bring(Stores(output=output, owner=owner), pod, dataset=dataset)


def snapshot(rig: Rig, run: str, pod: Path, lines: str) -> None:
    taken = job(rig, run, pod)
    (pod / "dataset").mkdir()
    (pod / "dataset/train.jsonl").write_text(lines)
    taken.publish_dataset()


def test_the_trainer_finds_the_snapshot_and_what_attempts_leave_each_other(rig: Rig, tmp_path: Path) -> None:
    snapshot(rig, "found", tmp_path / "snapshot", "{}\n")
    first = job(rig, "found", tmp_path / "first", dataset=True)
    assert (tmp_path / "first/dataset/train.jsonl").read_text() == "{}\n"
    assert not (tmp_path / "first/diverged.json").exists()
    (tmp_path / "first/diverged.json").write_text("1")
    first.keep(tmp_path / "first/diverged.json")
    job(rig, "found", tmp_path / "second", dataset=True)
    assert (tmp_path / "second/diverged.json").read_text() == "1"


def test_a_snapshot_whose_job_was_lost_is_taken_anew(rig: Rig, tmp_path: Path) -> None:
    snapshot(rig, "anew", tmp_path / "one", "1\n")
    snapshot(rig, "anew", tmp_path / "two", "2\n")
    job(rig, "anew", tmp_path / "trainer", dataset=True)
    assert (tmp_path / "trainer/dataset/train.jsonl").read_text() == "2\n"


def test_a_trainer_without_a_snapshot_and_a_stranger_are_refused(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"dataset/SHA256SUMS") as error:
        job(rig, "empty", tmp_path / "one", dataset=True)
    assert error.value.code is ExitCode.BAD_DATA
    with pytest.raises(JobError, match="it is the output of") as error:
        job(rig, "empty", tmp_path / "two", owner="tradewind/elsewhere/r")
    assert (error.value.code, error.value.reason) == (ExitCode.BAD_CONFIG, "OutputTaken")


def test_a_job_without_stores_has_a_folder_and_nothing_else(tmp_path: Path) -> None:
    output = bring(Stores(), tmp_path / "out", dataset=True)
    output.keep(tmp_path / "none")
    output.publish()
    assert not (tmp_path / "out").exists()
