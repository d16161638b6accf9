"""What a decision would have earned, by one rule for both arms, on prices alone.

Belongs here: the rule. Does not belong here: whose answer stands for an arm (standing.py), where prices come from and where
papers are stored (the operator's shell/papers.py).

The rule: in at the price in the request, out at the stop-loss, the take-profit or the horizon, less the cost of the round
trip. The return is on the notional, side * (exit / entry - 1) - cost; leverage does not enter, as it is in the notional. A
hold, or a close, is 0 at once.

Prices are walked in the order in which they became known, and the first that settles is final: one that comes late, for a
time that was passed already, changes nothing. So a paper is the same whenever it is computed. What cannot be told is no
paper: no price at the entry, a gap while the trade is open, a price that is none, an answer that is none.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tradewind.schema.scalars import as_timedelta
from tradewind.trading.settings.paper import PaperSettings
from tradewind.trading.standing import Trade

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_LEAST, _MOST = -5.0, 20.0
"""Returns beyond are a mistake in the prices, such as another unit; reports are held to the same by default."""


class PaperExit(StrEnum):
    """How a paper trade ended."""

    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"
    HORIZON = "horizon"
    HOLD = "hold"
    REPORTED = "reported"


class NoPaper(StrEnum):
    """Why there is none, and will be none from prices."""

    NO_ENTRY = "no_entry"
    """The request has no price, or one that is no number above 0."""
    GAP = "gap"
    """There was no price for longer than maxGap while the trade was open."""
    IMPLAUSIBLE = "implausible"
    """The return is beyond what prices do."""


@dataclass(frozen=True, slots=True)
class PaperRule:
    """`PaperSettings` as numbers.

    Attributes:
        horizon: from the decision to the end of the trade.
        max_gap: longest time without a price.
        cost: of the round trip, as a fraction of the notional.
        max_hold: prices that become known later than this after the decision settle nothing.
    """

    horizon: timedelta
    max_gap: timedelta
    cost: float
    max_hold: timedelta

    @classmethod
    def of(cls, settings: PaperSettings, max_hold: timedelta) -> Self:
        """The rule that an Endpoint's settings say."""
        cost = float(Decimal(settings.cost_basis_points) / 10_000)
        return cls(as_timedelta(settings.horizon), as_timedelta(settings.max_gap), cost, max_hold)


@dataclass(frozen=True, slots=True)
class PaperBasis:
    """What the papers of an experiment rest on besides answers and prices.

    Attributes:
        settings: of the Endpoint at t0; None: only holds and what is reported.
        max_hold: of the Endpoint at t0; a paper that is known later after its decision is none.
        shadow_share: share of the decisions that a shadow is asked for. The others have no papers, whichever arm was drawn:
            else whether a row has a pair would depend on the draw.
    """

    settings: PaperSettings | None
    max_hold: timedelta
    shadow_share: float = 1.0

    @property
    def rule(self) -> PaperRule | None:
        """The settings as numbers."""
        return None if self.settings is None else PaperRule.of(self.settings, self.max_hold)


@dataclass(frozen=True, slots=True)
class Price:
    """A bar, or one price at a time (start is end, and the four prices are one).

    Attributes:
        known_at: when it was there to be used, not before `end`.
    """

    start: datetime
    end: datetime
    open: float
    high: float
    low: float
    close: float
    known_at: datetime

    @classmethod
    def point(cls, at: datetime, price: float, known_at: datetime) -> Self:
        """One price at a time."""
        return cls(at, at, price, price, price, price, known_at)

    @property
    def is_valid(self) -> bool:
        """Whether its numbers can be prices of one market in the order that they claim."""
        return (
            self.start <= self.end
            and all(_is_price(number) for number in (self.open, self.high, self.low, self.close))
            and self.low <= min(self.open, self.close)
            and max(self.open, self.close) <= self.high
        )


