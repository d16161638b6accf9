"""Real bars as a market: arms act at random on them, fill at the next open, and are settled on paper at the last close.

Belongs here: bars as text, and chances on them. Does not belong here: files (cli/table_file.py), and simulated markets
(scenarios.py).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from tradewind.trading.evidence.cells import Cells, records
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.simulation.scenarios import Chances, Market, demand_agreement

COLUMNS = ("time", "open", "high", "low", "close")
_MAX_PRICE = 1e9
_AGREEMENT = 0.6


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars of one instrument, one after the other: gaps such as weekends are closed.

    Attributes:
        interval: from a bar to the next, as most have it.
        opens: shape (bars,).
        closes: same.
        agreement: share of decisions at which the arms give the same answer; else one is long and the other short.
    """

    interval: timedelta
    opens: Floats
    closes: Floats
    agreement: float = _AGREEMENT

    def having(self, agreement: float) -> "Bars":
        """The bars with arms that agree so often.

        Raises:
            ValueError: it is out of bounds.
        """
        demand_agreement(agreement)
        return replace(self, agreement=agreement)

    def volatility(self, market: Market) -> float:
        """Standard deviation of a trade's return.

        Raises:
            ValueError: the bars are too coarse for the market, or too few.
        """
        held = self._steps(market)[1]
        moves = self.opens[1 + held :] / self.opens[1 : len(self.opens) - held] - 1.0
        found = float(np.std(moves)) if len(moves) else 0.0
        if not found > 0.0:
            raise ValueError(f"bars: no price moves within the hold in {len(self.opens)} bars; give more of them")
        return found

    def draw(self, effect: float, market: Market, shape: tuple[int, int], rng: np.random.Generator) -> Chances:
        """Chances of so many runs and rows; each run begins at some bar.

        Raises:
            ValueError: the bars are too coarse for the market, or too few.
        """
        every, held = self._steps(market)
        needed = (shape[1] - 1) * every + held + 2
        spare = len(self.opens) - needed
        if spare < 0:
            raise ValueError(
                f"bars: {len(self.opens)} bars, and an experiment of {shape[1]} decisions needs {needed}; give more of them, or a "
                "shorter evidence.maxDuration"
            )
        at = rng.integers(0, spare + 1, (shape[0], 1)) + np.arange(shape[1]) * every
        unit = self.volatility(market)
        filled = (self.opens[at + 1 + held] / self.opens[at + 1] - 1.0) / unit
        moved = (self.closes[at + held] / self.closes[at] - 1.0) / unit
        side = np.where(rng.random(shape) < 0.5, 1.0, -1.0)
        same = rng.random(shape) < self.agreement
        sides = side, np.where(same, side, -side)
        better = np.where(same, 0.0, effect / (1.0 - self.agreement))
        always = np.ones(shape, np.bool_)
        return Chances(
            ret=(sides[0] * filled, sides[1] * filled + better),
            acts=(always, always),
            papers=(sides[0] * moved, sides[1] * moved + better),
            market=moved,
            priced=always,
            late=np.zeros(shape, np.bool_),
            symbol=np.zeros(shape[1], np.int64),
        )

    def _steps(self, market: Market) -> tuple[int, int]:
        """Bars from a decision to the next, and bars that a position stays open."""
        if market.symbols != 1:
            raise ValueError("symbols: bars are of one instrument; leave it out")
        every, held = market.spacing / self.interval, market.hold / self.interval
        if every < 1.0 or not every.is_integer():
            raise ValueError(
                f"decisions per day: {market.decisions_per_day} are one in {market.spacing}, which is no whole number of bars of "
                f"{self.interval}; give another number of decisions, or other bars"
            )
        if held < 1.0 or not held.is_integer():
            raise ValueError(f"hold: {market.hold} is no whole number of bars of {self.interval}, from 1 up")
        return int(every), int(held)


def read_bars(lines: Iterable[str], decimal: str = ".") -> Bars:
    """Bars of a text with the columns time, open, high, low, close; more columns are left aside.

    Raises:
        ValueError: it is no such table; the message names row, column and remedy.
    """
    rows = records(lines, COLUMNS, decimal)[1]
    if len(rows) < 2:
        raise ValueError(f"holds {len(rows)} bars; give at least 2")
    times: list[datetime] = []
    opens, closes = np.empty(len(rows)), np.empty(len(rows))
    for i, cells in enumerate(rows):
        times.append(_time(cells, times[-1] if times else None))
        opens[i], closes[i] = _prices(cells)
    interval = timedelta(seconds=float(np.median([(b - a).total_seconds() for a, b in pairwise(times)])))
    return Bars(interval, opens, closes)


def _time(cells: Cells, before: datetime | None) -> datetime:
    found = cells.time_of("time")
    if found is None:
        raise ValueError(f"row {cells.number}, column time: empty; give the bar's time with an offset")
    if before is not None and found <= before:
        raise ValueError(
            f"row {cells.number}, column time: {found.isoformat()} is not after the row before; sort the bars by time, each once"
        )
    return found


def _prices(cells: Cells) -> tuple[float, float]:
    found = {}
    for column in COLUMNS[1:]:
        price = cells.number_of(column, low=0.0, high=_MAX_PRICE)
        if not price or not math.isfinite(price):
            raise ValueError(f"row {cells.number}, column {column}: no price; give a number above 0")
        found[column] = price
    inside = found["low"] <= min(found["open"], found["close"]) and max(found["open"], found["close"]) <= found["high"]
    if not inside:
        raise ValueError(
            f"row {cells.number}: open and close must lie between low and high; the columns may be mixed up"
        )
    return found["open"], found["close"]
