"""Why an arm's answer was not used: the words that the gateway stores, the table has and the evidence counts."""

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


class Unasked(StrEnum):
    """Why a shadow has neither an answer nor an error of its own."""

    SHED = "shed"
    """Too many shadows were under way."""
    NOT_ASKED = "not_asked"
    """Not drawn by traffic.shadowShare."""
    CUT_OFF = "cut_off"
    """The replica stopped."""


class AnswerState(StrEnum):
    """What an arm's answer is to a pair, drawn or shadow."""

    ANSWERED = "answered"
    FAILED = "failed"
    """Wrong in itself: it would have been so whenever it was asked. What stands in for it counts."""
    ABSENT = "absent"
    """It did not get its chance, which says nothing of what it would have decided: no pair."""


WRONG_IN_ITSELF = frozenset(
    {ErrorKind.STATUS, ErrorKind.INVALID_JSON, ErrorKind.INVALID_DECISION, ErrorKind.OVER_LIMIT}
)


def answer_state(error: str | None) -> AnswerState:
    """What follows from an `error_kind`: an ErrorKind, an Unasked, or None for an answer.

    A word that is not known, such as one of a newer gateway, is no pair.
    """
    if error is None:
        return AnswerState.ANSWERED
    return AnswerState.FAILED if error in WRONG_IN_ITSELF else AnswerState.ABSENT
