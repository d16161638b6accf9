"""Bars of a CSV file: every line is a bar, or the file is refused with the line.

Belongs here: reading and checking. Does not belong here: what a trade earns on them (trading/paper.py).
"""

import csv
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from tradewind.trading.exits import ExitCode
from tradewind.trading.paper import Price, Prices
from tradewind.trading.prices import LONGEST_BAR
from tradewind.training.outcome import JobError

BARS_FILE: Final = "bars.csv"
_PRICES: Final = ("open", "high", "low", "close")
_COLUMNS: Final = ("time", *_PRICES)
_MOST: Final = 10_000_000


class Bars:
    """Prices by symbol; without symbols in the file, of whatever is asked for."""

    def __init__(self, by_symbol: Mapping[str, list[Price]]) -> None:
        """Args: by_symbol: bars in the order of their times; "" where the file names no symbol."""
        self._prices = {symbol: Prices(bars) for symbol, bars in by_symbol.items()}
        self._closes = {
            symbol: ([bar.end for bar in bars], [bar.close for bar in bars]) for symbol, bars in by_symbol.items()
        }
        self._none = Prices(())

    def of(self, symbol: str) -> Prices:
        """Prices of a symbol; none where the file has none."""
        return self._prices.get(self._key(symbol), self._none)

    def entry(self, symbol: str, at: datetime, max_gap: timedelta) -> float | None:
        """The last close at a time: nothing later was known then; None: there is none, or it is older than `max_gap`."""
        ends, closes = self._closes.get(self._key(symbol), ([], []))
        number = bisect_right(ends, at) - 1
        return closes[number] if number >= 0 and at - ends[number] <= max_gap else None

    def _key(self, symbol: str) -> str:
        return "" if "" in self._prices else symbol


def read_bars(folder: Path) -> Bars:
    """The folder's bars.csv: columns time (its start), open, high, low, close, and symbol where there are several.

    A bar ends where the next of its symbol begins, at the latest after the usual length of that symbol's bars: after a gap nothing is
    known of it. Times without a zone are refused: an hour's shift would let a trade see the future.

    Raises:
        JobError: exit 65, InvalidBars, with the line and what is wrong.
    """
    file = folder / BARS_FILE
    if not file.is_file():
        raise _refused(f"there is no {BARS_FILE} in the folder")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return Bars(_by_symbol(csv.DictReader(stream)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refused(f"{BARS_FILE} is no CSV in UTF-8: {error}") from None


def _by_symbol(reader: "csv.DictReader[str]") -> dict[str, list[Price]]:
    names = [name.strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    missing = [column for column in _COLUMNS if column not in names]
    if missing:
        raise _refused(f"{BARS_FILE} has no column {', '.join(missing)}; its header is {','.join(names)[:200]}")
    starts: dict[str, list[tuple[datetime, tuple[float, ...]]]] = {}
    for number, line in enumerate(reader, start=2):
        if number > _MOST:
            raise _refused(f"{BARS_FILE} has more than {_MOST} lines")
        symbol = (line["symbol"] or "").strip() if "symbol" in names else ""
        if "symbol" in names and not symbol:
            raise _refused(f"{BARS_FILE} line {number}: symbol is empty")
        found = starts.setdefault(symbol, [])
        start = _time(line["time"], number)
        if found and start <= found[-1][0]:
            raise _refused(
                f"{BARS_FILE} line {number}: time {line['time']} is not after the one before; sort it, once each"
            )
        found.append((start, _numbers(line, number)))
    if not starts:
        raise _refused(f"{BARS_FILE} has no bar")
    return {symbol: list(_bars(found)) for symbol, found in starts.items()}


def _bars(found: list[tuple[datetime, tuple[float, ...]]]) -> Iterable[Price]:
    steps = [later - earlier for (earlier, _), (later, _) in pairwise(found)]
    usual = min(
        timedelta(seconds=median(step.total_seconds() for step in steps)) if steps else LONGEST_BAR, LONGEST_BAR
    )
    for (start, numbers), step in zip(found, [*steps, usual], strict=True):
        end = start + min(step, usual)
        opened, high, low, close = numbers
        yield Price(start, end, opened, high, low, close, end)


def _time(text: str | None, number: int) -> datetime:
    try:
        time = datetime.fromisoformat((text or "").strip())
    except ValueError:
        raise _refused(f"{BARS_FILE} line {number}: time {text!r} is none, such as 2026-01-31T00:00:00Z") from None
    if time.tzinfo is None:
        raise _refused(f"{BARS_FILE} line {number}: time {text!r} has no zone; write 2026-01-31T00:00:00Z for UTC")
    return time.astimezone(UTC)


def _numbers(line: Mapping[str, str | None], number: int) -> tuple[float, ...]:
    try:
        values = tuple(float(line[column] or "") for column in _PRICES)
    except ValueError:
        raise _refused(f"{BARS_FILE} line {number}: {', '.join(_PRICES)} must be numbers") from None
    opened, high, low, close = values
    if not all(0 < value < math.inf for value in values) or low > min(opened, close) or high < max(opened, close):
        raise _refused(
            f"{BARS_FILE} line {number}: the four are no prices of a bar: above 0, low lowest and high highest"
        )
    return values


def _refused(what: str) -> JobError:
    return JobError(ExitCode.BAD_DATA, "InvalidBars", f"evaluation.bars.uri: {what}")
