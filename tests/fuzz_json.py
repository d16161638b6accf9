"""JSON as clients and enemies write it, drawn from any `random.Random`.

hypothesis' own (`st.randoms(use_true_random=False)`) draws each choice, so that what fails is shrunk and repeated; a seeded
one makes a million bodies without it. What is drawn is a tree of Python values, in which `Raw` is text that is written as it
stands, JSON or not, and `Pairs` is an object whose names may come twice.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any


class Raw(str):
    """Text that is written as it stands."""

    __slots__ = ()


class Pairs(tuple[tuple[str, Any], ...]):
    """An object as its pairs."""

    __slots__ = ()


NUMBERS = (
    "0", "-0", "-0.0", "1", "-1", "17", "2.5", "60", "0.02", "1e2", "1E+2", "100.00", "1e400", "-1e400", "1e-400", "5e-324", "1e308",
    "1.7976931348623157e308", "1e15", "1e16", "1e18", "9007199254740993", "-9223372036854775809", "18446744073709551616",
    "123456789012345678901234567890", "0.1000000000000000055511151231257827", "0.30000000000000004", "1" * 310, "7" * 350,
    "9" * 420, "8" * 5000, "1.", "01", "+1", ".5", "-", "0x10", "1_000", "1e99999999999", "1e-99999999999", "NaN",
    "Infinity", "-Infinity", "true", "false", "null", "nul", "True", "None", "undefined", "''",
)  # fmt: skip
"""Numbers and words as JSON has them, and as it has them not."""
TEXTS = (
    "", " ", "BTC", "btc", "ETH", "BTC ", "\uff22\uff34\uff23", "\u0412\u0422\u0421", "B\u200bTC", "\u202eBTC", "e\u0301", "\u00e9", "\0",
    "a\0b", "\ud83d", "\ude00\ud83d", "\ud83d\ude00", "\U0001f600", "\ufeff", "\u2028", "\ufffe", "\x1b[2J", "\n", "\\", '"', "x" * 65, "x" * 129,
    "x" * 5000, "0", "1", "17", "-1", "1.5", "1,5", "1.000,5", "1_000", "1_5", "\uff11\uff12", "\u0661\u0662", "12.5 USDT", "12.5 usdc", "3 BNB",
    "+5", ".5", "5.", "0x10", "1e3", "1e400", "1e-400", "1e-20000", "1e999999999999999999", "nan", "NaN", "inf", "-Infinity", "true", "null",
    "undefined", "open_long", "hold", "close", "long", "short", "..", "../../etc", "%00", "'; DROP TABLE tradewind.decisions; --",
    "${jndi:ldap://x}", "{{7*7}}", "<script>", "{}", "[]", '{"action": "hold"}', "p1", "d", "n1",
)  # fmt: skip
TIMES = (
    "2026-01-01T00:00:00", "2026-01-01", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z", "1900-01-01T00:00:00Z",
    "2100-12-31T23:59:59.999999Z", "2101-01-01T00:00:00Z", "2001-01-01T00:00:00+14:00", "2000-12-31T23:59:59Z", "2026-01-01T00:00:00+23:59",
    "2026-01-01T00:00:00+00:60", "2026-W01-1T00:00:00Z", "2026-001T00:00:00Z", "\uff12026-01-01T00:00:00Z", "now", "0", "-1", "1e9", "1769817600",
    "1769817600.25", "1769817600250", "1769817600250000000", "978307199", "4133980800", "1e400", " 2026-01-01T00:00:00Z ",
)  # fmt: skip
NAMES = (
    "x",
    "",
    " ",
    "Symbol",
    "symbol ",
    "symb\u043el",
    "__proto__",
    "constructor",
    "id",
    "\0",
    "\ud800",
    "a.b",
    "$where",
    "scope",
    "decision_id",
)
DEPTHS = (3, 60, 150, 199, 202, 450, 900, 980, 1100, 6000)


def written(value: Any, *, escaped: bool = True) -> str:
    """The text of a tree; `escaped`: with what is not ASCII as `\\u....`."""
    match value:
        case Raw():
            return str(value)
        case Pairs():
            return "{" + ", ".join(f"{_text(k, escaped)}: {written(v, escaped=escaped)}" for k, v in value) + "}"
        case dict():
            return written(Pairs(value.items()), escaped=escaped)
        case list() | tuple():
            return "[" + ", ".join(written(each, escaped=escaped) for each in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=escaped)


def _text(name: str, escaped: bool) -> str:
    return json.dumps(str(name), ensure_ascii=escaped)


def deep(random: Random) -> Raw:
    """A value that is nested far."""
    depth = random.choice(DEPTHS)
    begin, end = random.choice((("[", "]"), ('{"a": ', "}"), ('[{"a": ', "}]")))
    shut = random.choice((end * depth, end * depth, end * (depth - 1), ""))
    return Raw(begin * depth + random.choice(("1", '"\\u0000"', "NaN", "[" + "0," * 200 + "0]", "")) + shut)


def time_as_written(random: Random, moment: datetime) -> Any:
    """A moment in one of the forms that are taken."""
    seconds = moment.timestamp()
    zone = timezone(timedelta(minutes=random.choice((0, 60, 330, 480, -300, -840, 840))))
    match random.randrange(8):
        case 0:
            return int(seconds)
        case 1:
            return int(seconds * 1000)
        case 2:
            return int(seconds) * 10**9
        case 3:
            return str(int(seconds))
        case 4:
            return moment.astimezone(zone).isoformat(" ")
        case 5:
            return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        case 6:
            return moment.astimezone(zone).isoformat().replace(".", ",")
        case _:
            return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def strange(random: Random) -> Any:
    """A value that hardly anybody expects at its place."""
    match random.randrange(10):
        case 0 | 1 | 2:
            return Raw(random.choice(NUMBERS))
        case 3 | 4:
            return random.choice(TEXTS)
        case 5:
            return random.choice(TIMES)
        case 6:
            return random.choice(([], {}, None, True, [[]], [None], {"": None}, [{}] * 3))
        case 7:
            return deep(random)
        case 8:
            return random.choice((random.randint(-(2**70), 2**70), random.uniform(-1e3, 1e3), random.randint(0, 200)))
        case _:
            return {random.choice(NAMES): random.choice(TEXTS) for _ in range(random.randrange(3))}


def mutated(tree: Any, random: Random, most: int = 3) -> Any:
    """The tree with up to `most` changes, each at a place of its own choosing."""
    for _ in range(random.randrange(most + 1)):
        places = list(_places(tree))
        tree = _at(tree, random.choice(places), random)
    return tree


def _places(tree: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    yield path
    for index, each in enumerate(_children(tree)):
        yield from _places(each, (*path, index))


def _children(tree: Any) -> list[Any]:
    if isinstance(tree, Pairs):
        return [value for _, value in tree]
    if isinstance(tree, dict):
        return [*tree.values()]
    return [*tree] if isinstance(tree, list | tuple) else []


def _at(tree: Any, path: tuple[int, ...], random: Random) -> Any:
    if not path:
        return _changed(tree, random)
    here, rest = path[0], path[1:]
    if isinstance(tree, dict | Pairs):
        pairs = [*tree.items()] if isinstance(tree, dict) else [*tree]
        pairs[here] = (pairs[here][0], _at(pairs[here][1], rest, random))
        return Pairs(pairs)
    made = [*tree]
    made[here] = _at(made[here], rest, random)
    return made


def _changed(tree: Any, random: Random) -> Any:
    if not isinstance(tree, dict | Pairs) or not tree or random.randrange(6) == 0:
        return _other_form(tree, random) if random.randrange(3) == 0 else strange(random)
    pairs = [*tree.items()] if isinstance(tree, dict) else [*tree]
    at = random.randrange(len(pairs))
    name, value = pairs[at]
    match random.randrange(7):
        case 0:
            del pairs[at]
        case 1:
            pairs.insert(at, (random.choice(NAMES), strange(random)))
        case 2:
            pairs.append((name, strange(random)))
        case 3:
            pairs.append((name, value))
        case 4:
            pairs[at] = (
                random.choice((name.upper(), f"{name} ", name.replace("o", "\u043e"), f"{name}\0", *NAMES)),
                value,
            )
        case 5:
            other = random.randrange(len(pairs))
            pairs[at], pairs[other] = (name, pairs[other][1]), (pairs[other][0], value)
        case _:
            pairs[at] = (name, strange(random))
    return Pairs(pairs)


def _other_form(value: Any, random: Random) -> Any:
    """The same value as another client would write it, or nearly."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int | float):
        return random.choice(
            (str(value), float(value), f"{value} USDT", Raw(f"{value}e0"), -value, value * 1000, [value])
        )
    if isinstance(value, str):
        return random.choice(
            (value.upper(), f" {value}", f"{value}\u200b", [value], value * 40, value.encode("utf-8", "replace").hex())
        )
    return random.choice(([value], {"value": value}))


