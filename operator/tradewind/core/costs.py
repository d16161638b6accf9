"""What serving the candidate costs against what calling the baseline costs. Shown, never decided on."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal

from tradewind.api.ab_experiment import ExperimentCosts
from tradewind.api.endpoint import EndpointCosts
from tradewind.api.model_version import ModelVersion
from tradewind.core.conditions import Fact
from tradewind.trading.evidence import Requests

MONTH_DAYS = 30


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
    told = costs.baseline_price_per_call_cny
    if told is None and external is not None:
        told = external.price_per_call_cny
    if told is None:
        message = (
            "no price of a call is known: set costs.baselinePricePerCallCNY or the baseline's external.pricePerCallCNY"
        )
        return Fact("CostBenefit", None, "PriceUnknown", message)
    rent, price = Decimal(costs.monthly_server_cny), Decimal(told)
    if not price:
        message = f"the baseline's calls are free: the rent of {rent} CNY in 30 days is never earned back"
        return Fact("CostBenefit", False, "BelowBreakEven", message)
    break_even = int((rent / price).to_integral_value(ROUND_CEILING))
    what = f"break-even at {break_even} decisions in 30 days ({rent} CNY of rent at {price} CNY a call)"
    days = (look - t0).days
    if days < 1:
        return Fact("CostBenefit", None, "RateUnknown", f"{what}; the rate is known after a day")
    decisions = len(requests.decided_before(t0 + timedelta(days=days)))
    monthly = round(decisions / days * MONTH_DAYS)
    pays = monthly >= break_even
    reason = "AboveBreakEven" if pays else "BelowBreakEven"
    return Fact(
        "CostBenefit", pays, reason, f"{monthly} decisions in 30 days at the rate of the first {days} d; {what}"
    )


@dataclass(frozen=True, slots=True)
class MonthCost:
    """What an arm costs in 30 days if it answers every decision.

    Attributes:
        cny: the amount; None: a price is not known.
        why: what it is made of, or which field has to say the price.
        rented: a server's rent is part of it, which does not grow with the decisions.
    """

    cny: float | None
    why: str
    rented: bool = False


@dataclass(frozen=True, slots=True)
class Month:
    """What 30 days cost at an experiment's own rate of decisions.

    Attributes:
        decisions: in 30 days. Those that continue a position are calls too but are not counted here.
        days: whole days that the rate is of.
        baseline, candidate: what each arm costs if it answers all of them.
    """

    decisions: int
    days: int
    baseline: MonthCost
    candidate: MonthCost

    @property
    def saving(self) -> float | None:
        """What the candidate saves in CNY, below 0: what it costs more; None: a price is not known."""
        if self.baseline.cny is None or self.candidate.cny is None:
            return None
        return self.baseline.cny - self.candidate.cny


@dataclass(frozen=True, slots=True)
class Payer:
    """What is known of one arm's costs.

    Attributes:
        version: the arm; None: not at hand.
        paid: mean price in CNY of the calls that a decision took, those to the fallback among them; None: not known.
    """

    version: ModelVersion | None
    paid: float | None


def month(
    costs: ExperimentCosts, server: EndpointCosts, arms: tuple[Payer, Payer], decisions: int, days: int
) -> Month | None:
    """What 30 days would cost; None before a day with decisions is over, as the rate is not known.

    A price that the experiment names goes before that of the version, and both before what calls were measured to cost: so
    does the condition CostBenefit. An owned version costs its server, however much it answers.

    Args:
        costs: of the experiment.
        server: prices of the Endpoint.
        arms: baseline and candidate.
        decisions: of the experiment in its first whole days.
        days: that they lie in.
    """
    if days < 1 or not decisions:
        return None
    monthly = round(decisions / days * MONTH_DAYS)
    baseline, candidate = arms
    rent, price = costs.monthly_server_cny, costs.baseline_price_per_call_cny
    return Month(
        decisions=monthly,
        days=days,
        baseline=_calls(float(price), monthly)
        if price is not None
        else _month_of(baseline, None, server, monthly, "costs.baselinePricePerCallCNY"),
        candidate=_month_of(
            candidate, None if rent is None else float(rent), server, monthly, "costs.monthlyServerCNY"
        ),
    )


def _month_of(arm: Payer, rent: float | None, server: EndpointCosts, decisions: int, field: str) -> MonthCost:
    """`rent` is that of its server; `field` is where the experiment names a price of the arm."""
    if arm.version is None and rent is None:
        unknown = f"the ModelVersion is not at hand and no call of it had a price: set {field}"
        return _calls(arm.paid, decisions) if arm.paid is not None else MonthCost(None, unknown)
    external = arm.version.spec.external if arm.version is not None else None
    if external is not None:
        price = float(external.price_per_call_cny) if external.price_per_call_cny is not None else arm.paid
        unknown = "the price of a call is not known: set external.pricePerCallCNY of the ModelVersion"
        return _calls(price, decisions) if price is not None else MonthCost(None, unknown)
    if rent is None:
        usd, rate = server.server_usd_per_hour, server.cny_per_usd
        if usd is None or rate is None:
            missing = "costs.serverUSDPerHour and costs.cnyPerUSD" if usd is None else "costs.cnyPerUSD"
            return MonthCost(None, f"the price of its server is not known: set {field}, or {missing} of the Endpoint")
        rent = float(usd) * float(rate) * 24 * MONTH_DAYS
    if not arm.paid:
        return MonthCost(rent, "rent of its server", rented=True)
    calls = arm.paid * decisions  # to the fallback, where the arm gave no answer of its own
    return MonthCost(rent + calls, f"{rent:,.2f} rent of its server, {calls:,.2f} calls to the fallback", rented=True)


def _calls(price: float, decisions: int) -> MonthCost:
    return MonthCost(price * decisions, f"{price:g} CNY a call")
