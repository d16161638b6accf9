"""A logged decision without its texts: what is kept of each while a log is read, some hundred bytes in place of its whole input.

Belongs here: the short row, and how a row becomes one. Does not belong here: what it teaches (samples.py).
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from sys import intern
from typing import Final

from tradewind.trading.dataset.logged import LoggedDecision, OtherArm
from tradewind.trading.decision import Action, TradeDecision
from tradewind.trading.duplicates import Dedupe, near_duplicate_key
from tradewind.trading.labels import Label, label_outcome
from tradewind.trading.prompt import OffGridError, render_completion
from tradewind.trading.settings.labels import LabelThresholds

_DIGEST_BYTES = 16


UNKEPT: Final = -1
"""In place of the number of a prompt that is not kept."""


@dataclass(frozen=True, slots=True)
class BriefOther:
    """The other arm's answer and its result on paper, without what was shown.

    Attributes:
        completion: None: it lies off the grids.
        label: of a trade, by what it earned on paper; None of a hold.
        prompt: number of its prompt.
        exact: digest of its prompt.
    """

    action: Action
    completion: str | None
    label: Label | None
    closed_at: datetime
    source_model: str
    prompt: int = UNKEPT
    exact: bytes = b""


@dataclass(frozen=True, slots=True)
class Brief:
    """A row that is known how it ended, as far as choosing asks of it. Times are aware; money is USD.

    Attributes:
        completion: the answer as an own model is taught to write it; None: it lies off the grids.
        label: by what its trade earned, else as its source says; None of a hold that nobody labelled.
        other: the arm that was asked beside the drawn one; None: none, or its paper is not settled.
        review: share of the reviewers who agree with this very label, 0..1; None where nobody reviewed it.
        prompt: number of its prompt among those that are kept.
        exact, near: digests of the prompt, and of what near duplicates have in common; empty where nobody asks.
    """

    decision_id: str
    decided_at: datetime
    symbol: str
    action: Action
    completion: str | None
    label: Label | None
    is_hold: bool
    follows_up: bool
    closed_at: datetime | None
    pnl_usd: float | None
    trade_size_usd: float | None
    filled_notional_usd: float | None
    source_model: str
    regime: str
    review: float | None
    given_label: Label | None
    imported_from: str | None
    other: BriefOther | None = None
    prompt: int = UNKEPT
    exact: bytes = b""
    near: bytes = b""

    @property
    def earned(self) -> float | None:
        """Net profit by the size of the trade; None where one of them is not known."""
        return self.pnl_usd / self.trade_size_usd if self.pnl_usd is not None and self.trade_size_usd else None


def briefed(row: LoggedDecision, answer: TradeDecision, thresholds: LabelThresholds) -> Brief:
    """A row that may teach, without its texts.

    Args:
        row: of the log; nothing excludes it.
        answer: its answer.
        thresholds: of the labels.
    """
    label = _label(row, thresholds)
    regime = row.shown.market_data.get("market_regime")
    return Brief(
        decision_id=row.decision_id,
        decided_at=row.decided_at,
        symbol=intern(row.symbol),
        action=answer.action,
        completion=_completion(answer),
        label=label,
        is_hold=row.is_hold,
        follows_up=row.follows_up,
        closed_at=row.closed_at,
        pnl_usd=row.pnl_usd,
        trade_size_usd=row.trade_size_usd,
        filled_notional_usd=row.filled_notional_usd,
        source_model=intern(row.source_model),
        regime=intern(regime) if isinstance(regime, str) else "",
        # Who agreed with another label said nothing of this one.
        review=None if label is None else row.reviews.get(label),
        given_label=row.given_label,
        imported_from=None if row.imported_from is None else intern(row.imported_from),
        other=None if row.other is None or row.follows_up else _other(row.other, thresholds),
    )


def exact_key(prompt: str, dedupe: Dedupe) -> bytes:
    """By what identical prompts are known; empty where nobody asks."""
    return b"" if dedupe is Dedupe.NONE else _digest(prompt)


def near_key(row: LoggedDecision, dedupe: Dedupe) -> bytes:
    """By what rows are known whose numbers agree; empty where nobody asks."""
    return _digest(near_duplicate_key(row.shown, row.symbol)) if dedupe is Dedupe.NEAR else b""


def _other(other: OtherArm, thresholds: LabelThresholds) -> BriefOther:
    answer = other.answer
    return BriefOther(
        action=answer.action,
        completion=_completion(answer),
        label=label_outcome(other.earned, 1.0, thresholds) if answer.action.opens else None,
        closed_at=other.closed_at,
        source_model=intern(other.source_model),
    )


def _completion(answer: TradeDecision) -> str | None:
    try:
        return intern(render_completion(answer))
    except OffGridError:
        return None


def _label(row: LoggedDecision, thresholds: LabelThresholds) -> Label | None:
    if row.is_hold:
        return row.given_label
    if row.pnl_usd is not None and row.trade_size_usd:
        return label_outcome(row.pnl_usd, row.trade_size_usd, thresholds)
    return row.given_label


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
