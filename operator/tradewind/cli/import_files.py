"""Files that are imported: bytes become rows, whatever they are packed in, and their format is named or told by a sure sign.

Belongs here: gzip, zip, SQLite, workbooks, texts, and which reader a format has. Does not belong here: what a row means
(trading/imports), and what becomes of it (import_.py).
"""

import csv
import gzip
import hashlib
import io
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tradewind.cli.table_file import lines_of, text_of
from tradewind.trading.decision import MAX_BODY_BYTES
from tradewind.trading.evidence.cells import records
from tradewind.trading.imports import freqtrade, seed
from tradewind.trading.imports.drafts import Draft
from tradewind.trading.imports.formats import (
    TABLES,
    Format,
    format_of_columns,
    format_of_json,
    format_of_tables,
)
from tradewind.trading.imports.json_rows import JsonText
from tradewind.trading.imports.mapping import TableMapping
from tradewind.trading.imports.problems import FileError, Reason, RowError
from tradewind.trading.imports.sql_dump import dump_rows, is_dump, tables

MAX_BYTES: Final = 1 << 30
_SQLITE, _GZIP, _ZIP = b"SQLite format 3\x00", b"\x1f\x8b", b"PK\x03\x04"
_ROW, _LINE = "row", "line"
_SEED: Final[Mapping[Format, Callable[[Mapping[str, Any]], Draft | None]]] = {
    Format.SEED_JSON: seed.decision_draft,
    Format.SEED_JSONL: seed.decision_draft,
    Format.SEED_TRAINING_DATA: seed.training_data_draft,
    Format.SEED_TRADES: seed.trade_draft,
}
Rows = Iterable[tuple[int, Any]]
Drafts = Iterator[tuple[int, "Draft | RowError | None"]]


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose format is known, and its rows; reading them may still raise FileError.

    Attributes:
        source: name of the system that it is from.
        numbers: what the rows are counted by: line or row.
        sha256: of the file as it lies there, in hex.
    """

    path: Path
    format: Format
    source: str
    numbers: str
    sha256: str
    size: int
    drafts: Drafts


def open_file(path: Path, named: Format | None, mapping: TableMapping | None, encoding: str | None) -> Opened:
    """A file to import.

    Args:
        path: of the file.
        named: its format; None: told by what it holds.
        mapping: of a table.
        encoding: of its text; None: UTF-8.

    Raises:
        FileError: it cannot be read, or its format cannot be told; the message says what to do.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileError(f"is over {MAX_BYTES >> 20} MiB; split it, and import the parts one after the other")
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from None
    sha256, size = hashlib.sha256(content).hexdigest(), len(content)
    if not content:
        raise FileError("is empty")
    if content.startswith(_GZIP):
        content = _unpacked(content)
    try:
        kind, numbers, drafts = _reader(path, content, named, mapping, encoding)
    except FileError:
        raise
    except ValueError as error:
        raise FileError(str(error)) from None
    if kind is Format.TABLE:
        assert mapping is not None
        source = mapping.source
    else:
        source = freqtrade.SOURCE if kind in (Format.FREQTRADE_JSON, Format.FREQTRADE_SQLITE) else seed.SOURCE
    return Opened(path, kind, source, numbers, sha256, size, drafts)


_Reader = tuple[Format, str, Drafts]


def _reader(
    path: Path, content: bytes, named: Format | None, mapping: TableMapping | None, encoding: str | None
) -> _Reader:
    if mapping is not None and named not in (None, Format.TABLE):
        raise FileError(f"--mapping is for --format table, not for {named}")
    if content.startswith(_SQLITE):
        _demand(named, Format.FREQTRADE_SQLITE, "a SQLite database")
        return Format.FREQTRADE_SQLITE, _ROW, _drafts(enumerate(_sqlite_trades(path), 1), _freqtrade)
    if named is Format.FREQTRADE_SQLITE:
        raise FileError(
            "is no SQLite database; freqtrade's is usually tradesv3.sqlite, copied while the bot stands still"
        )
    if named is Format.TABLE or mapping is not None:
        if mapping is None:
            raise FileError("a table needs --mapping MAPPING.yaml: which column is which field, in which unit")
        lines = lines_of(content, encoding, clock_dates=mapping.zone is not None)
        _, cells = records(lines, mapping.columns, mapping.decimal)
        return Format.TABLE, _ROW, _drafts(((c.number, c) for c in cells), mapping.draft)
    if content.startswith(_ZIP):
        return _zip(content, named)
    text = text_of(content, encoding)
    if text.lstrip()[:1] in ("{", "["):
        return _json(text, named)
    if is_dump(text):
        return _dump(text, named)
    return _csv(text, named)


def _demand(named: Format | None, found: Format, what: str) -> None:
    if named not in (None, found):
        raise FileError(f"is {what}, so it is no {named}; leave --format out, or say {found}")


