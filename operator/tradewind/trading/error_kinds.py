"""Why an arm's answer was not used: the words that the gateway stores, the table has and the evidence counts."""

from collections.abc import Mapping
from enum import StrEnum


class ErrorKind(StrEnum):
    """Stored with the decision and counted by the error-rate guardrail."""

    TIMEOUT = "timeout"
    TRANSPORT = "transport"
    STATUS = "status"
    INVALID_JSON = "invalid_json"
    INVALID_DECISION = "invalid_decision"
    OVER_LIMIT = "over_limit"
    EMPTY = "empty"
    """Nothing was said: no text at all, or white space."""
    LENGTH = "length"
    """Cut off by the limit of tokens."""
    REFUSAL = "refusal"
    """The model declined to answer."""
    CONTENT_FILTER = "content_filter"
    """A filter of the API took the answer away."""
    BREAKER_OPEN = "breaker_open"
    UNAVAILABLE = "unavailable"


class ErrorCause(StrEnum):
    """What somebody has to do about an error of kind `status`, `transport` or `unavailable`; the kind says what it is to a pair."""

    UNREADABLE = "secret"
    """The credential cannot be read where the gateway looks for it."""
    SECRET_HOST = "secret_host"  # noqa: S105 - a word
    """The Secret does not name the host that its key would be sent to."""
    HOST = "host"
    """The installation does not let gateways ask the host, or what its name resolves to."""
    PLAINTEXT = "plaintext"
    """The API key would go over http to a host that the installation does not allow that for."""
    PROMPT = "prompt"
    """The version's own prompt cannot be read or used."""
    CREDENTIAL = "credential"
    """401 or 403: the API does not accept the key."""
    BALANCE = "balance"
    """402: nothing is left to pay with. It does not pass by itself."""
    RATE = "rate"
    """429: too many questions."""
    PARAMETER = "parameter"
    """400, 413, 415 or 422: the API refuses something that was sent."""
    NOT_FOUND = "not_found"
    """404, 405 or 410: base URL or model name."""
    REDIRECT = "redirect"
    """The API has moved; a redirect is not followed, since the key would go along."""
    OVERLOADED = "overloaded"
    """503, 529, or the API's own word for it."""
    SERVER = "server"
    """Any other 5xx, 408 or 409."""
    DNS = "dns"
    """The host's name does not resolve."""
    TLS = "tls"
    """The certificate is not accepted, or what answers speaks no TLS."""
    CONNECT = "connect"
    """Nobody listens, or the way is barred."""
    ENVIRONMENT = "environment"
    """A variable of the gateway's environment cannot be used."""


REMEDIES: Mapping[str, str] = {
    ErrorCause.UNREADABLE: "create the Secret that external.secretRef of the ModelVersion names, with that key",
    ErrorCause.SECRET_HOST: "if the key is meant for that host, add the host to the key allowedHosts of the Secret of external.secretRef",
    ErrorCause.HOST: "correct external.baseURL in a new ModelVersion, or have an administrator add the host to egress.allowedHosts, or "
    "to egress.allowedInternalHosts where it lies inside, in the values of the chart",
    ErrorCause.PLAINTEXT: "use https in external.baseURL of a new ModelVersion, or have an administrator name the host with http:// "
    "before it in egress.allowedHosts or egress.allowedInternalHosts in the values of the chart",
    ErrorCause.PROMPT: "correct the ConfigMap that external.promptTemplate of the ModelVersion names",
    ErrorCause.CREDENTIAL: "put a valid API key into the Secret of external.secretRef",
    ErrorCause.BALANCE: "top up the account of the API",
    ErrorCause.PARAMETER: "correct external of the ModelVersion (temperature, responseFormat, maxTokens, extraBody) in a new one",
    ErrorCause.NOT_FOUND: "correct external.baseURL or external.model in a new ModelVersion",
    ErrorCause.REDIRECT: "correct external.baseURL in a new ModelVersion",
    ErrorCause.DNS: "correct external.baseURL in a new ModelVersion, or the cluster's DNS",
    ErrorCause.TLS: "correct external.baseURL, or have the gateway's pods trust its certificate",
    ErrorCause.CONNECT: "check external.baseURL, and NetworkPolicies and proxies on the way",
    ErrorCause.ENVIRONMENT: "correct or unset the variable of the gateway that is named",
}
"""What somebody has to do about a cause that does not pass by itself; a gateway's 503 and an object's conditions say the same."""


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


NON_ANSWERS = frozenset(
    {ErrorKind.INVALID_JSON, ErrorKind.EMPTY, ErrorKind.LENGTH, ErrorKind.REFUSAL, ErrorKind.CONTENT_FILTER}
)
"""Whole failures that an API bills all the same: a row of them opens the breaker of an external arm."""
WRONG_IN_ITSELF = NON_ANSWERS | {ErrorKind.STATUS, ErrorKind.INVALID_DECISION, ErrorKind.OVER_LIMIT}


def answer_state(error: str | None) -> AnswerState:
    """What follows from an `error_kind`: an ErrorKind, an Unasked, or None for an answer.

    A word that is not known, such as one of a newer gateway, is no pair.
    """
    if error is None:
        return AnswerState.ANSWERED
    return AnswerState.FAILED if error in WRONG_IN_ITSELF else AnswerState.ABSENT
