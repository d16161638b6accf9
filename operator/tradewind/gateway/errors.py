"""The errors that callers of the gateway see: a status, a code, a message, a remedy, and the field if there is one.

Belongs here: the type and the errors that several modules raise. Does not belong here: errors of arms, which are counted
and answered by the fallback (arms.py).
"""

from collections.abc import Sequence

from pydantic import ValidationError

RETRY_SECONDS = 1.0
RETRY_BLOCK_SECONDS = 0.2


class ApiError(Exception):
    """Ends a request with `{"error": {code, field?, message, remedy}}`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        remedy: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.remedy = remedy
        self.field = field
        self.retry_after = retry_after

    def body(self) -> dict[str, dict[str, str]]:
        """The JSON body."""
        error = {"code": self.code, "message": self.message, "remedy": self.remedy}
        return {"error": error | ({"field": self.field} if self.field else {})}

    def headers(self) -> dict[str, str]:
        """`Retry-After` in seconds, where waiting helps."""
        return {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}


def database_unavailable() -> ApiError:
    """The database does not answer and the call needs it."""
    return ApiError(
        503,
        "database_unavailable",
        "the decision database does not answer",
        "send the same request again; nothing of it was lost or done twice",
        retry_after=RETRY_SECONDS,
    )


def being_asked(decision_id: str) -> ApiError:
    """Another request with this id is being answered."""
    return ApiError(
        409,
        "in_progress",
        f"decision {decision_id} is being asked by another request",
        "send the same request again to get its answer",
        field="decision_id",
        retry_after=RETRY_SECONDS,
    )


def no_arm_left(decision_id: str, detail: str) -> ApiError:
    """Neither the drawn arm nor the fallback gave a valid answer; the decision is failed for good."""
    return ApiError(
        503,
        "no_answer",
        f"no arm gave a valid answer to decision {decision_id} ({detail})",
        "treat it as no decision; ask again with a new decision_id",
        retry_after=RETRY_SECONDS,
    )


def another_body(decision_id: str) -> ApiError:
    """An id was used again for another question."""
    return ApiError(
        422,
        "decision_id_reused",
        f"decision {decision_id} was asked before with another body",
        "use a new decision_id for a new question; a repetition must have the same body",
        field="decision_id",
    )


def unknown_decision(decision_id: str) -> ApiError:
    """A report about a decision that this endpoint never made."""
    return ApiError(
        404,
        "unknown_decision",
        f"this endpoint has made no decision {decision_id}",
        "check the id and the endpoint; after a database outage send the report again when the spool is written",
        field="decision_id",
    )


def from_validation(error: ValidationError) -> ApiError:
    """400 for text that is no JSON, 422 with the first field that is wrong otherwise."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return ApiError(400, "malformed_json", f"the body is not JSON: {first['msg']}", "send one JSON object, UTF-8")
    field = _path(first["loc"])
    remedy = {
        "missing": f"add {field}",
        "extra_forbidden": f"remove {field}; unknown fields are refused so that a misspelt one is not ignored",
        "timezone_aware": f"give {field} with an offset, e.g. 2026-01-01T00:00:00Z",
        "string_pattern_mismatch": f"{field} may hold letters, digits and . _ : / -, and starts with a letter or digit",
    }.get(first["type"], f"correct {field or 'the body'} as in docs/gateway.md")
    return ApiError(422, "invalid_request", f"{field or 'body'}: {first['msg']}", remedy, field=field or None)


def _path(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location)
