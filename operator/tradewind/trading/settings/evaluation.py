"""How a version is held against recorded decisions before it takes traffic, as users write it and as its Job is told it."""

from typing import Annotated, ClassVar

from pydantic import Field

from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import DecimalText, Duration, SinceOrTime
from tradewind.trading.settings.labels import LabelThresholds
from tradewind.trading.settings.paper import settlement_rules


class EvaluationRows(StrictModel):
    """Which recorded decisions a version is asked about."""

    since: SinceOrTime | None = None
    """Oldest decision, a time or a length of time back; absent: from the watermark on. Never before watermark and embargo."""
    until: SinceOrTime | None = None
    """Newest decision, a time or a length of time back; absent: until now."""
    embargo: Duration = "24h"
    """Gap after the watermark, the newest moment that the training data of a compared version knows of."""
    min_rows: Annotated[int, Field(ge=1, le=10_000)] = 30
    """Decisions that are needed; with fewer nothing is judged, and it is tried again every six hours."""
    max_rows: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Decisions at most; of more, a fixed sample by their ids."""
    include_replay: bool = False
    """Whether decisions on recorded data are taken too."""
    thresholds: LabelThresholds = LabelThresholds()
    """What counts as a good and a bad decision, as fractions of `size_usd`; files have labels already."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.minRows) ? self.minRows : 30) <= (has(self.maxRows) ? self.maxRows : 500)",
            lambda s: s.min_rows <= s.max_rows,
            "evaluation.dataset.minRows must be at most maxRows",
            "minRows",
        ),
    )


class SimulatedTrades(StrictModel):
    """One rule that settles answers on bars: in at the close before the decision, out at stop, target or horizon."""

    cost_basis_points: DecimalText = "1.2"
    """Cost of a round trip, entry and exit together, in basis points of the notional."""
    horizon: Duration = "8h"
    """A trade that met neither stop-loss nor take-profit ends at the first price from here on."""
    max_gap: Duration = "2h"
    """Longest time without a bar at the entry, while a trade is open, and at the horizon; decisions beyond it are left out for both."""

    rules: ClassVar[tuple[Rule, ...]] = settlement_rules("evaluation.bars", "length of a bar")
