"""Bodies as clients send them: packed, in other encodings, with values that nobody can store."""

import gzip
import json
import tracemalloc
import zlib

import httpx
import pytest
from gateway_rig import ask
from pydantic import JsonValue

from tradewind.schema.storable import cleaned, unstorable
from tradewind.trading.decision import MAX_BODY_BYTES

NUL, HALF = "\0", "\ud83d"
PLAIN = json.dumps(ask("d1")).encode()
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
BOMB = b" " * (200 * 1024 * 1024)


def with_value(text: str) -> bytes:
    """A request whose `market_data.x` is written as this text."""
    return json.dumps(ask("d1", market_data={"x": 0})).replace('"x": 0', f'"x": {text}').encode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('"a\\u0000b"', "NUL"),
        ('"\\ud83d"', "U+D83D"),
        ('"\\uD83D"', "U+D83D"),
        ('"\\uDe00 \\uD83d"', "U+DE00"),
        ("NaN", "NaN"),
        ("Infinity", "infinite"),
        ("-Infinity", "infinite"),
        ("1e999", "infinite"),
        ("-1E+400", "infinite"),
        ("1" + "0" * 350, "digits"),
        ("-1" + "0" * 5000, "infinite"),
    ],
)
async def test_a_value_that_cannot_be_stored_is_named(rig, gateway, text, says):
    for value, field in ((text, "market_data.x"), (f'[0, {{"y": {text}}}]', "market_data.x.1.y")):
        response = await gateway.post("/v1/decisions", content=with_value(value))
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["field"]) == (422, "invalid_request", field)
        assert says in error["message"]
        assert error["remedy"]
    assert await rig.rows() == []


@pytest.mark.parametrize(
    "change",
    [
        {"decision_id": f"d{NUL}"},
        {"decision_id": f"d{HALF}"},
        {"scope": {"symbol": f"BTC{NUL}"}},
        {"scope": {"symbol": "BTC", "book": HALF}},
        {"position_id": f"p{NUL}"},
        {"market_data": {f"x{NUL}": 1}},
        {"account_state": {"permission_level": "L2", HALF: 1}},
        {f"sur{NUL}prise": 1},
        {"recent_history": [{"note": HALF}]},
    ],
    ids=str,
)
async def test_no_text_of_a_caller_is_more_than_its_own_error(rig, gateway, change):
    response = await gateway.post("/v1/decisions", content=json.dumps(ask("d1") | change).encode())
    assert response.status_code == 422, response.text
    assert response.json()["error"]["field"].startswith(cleaned(next(iter(change)), 100))
    for path in ("/v1/decisions/d1/execution", "/v1/decisions/d1/outcome", "/v1/reports"):
        response = await gateway.post(path, content=json.dumps(ask("d1") | change).encode())
        assert response.status_code == 422, response.text
    assert await rig.rows() == []


@pytest.mark.parametrize("depth", [190, 197, 199, 201, 1000, 50_000])
@pytest.mark.parametrize("field", ["market_data", "account_state"])
async def test_no_depth_is_a_fault_of_the_gateway(rig, gateway, field, depth):
    nested = '{"a":' * depth + "1" + "}" * depth
    body = json.dumps(ask("d1")).replace(f'"{field}": {{', f'"{field}": {{"deep": {nested}, ')
    response = await gateway.post("/v1/decisions", content=body.encode())
    assert response.status_code in (200, 400, 413), response.text
    if response.status_code == 200:
        assert (await rig.row("d1"))["state"] == "answered"


async def test_a_decision_id_in_the_path_that_cannot_be_stored(gateway):
    for name in ("a%00b", "a%ED%A0%BDb", "a%FFb"):
        response = await gateway.post(f"/v1/decisions/{name}/execution", json={"status": "rejected"})
        assert response.status_code in (404, 422), response.text
        assert response.json()["error"]["remedy"]


