"""Gates on a dataset: each a number, a threshold and whether it passed, before any GPU second is spent.

Belongs here: the measures and the comparison. Does not belong here: what a failed gate means for a run; a gate is data.
`passed` is None (Unknown) where no threshold was set or nothing could be measured: Unknown is never a pass.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Any, Final

from tradewind.schema.scalars import as_timedelta
from tradewind.trading.dataset import ClosedTrade, Dataset
from tradewind.trading.labels import Label
from tradewind.trading.settings.dataset import DatasetGates

MAD_TO_SIGMA: Final = 1.4826  # of a normal distribution: sigma = 1.4826 x median absolute deviation


class GateName(StrEnum):
    """The gates, in the order in which they are reported; the names are also the keys of the spec."""

    MIN_SAMPLES = "minSamples"
    MIN_PER_CLASS = "minPerClass"
    MIN_DESIRABLE = "minDesirable"
    MIN_UNDESIRABLE = "minUndesirable"
    MAX_CLASS_SHARE = "maxClassShare"
    MAX_ACTION_SHARE = "maxActionShare"
    MAX_SYMBOL_SHARE = "maxSymbolShare"
    MAX_DIRECTION_SHARE = "maxDirectionShare"
    MIN_LABEL_CONSISTENCY = "minLabelConsistency"
    MIN_REVIEWED_ACCURACY = "minReviewedAccuracy"
    MIN_JSON_VALIDITY = "minJsonValidity"
    MAX_AGE = "maxAge"
    MAX_DRIFT = "maxDrift"


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate's finding. Ages are in days, drift is an index from 0, everything else a count or a share."""

    name: GateName
    value: float | None
    threshold: float | None
    passed: bool | None


def evaluate_gates(
    dataset: Dataset, thresholds: DatasetGates, now: datetime, drift: float | None = None
) -> tuple[Gate, ...]:
    """All gates of a dataset, in the order of `GateName`; those on both sides of kto where bad decisions are learned from.

    Args:
        dataset: as `build_dataset` made it.
        thresholds: what is asked.
        now: the moment of the snapshot; the age is measured from it.
        drift: the largest index against the dataset before; None: there is none to compare with.
    """
    labels = Counter(trade.label for trade in dataset.trades)
    directions = Counter(sample.action for sample in dataset.samples if sample.desirable and sample.action.opens)
    reviews = [trade.review for trade in dataset.trades if trade.review is not None]
    gates = [
        _at_least(GateName.MIN_SAMPLES, dataset.decisions, thresholds.min_samples),
        _at_least(
            GateName.MIN_PER_CLASS,
            min((labels[label] for label in dataset.imitated), default=None),
            thresholds.min_per_class,
        ),
        *_both_sides(dataset, thresholds),
        _at_most(GateName.MAX_CLASS_SHARE, _largest_share(labels), thresholds.max_class_share),
        _at_most(
            GateName.MAX_ACTION_SHARE,
            _largest_share(Counter(sample.action for sample in dataset.samples if sample.desirable)),
            thresholds.max_action_share,
        ),
        _at_most(
            GateName.MAX_SYMBOL_SHARE,
            _largest_share(Counter(sample.symbol for sample in dataset.samples)),
            thresholds.max_symbol_share,
        ),
        _at_most(GateName.MAX_DIRECTION_SHARE, _largest_share(directions), thresholds.max_direction_share),
        _at_least(GateName.MIN_LABEL_CONSISTENCY, label_consistency(dataset.trades), thresholds.min_label_consistency),
        _at_least(GateName.MIN_REVIEWED_ACCURACY, _share(sum(reviews), len(reviews)), thresholds.min_reviewed_accuracy),
        _at_least(
            GateName.MIN_JSON_VALIDITY,
            _share(dataset.answers - dataset.invalid_answers, dataset.answers),
            thresholds.min_json_validity,
        ),
        _at_most(
            GateName.MAX_AGE,
            None if dataset.newest is None else _days(now - dataset.newest),
            None if thresholds.max_age is None else _days(as_timedelta(thresholds.max_age)),
        ),
        _at_most(GateName.MAX_DRIFT, drift, thresholds.max_drift),
    ]
    if thresholds.require_review and not reviews:
        gates = [replace(gate, passed=False) if gate.name is GateName.MIN_REVIEWED_ACCURACY else gate for gate in gates]
    return tuple(gates)


def _both_sides(dataset: Dataset, thresholds: DatasetGates) -> tuple[Gate, ...]:
    if not dataset.avoids_bad:
        return ()
    # Of the training side: one class there alone is what kto cannot be trained on.
    desirable = sum(sample.desirable for sample in dataset.train)
    return (
        _at_least(GateName.MIN_DESIRABLE, desirable, thresholds.min_desirable),
        _at_least(GateName.MIN_UNDESIRABLE, len(dataset.train) - desirable, thresholds.min_undesirable),
    )


def label_consistency(trades: Sequence[ClosedTrade]) -> float | None:
    """Share of trades whose label a second rule confirms, 0..1; None without filled trades whose profit is known.

    The first rule asks what a trade earned on its margin, so leverage alone can make a small move excellent. The second asks
    how large the move was for its symbol: z = (pnl / filled notional) / sigma, with sigma the symbol's 1.4826 x median
    absolute return. It calls as many gains excellent and as many losses bad as the first, but those with the largest |z|. So
    the share is 1 where one leverage trades one symbol, and falls as labels come to depend on leverage and on which symbol
    was traded instead of on how good the decision was.
    """
    filled = [trade for trade in trades if trade.filled_notional_usd and trade.pnl_usd is not None]
    returns: dict[str, list[float]] = {}
    for trade in filled:
        returns.setdefault(trade.symbol, []).append(abs(_moved(trade)))
    sigma = {symbol: MAD_TO_SIGMA * median(moves) for symbol, moves in returns.items()}
    by_size = sorted(filled, key=lambda trade: (-_in_sigmas(trade, sigma[trade.symbol]), trade.decision_id))
    agreed = 0
    for outer, inner in ((Label.EXCELLENT, Label.GOOD), (Label.BAD, Label.ACCEPTABLE_LOSS)):
        ranked = [trade.label for trade in by_size if trade.label in (outer, inner)]
        count = ranked.count(outer)
        agreed += ranked[:count].count(outer) + ranked[count:].count(inner)
    agreed += sum(trade.label is Label.NEUTRAL for trade in filled)
    return _share(agreed, len(filled))


def _moved(trade: ClosedTrade) -> float:
    assert trade.filled_notional_usd
    assert trade.pnl_usd is not None
    return trade.pnl_usd / trade.filled_notional_usd


def _in_sigmas(trade: ClosedTrade, sigma: float) -> float:
    return abs(_moved(trade)) / sigma if sigma else 0.0


def _at_least(name: GateName, value: float | None, asked: float | str) -> Gate:
    threshold = float(asked)
    return Gate(name, _shown(value), threshold, None if value is None else value >= threshold)


def _at_most(name: GateName, value: float | None, asked: float | str | None) -> Gate:
    threshold = None if asked is None else float(asked)
    return Gate(name, _shown(value), threshold, None if value is None or threshold is None else value <= threshold)


def _shown(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _largest_share(counts: Counter[Any]) -> float | None:
    return _share(max(counts.values(), default=0), counts.total())


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _days(duration: timedelta) -> float:
    return duration / timedelta(days=1)
