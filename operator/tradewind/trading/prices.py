"""What a trading system posts for papers: bars, and what an answer earned by its own reckoning.

Belongs here: the shapes and what can be true of each by itself. Does not belong here: what follows from them (paper.py).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from tradewind.schema.names import Symbol
from tradewind.schema.times import ReportTime

MAX_BARS = 1000
LONGEST_BAR = timedelta(days=1)
_HIGHEST = 1e15

BarPrice = Annotated[FiniteFloat, Field(strict=True, gt=0, lt=_HIGHEST)]


class BarReport(BaseModel):
    """One bar: its symbol, when it began, how long it is (`seconds`, or `end`), and its four prices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: Symbol
    start: ReportTime
    seconds: Annotated[int, Field(strict=True, ge=1, le=int(LONGEST_BAR.total_seconds()))] | None = None
    end: ReportTime | None = None
    open: BarPrice
    high: BarPrice
    low: BarPrice
    close: BarPrice

    @model_validator(mode="after")
    def _is_a_bar(self) -> Self:
        if (self.seconds is None) == (self.end is None):
            raise ValueError("give the length as seconds, or end: one of them")
        if not timedelta(0) < self.ends_at - self.start <= LONGEST_BAR:
            raise ValueError("end must be after start, by at most a day")
        if self.low > min(self.open, self.close):
            raise ValueError("low must be the lowest of the four prices")
        if self.high < max(self.open, self.close):
            raise ValueError("high must be the highest of the four prices")
        return self

    @property
    def ends_at(self) -> datetime:
        """When it was complete."""
        if self.end is not None:
            return self.end
        assert self.seconds is not None
        return self.start + timedelta(seconds=self.seconds)

    @property
    def key(self) -> tuple[str, datetime, datetime]:
        """What makes it this bar."""
        return self.symbol, self.start, self.ends_at

    @property
    def prices(self) -> tuple[float, float, float, float]:
        """Open, high, low, close."""
        return self.open, self.high, self.low, self.close


def _no_bar_twice(bars: tuple[BarReport, ...]) -> tuple[BarReport, ...]:
    seen: dict[tuple[str, datetime, datetime], BarReport] = {}
    for number, bar in enumerate(bars):
        if seen.setdefault(bar.key, bar).prices != bar.prices:
            raise ValueError(
                f"{number}: the bar of {bar.symbol} at {bar.start.isoformat()} comes twice with other prices"
            )
    return tuple(seen.values())


class BarReports(BaseModel):
    """Body of `POST /v1/prices`: one bar, a list of bars, or an object with the list as `prices`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prices: Annotated[tuple[BarReport, ...], Field(min_length=1, max_length=MAX_BARS), AfterValidator(_no_bar_twice)]

    @model_validator(mode="before")
    @classmethod
    def _in_a_list(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"prices": value}
        if isinstance(value, Mapping) and "prices" not in value:
            return {"prices": [value]}
        return value


class PaperReport(BaseModel):
    """Body of `POST /v1/decisions/{id}/paper`: what one arm's answer earned on paper.

    `ret` is the return on its notional (size times leverage), net of trading cost: 0.0012 is 0.12 %. A hold is 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: Literal["baseline", "candidate"]
    ret: Annotated[FiniteFloat, Field(strict=True)]
