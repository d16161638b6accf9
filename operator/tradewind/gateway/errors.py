"""The errors that callers of the gateway see: a status, a code, a message, a remedy, and the field if there is one.

Belongs here: the type and the errors that several modules raise. Does not belong here: errors of arms, which are counted
and answered by the fallback (arms.py).
"""

import math
from enum import StrEnum
from typing import Self

from pydantic import JsonValue, ValidationError

from tradewind.schema.rules import first_fault
from tradewind.schema.storable import cleaned
from tradewind.trading.error_kinds import REMEDIES

RETRY_SECONDS = 1.0  # never for what is final for its id, such as no_answer
RETRY_BLOCK_SECONDS = 0.2


class ErrorCode(StrEnum):
    """What callers may rely on: code and status, with when it comes and what to do, as docs/gateway.md shows them."""

    status: int
    when: str
    what_to_do: str

    def __new__(cls, code: str, status: int, when: str, what_to_do: str) -> Self:
        """A member is its code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.status, member.when, member.what_to_do = status, when, what_to_do
        return member

    MALFORMED_JSON = "malformed_json", 400, "not JSON in UTF-8", "correct it"
    INVALID_CHAT = (
        "invalid_chat",
        400,
        "a chat completion in which no question can be read; `param` names the field",
        "correct the field",
    )
    UNSUPPORTED_PARAMETER = (
        "unsupported_parameter",
        400,
        "a chat completion asks for what is not given here; `param` names the field",
        "as the remedy says",
    )
    UNAUTHORIZED = "unauthorized", 401, "token missing or wrong", "send the bearer token"
    UNAUTHORIZED_TOO_OFTEN = (
        "unauthorized_too_often",
        429,
        "too many wrong tokens from one address; a right one is answered",
        "correct the token",
    )
    UNKNOWN_DECISION = (
        "unknown_decision",
        404,
        "a report about an id that was never asked here",
        "check id and endpoint; after an outage, repeat",
    )
    MODEL_NOT_FOUND = (
        "model_not_found",
        404,
        "a chat completion asks for another model than `tradewind/<endpoint>`",
        "correct the model, or ask at that Endpoint's gateway",
    )
    NO_SUCH_ROUTE = "no_such_route", 404, "no such method and path", "see the paths above"
    IN_PROGRESS = "in_progress", 409, "the id is being asked", "repeat after Retry-After"
    NOT_OPENED = (
        "not_opened",
        409,
        "an outcome of a decision that opened nothing",
        "report its execution first; outcomes belong to the opener",
    )
    HOLD = "hold", 409, "a report on a decision to hold", "report nothing"
    CLOSE = (
        "close",
        409,
        "an execution that does not fit a decision to close",
        "as the remedy says; outcomes belong to the opener",
    )
    EXECUTION_DIFFERS = (
        "execution_differs",
        409,
        "a second execution that is no growth of the first",
        "the first stands; correct or void it",
    )
    SCOPE_BUSY = (
        "scope_busy",
        409,
        "another question of the scope is being answered, or opened a position while this one waited",
        "repeat after Retry-After, with the positions as they are then",
    )
    POSITION_CLOSED = "position_closed", 409, "an event after the close", "correct or void the close if it was wrong"
    EVENT_DIFFERS = "event_differs", 409, "the `event_id` was reported with other words", "give each event its own id"
    UNKNOWN_EVENT = "unknown_event", 409, "a correction or void of an event that does not stand", "name one that does"
    POSITION_TAKEN = "position_taken", 409, "the `position_id` is open elsewhere", "give each open position its own id"
    PRICE_DIFFERS = (
        "price_differs",
        409,
        "a bar is stored with other prices",
        "the first stands; post bars once they are complete",
    )
    PAPER_DIFFERS = "paper_differs", 409, "another paper was reported of that arm", "the first stands"
    NO_PAIR = (
        "no_pair",
        409,
        "a paper of a decision that no experiment drew, or of an arm that gave no answer",
        "report none of it",
    )
    REQUEST_TIMEOUT = (
        "request_timeout",
        408,
        "head or body of the request did not come in time",
        "send the whole request again",
    )
    BODY_TOO_LARGE = "body_too_large", 413, "over 256 KiB, unpacked", "send less"
    UNSUPPORTED_ENCODING = (
        "unsupported_encoding",
        415,
        "`Content-Encoding` is neither gzip nor deflate",
        "send the body as it is",
    )
    INVALID_REQUEST = "invalid_request", 422, "schema; `field` names it", "correct the field"
    DECISION_ID_REUSED = (
        "decision_id_reused",
        422,
        "the id was asked with another body",
        "a new question needs a new id",
    )
    POSITION_NOT_OPEN = "position_not_open", 422, "unknown or closed position", "report the execution first"
    SYMBOL_NOT_ALLOWED = (
        "symbol_not_allowed",
        422,
        "outside the Endpoint's symbols",
        "correct the request, or the Endpoint",
    )
    PERMISSION_LEVEL_UNKNOWN = (
        "permission_level_unknown",
        422,
        "a level that the Endpoint has no limits for",
        "correct the request, or the Endpoint",
    )
    AS_OF_REQUIRED = "as_of_required", 422, "a replay needs `as_of`", "see Replay"
    AS_OF_REFUSED = "as_of_refused", 422, "`as_of` on a live Endpoint", "see Replay"
    AS_OF_IN_FUTURE = "as_of_in_future", 422, "`as_of` lies in the future", "see Replay"
    CLOSED_BEFORE_OPENED = "closed_before_opened", 422, "the outcome lies before the execution", "correct the times"
    OUT_OF_BOUNDS = (
        "out_of_bounds",
        422,
        "a report that cannot be true of its decision: too large a fill, loss, gain or fee, too long a time",
        "correct unit, sign or decision; the bounds are `spec.reports` of the Endpoint",
    )
    TIME_IN_FUTURE = "time_in_future", 422, "a report's time is ahead of the clock", "give UTC, or the offset"
    TIME_BEFORE_DECISION = (
        "time_before_decision",
        422,
        "a report's time is before the decision",
        "give UTC, or the offset; check the id",
    )
    BLOCK_NOT_PUBLISHED = (
        "block_not_published",
        425,
        "a replay waits for its weight",
        "repeat after `retry_after_seconds`",
    )
    INTERNAL = "internal", 500, "a fault in the gateway", "report it; the log has the details"
    NO_ANSWER = (
        "no_answer",
        503,
        "neither arm nor fallback answered; final for this id (409 on a report about it)",
        "no decision; ask again with a new id",
    )
    OVERLOADED = (
        "overloaded",
        503,
        "more is asked than can be answered in time; nothing was drawn, stored or asked",
        "repeat the same request after Retry-After",
    )
    DATABASE_UNAVAILABLE = "database_unavailable", 503, "the database does not answer", "repeat the same request"
    NO_ROUTING = "no_routing", 503, "this replica has not seen the routing yet", "repeat the same request"
    TOKEN_UNREADABLE = "token_unreadable", 503, "the gateway cannot read its token", "check gateway.auth.secretRef"


class ApiError(Exception):
    """Ends a request with `{"error": {code, field?, message, remedy}}`; `status` is the code's unless it is given."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        remedy: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status or code.status
        self.code = code
        self.message = message
        self.remedy = remedy
        self.field = field
        self.retry_after = retry_after

    def body(self) -> dict[str, dict[str, JsonValue]]:
        """The JSON body; `retry_after_seconds` may be a fraction, where waiting helps."""
        error: dict[str, JsonValue] = {"code": self.code, "message": self.message, "remedy": self.remedy}
        more = {"field": self.field or None, "retry_after_seconds": self.retry_after}
        return {"error": error | {name: value for name, value in more.items() if value is not None}}

    def headers(self) -> dict[str, str]:
        """`Retry-After` where waiting helps: whole seconds, rounded up, since clients fail on anything else."""
        return {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}


