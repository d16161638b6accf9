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
from tradewind.trading.dataset.paper import taught_by
from tradewind.trading.dataset.samples import Sample
from tradewind.trading.decision import Action
from tradewind.trading.duplicates import Dedupe, find_duplicates
from tradewind.trading.teaching import Dropped, Teaching


@dataclass(frozen=True, slots=True)
class Taught:
    """A decision that teaches, and what."""

    row: Brief
    samples: tuple[Sample, ...]

    @property
    def imitates_a_hold(self) -> bool:
        """Whether it teaches to hold."""
        return any(sample.desirable and sample.action is Action.HOLD for sample in self.samples)

    @property
    def is_right_hold(self) -> bool:
        """Whether it is known that trading would have lost."""
        return any(sample.label == Teaching.PAPER_HOLD for sample in self.samples)


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
        samples = taught_by(row, imitation, scales.get(row.symbol, 0.0))
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
    kept: list[Taught] = []
    copies = find_duplicates([(each.row.exact, each.row.near) for each in taught], dedupe)
    for each, copy in zip(taught, copies, strict=True):
        match copy:
            case None:
                kept.append(each)
            case Dedupe.EXACT:
                dropped[Dropped.DUPLICATE] += 1
            case _:
                dropped[Dropped.NEAR_DUPLICATE] += 1
    return kept if dedupe is Dedupe.NONE else _without_copies_of_others(kept, dropped)


def _without_copies_of_others(taught: Sequence[Taught], dropped: Counter[Dropped]) -> list[Taught]:
    """What the other arm was asked may be what was asked elsewhere: then its answer goes, since a real result goes first."""
    asked = {each.row.exact for each in taught}
    kept = []
    for each in taught:
        other = each.row.other
        if other is not None and any(sample.of_other for sample in each.samples) and other.exact != each.row.exact:
            if other.exact in asked:
                own = tuple(sample for sample in each.samples if not sample.of_other)
                if not own:
                    dropped[Dropped.DUPLICATE] += 1
                    continue
                kept.append(Taught(each.row, own))
                continue
            asked.add(other.exact)
        kept.append(each)
    return kept


def _without_hold_surplus(taught: list[Taught], matured: Sequence[Brief], dropped: Counter[Dropped]) -> list[Taught]:
    """Logged holds thinned out to their share of the log: dropping bad trades must not teach a model to hold.

    Which holds stay is drawn by a hash of their ids, so that the choice is the same in every run; those that are known to be right
    go last.
    """
    logged_holds = sum(row.is_hold for row in matured)
    logged_trades = len(matured) - logged_holds
    if not logged_trades:
        return taught
    holds = [each for each in taught if each.row.is_hold and each.imitates_a_hold]
    imitated = sum(any(sample.desirable for sample in each.samples) for each in taught) - len(holds)
    allowed = math.ceil(imitated * logged_holds / logged_trades)
    if len(holds) <= allowed:
        return taught
    by_draw = sorted(
        (not each.is_right_hold, hashlib.sha256(each.row.decision_id.encode()).digest(), each.row.decision_id)
        for each in holds
    )
    surplus = {decision_id for _, _, decision_id in by_draw[allowed:]}
    dropped[Dropped.HOLD_SURPLUS] += len(surplus)
    return [each for each in taught if each.row.decision_id not in surplus]
