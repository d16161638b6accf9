"""What this door refuses of a completion's body: always a field and a remedy, status 400 as the clients of the protocol expect.

Belongs here: the two kinds of refusal. Does not belong here: errors of a decision, which keep their own status.
"""

from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.schema.storable import cleaned

_SHOWN = 256


def unreadable(field: str, message: str, remedy: str) -> ApiError:
    """A part of the body that spells no question."""
    return _refused(ErrorCode.INVALID_CHAT, field, message, remedy)


def not_offered(field: str, message: str, remedy: str) -> ApiError:
    """A part of the body that asks for what this door does not give."""
    return _refused(ErrorCode.UNSUPPORTED_PARAMETER, field, message, remedy)


def _refused(code: ErrorCode, field: str, message: str, remedy: str) -> ApiError:
    name = cleaned(field, _SHOWN)  # names may be the caller's
    return ApiError(code, f"{name}: {cleaned(message, 4 * _SHOWN)}", cleaned(remedy, 4 * _SHOWN), field=name)
