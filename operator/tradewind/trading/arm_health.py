"""Whether an arm answers: what a gateway finds by asking it, in the words that conditions, Events and metrics use.

Belongs here: the record that gateways write and the operator reads, and the word and the remedy of each cause. Does not belong
here: when an arm is probed (gateway/health.py), and what follows for objects (core/).
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from tradewind.trading.error_kinds import REMEDIES, ErrorCause, ErrorKind


class ArmReason(StrEnum):
    """Why `ArmHealthy` says what it says, and `Ready` after it."""

    ANSWERS = "Answers"
    """The newest question was answered with a valid decision."""
    PROBING = "Probing"
    """A gateway is asking its first question."""
    NOT_ASKED = "NotAsked"
    """No Endpoint asks it, so that nobody knows whether it answers."""
    SECRET_UNREADABLE = "SecretUnreadable"  # noqa: S105 - a word
    """The Secret of external.secretRef, or its key, is not there or is empty."""
    SECRET_NOT_FOR_HOST = "SecretNotForHost"  # noqa: S105 - a word
    """The Secret of external.secretRef does not name the host under allowedHosts: the key is not sent, and nothing is asked."""
    HOST_NOT_ALLOWED = "HostNotAllowed"
    """The installation does not allow the host of external.baseURL, or what it resolves to."""
    CREDENTIAL_WITHOUT_TLS = "CredentialWithoutTLS"
    """The API key would go over http."""
    PROMPT_UNUSABLE = "PromptUnusable"
    """The ConfigMap of external.promptTemplate, or a key, is not there, or its text is no template."""
    CREDENTIAL_REFUSED = "CredentialRefused"
    """401 or 403: the API does not accept the key."""
    NO_BALANCE = "NoBalance"
    """402: the account has nothing left to pay with."""
    RATE_LIMITED = "RateLimited"
    """429: too many questions for the API."""
    REQUEST_REFUSED = "RequestRefused"
    """400, 413, 415 or 422: the API refuses something that was sent."""
    NOT_FOUND = "NotFound"
    """404, 405 or 410: base URL or model name."""
    REDIRECTED = "Redirected"
    """The API has moved, and a redirect is not followed."""
    OVERLOADED = "Overloaded"
    """503 or 529, or the API's own word for it."""
    SERVER_ERROR = "ServerError"
    """Any other 5xx, 408 or 409."""
    NAME_NOT_RESOLVED = "NameNotResolved"
    """DNS does not know the host."""
    TLS_FAILED = "TLSFailed"
    """The certificate is not accepted, or what answers speaks no TLS."""
    NOT_CONNECTED = "NotConnected"
    """Nobody listens, the way is barred, or the connection broke."""
    ENVIRONMENT_UNUSABLE = "EnvironmentUnusable"
    """A variable of the gateway's environment cannot be used."""
    TIMED_OUT = "TimedOut"
    """No answer came within the version's timeout."""
    INVALID_ANSWERS = "InvalidAnswers"
    """Something answers, and it is no decision."""
    FAILED = "ArmFailed"
    """Another error, which the message names."""


_OF_CAUSE: Mapping[str, ArmReason] = {
    ErrorCause.UNREADABLE: ArmReason.SECRET_UNREADABLE,
    ErrorCause.SECRET_HOST: ArmReason.SECRET_NOT_FOR_HOST,
    ErrorCause.HOST: ArmReason.HOST_NOT_ALLOWED,
    ErrorCause.PLAINTEXT: ArmReason.CREDENTIAL_WITHOUT_TLS,
    ErrorCause.PROMPT: ArmReason.PROMPT_UNUSABLE,
    ErrorCause.CREDENTIAL: ArmReason.CREDENTIAL_REFUSED,
    ErrorCause.BALANCE: ArmReason.NO_BALANCE,
    ErrorCause.RATE: ArmReason.RATE_LIMITED,
    ErrorCause.PARAMETER: ArmReason.REQUEST_REFUSED,
    ErrorCause.NOT_FOUND: ArmReason.NOT_FOUND,
    ErrorCause.REDIRECT: ArmReason.REDIRECTED,
    ErrorCause.OVERLOADED: ArmReason.OVERLOADED,
    ErrorCause.SERVER: ArmReason.SERVER_ERROR,
    ErrorCause.DNS: ArmReason.NAME_NOT_RESOLVED,
    ErrorCause.TLS: ArmReason.TLS_FAILED,
    ErrorCause.CONNECT: ArmReason.NOT_CONNECTED,
    ErrorCause.ENVIRONMENT: ArmReason.ENVIRONMENT_UNUSABLE,
}
_OF_KIND: Mapping[str, ArmReason] = {
    ErrorKind.TIMEOUT: ArmReason.TIMED_OUT,
    ErrorKind.TRANSPORT: ArmReason.NOT_CONNECTED,
    ErrorKind.INVALID_JSON: ArmReason.INVALID_ANSWERS,
    ErrorKind.INVALID_DECISION: ArmReason.INVALID_ANSWERS,
    ErrorKind.EMPTY: ArmReason.INVALID_ANSWERS,
    ErrorKind.LENGTH: ArmReason.INVALID_ANSWERS,
    ErrorKind.REFUSAL: ArmReason.INVALID_ANSWERS,
    ErrorKind.CONTENT_FILTER: ArmReason.INVALID_ANSWERS,
}
_REMEDY_OF_KIND: Mapping[str, str] = {
    ErrorKind.TIMEOUT: "raise the timeout in a new ModelVersion if the model needs longer",
    ErrorKind.LENGTH: "raise external.maxTokens in a new ModelVersion",
}


def reason_of(cause: ErrorCause) -> ArmReason:
    """The fixed word of a cause."""
    return _OF_CAUSE[cause]


class ArmHealth(BaseModel):
    """What one gateway knows of one arm.

    Attributes:
        version: the ModelVersion.
        target: `ArmTarget.digest` of what was asked; another one is another arm.
        healthy: None: it was not asked yet.
        error_kind, error_cause, detail: of the newest probe; None: it was answered.
        since: when `healthy` and the error became what they are.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    target: str
    healthy: bool | None = None
    error_kind: str | None = None
    error_cause: str | None = None
    detail: str | None = None
    since: datetime

    @property
    def reason(self) -> ArmReason:
        """The fixed word for it."""
        if self.healthy is None:
            return ArmReason.PROBING
        if self.healthy:
            return ArmReason.ANSWERS
        known = _OF_CAUSE.get(self.error_cause or "") or _OF_KIND.get(self.error_kind or "")
        return known or ArmReason.FAILED

    @property
    def message(self) -> str:
        """The error in words, with what to do about it."""
        remedy = REMEDIES.get(self.error_cause or "") or _REMEDY_OF_KIND.get(self.error_kind or "")
        detail = self.detail or self.error_kind or ""
        return f"{detail}; {remedy}" if remedy else detail
