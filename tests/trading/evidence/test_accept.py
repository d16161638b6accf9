"""An accepted change of an arm: evidence from then on apart, at half the level, on the blocks that t0 began."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from specs import spec
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import (
    Accepted,
    RequestRow,
    Requests,
    Verdict,
    VerdictReason,
    candidate_weight_for_block,
    evaluate,
    judge,
)
from tradewind.trading.evidence.guardrails.fast_harm import FAST_HARM

DAY = timedelta(days=1)


def accepted(t0, *blocks: int, **parts):
    """A spec with an accept in the middle of the block before each of these."""
    return replace(spec(**parts), accepts=tuple(Accepted(t0 + (b - 0.5) * DAY, b) for b in blocks))


@pytest.mark.parametrize("block", [1, 9, 30])
def test_it_is_what_an_experiment_that_began_with_that_block_would_say(block, published, t0) -> None:
    """At the level of the second test, and until the end of the first one's maxDuration."""
    table, _, _ = published("better")
    now = t0 + 80 * DAY
    anew = evaluate(table, t0, now, accepted(t0, block))
    later = spec(evidence={"alpha": "0.025", "maxDuration": f"{84 - block}d"})
    fresh = evaluate(table, t0 + block * DAY, now, later)
    assert anew.metrics == fresh.metrics
    assert anew.watermark == fresh.watermark
    assert (anew.decision, anew.block) == (fresh.decision, None if fresh.block is None else fresh.block + block)
    assert anew.before_start == fresh.before_start > 0
    assert anew.threshold_promote == fresh.threshold_promote


def test_what_was_measured_before_is_no_evidence(published, t0) -> None:
    table, now, _ = published("better")
    before = table.decided_us < int((t0 + 20 * DAY).timestamp() * 1e6)
    other = replace(table, pnl=np.where(before, -table.pnl, table.pnl))
    anew = accepted(t0, 20)
    assert evaluate(table, t0, now, anew).metrics == evaluate(other, t0, now, anew).metrics
    assert evaluate(table, t0, now, spec()).metrics != evaluate(other, t0, now, spec()).metrics


def test_a_promotion_that_waited_is_gone_and_must_be_shown_again(published, t0) -> None:
    table, _, _ = published("better")
    now = t0 + 30 * DAY
    assert evaluate(table, t0, now, spec()).decision is Verdict.PROMOTE
    judgement = judge(table, t0, now, accepted(t0, 28))
    assert (judgement.evidence.decision, judgement.evidence.blocks) == (Verdict.CONTINUE, 1)  # a trade is open
    assert judgement.verdict.reason == VerdictReason.NOT_ENOUGH_DATA
    assert judgement.verdict.message.startswith("1 of at least 7 blocks")


def test_between_the_accept_and_its_block_there_is_no_evidence(published, t0) -> None:
    table, _, _ = published("better")
    judgement = judge(table, t0, t0 + 27.6 * DAY, accepted(t0, 28))
    assert judgement.evidence.blocks == judgement.evidence.baseline.decisions == 0
    assert judgement.verdict.reason == VerdictReason.NOT_ENOUGH_DATA


def test_a_look_of_the_past_knows_nothing_of_a_later_accept(published, t0) -> None:
    table, _, _ = published("better")
    now = t0 + 27.4 * DAY
    known = judge(table, t0, now, accepted(t0, 28))
    assert known.verdict == judge(table, t0, now, spec()).verdict
    assert known.evidence.metrics == judge(table, t0, now, spec()).evidence.metrics


def test_each_accept_and_each_retest_halves_alpha(t0) -> None:
    assert accepted(t0).alpha == 0.05
    assert accepted(t0, 3).alpha == 0.025
    assert replace(accepted(t0, 3, 9), retest=1).alpha == 0.00625


def test_min_duration_counts_from_the_new_start_and_max_duration_from_t0(published, t0) -> None:
    table, _, _ = published("better")
    anew = accepted(t0, 10, evidence={"minDuration": "70d"})
    early = judge(table, t0, t0 + 79 * DAY, anew)
    assert (early.evidence.decision, early.verdict.reason) == (Verdict.PROMOTE, VerdictReason.MIN_DURATION)
    assert "69.0 days of at least 70d" in early.verdict.message
    assert judge(table, t0, t0 + 80 * DAY, anew).verdict.verdict is Verdict.PROMOTE
    table, now, _ = published("null")
    over = judge(table, t0, now, accepted(t0, 10, evidence={"futility": False}))
    assert (over.verdict.verdict, over.verdict.reason) == (Verdict.INCONCLUSIVE, VerdictReason.MAX_DURATION)
    assert over.evidence.blocks == 84 - 10


def test_guardrails_go_on_from_t0(published, t0) -> None:
    table, now, _ = published("catastrophe")
    tripped = judge(table, t0, now, spec()).tripped
    assert tripped is not None
    again = judge(table, t0, now, accepted(t0, 60)).tripped
    assert again is not None
    assert (again.guardrail, again.first_row) == (FAST_HARM, tripped.first_row)


def test_exposures_are_those_of_the_evidence(published, t0) -> None:
    """Sizes of what was there before make the arms that are compared now neither alike nor different."""
    table, _, _ = published("better")
    before = table.decided_us < int((t0 + 10 * DAY).timestamp() * 1e6)
    size = np.where(before & table.candidate, 50.0, 1.0)
    table = replace(table, notional=table.notional * size, pnl=table.pnl * size)
    held = judge(table, t0, t0 + 80 * DAY, spec(evidence={"minDuration": "1d"}))
    assert held.verdict.reason == "ExposureNotComparable"
    assert judge(table, t0, t0 + 80 * DAY, accepted(t0, 10)).verdict.reason == VerdictReason.BETTER


def test_weights_start_low_again_and_those_of_the_past_stay(published, t0) -> None:
    table, _, _ = published("better_ladder")
    plain, anew = spec(traffic={"policy": "gated"}), accepted(t0, 30, traffic={"policy": "gated"})
    past = [candidate_weight_for_block(table, t0, block, plain) for block in range(30)]
    assert [candidate_weight_for_block(table, t0, block, anew) for block in range(30)] == past
    assert past[-1].weight > 0.1
    assert candidate_weight_for_block(table, t0, 30, anew).weight == 0.1
    schedule = {
        "policy": "schedule",
        "steps": [{"weight": "0.1", "duration": "20d"}, {"weight": "0.4", "duration": "60d"}],
    }
    for block in (10, 25, 30, 40):
        chosen = [
            candidate_weight_for_block(table, t0, block, s)
            for s in (spec(traffic=schedule), accepted(t0, 30, traffic=schedule))
        ]
        assert chosen[0] == chosen[1]


def test_names_that_were_said_from_then_on_are_the_known_ones(t0) -> None:
    said = [(0.5, "m/a"), (20, "m/b"), (27, "m/b"), (28.1, "m/b"), (28.2, "m/c"), (30, "m/b"), (35, "m/a")]
    rows = [
        RequestRow(f"d{n}", Arm.BASELINE, t0 + day * DAY, reported_model=name) for n, (day, name) in enumerate(said)
    ]
    requests = Requests.from_rows(rows)
    anew = accepted(t0, 28)

    def changes(day: float, of=anew):
        begun, until = of.naming(t0, t0 + day * DAY)
        return [(c.known, c.now) for c in requests.log(t0 + day * DAY, math.inf, until, begun).changes]

    assert changes(27) == [(("m/a",), "m/b")] == changes(27, spec())
    assert changes(27.9) == []
    assert changes(34) == []
    assert changes(36) == [(("m/b", "m/c"), "m/a")]