@pytest.mark.parametrize(
    "text",
    ['"\\\\u0000"', '"\\\\ud83d"', '"\\ud83d\\ude00"', '"NaN Infinity"', "[" * 150 + "]" * 150, "9" * 300],
)
async def test_what_only_looks_like_it_is_taken(rig, gateway, text):
    response = await gateway.post("/v1/decisions", content=with_value(text))
    assert response.status_code == 200, response.text
    assert (await rig.row("d1"))["request"]["market_data"] == json.loads(f'{{"x": {text}}}')


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(PLAIN)),
        ("X-GZIP", gzip.compress(PLAIN[:40]) + gzip.compress(PLAIN[40:])),
        ("deflate", zlib.compress(PLAIN)),
        ("deflate", RAW.compress(PLAIN) + RAW.flush()),
        ("identity", PLAIN),
        ("", b"\xef\xbb\xbf" + PLAIN),
    ],
)
async def test_a_packed_body_is_read(gateway, encoding, body):
    response = await gateway.post("/v1/decisions", content=body, headers={"Content-Encoding": encoding})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("encoding", "body", "status", "says"),
    [
        ("br", PLAIN, 415, "'br'"),
        ("zstd", PLAIN, 415, "'zstd'"),
        ("gzip, gzip", PLAIN, 415, "gzip, gzip"),
        ("gzip", PLAIN, 400, "gzip"),
        ("gzip", gzip.compress(PLAIN)[:-12], 400, "cut off"),
        ("gzip", b"", 400, "JSON"),
        ("deflate", b"\x00\x01", 400, "deflate"),
        ("gzip", gzip.compress(BOMB), 413, str(MAX_BODY_BYTES)),
        ("gzip", gzip.compress(BOMB[: MAX_BODY_BYTES - 1]) * 2, 413, str(MAX_BODY_BYTES)),
        ("deflate", zlib.compress(BOMB), 413, str(MAX_BODY_BYTES)),
        ("", PLAIN.decode().encode("utf-16"), 400, "UTF-16"),
        ("", PLAIN.decode().encode("utf-16-be"), 400, "UTF-16"),
        ("", PLAIN.decode().encode("utf-32"), 400, "UTF-16 or UTF-32"),
        ("", json.dumps(ask("d1", market_data={"x": "é"}), ensure_ascii=False).encode("latin-1"), 400, "byte 0xe9"),
        ("", json.dumps(ask("d1", market_data={"x": HALF}), ensure_ascii=False).encode("utf-8", "surrogatepass"), 400, "0xed"),
    ],
)  # fmt: skip
async def test_what_cannot_be_read_says_why(rig, gateway, encoding, body, status, says):
    response = await gateway.post("/v1/decisions", content=body, headers={"Content-Encoding": encoding})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (
        status,
        {400: "malformed_json", 413: "body_too_large", 415: "unsupported_encoding"}[status],
    )
    assert says in error["message"]
    assert error["remedy"]
    assert await rig.rows() == []


async def test_an_encoding_that_comes_in_two_headers(gateway: httpx.AsyncClient) -> None:
    headers = [("Content-Encoding", "gzip"), ("Content-Encoding", "br")]
    response = await gateway.post("/v1/decisions", content=PLAIN, headers=headers)
    assert (response.status_code, "gzip, br" in response.text) == (415, True)


def test_depth_is_no_matter_to_what_can_be_stored() -> None:
    value: JsonValue = NUL
    for _ in range(100_000):
        value = [value]
    fault = unstorable(value)
    assert fault is not None
    assert "NUL" in fault.what
    assert unstorable({"a": [1, 2.5, True, None, "x\x1f\ufffe😀"]}) is None


@pytest.mark.parametrize(
    "body",
    [
        PLAIN[:-1] + b', "scope": {"symbol": "ETH"}}',
        PLAIN.replace(b'"price"', b'"rsi"'),
        PLAIN.replace(b'"balance"', b'"permission_\\u006cevel"'),
    ],
)
async def test_a_name_that_comes_twice_is_no_question(rig, gateway, body):
    """Seen: the last one counted, where a proxy or a log reads the first."""
    response = await gateway.post("/v1/decisions", content=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "malformed_json")
    assert "twice" in error["message"]
    assert await rig.rows() == []


@pytest.mark.parametrize("path", ["/v1/decisions/d1/outcome", "/v1/reports", "/v1/prices", "/v1/decisions"])
@pytest.mark.parametrize("depth", [201, 600, 950])
async def test_what_is_nested_too_deep_is_refused_as_it_is_read(rig, gateway, path, depth):
    body = (
        b'{"decision_id": "d1", "closed_at": "2026-01-01T00:00:00Z", "pnl": 1, "fees": '
        + b"[" * depth
        + b"]" * depth
        + b"}"
    )
    response = await gateway.post(path, content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed_json"), response.text
    assert "deep" in response.text or "recursion" in response.text


@pytest.mark.parametrize("report", ["outcome", "execution"])
async def test_an_id_of_a_path_that_cannot_be_stored_is_named_and_its_report_kept(rig, gateway, report):
    body = {"closed_at": "2026-01-01T00:00:00Z", "pnl": 1} if report == "outcome" else {"status": "rejected"}
    response = await gateway.post(f"/v1/decisions/a%00b/{report}", json=body)
    assert (response.status_code, response.json()["error"]["field"]) == (422, "decision_id")
    (kept,) = await rig.rows("SELECT decision_id, code FROM tradewind.refused_reports")
    assert kept == {"decision_id": "a\ufffdb", "code": "invalid_request"}


def test_a_deep_and_wide_value_costs_no_more_than_its_parts() -> None:
    """Seen: a copy of the way to each part took 0.9 GB for a body of 256 KiB."""
    value = json.loads("[" * 900 + "0," * 12_000 + "0" + "]" * 900)
    tracemalloc.start()
    try:
        assert unstorable(value) is None
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    fault = unstorable({"a": [0, {"b": NUL}]})
    assert fault is not None
    assert fault.field == "a.1.b"
