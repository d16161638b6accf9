"""Executions, outcomes, labels, the comparison and the export."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from gateway_rig import HOLD, ask

CLOSED = {"pnl": 3.5, "fees": 0.12, "duration_hours": 6, "exit_reason": "take_profit"}


def now(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def opened(**changes):
    return {"status": "opened", "opened_at": now(), "filled_notional_usd": 118.5, "position_id": "p1"} | changes


def closed(**changes):
    return CLOSED | {"closed_at": now()} | changes


async def post(gateway, path, body):
    response = await gateway.post(f"/v1/decisions/{path}", json=body)
    return response.status_code, response.json()


async def test_execution_and_outcome_are_stored_once(rig, gateway):
    await gateway.post("/v1/decisions", json=ask("d1"))
    status, error = await post(gateway, "d1/outcome", closed())
    assert (status, error["error"]["code"]) == (409, "not_opened")
    assert "status opened first" in error["error"]["remedy"]
    execution, outcome = opened(), closed()
    for path, body in (("d1/execution", execution), ("d1/outcome", outcome)):
        results = await asyncio.gather(*(post(gateway, path, body) for _ in range(8)))
        assert {status for status, _ in results} == {200}
        assert len({json.dumps(body) for _, body in results}) == 1
        assert await post(gateway, path, body) == results[0]
    assert results[0][1]["label"] == "excellent_decision"  # 3.5 of 60 USD: over 5 %
    (row,) = await rig.rows("SELECT * FROM tradewind.outcomes")
    assert (str(row["pnl_usd"]), str(row["fees_usd"]), row["corrections"]) == ("3.5", "0.12", 0)
    events = await rig.rows("SELECT kind FROM tradewind.events ORDER BY number")
    assert [event["kind"] for event in events] == ["open", "close"]
    for change in ({"filled_notional_usd": 90}, {"position_id": "p2"}, {"opened_at": now(1)}):
        status, error = await post(gateway, "d1/execution", execution | change)
        assert (status, error["error"]["code"]) == (409, "execution_differs"), change


async def test_equal_executions_at_once_are_one_and_never_a_conflict_of_positions(rig, gateway):
    """PostgreSQL sees the open position's index, too, and which one a concurrent report meets first is a race."""
    for number in range(16):
        await gateway.post("/v1/decisions", json=ask(f"d{number}", scope={"symbol": "BTC", "book": f"b{number}"}))
        report = opened(position_id=f"p{number}")
        results = await asyncio.gather(*(post(gateway, f"d{number}/execution", report) for _ in range(8)))
        assert {status for status, _ in results} == {200}, results
        differs = report | {"filled_notional_usd": 1}
        assert (await post(gateway, f"d{number}/execution", differs))[1]["error"]["code"] == "execution_differs"
    assert len(await rig.rows("SELECT * FROM tradewind.executions")) == 16


@pytest.mark.parametrize(
    ("pnl", "label"),
    [
        (3.01, "excellent_decision"),
        (3.0, "good_decision"),
        (0, "neutral"),
        (-1.79, "acceptable_loss"),
        (-1.81, "bad_decision"),
    ],
)
async def test_labels_go_by_size_usd(gateway, pnl, label):
    await gateway.post("/v1/decisions", json=ask("d1"))
    await post(gateway, "d1/execution", opened())
    assert (await post(gateway, "d1/outcome", closed(pnl=pnl)))[1]["label"] == label


async def test_thresholds_of_the_endpoint(rig, gateway):
    rig.publish(labels={"excellent": "0.01", "bad": "0.005"})
    await rig.seen()
    await gateway.post("/v1/decisions", json=ask("d1"))
    await post(gateway, "d1/execution", opened())
    assert (await post(gateway, "d1/outcome", closed(pnl=-0.5)))[1]["label"] == "bad_decision"


