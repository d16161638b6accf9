"""Which of the decisions that are known how they ended teach: duplicates, surplus holds and the oldest are left out.

Belongs here: choosing among many. Does not belong here: what one teaches (samples.py), and the sides of the split (split.py).
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tradewind.trading.dataset.brief import Brief
from tradewind.trading.dataset.imitation import Imitation
from tradewind.trading.dataset.samples import Sample, samples_of
from tradewind.trading.duplicates import Dedupe, find_duplicates
from tradewind.trading.teaching import Dropped


@dataclass(frozen=True, slots=True)
class Taught:
    """A decision that teaches, and what."""

    row: Brief
    samples: tuple[Sample, ...]


def chosen(matured: Sequence[Brief], imitation: Imitation, dropped: Counter[Dropped]) -> list[Taught]:
    """The decisions that teach, in order.

    Args:
        matured: in order of time and id.
        imitation: what is imitated.
        dropped: counts those that are left out, by reason.
    """
    taught = _without_duplicates(_taught(matured, imitation, dropped), imitation.dedupe, dropped)
    taught = _without_hold_surplus(taught, matured, dropped)
    if imitation.max_samples is not None and len(taught) > imitation.max_samples:
        dropped[Dropped.OVER_MAX_SAMPLES] += len(taught) - imitation.max_samples
        taught = taught[-imitation.max_samples :]
    return taught


def _taught(matured: Sequence[Brief], imitation: Imitation, dropped: Counter[Dropped]) -> list[Taught]:
    taught: list[Taught] = []
    scales = _median_returns(matured)
    for row in matured:
        samples = samples_of(row, imitation, scales.get(row.symbol, 0.0))
        if isinstance(samples, Dropped):
            dropped[samples] += 1
        else:
            taught.append(Taught(row, samples))
    return taught


def _median_returns(rows: Iterable[Brief]) -> dict[str, float]:
    """Median size of the net return of each symbol's trades: what is much for one is little for another."""
    sizes: dict[str, list[float]] = {}
    for row in rows:
        if not row.follows_up and (earned := row.earned) is not None:
            sizes.setdefault(row.symbol, []).append(abs(earned))
    return {symbol: median(values) for symbol, values in sizes.items()}


def _without_duplicates(taught: Sequence[Taught], dedupe: Dedupe, dropped: Counter[Dropped]) -> list[Taught]:
    """The first of each prompt among those that teach: a decision that teaches nothing hides none that does."""
    kept = []
    copies = find_duplicates([(each.row.exact, each.row.near) for each in taught], dedupe)
    for each, copy in zip(taught, copies, strict=True):
        match copy:
            case None:
                kept.append(each)
            case Dedupe.EXACT:
                dropped[Dropped.DUPLICATE] += 1
            case _:
                dropped[Dropped.NEAR_DUPLICATE] += 1
    return kept


def _without_hold_surplus(taught: list[Taught], matured: Sequence[Brief], dropped: Counter[Dropped]) -> list[Taught]:
    """Logged holds thinned out to their share of the log: dropping bad trades must not teach a model to hold.

    Which holds stay is drawn by a hash of their ids, so that the choice is the same in every run.
    """
    logged_holds = sum(row.is_hold for row in matured)
    logged_trades = len(matured) - logged_holds
    if not logged_trades:
        return taught
    holds = [each.row.decision_id for each in taught if each.row.is_hold]
    imitated = sum(any(sample.desirable for sample in each.samples) for each in taught) - len(holds)
    allowed = math.ceil(imitated * logged_holds / logged_trades)
    if len(holds) <= allowed:
        return taught
    by_draw = sorted(holds, key=lambda decision_id: hashlib.sha256(decision_id.encode()).digest())
    surplus = set(by_draw[allowed:])
    dropped[Dropped.HOLD_SURPLUS] += len(surplus)
    return [each for each in taught if each.row.decision_id not in surplus]
