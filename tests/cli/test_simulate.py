"""`tradewind simulate`: a table or JSON from a spec, the same for the same seed."""

import argparse
import json

import pytest

from tradewind.cli import simulate

EXPERIMENT = """\
apiVersion: tradewind.dev/v1alpha1
kind: ABExperiment
metadata: {name: short}
spec:
  evidence: {minDuration: 7d, maxDuration: 20d}
  traffic: {policy: fixed, weight: "0.5"}
"""


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    simulate.add_parser(parser.add_subparsers())
    args = parser.parse_args(["simulate", *arguments])
    return args.run(args)


@pytest.fixture
def experiment(tmp_path) -> str:
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT)
    return str(path)


def test_json_is_the_same_for_the_same_seed(experiment, capsys) -> None:
    answers = []
    for seed in ("1", "1", "2"):
        assert run("--experiment", experiment, "--runs", "40", "--seed", seed, "-o", "json") == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    assert answers[0]["effects"] != answers[2]["effects"]
    none, better, worse, much = answers[0]["effects"]
    assert [each["effect"] for each in answers[0]["effects"]] == [0.0, 0.2, -0.2, 0.3]
    assert none["promote"]["value"] <= 0.1
    assert much["promote"]["value"] > better["promote"]["value"] > worse["promote"]["value"]


def test_the_table_states_spec_and_errors(experiment, capsys) -> None:
    assert run("--experiment", experiment, "--runs", "20", "--decisions-per-day", "12") == 0
    out = capsys.readouterr().out
    for text in (
        "20 simulated",
        "20d, 12 decisions a day",
        "policy fixed",
        "no difference",
        "+0.2",
        "-0.2",
        "+0.3",
        "+-",
    ):
        assert text in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--runs", "0"), "runs: 0"),
        (("--seed", "-1"), "--seed: -1"),
        (("--hold", "30h"), "longer than maxHold"),
        (("--decisions-per-day", "0"), "decisions_per_day: 0"),
        (("--experiment", "/nowhere.yaml"), "/nowhere.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("tradewind simulate: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
