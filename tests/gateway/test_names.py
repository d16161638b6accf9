"""Names of venues and trading systems on the whole way: asked, answered, reported by a path, stored."""

from urllib.parse import quote

import httpx
import pytest
from gateway_rig import HOLD, OPEN, Rig, ask

SYMBOLS = (
    "币安人生/USDT:USDT", "M&M", "$MYRO/USDT", "@107", "#1", "ES=F", "^GSPC", "BRK B", "1000SATS", "O'Neil", 'say "x"',
    "back\\slash", "%(symbol)s", "%s", "{0}", "=HYPERLINK", "🚀/USDT", "e\u0301", "NULL", "x" * 64,
)  # fmt: skip

IDS = (
    "2026-01-31T08:00:00+08:00", "a#b", "a?b=c&d", "a%20b", "100%", "a b", "a|b{c}@d", "a/b//c/", "/a", "a/execution",
    "币安-1", "a\\b", "'; DROP TABLE x; --", "a+b", "..a", "a..", "...", "~", "e\u0301",
)  # fmt: skip


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_a_symbol_comes_back_as_it_was_asked(symbol: str, rig: Rig, gateway: httpx.AsyncClient) -> None:
    rig.publish(limits={"permissionLevels": {}, "symbols": [symbol]})
    await rig.seen()
    rig.arms["api"].answer = HOLD | {"symbol": symbol}
    answer = await gateway.post("/v1/decisions", json=ask("d1", scope={"symbol": symbol}))
    assert (answer.status_code, answer.json()["symbol"]) == (200, symbol), answer.text
    assert [row["scope_symbol"] for row in await rig.rows()] == [symbol]
    other = await gateway.post("/v1/decisions", json=ask("d2", scope={"symbol": "e\u0301x"}))
    assert other.json()["error"]["code"] == "symbol_not_allowed"


async def test_an_answer_about_another_spelling_is_no_answer(rig: Rig, gateway: httpx.AsyncClient) -> None:
    rig.publish(limits={"permissionLevels": {}, "symbols": None})
    await rig.seen()
    rig.arms["api"].answer = HOLD | {"symbol": "e\u0301"}
    answer = await gateway.post("/v1/decisions", json=ask("d1", scope={"symbol": "é"}))
    assert answer.status_code == 503, answer.text


@pytest.mark.parametrize("name", IDS)
async def test_an_id_is_reported_on_by_its_path(name: str, rig: Rig, gateway: httpx.AsyncClient) -> None:
    rig.arms["api"].answer = OPEN
    asked = await gateway.post("/v1/decisions", json=ask(name))
    assert (asked.status_code, asked.json()["decision_id"]) == (200, name), asked.text
    path = f"/v1/decisions/{quote(name, safe='')}/execution"
    report = await gateway.post(path, json={"status": "rejected"})
    assert report.status_code == 200, report.text
    assert [row["decision_id"] for row in await rig.rows()] == [name]


@pytest.mark.parametrize("name", [".", "..", "a/../b"])
async def test_dots_survive_where_no_client_rewrites_the_path(name: str, rig: Rig, gateway: httpx.AsyncClient) -> None:
    """httpx sends a path as it is given; other clients and proxies may not (docs/gateway.md)."""
    rig.arms["api"].answer = OPEN
    asked = await gateway.post("/v1/decisions", json=ask(name))
    assert asked.status_code == 200, asked.text
    path = f"/v1/decisions/{quote(name, safe='').replace('.', '%2E')}/execution"
    report = await gateway.post(path, json={"status": "rejected"})
    assert report.status_code == 200, report.text


async def test_a_number_and_its_digits_are_one_id(rig: Rig, gateway: httpx.AsyncClient) -> None:
    first = await gateway.post("/v1/decisions", json=ask() | {"decision_id": 1769817600123456789})
    again = await gateway.post("/v1/decisions", json=ask() | {"decision_id": "1769817600123456789"})
    assert first.json()["decision_id"] == "1769817600123456789"
    assert (again.status_code, again.json()) == (200, first.json())
    assert len(await rig.rows()) == 1
