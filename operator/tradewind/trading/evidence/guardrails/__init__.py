"""Guardrails: what takes the candidate out at once, or holds its promotion. A new one is its file and a line in `GUARDRAILS`.

Each owns its settings, its watch, its sentence and its unit; spec, CRD, reasons, verdict, status, report and
documentation follow from the tuple.
"""

from typing import Any, Final

from tradewind.trading.evidence.guardrails.base import Guardrail, GuardrailResult, Unit, Watched
from tradewind.trading.evidence.guardrails.error_rate import ERROR_RATE
from tradewind.trading.evidence.guardrails.exposure import EXPOSURE
from tradewind.trading.evidence.guardrails.fast_harm import FAST_HARM
from tradewind.trading.evidence.guardrails.latency import LATENCY
from tradewind.trading.evidence.guardrails.risk_budget import RISK_BUDGET

__all__ = ["GUARDRAILS", "Guardrail", "GuardrailResult", "Unit", "Watched", "shown"]

GUARDRAILS: Final[tuple[Guardrail[Any], ...]] = (
    FAST_HARM,
    ERROR_RATE,
    LATENCY,
    RISK_BUDGET,
    EXPOSURE,
)
"""In the order in which they are asked: the first that tripped gives the reason."""


def shown(reason: str, number: float | None) -> str:
    """A number of the guardrail with that word, in its unit as a person reads it; plain for one that is not known here."""
    if number is None:
        return "-"
    unit = next((guardrail.unit for guardrail in GUARDRAILS if guardrail.reason == reason), None)
    return f"{number:.4g}" if unit is None else unit.show(number)
