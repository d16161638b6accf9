"""`tradewind simulate`: a table or JSON from a spec, the same for the same seed."""

import argparse
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tradewind.cli import simulate
from tradewind.trading.simulation import SCENARIOS

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


def bars_text(count: int) -> list[str]:
    close = 100.0 * np.exp(np.cumsum(0.01 * np.random.default_rng(2).standard_normal(count)))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [f"{(start + timedelta(hours=i)).isoformat()},{c},{c},{c},{c}" for i, c in enumerate(close)]
    return ["time,open,high,low,close", *rows]


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
    none, little, better, much, worse = answers[0]["effects"]
    assert [each["effect"] for each in answers[0]["effects"]] == [0.0, 0.063, 0.126, 0.2, -0.126]
    assert none["promote"]["value"] <= 0.1
    assert much["promote"]["value"] > better["promote"]["value"] > worse["promote"]["value"]
    assert set(little) >= {"effect", "runs", "promote", "rollback", "median_block", "median_block_error", "mean_days"}
    assert little["unpaired"] is None


def test_the_table_states_spec_and_errors(experiment, capsys) -> None:
    assert run("--experiment", experiment, "--runs", "20", "--decisions-per-day", "12") == 0
    out = capsys.readouterr().out
    for text in (
        "20 simulated",
        "20d, 12 decisions a day",
        "policy fixed",
        "shadow none",
        "no difference (both false)",
        "+0.2",
        "-0.126",
        "+-",
    ):
        assert text in out
    assert "without pairs" not in out


def test_a_shadow_is_shown_beside_what_it_is_worth(experiment, capsys) -> None:
    arguments = ("--experiment", experiment, "--runs", "40", "--effects", "0.3", "--shadow", "candidate")
    assert run(*arguments) == 0
    out = capsys.readouterr().out
    assert "shadow candidate" in out
    assert "without pairs" in out
    assert run(*arguments, "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["score"] == "candidate"
    (effect,) = told["effects"]
    assert effect["promote"]["value"] > effect["unpaired"]["promote"]["value"]


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_every_scenario_runs(experiment, scenario, capsys) -> None:
    arguments = ("--runs", "4", "--effects", "0", "--scenario", scenario, "--shadow", "both")
    assert run("--experiment", experiment, *arguments) == 0
    assert f"scenario {scenario}" in capsys.readouterr().out


def test_net_of_cost_counts_prices(tmp_path, capsys) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(EXPERIMENT.replace("evidence: {", "evidence: {netOfCost: true, ").replace("20d", "42d"))
    priced = ("--reference-notional-usd", "100", "--baseline-answer-usd", "0.08")
    assert run("--experiment", str(path), "--runs", "20", "--effects", "0", *priced, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["effects"][0]["promote"]["value"] > 0.5


def test_a_budget_in_usd_needs_the_size_of_a_trade(tmp_path, capsys) -> None:
    path = tmp_path / "budget.yaml"
    path.write_text(EXPERIMENT + "  guardrails: {riskBudgetUSD: '5'}\n")
    arguments = ("--experiment", str(path), "--runs", "10", "--effects", "-0.2")
    assert run(*arguments) == 0
    assert "riskBudgetUSD is left aside" in capsys.readouterr().out
    assert run(*arguments, "--reference-notional-usd", "1000", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["effects"][0]["guardrail"]["value"] > 0.5


def test_bars_of_a_file_are_a_market(tmp_path, experiment, capsys) -> None:
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(bars_text(600)))
    assert run("--experiment", experiment, "--bars", str(path), "--runs", "20", "--shadow", "both") == 0
    assert "scenario bars" in capsys.readouterr().out
    path.write_text("\n".join(bars_text(600)[:400]))
    assert run("--experiment", experiment, "--bars", str(path), "--runs", "20") == 2
    assert "399 bars" in capsys.readouterr().err
    lines = bars_text(3)
    path.write_text("\n".join([lines[0], lines[2], lines[1]]))
    assert run("--experiment", experiment, "--bars", str(path)) == 2
    assert f"{path}: row 2, column time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--runs", "0"), "runs: 0"),
        (("--seed", "-1"), "--seed: -1"),
        (("--effects", "nan"), "effects: nan"),
        (("--effects", "0", "99"), "effects: 99"),
        (("--hold", "30h"), "longer than maxHold"),
        (("--hold", "soon"), "--hold: 'soon'"),
        (("--decisions-per-day", "0"), "decisions_per_day: 0"),
        (("--symbols", "0"), "symbols: 0"),
        (("--scenario", "calm"), "--scenario: 'calm' is unknown; use one of iid, shared"),
        (("--agreement", "1"), "agreement: 1"),
        (("--scenario", "opposite", "--agreement", "0.5"), "never agree"),
        (("--paper-correlation", "2"), "paper correlation: 2"),
        (("--volatility-bp", "0"), "volatility: 0"),
        (("--reference-notional-usd", "0"), "reference notional: 0"),
        (("--baseline-answer-usd", "0.01"), "--reference-notional-usd"),
        (("--baseline-answer-usd", "-1", "--reference-notional-usd", "9"), "answer costs"),
        (("--bars", "/nowhere.csv"), "/nowhere.csv"),
        (("--bars", "/nowhere.csv", "--scenario", "iid"), "--scenario: goes with simulated markets"),
        (("--experiment", "/nowhere.yaml"), "/nowhere.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("tradewind simulate: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out
