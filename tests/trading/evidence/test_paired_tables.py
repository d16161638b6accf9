"""The published tables with pairs: every number to 1e-4, at any row order and at any later evaluation."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tradewind.cli.experiment_file import read_experiment
from tradewind.schema.durations import parse_duration
from tradewind.trading.evidence import EvidenceSpec, TradeTable, Verdict, evaluate, judge, judgement_json

FIXTURES = Path(__file__).parents[2] / "fixtures" / "paired"
CASES: dict[str, dict[str, Any]] = json.loads((FIXTURES / "expected.json").read_text())["cases"]


def _load(name: str) -> tuple[TradeTable, datetime, EvidenceSpec]:
    case = CASES[name]
    with (FIXTURES / f"{name}.csv").open(newline="") as lines:
        table = TradeTable.from_csv(lines)
    spec = read_experiment(
        FIXTURES / f"{name}.yaml",
        max_hold=parse_duration(case["max_hold"], "max_hold"),
        reference_notional=case["reference_notional_usd"],
    ).spec
    return table, datetime.fromisoformat(case["now"]), spec


@pytest.mark.parametrize("name", CASES)
def test_the_published_answer(name: str, t0: datetime) -> None:
    table, now, spec = _load(name)
    answer: Any = judgement_json(judge(table, t0, now, spec))
    expected = {key: value for key, value in CASES[name].items() if key in answer}
    assert expected.keys() == CASES[name].keys() - {"now", "max_hold", "reference_notional_usd"}
    for key in ("threshold", "metrics"):
        _agree(answer[key], expected.pop(key), key)
    assert {key: answer[key] for key in expected} == expected


def _agree(got: Any, expected: Any, place: str) -> None:
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), place
        for key, value in expected.items():
            _agree(got[key], value, f"{place}.{key}")
    else:
        assert got == (None if expected is None else pytest.approx(expected, abs=1e-4)), place


@pytest.mark.parametrize("name", CASES)
def test_at_any_time_the_same_decision_at_the_same_block(name: str, t0: datetime) -> None:
    table, now, spec = _load(name)
    rng = np.random.default_rng(3)
    whole = evaluate(table, t0, now, spec)
    for hours in sorted(rng.uniform(0.0, (now - t0) / timedelta(hours=1) + 240.0, 25)):
        evidence = evaluate(table.select(rng.permutation(len(table))), t0, t0 + timedelta(hours=hours), spec)
        count = min(len(evidence.looks.better), len(whole.looks.better))
        np.testing.assert_allclose(evidence.looks.better[:count], whole.looks.better[:count], rtol=0, atol=1e-9)
        if whole.block is not None and evidence.blocks > whole.block:
            assert (evidence.decision, evidence.block) == (whole.decision, whole.block)
        else:
            assert evidence.block is None
            assert evidence.decision in (Verdict.CONTINUE, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("name", ["both_better", "candidate_equal", "market_better", "three_symbols"])
def test_a_look_while_pairs_are_still_to_come_is_the_look_that_follows_them(name: str, t0: datetime) -> None:
    """At each instant only what was known then is in the table; what was found is found ever after."""
    table, now, spec = _load(name)
    whole = evaluate(table, t0, now, spec)
    for hours in np.random.default_rng(5).uniform(24.0, (now - t0) / timedelta(hours=1), 25):
        at = t0 + timedelta(hours=float(hours))
        at_us = at.timestamp() * 1e6
        known = table.select(table.decided_us <= at_us)
        for values, since in (("paper_baseline", "paper_us"), ("paper_candidate", "paper_us"), ("market", "market_us")):
            getattr(known, values)[getattr(known, since) > at_us] = np.nan
        looks = evaluate(known, t0, at, spec).looks
        np.testing.assert_allclose(looks.better, whole.looks.better[: len(looks.better)], rtol=0, atol=1e-9)
