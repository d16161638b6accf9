"""`tradewind evaluate`: the published answers as JSON, and mistakes as one line and exit code 2."""

import argparse
import csv
import json
import math
import re
from datetime import datetime
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
    table, spec = str(FIXTURES / f"{name}.csv"), str(FIXTURES / "experiment.yaml")
    return run("--trades", table, "--experiment", spec, "--t0", EXPECTED["t0"], "--now", case["now"], *more)


@pytest.mark.parametrize("name", EXPECTED["cases"])
def test_the_published_json(name, capsys) -> None:
    assert of(name, "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    verdict = answer.pop("operator_verdict")
    assert verdict["verdict"] in {"continue", "promote", "rollback", "inconclusive"}
    expected = {key: value for key, value in EXPECTED["cases"][name].items() if key != "now"}
    assert {key: answer[key] for key in expected if key != "metrics"} == {
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
    assert (answer["decision"], answer["operator_verdict"]["statistic"]["decision"]) == ("continue", "promote")
    assert answer["block"] > 25
    assert answer["operator_verdict"]["reason"] == "MinDurationNotReached"


def test_a_retest_needs_more(capsys) -> None:
    assert of("better", "--retest", "4") == 0
    assert json.loads(capsys.readouterr().out)["block"] > 25


STARTED = """\
apiVersion: tradewind.dev/v1alpha1
kind: ABExperiment
metadata: {name: week-14}
spec:
  endpointRef: {name: trader}
  candidate: v2
  guardrails: {errorRate: "0.02"}
status:
  t0: 2026-01-01T00:00:00Z
  maxHold: 24h
  latencyObjective: {p99: 50ms}
  evidence: {retestNumber: 4}
  verdict: {decision: inconclusive, reason: MaxDurationReached, time: "2026-03-27T00:00:00Z"}
"""


def with_requests(tmp_path: Path, *, fails: int = 0, slow: int = 0) -> Path:
    """The table `null` with a request of 40 ms a row; of the candidate's every n-th fails, or takes 60 ms."""
    with (FIXTURES / "null.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    seen = 0
    for row in rows:
        seen += row["arm"] == "candidate"
        mine = row["arm"] == "candidate"
        row["error_kind"] = "timeout" if mine and fails and seen % fails == 0 else ""
        row["latency_ms"] = "60" if mine and slow and seen % slow == 0 else "40"
    path = tmp_path / "trades.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_the_status_says_when_and_at_which_level(tmp_path, capsys) -> None:
    (tmp_path / "experiment.yaml").write_text(STARTED)
    trades = FIXTURES / "better.csv"
    assert run("--trades", str(trades), "--experiment", str(tmp_path / "experiment.yaml")) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["decision"], told["blocks"]) == ("promote", 85)
    assert told["threshold"]["promotion"] == pytest.approx(math.log(2**4 / 0.05))
    assert told["block"] > 25


@pytest.mark.parametrize(
    ("broken", "status", "reason"),
    [
        ({}, STARTED, "MaxDurationReached"),
        ({"fails": 5}, STARTED, "ErrorRate"),
        ({"slow": 3}, STARTED, "LatencyOverObjective"),
        ({"slow": 3}, STARTED.replace("50ms", "70ms"), "MaxDurationReached"),
        ({"slow": 3}, STARTED.replace("errorRate:", "latencyObjective: {p99: 70ms}, errorRate:"), "MaxDurationReached"),
        (
            {"slow": 3},
            STARTED.replace(
                "candidate: v2", "candidate: v2\n  mode: Replay\n  replay: {startTime: 2026-01-01T00:00:00Z}"
            ),
            "MaxDurationReached",
        ),
    ],
)
def test_requests_in_the_table_are_watched(broken, status, reason, tmp_path, capsys) -> None:
    (tmp_path / "experiment.yaml").write_text(status.replace("retestNumber: 4", "retestNumber: 0"))
    trades = with_requests(tmp_path, **broken)
    assert run("--trades", str(trades), "--experiment", str(tmp_path / "experiment.yaml")) == 0
    assert json.loads(capsys.readouterr().out)["operator_verdict"]["reason"] == reason


def renamed(folder: Path, day: str) -> Path:
    """The table of the better candidate, whose baseline calls itself m/new from that day on and m/old before."""
    with (FIXTURES / "better.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        name = "m/new" if row["decided_at"] >= day else "m/old"
        row |= {"error_kind": "", "latency_ms": "40", "reported_model": name if row["arm"] == "baseline" else ""}
    path = folder / "trades.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_an_arm_that_changed_holds_the_promotion(tmp_path, capsys) -> None:
    (tmp_path / "experiment.yaml").write_text(STARTED.replace("retestNumber: 4", "retestNumber: 0"))
    trades = renamed(tmp_path, "2026-02-01")
    assert run("--trades", str(trades), "--experiment", str(tmp_path / "experiment.yaml")) == 0
    told = json.loads(capsys.readouterr().out)
    verdict = told["operator_verdict"]
    assert (told["decision"], verdict["verdict"], verdict["reason"]) == (
        "inconclusive",
        "inconclusive",
        "BaselineChanged",
    )
    assert verdict["statistic"]["decision"] == "promote"
    assert verdict["changes"][0]["now"] == "m/new"
    assert "in the first block it was m/old" in verdict["message"]


def test_an_accepted_change_is_read_from_the_status(tmp_path, capsys) -> None:
    """The same verdict as the operator's: evidence from the block after the accept on, at half the alpha."""
    accepted = (
        '  accepted: [{time: "2026-01-10T06:00:00Z", by: ada, block: 10, changes: [{arm: baseline, now: m/new}]}]\n'
    )
    status = STARTED.replace("retestNumber: 4", "retestNumber: 0") + accepted
    (tmp_path / "experiment.yaml").write_text(status)
    trades = renamed(tmp_path, "2026-01-09")
    assert run("--trades", str(trades), "--experiment", str(tmp_path / "experiment.yaml")) == 0
    told = json.loads(capsys.readouterr().out)
    verdict = told["operator_verdict"]
    assert (told["decision"], verdict["verdict"], verdict["reason"]) == ("promote", "promote", "Better")
    assert (told["block"], verdict["changes"]) == (41, [])
    assert told["threshold"]["promotion"] == pytest.approx(math.log(40))
    assert verdict["left_out"]["before_t0"] == 240


def test_what_an_api_calls_itself_breaks_no_row(tmp_path, capsys) -> None:
    """A name is the API's own text: one with a line separator in it is still one cell."""
    path = with_requests(tmp_path)
    lines = path.read_text().splitlines()
    named = [f"{lines[0]},reported_model", *(f"{line},m\u2028a" for line in lines[1:])]
    path.write_text("\n".join(named))
    assert of("null", "--trades", str(path)) == 0
    assert json.loads(capsys.readouterr().out)["operator_verdict"]["changes"] == []


def test_the_latency_objective_can_be_given(tmp_path, capsys) -> None:
    assert of("null", "--trades", str(with_requests(tmp_path, slow=3)), "--latency-objective", "50ms") == 0
    assert json.loads(capsys.readouterr().out)["operator_verdict"]["reason"] == "LatencyOverObjective"


def test_without_a_status_the_times_are_asked_for(tmp_path, capsys) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    for more, missing in (((), "--t0"), (("--t0", EXPECTED["t0"]), "--now")):
        arguments = ("--trades", str(FIXTURES / "null.csv"), "--experiment", str(tmp_path / "experiment.yaml"))
        assert run(*arguments, *more) == 2
        assert f"{missing}: missing; give a time" in capsys.readouterr().err


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
        (("--latency-objective", "fast"), "'fast' is no latency"),
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
        (EXPERIMENT.replace("v1alpha1", "v9"), 'apiVersion: Unsupported value: "tradewind.dev/v9"'),
        (EXPERIMENT.replace('"0.01"', "high"), 'spec.evidence.alpha: Invalid value: "high": must be a probability'),
        ("kind: ABExperiment\napiVersion: tradewind.dev/v1alpha1\nspec: 3\n", "spec: not a mapping"),
        (STARTED.replace("24h", "1w"), 'status.maxHold: Invalid value: "1w": must be a whole number and one unit'),
        (STARTED.replace("2026-01-01T00:00:00Z", "soon"), 'status.t0: Invalid value: "soon"'),
        (
            STARTED.replace("retestNumber: 4", "retestNumber: many"),
            "status.evidence.retestNumber: Invalid value: 'many'",
        ),
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


LOST = """\
  evidence:
    lost: {followUp: 900, openedInside: 20, outage: 3, noPrice: 4, refused: 250, late: 0, forced: 0, decisions: 2300}
    lostShare: 0.12
"""


def test_what_is_lost_is_read_from_the_status(tmp_path, capsys) -> None:
    """No table of evidence can tell it: with the status of the operator it is the operator's verdict."""
    for lost, verdict in (("", ("promote", "Better")), (LOST, ("inconclusive", "EvidenceThin"))):
        (tmp_path / "experiment.yaml").write_text(EXPERIMENT.replace("40d", "14d") + f"status:\n  maxHold: 24h\n{lost}")
        arguments = ("--experiment", str(tmp_path / "experiment.yaml"))
        assert of("better", *arguments) == 0
        said = json.loads(capsys.readouterr().out)["operator_verdict"]
        assert (said["verdict"], said["reason"]) == verdict
    assert said["lost"]["by_reason"]["refused"] == 250
    assert said["lost"]["share"] == pytest.approx(277 / 2300)
    assert of("better", *arguments, "-o", "text") == 0
    assert "900 more continue a position; 0 rows were corrected" in capsys.readouterr().out


def test_corrected_rows_are_counted(tmp_path, capsys) -> None:
    with (FIXTURES / "better.csv").open(newline="") as lines:
        rows = [
            {**row, "corrected": "True" if number < 7 else "False"} for number, row in enumerate(csv.DictReader(lines))
        ]
    with (tmp_path / "T.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert of("better", "--trades", str(tmp_path / "T.csv")) == 0
    assert json.loads(capsys.readouterr().out)["operator_verdict"]["corrected"] == 7


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "missing from the header"),
        (b"\xff\xfed\x00", "UTF-16, not UTF-8; save it as CSV UTF-8, or read it with --encoding utf-16"),
        ("decision_id,\u5907\u6ce8\n".encode("gb18030"), "--encoding gb18030"),
        (b"PK\x03\x04rest", "is a zip file, but no workbook"),
        (b"\xd0\xcf\x11\xe0rest", "old xls format"),
        (b"decision_id\0", "NUL"),
    ],
)
def test_a_file_that_is_no_table_is_one_line_and_exit_code_2(content, words, tmp_path, capsys) -> None:
    path = tmp_path / "T.csv"
    path.write_bytes(content)
    assert run("--trades", str(path), "--t0", "2026-01-01T00:00:00Z", "--now", "2026-03-27T00:00:00Z") == 2
    said = capsys.readouterr().err
    assert "T.csv" in said
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_folder_is_no_table(tmp_path, capsys) -> None:
    assert run("--trades", str(tmp_path), "--t0", "2026-01-01T00:00:00Z", "--now", "2026-03-27T00:00:00Z") == 2
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030", "utf-8"])
def test_an_encoding_that_is_told_is_read(encoding, tmp_path, capsys) -> None:
    header, *rows = (FIXTURES / "better.csv").read_text().splitlines()
    text = "\n".join([f"{header},\u5907\u6ce8", *(f"{row},\u6b62\u635f" for row in rows)])
    (tmp_path / "T.csv").write_bytes(text.encode(encoding))
    times = ("--t0", "2026-01-01T00:00:00Z", "--now", "2026-03-27T00:00:00Z")
    assert run("--trades", str(tmp_path / "T.csv"), "--encoding", encoding, *times) == 0
    assert json.loads(capsys.readouterr().out)["decision"] == "promote"


def test_a_workbook_is_read_and_its_dates_are_refused(tmp_path, capsys) -> None:
    from openpyxl import Workbook

    header, *rows = (FIXTURES / "better.csv").read_text().splitlines()
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for line in (header, *rows):
        sheet.append(
            [float(c) if c.replace(".", "", 1).replace("-", "", 1).isdigit() else c or None for c in line.split(",")]
        )
    book.save(tmp_path / "T.xlsx")
    times = ("--t0", "2026-01-01T00:00:00Z", "--now", "2026-03-27T00:00:00Z")
    assert run("--trades", str(tmp_path / "T.xlsx"), *times) == 0
    assert json.loads(capsys.readouterr().out)["decision"] == "promote"
    sheet["D2"] = datetime(2026, 1, 1)
    book.save(tmp_path / "T.xlsx")
    assert run("--trades", str(tmp_path / "T.xlsx"), *times) == 2
    assert "column 4 has a cell of the type date" in capsys.readouterr().err


def test_more_retests_than_anybody_makes_are_refused(capsys) -> None:
    assert of("better", "--now", "2026-03-27T00:00:00Z", "--retest", "5000") == 2
    assert "retest: 5000; give a whole number from 0 to 500" in capsys.readouterr().err