def database_unavailable() -> ApiError:
    """The database does not answer and the call needs it."""
    return ApiError(
        ErrorCode.DATABASE_UNAVAILABLE,
        "the decision database does not answer",
        "send the same request again; nothing of it was lost or done twice",
        retry_after=RETRY_SECONDS,
    )


def overloaded(retry_after: float) -> ApiError:
    """There is no room for the request: it was not begun."""
    return ApiError(
        ErrorCode.OVERLOADED,
        "this replica has more to do than it can answer in time; the request was not begun",
        "send the same request again after Retry-After; with more replicas (gateway.replicas, gateway.autoscaling) there is more room",
        retry_after=retry_after,
    )


def being_asked(decision_id: str) -> ApiError:
    """Another request with this id is being answered."""
    return ApiError(
        ErrorCode.IN_PROGRESS,
        f"decision {decision_id} is being asked by another request",
        "send the same request again to get its answer",
        field="decision_id",
        retry_after=RETRY_SECONDS,
    )


def scope_busy(symbol: str, holder: str | None) -> ApiError:
    """Another question of the scope is being answered, or was answered with an opening after this one came."""
    what = "is being answered" if holder is None else f"({holder}) was answered with an opening while this one waited"
    return ApiError(
        ErrorCode.SCOPE_BUSY,
        f"another question about {symbol} in this book {what}",
        "send it again with the positions as they are then; keep strategies that run side by side apart by scope.book",
        field="scope",
        retry_after=RETRY_SECONDS,
    )


