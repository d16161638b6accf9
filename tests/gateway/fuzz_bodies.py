"""Requests to every door of a gateway, right and wrong, and how each body is read apart from the gateway's own code."""

import gzip
import json
import re
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from gateway_rig import ask

from fuzz_json import NAMES, TEXTS, Raw, as_bytes, mutated, strange, time_as_written, written
from tradewind.trading.decision import decision_schema

MODEL = "tradewind/trader"
SUBJECT = "d"
"""The decision that reports are about: answered, an opening, drawn by the experiment."""
POSTED = ("decision", "chat", "execution", "outcome", "reports", "paper", "prices")


@dataclass(frozen=True)
class Sent:
    """One request."""

    door: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"

    def __str__(self) -> str:
        shown = self.body if len(self.body) < 2000 else self.body[:1000] + b" ... " + self.body[-500:]
        return f"{self.method} {self.path} {self.headers} {shown!r} ({len(self.body)} bytes)"


def request(random: Random, now: datetime, door: str | None = None) -> Sent:
    """A request to a door."""
    door = door or random.choice(POSTED)
    tree = _BODIES[door](random, now)
    if door == "reports":
        return _reports(random, tree)
    path = _PATHS.get(door, "/v1/decisions/{}/" + door).format(_id_in_path(random))
    body, headers = _packed(random, as_bytes(mutated(tree, random, 1 if door == "chat" else 3), random))
    return Sent(door, path, body, headers)


def read(random: Random) -> Sent:
    """A request that only asks, with whatever stands in a path or query."""
    name = quote(random.choice((SUBJECT, "n1", *TEXTS)).encode("utf-8", "surrogatepass"), safe="")
    value = random.choice((*TEXTS, "5", "1000", "open", "unreported", "MjAyNi0wMS0wMSBk", "MSAgZA=="))
    query = urlencode(
        {random.choice(("state", "after", "limit", "days", "min_samples")): value.encode("utf-8", "surrogatepass")}
    )
    path = random.choice((
        f"/v1/decisions/{name}", f"/v1/decisions?{query}", f"/v1/performance?{query}", f"/v1/training-data?{query}", "/v1/models",
        f"/v1/models/{name}", "/healthz", "/readyz", "/metrics", f"/{name}", f"/v1/{name}", "/v1/decisions/",
    ))  # fmt: skip
    method = random.choice(("GET", "GET", "GET", "HEAD", "DELETE", "PUT", "OPTIONS", "PATCH"))
    return Sent("read", path, b"", {}, method)


# --- bodies that are right --------------------------------------------------------------------------------------------


def _decision(random: Random, _: datetime) -> Any:
    tree = ask(random.choice((f"f{random.randrange(10**12)}", 17, None)))
    if random.randrange(2):
        entry = {
            "position_id": random.choice(("p1", 17, 17.0)),
            "symbol": random.choice(("BTC", "ETH/USDT")),
            "size": random.choice((0, 1.5, "2")),
        }
        tree["account_state"]["positions"] = random.choice(([], [entry], {"BTC": entry}, None))
    if random.randrange(4) == 0:
        tree |= {"recent_history": [{"action": "hold", "note": random.choice(TEXTS)}]}
    if random.randrange(4) == 0:
        tree["scope"]["book"] = random.choice(("long", "", "x" * 64))
    tree["market_data"]["BTC"]["x"] = random.choice(
        (0.1, 1e308, 5e-324, 2**53 + 1, -0.0, None, "\U0001f600", [1, [2, {"a": None}]], "")
    )
    return tree


def _chat(random: Random, now: datetime) -> Any:
    body = _decision(random, now)
    content: Any = written(mutated(body, random, 1), escaped=bool(random.randrange(2)))
    message: Any = {"role": random.choice(("user",) * 8 + ("system", "assistant")), "content": content}
    if random.randrange(4) == 0:
        message["content"] = [{"type": "text", "text": content}]
    tree: dict[str, Any] = {"model": MODEL, "messages": [message]}
    if random.randrange(3) == 0:
        tree["metadata"] = {
            random.choice(("decision_id", "symbol", "book", "market_data", "account_state", "x")): random.choice(TEXTS)
        }
    if random.randrange(3) == 0:
        schema = mutated(decision_schema(), random, 2)
        named = {"type": "function", "function": {"name": "trade", "parameters": schema}}
        tree |= random.choice((
            {"response_format": {"type": "json_schema", "json_schema": {"name": "d", "schema": schema}}},
            {"tools": [named]}, {"tools": [named], "tool_choice": "auto"}, {"response_format": {"type": "json_object"}},
        ))  # fmt: skip
    if random.randrange(4) == 0:
        name = random.choice(("stream", "n", "stop", "seed", "temperature", "logprobs", "user", "functions"))
        tree[name] = random.choice((None, False, 1, [], 0.5, "x"))
    return tree


