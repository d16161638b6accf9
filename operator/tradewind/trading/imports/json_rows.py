"""JSON as files hold it: an array, one object a line, or objects one after the other, each with the line where it begins.

An object is read as it stands: NaN, a number no double holds and a name that comes twice are found, not passed over. A text that
ends too early is half of a file, and nothing of it is taken.

Belongs here: text to JSON values. Does not belong here: what the values mean.
"""

import json
from collections.abc import Iterator
from typing import Any

from tradewind.trading.imports.problems import FileError, Reason, RowError

_MAX_DIGITS = 400  # more than any double has; Python refuses to read 4300
_BLANKS = " \t\r\n"


class JsonText:
    """A text of JSON, read once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = self._counted = 0
        self._line = 1
        self._doubled: list[str] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_int=_whole_number)

    def document(self) -> Any:
        """The one value of the text.

        Raises:
            FileError: it is no JSON, or goes on after its value.
        """
        self._skip_blanks()
        value = self._value()
        if self._doubled:
            raise FileError(f"the name {self._doubled[0]!r} comes twice in an object; keep one of them")
        self._skip_blanks()
        if self._at < len(self._text):
            raise FileError("goes on after its JSON value; save one value", self._here())
        return value

    @property
    def tells_lines(self) -> bool:
        """Whether lines tell rows apart; an array that was written without line breaks has one line."""
        return not self._text.lstrip(_BLANKS).startswith("[") or "\n" in self._text.strip(_BLANKS)

    def rows(self) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
        """Each object with the line where it begins (or its number, see `tells_lines`); what is none, or is not sound, as the problem of its line.

        Raises:
            FileError: the text is half of a file, or what follows cannot be told from what came before.
        """
        self._skip_blanks()
        if self._text.startswith("[", self._at):
            yield from self._array()
        elif self._is_by_line():
            yield from self._lines()
        else:
            yield from self._stream()

    def _is_by_line(self) -> bool:
        first = self._text[self._at :].split("\n", 1)[0].strip(_BLANKS)
        try:
            return isinstance(json.loads(first), dict)
        except (ValueError, RecursionError):
            return first.endswith("}")

    def _lines(self) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
        start, ended = self._at, self._text.endswith("\n")
        lines = self._text[start:].split("\n")
        for number, line in enumerate(lines, self._here()):
            content = line.strip(_BLANKS)
            if not content:
                continue
            try:
                yield number, self._checked(self._decode(content))
            except json.JSONDecodeError as error:
                if number == self._line + len(lines) - 1 and not ended and _is_cut(content, error):
                    raise FileError(
                        "ends in the middle of a line: half of a file? Nothing of it is taken; copy it again", number
                    ) from None
                yield number, RowError("", Reason.MALFORMED, f"is no JSON: {error.msg} at column {error.pos + 1}")
            except RecursionError:
                yield number, RowError("", Reason.MALFORMED, "is nested too deep")

    def _array(self) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
        self._at += 1
        self._skip_blanks()
        count, by_line = 0, self.tells_lines
        while not self._text.startswith("]", self._at):
            if count:
                self._expect(",")
            count += 1
            number = self._here() if by_line else count
            yield number, self._checked(self._value())
            self._skip_blanks()
        self._at += 1
        self._skip_blanks()
        if self._at < len(self._text):
            raise FileError("goes on after the end of its array; save one array, or one object a line", self._here())

    def _stream(self) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
        while self._at < len(self._text):
            number = self._here()
            yield number, self._checked(self._value())
            self._skip_blanks()

    def _decode(self, content: str) -> Any:
        self._doubled.clear()
        value, end = self._decoder.raw_decode(content)
        if end < len(content):
            raise json.JSONDecodeError("goes on after its object", content, end)
        return value

    def _value(self) -> Any:
        self._doubled.clear()
        try:
            value, self._at = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            line = self._text.count("\n", 0, error.pos) + 1
            cut = _is_cut(self._text.rstrip(_BLANKS), error)
            said = "ends too early: half of a file?" if cut else f"is no JSON: {error.msg}"
            raise FileError(f"{said} Nothing of it is taken; {'copy' if cut else 'mend'} it", line) from None
        except RecursionError:
            raise FileError("is nested too deep", self._here()) from None
        return value

    def _checked(self, value: Any) -> dict[str, Any] | RowError:
        if self._doubled:
            return RowError(self._doubled[0], Reason.MALFORMED, "this name comes twice in an object; keep one of them")
        if not isinstance(value, dict):
            return RowError("", Reason.MALFORMED, f"is no JSON object but {type(value).__name__}")
        return value

    def _expect(self, character: str) -> None:
        if not self._text.startswith(character, self._at):
            cut = self._at >= len(self._text)
            said = "ends too early: half of a file?" if cut else f"has no {character!r} between two rows of its array."
            raise FileError(f"{said} Nothing of it is taken; {'copy' if cut else 'mend'} it", self._here())
        self._at += 1
        self._skip_blanks()

    def _skip_blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _BLANKS:
            self._at += 1

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            names = [name for name, _ in pairs]
            self._doubled.append(next(name for name in names if names.count(name) > 1))
        return made


def _is_cut(text: str, error: json.JSONDecodeError) -> bool:
    """Whether the text ended before its value did."""
    return error.pos >= len(text) or "Unterminated" in error.msg


def _whole_number(digits: str) -> Any:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)
