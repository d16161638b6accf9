"""What the importer is told beside the file: time zone, units, symbols, and values that the source does not have.

Belongs here: the options and how they are written. Does not belong here: their use (fields.py, build.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final

FRACTIONS: Final = ("stop_loss_pct", "take_profit_pct", "confidence")
"""Fields of a decision that are fractions here and percentages in many systems."""
ASSUMABLE: Final = ("leverage", *FRACTIONS)
"""Fields that may be given one value for all rows that have none."""


class Unit(StrEnum):
    """How a fraction is written."""

    FRACTION = "fraction"
    PERCENT = "percent"


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for all rows of a run.

    Attributes:
        now: times after it have not come yet.
        zone: of times that are written without an offset; None: such times are refused.
        symbols: those that are taken; None: see build.py.
        symbol_map: spellings of the source, and ours.
        units: how fractions are written; a field that is not named is a fraction, and refused where it looks like percent.
        assume: values of `ASSUMABLE` fields, as fractions, for rows that have none.
        assume_hold: how long a trade lasted of which nobody says when it ended; None: such rows are refused.
        price_as_input: whether a trade's own price is what a model is shown, where the source says nothing else.
    """

    now: datetime
    zone: tzinfo | None = None
    symbols: frozenset[str] | None = None
    symbol_map: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, Unit] = field(default_factory=dict)
    assume: Mapping[str, float] = field(default_factory=dict)
    assume_hold: timedelta | None = None
    price_as_input: bool = False
