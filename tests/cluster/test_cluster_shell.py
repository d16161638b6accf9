"""Processes are known by pid and start time, and errors carry a remedy."""

import json
import os
import subprocess

import pytest

from cluster.shell import Processes, run, start_time
from workshop.progress import Progress, StepError


@pytest.fixture
def processes(tmp_path):
    (tmp_path / "records").mkdir()
    return Processes(records=tmp_path / "records", logs=tmp_path / "logs")


def record(processes, name, pid, began):
    (processes.records / f"{name}.json").write_text(json.dumps({"pid": pid, "start_time": began, "argv": []}))


def test_a_pid_that_now_belongs_to_another_program_is_not_ours(processes):
    began = start_time(os.getpid())
    assert began is not None
    record(processes, "same", os.getpid(), began)
    record(processes, "reused", os.getpid(), began - 1)
    assert processes.pid("same") == os.getpid()
    assert processes.pid("reused") is None
    assert processes.pid("never-started") is None


def test_stop_ends_the_recorded_process_alone(processes):
    with subprocess.Popen(["sleep", "60"]) as ours, subprocess.Popen(["sleep", "60"]) as other:
        record(processes, "sleeper", ours.pid, start_time(ours.pid))
        processes.stop("sleeper")
        assert start_time(ours.pid) is None
        assert other.poll() is None
        assert not (processes.records / "sleeper.json").exists()
        other.kill()


def test_a_failed_command_tells_its_end_and_the_remedy(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(StepError) as caught:
        run(["sh", "-c", "echo the reason; exit 3"], log=log, remedy="do this")
    message = Progress(current="the step").explain(caught.value)
    for part in ("failed at: the step", "ended with 3", "| the reason", "remedy:    do this"):
        assert part in message
