"""The text of a trade table, read strictly: what is ambiguous is refused with row, column and remedy, never guessed.

Rows are those of the data: row 1 is the first one under the headings. Separators are commas, semicolons or tabs, whichever
the headings are separated by. Quotes are those of RFC 4180; a quoted cell may hold line breaks, but not what looks like
another row: then a quote was never closed. Blanks around cells and empty rows mean nothing.

Belongs here: records, cells, numbers, times and words. Does not belong here: files and encodings (cli/table_file.py), and
what a row of a trade is (table.py, requests.py).
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from tradewind.schema.times import report_time

NULLS: Final = frozenset(
    {"", "null", "none", "nan", "nat", "nil", "na", "n/a", "#n/a", "#na", "<na>", "\\n", "-", "--", "#null!", "(null)"}
)
"""How programs write that there is no value, in lower case."""
MAX_USD: Final = 1e12
MAX_MS: Final = 1e9
SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}
_TRUE, _FALSE = frozenset({"t", "true", "1", "yes", "y"}), frozenset({"f", "false", "0", "no", "n"})
_PLAIN = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?", re.ASCII)
_Word = TypeVar("_Word", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Cells:
    """The texts of one record of a table; what cannot be read is an error that names row, id, column and remedy."""

    number: int
    record: Mapping[str, str]
    decimal: str = "."

    def place(self, column: str) -> str:
        """Where a cell stands, for messages."""
        return f"row {self.number} ({self.record.get('decision_id', '').strip()[:64]}), column {column}"

    def text(self, column: str) -> str:
        """Without surrounding white space; "" where there is none, in any of the ways to write that."""
        value = self.record.get(column, "").strip()
        return "" if value.lower() in NULLS else value

    def number_of(self, column: str, *, low: float = -MAX_USD, high: float = MAX_USD) -> float | None:
        """A number within bounds; None where the cell is empty."""
        value = self.text(column)
        if not value:
            return None
        plain = self._plain(column, value)
        number = float(plain)
        if not low <= number <= high:
            raise ValueError(
                f"{self.place(column)}: {value[:40]} cannot be; give a number from {low:g} to {high:g}, or leave it empty "
                "where there is none"
            )
        return number

    def time_of(self, column: str) -> datetime | None:
        """A time in UTC; None where the cell is empty."""
        value = self.text(column)
        if not value:
            return None
        try:
            return report_time(value.replace(",", ".") if self.decimal == "," else value)
        except ValueError as error:
            raise ValueError(f"{self.place(column)}: {value[:40]!r} {error}") from None

    def word_of(self, column: str, words: type[_Word]) -> _Word | None:
        """One of the words, in any case; None where the cell is empty."""
        value = self.text(column)
        if not value:
            return None
        try:
            return words(value.lower())
        except ValueError:
            raise ValueError(
                f"{self.place(column)}: {value[:40]!r} is unknown; use one of {', '.join(words)}"
            ) from None

    def flag_of(self, column: str) -> bool:
        """Yes or no; an empty cell is no."""
        value = self.text(column).lower()
        if value in _TRUE or value in _FALSE or not value:
            return value in _TRUE
        raise ValueError(f"{self.place(column)}: {value[:40]!r} is neither yes nor no; write true or false")

    def required(self, column: str, what: str) -> str:
        """The text of a cell that must not be empty."""
        value = self.text(column)
        if not value:
            raise ValueError(f"{self.place(column)}: empty; {what}")
        return value

    def _plain(self, column: str, value: str) -> str:
        text = value.replace("\u2212", "-").replace("\u00a0", " ")
        if self.decimal == ",":
            text = text.translate(str.maketrans(",.", ".,"))  # from here on a point is the decimal sign
        if _PLAIN.fullmatch(text):
            if self.decimal == "," or "," not in value:
                return text
        elif _GROUPED.fullmatch(text):
            if "." in text or text.count(",") > 1:
                return text.replace(",", "")
            raise ValueError(
                f"{self.place(column)}: {value[:40]!r} is ambiguous: a thousand or a fraction; write it without separators, "
                f"such as {text.replace(',', '')}"
            )
        if self.decimal == "." and re.fullmatch(r"[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]+),[0-9]+", value, re.ASCII):
            raise ValueError(
                f"{self.place(column)}: {value[:40]!r} has a decimal comma; read the table with --decimal ,"
            )
        raise ValueError(f"{self.place(column)}: {value[:40]!r} is not a number; write a decimal such as 12.5")


def records(lines: Iterable[str], required: Sequence[str], decimal: str = ".") -> tuple[tuple[str, ...], list[Cells]]:
    """Headings and records of a table's text.

    Args:
        lines: of the file, with or without their ends.
        required: headings that must be there; they tell the separator.
        decimal: sign of decimals, a point or a comma.

    Raises:
        ValueError: it is no table; the message names row and remedy.
    """
    text = "".join(line if line.endswith(("\n", "\r")) else f"{line}\n" for line in lines).removeprefix("\ufeff")
    if "\0" in text:
        raise ValueError("holds NUL characters: it is no text; save it as CSV UTF-8")
    separator = _separator(text, required)
    rows = _rows(text, separator)
    headings = next(rows, (0, []))[1]
    names = _headings(headings, required, separator)
    found = [(number, row) for number, row in rows if row]
    while found and not any(cell.strip() for cell in found[-1][1]):
        found.pop()
    return names, [Cells(number, _record(number, row, names, separator, decimal), decimal) for number, row in found]


def _separator(text: str, required: Sequence[str]) -> str:
    first = text.lstrip("\r\n").split("\n", 1)[0]
    if first.lower().startswith("sep="):
        raise ValueError("begins with sep=, which only Excel reads; delete that line")
    return max(SEPARATORS, key=lambda s: len({_heading(cell) for cell in first.split(s)} & set(required)))


def _rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Records with their numbers, 0 for the headings; empty ones are []."""
    reader = csv.reader(_lines(text), delimiter=separator, strict=True, skipinitialspace=True)
    columns, number = 0, -1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            said = (
                "a quote is never closed, or a cell goes on after its quotes"
                if "field" not in str(error)
                else str(error)
            )
            raise ValueError(
                f"row {number + 1}: {said}; write a quote inside a cell twice and the cell in quotes"
            ) from None
        if not row and number < 0:
            continue
        number += 1
        columns = columns or len(row)
        for cell in row:
            if "\n" in cell and any(line.count(separator) >= columns - 1 > 0 for line in cell.split("\n")):
                raise ValueError(
                    f"row {number}: a cell that begins here swallows rows: its quote is never closed; close it, or write it twice"
                )
        yield number, row


