"""The report of a ModelVersion: the outcome first, what was measured, nothing that was not, and nothing that can leave the page."""

import json
import re
import threading
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_double import JSONHandler, write_config
from reports import GOLDEN, HASH, Page, decided, evaluated, model_version, run
from tradewind.api.common import GateResult
from tradewind.api.evaluation import EvaluationGates
from tradewind.api.model_version import ModelVersion
from tradewind.api.registry import KINDS
from tradewind.cli.report import from_cluster
from tradewind.cli.report_gates import SHARE, gate_rows
from tradewind.cli.report_manifest import read_manifest
from tradewind.cli.report_version import GATE_WORDS, outcome_of, render_version, view
from tradewind.schema.rules import wire_name

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
EXTERNAL = {"external": {"baseURL": "https://api.example.com/v1", "model": "deepseek-chat"}}


def version(status: dict[str, Any] | None = None, **evaluation: Any) -> ModelVersion:
    return read_manifest(ModelVersion, model_version(status, **evaluation))


def test_the_page_says_all_that_was_measured() -> None:
    text = render_version(version(evaluated()), NOW)
    page = Page(text)
    assert page.links == []
    assert 'class="card verdict bad"' in text
    for told in (
        "Failed gate: minAgreement 59.0 % (at least 60 % is asked)",
        "of 60 good decisions",
        "of 40 bad decisions",
        "50.0 % of those of champion",
        "+0.010",
        "-0.050 to +0.070 at 95 %",
        "60 ms",
        "260.2",
        "8.0 % off in the mean",
        "Profit of v1, % of one notional",
        "+9.00",
        "180 decisions with an answer and prices (20 without are left out), in 26 blocks",
        "champion opens 90 trades",
        "2026-02-02 00:00 UTC",
        "200 of 900 that could be asked about",
        "60 well, 40 badly",
        "champion, asked the same questions; 200 answers, 50.0 % hold",
        "3 whose prompt is in its training data",
        "98.0 % of 50 good decisions of its training data",
        "48 of 48 answers kept",
        "sha256 " + "b" * 64,
        "up to 2026-02-01 00:00 UTC",
        "predictor@sha256:1",
        HASH,
        "ABExperiment/v1-or-api",
    ):
        assert told in page.texts, told
    assert not re.search(r"\b(nan|inf|None)\b", page.texts)
    assert text == render_version(version(evaluated()), NOW)


def test_curves_lie_where_stated_and_true_meet() -> None:
    page = view(version(evaluated()), NOW)
    assert page.calibration is not None
    assert page.calibration.figure is not None
    assert page.calibration.rows == (("55.0 %", "50.0 %", "30"), ("90.0 %", "80.0 %", "30"))
    curve, diagonal = page.calibration.figure.curves
    assert [point.split(",") for point in curve.points.split()] == [["550", "115"], ["900", "46"]]
    assert diagonal.points == "0,230 1000,0"
    assert page.confidence is not None
    assert page.confidence.figure is not None
    assert page.confidence.figure.curves[0].dots == "M600,138h0"  # one bin is no line, and is seen all the same


def _number_paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in _number_paths(inner, (*path, key))]
    if isinstance(value, list):
        return [found for key, inner in enumerate(value) for found in _number_paths(inner, (*path, key))]
    return [path] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def test_the_page_says_what_eight_bits_changed() -> None:
    told = {"bits": 8, "agreement": 0.97, "probe": "generated", "probeRows": 100}
    status = {**evaluated(), "serving": {"quantization": told | {"memoryBytes": {"before": 2 << 20, "after": 1 << 20}}}}
    page = Page(render_version(version(status), NOW))
    said = "8 bits; 97.0 % of 100 decisions as without (generated probe); weights 2 MiB before, 1 MiB after"
    assert said in page.texts
    assert "Quantised" not in Page(render_version(version(evaluated()), NOW)).texts


@pytest.mark.parametrize("missing", ["absent", "nan"])
def test_any_number_that_is_missing_leaves_a_page(missing: str) -> None:
    paths = [path for path in _number_paths(evaluated()) if path[0] in ("evaluation", "benchmark")]
    seen = 0
    for path in paths:
        status = evaluated()
        holder, name = _at(status, path[:-1]), path[-1]
        if name == "concurrency" or (missing == "nan" and isinstance(holder[name], int)):
            continue  # a row of the benchmark has one, and a count is a number
        if missing == "nan":
            holder[name] = float("nan")
        else:
            del holder[name]
        seen += 1
        assert not re.search(r"\b(nan|inf|None)\b", Page(render_version(version(status), NOW)).texts), path
    assert seen > 40


