"""Risk budget: the candidate has lost, or fallen from its top by, more than the experiment may cost.

The arms' drawdowns are never compared with each other: equal arms differ by half in every fourth experiment.
"""

import math
from typing import ClassVar

import numpy as np

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import PositiveDecimal
from tradewind.trading.evidence.guardrails.base import Guardrail, GuardrailResult, Unit, Watched
from tradewind.trading.evidence.table import CLOSED, TradeTable

_ROWS_FOR_DEFAULT = 30
_DAY_US = 86_400_000_000


class RiskBudgetSettings(StrictModel):
    """Its field of `spec.guardrails`."""

    risk_budget_usd: PositiveDecimal | None = None
    """Loss of the candidate that ends the experiment; absent: 3 sigma of the baseline over the expected decisions."""


class RiskBudgetGuardrail(Guardrail[RiskBudgetSettings]):
    """Watches the drawdown of the candidate's cumulative profit since t0, its start at 0 included.

    A loss of the budget from the start is such a drawdown too. All its closed trades known at `now` count, in the
    order of their reports: also those that came too late for the evidence or have a notional of 0.
    """

    reason: ClassVar[str] = "RiskBudget"
    settings: ClassVar[type[StrictModel]] = RiskBudgetSettings
    unit: ClassVar[Unit] = Unit.USD
    trips: ClassVar[str] = "the candidate's loss since t0, or its drawdown, reaches `riskBudgetUSD`"
    row: ClassVar[str] = "closed trade of the candidate, in the order of the reports"

    def watch(self, settings: RiskBudgetSettings, facts: Watched) -> GuardrailResult | None:
        """None where there is no budget: none is given, and too little is known of the baseline."""
        given = settings.risk_budget_usd
        budget = frozen_risk_budget(facts) if given is None else float(given)
        if budget is None:
            return None
        table = facts.table
        mine = table.candidate & (table.status == CLOSED)
        mine &= (table.decided_us >= facts.t0_us) & (table.received_us <= facts.now_us)
        index = np.flatnonzero(mine)
        index = index[np.lexsort((table.decision_id[index], table.received_us[index]))]
        total = np.cumsum(table.pnl[index])
        return self.result(np.maximum(np.maximum.accumulate(total), 0.0) - total, budget)

    def tripped_because(self, evidence: str, threshold: str, row: int) -> str:
        """The drawdown, the budget and the trade."""
        return (
            f"the candidate's drawdown of {evidence} reached the risk budget of {threshold} at its closed trade {row}"
        )


def default_risk_budget(sigma: float, notional_usd: float, rows_expected: float) -> float:
    """Budget in USD that a driftless candidate exceeds in about 1 of 200 experiments: 3 sigma sqrt(rows) notional.

    Args:
        sigma: standard deviation of the baseline's returns per decision.
        notional_usd: the baseline's mean filled notional.
        rows_expected: decisions that the candidate will get.
    """
    return 3.0 * sigma * math.sqrt(rows_expected) * notional_usd


def frozen_risk_budget(facts: Watched) -> float | None:
    """Default budget from the baseline's decisions known at t0; None where there are fewer than 30.

    Expected rows: the baseline's rate of decisions before t0, over the longest duration, times the largest weight.
    Only rows before t0 enter, so that the budget never changes while the experiment runs.
    """
    table: TradeTable = facts.table
    before = ~table.candidate & (table.decided_us < facts.t0_us) & (table.received_us <= facts.t0_us)
    filled = before & (table.status == CLOSED) & (table.notional > 0.0)
    count = int(np.count_nonzero(before))
    if count < _ROWS_FOR_DEFAULT or not filled.any():
        return None
    returns = np.zeros(len(table))
    returns[filled] = table.pnl[filled] / table.notional[filled]
    sigma = float(np.std(returns[before], ddof=1))
    days = (facts.t0_us - int(table.decided_us[before].min())) / _DAY_US
    expected = count / max(days, 1.0) * facts.duration.days * facts.largest_weight
    budget = default_risk_budget(sigma, float(np.mean(table.notional[filled])), expected)
    return budget if budget > 0.0 else None


RISK_BUDGET = RiskBudgetGuardrail()
