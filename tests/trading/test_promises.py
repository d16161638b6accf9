"""What docs/statistics.md promises, by simulation at full size: 2,000 experiments of 84 days, 24 decisions a day.

Run by `make test SOAK=1`, which prints the numbers.
"""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from specs import spec as spec_of
from tradewind.trading.evidence import EvidenceSpec
from tradewind.trading.simulation import SCENARIOS, Characteristics, Market, Prices, Scenario, operating_characteristics

pytestmark = pytest.mark.slow

RUNS = 2000
MARKET = Market(hold=timedelta(hours=8))


def spec(shadow: str, weight: str | None, **evidence: Any) -> EvidenceSpec:
    traffic = {"shadow": shadow} | ({"policy": "gated"} if weight is None else {"policy": "fixed", "weight": weight})
    return spec_of(traffic=traffic, evidence=evidence)


BOTH, CANDIDATE, GATED = spec("both", "0.5"), spec("candidate", "0.25"), spec("both", None)
NONE = spec("none", "0.5")
MARKET_MOVE = spec("none", "0.5", marketAdjustment=True)
WAYS = {"both": BOTH, "candidate": CANDIDATE, "gated": GATED, "market": MARKET_MOVE, "none": NONE}
GOOD = SCENARIOS["iid"]
FREE, ANSWERS = Prices(), Prices(200.0, 0.002, (0.01, 0.0))


def simulated(of: EvidenceSpec, effect: float, scenario: Scenario, prices: Prices = FREE) -> Characteristics:
    (found,) = operating_characteristics(of, [effect], RUNS, np.random.default_rng(20261126), MARKET, scenario, prices)
    for name, each in (("", found), (", without pairs", found.unpaired)):
        if each is not None:
            print(
                f"{scenario.name}, {effect:+g}{name}: promoted {each.promote.value:.2%}, rolled back {each.rollback.value:.2%}, "
                f"guardrail {each.guardrail.value:.2%}, futile {each.futile.value:.2%}, median day {each.median_day}, "
                f"ends on day {each.mean_days:.1f}"
            )
    return found


@pytest.mark.parametrize("scenario", list(SCENARIOS))
@pytest.mark.parametrize("way", list(WAYS))
def test_equal_arms_are_promoted_at_most_so_often(way: str, scenario: str) -> None:
    found = simulated(WAYS[way], 0.0, SCENARIOS[scenario])
    assert found.promote.value <= 0.05
    assert found.rollback.value <= 0.10


@pytest.mark.parametrize(
    ("way", "scenario"), [("both", "iid"), ("both", "shared"), ("candidate", "iid")], ids=lambda name: str(name)
)
def test_a_better_candidate_is_found_within_a_month(way: str, scenario: str) -> None:
    found = simulated(WAYS[way], 0.126, SCENARIOS[scenario])
    assert found.promote.value >= 0.95
    assert found.median_day is not None
    assert found.median_day <= 30


@pytest.mark.parametrize(
    ("shadow", "weight", "paper"),
    [("both", "0.5", 0.96), ("candidate", "0.25", 0.96), ("both", "0.1", 0.995), ("candidate", "0.1", 0.995)],
)
@pytest.mark.parametrize("cheaper", [True, False], ids=["cheaper", "as dear"])
def test_equal_arms_are_shown_not_to_be_worse(shadow: str, weight: str, paper: float, cheaper: bool) -> None:
    """The baseline's answer costs 0.01 USD, at trades of 200 USD and 20 basis points: 0.025 in Sharpe. As dear: printed."""
    of = spec(shadow, weight, objective="notInferior", netOfCost=cheaper)
    found = simulated(of, 0.0, GOOD.having(None, paper), ANSWERS if cheaper else FREE)
    assert found.promote.value >= (0.78 if cheaper else 0.4)


@pytest.mark.parametrize("effect", [0.126, 0.2])
@pytest.mark.parametrize("weight", ["0.5", "0.25", "0.1"])
@pytest.mark.parametrize("shadow", ["both", "candidate"])
def test_useless_paper_costs_next_to_nothing(shadow: str, weight: str, effect: float) -> None:
    found = simulated(spec(shadow, weight), effect, SCENARIOS["weak-paper"])
    assert found.unpaired is not None
    assert found.promote.value >= found.unpaired.promote.value - 0.01


@pytest.mark.parametrize("way", ["both", "candidate", "none"])
def test_an_experiment_that_cannot_succeed_ends_early(way: str) -> None:
    found = simulated(WAYS[way], 0.0, GOOD)
    assert found.futile.value > 0.8
    assert found.mean_days <= 40
