"""Who holds a scope, until when, and what a question in it becomes."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gateway_rig import HOLD, OPEN, ask

from tradewind.trading.assignment import draw_arm

SHORT = OPEN | {"action": "open_short"}
CLOSE = HOLD | {"action": "close"}
FLAT: dict[str, Any] = {"account_state": {"balance": 600, "positions": [], "permission_level": "L2"}}
SILENT: dict[str, Any] = {"account_state": {"balance": 600, "permission_level": "L2"}}


def stating(*positions: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"account_state": {"balance": 600, "positions": list(positions), "permission_level": "L2"} | extra}


def ago(**length: float) -> str:
    return (datetime.now(UTC) - timedelta(**length)).isoformat()


async def question(gateway, decision_id: str, **extra: Any) -> dict[str, Any]:
    response = await gateway.post("/v1/decisions", json=ask(decision_id, **extra))
    assert response.status_code == 200, response.text
    return response.json()


async def opened(gateway, decision_id: str, position: Any, **extra: Any) -> tuple[int, dict[str, Any]]:
    report = {"status": "opened", "opened_at": ago(), "filled_notional_usd": 118.5, "position_id": position}
    response = await gateway.post(f"/v1/decisions/{decision_id}/execution", json=report | extra)
    return response.status_code, response.json()


async def experiment(rig, **document: Any) -> None:
    expires = (datetime.now(UTC) + timedelta(minutes=10)).isoformat()
    rig.publish(experiment=rig.experiment(), expiresAt=expires, **document)
    await rig.seen()


def drawn(arm: str, prefix: str) -> str:
    """An id that is drawn for the arm."""
    return next(name for n in range(99) if draw_arm("exp-1", name := f"{prefix}{n}", 0.5) == arm)


def answers(rig, **by_arm: dict[str, Any]) -> None:
    for name, answer in by_arm.items():
        rig.arms[name].answer = dict(answer)


async def lost(rig) -> dict[str, str]:
    return {r["decision_id"]: r["reason"] for r in await rig.rows("SELECT * FROM tradewind.lost_decisions")}


async def judged(rig) -> dict[str, Any]:
    return {r["decision_id"]: r for r in await rig.rows("SELECT * FROM tradewind.judged_rows")}


async def test_a_ghost_holds_nothing_once_a_request_says_so(rig, gateway) -> None:
    await experiment(rig)
    for n in range(30):  # never reported, or liquidated and not reported: each is a draw of its own
        await question(gateway, f"d{n}", **FLAT)
        if n % 2:
            assert (await opened(gateway, f"d{n}", "BTC"))[0] == 200  # a netting id, each time the same
    rows = await rig.rows()
    assert {r["parent_decision_id"] for r in rows} == {None}
    assert {r["decision_id"]: r["arm"] for r in rows} == {f"d{n}": draw_arm("exp-1", f"d{n}", 0.5) for n in range(30)}
    assert [r["released_by"] for r in rows] == ["stated"] * 29 + [None]
    assert len(await judged(rig)) == 30
    late = await rig.close(gateway, "d7", pnl=1.5)  # the late report still finds its decision
    assert late.status_code == 200
    assert (await judged(rig))["d7"]["pnl_usd"] == 1.5


@pytest.mark.parametrize(
    ("positions", "free"),
    [
        ([{"position_id": 17, "symbol": "BTCUSDT", "size": 1}], False),
        ([{"symbol": "btc", "positionAmt": "-0.5"}], False),
        ([{"size": 2}], False),
        ([{"symbol": "BTC/USDT:USDT", "contracts": 0}], True),
        ([{"symbol": "ETH", "size": 3}], True),
        ([{"symbol": "BTC", "book": "b", "size": 3}], True),
        ([{"symbol": "BTC", "status": "closed"}], True),
        ({"BTC": {"szi": "0.5"}}, False),
        ({"ETH": {"szi": "0.5"}}, True),
        ({}, True),
        (None, False),
    ],
)
async def test_what_a_statement_says_of_a_scope(rig, gateway, positions, free) -> None:
    await question(gateway, "d1")
    await opened(gateway, "d1", 17)
    answers(rig, api=HOLD)
    await question(gateway, "d2", account_state={"permission_level": "L2", "positions": positions})
    assert (await rig.row("d2"))["parent_decision_id"] == (None if free else "d1")


async def test_a_statement_of_before_the_opening_frees_nothing(rig, gateway) -> None:
    await question(gateway, "d1")
    await opened(gateway, "d1", "p1")
    answers(rig, api=HOLD)
    await question(gateway, "d2", **stating(positions_at=ago(minutes=5)))
    assert (await rig.row("d2"))["parent_decision_id"] == "d1"
    wrong = await gateway.post("/v1/decisions", json=ask("d3", **stating(positions_at="yesterday")))
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "account_state.positions_at")


async def test_what_opened_after_the_statement_was_not_in_it(rig, gateway) -> None:
    """The question that frees the scope brings a statement that is older than a fill which is reported later."""
    await question(gateway, "d1")
    await rig.rows(
        "UPDATE tradewind.decisions SET held_since = now() - interval '1 hour', decided_at = decided_at - interval '1 hour'"
    )
    answers(rig, api=HOLD)
    await question(gateway, "d2", **stating(positions_at=ago(minutes=30)))
    row = await rig.row("d1")
    assert (row["holding"], row["released_by"]) == (False, "stated")
    await opened(gateway, "d1", "p1", opened_at=ago(minutes=20))
    assert (await rig.row("d1"))["holding"]
    await question(gateway, "d3", **stating({"position_id": "p1", "size": 1}))
    assert (await rig.row("d3"))["parent_decision_id"] == "d1"


async def test_max_hold_frees_a_scope(rig, gateway) -> None:
    rig.publish(maxHoldSeconds=3600)
    await rig.seen()
    await question(gateway, "d1")
    await rig.rows("UPDATE tradewind.decisions SET decided_at = decided_at - interval '61 minutes'")
    await question(gateway, "d2", **stating({"symbol": "BTC", "size": 1}))
    assert (await rig.row("d1"))["released_by"] == "max_hold"
    assert (await rig.row("d2"))["parent_decision_id"] is None


async def test_long_short_long_is_three_draws(rig, gateway) -> None:
    await experiment(rig)
    trades = [drawn(arm, f"{n}-") for n, arm in enumerate(("baseline", "candidate", "baseline", "candidate"))]
    for n, name in enumerate(trades):
        action = SHORT if n % 2 else OPEN
        answers(rig, api=action, v1=action)
        position = {"position_id": "BTC", "symbol": "BTC", "size": 1}
        answer = await question(gateway, name, **(stating(position) if n else FLAT))
        assert (answer["_arm"], answer.get("_flipped")) == (draw_arm("exp-1", name, 0.5), trades[n - 1] if n else None)
        if n:
            assert (await rig.close(gateway, trades[n - 1], pnl=float(n))).status_code == 200
        assert (await opened(gateway, name, "BTC"))[0] == 200
    rows = await judged(rig)
    assert [rows[name]["pnl_usd"] for name in trades] == [1.0, 2.0, 3.0, None]
    assert await lost(rig) == {}
    # The arm that was drawn for the next position was asked as if flat.
    assert rig.arms["v1"].seen[-1]["instances"][0]["account_state"]["positions"] == []


async def test_a_flip_that_is_answered_by_hold_closes(rig, gateway) -> None:
    await experiment(rig)
    first, second = drawn("baseline", "a"), drawn("candidate", "b")
    await question(gateway, first)
    await opened(gateway, first, "p1")
    answers(rig, api=SHORT, v1=HOLD)
    body = ask(second, **stating({"position_id": "p1"}))
    answer = (await gateway.post("/v1/decisions", json=body)).json()
    assert (answer["action"], answer["_flipped"], answer["_arm"]) == ("close", first, "candidate")
    assert (await gateway.post("/v1/decisions", json=body)).json() == answer
    row = await rig.row(second)
    assert (row["answer"]["action"], row["holding"], row["parent_decision_id"]) == ("hold", False, None)
    wrong = await rig.close(gateway, second)
    assert (wrong.status_code, wrong.json()["error"]["remedy"]) == (
        409,
        f"report the outcome of {first}, whose position it ended",
    )
    assert (await judged(rig))[second]["status"] == "hold"


async def test_flips_may_be_refused(rig, gateway) -> None:
    rig.publish(flips="refuse")
    await rig.seen()
    await question(gateway, "d1")
    await opened(gateway, "d1", "p1")
    answers(rig, api=SHORT)
    answer = await question(gateway, "d2", **stating({"position_id": "p1"}))
    assert (answer["action"], answer["_fallback"], "_flipped" in answer) == ("hold", True, False)
    row = await rig.row("d2")
    assert (row["error_kind"], row["parent_decision_id"]) == ("invalid_decision", "d1")
    answers(rig, api=OPEN)  # more of the same is no flip
    assert (await question(gateway, "d3", **stating({"position_id": "p1"})))["action"] == "open_long"
    assert (await rig.row("d1"))["holding"]


@pytest.mark.parametrize(("said", "flips"), [(SILENT, True), (stating({"symbol": "BTC", "size": 1}), False)])
async def test_the_same_direction_again(rig, gateway, said, flips) -> None:
    await question(gateway, "d1")
    await opened(gateway, "d1", "p1")
    answer = await question(gateway, "d2", **said)
    assert answer.get("_flipped") == ("d1" if flips else None)
    named = await question(gateway, "d3", position_id="p1", **SILENT)
    assert "_flipped" not in named


async def test_two_questions_at_once_are_answered_one_after_the_other(rig, gateway) -> None:
    twin = await rig.gateway(replica="r1")
    rig.arms["api"].sleeps(0.2)
    for round_ in range(3):
        said = {"scope": {"symbol": "BTC", "book": f"b{round_}"}}
        posts = [
            client.post("/v1/decisions", json=ask(f"r{round_}-{n}", **said))
            for n, client in enumerate((gateway, twin, gateway, twin))
        ]
        results = await asyncio.gather(*posts)
        assert sorted(r.status_code for r in results) == [200, 409, 409, 409]
        for refused in (r for r in results if r.status_code == 409):
            assert refused.json()["error"]["code"] == "scope_busy"
            assert int(refused.headers["retry-after"]) >= 1
    rows = await rig.rows()
    assert len(rows) == 3  # who is refused leaves no row, and may ask again with the same id
    assert all(row["holding"] for row in rows)


async def test_two_at_once_that_hold_are_both_answered(rig, gateway) -> None:
    answers(rig, api=HOLD)
    rig.arms["api"].sleeps(0.1)
    results = await asyncio.gather(*(gateway.post("/v1/decisions", json=ask(f"d{n}")) for n in range(4)))
    assert [r.status_code for r in results] == [200] * 4
    other = {"scope": {"symbol": "BTC", "book": "b"}}  # another book waits for nobody
    rig.arms["api"].sleeps(0.3)
    both = await asyncio.gather(question(gateway, "x"), question(gateway, "y", **other))
    assert {answer["action"] for answer in both} == {"hold"}


async def test_a_close_without_a_known_result_frees_the_scope_and_is_counted(rig, gateway) -> None:
    await experiment(rig)
    await question(gateway, "d1")
    await opened(gateway, "d1", "p1")
    closed = await rig.close(gateway, "d1", pnl=None)
    assert (closed.status_code, closed.json()["label"]) == (200, None)
    row = await rig.row("d1")
    assert (row["holding"], row["released_by"]) == (False, "unpriced")
    assert await lost(rig) == {"d1": "no_price"}
    await question(gateway, "d2", **SILENT)
    assert (await rig.row("d2"))["parent_decision_id"] is None
    priced = await rig.close(gateway, "d1", pnl=2.5)  # and the price may come later
    assert priced.json()["label"] == "good_decision"
    assert await lost(rig) == {}
    assert (await judged(rig))["d1"]["pnl_usd"] == 2.5


async def test_nothing_is_lost_in_silence(rig, gateway) -> None:
    await experiment(rig)
    await question(gateway, "d1")
    await opened(gateway, "d1", "p1")
    answers(rig, api=CLOSE, v1=CLOSE)
    await question(gateway, "f1", position_id="p1")
    answers(rig, api=OPEN, v1=OPEN)
    await question(gateway, "f2", position_id="p1")
    await opened(gateway, "f2", "p2")  # a position of its own, inside another
    refused = await gateway.post("/v1/decisions/d1/outcome", json={"closed_at": ago(hours=9), "pnl": 1})
    assert refused.json()["error"]["code"] == "time_before_decision"
    assert await lost(rig) == {"f1": "follow_up", "f2": "opened_inside", "d1": "refused"}
    await rig.close(gateway, "d1")
    assert await lost(rig) == {"f1": "follow_up", "f2": "opened_inside"}


async def test_a_netting_id_shows_no_arm_the_others_position(rig, gateway) -> None:
    """The id was the baseline's; now it is the candidate's, whose fill is not reported yet."""
    await experiment(rig)
    mine, theirs, elsewhere = drawn("baseline", "a"), drawn("candidate", "b"), drawn("baseline", "c")
    await question(gateway, mine, **FLAT)
    await opened(gateway, mine, "BTC")
    await rig.close(gateway, mine)
    await question(gateway, theirs, **FLAT)
    said = stating({"position_id": "BTC", "symbol": "BTC", "size": 1}, {"id": None, "trade_id": 17, "symbol": "BTC"})
    answers(rig, api=HOLD)
    await question(gateway, elsewhere, scope={"symbol": "BTC", "book": "b"}, **said)
    assert (await rig.row(elsewhere))["shown"]["account_state"]["positions"] == []
