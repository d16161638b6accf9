"""EvidenceSpec from YAML: defaults, every field, and errors that name field and remedy."""

from datetime import timedelta

import pytest

from tradewind.api.ab_experiment import ExperimentSettings
from tradewind.trading.evidence import (
    EvidenceSpec,
    Guardrails,
    Metric,
    PolicyKind,
    ScheduleStep,
    TrafficPolicy,
    evidence_spec_from_mapping,
)

DAY = timedelta(days=1)


def test_nothing_given_is_the_defaults() -> None:
    assert evidence_spec_from_mapping({}) == EvidenceSpec()
    assert evidence_spec_from_mapping({"evidence": None, "traffic": {"steps": None}}) == EvidenceSpec()


def test_the_kind_has_the_same_defaults() -> None:
    """An ABExperiment with nothing but its references means the same here as in the cluster."""
    manifest = ExperimentSettings().model_dump(mode="json", by_alias=True)
    assert evidence_spec_from_mapping(manifest) == EvidenceSpec()


def test_everything_given() -> None:
    spec = evidence_spec_from_mapping(
        {
            "endpointRef": {"name": "trader"},
            "maxHold": "36h",
            "evidence": {
                "primary": "winRate",
                "alpha": "0.01",
                "alphaRollback": 0.2,
                "nonInferiority": {"winRate": "0.04", "sharpe": "0.03"},
                "minDuration": "7d",
                "maxDuration": "56d",
                "minTradesPerArm": 100,
            },
            "traffic": {"policy": "schedule", "steps": [{"weight": "0.05", "duration": "7d"}]},
            "guardrails": {
                "fastHarm": {"enabled": False, "margin": "0.2"},
                "errorRate": "0.01",
                "latencyObjective": {"p99": "100ms"},
                "latencyShare": "0.1",
                "riskBudgetUSD": "500",
                "exposureRatio": ["0.4", "3"],
            },
        },
        retest=2,
        candidates=3,
    )
    assert spec == EvidenceSpec(
        primary=Metric.WIN_RATE,
        alpha=0.01,
        alpha_rollback=0.2,
        margin_win_rate=0.04,
        margin_sharpe=0.03,
        min_duration=7 * DAY,
        max_duration=56 * DAY,
        min_trades_per_arm=100,
        max_hold=1.5 * DAY,
        traffic=TrafficPolicy(kind=PolicyKind.SCHEDULE, steps=(ScheduleStep(7 * DAY, 0.05),)),
        guardrails=Guardrails(
            fast_harm=False,
            fast_harm_margin=0.2,
            error_rate=0.01,
            slow_rate=0.1,
            risk_budget_usd=500.0,
            exposure_ratio=(0.4, 3.0),
        ),
        retest=2,
        candidates=3,
    )
    assert evidence_spec_from_mapping({"maxHold": "36h"}, max_hold=DAY).max_hold == DAY


def test_gated_levels_and_fixed_weight() -> None:
    gated = evidence_spec_from_mapping({"traffic": {"steps": [{"weight": "0.2"}, {"weight": "0.4"}]}})
    assert gated.traffic.levels == (0.2, 0.4)
    fixed = evidence_spec_from_mapping({"traffic": {"policy": "fixed", "weight": "0.3"}})
    assert (fixed.traffic.kind, fixed.traffic.weight) == (PolicyKind.FIXED, 0.3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"evidence": []}, "evidence: not a mapping"),
        ({"evidence": {"alfa": "0.1"}}, r"evidence\.alfa: unknown field; use alpha"),
        ({"evidence": {"primary": "pnl"}}, r"evidence\.primary: 'pnl' is unknown; use sharpe or win_rate"),
        ({"evidence": {"alpha": "five"}}, r"evidence\.alpha: 'five' is not a decimal"),
        ({"evidence": {"alpha": True}}, r"evidence\.alpha: True is not a decimal"),
        ({"evidence": {"alpha": "nan"}}, r"evidence\.alpha: 'nan' is not a decimal"),
        ({"evidence": {"alpha": "0"}}, r"evidence\.alpha: 0\.0 is not between 0 and 1"),
        ({"evidence": {"alphaRollback": "1"}}, r"evidence\.alphaRollback: 1\.0 is not between"),
        ({"evidence": {"nonInferiority": {"winRate": "-0.1"}}}, r"nonInferiority\.winRate: -0\.1 is no margin"),
        ({"evidence": {"minDuration": "2w"}}, r"evidence\.minDuration: '2w' is not a duration"),
        ({"evidence": {"minDuration": 14}}, r"evidence\.minDuration: 14 is not a duration"),
        ({"evidence": {"minDuration": "90d"}}, r"evidence\.minDuration: longer than evidence\.maxDuration"),
        ({"evidence": {"minDuration": "0s", "maxDuration": "12h"}}, r"evidence\.maxDuration: shorter than one block"),
        ({"evidence": {"minTradesPerArm": "3.5"}}, r"evidence\.minTradesPerArm: 3\.5 is not a whole number"),
        ({"evidence": {"minTradesPerArm": 0}}, r"evidence\.minTradesPerArm: 0; give a whole number from 1"),
        ({"maxHold": "0s"}, "maxHold: 0"),
        ({"traffic": {"policy": "bandit"}}, r"traffic\.policy: 'bandit' is unknown; use one of gated"),
        ({"traffic": {"weight": "0.5"}}, r"traffic\.weight: goes with the policy fixed alone"),
        ({"traffic": {"policy": "fixed", "weight": "1"}}, "traffic weight: 1.0 is not between 0 and 1"),
        ({"traffic": {"policy": "fixed", "steps": [{"weight": "0.5"}]}}, r"traffic\.steps: go with the policies gated"),
        ({"traffic": {"policy": "schedule"}}, r"traffic\.steps: empty"),
        ({"traffic": {"policy": "schedule", "steps": [{"weight": "0.5"}]}}, r"traffic\.steps\.duration: missing"),
        ({"traffic": {"policy": "schedule", "steps": [{"weight": "0.5", "duration": "0s"}]}}, "duration above 0s"),
        ({"traffic": {"steps": ["0.1"]}}, r"traffic\.steps: not a list of steps"),
        ({"traffic": {"steps": [{}]}}, r"traffic\.steps\.weight: missing"),
        ({"traffic": {"steps": [{"weight": "0.5"}, {"weight": "0.1"}]}}, "traffic levels: .* must rise"),
        ({"guardrails": {"fastHarm": {"enabled": "no"}}}, r"guardrails\.fastHarm\.enabled: 'no' is not true or false"),
        ({"guardrails": {"errorRate": "2"}}, r"guardrails\.errorRate: 2\.0 is not between"),
        ({"guardrails": {"riskBudgetUSD": "0"}}, r"guardrails\.riskBudgetUSD: 0\.0 is no budget"),
        ({"guardrails": {"exposureRatio": "0.5"}}, r"guardrails\.exposureRatio: not a range"),
        ({"guardrails": {"exposureRatio": ["2", "1"]}}, r"guardrails\.exposureRatio: .* is no range"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(spec, message) -> None:
    with pytest.raises(ValueError, match=message):
        evidence_spec_from_mapping(spec)


@pytest.mark.parametrize("changes", [{"retest": -1}, {"candidates": 0}, {"min_blocks": 0}])
def test_counts_have_a_least_value(changes) -> None:
    with pytest.raises(ValueError, match="whole number from"):
        EvidenceSpec(**changes)
