"""The report of a TrainingRun: what was measured is there, what was not is not, and nothing in it can leave the page."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reports import HASH, Page, run, trained, training_run
from tradewind.api.training_run import TrainingRun
from tradewind.cli.report_manifest import read_manifest
from tradewind.cli.report_training import render_training, view
from tradewind.trading.teaching import DROPPED, Dropped

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def test_what_a_run_gained_is_told_first_and_where_it_comes_from() -> None:
    text = render_training(read_manifest(TrainingRun, training_run(trained())), NOW)
    page = Page(text)
    assert page.links == []
    assert 'class="card verdict good"' in text
    for told in (
        "75.0 %",
        "1.2 to 0.3",
        "base model 1.2",
        "evaluation <b>0.3</b>",
        "2026-03-01 02:00 to 2026-03-01 04:30 UTC",
        "minReviewedAccuracy",
        "2h 13m",
        "2.50 GPU hours",
        "2 started, 1 interrupted",
        HASH,
    ):
        assert told in text, told
    assert not re.search(r"\b(nan|inf|None)\b", page.texts)
    assert text == render_training(read_manifest(TrainingRun, training_run(trained())), NOW)


def test_a_gain_that_was_not_measured_is_not_told() -> None:
    status = trained()
    del status["result"]["baseEvalLoss"]
    page = view(read_manifest(TrainingRun, training_run(status)), NOW)
    assert page.tiles[0] == ("0.3", "evaluation loss")
    assert page.losses is not None
    assert page.losses.bounds == ()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ({}, "Not looked at yet"),
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Training", "progress": {"percent": 40.0, "step": 4, "totalSteps": 10, "loss": 1.5}}, "40 %, step 4 of 10, loss 1.5"),
        ({"phase": "Skipped", "gates": [{"name": "minSamples", "value": 3, "threshold": 500, "passed": False}]}, "Skipped: nothing was trained"),
        ({"phase": "Failed", "lastExit": "attempt 1 ended with 67: <b>loss</b>", "attempts": 1}, "&lt;b&gt;loss"),
    ],
)  # fmt: skip
def test_a_run_at_any_stage_has_a_page(status: dict[str, Any], outcome: str) -> None:
    text = render_training(read_manifest(TrainingRun, training_run(status)), NOW)
    assert Page(text).links == []
    assert outcome in text
    assert "None" not in text


def test_every_reason_to_leave_a_decision_out_has_words() -> None:
    assert set(DROPPED) == set(Dropped)


def test_the_command_reads_the_cluster_or_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[str, str, str]] = []

    def fetch(kind: str, namespace: str, name: str) -> dict[str, Any]:
        asked.append((kind, namespace, name))
        return training_run(trained())

    target = tmp_path / "r.html"
    assert run("trainingrun/weekly-1", "-n", "trading", "-o", str(target), fetch=fetch) == 0
    assert asked == [("TrainingRun", "trading", "weekly-1")]
    assert "19 points of its curve" in capsys.readouterr().out
    (tmp_path / "run.json").write_text(json.dumps(training_run(trained())))
    assert run("TrainingRuns/weekly-1", "--bundle", str(tmp_path / "run.json"), "-o", str(target)) == 0
    assert "Training of weekly-1" in target.read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("trainingrun/other", training_run(), "holds TrainingRun 'weekly-1', asked was 'other'"),
        ("endpoint/trader", training_run(), "not of Endpoint"),
        ("weekly-1", training_run(), "experiment"),
        ("trainingrun/weekly-1", {"items": []}, "asked was a TrainingRun"),
        ("trainingrun/weekly-1", [], "asked was a TrainingRun"),
        ("trainingrun/weekly-1", training_run() | {"spec": {}}, "baseModel"),
        ("trainingrn/weekly-1", training_run(), "is unknown"),
    ],
)
def test_another_file_or_name_is_refused(
    name: str, content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert run(name, "--bundle", str(tmp_path / "run.json"), "-o", str(tmp_path / "x")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
