"""Operating characteristics of a spec in a market.

Belongs here: chunks of runs, and what cannot be simulated. Does not belong here: any part of one experiment.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np

from tradewind.trading.evidence.spec import EvidenceSpec
from tradewind.trading.simulation.bars import Bars
from tradewind.trading.simulation.characteristics import Characteristics, Endings, endings
from tradewind.trading.simulation.draws import draw_rows
from tradewind.trading.simulation.scenarios import SCENARIOS, Market, Prices, Scenario

_CHUNK = 400_000  # rows at once: about 300 MiB at the most
_MOST_ROWS = 4_000_000  # of one experiment
_DAY = timedelta(days=1)


def operating_characteristics(
    spec: EvidenceSpec,
    effects: Sequence[float],
    runs: int,
    rng: np.random.Generator,
    market: Market | None = None,
    scenario: Scenario | Bars = SCENARIOS["iid"],
    prices: Prices | None = None,
) -> tuple[Characteristics, ...]:
    """Operating characteristics of the spec at each effect.

    Args:
        spec: what is simulated, its traffic policy, shadow and guardrails (fast harm, risk budget) included.
        effects: true per-decision Sharpe differences, before the price of answers.
        runs: experiments for each effect, >= 1.
        rng: source of randomness; a given state gives a given answer.
        market: how decisions come; None: 24 a day, held 4 hours.
        scenario: the market, and how arms, papers and shadows behave in it.
        prices: what answers and trades cost; None: answers are free.

    Raises:
        ValueError: there are no runs, an effect is no number, an experiment is too large, or positions are held longer than the
            spec's max_hold.
    """
    if not 1 <= runs <= 1_000_000:
        raise ValueError(f"runs: {runs}; give a whole number from 1 to 1000000")
    if not effects:
        raise ValueError("effects: none; give at least one")
    for effect in effects:
        if not (math.isfinite(effect) and abs(effect) <= 10.0):
            raise ValueError(f"effects: {effect}; give numbers from -10 to 10, such as 0.1")
    market, prices = market or Market(), prices or Prices()
    max_hold = spec.settlement.max_hold
    if isinstance(scenario, Scenario) and scenario.longest:
        market = replace(market, hold=max_hold)
    if market.hold > max_hold:
        raise ValueError(f"hold: {market.hold} is longer than maxHold {max_hold}; every row would be forced")
    rows = spec.max_blocks * spec.block_length.days * market.decisions_per_day
    if rows > _MOST_ROWS:
        raise ValueError(f"decisions: {rows} in an experiment, of at most {_MOST_ROWS}; give fewer decisions a day")
    return tuple(_simulate(spec, effect, (runs, rows), rng, market, scenario, prices) for effect in effects)


def _simulate(
    spec: EvidenceSpec,
    effect: float,
    shape: tuple[int, int],
    rng: np.random.Generator,
    market: Market,
    scenario: Scenario | Bars,
    prices: Prices,
) -> Characteristics:
    found, unpaired = [], []
    runs, rows = shape
    most = max(_CHUNK // rows, 1)
    for start in range(0, runs, most):
        chances = scenario.draw(effect, market, (min(most, runs - start), rows), rng)
        drawn = draw_rows(spec, chances, market, rng, prices.answer_cost)
        with_pairs, without = endings(drawn, market, prices)
        found.append(with_pairs)
        unpaired += [] if without is None else [without]
    alone = Endings.joined(unpaired).summary(effect) if unpaired else None
    return Endings.joined(found).summary(effect, alone)
