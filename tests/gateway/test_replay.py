"""The data's clock: as_of, published blocks, the 425 handshake."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from gateway_rig import T0, ask

from tradewind.trading.assignment import draw_arm


def at(hours: float) -> str:
    return (T0 + timedelta(hours=hours)).isoformat()


async def test_as_of_is_required(rig, gateway):
    rig.publish(clock="replay")
    await rig.seen()
    response = await gateway.post("/v1/decisions", json=ask("d1"))
    assert (response.status_code, response.json()["error"]["field"]) == (422, "as_of")
    response = await gateway.post("/v1/decisions", json=ask("d1", as_of="9999-01-01T00:00:00Z"))
    assert response.json()["error"]["code"] == "as_of_in_future"
    assert await rig.rows("SELECT * FROM tradewind.replay_clock") == []


async def test_a_block_waits_for_its_weight(rig, gateway):
    blocks = [{"block": 0, "epoch": 3, "candidateWeight": "0.5"}]
    rig.publish(clock="replay", experiment=rig.experiment(mode="Replay", t0=T0.isoformat(), blocks=blocks))
    await rig.seen()
    listener = await psycopg.AsyncConnection.connect(rig.dsn, autocommit=True)
    await listener.execute("LISTEN tradewind")
    before = (await gateway.post("/v1/decisions", json=ask("early", as_of=at(-1)))).json()
    assert (before["_arm"], before["_model_used"]) == (None, "api")
    inside = (await gateway.post("/v1/decisions", json=ask("d1", as_of=at(1)))).json()
    assert (inside["_arm"], inside["_epoch"]) == (draw_arm("exp-1", "d1", 0.5), 3)
    for _ in range(3):
        waiting = await gateway.post("/v1/decisions", json=ask("d2", as_of=at(25)))
        assert (waiting.status_code, waiting.headers["retry-after"]) == (425, "1")  # whole seconds, or clients fail
        assert waiting.json()["error"]["retry_after_seconds"] == 0.2
    assert [r["as_of"] for r in await rig.rows("SELECT as_of FROM tradewind.replay_clock")] == [
        T0 + timedelta(hours=25)
    ]
    assert {r["decision_id"] for r in await rig.rows()} == {"early", "d1"}
    heard = [n.payload async for n in listener.notifies(timeout=0.5, stop_after=9)]
    assert 2 <= len(heard) <= 3  # into block 0, into block 1 (the repetitions within a second are silent)
    assert set(heard) == {"ns/trader"}
    blocks.append({"block": 1, "epoch": 4, "candidateWeight": "1"})
    rig.publish(experiment=rig.experiment(mode="Replay", t0=T0.isoformat(), blocks=blocks), expiresAt=T0.isoformat())
    await rig.seen()
    answered = (await gateway.post("/v1/decisions", json=ask("d2", as_of=at(25)))).json()
    assert (answered["_arm"], answered["_epoch"]) == ("candidate", 4)  # published blocks do not expire
    row = await rig.row("d2")
    assert (row["decided_at"], row["block"], row["replay"]) == (T0 + timedelta(hours=25), 1, True)
    late = (await gateway.post("/v1/decisions", json=ask("late", as_of=at(2)))).json()
    assert late["_epoch"] == 3
    clock = await rig.rows("SELECT as_of FROM tradewind.replay_clock")
    assert clock[0]["as_of"] == T0 + timedelta(hours=25)  # never back
    await listener.close()


async def test_nothing_later_than_as_of_is_shown(rig, gateway):
    rig.publish(clock="replay", champion="v1")
    await rig.seen()
    await rig.trade(gateway, "d1", "p1", as_of=at(1))
    await rig.close(gateway, "d1", closed_at=at(5))
    await gateway.post("/v1/decisions", json=ask("d2", as_of=at(8)))
    history = {}
    for name, hour in (("q0", 0.5), ("q3", 3), ("q6", 6), ("q9", 9)):
        await gateway.post("/v1/decisions", json=ask(name, as_of=at(hour)))
        shown = rig.arms["v1"].seen[-1]["instances"][0]["recent_history"]
        history[name] = [(h["timestamp"][11:16], h["result"] is not None) for h in shown]
    assert history == {
        "q0": [],
        "q3": [("00:30", False), ("01:00", False)],  # the position is still open at 3:00, whatever is known by now
        "q6": [("00:30", False), ("01:00", True), ("03:00", False)],
        "q9": [("03:00", False), ("06:00", False), ("08:00", False)],
    }


async def test_the_draw_does_not_depend_on_order_or_replica(rig, gateway):
    blocks = [{"block": b, "epoch": b + 1, "candidateWeight": "0.5"} for b in range(3)]
    rig.publish(clock="replay", experiment=rig.experiment(mode="Replay", t0=T0.isoformat(), blocks=blocks))
    await rig.seen()
    twin = await rig.gateway(replica="r1")
    await asyncio.gather(
        *((gateway, twin)[n % 2].post("/v1/decisions", json=ask(f"d{n}", as_of=at(70 - n))) for n in range(30))
    )
    rows = await rig.rows()
    assert {r["decision_id"]: r["arm"] for r in rows} == {f"d{n}": draw_arm("exp-1", f"d{n}", 0.5) for n in range(30)}
    assert all(r["epoch"] == r["block"] + 1 for r in rows)


@pytest.mark.parametrize("as_of", ["0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "1899-12-31T23:59:59Z"])
async def test_a_time_before_any_market_is_refused_before_it_is_stored(rig, gateway, as_of):
    """Seen: the database took a time of the year 1 BC, and each later look at the row failed."""
    rig.publish(clock="replay", champion="v1")
    await rig.seen()
    response = await gateway.post("/v1/decisions", json=ask("d1", as_of=as_of))
    assert (response.status_code, response.json()["error"]["field"]) == (422, "as_of"), response.text
    assert await rig.rows() == []
