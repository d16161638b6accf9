"""Rows of a table in a dump of PostgreSQL: `COPY ... FROM stdin` blocks, and INSERTs that name their columns.

Belongs here: the text of `pg_dump` (plain, also with --inserts and --column-inserts). Does not belong here: other databases'
dumps, which escape texts in other ways, and what the columns mean.
"""

import re
from collections.abc import Iterator

from tradewind.trading.imports.problems import FileError, Reason, RowError

_COPY = re.compile(r'COPY ((?:"?[\w]+"?\.)?"?(\w+)"?) \(([^)]*)\) FROM stdin;', re.IGNORECASE)
_INSERT = re.compile(r'INSERT INTO (?:"?\w+"?\.)?"?(\w+)"?\s*(?:\(([^)]*)\))?\s*VALUES\s*', re.IGNORECASE)
_VALUE = re.compile(
    r"\s*(?:'((?:[^']|'')*)'(?:::[\w\s\[\]]+?)?|(NULL)|([-+]?[0-9][0-9.eE+-]*)|(true|false))\s*([,)])", re.IGNORECASE
)
_MYSQL = re.compile(r"^(?:CREATE TABLE|INSERT INTO) `", re.MULTILINE)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "\\": "\\"}
Row = tuple[int, "dict[str, str | None] | RowError"]


def is_dump(text: str) -> bool:
    """Whether a text is a dump, of whichever database."""
    return "PostgreSQL database dump" in text[:400] or bool(
        _COPY.search(text) or _INSERT.search(text) or _MYSQL.search(text)
    )


def tables(text: str) -> frozenset[str]:
    """The tables of which a dump holds rows."""
    return frozenset([match[2] for match in _COPY.finditer(text)] + [match[1] for match in _INSERT.finditer(text)])


def dump_rows(text: str, table: str) -> Iterator[Row]:
    """The rows of a table, by column, each with its line.

    Raises:
        FileError: the dump is another database's, is cut off, or does not name the columns.
    """
    if _MYSQL.search(text):
        raise FileError("is a dump of MySQL, which escapes texts in another way; export the table as CSV or JSON Lines")
    found = False
    for match in _COPY.finditer(text):
        if match[2] == table:
            found = True
            yield from _copied(text, match)
    for match in _INSERT.finditer(text):
        if match[1] == table:
            found = True
            yield from _inserted(text, match)
    if not found:
        raise FileError(f"holds no rows of a table {table}; it has {', '.join(sorted(tables(text))) or 'none'}")


def _names(text: str) -> list[str]:
    return [name.strip().strip('"').lower() for name in text.split(",")]


def _copied(text: str, match: re.Match[str]) -> Iterator[Row]:
    names = _names(match[3])
    start = text.index("\n", match.end()) + 1 if "\n" in text[match.end() :] else len(text)
    number = text.count("\n", 0, start) + 1
    while True:
        end = text.find("\n", start)
        if end < 0:
            raise FileError(
                "ends in the middle of a COPY (no \\. line): half of a dump? Nothing of it is taken; copy it again",
                number,
            )
        line = text[start:end].rstrip("\r")
        if line == "\\.":
            return
        cells = line.split("\t")
        if len(cells) != len(names):
            yield number, RowError("", Reason.MALFORMED, f"has {len(cells)} cells for {len(names)} columns")
        else:
            yield number, {name: _unescaped(cell) for name, cell in zip(names, cells, strict=True)}
        start, number = end + 1, number + 1


def _unescaped(cell: str) -> str | None:
    if cell == "\\N":
        return None
    return re.sub(r"\\(.)", lambda found: _ESCAPED.get(found[1], found[1]), cell) if "\\" in cell else cell


def _inserted(text: str, match: re.Match[str]) -> Iterator[Row]:
    number = text.count("\n", 0, match.start()) + 1
    if match[2] is None:
        raise FileError(
            "its INSERTs do not name their columns; dump with --column-inserts, or without --inserts", number
        )
    names, at = _names(match[2]), match.end()
    while text.startswith("(", at):
        at, values = at + 1, []
        while True:
            value = _VALUE.match(text, at)
            if value is None:
                cut = ";" not in text[at:]
                said = (
                    "ends in the middle of an INSERT: half of a dump?"
                    if cut
                    else "an INSERT has a value that is not read here."
                )
                raise FileError(f"{said} Nothing of it is taken; dump it again without --inserts", number)
            values.append(
                None if value[2] else value[1].replace("''", "'") if value[1] is not None else value[3] or value[4]
            )
            at = value.end()
            if value[5] == ")":
                break
        if len(values) != len(names):
            yield number, RowError("", Reason.MALFORMED, f"has {len(values)} values for {len(names)} columns")
        else:
            yield number, dict(zip(names, values, strict=True))
        following = re.compile(r"\s*,\s*").match(text, at)
        if following is None:
            return
        at = following.end()
