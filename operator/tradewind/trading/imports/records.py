"""What an import stores: a decision, an outcome, or both, under the id that they have in their source.

The two halves are known apart: a decision may come before its outcome, from another file or in another run. Each has a hash of
its contents, so that importing it again is seen to be the same, and the same id with other contents to be another thing.

Belongs here: the records and their identity. Does not belong here: how they are read (build.py) and stored (shell/imported.py).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tradewind.trading.decision import Action, TradeDecision, canonical_json
from tradewind.trading.labels import Label, label_outcome

PENDING: Final = "pending"
HOLD: Final = "hold"


@dataclass(frozen=True, slots=True)
class ImportedDecision:
    """What was decided and on what.

    Attributes:
        decided_at: aware.
        shown: the input as JSON: market_data, account_state, recent_history.
        model: who answered, as the source names it; may be empty.
    """

    decided_at: datetime
    shown: Mapping[str, Any]
    answer: TradeDecision
    model: str = ""

    @property
    def content(self) -> list[Any]:
        """What makes it this decision and no other."""
        return [self.decided_at.isoformat(), self.shown, self.answer.model_dump(mode="json"), self.model]


@dataclass(frozen=True, slots=True)
class ImportedOutcome:
    """How it ended.

    Attributes:
        closed_at: aware.
        pnl_usd: net, USD; None where only a label is known.
        label: the source's own; None where it gave none.
    """

    closed_at: datetime
    pnl_usd: float | None
    exit_reason: str = ""
    label: Label | None = None

    @property
    def content(self) -> list[Any]:
        """What makes it this outcome and no other."""
        return [self.closed_at.isoformat(), self.pnl_usd, self.exit_reason, self.label]


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a file that can be taken; at least one of the halves is there."""

    source_id: str
    decision: ImportedDecision | None
    outcome: ImportedOutcome | None

    @property
    def decision_hash(self) -> bytes | None:
        """SHA-256 of the decision's contents."""
        return None if self.decision is None else content_hash(self.decision.content)

    @property
    def outcome_hash(self) -> bytes | None:
        """SHA-256 of the outcome's contents."""
        return None if self.outcome is None else content_hash(self.outcome.content)

    @property
    def label(self) -> str:
        """The label by the default thresholds where the profit is known, else the source's own; `pending` without either."""
        ruled = self.ruled_label
        if ruled is not None:
            return ruled
        if self.outcome is not None:
            return self.outcome.label or PENDING
        return HOLD if self.decision is not None and self.decision.answer.action is Action.HOLD else PENDING

    @property
    def ruled_label(self) -> Label | None:
        """The label by the rule, where profit and size are known."""
        if self.decision is None or self.outcome is None or self.outcome.pnl_usd is None:
            return None
        size = self.decision.answer.size_usd
        return label_outcome(self.outcome.pnl_usd, size) if size > 0 else None

    @property
    def labels_differ(self) -> bool:
        """Whether the source called it otherwise than the rule does."""
        given = None if self.outcome is None else self.outcome.label
        return given is not None and self.ruled_label not in (None, given)


def content_hash(content: Any) -> bytes:
    """SHA-256 of a JSON value; 60 and 60.0 are the same."""
    return hashlib.sha256(canonical_json(_plain(content)).encode()).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value == int(value) and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
