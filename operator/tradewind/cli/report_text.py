"""Numbers of a report as text.

Belongs here: how a number, a share or an amount is written, and what stands where there is none. Does not belong here: which
numbers are shown (report_page.py and its neighbours).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import exp, isfinite, log
from typing import Final, TypeGuard

from tradewind.trading.evidence import Pairing

DECADES: Final = 1 / log(10)
"""Decades in a unit of the natural logarithm."""
NO_TRADES: Final = "no trades"
UNKNOWN: Final = "unknown"
USED_AS_PAIR: Final[Mapping[str, str]] = {
    Pairing.BOTH: "both papers",
    Pairing.CANDIDATE: "the candidate's paper",
    Pairing.MARKET: "the market's move",
    Pairing.UNPAIRED: "none",
}
"""What the evidence is sharpened with, by the score of a look."""

Row = tuple[str, ...]
"""Cells of a table's row."""


def measured(value: float | None) -> TypeGuard[float]:
    """Whether there is a number."""
    return value is not None and isfinite(value)


def in_days(length: timedelta) -> float:
    """A length in days."""
    return length / timedelta(days=1)


def in_hours(length: timedelta) -> str:
    """A length in hours."""
    return f"{length / timedelta(hours=1):g} h"


def usd(amount: float) -> str:
    """An amount with its sign."""
    return f"{amount:+,.2f} $"


def times(log_e: float) -> str:
    """Evidence as a multiple of even odds: e to the logarithm."""
    if not isfinite(log_e):
        return "none"
    value = exp(min(log_e, 300.0))
    if not 1e-3 <= value < 1e6:
        return f"10^{log_e * DECADES:.0f}×"
    return f"{value:,.0f}×" if value >= 1000 else f"{value:.3g}×"


def signed(value: float, digits: int) -> str:
    """A number with its sign."""
    return f"{value:+.{digits}f}" if isfinite(value) else UNKNOWN


def number(value: float | None) -> str:
    """Four digits; nothing where there is no number."""
    return f"{value:,.4g}" if measured(value) else ""


def known(value: float | None) -> str:
    """Four digits; UNKNOWN where there is no number."""
    return number(value) or UNKNOWN


def moment(when: datetime) -> str:
    """A time to the minute."""
    return f"{when:%Y-%m-%d %H:%M} UTC"


def percent(share: float | None) -> str:
    """A share in whole percent."""
    return f"{100 * share:.0f} %" if measured(share) else UNKNOWN


def part_of(part: int, whole: int) -> str:
    """A part in percent of the whole; nothing of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else ""


def whole_days(value: float | None) -> str:
    """A number of days, without fractions."""
    return f"{value:,.0f}" if measured(value) else UNKNOWN
