"""What answers are worth beside recorded ones: agreement, holds, likelihoods, calibration.

Belongs here: pure arithmetic on rows and answers. Does not belong here: profit (simulated.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tradewind.evaluation.rows import Quality, Row
from tradewind.trading.decision import Action, TradeDecision

BINS = 10
_LEAST = 1e-6  # probability: an action that the limits bar has none, and no logarithm


@dataclass(frozen=True, slots=True)
class Answered:
    """What a version answered to a row; `decision` None: no valid decision. `probabilities` of the actions, where it gives them."""

    decision: TradeDecision | None
    probabilities: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers that were equally sure: mean probability, share that was right, and how many."""

    mean: float
    share: float
    count: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far stated probabilities are from what comes true.

    Attributes:
        error: expected calibration error (Naeini, Cooper and Hauskrecht 2015): the mean distance of both in ten equal bins, weighted by count.
    """

    error: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Measures:
    """None: there is nothing to measure it on.

    Attributes:
        agreement: share of good recorded decisions whose action the version repeats; an invalid answer repeats nothing.
        disagreement: share of bad ones whose action it does not repeat; an invalid answer avoids nothing.
        hold_share: share of valid answers that are hold.
        log_likelihood_gap: mean log-probability of the actions of good decisions less that of bad ones, natural logarithm.
        calibration: of the likeliest action against agreement, on good decisions.
    """

    good: int
    bad: int
    agreement: float | None
    disagreement: float | None
    hold_share: float | None
    log_likelihood_gap: float | None
    calibration: Reliability | None


def measure(rows: Sequence[Row], answers: Sequence[Answered]) -> Measures:
    """Args: rows and answers in the same order."""
    pairs = [(row, row.answer, answer) for row, answer in zip(rows, answers, strict=True) if row.answer is not None]
    good = [(kept, answer) for row, kept, answer in pairs if row.quality is Quality.GOOD]
    bad = [(kept, answer) for row, kept, answer in pairs if row.quality is Quality.BAD]
    return Measures(
        good=len(good),
        bad=len(bad),
        agreement=_share(_same(kept, answer) for kept, answer in good),
        disagreement=_share(answer.decision is not None and not _same(kept, answer) for kept, answer in bad),
        hold_share=hold_share([answer.decision for answer in answers]),
        log_likelihood_gap=_gap(_logs(good), _logs(bad)),
        calibration=reliability(
            (max(answer.probabilities.values()), _same(kept, answer)) for kept, answer in good if answer.probabilities
        ),
    )


def hold_share(decisions: Iterable[TradeDecision | None]) -> float | None:
    """Share of holds among the decisions that there are."""
    return _share(decision.action is Action.HOLD for decision in decisions if decision is not None)


def reliability(stated: Iterable[tuple[float, bool]]) -> Reliability | None:
    """Stated probabilities against what came true; None without any."""
    binned: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for probability, true in stated:
        binned[min(int(probability * BINS), BINS - 1)].append((probability, true))
    bins = tuple(
        Bin(math.fsum(p for p, _ in found) / len(found), sum(true for _, true in found) / len(found), len(found))
        for found in binned
        if found
    )
    count = sum(each.count for each in bins)
    if not count:
        return None
    return Reliability(math.fsum(abs(each.mean - each.share) * each.count for each in bins) / count, bins)


def _same(kept: TradeDecision, answer: Answered) -> bool:
    return answer.decision is not None and answer.decision.action is kept.action


def _logs(found: Iterable[tuple[TradeDecision, Answered]]) -> list[float]:
    return [
        math.log(max(answer.probabilities.get(kept.action.value, 0.0), _LEAST))
        for kept, answer in found
        if answer.probabilities
    ]


def _gap(good: Sequence[float], bad: Sequence[float]) -> float | None:
    return math.fsum(good) / len(good) - math.fsum(bad) / len(bad) if good and bad else None


def _share(found: Iterable[bool]) -> float | None:
    values = list(found)
    return sum(values) / len(values) if values else None
