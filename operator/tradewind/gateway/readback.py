"""What the endpoint tells about its decisions: one, the open and unreported ones, the seed's comparison, the seed's export.

Belongs here: reading. Does not belong here: the verdict on an experiment (the operator's; per-arm averages never decide).
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue

from tradewind.gateway import errors
from tradewind.gateway.database import Database
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.result import Body
from tradewind.trading.assignment import Arm
from tradewind.trading.labels import Label
from tradewind.trading.routing import Routing

TRADING_PERIODS = 252  # the seed's factor, trades taken for days; shown, never decided on
STATES = ("open", "unreported")


@dataclass(frozen=True, slots=True)
class Export:
    """The seed's data set: points newest first, and how many of each label."""

    points: list[dict[str, JsonValue]]
    excellent: int
    good: int
    bad: int


class ReadBack:
    """Reads of one endpoint."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def decision(self, decision_id: str) -> Body:
        """One decision with its answer, its events and its outcome.

        Raises:
            ApiError: 404, it was never asked here.
        """
        row = await self._database.read(decision_id)
        if row is None:
            raise errors.unknown_decision(decision_id)
        return _told(row)

    async def listed(self, state: str, after: str | None, limit: int) -> Body:
        """Open positions or unreported openings, oldest first, with `next` where there are more.

        Raises:
            ApiError: 422, no such state, or `after` is none that was given.
        """
        if state not in STATES:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                f"state: {state[:20]!r} is unknown",
                f"give {' or '.join(STATES)}",
                field="state",
            )
        rows = await self._database.listed(is_open=state == "open", after=_place(after), limit=limit + 1)
        shown = rows[:limit]
        more = _token(shown[-1]) if len(rows) > limit else None
        return {"state": state, "decisions": [_told(row) for row in shown], "next": more}

    async def performance(self, days: int, routing: Routing) -> Body:
        """The seed's comparison: closed trades of the last days per version; baseline and candidate where an experiment runs."""
        rows = await self._database.performance(days=days, replay=routing.clock == "replay")
        versions = {row["version"]: _metrics(row) for row in rows}
        experiment = routing.experiment
        body: Body = {
            "days": days,
            "versions": {name: dict(metrics) for name, metrics in versions.items()},
            "experiment": None,
            "arms": {},
            "comparison": None,
        }
        if experiment is None:
            return body
        baseline = versions.get(experiment.baseline, _NO_TRADES)
        candidate = versions.get(experiment.candidate, _NO_TRADES)
        return body | {
            "experiment": experiment.name,
            "arms": {
                "baseline": {"version": experiment.baseline, **baseline},
                "candidate": {"version": experiment.candidate, **candidate},
            },
            "comparison": {
                "win_rate_diff": candidate["win_rate"] - baseline["win_rate"],
                "pnl_diff": candidate["total_pnl"] - baseline["total_pnl"],
                "sharpe_diff": candidate["sharpe_ratio"] - baseline["sharpe_ratio"],
            },
        }

    async def export(self, min_samples: int) -> Export:
        """The seed's export: up to twice `min_samples` excellent, good and bad decisions, newest first."""
        points = await self._database.training_data(2 * min_samples)
        labels = [point["label"] for point in points]
        return Export(points, *(labels.count(label) for label in (Label.EXCELLENT, Label.GOOD, Label.BAD)))


_NO_TRADES: dict[str, float] = {
    "total_trades": 0,
    "win_rate": 0.0,
    "total_pnl": 0.0,
    "avg_pnl": 0.0,
    "sharpe_ratio": 0.0,
}


def _metrics(row: dict[str, float | None]) -> dict[str, float]:
    deviation, mean = row["deviation"] or 0.0, row["avg_pnl"] or 0.0
    return {
        "total_trades": int(row["total_trades"] or 0),
        "win_rate": row["win_rate"] or 0.0,
        "total_pnl": row["total_pnl"] or 0.0,
        "avg_pnl": mean,
        "sharpe_ratio": mean / deviation * math.sqrt(TRADING_PERIODS) if deviation > 0 else 0.0,
    }