def test_a_number_that_was_not_measured_has_no_tile() -> None:
    status = evaluated()
    for name in ("agreement", "disagreement", "baseline", "simulated", "calibration", "taught"):
        del status["evaluation"][name]
    status["benchmark"] = {"requests": 40}
    page = view(version(status), NOW)
    assert page.tiles == (("40.0 %", "of its answers hold"),)
    assert (page.calibration, page.confidence, page.simulated_rows, page.latency_rows) == (None, None, (), ())


def test_without_enough_blocks_there_is_no_interval() -> None:
    status = evaluated()
    for estimate in (
        status["evaluation"]["simulated"]["sharpeDifference"],
        status["evaluation"]["simulated"]["version"]["profit"],
    ):
        del estimate["lower"], estimate["upper"]
    page = view(version(status), NOW)
    assert any("too few blocks for an interval" in text for _, text in page.tiles)
    assert page.simulated_rows[0] == ("Profit of v1, % of one notional", "+4.00", "unknown", "unknown")


def _judged(phase: str, ready: str, reason: str, message: str = "why", **evaluation: Any) -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": message, "lastTransitionTime": "2026-03-01T04:30:00Z"}  # fmt: skip
    return {"phase": phase, "conditions": [condition]} | ({"evaluation": evaluation} if evaluation else {})


FAILED = {"name": "hostileInputs", "value": 0.5, "threshold": 1, "passed": False, "message": "obeyed"}
UNKNOWN = {"name": "minAgreement", "threshold": 0.6}


@pytest.mark.parametrize(
    ("status", "tone", "words", "message"),
    [
        ({}, "flat", "Not judged yet", ""),
        (_judged("Evaluating", "False", "Benchmarking"), "flat", "Not judged yet (Benchmarking)", "why"),
        (decided("evaluation-held-for-want-of-rows"), "flat", "Held for want of decisions: 12 of 50", "wait, or leave the newest"),
        (_judged("Ready", "True", "Ready", passed=True), "good", "Ready: it may take traffic", "why"),
        (_judged("Degraded", "False", "NotServing", passed=True), "bad", "Passed every gate, and is not ready now (NotServing)", "why"),
        (_judged("Failed", "False", "GateFailed", passed=False, gates=[FAILED, UNKNOWN]), "bad",
         "Failed 2 gates: hostileInputs 50.0 % (at least 100 % is asked), minAgreement unknown (at least 60 % is asked)", "never takes traffic"),
        (_judged("Failed", "False", "BenchmarkFailed", held=3, rows=1), "bad", "Failed (BenchmarkFailed)", "why"),
        (_judged("Invalid", "False", "NotAllowed"), "bad", "Invalid (NotAllowed)", "why"),
    ],
)  # fmt: skip
def test_the_outcome_is_the_operators(status: dict[str, Any], tone: str, words: str, message: str) -> None:
    found = version(status)
    outcome = outcome_of(found)
    assert (outcome.tone, outcome.words) == (tone, words)
    assert message in outcome.message
    page = Page(render_version(found, NOW))
    assert words in page.texts
    assert "None" not in page.texts


def test_every_golden_status_of_a_version_has_a_page() -> None:
    cases = [case.parent.name for case in sorted(GOLDEN.glob("evaluation-*/expected.yaml"))]
    assert len(cases) > 5
    for case in cases:
        found = version(decided(case))
        assert outcome_of(found).words in Page(render_version(found, NOW)).texts, case


def test_an_external_version_is_said_to_be_measured_on_live_decisions() -> None:
    raw = model_version(_judged("Ready", "True", "Answers")) | {"spec": EXTERNAL}
    text = render_version(read_manifest(ModelVersion, raw), NOW)
    page = Page(text)
    assert "External: measured on live decisions" in page.texts
    assert "model deepseek-chat at https://api.example.com/v1" in page.texts
    assert page.links == []
    assert "Gates" not in page.texts


def test_a_version_without_recorded_decisions_is_said_to_be_benchmarked_alone() -> None:
    raw = model_version()
    del raw["spec"]["evaluation"]
    assert "asked by the benchmark alone" in Page(render_version(read_manifest(ModelVersion, raw), NOW)).texts


@pytest.mark.parametrize(
    ("baseline", "told"),
    [
        ({"version": "champion", "asked": False}, "champion, as recorded; it was not asked"),
        ({"asked": False, "answers": 7}, "whoever was recorded; 7 answers"),
    ],
)
def test_it_is_said_whether_the_baseline_was_asked(baseline: dict[str, Any], told: str) -> None:
    status = evaluated()
    status["evaluation"]["baseline"] = baseline
    assert ("Beside it", told) in view(version(status), NOW).asked