def _zip(content: bytes, named: Format | None) -> _Reader:
    """A backtest's result as freqtrade packs it; a workbook is a zip file, too, and needs a mapping."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        names = [name for name in archive.namelist() if name.endswith(".json") and not name.endswith("_config.json")]
        if "[Content_Types].xml" in archive.namelist():
            raise FileError("is a workbook: say --mapping MAPPING.yaml, which column is which field")
        for name in names:
            if archive.getinfo(name).file_size > MAX_BYTES:
                raise FileError(f"holds {name} of over {MAX_BYTES >> 20} MiB; import fewer trades at once")
            text = text_of(archive.read(name))
            if '"strategy_comparison"' in text:
                return _json(text, named)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FileError(f"is a zip file that cannot be read ({error}); half of a file? Copy it again") from None
    raise FileError("is a zip file without the result of a backtest of freqtrade; unpack it")


def _json(text: str, named: Format | None) -> _Reader:
    kind = named
    if kind is None:
        kind = format_of_json(_first(text))
        if kind is Format.SEED_JSON and not text.lstrip().startswith("["):
            kind = Format.SEED_JSONL
        if kind is None:
            raise FileError(
                "is JSON, but what it holds is not certain; say --format: seed-json (objects with input and output), "
                "seed-training-data (decision_id and data), seed-trades (decision_id, pnl and status), or freqtrade-json"
            )
    if kind in _SEED:
        found = JsonText(text)
        return kind, _LINE if found.tells_lines else _ROW, _drafts(found.rows(), _SEED[kind])
    if kind is Format.FREQTRADE_JSON:
        trades = freqtrade.json_trades(JsonText(text).document())
        return kind, _ROW, _drafts(enumerate(trades, 1), _freqtrade)
    raise FileError(f"is JSON, so it is no {kind}; leave --format out, or say what it is")


def _first(text: str) -> Any:
    """The first object of the text, or of its array; None where there is none."""
    try:
        first = next(iter(JsonText(text).rows()), (0, None))[1]
    except FileError:
        return None
    return None if isinstance(first, RowError) else first


def _dump(text: str, named: Format | None) -> _Reader:
    kind = named or format_of_tables(tables(text))
    if kind is None:
        raise FileError("is a dump whose table is not certain; say --format seed-training-data or --format seed-trades")
    if kind not in TABLES:
        raise FileError(f"is a dump of a database, so it is no {kind}; leave --format out, or say what it is")
    return kind, _LINE, _drafts(dump_rows(text, TABLES[kind]), _SEED[kind])


def _csv(text: str, named: Format | None) -> _Reader:
    lines = io.StringIO(text, newline="").readlines()
    needed = {Format.SEED_TRAINING_DATA: ("decision_id", "data"), Format.SEED_TRADES: ("decision_id", "pnl")}
    headings = [
        cell.strip().strip('"').lower() for cell in (lines or [""])[0].replace(";", ",").replace("\t", ",").split(",")
    ]
    kind = named or format_of_columns(headings)
    if kind is None:
        raise FileError(
            "what it holds is not certain; say --mapping MAPPING.yaml for a table of your own, or --format. Known by their "
            "headings are the seed's training_data (decision_id, data) and trades (decision_id, pnl, status)"
        )
    if kind not in needed:
        raise FileError(f"is neither JSON nor a database, so it is no {kind}; leave --format out, or say what it is")
    csv.field_size_limit(4 * MAX_BODY_BYTES)  # a cell holds a whole decision; build.py bounds its input
    _, cells = records(lines, needed[kind])
    rows = ((c.number, {name: c.record[name] if name == "data" else c.text(name) for name in c.record}) for c in cells)
    return kind, _ROW, _drafts(rows, _SEED[kind])


def _freqtrade(row: tuple[Any, str | None]) -> Draft | None:
    trade, currency = row
    if not isinstance(trade, Mapping):
        raise RowError("", Reason.MALFORMED, f"is no JSON object but {type(trade).__name__}")
    return freqtrade.trade_draft(trade, currency)


def _drafts(rows: Rows, draft: Callable[[Any], Draft | None]) -> Drafts:
    for number, row in rows:
        if isinstance(row, RowError):
            yield number, row
            continue
        try:
            yield number, draft(row)
        except RowError as error:
            yield number, error


def _sqlite_trades(path: Path) -> Iterator[tuple[dict[str, Any], None]]:
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        connection = sqlite3.connect(uri, uri=True)
    except sqlite3.Error as error:
        raise FileError(f"cannot be opened: {error}") from None
    try:
        connection.row_factory = sqlite3.Row
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise FileError(f"is damaged ({found}); half of a file? Copy it again while the bot stands still")
        columns = {row["name"] for row in connection.execute("PRAGMA table_info(trades)")}
        missing = sorted(freqtrade.NEEDED - columns)
        if missing:
            said = f"lacks {', '.join(missing)}" if columns else "is not there"
            raise FileError(f"is a SQLite database, but none of freqtrade: its table trades {said}")
        for row in connection.execute("SELECT * FROM trades ORDER BY id"):
            yield dict(row), None
    except sqlite3.Error as error:
        raise FileError(f"is damaged, or in use ({error}); copy it again while the bot stands still") from None
    finally:
        connection.close()


def _unpacked(content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            text = packed.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise FileError(
            "is gzip that ends too early or is damaged: half of a file? Nothing of it is taken; copy it again"
        ) from None
    if len(text) > MAX_BYTES:
        raise FileError(f"is over {MAX_BYTES >> 20} MiB when it is unpacked; split it")
    if text.startswith(_SQLITE):
        raise FileError("is a packed database; unpack it with gunzip first")
    return text
