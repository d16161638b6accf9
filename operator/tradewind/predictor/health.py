"""Whether the server still answers: passes that fail in a row end it, a long queue or a slow load does not.

Belongs here: counting what fails and saying when it is enough. Does not belong here: the routes, and how the process ends
(server.py).
"""

from collections.abc import Callable
from typing import Final

from tradewind.predictor.failure import StartError
from tradewind.trading.exits import ExitCode

IN_A_ROW: Final = 3
"""Decisions that fail one after the other before the server is given up: one may be its question's fault."""


class Health:
    """Written by the inference thread and read by the event loop; each write is of one name."""

    def __init__(self) -> None:
        self.fault: StartError | None = None
        self.on_end: Callable[[], None] = lambda: None
        self._failed = 0

    @property
    def alive(self) -> bool:
        """Whether it is worth going on."""
        return self.fault is None

    def answered(self) -> None:
        """A decision was written."""
        self._failed = 0

    def failed(self, reason: str, message: str) -> None:
        """A decision was not written, and not because of what was asked.

        Args:
            reason: CamelCase, of the last failure.
            message: the last failure in words, with a remedy.
        """
        self._failed += 1
        if self._failed >= IN_A_ROW and self.fault is None:
            said = f"{self._failed} decisions in a row failed, the last one because {message}"
            self.fault = StartError(ExitCode.LOAD_FAILED, reason, said)
            self.on_end()
