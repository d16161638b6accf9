"""What a month costs with one arm alone: the prices that are used, and what is said where one is not known."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tradewind.api.ab_experiment import ExperimentCosts
from tradewind.api.endpoint import EndpointCosts
from tradewind.api.model_version import ModelVersion
from tradewind.core.costs import Month, Payer, cost_benefit, month
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import RequestRow, Requests

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def version(name: str, price: str | None = None, *, external: bool = False) -> ModelVersion:
    api: dict[str, Any] = {"baseURL": "https://api.example.com/v1", "model": "m"}
    weights = {"uri": "pvc://models/v1", "sha256": "a" * 64, "baseModel": {"uri": "pvc://models/b"}}
    spec = (
        {"external": api | ({} if price is None else {"pricePerCallCNY": price})} if external else {"adapter": weights}
    )
    return ModelVersion.model_validate({"metadata": {"name": name, "namespace": "trading"}, "spec": spec})


API, PRICED, OWNED = version("api", external=True), version("api", "0.02", external=True), version("v1")


def costs(**given: str) -> ExperimentCosts:
    return ExperimentCosts.model_validate(given)


def server(**given: str) -> EndpointCosts:
    return EndpointCosts.model_validate(given)


def found(
    given: ExperimentCosts,
    of_server: EndpointCosts | None = None,
    baseline: Payer = Payer(PRICED, None),  # noqa: B008  frozen
    candidate: Payer = Payer(OWNED, None),  # noqa: B008
) -> Month:
    told = month(given, of_server or server(), (baseline, candidate), decisions=240, days=10)
    assert told is not None
    assert told.decisions == 720
    return told


def test_an_owned_candidate_saves_the_calls_and_costs_its_rent() -> None:
    cheap, dear = found(costs(monthlyServerCNY="10")), found(costs(monthlyServerCNY="20"))
    assert cheap.baseline.cny == pytest.approx(14.4)
    assert cheap.candidate.cny == 10.0
    assert cheap.saving == pytest.approx(4.4)
    assert dear.saving == pytest.approx(-5.6)
    assert cheap.baseline.why == "0.02 CNY a call"
    assert (cheap.candidate.why, cheap.candidate.rented, cheap.baseline.rented) == ("rent of its server", True, False)


def test_a_server_in_usd_is_rented_for_720_hours() -> None:
    told = found(costs(), server(serverUSDPerHour="0.5", cnyPerUSD="7"))
    assert told.candidate.cny == pytest.approx(0.5 * 7 * 720)


def test_calls_to_the_fallback_are_paid_beside_the_rent() -> None:
    told = found(costs(monthlyServerCNY="10"), candidate=Payer(OWNED, 0.001))
    assert told.candidate.cny == pytest.approx(10.72)
    assert told.candidate.why == "10.00 rent of its server, 0.72 calls to the fallback"


def test_the_price_that_the_experiment_names_goes_first_and_what_was_paid_last() -> None:
    rent = costs(monthlyServerCNY="10")
    assert found(costs(baselinePricePerCallCNY="0.1"), baseline=Payer(PRICED, 0.5)).baseline.cny == pytest.approx(72)
    assert found(rent, baseline=Payer(PRICED, 0.5)).baseline.cny == pytest.approx(14.4)
    assert found(rent, baseline=Payer(API, 0.5)).baseline.cny == pytest.approx(360)
    assert found(rent, baseline=Payer(None, 0.5)).baseline.cny == pytest.approx(360)
    assert found(rent, candidate=Payer(None, None)).candidate.cny == 10.0


def test_a_call_that_is_free_has_a_price() -> None:
    assert found(costs(monthlyServerCNY="10", baselinePricePerCallCNY="0")).saving == -10.0


@pytest.mark.parametrize(
    ("baseline", "candidate", "of_server", "says"),
    [
        (Payer(API, None), Payer(OWNED, None), {}, "set external.pricePerCallCNY of the ModelVersion"),
        (Payer(None, None), Payer(OWNED, None), {}, "set costs.baselinePricePerCallCNY"),
        (
            Payer(OWNED, None),
            Payer(OWNED, None),
            {},
            "set costs.baselinePricePerCallCNY, or costs.serverUSDPerHour and",
        ),
        (Payer(PRICED, None), Payer(OWNED, None), {}, "set costs.monthlyServerCNY, or costs.serverUSDPerHour and"),
        (Payer(PRICED, None), Payer(OWNED, None), {"serverUSDPerHour": "1"}, "or costs.cnyPerUSD of the Endpoint"),
        (Payer(PRICED, None), Payer(API, None), {}, "set external.pricePerCallCNY of the ModelVersion"),
        (Payer(PRICED, None), Payer(None, None), {}, "set costs.monthlyServerCNY"),
    ],
)
def test_a_price_that_is_not_known_names_its_field(
    baseline: Payer, candidate: Payer, of_server: dict[str, str], says: str
) -> None:
    told = found(costs(), server(**of_server), baseline, candidate)
    assert told.saving is None
    assert next(says in part.why for part in (told.baseline, told.candidate) if part.cny is None)


@pytest.mark.parametrize(("decisions", "days"), [(0, 10), (24, 0)])
def test_without_a_rate_there_is_no_month(decisions: int, days: int) -> None:
    assert month(costs(), server(), (Payer(PRICED, None), Payer(OWNED, None)), decisions, days) is None


@pytest.mark.parametrize("rent", ["1", "14", "14.4", "15", "100"])
def test_a_month_saves_where_the_condition_says_that_it_pays(rent: str) -> None:
    """10 days of 24 decisions: 720 in 30 days at 0.02 CNY are 14.4."""
    rows = [RequestRow(f"d{k}", Arm.BASELINE, T0 + timedelta(hours=k)) for k in range(240)]
    fact = cost_benefit(
        costs(monthlyServerCNY=rent), PRICED, Requests.from_rows(rows), T0, T0 + timedelta(days=10, hours=3)
    )
    saving = found(costs(monthlyServerCNY=rent)).saving
    assert fact is not None
    assert saving is not None
    assert fact.holds is (saving > -1e-9)


def test_calls_that_are_free_are_no_unknown_price() -> None:
    asked = costs(monthlyServerCNY="100", baselinePricePerCallCNY="0")
    fact = cost_benefit(asked, PRICED, Requests.from_rows([]), T0, T0 + timedelta(days=10))
    assert fact is not None
    assert (fact.holds, fact.reason) == (False, "BelowBreakEven")
    assert "free" in fact.message
