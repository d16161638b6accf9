"""What one decision teaches: completions with their weights, and the lines that a dataset's files have of them.

Belongs here: a row's samples and their text. Does not belong here: which rows are taken (selection.py), where prompts are kept.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from pydantic import JsonValue

from tradewind.trading.dataset.brief import Brief
from tradewind.trading.dataset.imitation import Imitation, return_factor
from tradewind.trading.decision import Action
from tradewind.trading.labels import Label
from tradewind.trading.prompt import hold, render_completion
from tradewind.trading.teaching import Dropped, Teaching


class Prompts(Protocol):
    """Where prompts are kept while a log is read: a list, or a file where they are many."""

    def append(self, prompt: str, /) -> None:
        """Keeps one more; its number is how many there were before."""

    def __getitem__(self, number: int, /) -> str:
        """The prompt of a number."""

    def __len__(self) -> int:
        """How many there are."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion to be learned, with its weight in the loss, and the number of the prompt that it answers.

    `desirable` is False where the completion is to be avoided, `of_other` True where it is that of the arm that was not drawn. `ends_at` is the last moment that the sample knows of: the close of its trade, or the decision itself for a logged hold.
    """

    prompt: int
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
    imported_from: str | None = None
    of_other: bool = False

    def as_json(self, prompt: str) -> dict[str, JsonValue]:
        """The line of the dataset's file."""
        line: dict[str, JsonValue] = {
            "prompt": prompt,
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


def dataset_lines(samples: Iterable[Sample], prompts: Prompts) -> Iterator[str]:
    """JSON Lines of samples, each with its end of line: equal samples give equal text, whatever machine writes it."""
    return (dataset_line(sample.as_json(prompts[sample.prompt])) for sample in samples)


def dataset_line(sample: Mapping[str, JsonValue]) -> str:
    """A line of a dataset's file, with its end."""
    return f"{json.dumps(sample, sort_keys=True, separators=(',', ':'))}\n"


def samples_of(row: Brief, imitation: Imitation, typical: float) -> tuple[Sample, ...] | Dropped:
    """What a decision teaches by its own result, or why it teaches nothing.

    Args:
        row: known how it ended.
        imitation: what is imitated.
        typical: median size of the net return of its symbol's trades; 0 where it is not known. Only weights depend on it.
    """
    plain = Sample(
        prompt=row.prompt,
        completion=row.completion or "",
        weight=imitation.hold_weight,
        label=Teaching.LOGGED_HOLD,
        action=row.action,
        symbol=row.symbol,
        decision_id=row.decision_id,
        decided_at=row.decided_at,
        ends_at=row.decided_at,
        source_model=row.source_model,
        regime=row.regime,
        imported_from=row.imported_from,
    )
    if row.is_hold:
        known_at = (row.closed_at if row.given_label else None) or row.decided_at
        wrong = row.given_label is Label.BAD  # says the source of an imported one
        return Dropped.NOT_IMITATED if wrong or plain.weight <= 0 else (replace(plain, ends_at=known_at),)
    return _of_trade(row, imitation, typical, plain)


def _of_trade(row: Brief, imitation: Imitation, typical: float, plain: Sample) -> tuple[Sample, ...] | Dropped:
    assert row.closed_at is not None
    assert row.label is not None
    label, weight, earned = row.label, imitation.weight(row.label), row.earned
    if row.follows_up:
        # How the position ended says less about each step on the way than about its opening.
        weight = min(weight, imitation.hold_weight)
    elif earned is not None:
        exponent = float(imitation.labels.return_exponent)
        weight *= return_factor(earned, typical, exponent, imitated=label is not Label.BAD)
    if weight > 0 and row.completion is None:
        return Dropped.OFF_GRID
    own = replace(plain, weight=weight, label=str(label), ends_at=row.closed_at, desirable=label is not Label.BAD)
    samples = (own,) if weight > 0 else ()
    lost = row.pnl_usd < 0 if row.pnl_usd is not None else label in (Label.BAD, Label.ACCEPTABLE_LOSS)
    if lost and not row.follows_up and imitation.labels.counterfactual_holds and imitation.hold_weight > 0:
        # Holding earned 0, which was more.
        held = replace(
            own,
            completion=render_completion(hold(row.symbol)),
            weight=imitation.hold_weight,
            label=Teaching.COUNTERFACTUAL_HOLD,
            action=Action.HOLD,
            desirable=True,
        )
        samples = (*samples, held)
    return samples or Dropped.NOT_IMITATED
