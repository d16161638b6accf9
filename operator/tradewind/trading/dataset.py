"""From logged decisions to training samples: what is imitated, how strongly, and on which side of the split.

Belongs here: filtering, labelling, duplicates, weights and the split in time, all pure. Does not belong here: the query that
reads the rows, the files that the samples are written to, and the gates that judge the result (gates.py).

A decision teaches only once it is known how it ended. A good trade is imitated, a sound but unlucky one weakly, a bad one never: it is
left out, or is a sample to avoid where the objective learns from such.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median
from types import MappingProxyType
from typing import Final

from pydantic import JsonValue

from tradewind.schema.scalars import as_timedelta
from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.duplicates import Dedupe, find_duplicates
from tradewind.trading.labels import Label, label_outcome
from tradewind.trading.prompt import OffGridError, hold, render_completion, render_prompt
from tradewind.trading.settings.dataset import DatasetSplit
from tradewind.trading.settings.labels import DatasetLabels
from tradewind.trading.teaching import Dropped, Teaching

_LEAST_FACTOR: Final = 0.5
_MOST_FACTOR: Final = 2.0


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """One row of the log joined with what became of it. Times are aware; money is USD.

    Attributes:
        answer: what was answered; None where no valid answer exists.
        invalid: an answer came, but it was no valid decision.
        parent_id: of a follow-up, the decision that opened the position; outcome and execution are then the position's.
        closed_at, pnl_usd: of the trade's outcome (net); None while it is open and for a hold.
        filled_notional_usd: exposure; None where nothing was filled.
        review: share of the reviewers who agree with the label, 0..1; None where nobody reviewed it.
        given_label, imported_from: of an imported decision, by its source; a label that profit and size tell goes first.
    """

    decision_id: str
    decided_at: datetime
    shown: DecisionInput
    symbol: str
    answer: TradeDecision | None
    invalid: bool = False
    replay: bool = False
    fallback: bool = False
    parent_id: str | None = None
    execution_status: str | None = None
    closed_at: datetime | None = None
    pnl_usd: float | None = None
    trade_size_usd: float | None = None
    filled_notional_usd: float | None = None
    source_model: str = ""
    review: float | None = None
    given_label: Label | None = None
    imported_from: str | None = None

    @property
    def follows_up(self) -> bool:
        """Whether it speaks of an open position; which decision opened that one is not known of an imported close."""
        return self.parent_id is not None or (self.answer is not None and self.answer.action is Action.CLOSE)


@dataclass(frozen=True, slots=True)
class Imitation:
    """What is imitated and how strongly.

    Attributes:
        max_samples: the newest decisions that are kept; None for all.
        avoid_bad: bad decisions are samples to avoid (kto) instead of none.
    """

    labels: DatasetLabels = field(default_factory=DatasetLabels)
    include_replay: bool = False
    include_fallback: bool = False
    dedupe: Dedupe = Dedupe.EXACT
    max_samples: int | None = None
    avoid_bad: bool = False

    def weight(self, label: Label) -> float:
        """Sample weight of a label; 0 gives no sample, as neutral decisions never do and bad ones only to be avoided."""
        weights = self.labels.weights
        match label:
            case Label.EXCELLENT:
                return float(weights.excellent)
            case Label.GOOD:
                return float(weights.good)
            case Label.ACCEPTABLE_LOSS:
                return float(weights.acceptable_loss)
            case Label.BAD:
                return float(weights.bad) if self.avoid_bad else 0.0
            case Label.NEUTRAL:
                return 0.0

    @property
    def hold_weight(self) -> float:
        """Weight of holds that were logged, of which nobody knows what trading would have earned, and of counterfactual ones."""
        return float(self.labels.hold_weight)


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt and the completion to be learned, with its weight in the loss.

    `desirable` is False where the completion is to be avoided. `ends_at` is the last moment that the sample knows of: the close of its trade, or the decision itself for a logged hold.
    """

    prompt: str
    completion: str
    weight: float
    label: str
    action: Action
    symbol: str
    decision_id: str
    decided_at: datetime
    ends_at: datetime
    source_model: str
    regime: str
    desirable: bool = True

    def as_json(self) -> dict[str, JsonValue]:
        """The line of the dataset's file."""
        line: dict[str, JsonValue] = {
            "prompt": self.prompt,
            "completion": self.completion,
            "weight": self.weight,
            "label": self.label,
            "action": str(self.action),
            "symbol": self.symbol,
            "decision_id": self.decision_id,
            "decided_at": self.decided_at.isoformat(),
            "ends_at": self.ends_at.isoformat(),
            "source_model": self.source_model,
            "regime": self.regime,
        }
        # What is imitated has the line, and so the hash, that it always had.
        return line if self.desirable else line | {"desirable": False}


