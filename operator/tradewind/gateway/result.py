"""A question, what came of asking it, and the same answer in three shapes: columns, spool record, response body.

Belongs here: values. Does not belong here: who is asked and when (decide.py).
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from pydantic import JsonValue

from tradewind.gateway.arms import Asked
from tradewind.gateway.database import Stored, jsonb
from tradewind.gateway.protocols import ArmAnswer
from tradewind.gateway.spool import Record
from tradewind.trading.account import Account
from tradewind.trading.decision import Action, DecisionInput, DecisionRequest, Limits, TradeDecision
from tradewind.trading.error_kinds import ErrorKind
from tradewind.trading.routing import Routing

Body = dict[str, JsonValue]
_OF_THE_DRAW = ("arm", "experiment_uid", "epoch", "flipped_from")
_JSON_COLUMNS = frozenset({"answer", "probabilities", "shown", "extra", "calls"})


@dataclass(frozen=True, slots=True)
class Question:
    """A validated request and everything that is fixed before an arm is drawn."""

    request: DecisionRequest
    account: Account
    decision_id: str
    hash: bytes
    retry_hash: bytes
    routing: Routing
    now: datetime
    decided_at: datetime
    limits: Limits | None

    @property
    def replay(self) -> bool:
        """Whether it is asked on the data's clock."""
        return self.routing.clock == "replay"

    @property
    def seen(self) -> dict[str, object]:
        """What the database needs to say whose the stated positions are, and whose past is told beside the drawn one's."""
        experiment = self.routing.experiment
        mode = "none" if experiment is None else experiment.shadow
        return {
            "positions": self.account.position_ids,
            "stated": bool(self.account.positions),
            "shadow_of_baseline": experiment.candidate if experiment is not None and mode != "none" else None,
            "shadow_of_candidate": experiment.baseline if experiment is not None and mode == "both" else None,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What came of asking: the drawn arm's part and who answered in the end (None: nobody)."""

    drawn: Asked
    answered_by: str | None
    answer: ArmAnswer | None
    shown: DecisionInput
    cost_cny: Decimal | None

    @property
    def fallback(self) -> bool:
        """Whether another version answered than the one drawn."""
        return self.answered_by is not None and self.answered_by != self.drawn.version

    @property
    def opens(self) -> bool:
        """Whether the answer puts new money at risk."""
        return self.answer is not None and self.answer.decision.action.opens

    def columns(self) -> dict[str, JsonValue]:
        """The answer's columns as JSON values, for the database and the spool alike."""
        error = self.drawn.error
        return {
            "state": "failed" if self.answer is None else "answered",
            "answered_by": self.answered_by,
            "answer": None if self.answer is None else self.answer.decision.model_dump(mode="json"),
            "probabilities": None if self.answer is None else _numbers(self.answer.probabilities),
            "latency_ms": round(self.drawn.latency_ms, 3),
            "fallback": self.fallback,
            "error_kind": None if error is None else str(error.kind),
            "error_detail": None if error is None else error.detail,
            "cost_cny": None if self.cost_cny is None else str(self.cost_cny),
            "reported_model": None if self.drawn.answer is None else self.drawn.answer.reported_model,
            "shown": self.shown.model_dump(mode="json"),
            **said_of(self.drawn),
        }


def said_of(asked: Asked | None) -> dict[str, JsonValue]:
    """Columns that tell how an arm was asked and read, for a decision and for a shadow."""
    answer, error = (None, None) if asked is None else (asked.answer, asked.error)
    return {
        "error_cause": None if error is None or error.cause is None else str(error.cause),
        "reading_rules": None if answer is None else [str(rule) for rule in answer.rules],
        "extra": None if answer is None else answer.extra,
        # Of an own arm's one call everything stands in the row.
        "calls": None if asked is None else asked.calls_as_json,
    }


def body_of(question: Question, stored: Stored | None, result: Result) -> Body:
    """Response for an answer that was just given; `stored` is None while the database is down.

    Raises:
        ValueError: nobody answered.
    """
    if result.answer is None:
        raise ValueError("no answer, no body")
    return _body(
        question.decision_id,
        result.answer.decision,
        version=result.answered_by,
        assignment=(stored.arm, stored.experiment_uid, stored.epoch) if stored else (None, None, None),
        flipped_from=stored.flipped_from if stored else None,
        fallback=result.fallback,
        latency_ms=round(result.drawn.latency_ms, 3),
        probabilities=_numbers(result.answer.probabilities),
    )


def body_of_stored(stored: Stored) -> Body:
    """The same response from the row, byte for byte.

    Raises:
        ValueError: the row holds no answer.
    """
    return _body(
        stored.decision_id,
        TradeDecision.model_validate(stored.answer),
        version=stored.answered_by,
        assignment=(stored.arm, stored.experiment_uid, stored.epoch),
        flipped_from=stored.flipped_from,
        fallback=stored.fallback,
        latency_ms=stored.latency_ms,
        probabilities=stored.probabilities,
    )


def body_of_record(record: Record) -> Body:
    """The same response from a record of the spool.

    Raises:
        KeyError, TypeError, ValueError: it is no whole record, or one of a version that knew less.
    """
    probabilities = record["probabilities"]
    arm, experiment, epoch, flipped_from = (record.get(name) for name in _OF_THE_DRAW)
    return _body(
        str(record["decision_id"]),
        TradeDecision.model_validate(record["answer"]),
        version=_text(record["answered_by"]),
        assignment=(_text(arm), _text(experiment), epoch if isinstance(epoch, int) else None),
        flipped_from=_text(flipped_from),
        fallback=bool(record["fallback"]),
        latency_ms=float(str(record["latency_ms"])),
        probabilities=probabilities if isinstance(probabilities, dict) else None,
    )


def record_of(question: Question, columns: dict[str, JsonValue], version: str, stored: Stored | None) -> Record:
    """The whole row as a record of the spool; `stored`: of a draw that was committed before."""
    drawn = {} if stored is None else {name: getattr(stored, name) for name in _OF_THE_DRAW}
    request, target = question.request, question.routing.arms.get(version)
    return {
        **columns,
        **drawn,
        "decision_id": question.decision_id,
        "request_hash": question.hash.hex(),
        "retry_hash": question.retry_hash.hex(),
        "request": request.model_dump(mode="json", exclude_none=True),
        "symbol": request.scope.symbol,
        "book": request.scope.book,
        "position_id": request.position_id,
        "version": version,
        "sha256": None if target is None else target.sha256,
        "decided_at": question.decided_at.isoformat(),
    }


def parameters_of(record: Record) -> dict[str, object]:
    """A record of the spool as parameters for the database."""
    answer = record["answer"]
    later = dict.fromkeys(said_of(None))  # a record of an older gateway has none of these
    return (
        later
        | sql_values(record)
        | {
            "request_hash": bytes.fromhex(str(record["request_hash"])),
            "retry_hash": bytes.fromhex(str(record["retry_hash"]))
            if "retry_hash" in record
            else None,  # 0.1 wrote none
            "request": jsonb(record["request"]),
            "holds": isinstance(answer, dict) and Action(str(answer["action"])).opens,
        }
    )


def failure(columns: dict[str, JsonValue]) -> str:
    """The drawn arm's error in words."""
    return f"{columns['error_kind'] or ErrorKind.UNAVAILABLE}: {columns['error_detail'] or 'unknown'}"


def sql_values(columns: dict[str, JsonValue]) -> dict[str, object]:
    """Columns with JSON values wrapped for the database."""
    return {name: jsonb(value) if name in _JSON_COLUMNS else value for name, value in columns.items()}


def _body(
    decision_id: str,
    decision: TradeDecision,
    *,
    version: str | None,
    assignment: tuple[str | None, str | None, int | None],
    flipped_from: str | None,
    fallback: bool,
    latency_ms: float | None,
    probabilities: dict[str, JsonValue] | None,
) -> Body:
    arm, experiment, epoch = assignment
    body: Body = {
        "decision_id": decision_id,
        **decision.model_dump(mode="json"),
        "_model_used": version,
        "_arm": arm,
        "_experiment": experiment,
        "_epoch": epoch,
        "_fallback": fallback,
        "_latency_ms": latency_ms,
    }
    if flipped_from is not None:
        # The arm of the old position wanted out of it; the one drawn for the next position decided on that alone.
        body["_flipped"] = flipped_from
        if decision.action is Action.HOLD:
            body["action"] = Action.CLOSE.value
    return body if probabilities is None else body | {"_probabilities": probabilities}


def _numbers(probabilities: dict[str, float] | None) -> dict[str, JsonValue] | None:
    return None if probabilities is None else dict(probabilities)


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None
