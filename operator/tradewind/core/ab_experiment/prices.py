"""What answers cost, and what that is compared with, as it is fixed at the start.

Belongs here: from prices and what was decided before t0 to USD an answer. Does not belong here: what is made of it
(trading/evidence).
"""

from dataclasses import dataclass

from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion

RATE_DAYS = 14
"""Days before t0 that give the decisions per hour."""
_LEAST_TRADES = 30


@dataclass(frozen=True, slots=True)
class Prior:
    """What was decided before the start.

    Attributes:
        trades: closed trades of the baseline.
        notional: their mean filled notional in USD; None without any.
        decisions: of the Endpoint in the 14 days before.
    """

    trades: int = 0
    notional: float | None = None
    decisions: int = 0


def reference_notional(endpoint: Endpoint, prior: Prior | None) -> float | None:
    """R in USD: mean notional of the baseline's trades before the start where there are 30, else what the Endpoint says."""
    if prior is not None and prior.trades >= _LEAST_TRADES and prior.notional:
        return prior.notional
    given = endpoint.spec.reference_notional_usd
    return float(given) if given is not None else None


def answer_cost(version: ModelVersion, endpoint: Endpoint, prior: Prior | None) -> float | str:
    """What an answer costs beside its calls in USD, or why that is not known, naming field and remedy.

    An owned version costs its server, by the decisions of the 14 days before; an external one 0, as its calls are priced.
    """
    external, costs = version.spec.external, endpoint.spec.costs
    if external is not None:
        if external.price_per_call_cny is None and external.prices is None:
            return f"evidence.netOfCost: the price of ModelVersion {version.name} is not known; set external.prices or external.pricePerCallCNY"
        if costs.cny_per_usd is None:
            return f"evidence.netOfCost: the price of ModelVersion {version.name} is in CNY; set costs.cnyPerUSD of Endpoint {endpoint.name}"
        return 0.0
    if costs.server_usd_per_hour is None:
        return f"evidence.netOfCost: the server of ModelVersion {version.name} has no price; set costs.serverUSDPerHour of Endpoint {endpoint.name}"
    decisions = prior.decisions if prior is not None else 0
    if not decisions:
        return (
            f"evidence.netOfCost: Endpoint {endpoint.name} has decided nothing in the last {RATE_DAYS} days, so a share of the "
            "server's price is not known; start the experiment once it has"
        )
    return float(costs.server_usd_per_hour) * RATE_DAYS * 24 / decisions
