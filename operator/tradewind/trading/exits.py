"""How programs end: one table of exit codes for whoever ends with one and for whoever reads it.

Jobs and servers end with an ExitCode, which the operator reads; the command line ends with a CommandExit, which scripts read.

Belongs here: the codes and what the operator does next. Does not belong here: what leads to them, and the messages, which each
program leaves in its termination log.
"""

from enum import Enum, IntEnum, auto
from typing import Final, Self


class End(Enum):
    """What an exit code means for the next attempt."""

    DONE = auto()
    FINAL = auto()
    """No attempt will end differently until somebody changes something."""
    INTERRUPTED = auto()
    """Stopped from outside: the next attempt goes on from there, and it counts as no failure."""
    FAILED = auto()
    """Counts as a failure; another attempt may succeed."""


class ExitCode(IntEnum):
    """Exit codes with the reason that a condition shows and what they mean in words."""

    reason: str
    end: End
    meaning: str

    def __new__(cls, code: int, reason: str, end: End, meaning: str) -> Self:
        """A code that carries its line of the table."""
        made = int.__new__(cls, code)
        made._value_ = code
        made.reason, made.end, made.meaning = reason, end, meaning
        return made

    DONE = 0, "Done", End.DONE, "done; a server was told to stop"
    ERROR = (
        1,
        "Error",
        End.FAILED,
        "an error that is none of the others, or an endpoint that did not answer; a training is tried once more at most",
    )
    BAD_CONFIG = 64, "InvalidConfiguration", End.FINAL, "bad configuration; the message names the field and the remedy"
    BAD_DATA = (
        65,
        "DatasetRefused",
        End.FINAL,
        "the data or the artifact is missing, broken or another one than was pinned; the database is not readable",
    )
    PREFLIGHT = 66, "PreflightFailed", End.FINAL, "preflight: tokenizer, stop token, length"
    DIVERGED = (
        67,
        "Diverged",
        End.FINAL,
        "diverged (loss not finite), started over at half the learning rate, diverged again",
    )
    OUT_OF_MEMORY = 68, "OutOfMemory", End.FINAL, "out of memory on the GPU or in torch"
    STORE_UNAVAILABLE = (
        69,
        "StoreUnavailable",
        End.FAILED,
        "an object store does not answer, fails, or finds the clock of the node wrong",
    )
    LOAD_FAILED = 70, "LoadFailed", End.FAILED, "a server's weights do not load, or the server failed"
    INTERRUPTED = 75, "Interrupted", End.INTERRUPTED, "interrupted, checkpoint saved"
    KILLED = 137, "Killed", End.INTERRUPTED, "killed: the node was lost, or the grace period was over"
    TERMINATED = 143, "Terminated", End.INTERRUPTED, "terminated before it could save"


class CommandExit(IntEnum):
    """Exit codes of the command line, with what they mean in words. 0 is never an answer that was not asked for."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """A code that carries its line of the table."""
        made = int.__new__(cls, code)
        made._value_ = code
        made.meaning = meaning
        return made

    DONE = (
        0,
        "done, true, or nothing is wrong; of `get -w`: the verdict is promote, the run succeeded",
    )
    NO = 1, "refused, false for good, not there, or there is a problem"
    NOT_ASKED = 2, "it could not be asked for: arguments, files, no cluster, a right that is missing"
    NOT_YET = (
        3,
        "not yet: the time is over and it is still waited for; of `explain`: something is wrong; of `verify`: something is not known",
    )
    ROLLED_BACK = 4, "the verdict is rollback"
    INCONCLUSIVE = 5, "the verdict is inconclusive"
    ABORTED = 6, "the experiment was aborted"
    INTERRUPTED = 130, "interrupted from the keyboard before there was an answer"


_CODES: Final = {int(code): code for code in ExitCode}


def exit_code(code: int | None) -> ExitCode:
    """The line of the table for a pod's exit code. A pod that is gone (None) was killed; an unknown code is an error."""
    return ExitCode.KILLED if code is None else _CODES.get(code, ExitCode.ERROR)