def as_bytes(tree: Any, random: Random) -> bytes:
    """A tree as bytes, now and then not UTF-8, cut off, or with something around it."""
    text = written(tree, escaped=random.randrange(3) != 0)
    body = text.encode("utf-8", "surrogatepass")
    match random.randrange(24):
        case 0:
            return body[: random.randrange(len(body) + 1)]
        case 1:
            at = random.randrange(len(body) + 1)
            return (
                body[:at]
                + random.choice((b"\xff", b"\xc3", b"\0", b"\xed\xa0\xbd", b"\xf4\x90\x80\x80", b",", b"\x1f"))
                + body[at:]
            )
        case 2:
            return text.encode(random.choice(("utf-16", "utf-16-be", "utf-32")), "surrogatepass")
        case 3:
            return b"\xef\xbb\xbf" + body
        case 4:
            return random.choice((b"", b" ", b"\n\n", b"null", b"0", b"[]", b"{}", b'""', b"[[", b"{", b"\xff", b"NaN"))
        case 5:
            return body + random.choice((body, b" x", b"\n", b"\0", b"//", b"}"))
        case 6:
            return random.choice((b" ", b"\t\r\n", b"/**/", b"\xc2\xa0", b")]}',\n")) + body
        case 7 if random.randrange(12) == 0:
            return body[:-1] + b" " * (256 * 1024) + body[-1:]
    return body
