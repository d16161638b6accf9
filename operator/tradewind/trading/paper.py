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
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

from tradewind.schema.scalars import as_timedelta
from tradewind.trading.decision import Action
from tradewind.trading.settings.paper import PaperSettings

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
    NO_ANSWER = "no_answer"
    """What is stored is no decision: no action, no size, a distance that is negative or no number."""
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
        fallback: version that stands in for an arm that failed in itself.
    """

    settings: PaperSettings | None
    max_hold: timedelta
    fallback: str

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
        known = ((max(price.known_at, price.end), price) for price in prices if price.is_valid)
        self._ordered = sorted(known, key=lambda p: (p[0], p[1].end, p[1].start, p[1].close, p[1].low, p[1].high))
        self._times = [time for time, _ in self._ordered]

    def known_after(self, time: datetime, latest: datetime) -> Iterator[tuple[datetime, Price]]:
        """Those that became known after a time, up to another one: all that are later than it are among them."""
        for index in range(bisect_right(self._times, time), bisect_right(self._times, latest)):
            yield self._ordered[index]


@dataclass(frozen=True, slots=True)
class Trade:
    """An opening answer: side 1 long, -1 short; distances of the exits as fractions of the entry, 0 for none."""

    side: int
    stop_loss: float
    take_profit: float


@dataclass(frozen=True, slots=True)
class Paper:
    """A settled return on notional; times on the clock of the prices."""

    ret: float
    exit_reason: PaperExit
    exit_at: datetime
    known_at: datetime


def trade_of(answer: Mapping[str, Any]) -> Trade | NoPaper | None:
    """The trade that an answer opens; None: it opens none, which is a return of 0."""
    try:
        action = Action(answer["action"])
        if not action.opens:
            return None
        size, stop, target = (float(answer[name]) for name in ("size_usd", "stop_loss_pct", "take_profit_pct"))
    except (KeyError, TypeError, ValueError):
        return NoPaper.NO_ANSWER
    # A distance below 0 would put the exit on the wrong side of the entry.
    if not (0 < size < math.inf and 0 <= stop <= 1 and 0 <= target <= 10):
        return NoPaper.NO_ANSWER
    return Trade(1 if action is Action.OPEN_LONG else -1, stop, target)


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
    ends = decided_at + rule.horizon
    over = ends + rule.max_gap
    stop, target = entry * (1 - trade.side * trade.stop_loss), entry * (1 + trade.side * trade.take_profit)
    last = decided_at
    for known_at, price in prices.known_after(decided_at, decided_at + rule.max_hold):
        seen = _seen(price, decided_at, ends, over)
        if seen.end <= last or seen.start > over:
            continue
        if seen.start - last > rule.max_gap:
            return NoPaper.GAP
        last = seen.end
        found = _exit(trade, seen, stop, target)
        if found is None and seen.end >= ends:
            found = seen.close, PaperExit.HORIZON
        if found is not None:
            level, reason = found
            ret = trade.side * (level / entry - 1) - rule.cost
            at_open = level == seen.open and reason is not PaperExit.HORIZON
            exit_at = max(seen.start, decided_at) if at_open else seen.end
            return Paper(ret, reason, exit_at, known_at) if _LEAST <= ret <= _MOST else NoPaper.IMPLAUSIBLE
    return None


def market_move(decided_at: datetime, entry: float | None, prices: Prices, rule: PaperRule) -> Paper | NoPaper | None:
    """What the symbol did from the decision to the horizon: without side, stops and cost. Returns as `settled`."""
    if not _is_price(entry):
        return NoPaper.NO_ENTRY
    assert entry is not None
    ends = decided_at + rule.horizon
    over = ends + rule.max_gap
    for known_at, price in prices.known_after(decided_at, decided_at + rule.max_hold):
        seen = _seen(price, decided_at, ends, over)
        if ends <= seen.end <= over:
            ret = seen.close / entry - 1
            if not _LEAST <= ret <= _MOST:
                return NoPaper.IMPLAUSIBLE
            return Paper(ret, PaperExit.HORIZON, seen.end, known_at)
    return None


def _is_price(number: float | None) -> bool:
    return number is not None and 0 < number < math.inf


def _seen(price: Price, decided_at: datetime, ends: datetime, over: datetime) -> Price:
    """What of a bar counts for a trade: nothing from before the decision, and nothing from after the first price at the end."""
    if price.start < decided_at:
        return Price.point(price.end, price.close, price.known_at)
    if price.start >= ends or price.end > over:
        return Price.point(price.start, price.open, price.known_at)
    return price


def _exit(trade: Trade, price: Price, stop: float, target: float) -> tuple[float, PaperExit] | None:
    """Price and reason of an exit within a bar. Where both were touched the stop counts; what opens beyond fills there."""
    worst, best = (price.low, price.high) if trade.side > 0 else (price.high, price.low)
    if trade.stop_loss > 0 and trade.side * (price.open - stop) <= 0:
        return price.open, PaperExit.STOP_LOSS
    if trade.take_profit > 0 and trade.side * (price.open - target) >= 0:
        return price.open, PaperExit.TAKE_PROFIT
    if trade.stop_loss > 0 and trade.side * (worst - stop) <= 0:
        return stop, PaperExit.STOP_LOSS
    if trade.take_profit > 0 and trade.side * (best - target) >= 0:
        return target, PaperExit.TAKE_PROFIT
    return None
