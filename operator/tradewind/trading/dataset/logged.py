"""A row of the decision log as a dataset takes it.

Belongs here: the row, and why one alone can teach nothing. Does not belong here: the query that reads it (training/log.py), and
what it teaches (samples.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.labels import Label
from tradewind.trading.teaching import Dropped


@dataclass(frozen=True, slots=True)
class OtherArm:
    """What the arm that was not drawn answered to the same question, and what came of it on paper.

    Attributes:
        shown: what an own model in its place would have been shown: its positions, its history.
        answer: its own, not that of a fallback.
        earned: on the margin: the paper's return on the notional times leverage; 0 for a hold.
        closed_at: when the paper trade was out.
        source_model: who answered.
    """

    shown: DecisionInput
    answer: TradeDecision
    earned: float
    closed_at: datetime
    source_model: str


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """One row of the log joined with what became of it. Times are aware; money is USD.

    Attributes:
        answer: what was answered; None where no valid answer exists.
        invalid: an answer came, but it was no valid decision.
        parent_id: of a follow-up, the decision that opened the position; outcome and execution are then the position's.
        closed_at, pnl_usd: of the trade's outcome (net); None while it is open and for a hold.
        filled_notional_usd: exposure; None where nothing was filled.
        reviews: share of the reviewers who agree, 0..1, by the label that they were shown.
        given_label, imported_from: of an imported decision, by its source; a label that profit and size tell goes first.
        other: the arm that was asked beside the drawn one, once its paper is settled; None where nobody asks for papers.
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
    reviews: Mapping[str, float] = field(default_factory=dict)
    given_label: Label | None = None
    imported_from: str | None = None
    other: OtherArm | None = None

    @property
    def follows_up(self) -> bool:
        """Whether it speaks of an open position; which decision opened that one is not known of an imported close."""
        return self.parent_id is not None or (self.answer is not None and self.answer.action is Action.CLOSE)

    @property
    def is_hold(self) -> bool:
        """A hold that asks for nothing; one inside an open position shares the position's fate and is judged with it."""
        return self.answer is not None and self.answer.action is Action.HOLD and self.parent_id is None


def exclusion(row: LoggedDecision, *, replay: bool, fallback: bool) -> Dropped | None:
    """Why a row teaches nothing, whatever the others are; None: it may.

    Args:
        row: of the log.
        replay, fallback: whether such decisions are taken.
    """
    if row.replay and not replay:
        return Dropped.REPLAY
    if row.fallback and not fallback:
        return Dropped.FALLBACK
    if row.invalid:
        return Dropped.INVALID
    if row.answer is None:
        return Dropped.UNANSWERED
    if row.is_hold:
        return None
    if row.execution_status in ("rejected", "not_filled"):
        return Dropped.NOT_FILLED
    if row.closed_at is None or (row.given_label is None and (row.pnl_usd is None or not row.trade_size_usd)):
        return Dropped.OPEN
    return None
