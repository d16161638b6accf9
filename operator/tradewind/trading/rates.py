"""How often somebody may do something: buckets of tokens, one for all or one a peer. The time is an argument, in seconds.

Belongs here: counting, bounded in memory. Does not belong here: what is refused, and in which words.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_PEERS: Final = 4096


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many a second in the long run."""

    burst: int
    per_second: float


class Bucket:
    """What is left of a rate."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._left = float(rate.burst)
        self._as_of: float | None = None

    def wait(self, now: float) -> float:
        """Seconds until there is one; 0: there is one now."""
        if self._as_of is not None:
            self._left = min(self._rate.burst, self._left + max(0.0, now - self._as_of) * self._rate.per_second)
        self._as_of = now
        return 0.0 if self._left >= 1.0 else (1.0 - self._left) / self._rate.per_second

    def take(self, now: float) -> float:
        """Takes one, or gives the seconds until there is one."""
        seconds = self.wait(now)
        if not seconds:
            self._left -= 1.0
        return seconds


class Buckets:
    """A bucket for each peer of the newest few thousand; one that was forgotten begins anew, full."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._of: OrderedDict[str, Bucket] = OrderedDict()

    def wait(self, peer: str, now: float) -> float:
        """Seconds until there is one for the peer; 0: there is one now. Costs nothing and remembers nobody."""
        known = self._of.get(peer)
        return known.wait(now) if known is not None else 0.0

    def take(self, peer: str, now: float) -> float:
        """Takes one of the peer's, or gives the seconds until there is one."""
        if peer not in self._of:
            self._of[peer] = Bucket(self._rate)
        self._of.move_to_end(peer)
        while len(self._of) > _PEERS:
            self._of.popitem(last=False)
        return self._of[peer].take(now)
