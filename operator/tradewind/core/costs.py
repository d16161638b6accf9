"""What serving the candidate costs against what calling the baseline costs. Shown, never decided on."""

from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal

from tradewind.api.ab_experiment import ExperimentCosts
from tradewind.api.model_version import ModelVersion
from tradewind.core.conditions import Fact
from tradewind.trading.evidence import Requests

_MONTH_DAYS = 30


def cost_benefit(
    costs: ExperimentCosts, baseline: ModelVersion | None, requests: Requests, t0: datetime, look: datetime
) -> Fact | None:
    """Whether serving the candidate is cheaper than calling the baseline, at the rate of decisions so far.

    Break-even is the number of decisions in 30 days at which the baseline's price comes to the server's rent. Follow-ups
    of open positions are calls too but are not counted here, so that the rate is a lower bound.

    Args:
        costs: of the experiment; None is returned where it names none.
        baseline: gives the price of a call where `costs` does not.
        requests: of the experiment.
        t0: its start.
        look: instant of the look. The rate is that of whole days: one that moved with each second would be a new status
            each time.
    """
    if costs.monthly_server_cny is None and costs.baseline_price_per_call_cny is None:
        return None
    if costs.monthly_server_cny is None:
        return Fact("CostBenefit", None, "PriceUnknown", "set costs.monthlyServerCNY, the candidate's rent for a month")
    external = baseline.spec.external if baseline is not None else None
    price = Decimal(costs.baseline_price_per_call_cny or (external and external.price_per_call_cny) or "0")
    if not price:
        message = (
            "no price of a call is known: set costs.baselinePricePerCallCNY or the baseline's external.pricePerCallCNY"
        )
        return Fact("CostBenefit", None, "PriceUnknown", message)
    rent = Decimal(costs.monthly_server_cny)
    break_even = int((rent / price).to_integral_value(ROUND_CEILING))
    what = f"break-even at {break_even} decisions in 30 days ({rent} CNY of rent at {price} CNY a call)"
    days = (look - t0).days
    if days < 1:
        return Fact("CostBenefit", None, "RateUnknown", f"{what}; the rate is known after a day")
    decisions = len(requests.decided_before(t0 + timedelta(days=days)))
    monthly = round(decisions / days * _MONTH_DAYS)
    pays = monthly >= break_even
    reason = "AboveBreakEven" if pays else "BelowBreakEven"
    return Fact(
        "CostBenefit", pays, reason, f"{monthly} decisions in 30 days at the rate of the first {days} d; {what}"
    )