async def test_reports_that_do_not_fit(rig, gateway):
    assert (await post(gateway, "nope/execution", opened()))[0] == 404
    assert (await post(gateway, "nope/outcome", closed()))[0] == 404
    rig.arms["api"].answer = dict(HOLD)
    await gateway.post("/v1/decisions", json=ask("hold"))
    for path, body in (("hold/execution", opened()), ("hold/outcome", closed())):
        status, error = await post(gateway, path, body)
        assert (status, error["error"]["code"]) == (409, "hold")
    rig.arms["api"].answer = HOLD | {"action": "open_long", "size_usd": 60}
    await rig.trade(gateway, "d1", "p1")
    await gateway.post("/v1/decisions", json=ask("d2", scope={"symbol": "ETH"}))  # the arm answers BTC: fallback holds
    rig.arms["api"].answer = HOLD | {"action": "close"}
    await gateway.post("/v1/decisions", json=ask("c1", position_id="p1"))
    for path, body in (("c1/execution", opened()), ("c1/outcome", closed())):
        status, error = await post(gateway, path, body)
        assert (status, error["error"]["remedy"]) == (409, "report the outcome of d1")
    assert (await post(gateway, "c1/execution", {"status": "not_filled"}))[0] == 200
    rig.arms["api"].answer = HOLD | {"action": "open_long", "size_usd": 60}
    await gateway.post("/v1/decisions", json=ask("b1", scope={"symbol": "BTC", "book": "b"}))
    status, error = await post(gateway, "b1/execution", opened())
    assert (status, error["error"]["code"]) == (409, "position_taken")
    await post(gateway, "b1/execution", {"status": "rejected"})
    status, error = await post(gateway, "b1/outcome", closed())
    assert "rejected" in error["error"]["remedy"]
    assert (await post(gateway, "d1/outcome", closed()))[0] == 200
    await gateway.post("/v1/decisions", json=ask("d3"))
    assert (await post(gateway, "d3/execution", opened()))[0] == 200  # p1 is closed: the id may come again
    kept = await rig.rows("SELECT decision_id, code FROM tradewind.refused_reports ORDER BY received_at")
    assert [(k["decision_id"], k["code"]) for k in kept] == [
        ("nope", "unknown_decision"), ("nope", "unknown_decision"), ("hold", "hold"), ("hold", "hold"), ("c1", "close"),
        ("c1", "not_opened"), ("b1", "position_taken"), ("b1", "not_opened"),
    ]  # fmt: skip


async def test_the_operator_is_notified(rig, gateway):
    listener = await psycopg.AsyncConnection.connect(rig.dsn, autocommit=True)
    await listener.execute("LISTEN tradewind")
    await rig.trade(gateway, "d1", "p1")
    await post(gateway, "d1/outcome", closed())
    rig.arms["api"].status(500)
    rig.arms["safe"].status(500)
    await gateway.post("/v1/decisions", json=ask("d2"))
    heard = [n.payload async for n in listener.notifies(timeout=1, stop_after=3)]
    assert heard == ["ns/trader"] * 3
    await listener.close()


async def test_the_seeds_comparison(rig, gateway):
    rig.publish(experiment=rig.experiment(), champion="api")
    await rig.seen()
    empty = (await gateway.get("/v1/performance")).json()
    assert empty["arms"]["baseline"]["total_trades"] == 0
    pnls = {"api": [1.0, -2.0, 3.0], "v1": [2.0, 4.0]}
    taken = {"api": 0, "v1": 0}
    n = 0
    while any(taken[v] < len(pnls[v]) for v in pnls):
        n += 1
        version = (await gateway.post("/v1/decisions", json=ask(f"d{n}"))).json()["_model_used"]
        if taken[version] == len(pnls[version]):
            continue
        await post(gateway, f"d{n}/execution", opened(position_id=f"p{n}"))
        await post(gateway, f"d{n}/outcome", closed(pnl=pnls[version][taken[version]]))
        taken[version] += 1
    body = (await gateway.get("/v1/performance?days=7")).json()
    baseline, candidate = body["arms"]["baseline"], body["arms"]["candidate"]
    assert (baseline["version"], baseline["total_trades"], baseline["total_pnl"]) == ("api", 3, 2.0)
    assert baseline["win_rate"] == pytest.approx(2 / 3)
    assert baseline["sharpe_ratio"] == pytest.approx((2 / 3) / 6.3333333**0.5 * 252**0.5)
    assert candidate["sharpe_ratio"] == pytest.approx(3 / 2**0.5 * 252**0.5)
    assert body["comparison"] == pytest.approx(
        {
            "win_rate_diff": 1 / 3,
            "pnl_diff": 4.0,
            "sharpe_diff": candidate["sharpe_ratio"] - baseline["sharpe_ratio"],
        }
    )
    wrong = await gateway.get("/v1/performance?days=soon")
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "days")


async def test_the_seeds_export(rig, gateway):
    for n, pnl in enumerate([3.5, 1.0, 0.0, -1.0, -5.0]):
        await rig.trade(gateway, f"d{n}", f"p{n}")
        await rig.close(gateway, f"d{n}", pnl=pnl)
    await gateway.post("/v1/decisions", json=ask("pending"))
    response = await gateway.get("/v1/training-data?min_samples=10")
    points = [json.loads(line) for line in response.text.splitlines()]
    assert [p["conversation_id"] for p in points] == [
        "d4",
        "d1",
        "d0",
    ]  # newest first; neutral and small losses are left out
    assert [p["label"] for p in points] == ["bad_decision", "good_decision", "excellent_decision"]
    counts = {name: response.headers[f"x-{name}"] for name in ("total-samples", "excellent", "good", "bad")}
    assert counts == {"total-samples": "3", "excellent": "1", "good": "1", "bad": "1"}
    assert points[0]["result"] == {
        "profitable": False,
        "pnl": -5.0,
        "duration_hours": pytest.approx(0, abs=0.01),
        "exit_reason": "take_profit",
    }
    assert len((await gateway.get("/v1/training-data?min_samples=1")).text.splitlines()) == 2
