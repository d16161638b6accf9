"""Names that others give: symbols of trading venues, ids of decisions, positions and trades.

A name is kept exactly as it was sent, or it is refused: nothing is trimmed, folded or normalised, so two spellings are two
names (`é` as one code point and as two, `btc` and `BTC`), as they are to the venue. It consists of characters that can be
seen, and of plain blanks between them; what cannot be seen would make two names look like one. Letters of every script,
digits, signs and emoji are in; the table below says so by code point, so that Python's `re`, the RE2 of the API server and
every version of Unicode agree.

Belongs here: what a name may be. Does not belong here: names of Kubernetes objects (scalars.py), free text.
"""

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from tradewind.schema.checked import Checked

SYMBOL_LENGTH: Final = 64
IDENTIFIER_LENGTH: Final = 128

_EXACT_FLOAT = 2**53  # from here on two whole numbers share a float

VISIBLE: Final = (
    (0x20, 0x7E), (0xA1, 0xAC), (0xAE, 0x34E), (0x350, 0x5FF), (0x606, 0x61B), (0x61D, 0x6DC), (0x6DE, 0x70E),
    (0x710, 0x88F), (0x892, 0x8E1), (0x8E3, 0x115E), (0x1161, 0x167F), (0x1681, 0x17B3), (0x17B6, 0x180A),
    (0x1810, 0x1FFF), (0x2010, 0x2027), (0x2030, 0x205E), (0x2070, 0x27FF), (0x2801, 0x2FFF), (0x3001, 0x3163),
    (0x3165, 0xD7FF), (0xF900, 0xFDCF), (0xFDF0, 0xFDFF), (0xFE0E, 0xFEFE), (0xFF00, 0xFF9F), (0xFFA1, 0xFFEF),
    (0xFFFC, 0xFFFD), (0x10000, 0x110BC), (0x110BE, 0x110CC), (0x110CE, 0x1342F), (0x13440, 0x1BC9F),
    (0x1BCA4, 0x1D172), (0x1D17B, 0x1FFFD), (0x20000, 0x2FFFD), (0x30000, 0x3FFFD),
)  # fmt: skip
"""Code points of names, first and last of each range. Out are controls, format characters (bidirectional overrides, zero
width, soft hyphen, byte order mark), every blank but U+0020, line and paragraph separators, fillers, private use,
surrogates and noncharacters. The selectors of emoji and text style (U+FE0E, U+FE0F) are in: venues write them."""

_CHARACTERS = "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in VISIBLE) + "]"

_SYMBOL = Checked(
    f"{_CHARACTERS}+",
    f"must be a symbol of 1 to {SYMBOL_LENGTH} visible characters as its venue writes it, without a blank at its ends,"
    " such as BTC or BTC/USDT:USDT",
    SYMBOL_LENGTH,
    trimmed=True,
)
_IDENTIFIER = Checked(
    f"{_CHARACTERS}+",
    f"must be 1 to {IDENTIFIER_LENGTH} visible characters without a blank at its ends, or a whole number",
    IDENTIFIER_LENGTH,
    trimmed=True,
)

Symbol = Annotated[str, _SYMBOL]
"""Instrument, as its venue or the trading system names it."""

Book = Annotated[str, Checked(f"{_CHARACTERS}*", _SYMBOL.message, SYMBOL_LENGTH, trimmed=True)]
"""Name of a book, spelled as symbols are; empty: the only one."""


def is_name(text: str, *, max_length: int = IDENTIFIER_LENGTH) -> bool:
    """Whether a text is a name of at most that many characters: visible ones, no blank at its ends."""
    return len(text) <= max_length and _IDENTIFIER.holds(text)


def identifier(value: object) -> str:
    """The id that a caller's value means: 17, 17.0 and "17" are one id, "17.0" and "017" are others.

    Args:
        value: text, or a whole number as JSON has it: an int of any size, a float that is one exactly.

    Raises:
        ValueError: the value names nothing; the message says what to send instead.
    """
    if isinstance(value, float):
        value = _whole(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 10**IDENTIFIER_LENGTH:
            raise ValueError(f"a number of more than {IDENTIFIER_LENGTH} digits is no id; send a shorter text")
        return str(value)
    if isinstance(value, str) and is_name(value):
        return value
    raise ValueError(_IDENTIFIER.message)


def _whole(value: float) -> int:
    if not abs(value) < _EXACT_FLOAT:  # NaN, too
        raise ValueError("a number that a float does not hold exactly is no id; send it as text")
    if value != int(value):
        raise ValueError("a number with a fraction is no id; send it as text")
    return int(value)


def _read(value: Any) -> str:
    try:
        return identifier(value)
    except ValueError as error:
        raise PydanticCustomError("identifier", "{text}", {"text": str(error)}) from None


Identifier = Annotated[
    str,
    Field(max_length=IDENTIFIER_LENGTH),
    BeforeValidator(_read),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1, "maxLength": 128}, {"type": "integer"}]}),
]
"""Id of a decision, a position or a trade, as its system has it; a whole number is read as its digits."""
