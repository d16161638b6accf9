"""What an API says instead of an answer: its status and words become an error with a cause that somebody can act on.

Belongs here: status codes, error objects, Retry-After, and keeping secrets out of what is stored. Does not belong here: when
a question is asked again (retries.py), and answers (reading.py).
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pydantic import JsonValue

from tradewind.gateway.answers import ArmError
from tradewind.schema.storable import cleaned
from tradewind.trading.error_kinds import ErrorCause, ErrorKind

MAX_WORDS = 160
MOST_WAIT_SECONDS = 3600.0
"""An API that asks to be left alone for longer is asked once an hour all the same."""

_CAUSES: Mapping[int, tuple[ErrorCause, str]] = {
    400: (ErrorCause.PARAMETER, "the API refuses what was sent"),
    401: (ErrorCause.CREDENTIAL, "the API does not accept the key"),
    402: (ErrorCause.BALANCE, "the account has no balance left"),
    403: (ErrorCause.CREDENTIAL, "the API does not allow this key to ask"),
    404: (ErrorCause.NOT_FOUND, "the API knows no such address or model"),
    405: (ErrorCause.NOT_FOUND, "the API takes no POST at this address"),
    408: (ErrorCause.SERVER, "the API waited too long"),
    409: (ErrorCause.SERVER, "the API was in conflict"),
    410: (ErrorCause.NOT_FOUND, "the API no longer has this address or model"),
    413: (ErrorCause.PARAMETER, "the question is too large for the API"),
    415: (ErrorCause.PARAMETER, "the API refuses what was sent"),
    422: (ErrorCause.PARAMETER, "the API refuses what was sent"),
    429: (ErrorCause.RATE, "too many questions for the API"),
    503: (ErrorCause.OVERLOADED, "the API is overloaded"),
    529: (ErrorCause.OVERLOADED, "the API is overloaded"),
}
_STATUS_OF_TYPE: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""What an error inside an answer of status 200 would have had as status, where it names its type alone."""
_NO_BALANCE = "credit balance is too low"
"""A balance that is used up, of which the status is 400."""
_AGAIN = frozenset({408, 409, 429})
_TOKEN = re.compile(r"(?i)\b(?:sk|pk|rk)[-_][\w-]{4,}|\bBearer\s+\S+|\b[A-Za-z0-9+/_-]{32,}={0,2}")
_REDACTED = "[redacted]"


def refusal(
    status: int | None, body: bytes | JsonValue | Mapping[str, JsonValue], headers: Mapping[str, str] | None = None,
    *, secret: str | None = None, now: datetime | None = None,
) -> ArmError:  # fmt: skip
    """The error of an HTTP status that is not 200, or of an error inside an answer of status 200 (`status` None).

    Args:
        status: of the answer.
        body: what came, as bytes or parsed.
        headers: of the answer, by lower-case names.
        secret: the credential that was sent; it and whatever looks like a key are kept out.
        now: for a Retry-After that is a date.
    """
    told = _parsed(body) if isinstance(body, bytes) else body
    words, code = _words(told, secret)
    known = status if status is not None else code
    if known is None and isinstance(told, Mapping):
        known = _status_of_type(told.get("error"))
    if known == 400 and _NO_BALANCE in words:
        known = 402
    cause, meaning = _CAUSES.get(known or 0, (None, ""))
    if cause is None and known is not None:
        if 300 <= known < 400:
            cause, meaning = ErrorCause.REDIRECT, "the API has moved; correct baseURL"
        elif known >= 500:
            cause, meaning = ErrorCause.SERVER, "the API failed"
    began = (
        f"HTTP status {status}"
        if status is not None
        else f"an error in an answer of status 200{f', {code}' if code else ''}"
    )
    detail = ": ".join(part for part in (", ".join(part for part in (began, meaning) if part), words) if part)
    again = known is not None and (known in _AGAIN or known >= 500)
    wait = None if headers is None else retry_after(headers.get("retry-after"), now or datetime.now(UTC))
    return ArmError(ErrorKind.STATUS, detail, cause=cause, again=again, wait=wait)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header, a number or a date, at most an hour; None: there is none that can be read."""
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return min(float(text), MOST_WAIT_SECONDS)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year of twenty digits
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), MOST_WAIT_SECONDS)


def _parsed(body: bytes) -> JsonValue:
    try:
        value: JsonValue = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return None if text[:1] == "<" else text.partition("\n")[0]
    return value


def _words(told: JsonValue | Mapping[str, JsonValue], secret: str | None) -> tuple[str, int | None]:
    """The API's own words, bounded and without secrets, and the status that an error inside a body names."""
    error = told.get("error", told) if isinstance(told, Mapping) else told
    if isinstance(error, list) and len(error) == 1:
        error = error[0]
    code = None
    if isinstance(error, Mapping):
        texts = (error.get(name) for name in ("message", "detail", "msg", "error"))
        said = next((text for text in texts if isinstance(text, str)), "")
        marks = [
            f"{name} {mark}"
            for name in ("code", "type", "param")
            if (mark := _mark(error.get(name))) and mark not in said
        ]
        numbers = (_mark(error.get(name)) for name in ("code", "status", "status_code"))
        code = next((int(n) for n in numbers if re.fullmatch("[345][0-9]{2}", n)), None)
        text = f"{said} ({', '.join(marks)})" if said and marks else said or ", ".join(marks)
    else:
        text = error if isinstance(error, str) else ""
    return _without_secrets(text, secret), code


def _status_of_type(error: JsonValue) -> int | None:
    kind = error.get("type") if isinstance(error, Mapping) else None
    return _STATUS_OF_TYPE.get(kind) if isinstance(kind, str) else None


def _mark(value: JsonValue) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _without_secrets(text: str, secret: str | None) -> str:
    if secret:
        text = text.replace(secret, _REDACTED)
    return cleaned(" ".join(_TOKEN.sub(_REDACTED, text).split()), MAX_WORDS)
