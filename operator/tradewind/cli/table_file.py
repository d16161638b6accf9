"""A file with a table becomes lines of text: what encoding it has is known or told, never guessed.

Belongs here: bytes, encodings, workbooks. Does not belong here: what the text means (trading/evidence/cells.py).
"""

import csv
import io
import zipfile
from datetime import date
from pathlib import Path

ENCODINGS = ("utf-8", "utf-16", "gb18030")
_WORKBOOK = b"PK\x03\x04"
_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"


def read_lines(path: Path, encoding: str | None = None) -> list[str]:
    """The lines of a table, with their ends.

    Args:
        path: a text, or an xlsx workbook, whose first sheet is read.
        encoding: of the text; None: UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no text in that encoding and no workbook; the message says what it looks like and what to do.
    """
    return lines_of(path.read_bytes(), encoding)


def lines_of(content: bytes, encoding: str | None = None, *, clock_dates: bool = False) -> list[str]:
    """The lines of a table's bytes; see `read_lines`.

    Args:
        content: of the file.
        encoding: of the text.
        clock_dates: whether cells of the type date are taken, as ISO times without an offset: whoever reads them knows the zone.

    Raises:
        ValueError: see `read_lines`.
    """
    if content.startswith(_WORKBOOK):
        return _workbook(content, clock_dates=clock_dates)
    return io.StringIO(text_of(content, encoding), newline="").readlines()


def text_of(content: bytes, encoding: str | None = None) -> str:
    """The text of a file's bytes, without a byte order mark.

    Raises:
        ValueError: it is no text in that encoding; the message says what it looks like and what to do.
    """
    if content.startswith(_OLD_WORKBOOK):
        raise ValueError("is a workbook in the old xls format; save it as CSV UTF-8 or xlsx")
    try:
        text = content.decode("utf-8-sig" if encoding in (None, "utf-8") else str(encoding))
    except UnicodeDecodeError as error:
        raise ValueError(_unread(content, encoding, error)) from None
    return text.removeprefix("\ufeff")


def _unread(content: bytes, encoding: str | None, error: UnicodeDecodeError) -> str:
    if encoding is not None:
        return f"is no {encoding}: byte 0x{content[error.start]:02x} at offset {error.start}; save it as CSV UTF-8"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16, not UTF-8; save it as CSV UTF-8, or read it with --encoding utf-16"
    return (
        f"is not UTF-8 (byte 0x{content[error.start]:02x} at offset {error.start}); save it as CSV UTF-8, or say what it is, such as "
        "--encoding gb18030"
    )


def _workbook(content: bytes, *, clock_dates: bool) -> list[str]:
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError:
        raise ValueError("is a workbook; install 'tradewind[xlsx]' to read it, or save it as CSV UTF-8") from None
    try:
        sheet = load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets[0]
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        for row in sheet.iter_rows(values_only=True):
            writer.writerow([_cell(value, column, clock_dates=clock_dates) for column, value in enumerate(row, 1)])
    except (InvalidFileException, zipfile.BadZipFile, KeyError, IndexError, OSError) as error:
        raise ValueError(
            f"is a zip file, but no workbook that can be read ({type(error).__name__}); save it as CSV UTF-8"
        ) from None
    return io.StringIO(out.getvalue(), newline="").readlines()


def _cell(value: object, column: int, *, clock_dates: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, date):
        if clock_dates:
            return value.isoformat()
        raise ValueError(
            f"column {column} has a cell of the type date, which has no time zone; write times as text with an offset, such as "
            "2026-01-01T00:00:00Z, or as Unix time"
        )
    return repr(value) if isinstance(value, float) else str(value)
