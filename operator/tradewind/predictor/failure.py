"""How the server says no: before it starts (an exit code and a termination message) and to a request (a status).

Here belongs the two exception types and how they are written out, not the checks that raise them.
"""

import json
import sys
from http import HTTPStatus
from pathlib import Path

from tradewind.pretrained.fault import UnfitError
from tradewind.trading.exits import ExitCode


class StartError(Exception):
    """The server must not start. `reason` is CamelCase; the message names what is wrong and what to do."""

    def __init__(self, code: ExitCode, reason: str, message: str, **details: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def write(self, termination_log: Path) -> None:
        """Leave the message where Kubernetes reads it (4 KiB at most) and on stderr."""
        text = json.dumps({"reason": self.reason, "message": self.message[:2000], **self.details})
        print(text, file=sys.stderr)
        try:
            termination_log.write_text(text)
        except OSError as error:
            print(f"cannot write {termination_log}: {error}", file=sys.stderr)


def as_start_error(error: UnfitError) -> StartError:
    """What is unfit to be used, as this server says it."""
    return StartError(error.code, error.reason, error.message)


class RequestError(Exception):
    """A request that gets no decision; answered as `{"error": {code, field?, message, remedy}}`."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        remedy: str,
        *,
        field: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.remedy = remedy
        self.field = field
        self.retry_after_seconds = retry_after_seconds

    @property
    def body(self) -> dict[str, dict[str, str]]:
        """The JSON body."""
        error = {"code": self.code, "message": self.message, "remedy": self.remedy}
        if self.field is not None:
            error["field"] = self.field
        return {"error": error}

    @property
    def headers(self) -> dict[str, str]:
        """Response headers, `Retry-After` in whole seconds where trying again helps."""
        return {} if self.retry_after_seconds is None else {"Retry-After": str(self.retry_after_seconds)}
