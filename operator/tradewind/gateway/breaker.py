"""A circuit breaker per arm: who is asked while an arm is down. It never changes the draw.

Belongs here: the state machine, with time as an argument. Does not belong here: what counts as a failure (arms.py).

Beside it, `rest`: the arm said for how long it wants to be left alone, which one answer is enough for.

    closed --N consecutive failures--> open --after open_seconds--> half-open (one probe) --success--> closed
                                        ^------------------------------failure-------------+
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """State of one arm in one replica. `now` is any monotonic clock in seconds."""

    failures_to_open: int
    open_seconds: float
    failures: int = 0
    open_until: float | None = None
    rest_until: float | None = None

    def allow(self, now: float, *, probe: bool = False) -> bool:
        """Whether the arm may be asked now. In half-open one request is let through a period; a probe always is, but in a rest."""
        if self.rest_until is not None:
            if now < self.rest_until:
                return False
            self.rest_until = None
        if self.open_until is None or probe:
            return True
        if now < self.open_until:
            return False
        self.open_until = now + self.open_seconds  # the probe's period; a probe that never reports blocks no longer
        return True

    def succeeded(self) -> None:
        """The arm was reached and spoke."""
        self.failures = 0
        self.open_until = None

    def failed(self, now: float) -> None:
        """The arm was not reached, or had nothing to say."""
        self.failures += 1
        if self.failures >= self.failures_to_open:
            self.open_until = now + self.open_seconds

    def rest(self, until: float) -> None:
        """The arm asked to be left alone until then: nobody asks it before."""
        self.rest_until = max(until, self.rest_until or until)

    @property
    def is_open(self) -> bool:
        """Whether the arm counts as down."""
        return self.open_until is not None or self.rest_until is not None
