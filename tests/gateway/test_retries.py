"""Bots retry with the same id and fresh prices: one decision, one answer, told apart from a first one."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gateway_rig import HOLD, OPEN, ask

FRESH: dict[str, dict[str, Any]] = {
    "prices": {"market_data": {"BTC": {"price": 1.0}}},
    "account": {"account_state": {"balance": 1, "permission_level": "L2"}},
}
OTHER: dict[str, dict[str, Any]] = {
    "scope": {"scope": {"symbol": "BTC", "book": "b"}},
    "history": {"recent_history": [{"action": "hold"}]},
    "position": {"position_id": "p1"},
}


async def post(gateway, **extra: Any) -> tuple[int, dict[str, Any]]:
    response = await gateway.post("/v1/decisions", json=ask("d1", **extra))
    return response.status_code, response.json()


@pytest.mark.parametrize("change", FRESH)
async def test_a_retry_with_fresh_prices_gets_the_stored_answer(rig, gateway, change) -> None:
    _, first = await post(gateway)
    rig.arms["api"].answer = dict(HOLD)
    twin = await rig.gateway(replica="r1")  # the first one restarted
    for client in (gateway, twin):
        assert await post(client, **FRESH[change]) == (200, first | {"_replayed": True})
        assert await post(client) == (200, first)  # the same question: the same bytes
    assert len(await rig.rows()) == 1
    assert (await rig.row("d1"))["request"]["market_data"]["BTC"]["price"] == 68500.0  # what was decided on


@pytest.mark.parametrize("change", OTHER)
async def test_another_question_needs_another_id(gateway, change) -> None:
    await post(gateway)
    status, said = await post(gateway, **OTHER[change])
    assert (status, said["error"]["code"], said["error"]["field"]) == (422, "decision_id_reused", "decision_id")


@pytest.mark.parametrize("change", FRESH)
async def test_strict(rig, gateway, change) -> None:
    rig.publish(retries="strict")
    await rig.seen()
    _, first = await post(gateway)
    status, said = await post(gateway, **FRESH[change])
    assert (status, said["error"]["code"]) == (422, "decision_id_reused")
    assert await post(gateway) == (200, first)


async def test_past_the_lease_fresh_prices_are_a_new_question(rig, gateway) -> None:
    _, first = await post(gateway)
    await rig.rows("UPDATE tradewind.decisions SET asking_until = now() - interval '1 second'")
    status, said = await post(gateway, **FRESH["prices"])
    assert (status, said["error"]["code"]) == (422, "decision_id_reused")
    assert await post(gateway) == (200, first)  # the same question may be repeated for ever


async def test_what_nobody_answered_is_taken_over_with_fresh_prices(rig, gateway) -> None:
    await post(gateway)
    before = await rig.row("d1")
    await rig.rows(
        "UPDATE tradewind.decisions SET state = 'assigned', answer = NULL, answered_by = NULL, answered_at = NULL,"
        " holding = false, held_since = NULL, asking_until = now() + interval '1 minute'"
    )
    status, said = await post(gateway, **FRESH["prices"])
    assert (status, said["error"]["code"]) == (409, "in_progress")  # its gateway may live
    await rig.rows("UPDATE tradewind.decisions SET asking_until = now() - interval '1 hour'")
    status, said = await post(gateway, **FRESH["prices"])
    assert (status, said["action"], "_replayed" in said) == (200, "open_long", False)
    row = await rig.row("d1")
    assert (row["decided_at"], row["drawn_version"], row["asks"]) == (before["decided_at"], before["drawn_version"], 2)
    assert row["request"]["market_data"]["BTC"]["price"] == 1.0  # the answer is to these
    assert row["holding"]
    assert (await post(gateway, **FRESH["prices"]))[1] == said


async def test_retries_at_once_are_one_decision(rig, gateway) -> None:
    rig.arms["api"].sleeps(0.15)
    prices = [{"market_data": {"BTC": {"price": float(n)}}} for n in range(6)]
    results = await asyncio.gather(*(post(gateway, **price) for price in prices))
    assert sorted({status for status, _ in results}) == [200, 409]
    assert {said["error"]["code"] for status, said in results if status == 409} == {"in_progress"}
    assert len(rig.arms["api"].seen) == 1
    again = [await post(gateway, **price) for price in prices]
    assert {status for status, _ in again} == {200}
    assert sum("_replayed" in said for _, said in again) == 5


async def test_a_retry_of_a_flip_says_the_same(rig, gateway) -> None:
    await rig.trade(gateway, "d0", "p1")
    rig.arms["api"].answer = OPEN | {"action": "open_short"}
    silent = {"account_state": {"permission_level": "L2"}}
    _, first = await post(gateway, **silent)
    assert first["_flipped"] == "d0"
    assert await post(gateway, **silent, **FRESH["prices"]) == (200, first | {"_replayed": True})
    assert (await rig.row("d1"))["holding"]


async def test_retry_after_is_in_whole_seconds(rig, gateway) -> None:
    rig.arms["api"].sleeps(0.3)
    first = asyncio.create_task(gateway.post("/v1/decisions", json=ask("d1")))
    await asyncio.sleep(0.1)
    busy = await gateway.post("/v1/decisions", json=ask("d1"))
    assert busy.status_code == 409
    assert busy.headers["retry-after"].isdecimal()
    assert (await first).status_code == 200


async def test_the_lease_covers_a_whole_decision(rig, gateway) -> None:
    """A retry within the time of a decision is one of it, whenever the answer came."""
    await post(gateway)
    row = await rig.row("d1")
    timeout = timedelta(seconds=rig.settings.decision_timeout)
    assert row["asking_until"] - row["received_at"] >= timeout
    assert row["asking_until"] > datetime.now(UTC)
