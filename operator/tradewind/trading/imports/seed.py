"""The seed document's tables: `training_data` with its labelled decisions as JSON, and `trades` with what became of them.

Belongs here: where the seed keeps what. Does not belong here: the reading of values (build.py), files, and JSON as text.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from tradewind.trading.imports.drafts import Draft
from tradewind.trading.imports.fields import is_empty, shown
from tradewind.trading.imports.json_rows import JsonText
from tradewind.trading.imports.problems import FileError, Reason, RowError

SOURCE: Final = "seed"

_DECISION: Final = {
    "id": "conversation_id", "decided_at": "timestamp", "market_data": "input.market_data", "account_state": "input.account_state",
    "recent_history": "input.recent_history", "action": "output.action", "symbol": "output.symbol", "size_usd": "output.size_usd",
    "leverage": "output.leverage", "stop_loss_pct": "output.stop_loss_pct", "take_profit_pct": "output.take_profit_pct",
    "confidence": "output.confidence", "reasoning": "output.reasoning", "model": "output._model_used",
    "pnl_usd": "result.pnl", "profitable": "result.profitable", "duration_hours": "result.duration_hours",
    "closed_at": "result.closed_at", "exit_reason": "result.exit_reason", "label": "label",
}  # fmt: skip
_TRADE: Final = {
    "id": "decision_id", "decided_at": "created_at", "closed_at": "closed_at", "duration_hours": "duration_hours", "pnl_usd": "pnl",
    "exit_reason": "exit_reason", "label": "label",
}  # fmt: skip
_OF_THE_ROW = ("decision_id", "data", "status", "label")
_PARTS = ("input", "output", "result")


def decision_draft(point: Mapping[str, Any]) -> Draft:
    """A labelled decision in the seed's JSON shape.

    Raises:
        RowError: a part of it is no object.
    """
    for part in _PARTS:
        needed = part != "result"
        if not isinstance(point.get(part), Mapping) and (needed or point.get(part) is not None):
            raise RowError(
                part,
                Reason.NO_INPUT if part == "input" else Reason.MISSING,
                f"{shown(point.get(part))} is no JSON object",
            )
    flat = {name: item for name, item in point.items() if name not in _PARTS}
    for part in _PARTS:
        flat |= {f"{part}.{name}": item for name, item in (point.get(part) or {}).items()}
    values = {name: flat[place] for name, place in _DECISION.items() if flat.get(place) is not None}
    known = set(_DECISION.values())
    own = ("output._", "output.decision_id")  # what Tradewind's gateway adds to an answer
    ignored = tuple(place for place in flat if place not in known and not place.startswith(own))
    return Draft(values, _DECISION, ignored=ignored)


def training_data_draft(row: Mapping[str, Any]) -> Draft:
    """A row of the table `training_data`: decision_id, data, status, label.

    Raises:
        RowError: `data` is no JSON object, or its id or label is another one than the row's.
    """
    data = row.get("data")
    if isinstance(data, str):
        try:
            data = next(JsonText(data).rows(), (0, None))[1] if json.loads(data) is not None else None
        except (ValueError, RecursionError) as error:
            said = error.args[0] if isinstance(error, FileError) else "is no JSON"
            raise RowError("data", Reason.MALFORMED, f"{said}: {shown(row['data'])}") from None
    if isinstance(data, RowError):
        raise RowError(f"data.{data.field}".rstrip("."), data.reason, data.message)
    if not isinstance(data, Mapping):
        raise RowError("data", Reason.MALFORMED, f"{shown(data)} is no JSON object")
    point = dict(data)
    for column, name, nothing in (("decision_id", "conversation_id", None), ("label", "label", "pending")):
        outer, inner = row.get(column), point.get(name)
        if is_empty(outer):
            continue
        if not is_empty(inner) and inner != nothing and str(inner) != str(outer):
            raise RowError(
                column, Reason.CONTRADICTION, f"{shown(outer)} beside {shown(inner)} in data.{name}; mend the row"
            )
        point[name] = outer
    draft = decision_draft(point)
    places = {
        name: {"conversation_id": "decision_id"}.get(place, f"data.{place}") for name, place in draft.places.items()
    }
    return Draft(draft.values, places | {"label": "label"}, ignored=draft.ignored)


def trade_draft(row: Mapping[str, Any]) -> Draft | None:
    """A row of the table `trades`: the outcome of the decision that it names; None: the trade is still open.

    Raises:
        RowError: a closed trade without its profit, or a state that is none.
    """
    status = str(row.get("status") or "closed").strip().lower()
    if status in ("open", "pending", "opened"):
        return None
    if status != "closed":
        raise RowError("status", Reason.WORD, f"{shown(row.get('status'))} is unknown; it must be open or closed")
    if is_empty(row.get("decision_id")):
        raise RowError(
            "decision_id", Reason.MISSING, "empty or missing: a trade without the decision that it came from says nothing of what a model "
            "would have been shown; import it with --format table and a mapping that has its market"
        )  # fmt: skip
    if is_empty(row.get("pnl")):
        raise RowError("pnl", Reason.MISSING, "empty or missing beside status closed; give the net profit in USD")
    values = {name: row[place] for name, place in _TRADE.items() if not is_empty(row.get(place))}
    ignored = tuple(place for place in row if place not in _TRADE.values() and place != "status")
    return Draft(values, _TRADE, decides=False, ignored=ignored)
