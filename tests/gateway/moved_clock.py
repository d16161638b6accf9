"""A gateway whose clock is off: `python moved_clock.py OFFSET_FILE`. The file holds seconds; it may change while the gateway runs.

Only the time of day moves, as when somebody sets it: the monotonic clock, by which timeouts run, goes on.
"""

import datetime as dt
import sys
from pathlib import Path

from tradewind.gateway import __main__ as gateway

_REAL = dt.datetime
_file = Path(sys.argv[1])


def _offset() -> dt.timedelta:
    try:
        return dt.timedelta(seconds=float(_file.read_text()))
    except (OSError, ValueError):
        return dt.timedelta()


class _Moved(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
        return _REAL.now(tz) + _offset()


for name, module in tuple(sys.modules.items()):
    if name.startswith("tradewind.gateway.") and getattr(module, "datetime", None) is _REAL:
        module.datetime = _Moved  # type: ignore[attr-defined]

gateway.main()