@dataclass(frozen=True, slots=True)
class ClosedTrade:
    """A matured trade as the gates judge it, bad ones included. `pnl_usd` is None where only an imported label is known."""

    decision_id: str
    symbol: str
    action: Action
    label: Label
    pnl_usd: float | None
    filled_notional_usd: float | None
    review: float | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """The samples on both sides of the split and what the gates need to know.

    `watermark` is the last moment that any sample knows of (None for an empty set): an evaluation of a model trained on it
    starts later than that plus the embargo.
    """

    train: tuple[Sample, ...]
    evaluation: tuple[Sample, ...]
    trades: tuple[ClosedTrade, ...]
    imitated: tuple[Label, ...]
    dropped: Mapping[Dropped, int]
    answers: int
    invalid_answers: int
    newest: datetime | None
    watermark: datetime | None
    avoids_bad: bool = False

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Both sides, training first."""
        return self.train + self.evaluation

    @property
    def decisions(self) -> int:
        """Distinct decisions that give at least one sample."""
        return len({sample.decision_id for sample in self.samples})


def build_dataset(rows: Iterable[LoggedDecision], imitation: Imitation, split: DatasetSplit) -> Dataset:
    """The dataset of a log. The same rows in any order give the same dataset.

    Args:
        rows: decisions of one endpoint, each id once.
        imitation: what is imitated.
        split: purged and embargoed split in time.
    """
    ordered = sorted(rows, key=lambda row: (row.decided_at, row.decision_id))
    dropped: Counter[Dropped] = Counter()
    matured: list[LoggedDecision] = []
    answers = invalid = 0
    for row in ordered:
        reason = _exclusion(row, imitation)
        if reason not in (Dropped.REPLAY, Dropped.FALLBACK, Dropped.UNANSWERED):
            answers += 1
            invalid += reason is Dropped.INVALID
        if reason is None:
            matured.append(row)
        else:
            dropped[reason] += 1
    trades = tuple(_closed_trade(row, imitation) for row in matured if not row.follows_up and not _is_hold(row))
    taught = _without_duplicates(_taught(matured, imitation, dropped), imitation.dedupe, dropped)
    taught = _without_hold_surplus(taught, matured, dropped)
    if imitation.max_samples is not None and len(taught) > imitation.max_samples:
        dropped[Dropped.OVER_MAX_SAMPLES] += len(taught) - imitation.max_samples
        taught = taught[-imitation.max_samples :]
    train, evaluation = _split(taught, split, dropped)
    samples = train + evaluation
    return Dataset(
        train=train,
        evaluation=evaluation,
        trades=trades,
        imitated=tuple(label for label in Label if imitation.weight(label) > 0),
        dropped=MappingProxyType({reason: dropped[reason] for reason in Dropped if dropped[reason]}),
        answers=answers,
        invalid_answers=invalid,
        newest=ordered[-1].decided_at if ordered else None,
        watermark=max((sample.ends_at for sample in samples), default=None),
        avoids_bad=imitation.avoid_bad,
    )


def _exclusion(row: LoggedDecision, imitation: Imitation) -> Dropped | None:
    if row.replay and not imitation.include_replay:
        return Dropped.REPLAY
    if row.fallback and not imitation.include_fallback:
        return Dropped.FALLBACK
    if row.invalid:
        return Dropped.INVALID
    if row.answer is None:
        return Dropped.UNANSWERED
    if _is_hold(row):
        return None
    if row.execution_status in ("rejected", "not_filled"):
        return Dropped.NOT_FILLED
    if row.closed_at is None or (row.given_label is None and (row.pnl_usd is None or not row.trade_size_usd)):
        return Dropped.OPEN
    return None


def _is_hold(row: LoggedDecision) -> bool:
    """A hold that asks for nothing; one inside an open position shares the position's fate and is judged with it."""
    return row.answer is not None and row.answer.action is Action.HOLD and row.parent_id is None


