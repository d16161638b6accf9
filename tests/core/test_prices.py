"""What answers cost is fixed at the start, and an experiment that cannot price them does not start."""

from dataclasses import replace
from typing import Any

import pytest
from golden_worlds import Case, load

from tradewind.core.ab_experiment.prices import Prior
from tradewind.core.decision import RecordExperiment

PRIOR = Prior(trades=40, notional=800.0, decisions=24 * 14)


def _case(*, price: str | None = "0.5", given: str | None = None, **costs: str) -> Case:
    """The start of an experiment with netOfCost: an external baseline against an owned candidate."""
    case = load("ab_experiment", "start")
    experiment: Any = case.resource
    evidence = experiment.spec.evidence.model_copy(update={"net_of_cost": True})
    resource = experiment.model_copy(update={"spec": experiment.spec.model_copy(update={"evidence": evidence})})
    endpoint = case.seen.endpoint
    endpoint_costs = endpoint.spec.costs.model_copy(update=costs)
    changes = {"costs": endpoint_costs, "reference_notional_usd": given}
    endpoint = endpoint.model_copy(update={"spec": endpoint.spec.model_copy(update=changes)})
    versions = dict(case.seen.versions)
    baseline = versions["deepseek-api"]
    external = baseline.spec.external.model_copy(update={"price_per_call_cny": price})
    versions["deepseek-api"] = baseline.model_copy(
        update={"spec": baseline.spec.model_copy(update={"external": external})}
    )
    return replace(case, resource=resource, seen=replace(case.seen, endpoint=endpoint, versions=versions))


RATES = {"cny_per_usd": "7", "server_usd_per_hour": "2"}


def test_prices_are_fixed_and_recorded() -> None:
    decision = _case(**RATES).decide(prior=PRIOR)
    status: Any = decision.status
    assert status.basis.reference_notional_usd == 800.0
    (record,) = [effect for effect in decision.effects if isinstance(effect, RecordExperiment)]
    rate, baseline, candidate = record.costs
    assert (rate, baseline) == (7.0, 0.0)
    assert candidate == pytest.approx(2.0)  # 2 USD an hour, one decision an hour


def test_few_trades_are_no_reference() -> None:
    few = Prior(trades=29, notional=800.0, decisions=10)
    reason, message = _reason(_case(**RATES).decide(prior=few))
    assert reason == "PriceUnknown"
    assert message.endswith("too few trades to compare prices with; set referenceNotionalUSD of Endpoint trader")
    status: Any = _case(given="500", **RATES).decide(prior=few).status
    assert status.basis.reference_notional_usd == 500.0


@pytest.mark.parametrize(
    ("case", "prior", "field"),
    [
        (_case(price=None, **RATES), PRIOR, "external.pricePerCallCNY"),
        (_case(server_usd_per_hour="2"), PRIOR, "costs.cnyPerUSD"),
        (_case(cny_per_usd="7"), PRIOR, "costs.serverUSDPerHour"),
        (_case(**RATES), replace(PRIOR, decisions=0), "in the last 14 days"),
        (_case(**RATES), None, "referenceNotionalUSD"),
    ],
)
def test_what_is_not_known_is_named_and_nothing_starts(case: Case, prior: Prior | None, field: str) -> None:
    decision = case.decide(prior=prior)
    reason, message = _reason(decision)
    assert reason == "PriceUnknown"
    assert field in message
    assert not [effect for effect in decision.effects if isinstance(effect, RecordExperiment)]


def _reason(decision: Any) -> tuple[str, str]:
    (found,) = [condition for condition in decision.status.conditions if condition.type == "Admissible"]
    return found.reason, found.message
