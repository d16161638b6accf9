"""How a Job ends: an exit code that the operator understands and a result of at most 4 KiB in the termination message.

Belongs here: the failure that carries a code, writing the result. Does not belong here: the codes
(trading/exits.py) and what leads to them.
"""

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tradewind.trading.exits import ExitCode

TERMINATION_LOG: Final = Path("/dev/termination-log")
MAX_RESULT_BYTES: Final = 4096  # Kubernetes cuts a termination message there
_MAX_MESSAGE_CHARACTERS: Final = 900

_logger = logging.getLogger(__name__)


class JobError(Exception):
    """Ends a Job with an exit code; `reason` is CamelCase, the message names the field or file and the remedy."""

    def __init__(self, code: ExitCode, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    @property
    def result(self) -> dict[str, Any]:
        """What the termination message says."""
        return {"reason": self.reason, "message": self.message, **self.details}


def bad_config(field: str, message: str) -> JobError:
    """Exit 64 for a field of the configuration."""
    return JobError(ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, f"{field}: {message}")


def write_result(result: Mapping[str, Any], path: Path | None) -> None:
    """The result to the termination log and, last, to stdout. It never fails: a Job's work is not lost for its report.

    Args:
        result: JSON object; an overlong `message` is cut, and so are the largest other values until 4 KiB hold it.
        path: the file; None for `/dev/termination-log` where that exists.
    """
    text = _fitting(dict(result))
    target = path or (TERMINATION_LOG if TERMINATION_LOG.exists() else None)
    if target is not None:
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            _logger.warning("cannot write the result to %s: %s", target, error)
    print(text)
    sys.stdout.flush()


def _fitting(result: dict[str, Any]) -> str:
    message = result.get("message")
    if isinstance(message, str) and len(message) > _MAX_MESSAGE_CHARACTERS:
        result["message"] = message[: _MAX_MESSAGE_CHARACTERS - 3] + "..."
    while len(text := json.dumps(result, separators=(",", ":"), default=str)) > MAX_RESULT_BYTES:
        largest = max(
            (key for key in result if key not in ("reason", "sha256")),
            key=lambda k: len(json.dumps(result[k], default=str)),
        )
        del result[largest]
    return text