def no_arm_left(decision_id: str, detail: str, cause: str | None) -> ApiError:
    """Neither the drawn arm nor the fallback gave a valid answer; the decision is failed for good.

    Args:
        decision_id: of the decision.
        detail: the drawn arm's error in words.
        cause: its `ErrorCause`; a new question has the same end until somebody has done something about most of them.
    """
    remedy = REMEDIES.get(cause or "")
    return ApiError(
        ErrorCode.NO_ANSWER,
        f"no arm gave a valid answer to decision {decision_id} ({detail})",
        "treat it as no decision; "
        + ("ask again with a new decision_id" if remedy is None else f"{remedy}, then ask anew"),
    )


def another_body(decision_id: str) -> ApiError:
    """An id was used again for another question."""
    return ApiError(
        ErrorCode.DECISION_ID_REUSED,
        f"decision {decision_id} was asked before with another body",
        "use a new decision_id for a new question; a repetition must have the same body",
        field="decision_id",
    )


def unknown_decision(decision_id: str) -> ApiError:
    """A report about a decision that this endpoint never made."""
    return ApiError(
        ErrorCode.UNKNOWN_DECISION,
        f"this endpoint has made no decision {decision_id}",
        "check the id and the endpoint; after a database outage send the report again when the spool is written",
        field="decision_id",
    )


def from_validation(error: ValidationError) -> ApiError:
    """400 for text that is no JSON, 422 with the first field that is wrong otherwise."""
    fault = first_fault(error)
    if fault.type == "json_invalid":
        return ApiError(
            ErrorCode.MALFORMED_JSON,
            f"the body is not JSON: {fault.message}",
            "send one JSON object, UTF-8, nested less than 200 deep",
        )
    field, message = cleaned(fault.field, 256), cleaned(fault.message, 1024)  # names and words are the caller's
    remedy = {
        "missing": f"add {field}",
        "extra_forbidden": f"remove {field}; unknown fields are refused so that a misspelt one is not ignored",
        "timezone_aware": f"give {field} with an offset, e.g. 2026-01-01T00:00:00Z",
        "identifier": f"send {field} as text of visible characters, or as a whole number",
    }.get(fault.type, f"correct {field or 'the body'} as in docs/gateway.md")
    return ApiError(ErrorCode.INVALID_REQUEST, f"{field or 'body'}: {message}", remedy, field=field or None)