def _execution(random: Random, now: datetime) -> Any:
    at = _time(random, now)
    status = random.choice(("opened", "opened", "opened", "rejected", "not_filled"))
    if status != "opened":
        return {"status": status} | ({"opened_at": at} if random.randrange(2) else {})
    side = random.choice(({}, {}, {"side": "long"}, {"side": "short"}, {"side": None}))
    return {
        "status": status,
        "opened_at": at,
        "filled_notional_usd": _money(random, 118.5),
        "position_id": _position(random),
    } | side


def _outcome(random: Random, now: datetime) -> Any:
    more = {
        "fees": _fees(random),
        "duration_hours": random.choice((1.5, "2", None, "nan", -1, "1_0")),
        "exit_reason": _words(random),
    }
    kept = {name: value for name, value in more.items() if random.randrange(2)}
    return {
        "closed_at": _time(random, now),
        "pnl": random.choice((_money(random, 2.5), _money(random, -3.25), 0, None)),
    } | kept


def _event(random: Random, now: datetime) -> Any:
    kind = random.choice(("open", "add", "reduce", "close", "cash_flow", "not_filled", "rejected", "correct", "void"))
    tree: dict[str, Any] = {
        "decision_id": random.choice((SUBJECT, SUBJECT, "n1", "unknown", 17)),
        "event": kind,
        "at": _time(random, now),
    }
    extra = {
        "position_id": _position(random), "event_id": random.choice(("e1", 3, "execution")), "notional_usd": _money(random, 60.0),
        "price": _money(random, 68500), "quantity": random.choice((0.001, "0.002", 1e-18)), "pnl": _money(random, 1.5), "total_pnl": _money(random, 2),
        "amount_usd": _money(random, -0.4), "side": "long", "fees": _fees(random), "exit_reason": _words(random), "target": "e1", "by": "ada", "why": _words(random),
    }  # fmt: skip
    needed = {"open": ("position_id", "notional_usd"), "add": ("notional_usd",), "reduce": ("notional_usd", "pnl"), "cash_flow": ("amount_usd",),
              "correct": ("target", "by", "why"), "void": ("target", "by", "why")}.get(kind, ())  # fmt: skip
    return tree | {name: value for name, value in extra.items() if name in needed or random.randrange(8) == 0}


def _report(random: Random, now: datetime) -> Any:
    match random.randrange(4):
        case 0:
            return {"decision_id": SUBJECT} | _execution(random, now)
        case 1:
            return {"decision_id": SUBJECT} | _outcome(random, now)
        case _:
            return _event(random, now)


def _many(random: Random, now: datetime) -> Any:
    reports = [_report(random, now) for _ in range(random.choice((1, 1, 1, 2, 5)))]
    return random.choice((reports[0], reports, {"reports": reports}))


def _paper(random: Random, _: datetime) -> Any:
    return {
        "arm": random.choice(("baseline", "candidate")),
        "ret": random.choice((0, 0.0012, -0.01, 0.3, -0.0, 1e-300)),
    }


def _bars(random: Random, now: datetime) -> Any:
    bars = []
    for _ in range(random.choice((1, 1, 2, 4))):
        start = now - timedelta(hours=random.randrange(2, 400))
        bar = {
            "symbol": random.choice(("BTC", "ETH")),
            "start": time_as_written(random, start),
            "open": 100.0,
            "high": 102.5,
            "low": 99,
            "close": 101.25,
        }
        length: dict[str, Any] = random.choice(
            ({"seconds": 60}, {"end": time_as_written(random, start + timedelta(minutes=1))})
        )
        bars.append(bar | length)
    return random.choice((bars[0], bars, {"prices": bars}))


_BODIES = {
    "decision": _decision,
    "chat": _chat,
    "execution": _execution,
    "outcome": _outcome,
    "reports": _many,
    "paper": _paper,
    "prices": _bars,
}
_PATHS = {"decision": "/v1/decisions", "chat": "/v1/chat/completions", "reports": "/v1/reports", "prices": "/v1/prices"}


def _time(random: Random, now: datetime) -> Any:
    return time_as_written(random, now + timedelta(seconds=random.choice((0, 0, 0, 1, 5, -1, -3600, 86_400))))


def _money(random: Random, amount: float) -> Any:
    return random.choice((amount, amount, str(amount), f"{amount} USDT", Raw(f"{amount}00"), int(amount)))


def _position(random: Random) -> Any:
    return random.choice(("p1", "p1", 17, 17.0, "n-open", "\u5e01\u5b89"))


def _words(random: Random) -> Any:
    return random.choice(("take_profit", None, {"code": 3}, ["a"], "\u6b62\u635f", *TEXTS))


def _fees(random: Random) -> Any:
    return random.choice((
        0.1, "0.1", None, "0.1 USDT", "0.001 BNB", [0.1, "0.2 USDC"], {"amount": 0.1, "currency": "USDT"}, {"cost": "0.00001", "currency": "BTC", "usd_rate": 68500},
        [{"amount": strange(random)}], {"amount": 0.1, "note": strange(random)}, {"amount": 0.1, "currency": strange(random)}, [], {}, strange(random),
    ))  # fmt: skip