def _closed_trade(row: LoggedDecision, imitation: Imitation) -> ClosedTrade:
    assert row.answer is not None
    return ClosedTrade(
        decision_id=row.decision_id,
        symbol=row.symbol,
        action=row.answer.action,
        label=_label(row, imitation),
        pnl_usd=row.pnl_usd,
        filled_notional_usd=row.filled_notional_usd,
        review=row.review,
    )


def _label(row: LoggedDecision, imitation: Imitation) -> Label:
    if row.pnl_usd is not None and row.trade_size_usd:
        return label_outcome(row.pnl_usd, row.trade_size_usd, imitation.labels.thresholds)
    assert row.given_label is not None
    return row.given_label


_Taught = tuple[LoggedDecision, tuple[Sample, ...]]


def _taught(rows: Iterable[LoggedDecision], imitation: Imitation, dropped: Counter[Dropped]) -> list[_Taught]:
    """The decisions that teach, with what they teach."""
    taught: list[_Taught] = []
    rows = tuple(rows)
    scales = _median_returns(rows)
    for row in rows:
        try:
            samples = _samples_of(row, imitation, scales.get(row.symbol, 0.0))
        except OffGridError:
            dropped[Dropped.OFF_GRID] += 1
            continue
        if samples:
            taught.append((row, samples))
        else:
            dropped[Dropped.NOT_IMITATED] += 1
    return taught


def _without_duplicates(taught: Sequence[_Taught], dedupe: Dedupe, dropped: Counter[Dropped]) -> list[_Taught]:
    """The first of each prompt among those that teach: a decision that teaches nothing hides none that does."""
    kept = []
    copies = find_duplicates([(row.shown, row.symbol) for row, _ in taught], dedupe)
    for pair, copy in zip(taught, copies, strict=True):
        match copy:
            case None:
                kept.append(pair)
            case Dedupe.EXACT:
                dropped[Dropped.DUPLICATE] += 1
            case _:
                dropped[Dropped.NEAR_DUPLICATE] += 1
    return kept


def _return(row: LoggedDecision) -> float | None:
    return row.pnl_usd / row.trade_size_usd if row.pnl_usd is not None and row.trade_size_usd else None


def _median_returns(rows: Iterable[LoggedDecision]) -> dict[str, float]:
    """Median size of the net return of each symbol's trades: what is much for one is little for another."""
    sizes: dict[str, list[float]] = {}
    for row in rows:
        if not row.follows_up and (earned := _return(row)) is not None:
            sizes.setdefault(row.symbol, []).append(abs(earned))
    return {symbol: median(values) for symbol, values in sizes.items()}


def return_factor(earned: float, typical: float, exponent: float, *, imitated: bool) -> float:
    """What a trade's weight is multiplied with for its net return, 1/2 to 2; 1 where `exponent` or `typical` is 0.

    A gain counts the more the larger it is, and so does a loss that is avoided; a loss that is imitated the less.

    Args:
        earned: net profit by the size of the trade.
        typical: median size of that of its symbol's trades.
        exponent: 0..1.
        imitated: whether the decision is imitated, or avoided.
    """
    if not exponent or not typical:
        return 1.0
    power = -exponent if imitated and earned < 0 else exponent
    ratio = min(max(abs(earned) / typical, 1e-9), 1e9)
    factor: float = ratio**power
    return min(max(factor, _LEAST_FACTOR), _MOST_FACTOR)