class Prices:
    """Prices of one symbol in the order in which they became known. Invalid ones are left out."""

    def __init__(self, prices: Iterable[Price]) -> None:
        rows = [
            (max(_us(p.known_at), _us(p.end)), _us(p.end), _us(p.start), p.open, p.high, p.low, p.close)
            for p in prices
            if p.is_valid
        ]
        rows.sort()
        times = np.array([row[:3] for row in rows], np.int64).reshape(-1, 3)
        self._known, self._end, self._start = times.T
        self._prices = np.array([row[3:] for row in rows], np.float64).reshape(-1, 4)
        self._newest: tuple[datetime, PaperRule, _Window] | None = None

    def window(self, decided_at: datetime, rule: PaperRule) -> "_Window":
        """What may settle a decision of that time. The newest is kept, as both arms and the market need it."""
        if self._newest is None or self._newest[:2] != (decided_at, rule):
            self._newest = decided_at, rule, self._window(_us(decided_at), rule)
        return self._newest[2]

    def _window(self, decided: int, rule: PaperRule) -> "_Window":
        ends = decided + rule.horizon // _MICROSECOND
        over, max_gap = ends + rule.max_gap // _MICROSECOND, rule.max_gap // _MICROSECOND
        # What is later than the decision became known later than it.
        first = np.searchsorted(self._known, decided, "right")
        last = np.searchsorted(self._known, decided + rule.max_hold // _MICROSECOND, "right")
        within = slice(first, last)
        known, end, start, prices = self._known[within], self._end[within], self._start[within], self._prices[within]
        # Of a bar that began before the decision only the close is surely later; of one that begins at the end, or reaches
        # far beyond it, only the open is surely in time.
        before = start < decided
        late = ~before & ((start >= ends) | (end > over))
        start, end = np.where(before, end, start), np.where(late, start, end)
        prices = np.where(before[:, None], prices[:, 3:], np.where(late[:, None], prices[:, :1], prices))
        counts = start <= over
        reached = np.maximum.accumulate(np.concatenate(([decided], np.where(counts, end, decided))))[:-1]
        fresh = counts & (end > reached)
        at_end = np.flatnonzero((end >= ends) & (end <= over))
        market = None if not len(at_end) else (float(prices[at_end[0], 3]), int(end[at_end[0]]), int(known[at_end[0]]))
        gap = (start - reached > max_gap)[fresh]
        return _Window(start[fresh], end[fresh], known[fresh], prices[fresh].T, gap, end[fresh] >= ends, market)


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """The prices that are walked for one decision, in order; all of shape (n,), times in microseconds.

    Attributes:
        prices: open, high, low, close, shape (4, n).
        gap: it comes after too long a time without a price.
        at_end: it is the first price at the horizon or later.
        market: price, time and when it was known of the first at the horizon; None: there is none.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    known: NDArray[np.int64]
    prices: NDArray[np.float64]
    gap: NDArray[np.bool_]
    at_end: NDArray[np.bool_]
    market: tuple[float, int, int] | None


@dataclass(frozen=True, slots=True)
class Paper:
    """A settled return on notional; times on the clock of the prices."""

    ret: float
    exit_reason: PaperExit
    exit_at: datetime
    known_at: datetime


def hold(decided_at: datetime) -> Paper:
    """Nothing was opened: 0, known with the decision."""
    return Paper(0.0, PaperExit.HOLD, decided_at, decided_at)


def settled(
    trade: Trade, decided_at: datetime, entry: float | None, prices: Prices, rule: PaperRule
) -> Paper | NoPaper | None:
    """What a trade earned.

    Args:
        trade: what was answered.
        decided_at: when the question was asked, on the clock of the prices.
        entry: price in the request; None: it has none.
        prices: of its symbol, as far as they are known.
        rule: horizon, cost and gaps.

    Returns:
        The paper, why there will be none, or None: no price has settled it so far.
    """
    if not _is_price(entry):
        return NoPaper.NO_ENTRY
    assert entry is not None
    window = prices.window(decided_at, rule)
    side, opened, high, low, close = trade.side, *window.prices
    worst, best = (low, high) if side > 0 else (high, low)
    none = np.zeros(len(opened), np.bool_)
    stop, target = entry * (1 - side * trade.stop_loss), entry * (1 + side * trade.take_profit)
    # In the order in which they count: what opens beyond fills at its open; where a bar touched both, the stop counts.
    exits = (
        (PaperExit.STOP_LOSS, opened, side * (opened - stop) <= 0 if trade.stop_loss else none),
        (PaperExit.TAKE_PROFIT, opened, side * (opened - target) >= 0 if trade.take_profit else none),
        (PaperExit.STOP_LOSS, np.full(len(opened), stop), side * (worst - stop) <= 0 if trade.stop_loss else none),
        (
            PaperExit.TAKE_PROFIT,
            np.full(len(opened), target),
            side * (best - target) >= 0 if trade.take_profit else none,
        ),
        (PaperExit.HORIZON, close, window.at_end),
    )
    ended = np.flatnonzero(window.gap | exits[0][2] | exits[1][2] | exits[2][2] | exits[3][2] | window.at_end)
    if not len(ended):
        return None
    at = int(ended[0])
    if window.gap[at]:
        return NoPaper.GAP
    number, (reason, level, _) = next((n, found) for n, found in enumerate(exits) if found[2][at])
    exit_us = window.start[at] if number < 2 else window.end[at]
    return _paper(side * (float(level[at]) / entry - 1) - rule.cost, reason, int(exit_us), int(window.known[at]))


def market_move(decided_at: datetime, entry: float | None, prices: Prices, rule: PaperRule) -> Paper | NoPaper | None:
    """What the symbol did from the decision to the horizon: without side, stops and cost. Returns as `settled`."""
    if not _is_price(entry):
        return NoPaper.NO_ENTRY
    assert entry is not None
    found = prices.window(decided_at, rule).market
    return None if found is None else _paper(found[0] / entry - 1, PaperExit.HORIZON, found[1], found[2])


def _paper(ret: float, reason: PaperExit, exit_us: int, known_us: int) -> Paper | NoPaper:
    if not _LEAST <= ret <= _MOST:
        return NoPaper.IMPLAUSIBLE
    return Paper(ret, reason, _EPOCH + exit_us * _MICROSECOND, _EPOCH + known_us * _MICROSECOND)


def _us(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _is_price(number: float | None) -> bool:
    return number is not None and 0 < number < math.inf