# --- around the body --------------------------------------------------------------------------------------------------


def _id_in_path(random: Random) -> str:
    name = random.choice((SUBJECT,) * 9 + ("n1",) * 4 + ("unknown", "17", "", "..", "a b", "x" * 200, *TEXTS[:24]))
    return quote(name.encode("utf-8", "surrogatepass"), safe="")


def _reports(random: Random, tree: Any) -> Sent:
    form = random.randrange(8)
    if form == 0 and isinstance(tree, list):
        body = b"\n".join(as_bytes(mutated(each, random, 1), random) for each in tree)
        return Sent("reports", "/v1/reports", body, {"content-type": "application/x-ndjson"})
    if form == 1 and isinstance(tree, dict) and "reports" not in tree:
        pairs = [(name, value if isinstance(value, str) else written(value)) for name, value in tree.items()]
        if random.randrange(3) == 0:
            pairs.append((random.choice(("pnl", "x", *NAMES)), random.choice(TEXTS)))
        body = urlencode(
            [(name.encode("utf-8", "surrogatepass"), value.encode("utf-8", "surrogatepass")) for name, value in pairs]
        ).encode()
        return Sent("reports", "/v1/reports", body, {"content-type": "application/x-www-form-urlencoded"})
    body, headers = _packed(random, as_bytes(mutated(tree, random), random))
    return Sent("reports", "/v1/reports", body, headers)


def _packed(random: Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    headers = {}
    if random.randrange(6) == 0:
        kinds = (
            "text/plain",
            "application/xml",
            "application/json; charset=latin-1",
            "",
            "multipart/form-data",
            "application/x-ndjson",
        )
        headers["content-type"] = random.choice(kinds)
    match random.randrange(30):
        case 0:
            return gzip.compress(body, 1), headers | {"content-encoding": "gzip"}
        case 1:
            return zlib.compress(body, 1), headers | {"content-encoding": "deflate"}
        case 2:
            return body, headers | {
                "content-encoding": random.choice(("gzip", "deflate", "br", "gzip, gzip", "identity", "utf-8"))
            }
        case 3:
            packed = gzip.compress(body, 1)
            return packed[: random.randrange(len(packed))], headers | {"content-encoding": "gzip"}
    return body, headers


def unpacked(sent: Sent) -> bytes:
    """The body of an accepted request as it is without its packing."""
    encoding = sent.headers.get("content-encoding", "")
    if encoding == "gzip":
        return gzip.decompress(sent.body)
    return zlib.decompress(sent.body) if encoding == "deflate" else sent.body


# --- read apart from the gateway --------------------------------------------------------------------------------------


_PLAIN_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)


class TwiceError(ValueError):
    """A name comes twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise TwiceError
    return dict(pairs)


def _double(text: str) -> Decimal:
    return Decimal(repr(float(text)))


def _no_json(name: str) -> Any:
    raise ValueError(name)


def plain(text: bytes | str, *, words: bool = False) -> Any:
    """A text as JSON by the letter: UTF-8, each name once, no NaN; numbers by their value as a double, whole ones exactly.

    Args:
        text: the body.
        words: whether NaN and infinities may stand in it as words, which reports may hold.

    Raises:
        ValueError: it is none.
    """
    decoded = (text.decode() if isinstance(text, bytes) else text).removeprefix("\ufeff")
    constant = str if words else _no_json
    return json.loads(decoded, parse_int=Decimal, parse_float=_double, parse_constant=constant, object_pairs_hook=_once)


def spelled_id(value: Any) -> str | None:
    """The id that a value spells."""
    return str(int(value)) if isinstance(value, Decimal) else value


def spelled_amount(value: Any) -> Decimal:
    """The amount that a value spells, in plain digits."""
    text = value.strip().partition(" ")[0] if isinstance(value, str) else str(value)
    assert _PLAIN_NUMBER.fullmatch(text), text
    return Decimal(text)


def spelled_time(value: Any) -> datetime:
    """The moment that a value spells, to the microsecond."""
    text = str(value).strip(" ") if isinstance(value, str) else value
    if isinstance(text, str) and not _is_number(text):
        text = text.upper().replace(",", ".").replace("Z", "+00:00").replace(" +", "+")
        head, _, fraction = text.partition(".")
        digits = "".join(c for c in fraction[: len(fraction) - 6] if c.isdigit()) if fraction else ""
        zone = fraction[len(digits) :] if fraction else ""
        return datetime.fromisoformat(f"{head}.{digits[:6]:0<6}{zone}" if fraction else head).astimezone(UTC)
    number = Decimal(text)
    while number >= 4133980800:
        number /= 1000
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(number * 10**6))


def _is_number(text: str) -> bool:
    try:
        Decimal(text)
    except ArithmeticError:
        return False
    return True
