"""What is wrong with a row, or with a whole file, said so that its owner can mend it.

Belongs here: the reasons and the two errors. Does not belong here: the checks that raise them.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a row is refused; the counts of a run go by these."""

    MALFORMED = "malformed"
    """No JSON object, a name twice, cells that do not fit the headings."""
    MISSING = "missing"
    """A field that is needed has no value."""
    NUMBER = "number"
    """No number, NaN, infinite, or out of its bounds."""
    PERCENT = "percent"
    """Looks like a percentage where a fraction is due, or the other way round."""
    TIME = "time"
    """No time, or one without a time zone."""
    FUTURE = "future"
    """A time that has not come yet."""
    ORDER = "order"
    """Closed before it was decided."""
    SYMBOL = "symbol"
    """A symbol that nobody asked for."""
    WORD = "word"
    """A side, a label or a state that is none of the known ones."""
    CONTRADICTION = "contradiction"
    """Two fields of the row cannot both be true."""
    NO_INPUT = "no_input"
    """Nothing says what a model would have been shown."""
    CURRENCY = "currency"
    """Money in something else than dollars."""
    INVALID = "invalid"
    """Not the schema of a decision, or nothing that can be stored."""
    TOO_LARGE = "too_large"
    """More than the gateway takes of a decision."""
    DUPLICATE = "duplicate"
    """The id comes twice in the file, with different contents."""
    OTHER_CONTENT = "other_content"
    """The id was imported before, with other contents."""
    OWN_DECISION = "own_decision"
    """The Endpoint made this decision itself."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one row is refused.

    Attributes:
        number: of its line or row, from 1.
        field: as the file names it; empty: the whole row.
        message: what is wrong and what to do.
    """

    number: int
    field: str
    reason: Reason
    message: str


class RowError(ValueError):
    """A row that cannot be taken: field, reason, and what to do."""

    def __init__(self, field: str, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.field, self.reason, self.message = field, reason, message

    def at(self, number: int) -> Problem:
        """The problem with its place."""
        return Problem(number, self.field, self.reason, self.message)


class FileError(ValueError):
    """A file of which nothing can be taken; the message says what it is and what to do. `line` is 0 where there is none."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line
