"""The published tables: their verdicts, at any row order and at any later evaluation."""

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from specs import ANYTIME
from tradewind.trading.evidence import Verdict, evaluate, judge, judgement_json

CASES = [
    "null",
    "better",
    "worse",
    "better_ladder",
    "catastrophe",
    "selective_better",
    "selective_regime",
    "open_trade_holds_watermark",
    "never_closed_candidate",
]
SPEC = ANYTIME


@pytest.mark.parametrize("name", CASES)
def test_the_published_answer(name, published, t0) -> None:
    table, now, expected = published(name)
    answer: Any = judgement_json(judge(table, t0, now, SPEC))
    assert expected.keys() - {"now"} <= answer.keys()
    for key in ("decision", "block", "blocks", "decisions", "fast_harm_at_decision"):
        assert answer[key] == expected[key], key
    for metric, numbers in expected["metrics"].items():
        assert answer["metrics"][metric].keys() == numbers.keys()
        for key, number in numbers.items():
            got = answer["metrics"][metric][key]
            assert got == (None if number is None else pytest.approx(number, abs=1e-4)), (metric, key)


@pytest.mark.parametrize("name", ["better_ladder", "never_closed_candidate", "selective_regime"])
def test_the_order_of_the_rows_does_not_matter(name, published, t0) -> None:
    table, now, _ = published(name)
    shuffled = table.select(np.random.default_rng(7).permutation(len(table)))
    first, second = (judgement_json(judge(rows, t0, now, SPEC)) for rows in (shuffled, table))
    assert first | {"operator_verdict": None} == second | {"operator_verdict": None}


@pytest.mark.parametrize("name", CASES)
def test_looking_at_any_time_finds_the_same_decision_at_the_same_block(name, published, t0) -> None:
    table, now, expected = published(name)
    final = Verdict(expected["decision"])
    for hours in range(0, math.ceil((now - t0) / timedelta(hours=1)) + 24 * 30, 19):
        evidence = evaluate(table, t0, t0 + timedelta(hours=hours), SPEC)
        if expected["block"] is None:
            assert evidence.block is None
            undecided = Verdict.INCONCLUSIVE if evidence.blocks >= SPEC.max_blocks else Verdict.CONTINUE
            assert evidence.decision is undecided
        elif evidence.blocks > expected["block"]:
            assert (evidence.decision, evidence.block) == (final, expected["block"])
        else:
            assert (evidence.decision, evidence.block) == (Verdict.CONTINUE, None)


def test_a_daily_look_never_changes_a_past_look(published, t0) -> None:
    table, now, _ = published("never_closed_candidate")
    whole = evaluate(table, t0, now, SPEC).looks
    for day in (8, 20, 41):
        part = evaluate(table, t0, t0 + timedelta(days=day), SPEC).looks
        count = len(part.better)
        np.testing.assert_allclose(part.better, whole.better[:count], rtol=0, atol=1e-12)
        np.testing.assert_allclose(part.worse, whole.worse[:count], rtol=0, atol=1e-12)
        assert (part.held == whole.held[:count]).all()