def _lines(text: str) -> Iterator[str]:
    """Lines with one kind of end; what str.splitlines takes for more ends stays in the cell."""
    for line in re.split(r"\r\n|\n|\r", text):
        yield line + "\n"


def _heading(cell: str) -> str:
    return cell.strip().strip('"').strip().lower()


def _headings(cells: Sequence[str], required: Sequence[str], separator: str) -> tuple[str, ...]:
    names = [_heading(cell) for cell in cells]
    while names and not names[-1]:
        names.pop()
    missing = [name for name in required if name not in names]
    if missing:
        raise ValueError(
            f"column {missing[0]}: missing from the header (read as separated by {SEPARATORS[separator]}); the columns are "
            f"{', '.join(required)}"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"column {twice or 'without a name'}: its heading comes twice; keep one of them")
    return tuple(names)


def _record(number: int, row: Sequence[str], names: Sequence[str], separator: str, decimal: str) -> dict[str, str]:
    extra = row[len(names) :]
    if any(cell.strip() for cell in extra) or len(row) < len(names):
        hint = ""
        if separator == "," and decimal == "." and len(row) > len(names):
            hint = "; if its decimals are commas, quote the cells or separate them by semicolons, and give --decimal ,"
        raise ValueError(
            f"row {number}: has {len(row)} cells under {len(names)} headings{hint or '; give each column its cell'}"
        )
    return dict(zip(names, row, strict=False))
