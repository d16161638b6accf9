"""Operating characteristics of the spec, against the published ones (tolerance: 2 points, 3 blocks), and the
simulation's rows, weights and endings against the code that runs in production.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from specs import anytime
from specs import spec as spec_of
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import (
    Basis,
    Pairing,
    Status,
    TradeRow,
    TradeTable,
    Verdict,
    candidate_weight_for_block,
    judge,
)
from tradewind.trading.evidence.table import Failure
from tradewind.trading.simulation import SCENARIOS, Market, Prices, Share, operating_characteristics, read_bars
from tradewind.trading.simulation.characteristics import Ending, endings
from tradewind.trading.simulation.draws import Rows, draw_rows

DAY = timedelta(days=1)
T0 = datetime(2026, 1, 1, tzinfo=UTC)
HALF = anytime(traffic={"policy": "fixed", "weight": "0.5"})
LADDER = anytime(
    traffic={
        "policy": "schedule",
        "steps": [
            {"duration": f"{days}d", "weight": weight}
            for days, weight in ((7, "0.05"), (7, "0.10"), (14, "0.25"), (56, "0.50"))
        ],
    }
)
PLAIN = SCENARIOS["iid"].having(0.0, None)


@pytest.mark.parametrize(
    ("spec", "effect", "promote", "rollback", "block"),
    [
        (HALF, 0.0, 0.010, 0.035, None),
        (HALF, 0.2, 0.985, 0.0, 35),
        (HALF, -0.2, 0.0, 0.975, None),
        (LADDER, 0.0, 0.015, 0.05, None),
        (LADDER, 0.3, 1.0, 0.0, 32),
    ],
)
def test_published_operating_characteristics(spec, effect, promote, rollback, block) -> None:
    result = operating_characteristics(spec, [effect], 1000, np.random.default_rng(1), scenario=PLAIN)[0]
    assert result.unpaired is None
    stopped = Share(result.rollback.value + result.guardrail.value, result.rollback.standard_error)
    for share, published in ((result.promote, promote), (stopped, rollback)):
        # 2 points as published, and two standard errors of the difference: the published shares are of 200 runs.
        error = (published * (1 - published) / 200 + share.standard_error**2) ** 0.5
        assert share.value == pytest.approx(published, abs=0.02 + 2 * error)
    if block is not None:
        assert result.median_block == pytest.approx(block, abs=3)


def test_the_default_policy_promotes_equal_arms_seldom() -> None:
    spec = spec_of(traffic={"shadow": "both"})
    result = operating_characteristics(spec, [0.0], 60, np.random.default_rng(3))[0]
    assert result.promote.value <= 0.05


@pytest.mark.parametrize(
    ("kind", "shadow", "scenario"),
    [
        ("gated", "none", "iid"),
        ("gated", "both", "iid"),
        ("gated", "both", "slow-shadows"),
        ("gated", "candidate", "missing-pairs"),
        ("thompsonCapped", "none", "iid"),
        ("thompsonCapped", "candidate", "selective"),
    ],
)
@pytest.mark.parametrize("market", [Market(), Market(decisions_per_day=6, hold=timedelta(hours=1))])
def test_weights_are_those_of_production(kind, shadow, scenario, market) -> None:
    """A simulated run as a trade table: the same weight for each block."""
    spec = spec_of(traffic={"policy": kind, "shadow": shadow}, evidence={"maxDuration": "30d"})
    rng = np.random.default_rng(4)
    chances = SCENARIOS[scenario].draw(-0.1, market, (4, 30 * market.decisions_per_day), rng)
    rows = draw_rows(spec, chances, market, rng)
    for run in range(4):
        table = as_table(rows, run, market)
        for block in range(30):
            decision = candidate_weight_for_block(table, T0, block, spec)
            assert decision.weight == pytest.approx(rows.weight[run, block * market.decisions_per_day], abs=1e-12), (
                block
            )
    assert len(np.unique(rows.weight)) > 1


@pytest.mark.parametrize("scenario", list(SCENARIOS))
@pytest.mark.parametrize("shadow", ["none", "candidate", "both", "market"])
def test_endings_are_those_of_single_judgements(scenario, shadow) -> None:
    """Every scenario as trade tables, judged as in production: the same verdict at the same block."""
    evidence = {"maxDuration": "42d", "minDuration": "20d", "marketAdjustment": shadow == "market", "netOfCost": True}
    spec = spec_of(
        traffic={"policy": "fixed", "weight": "0.4", "shadow": "none" if shadow == "market" else shadow},
        evidence={**evidence, "scaleBySymbol": True} if shadow != "both" else {**evidence, "netOfCost": False},
        basis=Basis(shadow="none" if shadow == "market" else shadow, reference_notional=100.0),
    )
    rng, market = np.random.default_rng(8), Market(symbols=2)
    prices = Prices(reference_notional_usd=100.0, volatility=1.0, answer_usd=(2.0, 1.0))
    found = SCENARIOS[scenario]
    market = replace(market, hold=DAY) if found.longest else market
    chances = found.draw(0.3, market, (6, 42 * 24), rng)
    rows = draw_rows(spec, chances, market, rng, prices.answer_cost)
    ends, alone = endings(rows, market, prices)
    assert (alone is None) == (shadow == "none")
    for run in range(6):
        judged = judge(as_table(rows, run, market), T0, T0 + 44 * DAY, spec)
        how = Ending(ends.how[run])
        block = judged.evidence.block
        if block is not None:
            assert ends.block[run] == block
        trips = [result.reason for result in judged.guardrails if result.tripped and not result.guardrail.holds]
        if how is Ending.GUARDRAIL:
            # The default budget needs trades before t0, which a table of this test has none of.
            assert trips or spec.rules.guardrails.risk_budget_usd is None
            continue
        expected = {
            Verdict.PROMOTE: Ending.PROMOTED,
            Verdict.ROLLBACK: Ending.ROLLED_BACK,
            Verdict.INCONCLUSIVE: Ending.FUTILE if judged.evidence.futile else Ending.INCONCLUSIVE,
        }[judged.evidence.decision]
        assert how is expected
        if how is Ending.PROMOTED:
            assert block is not None
            assert ends.day[run] == max(block + 1, 20)


def as_table(rows: Rows, run: int, market: Market) -> TradeTable:
    chances, paper_known = rows.chances, rows.paired[run]
    built = []
    for i in range(rows.candidate.shape[1]):
        at = T0 + i * DAY / market.decisions_per_day
        drawn = bool(rows.candidate[run, i])
        acts, ret = chances.acts[drawn][run, i], float(chances.ret[drawn][run, i])
        known = bool(paper_known[i]) and rows.spec.pairing in (Pairing.BOTH, Pairing.CANDIDATE)
        row = TradeRow(
            f"d{i:05d}",
            Arm.CANDIDATE if drawn else Arm.BASELINE,
            float(rows.weight[run, i]),
            at,
            Status.CLOSED if acts else Status.HOLD,
            at + market.hold if acts else None,
            100.0 if acts else None,
            100.0 * ret if acts else None,
            symbol=str(chances.symbol[i]),
            answer_cost_usd=1.0 if drawn else 2.0,
            paper_baseline=float(chances.papers[0][run, i]) if known else None,
            paper_candidate=float(chances.papers[1][run, i]) if known else None,
            paper_at=at + market.hold if known else None,
            market_return=float(chances.market[run, i]) if chances.priced[run, i] else None,
            market_at=at + market.hold if chances.priced[run, i] else None,
            shadow_failed=Failure.TIMEOUT if rows.late[run, i] else Failure.NONE,
        )
        built.append(row)
    return TradeTable.from_rows(built)


def test_late_shadows_are_noticed_and_pairs_are_left_aside() -> None:
    spec = spec_of(traffic={"policy": "fixed", "weight": "0.5", "shadow": "candidate"})
    rng, market = np.random.default_rng(5), Market()
    chances = SCENARIOS["slow-shadows"].draw(0.0, market, (20, 84 * 24), rng)
    assert (draw_rows(spec, chances, market, rng).sums().set_aside.dependent < 28).all()
    chances = SCENARIOS["clusters"].draw(0.0, market, (20, 84 * 24), rng)
    set_aside = draw_rows(spec, chances, market, rng).sums().set_aside
    assert (set_aside.since == 84).all()


@pytest.mark.parametrize(("shadow", "weight", "most"), [("both", "0.5", 0.02), ("candidate", "0.25", 0.1)])
def test_papers_that_say_nothing_are_noticed_before_the_first_look_that_may_decide(shadow, weight, most) -> None:
    spec = spec_of(traffic={"policy": "fixed", "weight": weight, "shadow": shadow})
    rng, market = np.random.default_rng(6), Market()
    share = {}
    for correlation in (0.0, 0.5, 0.96):
        scenario = SCENARIOS["shared"].having(None, correlation)
        found = draw_rows(spec, scenario.draw(0.0, market, (200, 84 * 24), rng), market, rng).sums().set_aside
        assert set(found.uninformative.tolist()) <= {6, 84}
        share[correlation] = (found.uninformative == 6).mean()
    assert share[0.0] > 0.85
    assert share[0.5] <= most
    assert share[0.96] == 0.0


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_chances_have_the_effect_that_is_asked_for(name) -> None:
    sharpe = []
    for effect in (0.0, 0.1):
        chances = SCENARIOS[name].draw(effect, Market(), (60, 84 * 24), np.random.default_rng(6))
        sharpe += [float(ret.mean() / ret.std()) for ret in chances.ret]
    assert sharpe[:2] == pytest.approx([0.0, 0.0], abs=0.03)
    assert sharpe[2] == pytest.approx(sharpe[0])
    assert sharpe[3] - sharpe[1] == pytest.approx(0.1, abs=0.006)


def test_pairs_find_what_outcomes_alone_do_not() -> None:
    spec = spec_of(traffic={"policy": "fixed", "weight": "0.5", "shadow": "both"}, evidence={"minDuration": "30d"})
    result = operating_characteristics(spec, [0.126], 100, np.random.default_rng(1))[0]
    assert result.unpaired is not None
    assert result.promote.value > result.unpaired.promote.value + 0.2
    assert result.median_day == 30  # minDuration


def test_guardrails_end_what_does_harm() -> None:
    spec = spec_of(traffic={"policy": "fixed", "weight": "0.5"}, guardrails={"riskBudgetUSD": "20"})
    prices = Prices(reference_notional_usd=1000.0, volatility=0.002)
    free = operating_characteristics(spec, [-0.3], 50, np.random.default_rng(1))[0]
    held = operating_characteristics(spec, [-0.3], 50, np.random.default_rng(1), prices=prices)[0]
    assert held.guardrail.value > 0.8 > free.guardrail.value
    assert held.mean_days < free.mean_days


def test_the_price_of_answers_counts_where_the_spec_says_so() -> None:
    dear = Prices(reference_notional_usd=100.0, volatility=0.002, answer_usd=(0.08, 0.0))  # 0.4 standard deviations
    spec = spec_of(
        traffic={"policy": "fixed", "weight": "0.5"},
        evidence={"netOfCost": True},
        basis=Basis(reference_notional=100.0),
    )
    net = operating_characteristics(spec, [0.0], 30, np.random.default_rng(1), prices=dear)[0]
    assert net.promote.value > 0.9
    plain = replace(spec, rules=spec_of(traffic={"policy": "fixed", "weight": "0.5"}).rules)
    assert operating_characteristics(plain, [0.0], 30, np.random.default_rng(1), prices=dear)[0].promote.value < 0.2


def bars_text(count: int, *, step: float = 0.01) -> list[str]:
    rng = np.random.default_rng(2)
    close = 100.0 * np.exp(np.cumsum(step * rng.standard_normal(count)))
    opens = np.concatenate(([100.0], close[:-1])) * np.exp(0.1 * step * rng.standard_normal(count))
    lines = ["time,open,high,low,close,volume"]
    for i, (first, last) in enumerate(zip(opens, close, strict=True)):
        at = (T0 + timedelta(hours=i)).isoformat()
        lines.append(f"{at},{first},{max(first, last)},{min(first, last)},{last},1")
    return lines


def test_real_bars_are_a_market() -> None:
    bars = read_bars(bars_text(3000))
    spec = spec_of(traffic={"policy": "fixed", "weight": "0.5", "shadow": "both"})
    equal, better = operating_characteristics(spec, [0.0, 0.126], 60, np.random.default_rng(1), scenario=bars)
    assert equal.promote.value <= 0.1
    assert better.promote.value > 0.5 > equal.promote.value
    chances = bars.draw(0.0, Market(), (40, 2016), np.random.default_rng(1))
    assert np.corrcoef(chances.ret[0].ravel(), chances.papers[0].ravel())[0, 1] > 0.9
    assert float(chances.ret[0].std()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:2], "holds 1 bars"),
        (lambda lines: [lines[0], lines[2], lines[1]], "row 2, column time: .* not after the row before"),
        (lambda lines: [*lines[:2], lines[1]], "row 2, column time: .* not after the row before"),
        (lambda lines: [*lines[:2], lines[2].replace("+00:00", "")], "row 2"),
        (lambda lines: [*lines[:2], ",1,1,1,1,1"], "row 2, column time: empty"),
        (lambda lines: [*lines[:2], "2027-01-01T00:00:00Z,1,1,1,,1"], "row 2, column close: no price"),
        (lambda lines: [*lines[:2], "2027-01-01T00:00:00Z,1,1,1,0,1"], "row 2, column close: no price"),
        (lambda lines: [*lines[:2], "2027-01-01T00:00:00Z,1,1,1,-3,1"], "row 2"),
        (lambda lines: [*lines[:2], "2027-01-01T00:00:00Z,3,2,1,2,1"], "row 2: open and close must lie between"),
        (lambda lines: [lines[0].replace("open", "first"), *lines[1:3]], "column open: missing"),
    ],
)
def test_bars_that_cannot_be_are_refused(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        read_bars(change(bars_text(3)))


@pytest.mark.parametrize(
    ("market", "message"),
    [
        (Market(), "needs 2021"),
        (Market(decisions_per_day=48), "no whole number of bars"),
        (Market(hold=timedelta(minutes=90)), "no whole number of bars"),
        (Market(hold=timedelta(0)), "no whole number of bars"),
        (Market(symbols=2), "one instrument"),
    ],
)
def test_bars_that_do_not_suffice_are_refused(market, message) -> None:
    bars = read_bars(bars_text(100))
    with pytest.raises(ValueError, match=message):
        operating_characteristics(HALF, [0.0], 1, np.random.default_rng(1), market, bars)


def test_a_share_of_zero_has_an_error_too() -> None:
    assert Share.of(np.zeros(200, dtype=bool)).standard_error == pytest.approx(0.005, abs=1e-4)


@pytest.mark.parametrize(
    ("runs", "effects", "market", "message"),
    [
        (0, [0.0], Market(), "runs: 0"),
        (1, [], Market(), "effects: none"),
        (1, [float("nan")], Market(), "effects: nan"),
        (1, [float("inf")], Market(), "effects: inf"),
        (1, [0.0], Market(hold=timedelta(hours=25)), "hold: .* longer than maxHold"),
    ],
)
def test_what_cannot_be_simulated_is_refused(runs, effects, market, message) -> None:
    with pytest.raises(ValueError, match=message):
        operating_characteristics(HALF, effects, runs, np.random.default_rng(1), market)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Market(decisions_per_day=0), "decisions_per_day: 0"),
        (lambda: Market(hold=-DAY), "hold: negative"),
        (lambda: Market(symbols=0), "symbols: 0"),
        (lambda: Prices(reference_notional_usd=0.0), "reference notional: 0"),
        (lambda: Prices(volatility=float("nan")), "volatility: nan"),
        (lambda: Prices(answer_usd=(-1.0, 0.0)), "answer costs"),
        (lambda: SCENARIOS["iid"].having(1.0, None), "agreement: 1"),
        (lambda: SCENARIOS["opposite"].having(0.5, None), "never agree"),
        (lambda: SCENARIOS["iid"].having(None, 1.5), "paper correlation: 1.5"),
    ],
)
def test_markets_that_cannot_be_are_refused(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
