"""`tradewind evaluate`: the published answers as JSON, and mistakes as one line and exit code 2."""

import argparse
import json
import re
from pathlib import Path

import pytest

from tradewind.cli import evaluate

FIXTURES = Path(__file__).parents[1] / "fixtures" / "stats"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
EXPERIMENT = """\
apiVersion: v1
kind: ConfigMap
---
apiVersion: tradewind.dev/v1alpha1
kind: ABExperiment
metadata: {name: week-14}
spec:
  endpointRef: {name: trader}
  candidate: v2
  evidence: {minDuration: 40d, alpha: "0.01"}
"""


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    args = parser.parse_args(["evaluate", *arguments])
    return args.run(args)


def of(name: str, *more: str) -> int:
    case = EXPECTED["cases"][name]
    return run("--trades", str(FIXTURES / f"{name}.csv"), "--t0", EXPECTED["t0"], "--now", case["now"], *more)


@pytest.mark.parametrize("name", EXPECTED["cases"])
def test_the_published_json(name, capsys) -> None:
    assert of(name, "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    verdict = answer.pop("operator_verdict")
    assert verdict["verdict"] in {"continue", "promote", "rollback", "inconclusive"}
    expected = {key: value for key, value in EXPECTED["cases"][name].items() if key != "now"}
    assert {key: value for key, value in answer.items() if key != "metrics"} == {
        key: value for key, value in expected.items() if key != "metrics"
    }
    for metric, numbers in expected["metrics"].items():
        assert answer["metrics"][metric] == {
            key: None if value is None else pytest.approx(value, abs=1e-4) for key, value in numbers.items()
        }


def test_the_experiment_file_counts(tmp_path, capsys) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    assert of("better", "--experiment", str(tmp_path / "experiment.yaml"), "--now", "2026-02-09T12:00:00Z") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["decision"] == "promote"
    assert answer["block"] > 25
    assert answer["operator_verdict"]["reason"] == "MinDurationNotReached"


def test_a_retest_needs_more(capsys) -> None:
    assert of("better", "--retest", "4") == 0
    assert json.loads(capsys.readouterr().out)["block"] > 25


def test_text(capsys) -> None:
    assert of("worse", "-o", "text") == 0
    assert capsys.readouterr().out.startswith("rollback (Worse): the candidate is worse, decided at block 24")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--t0", "2026-01-01"), "t0: .* has no time zone"),
        (("--t0", "January"), "--t0: 'January' is not a time"),
        (("--now", "2025-01-01T00:00:00Z"), "now: .* before t0"),
        (("--trades", "/nowhere.csv"), "/nowhere.csv"),
        (("--experiment", str(FIXTURES / "expected.json")), "holds no ABExperiment"),
        (("--max-hold", "1w"), "--max-hold: '1w' is not a duration"),
        (("--retest", "-1"), "retest: -1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys) -> None:
    assert of("null", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("tradewind evaluate: ")
    assert re.search(message, captured.err)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not YAML"),
        (EXPERIMENT.replace("v1alpha1", "v9"), "apiVersion 'tradewind.dev/v9' is unknown"),
        (EXPERIMENT.replace('"0.01"', "high"), "spec.evidence.alpha: 'high' is not a decimal"),
        ("kind: ABExperiment\napiVersion: tradewind.dev/v1alpha1\nspec: 3\n", "spec: not a mapping"),
    ],
)
def test_a_mistake_in_the_experiment_names_file_and_field(text, message, tmp_path, capsys) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    assert of("null", "--experiment", str(path)) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert message in error


def test_a_mistake_in_the_table_names_the_file(tmp_path, capsys) -> None:
    path = tmp_path / "trades.csv"
    path.write_text((FIXTURES / "null.csv").read_text().replace("d000003,baseline", "d000003,api"))
    assert of("null", "--trades", str(path)) == 2
    assert f"{path}: row 4 (d000003), column arm: 'api' is unknown" in capsys.readouterr().err
