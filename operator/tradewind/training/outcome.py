"""How a Job ends: an exit code that the operator understands and a result of at most 4 KiB in the termination message.

Belongs here: the failure that carries a code, writing the result. Does not belong here: the codes
(trading/exits.py) and what leads to them.
"""

import contextlib
import errno
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tradewind.pretrained.fault import UnfitError
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


_STORAGE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# What torch says when the file below its archive takes no more bytes; it keeps the reason to itself.
_TORCH_WRITES: Final = ("basic_ios::clear: iostream error", "PytorchStreamWriter failed writing", "unexpected pos")


def storage_error(error: BaseException) -> JobError | None:
    """Exit 64 where a volume is full or cannot be written to, by whatever library that was told; None for anything else."""
    seen: BaseException | None = error
    while seen is not None:
        number = seen.errno if isinstance(seen, OSError) else None
        full = next((code for code in _STORAGE if os.strerror(code) in str(seen)), None)
        if number in _STORAGE or full is not None:
            where = f" ({seen.filename})" if isinstance(seen, OSError) and seen.filename else ""
            words = os.strerror(number if number in _STORAGE else full or 0)
            return bad_config("output", f"{words}{where}; mount a writable volume with room, or lower checkpoint.keep")
        if any(words in str(seen) for words in _TORCH_WRITES):
            return bad_config("output", f"a checkpoint cannot be written ({seen}): mount a writable volume with room")
        seen = seen.__cause__ or seen.__context__
    return None


def out_of_memory(error: BaseException) -> JobError:
    """Exit 68 where memory ran out and there is nothing left to give up."""
    remedy = "request more memory, lower hyperparameters.maxLength, or use method qlora on a GPU"
    return JobError(ExitCode.OUT_OF_MEMORY, "OutOfMemory", f"{str(error)[:300]}; {remedy}")


@contextlib.contextmanager
def as_job_error(field: str) -> Iterator[None]:
    """What is unfit to be used ends the Job, named by the field that asked for it."""
    try:
        yield
    except UnfitError as error:
        raise JobError(error.code, error.reason, f"{field}: {error.message}") from error


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
