"""Hourly EURUSD bars of 2017-2018 and what a decision maker is shown of them.

Belongs here: reading the bars, the features in the shape of `market_data`, the paper account. Every feature of bar t is
computed from bars up to and including t. Does not belong here: who is asked (paper_trader.py) and any rule that trades.

The 5,000 bars come from the package `backtesting` (AGPL, so it is an extra of the demo alone); only its CSV file is
read, its code is never imported.
"""

import csv
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

SYMBOL: Final = "EURUSD"
BAR: Final = timedelta(hours=1)
WARMUP: Final = 120  # bars before the first one that has every feature
FIRST_PART: Final = 0.6  # share of the bars that the API arm trades alone and the training sees

BALANCE_USD: Final = 1000.0
PERMISSION_LEVEL: Final = "L2"

MarketView = dict[str, dict[str, float | int | str] | str]


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour of prices, USD per EUR. Known to nobody before `closes_at`."""

    opens_at: datetime
    open: float
    high: float
    low: float
    close: float

    @property
    def closes_at(self) -> datetime:
        """End of the hour: the earliest moment at which this bar may be acted on."""
        return self.opens_at + BAR


def load_bars(path: Path | None = None) -> tuple[Bar, ...]:
    """All bars in time order.

    Args:
        path: a CSV file with a time column and Open, High, Low, Close; by default the one that `backtesting` brings.

    Raises:
        FileNotFoundError: the package `backtesting` is not installed.
    """
    with (path or _packaged_csv()).open(newline="", encoding="utf-8") as lines:
        rows = csv.reader(lines)
        next(rows)
        return tuple(
            Bar(datetime.fromisoformat(row[0]).replace(tzinfo=UTC), *(float(cell) for cell in row[1:5])) for row in rows
        )


def split_index(bars: Sequence[Bar]) -> int:
    """Index of the first bar of the test: the first one that closes on the day after the first part ends.

    A replay's blocks are days, so the test starts at a midnight.
    """
    last = bars[int(len(bars) * FIRST_PART) - 1].closes_at
    midnight = last.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    return next(i for i, bar in enumerate(bars) if bar.closes_at >= midnight)


def market_is_open_after(bars: Sequence[Bar], index: int) -> bool:
    """Whether the next bar follows at once: over a weekend nothing can be opened, so nothing is asked."""
    return bars[index + 1].opens_at - bars[index].closes_at < BAR


def market_view(bars: Sequence[Bar], index: int) -> MarketView:
    """`market_data` at the close of a bar: words and coarse numbers, so that a tiny model can read them.

    Args:
        bars: in time order; nothing after `index` is looked at.
        index: the bar that has just closed, at least `WARMUP`.

    Raises:
        IndexError: fewer than `WARMUP` bars lie before the bar.
    """
    if not WARMUP <= index < len(bars):
        raise IndexError(f"index: bar {index} has no full history; use {WARMUP} to {len(bars) - 1}")
    closes = [bar.close for bar in bars[index - WARMUP : index + 1]]
    price = closes[-1]
    returns_bp = [1e4 * math.log(b / a) for a, b in pairwise(closes)]
    day_bp, norm_bp = _root_mean_square(returns_bp[-24:]), _root_mean_square(returns_bp)
    move_bp = 1e4 * (price / closes[-4] - 1)
    hour = bars[index].closes_at.hour
    return {
        SYMBOL: {
            "change_24h": _plain(price / closes[-25] - 1, 3),
            "hour": hour,
            "macd_signal": _side(_macd_bp(closes), 0.3, "positive", "negative", "neutral"),
            "momentum_1h": _side(price - closes[-2], 0, "up", "down", "flat"),
            "momentum_3h": _side(move_bp, 0, "up", "down", "flat"),
            "move_3h": _grade(abs(move_bp) / max(day_bp, 0.1), (0.6, 1.6), ("small", "medium", "large")),
            "price": _plain(price, 3),
            "rsi": 5 * round(_rsi(closes[-15:]) / 5),
            "session": "asia" if hour < 7 or hour >= 22 else "europe" if hour < 12 else "us",
            "trend": _side(1e4 * (price / _mean(closes[-48:]) - 1), 10, "bullish", "bearish", "neutral"),
            "volatility": _grade(day_bp / max(norm_bp, 0.1), (0.75, 1.05), ("low", "medium", "high")),
        },
        "market_regime": _grade(day_bp, (6.5, 10.5), ("quiet", "normal", "turbulent")),
    }


def account_state() -> dict[str, float | str | list[str]]:
    """The paper account, the same for every decision: nothing compounds and no position outlives its bar."""
    return {"balance": BALANCE_USD, "permission_level": PERMISSION_LEVEL, "positions": []}


def _packaged_csv() -> Path:
    spec = importlib.util.find_spec("backtesting")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the bars: package `backtesting` is not installed; pip install 'tradewind[demo]'")
    return Path(spec.submodule_search_locations[0]) / "test" / "EURUSD.csv"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(_mean([v * v for v in values]))


def _rsi(closes: Sequence[float]) -> float:
    """Relative strength index with plain averages (Cutler), 0 to 100; 50 where nothing moved."""
    changes = [b - a for a, b in pairwise(closes)]
    gain, loss = sum(c for c in changes if c > 0), -sum(c for c in changes if c < 0)
    return 100 * gain / (gain + loss) if gain + loss > 0 else 50.0


def _macd_bp(closes: Sequence[float]) -> float:
    """MACD(12, 26) minus its 9-bar signal line, in basis points of the price; averages start at the first close."""
    fast = slow = closes[0]
    signal = 0.0
    for close in closes:
        fast += (close - fast) * 2 / 13
        slow += (close - slow) * 2 / 27
        signal += (fast - slow - signal) * 2 / 10
    return 1e4 * (fast - slow - signal) / closes[-1]


def _side(value: float, band: float, above: str, below: str, between: str) -> str:
    return above if value > band else below if value < -band else between


def _grade(value: float, bounds: tuple[float, float], names: tuple[str, str, str]) -> str:
    (low, high), (small, medium, large) = bounds, names
    return small if value < low else large if value > high else medium


def _plain(value: float, digits: int) -> float:
    """Rounded, and never minus zero: the text of a prompt must not carry a sign that means nothing."""
    return round(value, digits) + 0.0
