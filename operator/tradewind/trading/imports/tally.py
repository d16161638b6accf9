"""What a file held, as it is told before and after it is stored: counts, labels, symbols, the first problems.

Belongs here: counting, and ids that come twice within a file. Does not belong here: what is already stored (shell/imported.py)
and how the counts are printed (cli/import_text.py).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tradewind.trading.imports.problems import Problem, Reason
from tradewind.trading.imports.records import PENDING, Record


@dataclass(slots=True)
class _Seen:
    rows: list[tuple[int, int]]
    decision: bytes | None
    outcome: bytes | None
    label: str
    symbol: str | None
    differs: bool
    doubtful: bool = False


@dataclass(slots=True)
class Tally:
    """Counts of one file. Each row that was read is new, known, still open or refused; which are new the database knows.

    Attributes:
        fields: what the rows had that has no place here, by name.
    """

    read: int = 0
    still_open: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    _problems: dict[int, Problem] = field(default_factory=dict)
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def refuse(self, problem: Problem) -> None:
        """The row that was read last is not taken."""
        self._problems[self.read] = problem

    def refuse_id(self, source_id: str, reason: Reason, message: str) -> None:
        """All that a file says of an id is not taken."""
        seen = self._seen[source_id]
        seen.doubtful = True
        for row, number in seen.rows:
            self._problems.setdefault(row, Problem(number, "id", reason, message))

    def take(self, number: int, record: Record) -> bool:
        """Whether a record says something new in this file. Of an id with two contents nobody knows which is right: none is taken."""
        new = _Seen(
            [(self.read, number)], record.decision_hash, record.outcome_hash, record.label,
            None if record.decision is None else record.decision.answer.symbol, record.labels_differ,
        )  # fmt: skip
        seen = self._seen.setdefault(record.source_id, new)
        if seen is new:
            return True
        seen.rows += new.rows
        if seen.doubtful or _differ(seen.decision, new.decision) or _differ(seen.outcome, new.outcome):
            places = ", ".join(str(place) for _, place in seen.rows[:8])
            self.refuse_id(
                record.source_id, Reason.DUPLICATE, f"{record.source_id!r} comes with different contents in one file (at {places}); "
                "keep one of them"
            )  # fmt: skip
            return False
        more = (seen.decision is None and new.decision is not None) or (
            seen.outcome is None and new.outcome is not None
        )
        seen.decision, seen.outcome = seen.decision or new.decision, seen.outcome or new.outcome
        seen.symbol, seen.differs = seen.symbol or new.symbol, seen.differs or new.differs
        seen.label = new.label if seen.label == PENDING else seen.label
        return more

    @property
    def doubtful(self) -> list[str]:
        """Ids of which nothing is stored."""
        return [source_id for source_id, seen in self._seen.items() if seen.doubtful]

    @property
    def refused(self) -> int:
        """Rows that are not taken."""
        return len(self._problems)

    @property
    def reasons(self) -> dict[str, int]:
        """Refused rows by reason, the most frequent first."""
        return _counts(problem.reason for problem in self._problems.values())

    @property
    def labels(self) -> dict[str, int]:
        """Ids that are taken by their label."""
        return _counts(seen.label for seen in self._taken())

    @property
    def symbols(self) -> dict[str, int]:
        """Decisions that are taken by their symbol."""
        return _counts(seen.symbol for seen in self._taken() if seen.symbol is not None)

    @property
    def labels_differ(self) -> int:
        """Ids that the source called otherwise than the rule does."""
        return sum(seen.differs for seen in self._taken())

    def problems(self, count: int | None = None) -> list[Problem]:
        """The first problems in the order of the file; all of them for None."""
        return [self._problems[row] for row in sorted(self._problems)[:count]]

    def _taken(self) -> Iterator[_Seen]:
        return (seen for seen in self._seen.values() if not seen.doubtful)


def _differ(one: bytes | None, other: bytes | None) -> bool:
    return one is not None and other is not None and one != other


def _counts(words: Iterable[str]) -> dict[str, int]:
    return {str(word): count for word, count in Counter(words).most_common()}
