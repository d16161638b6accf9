"""What the trading system reports about decisions, and what the endpoint reports about its trades.

Belongs here: executions, outcomes with their labels, the seed's comparison and the seed's export. Does not belong here: the
verdict on an experiment (the operator's; per-arm averages never decide).
"""

import hashlib
import math
from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, JsonValue

from tradewind.gateway import errors
from tradewind.gateway.database import Database, PositionTakenError
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.result import Body
from tradewind.trading.decision import Action, ExecutionReport, OutcomeReport, canonical_json
from tradewind.trading.labels import Label, label_outcome
from tradewind.trading.routing import Routing

TRADING_PERIODS = 252  # the seed's factor, trades taken for days; shown, never decided on


@dataclass(frozen=True, slots=True)
class Export:
    """The seed's data set: points newest first, and how many of each label."""

    points: list[dict[str, JsonValue]]
    excellent: int
    good: int
    bad: int


class Reports:
    """Reports of one endpoint."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def execution(self, decision_id: str, report: ExecutionReport) -> Body:
        """Stores what became of a decision, once.

        Raises:
            ApiError: 404 unknown, 409 another report before or not fit for this decision or position_id.
            DatabaseDownError: nothing is known about the write; the same call may be repeated.
        """
        row = await self._database.reported(decision_id)
        if row is None:
            raise errors.unknown_decision(decision_id)
        _require_answer(decision_id, row["state"])
        action = Action(row["action"])
        if action is Action.HOLD:
            raise _conflict(ErrorCode.HOLD, "the decision is to hold", "report nothing: a hold has no execution")
        if action is Action.CLOSE and report.status == "opened":
            raise _conflict(
                ErrorCode.CLOSE,
                "the decision is to close a position, it opens none",
                f"report the outcome of {row['parent_decision_id'] or 'the decision that opened the position'}",
            )
        fingerprint = _fingerprint(report)
        try:
            written = await self._database.write_execution(
                {
                    "decision_id": decision_id,
                    "status": report.status,
                    "position_id": report.position_id,
                    "opened_at": report.opened_at,
                    "notional": None
                    if report.filled_notional_usd is None
                    else Decimal(repr(report.filled_notional_usd)),
                    "report_hash": fingerprint,
                }
            )
        except PositionTakenError:
            # Of two reports of one decision at once, the later can meet the earlier by its position before it meets it by its id.
            row = await self._database.reported(decision_id)
            if row is None or row["execution_hash"] is None:
                raise ApiError(
                    ErrorCode.POSITION_TAKEN,
                    f"position_id: another position {report.position_id} is open at this endpoint",
                    "give every open position an id of its own, or report the outcome of the open one first",
                    field="position_id",
                ) from None
            written = False
        if not written:
            row = await self._database.reported(decision_id)
            if row is None or row["execution_hash"] != fingerprint:
                raise _conflict(
                    ErrorCode.EXECUTION_DIFFERS, "another execution was reported before", "the first report stands"
                )
        return {"decision_id": decision_id, "status": report.status}

    async def outcome(self, decision_id: str, report: OutcomeReport, routing: Routing) -> Body:
        """Stores the outcome of a position, once, with its label.

        Raises:
            ApiError: 404 unknown, 409 another outcome before or no position, 422 closed before it was opened.
            DatabaseDownError: see `execution`.
        """
        row = await self._database.reported(decision_id)
        if row is None:
            raise errors.unknown_decision(decision_id)
        _require_answer(decision_id, row["state"])
        if row["action"] == Action.HOLD:
            raise _conflict(ErrorCode.HOLD, "the decision is to hold", "report nothing: a hold has no outcome")
        if row["execution"] != "opened":
            remedy = "report its execution with status opened first"
            if row["action"] == Action.CLOSE:
                remedy = f"report the outcome of {row['parent_decision_id'] or 'the decision that opened the position'}"
            elif row["execution"] is not None:
                remedy = f"its execution was reported as {row['execution']}: there is no position to close"
            raise _conflict(ErrorCode.NOT_OPENED, "no position was opened by this decision", remedy)
        if report.closed_at < row["opened_at"]:
            raise ApiError(
                ErrorCode.CLOSED_BEFORE_OPENED,
                f"closed_at: {report.closed_at.isoformat()} is before opened_at {row['opened_at'].isoformat()}",
                "give the time at which the position was flat",
                field="closed_at",
            )
        fingerprint = _fingerprint(report)
        label = label_outcome(report.pnl, row["size_usd"], routing.labels)
        written = await self._database.write_outcome(
            {
                "decision_id": decision_id,
                "closed_at": report.closed_at,
                "pnl": Decimal(repr(report.pnl)),
                "fees": Decimal(repr(report.fees)),
                "duration_hours": report.duration_hours,
                "exit_reason": report.exit_reason,
                "label": label,
                "report_hash": fingerprint,
            }
        )
        if not written:
            row = await self._database.reported(decision_id)
            if row is None or row["outcome_hash"] != fingerprint:
                raise _conflict(
                    ErrorCode.OUTCOME_DIFFERS, "another outcome was reported before", "the first report stands"
                )
            label = Label(row["label"])
        return {"decision_id": decision_id, "label": label}

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


def _require_answer(decision_id: str, state: str) -> None:
    if state == "assigned":
        raise errors.being_asked(decision_id)
    if state == "failed":
        raise _conflict(
            ErrorCode.NO_ANSWER,
            "the decision failed: no arm answered it",
            "report nothing: there was no decision to act on",
        )


def _conflict(code: ErrorCode, message: str, remedy: str) -> ApiError:
    return ApiError(code, message, remedy, field="decision_id", status=409)


def _fingerprint(report: BaseModel) -> bytes:
    return hashlib.sha256(canonical_json(report.model_dump(mode="json")).encode()).digest()
