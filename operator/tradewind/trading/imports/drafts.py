"""A row's values under our names, as its source gave them: nothing is read yet.

Belongs here: the names that a source can fill. Does not belong here: sources and the reading of values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Final

from tradewind.trading.imports.options import Unit

DECISION_NAMES: Final = (
    "decided_at", "symbol", "action", "size_usd", "leverage", "stop_loss_pct", "take_profit_pct", "confidence", "reasoning",
    "market_data", "account_state", "recent_history", "model",
)  # fmt: skip
OUTCOME_NAMES: Final = ("closed_at", "duration_hours", "pnl_usd", "profitable", "exit_reason", "label")
NAMES: Final = ("id", *DECISION_NAMES, *OUTCOME_NAMES)


@dataclass(frozen=True, slots=True)
class Draft:
    """One row.

    Attributes:
        values: by our names; what is missing or null is not there.
        places: our names, and where the file has them, for messages.
        decides: whether the row is a decision; else only an outcome of one that comes from elsewhere.
        zone: of its times without an offset, where the source says so itself.
        units: of its fractions, where the source says so itself.
        price: at entry, for a source that has trades alone.
        ignored: fields of the row that have no place here.
    """

    values: Mapping[str, Any]
    places: Mapping[str, str] = field(default_factory=dict)
    decides: bool = True
    zone: tzinfo | None = None
    units: Mapping[str, Unit] = field(default_factory=dict)
    price: float | None = None
    ignored: tuple[str, ...] = ()

    def place(self, name: str) -> str:
        """Where the file has a field."""
        return self.places.get(name, name)
