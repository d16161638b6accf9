"""Names as venues and trading systems spell them: what is kept as it is, and what is refused with a remedy."""

import re
import unicodedata
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from tradewind.schema.checked import Checked
from tradewind.schema.names import VISIBLE, Book, Identifier, Symbol, identifier, is_name


class Named(BaseModel):
    symbol: Symbol = "BTC"
    id: Identifier | None = None
    book: Book = ""


SYMBOLS = [
    "BTC",
    "BTC/USDT:USDT",
    "BTCUSDT-PERP.BINANCE",
    "币安人生/USDT:USDT",
    "我踏马来了USDT",
    "M&M",
    "$MYRO/USDT",
    "@107",
    "#1",
    "ES=F",
    "^GSPC",
    "BRK B",
    "SPY   260116C00600000",
    "BTC-27JUN25-100000-C",
    "1000SATS",
    "xyz:NVDA",
    "600519.SH",
    "トヨタ",
    "Ürün",
    "🚀/USDT",
    "❤️/SOL",
    "O'Neil",
    'say "x"',
    "back\\slash",
    "=HYPERLINK",
    "-x",
    "+x",
    "<b>",
    "{0}",
    "%s",
    "..",
    "/",
    "a//b",
    "é",
    "e\u0301",
]

NO_NAMES = {
    "empty": "",
    "blank": " ",
    "leading blank": " BTC",
    "trailing blank": "BTC ",
    "line feed": "BTC\n",
    "tab inside": "BRK\tB",
    "carriage return": "\rBTC",
    "NUL": "B\0TC",
    "delete": "BTC\x7f",
    "C1": "BTC\x85",
    "no-break space": "BRK\u00a0B",
    "ideographic space": "BRK\u3000B",
    "soft hyphen": "BT\u00adC",
    "zero-width space": "BT\u200bC",
    "zero-width joiner": "BT\u200dC",
    "right-to-left mark": "BTC\u200f",
    "bidi override": "\u202eBTC",
    "bidi isolate": "\u2066BTC\u2069",
    "line separator": "BTC\u2028X",
    "paragraph separator": "BTC\u2029X",
    "word joiner": "BT\u2060C",
    "byte order mark": "\ufeffBTC",
    "interlinear anchor": "BTC\ufff9",
    "hangul filler": "BTC\u3164",
    "braille blank": "BTC\u2800",
    "tag": "BTC\U000e0041",
    "private use": "BTC\ue000",
    "noncharacter": "BTC\uffff",
    "lone surrogate": "BTC\ud800",
}


@pytest.mark.parametrize("text", SYMBOLS)
def test_a_symbol_of_a_venue_is_kept_as_it_is_spelled(text: str) -> None:
    assert Named(symbol=text, id=text, book=text) == Named.model_construct(symbol=text, id=text, book=text)
    assert is_name(text)


@pytest.mark.parametrize("text", NO_NAMES.values(), ids=NO_NAMES)
def test_what_cannot_be_seen_is_no_name(text: str) -> None:
    for field in ("symbol", "id") + (("book",) if text else ()):
        with pytest.raises(ValidationError) as refused:
            Named.model_validate({field: text})
        assert refused.value.errors()[0]["loc"] == (field,)
    assert not is_name(text)


def test_two_spellings_are_two_names() -> None:
    assert Named(symbol="é").symbol != Named(symbol="e\u0301").symbol
    assert Named(id="17").id != Named(id="017").id != Named(id="17.0").id


@pytest.mark.parametrize(("field", "longest"), [("symbol", 64), ("id", 128), ("book", 64)])
def test_length_counts_characters(field: str, longest: int) -> None:
    assert getattr(Named.model_validate({field: "币" * longest}), field)
    with pytest.raises(ValidationError, match=field):
        Named.model_validate({field: "币" * (longest + 1)})


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("17", "17"),
        ("17.0", "17"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ('"17"', "17"),
        ("-3", "-3"),
        ("9007199254740991.0", "9007199254740991"),
        ("9223372036854775808", "9223372036854775808"),
        ("1769817600123456789", "1769817600123456789"),
        ("1" * 128, "1" * 128),
        ('"2026-01-31T08:00:00+08:00"', "2026-01-31T08:00:00+08:00"),
        ('"a#b|c{d}@e?f%20"', "a#b|c{d}@e?f%20"),
        ("null", None),
    ],
)
def test_a_whole_number_is_the_id_of_its_digits(sent: str, read: str | None) -> None:
    assert Named.model_validate_json(f'{{"id": {sent}}}').id == read


@pytest.mark.parametrize(
    ("sent", "remedy"),
    [
        ("17.5", "fraction is no id; send it as text"),
        ("9007199254740992.0", "does not hold exactly is no id; send it as text"),
        ("1e300", "does not hold exactly is no id; send it as text"),
        ("NaN", "does not hold exactly is no id; send it as text"),
        ("-Infinity", "does not hold exactly is no id; send it as text"),
        ("1" * 129, "send a shorter text"),
        ("true", "visible characters"),
        ("[17]", "visible characters"),
        ('{"id": 17}', "visible characters"),
    ],
)
def test_what_names_nothing_is_refused_with_the_remedy(sent: str, remedy: str) -> None:
    with pytest.raises(ValidationError, match=remedy):
        Named.model_validate_json(f'{{"id": {sent}}}')


def test_no_number_of_any_size_ends_otherwise_than_refused() -> None:
    with pytest.raises(ValueError, match="shorter text"):
        identifier(10**5000)
    for value in (True, None, b"17", [1], object()):
        with pytest.raises(ValueError, match="visible characters"):
            identifier(value)


def test_the_table_says_of_every_character_what_unicode_says() -> None:
    """Characters that this Python's Unicode does not know yet are left to the table."""
    inside = {code for first, last in VISIBLE for code in range(first, last + 1)}
    unseen = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0}
    unseen |= set(range(0xFE00, 0xFE0E)) | set(range(0xE0100, 0xE01F0))
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category == "Cn":
            continue
        hidden = category in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} or (category == "Zs" and code != 0x20)
        assert (code in inside) is not (hidden or code in unseen), f"U+{code:04X} {category}"


def test_the_pattern_of_the_api_server_is_the_one_of_python() -> None:
    """CEL reads its escapes to the very characters that `re` is given."""
    (check,) = [part for part in get_args(Symbol) if isinstance(part, Checked)]
    found = re.match(r"self\.matches\('\^(.*)\$'\) && ", check.cel)
    assert found is not None
    told = re.sub(r"\\(?:u([0-9a-f]{4})|U([0-9a-f]{8}))", lambda m: chr(int(m[1] or m[2], 16)), found[1])
    assert told == check.pattern
    assert check.cel.endswith("&& !self.startsWith(' ') && !self.endsWith(' ')")
