"""What a person is shown of a decision to say whether its label is right, and what they say.

Belongs here: a decision to review as text and JSON, and reading a review. Does not belong here: which are drawn and where reviews are
stored (the operator's shell/reviews.py), and the terminal (cli/review.py).
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import JsonValue

from tradewind.trading.labels import Label

MAX_NOTE: Final = 4000  # characters
_WIDTH: Final = 200


@dataclass(frozen=True, slots=True)
class Reviewable:
    """A decision whose position is closed, and its label. Times are aware; money is USD.

    Attributes:
        shown: market, account and history as the arm had them.
        answer: fields of the decision.
        pnl_usd: net.
        reviewed: what this reviewer said of this very label before; None: nothing.
    """

    decision_id: str
    decided_at: datetime
    symbol: str
    answered_by: str
    shown: Mapping[str, Any]
    answer: Mapping[str, Any]
    closed_at: datetime
    pnl_usd: float
    exit_reason: str
    label: str
    reviewed: bool | None = None

    @property
    def margin_return(self) -> float | None:
        """Net profit by the margin, which the label goes by."""
        size = self.answer.get("size_usd")
        return self.pnl_usd / size if isinstance(size, int | float) and size > 0 else None

    def as_json(self) -> dict[str, JsonValue]:
        """A line to be filled in: `agrees` true or false, null for no opinion, and a `note`."""
        return {
            "decision_id": self.decision_id,
            "decided_at": self.decided_at.isoformat(),
            "symbol": self.symbol,
            "answered_by": self.answered_by,
            "shown": dict(self.shown),
            "answer": dict(self.answer),
            "result": {
                "pnl_usd": self.pnl_usd,
                "margin_return": self.margin_return,
                "exit_reason": self.exit_reason,
                "closed_at": self.closed_at.isoformat(),
            },
            "label": self.label,
            "agrees": self.reviewed,
            "note": "",
        }

    def lines(self) -> Iterator[str]:
        """For a terminal: what was asked, in short, the answer, the result, the label."""
        market = self.shown.get("market_data") or {}
        account = self.shown.get("account_state") or {}
        history = self.shown.get("recent_history") or []
        answer, earned = self.answer, self.margin_return
        hours = (self.closed_at - self.decided_at).total_seconds() / 3600
        said = " ".join(
            f"{name} {answer[name]}" for name in ("stop_loss_pct", "take_profit_pct", "confidence") if name in answer
        )
        yield f"{self.decided_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC  {self.symbol}  {self.answered_by}  {self.decision_id}"
        yield f"market   {_short(market.get(self.symbol, market))}"
        if self.symbol in market:
            yield f"         {_short({name: value for name, value in market.items() if name != self.symbol})}"
        yield f"account  {_short(account)}"
        yield f"history  {_short(history)}"
        yield f"answer   {answer.get('action')} {answer.get('size_usd')} USD x {answer.get('leverage')}, {said}"
        if answer.get("reasoning"):
            yield f"         {_short(answer['reasoning'])}"
        margin = "" if earned is None else f", {earned:+.2%} of the margin"
        yield f"result   {self.pnl_usd:+.2f} USD{margin}, {self.exit_reason} after {hours:.1f} h"
        before = "" if self.reviewed is None else f" (you {'agreed' if self.reviewed else 'disagreed'} before)"
        yield f"label    {self.label}{before}"


@dataclass(frozen=True, slots=True)
class Review:
    """What a person says of a label."""

    decision_id: str
    label: str
    agrees: bool
    note: str = ""


class ReviewError(ValueError):
    """A line that is no review; names the field and the remedy."""


def read_review(line: str) -> Review | None:
    """The review of a line as `Reviewable.as_json` makes them, filled in; None: no opinion.

    Raises:
        ReviewError: it is none.
    """
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise ReviewError(f"is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise ReviewError("is no JSON object: a line of --format jsonl is one")
    decision_id, label, agrees, note = (row.get(name) for name in ("decision_id", "label", "agrees", "note"))
    if agrees is None:
        return None
    if not isinstance(agrees, bool):
        raise ReviewError(f"agrees: {_short(agrees)}; write true or false, null for no opinion")
    if not isinstance(decision_id, str) or not decision_id:
        raise ReviewError("decision_id: is missing; keep it as it came")
    if label not in list(Label):
        raise ReviewError(f"label: {_short(label)} is none; keep it as it came, and say by agrees whether it is right")
    if note is not None and not isinstance(note, str):
        raise ReviewError(f"note: {_short(note)}; write text")
    return Review(decision_id, label, agrees, checked_note(note or ""))


def checked_note(note: str) -> str:
    """A note as it is stored.

    Raises:
        ReviewError: it is too long, or holds what no database takes.
    """
    if len(note) > MAX_NOTE or "\0" in note:
        raise ReviewError(f"note: has {len(note)} characters; at most {MAX_NOTE}, none of them NUL")
    return note


def printable(text: str, keep: str = "") -> str:
    """Text that moves no cursor and turns no direction: what a market's news says is not for the terminal to obey.

    Args:
        text: of whatever origin.
        keep: characters that are kept all the same.
    """
    return "".join(c if c in keep or unicodedata.category(c)[0] != "C" else " " for c in text)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    text = printable(text)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
