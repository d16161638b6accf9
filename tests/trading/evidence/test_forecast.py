"""The forecast against the simulation, and what it says of evidence that is there."""

import math

import numpy as np
import pytest

from specs import spec as spec_of
from tradewind.trading.evidence.forecast import Forecast, ForecastFacts, Prospect, forecast
from tradewind.trading.evidence.walk import SoFar
from tradewind.trading.simulation import SCENARIOS, Market, operating_characteristics

FIXED = {"policy": "fixed", "weight": "0.5"}


@pytest.mark.parametrize(
    ("traffic", "agreement", "correlation", "per_day", "effect"),
    [
        ({**FIXED, "shadow": "none"}, 0.0, 0.9, 24, "0.126"),
        ({**FIXED, "shadow": "none"}, 0.0, 0.9, 24, "0.2"),
        ({**FIXED, "shadow": "both"}, 0.6, 0.96, 24, "0.126"),
        ({**FIXED, "shadow": "both"}, 0.6, 0.96, 8, "0.126"),
        ({**FIXED, "shadow": "both"}, 0.0, 0.8, 24, "0.126"),
        ({"shadow": "candidate"}, 0.6, 0.96, 24, "0.126"),
        ({"shadow": "candidate"}, 0.2, 0.8, 24, "0.2"),
        ({"policy": "fixed", "weight": "0.1", "shadow": "both"}, 0.8, 0.9, 24, "0.126"),
        ({"policy": "gated", "shadow": "both"}, 0.6, 0.96, 24, "0.1"),
        ({"policy": "gated", "shadow": "none"}, 0.0, 0.9, 24, "0.2"),
    ],
)
def test_the_forecast_is_what_simulations_find(traffic, agreement, correlation, per_day, effect) -> None:
    """Power within 10 points, median day within a quarter where nearly all have a verdict, mean end within a quarter."""
    spec = spec_of(traffic=traffic, evidence={"minEffect": effect, "minDuration": "7d"})
    said = forecast(spec, ForecastFacts(per_day, 0.0, agreement, correlation))
    scenario = SCENARIOS["iid"].having(agreement, correlation)
    market = Market(decisions_per_day=per_day)
    (found,) = operating_characteristics(spec, [float(effect)], 400, np.random.default_rng(1), market, scenario)
    assert said.chance == pytest.approx(found.promote.value, abs=0.10)
    assert said.expected_days_left == pytest.approx(found.mean_days, rel=0.25)
    if found.promote.value > 0.9:
        assert found.median_day is not None
        assert said.days == pytest.approx(found.median_day, rel=0.25)


def test_equal_arms_are_forecast_where_that_is_asked_for() -> None:
    traffic = {"policy": "fixed", "weight": "0.5", "shadow": "both"}
    spec = spec_of(traffic=traffic, evidence={"objective": "notInferior"})
    said = forecast(spec, ForecastFacts(24, 0.0, 0.8, 0.995))
    (found,) = operating_characteristics(
        spec, [0.0], 300, np.random.default_rng(1), scenario=SCENARIOS["iid"].having(0.8, 0.995)
    )
    assert said.effect == 0.0
    assert said.chance == pytest.approx(found.promote.value, abs=0.10)


def test_the_days_beyond_the_end_are_those_of_a_longer_experiment() -> None:
    facts = ForecastFacts(8, 0.0, 0.5, 0.9)

    def said(days: int) -> Forecast:
        traffic = {**FIXED, "shadow": "none"}
        return forecast(spec_of(traffic=traffic, evidence={"maxDuration": f"{days}d"}), facts)

    short = said(84)
    assert short.underpowered
    assert 84 < short.days < 400
    assert said(round(short.days)).chance == pytest.approx(0.5, abs=0.07)
    assert said(3000).detectable < short.detectable


def test_a_shadow_needs_fewer_days_and_the_spec_says_which_is_its_own() -> None:
    spec = spec_of(traffic={**FIXED, "shadow": "candidate"})
    said = forecast(spec, ForecastFacts(24))
    none, candidate, both = (said.by_shadow[name] for name in ("none", "candidate", "both"))
    assert none.days > candidate.days > both.days
    assert none.chance < candidate.chance < both.chance
    assert candidate.chance == said.chance
    assert candidate.days == said.days


def test_detectable_is_found() -> None:
    said = forecast(spec_of(traffic=FIXED), ForecastFacts(24))
    again = spec_of(traffic=FIXED, evidence={"minEffect": f"{said.detectable:.3f}"})
    assert forecast(again, ForecastFacts(24)).chance == pytest.approx(0.8, abs=0.12)


def test_evidence_so_far_counts() -> None:
    spec = spec_of(traffic=FIXED)
    start = forecast(spec, ForecastFacts(24))
    half = 42
    # 24 decisions a day at 0.5: I = 6 a block.
    good = forecast(spec, ForecastFacts(24, so_far=SoFar(half, 40.0, 6.0 * half, 6.0 * half)))
    bad = forecast(spec, ForecastFacts(24, so_far=SoFar(half, -40.0, 6.0 * half, 6.0 * half)))
    assert good.chance > start.chance > bad.chance
    assert good.expected_days_left < 42
    over = forecast(spec, ForecastFacts(24, so_far=SoFar(84, 0.0, 500.0, 500.0)))
    assert over.chance == 0.0
    assert over.expected_days_left == 0.0
    # The first block tells nothing: as from the start.
    assert forecast(spec, ForecastFacts(24, so_far=SoFar(1, 0.0, 0.0, 0.0))) == start


def test_nothing_ever_comes_of_no_decisions() -> None:
    said = forecast(spec_of(), ForecastFacts(0.0))
    assert said.chance == 0.0
    assert said.days == said.detectable == math.inf
    assert said.expected_days_left == 84


@pytest.mark.parametrize(
    "evidence", [{}, {"boundary": "anytime"}, {"primary": "winRate"}, {"objective": "notInferior"}]
)
@pytest.mark.parametrize(
    "facts",
    [ForecastFacts(1e6), ForecastFacts(0.01), ForecastFacts(24, 1.0, 1.0, 1.0), ForecastFacts(24, 0.0, 0.0, 0.0)],
    ids=["many", "few", "alike", "strange"],
)
def test_it_is_a_chance_whatever_is_known(evidence, facts) -> None:
    for max_duration in ("14d", "84d", "99999d"):
        said = forecast(spec_of(evidence={**evidence, "maxDuration": max_duration}), facts)
        prospects: list[Forecast | Prospect] = [said, *said.by_shadow.values()]
        for prospect in prospects:
            assert 0.0 <= prospect.chance <= 1.0
            assert prospect.days > 0.0
        assert said.expected_days_left >= 0.0


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"decisions_per_day": -1.0}, "decisions_per_day"),
        ({"decisions_per_day": math.nan}, "decisions_per_day"),
        ({"decisions_per_day": 1.0, "holds": 1.5}, "holds"),
        ({"decisions_per_day": 1.0, "correlation": math.nan}, "correlation"),
    ],
)
def test_facts_that_cannot_be_are_refused(facts, message) -> None:
    with pytest.raises(ValueError, match=message):
        ForecastFacts(**facts)
