"""From logged decisions to training samples: what is imitated, how strongly, and on which side of the split.

    rows --exclusion (logged.py)--> briefs, prompts kept apart --selection--> samples --split--> training, evaluation

Belongs here: the way through these steps, all pure, and its result. Does not belong here: the query that reads the rows, the files
that prompts and samples are written to, and the gates that judge the result (gates.py).

A decision teaches only once it is known how it ended. A good trade is imitated, a sound but unlucky one weakly, a bad one never: it is
left out, or is a sample to avoid where the objective learns from such. Rows are read one by one: what is kept of each does not grow
with what was shown.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from tradewind.trading.dataset.brief import Brief, briefed, exact_key, near_key
from tradewind.trading.dataset.imitation import Imitation, return_factor
from tradewind.trading.dataset.logged import LoggedDecision, OtherArm, exclusion
from tradewind.trading.dataset.paper import taught_by
from tradewind.trading.dataset.samples import Prompts, Sample, dataset_line, dataset_lines
from tradewind.trading.dataset.selection import chosen
from tradewind.trading.dataset.split import sides
from tradewind.trading.decision import Action
from tradewind.trading.labels import Label
from tradewind.trading.prompt import render_prompt
from tradewind.trading.settings.dataset import DatasetSplit
from tradewind.trading.teaching import Dropped

__all__ = [
    "ClosedTrade", "Dataset", "Imitation", "LoggedDecision", "OtherArm", "Prompts", "Sample", "build_dataset", "dataset_line", "dataset_lines",
    "return_factor",
]  # fmt: skip


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
    starts later than that plus the embargo. `read`, `imported` and `papers` count the rows of the log, those of them from elsewhere, and
    those whose other arm has a result on paper.
    """

    train: tuple[Sample, ...]
    evaluation: tuple[Sample, ...]
    prompts: Prompts
    trades: tuple[ClosedTrade, ...]
    imitated: tuple[Label, ...]
    dropped: Mapping[Dropped, int]
    read: int
    imported: int
    papers: int
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
        """Distinct decisions that give at least one sample by their own answer: what another arm's paper alone teaches is no more data."""
        return len({sample.decision_id for sample in self.samples if not sample.of_other})


def build_dataset(
    rows: Iterable[LoggedDecision], imitation: Imitation, split: DatasetSplit, prompts: Prompts | None = None
) -> Dataset:
    """The dataset of a log. The same rows in any order give the same dataset.

    Args:
        rows: decisions of one endpoint, each id once; they are read once, and none is kept as it is.
        imitation: what is imitated.
        split: purged and embargoed split in time.
        prompts: empty, and filled with the prompts of rows that may teach; None: a list.
    """
    texts: Prompts = [] if prompts is None else prompts
    dropped: Counter[Dropped] = Counter()
    matured: list[Brief] = []
    read = imported = papers = answers = invalid = 0
    newest: datetime | None = None
    for row in rows:
        read += 1
        imported += row.imported_from is not None
        papers += row.other is not None
        newest = row.decided_at if newest is None else max(newest, row.decided_at)
        reason = exclusion(row, replay=imitation.include_replay, fallback=imitation.include_fallback)
        if reason not in (Dropped.REPLAY, Dropped.FALLBACK, Dropped.UNANSWERED):
            answers += 1
            invalid += reason is Dropped.INVALID
        if reason is None:
            matured.append(_kept(row, imitation, texts))
        else:
            dropped[reason] += 1
    matured.sort(key=lambda row: (row.decided_at, row.decision_id))
    trades = tuple(_closed_trade(row) for row in matured if not row.follows_up and not row.is_hold)
    train, evaluation = sides(chosen(matured, imitation, dropped), split, dropped)
    return Dataset(
        train=train,
        evaluation=evaluation,
        prompts=texts,
        trades=trades,
        imitated=tuple(label for label in Label if imitation.weight(label) > 0),
        dropped=MappingProxyType({reason: dropped[reason] for reason in Dropped if dropped[reason]}),
        read=read,
        imported=imported,
        papers=papers,
        answers=answers,
        invalid_answers=invalid,
        newest=newest,
        watermark=max((sample.ends_at for side in (train, evaluation) for sample in side), default=None),
        avoids_bad=imitation.avoid_bad,
    )


def _kept(row: LoggedDecision, imitation: Imitation, prompts: Prompts) -> Brief:
    """What is kept of a row: nothing of what was shown, but its prompt where it may teach."""
    assert row.answer is not None
    brief = briefed(row, row.answer, imitation.labels.thresholds)
    samples = taught_by(brief, imitation, 0.0)
    if isinstance(samples, Dropped):
        return brief
    other, prompt = brief.other, render_prompt(row.shown, row.symbol)
    prompts.append(prompt)
    number = len(prompts) - 1
    if row.other is not None and other is not None and any(sample.of_other for sample in samples):
        asked = render_prompt(row.other.shown, row.symbol)
        prompts.append(asked)
        other = replace(other, prompt=len(prompts) - 1, exact=exact_key(asked, imitation.dedupe))
    exact, near = exact_key(prompt, imitation.dedupe), near_key(row, imitation.dedupe)
    return replace(brief, prompt=number, other=other, exact=exact, near=near)


def _closed_trade(row: Brief) -> ClosedTrade:
    assert row.label is not None
    return ClosedTrade(
        decision_id=row.decision_id,
        symbol=row.symbol,
        action=row.action,
        label=row.label,
        pnl_usd=row.pnl_usd,
        filled_notional_usd=row.filled_notional_usd,
        review=row.review,
    )
