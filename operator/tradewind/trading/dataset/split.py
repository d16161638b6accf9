"""The two sides of a dataset, split by time, purged and embargoed."""

import math
from collections import Counter
from collections.abc import Sequence

from tradewind.schema.scalars import as_timedelta
from tradewind.trading.dataset.samples import Sample
from tradewind.trading.dataset.selection import Taught
from tradewind.trading.settings.dataset import DatasetSplit
from tradewind.trading.teaching import Dropped


def sides(
    taught: Sequence[Taught], split: DatasetSplit, dropped: Counter[Dropped]
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Training and evaluation by time of decision; training loses what was still open at the boundary or closed within the embargo.

    Args:
        taught: in order of time.
        split: share of the evaluation, and the embargo.
        dropped: counts those that are in neither side.
    """
    count = min(math.ceil(len(taught) * float(split.eval_fraction)), len(taught))
    if not count:
        return tuple(sample for each in taught for sample in each.samples), ()
    boundary, embargo = taught[-count].row.decided_at, as_timedelta(split.embargo)
    train: list[Sample] = []
    evaluation: list[Sample] = []
    for each in taught:
        ends_at = max(sample.ends_at for sample in each.samples)
        if each.row.decided_at >= boundary:
            evaluation.extend(each.samples)
        elif ends_at >= boundary:
            dropped[Dropped.PURGED] += 1
        elif boundary - ends_at < embargo:
            dropped[Dropped.EMBARGOED] += 1
        else:
            train.extend(each.samples)
    return tuple(train), tuple(evaluation)
