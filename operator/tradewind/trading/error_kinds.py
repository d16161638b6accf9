"""Why the drawn arm's answer was not used: the words that the gateway stores, the table has and the evidence counts."""

from enum import StrEnum


class ErrorKind(StrEnum):
    """Stored with the decision and counted by the error-rate guardrail."""

    TIMEOUT = "timeout"
    TRANSPORT = "transport"
    STATUS = "status"
    INVALID_JSON = "invalid_json"
    INVALID_DECISION = "invalid_decision"
    OVER_LIMIT = "over_limit"
    BREAKER_OPEN = "breaker_open"
    UNAVAILABLE = "unavailable"
