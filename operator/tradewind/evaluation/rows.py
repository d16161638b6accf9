"""Recorded decisions as questions: what was shown, what was answered, and whether that turned out well.

Belongs here: from the decision log, or from a dataset's files, to rows. Does not belong here: who is asked (jobs/evaluate.py), and
what the answers are worth (measures.py, simulated.py).
"""

import hashlib
import heapq
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from tradewind.trading.dataset import LoggedDecision
from tradewind.trading.decision import DecisionInput, TradeDecision
from tradewind.trading.exits import ExitCode
from tradewind.trading.labels import Label, label_outcome
from tradewind.trading.prompt import parse_prompt
from tradewind.trading.settings.labels import LabelThresholds
from tradewind.training.files import EVAL_FILE, TRAIN_FILE
from tradewind.training.outcome import JobError

_GOOD: Final = (Label.EXCELLENT, Label.GOOD)


class Quality(StrEnum):
    """How a recorded answer turned out."""

    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Row:
    """A question that was asked, and what came of it.

    Attributes:
        answer: what was answered; None: nothing, or not by a model of interest.
        quality: of that answer; None: neither good nor bad, or not known.
        model: who answered.
        others: what else is recorded for the same question, by model.
    """

    decision_id: str
    decided_at: datetime
    symbol: str
    shown: DecisionInput
    answer: TradeDecision | None
    quality: Quality | None = None
    model: str = ""
    others: Mapping[str, TradeDecision] = field(default_factory=dict)

    def answer_of(self, model: str | None) -> TradeDecision | None:
        """What a model answered, as recorded; None for `model`: whoever did."""
        if model is None or model == self.model:
            return self.answer
        return self.others.get(model)


def logged_row(logged: LoggedDecision, thresholds: LabelThresholds, *, include_replay: bool) -> Row | None:
    """A decision of the log as a question; None for one that is none: it spoke of an open position, or of recorded data.

    A fallback's answer stands for no model, but the question does.
    """
    if logged.parent_id is not None or (logged.replay and not include_replay):
        return None
    answer = None if logged.fallback else logged.answer
    return Row(
        decision_id=logged.decision_id,
        decided_at=logged.decided_at,
        symbol=logged.symbol,
        shown=logged.shown,
        answer=answer,
        quality=None if answer is None else _quality(logged, answer, thresholds),
        model=logged.source_model,
        others={} if logged.other is None else {logged.other.source_model: logged.other.answer},
    )


def _quality(logged: LoggedDecision, answer: TradeDecision, thresholds: LabelThresholds) -> Quality | None:
    """A trade's by its outcome; a hold's by what the arm that was asked beside it would have earned."""
    if not answer.action.opens:
        other = logged.other
        if other is None or not other.answer.action.opens or other.earned == 0 or logged.given_label is not None:
            return None
        return Quality.GOOD if other.earned < 0 else Quality.BAD
    label = logged.given_label
    if logged.pnl_usd is not None and logged.trade_size_usd:
        label = label_outcome(logged.pnl_usd, logged.trade_size_usd, thresholds)
    if logged.closed_at is None or logged.execution_status in ("rejected", "not_filled"):
        return None
    return Quality.GOOD if label in _GOOD else Quality.BAD if label is Label.BAD else None


class Sampled:
    """At most so many rows, whatever order they come in: those whose ids hash lowest, which is a sample by nothing else."""

    def __init__(self, most: int) -> None:
        """Args: most: rows that are kept."""
        self._most = most
        self._kept: list[tuple[int, str, Row]] = []
        self.seen = 0

    def take(self, row: Row) -> None:
        """One more."""
        self.seen += 1
        order = -int.from_bytes(hashlib.sha256(row.decision_id.encode()).digest()[:8])
        if len(self._kept) < self._most:
            heapq.heappush(self._kept, (order, row.decision_id, row))
        else:
            heapq.heappushpop(self._kept, (order, row.decision_id, row))

    @property
    def rows(self) -> list[Row]:
        """In the order of their times."""
        return sorted((row for _, _, row in self._kept), key=lambda row: (row.decided_at, row.decision_id))


@dataclass(frozen=True, slots=True)
class Files:
    """What a dataset's folder holds.

    Attributes:
        rows: of its evaluation side, one a decision.
        leaked: rows of that side whose prompt is taught, too; they are not among `rows`.
        taught: some of what is taught, to see whether it is known by heart.
        taught_until: the last moment that the taught side knows of; None: it is empty.
    """

    rows: tuple[Row, ...]
    leaked: int
    taught: tuple[Row, ...]
    taught_until: datetime | None


def read_files(folder: Path, most_taught: int) -> Files:
    """The folder of a dataset, as a snapshot makes it; train.jsonl may be missing.

    Raises:
        JobError: exit 65, InvalidDataset, with file and line.
    """
    prompts: set[bytes] = set()
    taught = Sampled(most_taught)
    until: datetime | None = None
    if (folder / TRAIN_FILE).is_file():
        for sample, row in _lines(folder / TRAIN_FILE):
            prompts.add(hashlib.sha256(sample["prompt"].encode()).digest())
            ends = datetime.fromisoformat(sample["ends_at"])
            until = ends if until is None else max(until, ends)
            if row.quality is Quality.GOOD:
                taught.take(row)
    if not (folder / EVAL_FILE).is_file():
        said = f"evaluation.dataset.uri: there is no {EVAL_FILE} in the folder; a snapshot makes one, or write it"
        raise JobError(ExitCode.BAD_DATA, "DatasetMissing", said)
    rows: dict[str, Row] = {}
    leaked: set[str] = set()
    for sample, row in _lines(folder / EVAL_FILE):
        if hashlib.sha256(sample["prompt"].encode()).digest() in prompts:
            leaked.add(row.decision_id)
        elif row.decision_id not in rows or rows[row.decision_id].quality is None:
            rows[row.decision_id] = row
    return Files(
        tuple(row for row in rows.values() if row.decision_id not in leaked), len(leaked), tuple(taught.rows), until
    )


def _lines(file: Path) -> Iterable[tuple[dict[str, Any], Row]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                sample: dict[str, Any] = json.loads(line)
                yield sample, _file_row(sample)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                said = f"evaluation.dataset.uri: {file.name} line {number} is no sample: {str(error)[:300]}"
                raise JobError(ExitCode.BAD_DATA, "InvalidDataset", said) from None


def _file_row(sample: Mapping[str, Any]) -> Row:
    shown, symbol = parse_prompt(sample["prompt"])
    decided_at = datetime.fromisoformat(sample["decided_at"])
    if decided_at.tzinfo is None:
        raise ValueError(f"decided_at {sample['decided_at']} has no time zone")
    desirable = sample.get("desirable", True)
    label = sample["label"]
    quality = Quality.GOOD if desirable is True and label in _GOOD else None
    return Row(
        decision_id=str(sample["decision_id"]),
        decided_at=decided_at,
        symbol=symbol,
        shown=shown,
        answer=TradeDecision.model_validate_json(sample["completion"]),
        quality=Quality.BAD if desirable is False else quality,
        model=str(sample.get("source_model", "")),
    )
