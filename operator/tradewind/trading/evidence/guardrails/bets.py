"""Bets against "no harm" (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024).

Under "no harm" each product of bets reaches 100 with probability at most 1 %, at any time.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tradewind.trading.evidence.confidence import Floats

LOG_THRESHOLD: Final = math.log(100.0)
_RATE_BETS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def log_e_rate(bad: Sequence[bool] | Sequence[int] | NDArray[np.bool_], accepted: float) -> Floats:
    """Running logarithm of the evidence that the rate of bad requests is above the accepted one, shape (requests,).

    Args:
        bad: 1 or True where a request was bad, in time order.
        accepted: p0, inside (0, 1).
    """
    bets = tuple(bet for bet in _RATE_BETS if bet * accepted < 0.9)
    return log_mean_bet(np.asarray(bad, dtype=np.float64) - accepted, bets)


def log_mean_bet(values: Floats, bets: tuple[float, ...]) -> Floats:
    """Logarithm of the mean over the bets of the running product of 1 + bet * value, shape (..., rows)."""
    total = np.full(values.shape, -np.inf)
    for bet in bets:
        np.logaddexp(total, np.cumsum(np.log1p(bet * values), axis=-1), out=total)
    return total - math.log(len(bets))
