"""What a report says of costs and of the capital in use.

Belongs here: which of them are shown, and the words. Does not belong here: what a month costs (core/costs.py).
"""

import math

from tradewind.cli.report_data import ArmLine, ReportData
from tradewind.cli.report_text import NO_TRADES, UNKNOWN, Row
from tradewind.core.costs import MONTH_DAYS, Month, MonthCost
from tradewind.trading.evidence import Judgement

Arms = tuple[ArmLine, ArmLine]


def cost_tile(data: ReportData) -> tuple[str, str]:
    """What the calls of the experiment cost."""
    costs = _calls(data)
    if not costs:
        return UNKNOWN, "cost of the calls; no price is given"
    return f"{sum(costs.values()):,.2f} CNY", f"cost of the calls, {' and '.join(costs)}"


def saving_tile(month: Month | None) -> tuple[str, str]:
    """What a month with the candidate alone saves, or costs more."""
    saving = month.saving if month is not None else None
    if saving is None:
        return UNKNOWN, "what a month with the candidate saves"
    if saving < 0:
        return f"{-saving:,.2f} CNY", "what a month costs more if the candidate answers all"
    return f"{saving:,.2f} CNY", "what a month costs less if the candidate answers all"


def cost_rows(data: ReportData, judgement: Judgement, arms: Arms, month: Month | None) -> tuple[Row, ...]:
    """Rows of the arms' table: what, baseline, candidate, difference; "" where there is nothing to say."""
    costs = _calls(data)
    baseline, candidate = arms
    return (
        ("Exposure, USD hours", *_exposure_hours(judgement, arms), ""),
        ("Cost of the calls, CNY", *(f"{costs[arm.arm]:,.2f}" if arm.arm in costs else "" for arm in arms), ""),
        _decision_row(arms, costs, month),
        ("Price of an answer, USD, as fixed at the start", _price(data, baseline), _price(data, candidate), ""),
    )


def month_rows(arms: Arms, month: Month | None) -> tuple[Row, ...]:
    """What 30 days cost with one arm alone, and what the candidate saves: what, amount, what it is made of."""
    if month is None:
        return ()
    names = [f"{arm.version} alone, CNY" for arm in arms]
    parts = (month.baseline, month.candidate)
    return (
        (
            f"Decisions in {MONTH_DAYS} days",
            f"{month.decisions:,}",
            f"at the rate of the first {'day' if month.days == 1 else f'{month.days} days'}",
        ),
        *((name, _amount(part), part.why) for name, part in zip(names, parts, strict=True)),
        ("Saved by the candidate, CNY", *_saving(month)),
    )


def _saving(month: Month) -> tuple[str, str]:
    saving = month.saving
    if saving is None:
        return UNKNOWN, "both prices are needed"
    if saving < 0:
        return f"{saving:+,.2f}", "the candidate costs more"
    return f"{saving:+,.2f}", "the candidate costs less" if saving else "both cost the same"


def _amount(part: MonthCost) -> str:
    return UNKNOWN if part.cny is None else f"{part.cny:,.2f}"


def _calls(data: ReportData) -> dict[str, float]:
    """Cost of an arm's calls in CNY, of those with a known price."""
    return {arm.role: arm.cost_cny for arm in data.experiment.status.arms if arm.cost_cny is not None}


def _exposure_hours(judgement: Judgement, arms: Arms) -> tuple[str, str]:
    """What each arm had in the market, times how long: an arm that holds longer uses more of the capital."""
    first, second = (
        f"{found.notional_hours:,.0f}" if arm.metrics.total_trades else NO_TRADES
        for arm, found in zip(arms, (judgement.exposures.baseline, judgement.exposures.candidate), strict=True)
    )
    return first, second


def _decision_row(arms: Arms, costs: dict[str, float], month: Month | None) -> Row:
    """What a decision cost in calls; where a server is paid, its part of a month's cost."""
    parts = (None, None) if month is None else (month.baseline, month.candidate)
    cells = [_decision(arm, costs.get(arm.arm), part, month) for arm, part in zip(arms, parts, strict=True)]
    cells = [cell or UNKNOWN for cell in cells] if any(cells) else cells
    return ("Cost of a decision, CNY", *cells, "")


def _decision(arm: ArmLine, calls: float | None, part: MonthCost | None, month: Month | None) -> str:
    if part is not None and part.cny is not None and month is not None and (part.rented or calls is None):
        return f"{part.cny / month.decisions:,.4f}"
    return f"{calls / arm.decisions:,.4f}" if calls is not None and arm.decisions else ""


def _price(data: ReportData, arm: ArmLine) -> str:
    """Mean price of the drawn arm's answers, where every row says it."""
    prices = [row.trade.answer_cost_usd for row in data.rows if row.trade.arm is arm.arm]
    known = [price for price in prices if price is not None and math.isfinite(price)]
    return f"{sum(known) / len(known):.4g}" if known and len(known) == len(prices) else ""
