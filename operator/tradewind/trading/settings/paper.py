"""How answers are settled on paper, as users write it in an Endpoint."""

from decimal import Decimal
from typing import Annotated, ClassVar

from tradewind.schema.checked import Checked
from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import DecimalText, Duration, as_timedelta, cel_number, cel_seconds

SYMBOL = "{symbol}"
_PART = "([_.:+@$&A-Za-z0-9]|[{]symbol[}]|~[01])([-_.:+@$&A-Za-z0-9]|[{]symbol[}]|~[01])*"

PricePointer = Annotated[
    str,
    Checked(
        f"/market_data(/{_PART})+",
        "must be a JSON pointer into the request's market_data, such as /market_data/{symbol}/price; {symbol} stands for "
        "the request's symbol, ~1 for / and ~0 for ~ in a name",
        256,
    ),
]
"""JSON pointer (RFC 6901) into the request's `market_data`; `{symbol}` in a part is the request's symbol."""


def settlement_rules(at: str, beat: str) -> tuple[Rule, ...]:
    """What horizon, gap and cost of a rule that settles answers must be.

    Args:
        at: where they stand in a spec, for messages.
        beat: usual time between two prices, in words.
    """
    return (
        Rule(
            f"!has(self.horizon) || {cel_seconds('self.horizon')} > 0",
            lambda s: as_timedelta(s.horizon).total_seconds() > 0,
            f"{at}.horizon must be above 0, such as 8h",
            "horizon",
        ),
        Rule(
            f"!has(self.maxGap) || {cel_seconds('self.maxGap')} > 0",
            lambda s: as_timedelta(s.max_gap).total_seconds() > 0,
            f"{at}.maxGap must be above 0; give more than the {beat}, such as 2h",
            "maxGap",
        ),
        Rule(
            f"!has(self.costBasisPoints) || {cel_number('self.costBasisPoints')} <= 1000.0",
            lambda s: Decimal(s.cost_basis_points) <= 1000,
            f"{at}.costBasisPoints must be at most 1000: it is in basis points, '1.2' is 0.012 %",
            "costBasisPoints",
        ),
    )


class PaperSettings(StrictModel):
    """One rule that settles what both arms answered, from the prices that requests carry and bars that are posted."""

    price: PricePointer = "/market_data/{symbol}/price"
    """Where the price stands in a request: a number, or a decimal number as text. It is the entry of that decision, and a
    point of the price for those before it."""
    horizon: Duration = "8h"
    """A trade that met neither stop-loss nor take-profit ends at the first price from here on."""
    cost_basis_points: DecimalText = "0"
    """Cost of the round trip, entry and exit together, in basis points of the notional."""
    max_gap: Duration = "2h"
    """Longest time without a price while a trade is open, and from the horizon to its price; beyond it there is no paper."""

    rules: ClassVar[tuple[Rule, ...]] = settlement_rules("paper", "usual time between two prices of a symbol")


def pointer_parts(pointer: str) -> tuple[str, ...]:
    """The names of a pointer in order, unescaped; `{symbol}` still stands in them."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
