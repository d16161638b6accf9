"""When a question is asked again: within its deadline, after a pause with jitter, and never in a storm.

Belongs here: the pause and the budget of one arm, with chance as an argument. Does not belong here: which errors may pass when
asked again (refusals.py and the protocols say it of each).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_MOST_SAVED = 10.0


@dataclass(slots=True)
class RetryBudget:
    """How often an arm may be asked again: a share of its questions is saved up, each repetition takes one.

    A few are there from the start, so that the first hiccup of a quiet Endpoint is mended. While everything fails, calls grow by
    the share and not by a factor.
    """

    saved: float = 3.0

    def asked(self, share: float) -> None:
        """A question came; `share` of a repetition is saved for it."""
        self.saved = min(_MOST_SAVED, self.saved + share)

    def take(self) -> bool:
        """Whether one may be asked again now."""
        if self.saved < 1:
            return False
        self.saved -= 1
        return True


def pause(attempt: int, wait: float | None, chance: Callable[[], float] = random.random) -> float:
    """Seconds before the next attempt.

    Args:
        attempt: how many were made, from 1.
        wait: what the API asked for; it is kept to, and a little is added so that not all come at once.
        chance: uniform in [0, 1).
    """
    longest: float = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
    if wait is not None:
        return wait + longest * chance() / 4
    return longest * (0.5 + chance() / 2)