def _samples_of(row: LoggedDecision, imitation: Imitation, typical: float) -> tuple[Sample, ...]:
    assert row.answer is not None
    regime = row.shown.market_data.get("market_regime")
    taught = Sample(
        prompt=render_prompt(row.shown, row.symbol),
        completion="",
        weight=imitation.hold_weight,
        label=Teaching.LOGGED_HOLD,
        action=row.answer.action,
        symbol=row.symbol,
        decision_id=row.decision_id,
        decided_at=row.decided_at,
        ends_at=row.decided_at,
        source_model=row.source_model,
        regime=regime if isinstance(regime, str) else "",
    )
    if _is_hold(row):
        known_at = (row.closed_at if row.given_label else None) or row.decided_at
        wrong = row.given_label is Label.BAD  # says the source of an imported one
        teaches = taught.weight > 0 and not wrong
        return (replace(taught, completion=render_completion(row.answer), ends_at=known_at),) if teaches else ()
    assert row.closed_at is not None
    label = _label(row, imitation)
    weight = imitation.weight(label)
    if row.follows_up:
        # How the position ended says less about each step on the way than about its opening.
        weight = min(weight, imitation.hold_weight)
    elif (earned := _return(row)) is not None:
        exponent = float(imitation.labels.return_exponent)
        weight *= return_factor(earned, typical, exponent, imitated=label is not Label.BAD)
    own = replace(taught, weight=weight, label=str(label), ends_at=row.closed_at, desirable=label is not Label.BAD)
    samples = [replace(own, completion=render_completion(row.answer))] if weight > 0 else []
    lost = row.pnl_usd < 0 if row.pnl_usd is not None else label in (Label.BAD, Label.ACCEPTABLE_LOSS)
    holding_was_better = lost and not row.follows_up
    if holding_was_better and imitation.labels.counterfactual_holds and imitation.hold_weight > 0:
        samples.append(
            replace(
                own,
                completion=render_completion(hold(row.symbol)),
                weight=imitation.hold_weight,
                label=Teaching.COUNTERFACTUAL_HOLD,
                action=Action.HOLD,
                desirable=True,
            )
        )
    return tuple(samples)


def _without_hold_surplus(
    taught: list[_Taught], matured: Sequence[LoggedDecision], dropped: Counter[Dropped]
) -> list[_Taught]:
    """Logged holds thinned out to their share of the log: dropping bad trades must not teach a model to hold.

    Which holds stay is drawn by a hash of their ids, so that the choice is the same in every run.
    """
    logged_holds = sum(_is_hold(row) for row in matured)
    logged_trades = len(matured) - logged_holds
    if not logged_trades:
        return taught
    holds = [row.decision_id for row, _ in taught if _is_hold(row)]
    imitated = sum(any(sample.desirable for sample in samples) for _, samples in taught) - len(holds)
    allowed = math.ceil(imitated * logged_holds / logged_trades)
    if len(holds) <= allowed:
        return taught
    by_draw = sorted(holds, key=lambda decision_id: hashlib.sha256(decision_id.encode()).digest())
    surplus = set(by_draw[allowed:])
    dropped[Dropped.HOLD_SURPLUS] += len(surplus)
    return [(row, samples) for row, samples in taught if row.decision_id not in surplus]


def _split(
    taught: Sequence[_Taught], split: DatasetSplit, dropped: Counter[Dropped]
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split by time of decision; training loses what was still open at the boundary or closed within the embargo."""
    count = min(math.ceil(len(taught) * float(split.eval_fraction)), len(taught))
    if not count:
        return tuple(sample for _, samples in taught for sample in samples), ()
    boundary, embargo = taught[-count][0].decided_at, as_timedelta(split.embargo)
    train: list[Sample] = []
    evaluation: list[Sample] = []
    for row, samples in taught:
        ends_at = max(sample.ends_at for sample in samples)
        if row.decided_at >= boundary:
            evaluation.extend(samples)
        elif ends_at >= boundary:
            dropped[Dropped.PURGED] += 1
        elif boundary - ends_at < embargo:
            dropped[Dropped.EMBARGOED] += 1
        else:
            train.extend(samples)
    return tuple(train), tuple(evaluation)


def dataset_lines(samples: Iterable[Sample]) -> str:
    """JSON Lines of samples: equal samples give equal text, whatever machine writes it."""
    return "".join(f"{json.dumps(sample.as_json(), sort_keys=True, separators=(',', ':'))}\n" for sample in samples)
