"""Bars and papers that a trading system posts: stored once, refused by name, never changed."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from gateway_rig import HOLD, OPEN, T0, Rig, ask

BAR = {
    "symbol": "BTC",
    "start": "2026-01-05T10:00:00Z",
    "seconds": 3600,
    "open": 100.0,
    "high": 102.5,
    "low": 99.0,
    "close": 101.0,
}


async def post(gateway: httpx.AsyncClient, body: Any, path: str = "/v1/prices") -> httpx.Response:
    return await gateway.post(path, json=body)


async def bars(rig: Rig) -> list[dict[str, Any]]:
    return await rig.rows("SELECT * FROM tradewind.bars ORDER BY symbol, starts_at, ends_at")


async def test_bars_are_stored_once_in_each_shape(rig: Rig, gateway: httpx.AsyncClient) -> None:
    other = {k: v for k, v in BAR.items() if k != "seconds"} | {
        "start": 1767607200000,
        "end": "2026-01-05T12:00:00+01:00",
    }
    for body in (BAR, [BAR, BAR], {"prices": [BAR]}, [other], json.loads(json.dumps(BAR))):
        answer = await post(gateway, body)
        assert answer.status_code == 200, answer.text
    assert len(await bars(rig)) == 1  # one symbol, start and end, however they are written
    assert (await post(gateway, [BAR | {"seconds": 60}, BAR | {"symbol": "ETH"}])).json() == {"bars": 2, "stored": 2}
    assert (await post(gateway, [BAR | {"seconds": 60}, BAR | {"symbol": "ETH"}])).json() == {"bars": 2, "stored": 0}


async def test_another_value_for_a_bar_is_refused_and_nothing_of_the_list_is_stored(
    rig: Rig, gateway: httpx.AsyncClient
) -> None:
    await post(gateway, BAR)
    answer = await post(gateway, [BAR | {"start": "2026-01-05T11:00:00Z"}, BAR | {"close": 101.5}])
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["code"] == "price_differs"
    assert "BTC from 2026-01-05T10:00:00+00:00" in error["message"]
    assert "close 101.0" in error["message"]
    (row,) = await bars(rig)
    assert row["close"] == 101.0


async def test_of_two_that_differ_at_once_one_is_told(rig: Rig, gateway: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(post(gateway, BAR | {"close": 100 + number / 8}) for number in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    same = await asyncio.gather(*(post(gateway, BAR | {"symbol": "ETH"}) for _ in range(8)))
    assert {answer.status_code for answer in same} == {200}
    assert len(await bars(rig)) == 2


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"low": 100.5}, "prices.0"), ({"high": 100.5}, "prices.0"), ({"close": 0}, "prices.0.close"),
        ({"close": -1.0}, "prices.0.close"), ({"open": "100"}, "prices.0.open"), ({"open": True}, "prices.0.open"),
        ({"close": None}, "prices.0.close"), ({"high": 1e300}, "prices.0.high"), ({"volume": 3}, "prices.0.volume"),
        ({"seconds": 0}, "prices.0.seconds"), ({"seconds": 90_000}, "prices.0.seconds"), ({"seconds": 60.0}, "prices.0.seconds"),
        ({"end": "2026-01-05T11:00:00Z"}, "prices.0"), ({"seconds": None}, "prices.0"), ({"start": "2026-01-05T10:00:00"}, "prices.0.start"),
        ({"start": "yesterday"}, "prices.0.start"), ({"symbol": ""}, "prices.0.symbol"), ({"seconds": None, "end": "2026-01-05T09:00:00Z"}, "prices.0"),
    ],
)  # fmt: skip
async def test_what_is_no_bar_is_refused_with_its_field(
    wrong: dict[str, Any], field: str, rig: Rig, gateway: httpx.AsyncClient
) -> None:
    answer = await post(gateway, [BAR | wrong])
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["field"] == field
    assert answer.json()["error"]["remedy"]
    assert await bars(rig) == []


@pytest.mark.parametrize(
    "text",
    ['{"symbol": "BTC", "close": NaN}', '[{"close": Infinity}]', "[", "[]", "{}", "7", '"x"', '{"prices": {}}',
     json.dumps([BAR, BAR | {"close": 100.0}]), json.dumps(BAR)[:-1] + ', "close": 99.5}',
     json.dumps([BAR | {"start": 1_700_000_000 + 60 * n} for n in range(1001)])],
)  # fmt: skip
async def test_what_is_no_list_of_bars_is_refused(text: str, rig: Rig, gateway: httpx.AsyncClient) -> None:
    answer = await gateway.post("/v1/prices", content=text)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]["remedy"]
    assert await bars(rig) == []


async def test_bars_of_the_future_and_of_other_symbols_are_refused(rig: Rig, gateway: httpx.AsyncClient) -> None:
    now = datetime.now(UTC)
    running = BAR | {"start": (now - timedelta(minutes=30)).isoformat()}
    answer = await post(gateway, running)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "time_in_future")
    answer = await post(gateway, BAR | {"symbol": "DOGE"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "symbol_not_allowed")
    assert await bars(rig) == []


async def test_a_replays_bar_has_the_datas_clock(rig: Rig) -> None:
    rig.publish(clock="replay")
    gateway = await rig.gateway()
    await post(gateway, BAR)
    as_of = (T0 + timedelta(days=10)).isoformat()
    assert (await gateway.post("/v1/decisions", json=ask("d1", as_of=as_of))).status_code == 200
    await post(gateway, BAR | {"symbol": "ETH"})
    assert [row["clock"] for row in await bars(rig)] == [None, T0 + timedelta(days=10)]


async def drawn(rig: Rig, gateway: httpx.AsyncClient, name: str, **answer: Any) -> None:
    rig.arms["v1"].answer = dict(OPEN) | answer
    rig.publish(experiment=rig.experiment(candidateWeight="1"))
    await rig.seen()
    assert (await gateway.post("/v1/decisions", json=ask(name))).json()["_arm"] == "candidate"


async def test_a_paper_is_reported_once_an_arm(rig: Rig, gateway: httpx.AsyncClient) -> None:
    await drawn(rig, gateway, "d1")
    path = "/v1/decisions/d1/paper"
    for ret in (0.0123, 0.0123):
        answer = await post(gateway, {"arm": "candidate", "ret": ret}, path)
        assert (answer.status_code, answer.json()) == (200, {"decision_id": "d1", "arm": "candidate", "ret": 0.0123})
    assert (await post(gateway, {"arm": "baseline", "ret": -0.5}, path)).status_code == 200
    answer = await post(gateway, {"arm": "candidate", "ret": 0.02}, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "paper_differs")
    rows = await rig.rows("SELECT arm, ret FROM tradewind.reported_papers ORDER BY arm")
    assert rows == [{"arm": "baseline", "ret": -0.5}, {"arm": "candidate", "ret": 0.0123}]


@pytest.mark.parametrize(
    "wrong", [{"ret": 21}, {"ret": -5.1}, {"ret": "0.1"}, {"ret": None}, {"arm": "market"}, {"pnl": 3}, {"ret": True}]
)
async def test_a_paper_that_cannot_be_true_is_refused(
    wrong: dict[str, Any], rig: Rig, gateway: httpx.AsyncClient
) -> None:
    await drawn(rig, gateway, "d1")
    answer = await post(gateway, {"arm": "candidate", "ret": 0.1} | wrong, "/v1/decisions/d1/paper")
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] in wrong
    assert await rig.rows("SELECT * FROM tradewind.reported_papers") == []


async def test_a_paper_of_nothing_that_stands_is_refused(rig: Rig, gateway: httpx.AsyncClient) -> None:
    async def told(name: str, arm: str = "candidate", ret: float = 0.1) -> tuple[int, str]:
        answer = await post(gateway, {"arm": arm, "ret": ret}, f"/v1/decisions/{name}/paper")
        return answer.status_code, answer.json()["error"]["code"]

    assert await told("nobody") == (404, "unknown_decision")
    await gateway.post("/v1/decisions", json=ask("outside"))
    assert await told("outside") == (409, "no_pair")
    await drawn(rig, gateway, "holds", **HOLD)
    assert await told("holds") == (409, "hold")
    assert (await post(gateway, {"arm": "candidate", "ret": 0}, "/v1/decisions/holds/paper")).status_code == 200
    rig.arms["v1"].sleeps(3)
    await drawn(rig, gateway, "late")
    assert await told("late") == (409, "no_pair")
    rig.arms["v1"].status(500)
    await drawn(rig, gateway, "failed")  # the fallback's hold stands for it
    assert await told("failed") == (409, "hold")
    assert [row["decision_id"] for row in await rig.rows("SELECT decision_id FROM tradewind.reported_papers")] == [
        "holds"
    ]


async def test_both_calls_need_the_token(rig: Rig, tmp_path: Any) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    gateway = await rig.gateway(auth_token_file=token)
    assert (await post(gateway, BAR)).status_code == 401
    assert (await post(gateway, {"arm": "candidate", "ret": 0}, "/v1/decisions/d1/paper")).status_code == 401