def _told(row: Mapping[str, Any]) -> Body:
    position: Body | None = None
    if row["execution"] is not None:
        position = {
            "status": row["execution"],
            "position_id": row["position_id"],
            "side": _side(row),
            "opened_at": _time(row["opened_at"]),
            "filled_notional_usd": _number(row["filled_notional_usd"]),
        }
    outcome: Body | None = None
    if row["closed_at"] is not None:
        outcome = {
            "closed_at": _time(row["closed_at"]),
            "pnl": _number(row["pnl_usd"]),
            "fees": _number(row["fees_usd"]),
            "exit_reason": row["exit_reason"],
            "label": row["label"],
            "corrections": row["corrections"],
        }
    return {
        "decision_id": row["decision_id"],
        "state": row["state"],
        "scope": {"symbol": row["scope_symbol"], "book": row["scope_book"]},
        "decided_at": _time(row["decided_at"]),
        "answered_at": _time(row["answered_at"]),
        "answer": row["answer"],
        "_model_used": row["answered_by"],
        "_arm": row["arm"],
        "_experiment": row["experiment_uid"],
        "_epoch": row["epoch"],
        "_fallback": row["fallback"],
        "follows": row["parent_decision_id"],
        "flipped": row["flipped_from"],
        "holds_scope": row["holding"],
        "released_at": _time(row["released_at"]),
        "released_by": row["released_by"],
        "position": position,
        "outcome": outcome,
        "shadow": _shadow(row),
        "papers": _papers(row),
        "conflicting_answers": [
            {"answer": other["answer"], "_model_used": other["answered_by"], "given_at": _time_of(other["given_at"])}
            for other in row["others"]
        ],
        "events": row["events"],
    }


_OF_THE_ANSWER = ("answer", "answered_by", "error_detail")


def _shadow(row: Mapping[str, Any]) -> Body | None:
    """What came of the shadow; what it would have decided only once its experiment has ended."""
    shadow: Body | None = row["shadow"]
    if shadow is None:
        return None
    ended = bool(row["experiment_ended"])
    hidden: Body = {} if ended else dict.fromkeys(_OF_THE_ANSWER)
    return {**shadow, **hidden, "withheld": not ended}


def _papers(row: Mapping[str, Any]) -> Body | None:
    """What each arm's answer earned on paper, as reported and as settled; None outside of experiments."""
    if row["experiment_uid"] is None:
        return None
    settled, reported = row["papers"] or {}, row["reported_papers"] or {}
    told: Body = {}
    for arm in Arm:
        withheld = arm.value != row["arm"] and not row["experiment_ended"]
        told[arm.value] = {
            "reported": reported.get(arm.value),
            "settled": None if withheld else settled.get(arm.value),
            "withheld": withheld,
        }
    return told


def _side(row: Mapping[str, Any]) -> str | None:
    """Which way the position goes; None: several answers were given, and no report says which was acted on."""
    action = row["position_action"]
    if action is None and not row["others"]:
        action = (row["answer"] or {}).get("action")
    return {"open_long": "long", "open_short": "short"}.get(action or "")


def _time_of(text: str) -> str | None:
    return _time(datetime.fromisoformat(text))


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _token(row: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(f"{row['decided_at'].isoformat()} {row['decision_id']}".encode()).decode()


def _place(token: str | None) -> tuple[datetime, str]:
    if token is None:
        return datetime(1970, 1, 1, tzinfo=UTC), ""
    try:
        time, _, decision_id = base64.urlsafe_b64decode(token.encode()).decode().partition(" ")
        return datetime.fromisoformat(time), decision_id
    except ValueError:
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            "after: is no place in this list",
            "give `next` of the page before",
            field="after",
        ) from None
