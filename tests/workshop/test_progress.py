"""What is told while something is set up: each step, how long it took, and how long the rest will."""

import pytest

from workshop.progress import Progress


def test_what_is_left_is_told_with_each_step_and_shrinks(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(expected={"first": 120.0, "second": 240.0, "last": 10.0})
    for name in ("first", "second", "last"):
        with progress.step(name):
            pass
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.endswith("first [about 6 min left]")
    assert second.endswith("second [about 4 min left]")
    assert last.endswith("last"), "under a minute nothing is told"


def test_a_step_that_nobody_expects_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(expected={"later": 600.0})
    with progress.step("now", waits_for="a download"):
        pass
    assert capsys.readouterr().err.rstrip().endswith("now (waiting for a download) [about 10 min left]")
