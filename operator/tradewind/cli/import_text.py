"""What an import tells: counts, labels and the first problems of each file, as text or JSON.

Belongs here: words and layout. Does not belong here: the counts (trading/imports/tally.py), and what is stored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tradewind.cli.import_files import Opened
from tradewind.trading.imports.problems import Problem
from tradewind.trading.imports.tally import Tally

_SHOWN_FIELDS = 8


@dataclass(frozen=True, slots=True)
class Told:
    """One file's result.

    Attributes:
        opened: None where the file could not be read at all.
        new: ids of which something was new; None: no database was asked.
        orphans: outcomes of the source without their decision.
        error: why nothing of the file was taken; empty: something was, or could have been.
    """

    file: str
    opened: Opened | None
    tally: Tally
    new: int | None = None
    orphans: int = 0
    error: str = ""

    @property
    def known(self) -> int | None:
        """Rows that say what was there already, in the database or in the file."""
        return None if self.new is None else self.tally.read - self.tally.refused - self.tally.still_open - self.new

    @property
    def is_whole(self) -> bool:
        """Whether every row was taken."""
        return not self.error and not self.tally.refused


def place(told: Told, problem: Problem) -> str:
    """Where a problem is: FILE:17 for a line, FILE row 17 for a row."""
    by_line = told.opened is not None and told.opened.numbers == "line"
    where = f"{told.file}:{problem.number}" if by_line else f"{told.file} row {problem.number}"
    return f"{where}: {_printable(problem.field)}" if problem.field else where


def text(told: Told, shown: int | None) -> Iterator[str]:
    """Lines for people."""
    tally = told.tally
    if told.opened is None or told.error:
        yield f"{told.file}: {told.error}"
        return
    yield f"{told.file}: {told.opened.format}, source {told.opened.source}, sha256 {told.opened.sha256[:16]}"
    new = "which are new was not asked" if told.new is None else f"new {told.new}, known {told.known}"
    yield f"  read {tally.read}: {new}, refused {tally.refused}" + (
        f", still open {tally.still_open}" if tally.still_open else ""
    )
    for name, counts in (("labels", tally.labels), ("symbols", tally.symbols), ("refused", tally.reasons)):
        if counts:
            yield f"  {name}: {_listed(counts)}"
    if tally.labels_differ:
        yield f"  {tally.labels_differ} are called otherwise by the source than by profit and size; trainings go by profit and size"
    if tally.fields:
        yield f"  not stored, since there is no place for it: {_listed(tally.fields)}"
    if told.orphans:
        yield f"  {told.orphans} outcomes of this source have no decision yet: import the decisions with the same ids"
    for problem in tally.problems(shown):
        yield f"  {place(told, problem)}: {problem.message}"
    if shown is not None and tally.refused > shown:
        yield f"  and {tally.refused - shown} more; --problems 0 shows all"


def as_json(told: Told, shown: int | None) -> dict[str, Any]:
    """The same for programs."""
    tally, opened = told.tally, told.opened
    number = "row" if opened is None else opened.numbers
    return {
        "file": told.file,
        "format": None if opened is None else str(opened.format),
        "source": None if opened is None else opened.source,
        "sha256": None if opened is None else opened.sha256,
        "error": told.error or None,
        "read": tally.read,
        "new": told.new,
        "known": told.known,
        "stillOpen": tally.still_open,
        "refused": tally.refused,
        "reasons": tally.reasons,
        "labels": tally.labels,
        "labelsDiffer": tally.labels_differ,
        "symbols": tally.symbols,
        "notStored": dict(tally.fields),
        "outcomesWithoutDecision": told.orphans,
        "problems": [
            {number: problem.number, "field": problem.field, "reason": str(problem.reason), "message": problem.message}
            for problem in tally.problems(shown)
        ],
    }


def _printable(text: str) -> str:
    """A name from a file, without what would steer a terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text[:120])


def _listed(counts: Mapping[str, int]) -> str:
    names = [f"{_printable(name)} {count}" for name, count in list(counts.items())[:_SHOWN_FIELDS]]
    return ", ".join(names) + (f" and {len(counts) - _SHOWN_FIELDS} more" if len(counts) > _SHOWN_FIELDS else "")