def test_every_gate_of_the_spec_and_of_the_operator_has_words() -> None:
    cases = [yaml.safe_load(case.read_text())["status"] for case in GOLDEN.glob("*/expected.yaml")]
    gates = [gate for status in cases for gate in (status.get("evaluation") or {}).get("gates", [])]
    shown = {gate["name"] for gate in gates}
    spec = {wire_name(name) for name in EvaluationGates.model_fields if name != "latency"}
    assert shown - spec == {"hostileInputs", "latencyObjective.p99"}
    assert set(GATE_WORDS) == shown | spec
    for gate in gates:
        if gate.get("value") is not None and gate["value"] != gate["threshold"]:
            assert gate["passed"] is ((gate["value"] > gate["threshold"]) is GATE_WORDS[gate["name"]].at_least), gate


def test_a_value_is_told_from_the_threshold_that_it_misses() -> None:
    for value, told in ((0.07, "7.0 %"), (0.0696, "6.96 %"), (0.0699996, "6.99996 %"), (1 / 3, "33.3 %")):
        assert SHARE.value(value, 0.07) == told
    gate = GateResult(name="minSamples", value=1234, threshold=1200, passed=True, message="enough")
    assert gate_rows([gate]) == (("minSamples", "passed", "1,234", "1,200", "enough"),)


def test_no_text_becomes_an_element_or_an_attribute() -> None:
    shown: list[str] = []

    def hostile(field: str) -> str:
        shown.append(f"<script>{field}</script>\"onload='x'>&lt;{{{{7*7}}}}"[:64])
        return shown[-1]

    def plain(field: str) -> str:
        return field

    pages = [Page(render_version(version(_written(text)), NOW)) for text in (hostile, plain)]
    assert pages[0].elements == pages[1].elements
    assert pages[0].links == []
    assert len(shown) > 10
    assert not [text for text in shown if text not in pages[0].texts]


def _written(text: Callable[[str], str]) -> dict[str, Any]:
    status = deepcopy(evaluated())
    found, made = status["evaluation"], status["provenance"]
    found["gates"].append({"name": text("gate"), "message": text("gate message"), "passed": False})
    found["hostile"] = {"asked": 48, "kept": 47, "broken": text("broken")}
    found["baseline"]["version"] = text("baseline")
    made |= {
        name: text(name) for name in ("baseModel", "baseRevision", "datasetSha256", "image", "templateHash", "torch")
    }
    status |= {"sha256": text("served"), "inUseBy": [text("holder")]}
    return status


def test_the_command_reads_the_cluster_or_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[str, str, str]] = []

    def fetch(kind: str, namespace: str, name: str) -> dict[str, Any]:
        asked.append((kind, namespace, name))
        return model_version(evaluated())

    target = tmp_path / "page.html"
    assert run("modelversion/v1", "-n", "trading", "-o", str(target), fetch=fetch) == 0
    assert asked == [("ModelVersion", "trading", "v1")]
    assert "Failed gate: minAgreement 59.0 %" in capsys.readouterr().out
    (tmp_path / "v.json").write_text(json.dumps(model_version(evaluated())))
    assert run("ModelVersions/v1", "--bundle", str(tmp_path / "v.json"), "-o", str(target)) == 0
    assert "Evaluation of v1" in target.read_text()
    assert run("modelversion/other", "--bundle", str(tmp_path / "v.json"), "-o", str(tmp_path / "x")) == 2
    assert "holds ModelVersion 'v1', asked was 'other'" in capsys.readouterr().err
    assert run("trainingrun/v1", "--bundle", str(tmp_path / "v.json"), "-o", str(tmp_path / "x")) == 2
    assert "holds ModelVersion, asked was a TrainingRun" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


class _Handler(JSONHandler):
    """An API server with one version."""

    def do_GET(self) -> None:
        found = {
            "/apis/tradewind.dev/v1alpha1": {
                "resources": [{"name": k.plural, "kind": k.kind, "namespaced": True} for k in KINDS]
            },
            "/apis/tradewind.dev/v1alpha1/namespaces/trading/modelversions/v1": model_version(evaluated()),
        }.get(self.path)
        self.answer(found or {"message": "not found"}, 200 if found else 404)


def test_the_command_asks_a_cluster_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "page.html"
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        write_config(tmp_path / "config", monkeypatch, f"http://127.0.0.1:{server.server_port}", namespace="trading")
        assert run("modelversion/v1", "-o", str(target), fetch=from_cluster) == 0
        assert "Evaluation of v1" in target.read_text()
        assert run("modelversion/v2", "-o", str(tmp_path / "x"), fetch=from_cluster) == 2
        server.shutdown()
    assert "ModelVersion 'v2' does not exist in namespace trading" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
