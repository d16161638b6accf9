"""Reports as events: fills, partial exits, corrections and voids, by decision or position, one or many, in every form."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gateway_rig import OPEN, ask

from tradewind.trading.assignment import draw_arm


def at(**ahead: float) -> str:
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


def event(kind: str, decision_id: str | None = "d1", **fields: Any) -> dict[str, Any]:
    ids = {} if decision_id is None else {"decision_id": decision_id}
    return {**ids, "event": kind, "at": at(), **fields}


def opening(decision_id: str = "d1", **fields: Any) -> dict[str, Any]:
    return event("open", decision_id, **({"position_id": 17, "notional_usd": 118.5} | fields))


async def report(gateway, body: Any, code: int = 200) -> dict[str, Any]:
    response = await gateway.post("/v1/reports", json=body)
    assert response.status_code == code, response.text
    return response.json()


async def outcome(rig, decision_id: str = "d1") -> dict[str, Any]:
    return (await rig.rows("SELECT * FROM tradewind.outcomes WHERE decision_id = %s", decision_id))[0]


@pytest.fixture
async def asked(rig, gateway):
    """d1 is answered with an opening of 120 USD."""
    expires = (datetime.now(UTC) + timedelta(minutes=10)).isoformat()
    rig.publish(experiment=rig.experiment(), expiresAt=expires)
    await rig.seen()
    await gateway.post("/v1/decisions", json=ask("d1"))
    return gateway


async def test_fills_partial_exits_and_cash_flows(rig, asked) -> None:
    await report(asked, opening(price=100, quantity=0.6, notional_usd=None, fees={"cost": 0.02, "currency": "USDT"}))
    await report(asked, event("add", price=110, quantity=0.4, fees=[{"amount": "0.01", "asset": "USDC"}]))
    await report(asked, event("reduce", None, position_id="17", price=120, quantity=0.5))
    await report(asked, event("cash_flow", amount_usd="-0.25 USDT"))
    execution = (await rig.rows("SELECT * FROM tradewind.executions"))[0]
    assert (execution["position_id"], float(execution["filled_notional_usd"])) == ("17", 104.0)
    done = await report(asked, event("close", price=130, fees=-0.05, exit_reason=None))
    # 52 * (120/104 - 1) - 0.015, 52 * (130/104 - 1) - 0.015 + 0.05, and the funding
    assert float((await outcome(rig))["pnl_usd"]) == pytest.approx(8 - 0.015 + 13 - 0.015 + 0.05 - 0.25)
    assert done["label"] == "excellent_decision"
    stored = await outcome(rig)
    assert stored["exit_reason"] == "unspecified"
    assert float(stored["fees_usd"]) == pytest.approx(-0.02)
    await report(asked, event("cash_flow", amount_usd=0.1))  # a rebate that comes after the close
    stored = await outcome(rig)
    assert float(stored["pnl_usd"]) == pytest.approx(20.77 + 0.1)
    assert float(stored["first_pnl_usd"]) == pytest.approx(20.77)


async def test_a_position_that_is_used_up_is_closed(rig, asked) -> None:
    await report(asked, opening(price=100, quantity=1, notional_usd=None))
    await report(asked, event("reduce", price=101, quantity=0.4))
    await report(asked, event("reduce", price=102, quantity=0.6))
    row = await rig.row("d1")
    assert (row["holding"], row["released_by"]) == (False, "closed")
    assert float((await outcome(rig))["pnl_usd"]) == pytest.approx(0.4 + 1.2)
    refused = await report(asked, event("add", notional_usd=1), 409)
    assert (refused["error"]["code"], refused["error"]["field"]) == ("position_closed", "event")


async def test_filled_so_far_after_a_partial_exit(rig, asked) -> None:
    body = {"status": "opened", "opened_at": at(), "filled_notional_usd": 60, "position_id": 17}
    for filled, exposure in ((60, 60), (100, 100), (100, 100)):
        body |= {"filled_notional_usd": filled, "opened_at": body["opened_at"] if filled == 60 else at()}
        answer = await asked.post("/v1/decisions/d1/execution", json=body)
        assert answer.status_code == 200 or (filled, answer.json()["error"]["code"]) == (100, "execution_differs")
        assert float((await rig.rows("SELECT * FROM tradewind.executions"))[0]["filled_notional_usd"]) == exposure
    await report(asked, event("reduce", notional_usd=50, pnl=1))
    answer = await asked.post("/v1/decisions/d1/execution", json=body | {"filled_notional_usd": 120, "opened_at": at()})
    assert answer.status_code == 200
    events = await rig.rows("SELECT kind, body FROM tradewind.events ORDER BY number")
    assert [e["body"].get("notional_usd") for e in events] == ["60", "40", "50", "20"]


async def test_a_follow_ups_fill_grows_the_position_once(rig, asked) -> None:
    await report(asked, opening())
    await asked.post("/v1/decisions", json=ask("d2", position_id="17"))
    fill = {"status": "opened", "opened_at": at(), "filled_notional_usd": 80, "position_id": 17}
    for _ in range(3):
        assert (await asked.post("/v1/decisions/d2/execution", json=fill)).status_code == 200
    (execution,) = await rig.rows("SELECT * FROM tradewind.executions")
    assert (execution["decision_id"], float(execution["filled_notional_usd"])) == ("d1", 198.5)
    await report(asked, event("close", total_pnl=2))
    assert (await asked.post("/v1/decisions/d2/execution", json=fill)).status_code == 200  # doubled, and late
    late = await asked.post("/v1/decisions/d2/execution", json=fill | {"filled_notional_usd": 81})
    assert late.json()["error"]["code"] == "position_closed"
    assert len(await rig.rows("SELECT * FROM tradewind.executions")) == 1
    assert not (await rig.row("d2"))["holding"]


async def test_a_correction_follows_in_labels_and_not_in_the_evidence(rig, asked) -> None:
    await report(asked, opening())
    await report(asked, event("close", total_pnl=3.5, event_id="x1"))
    why = {"by": "ann", "why": "fees were counted twice"}
    fixed = await report(asked, event("correct", target="outcome", total_pnl=-5, **why))
    assert fixed["label"] == "bad_decision"
    data = (await rig.rows("SELECT data, label, status FROM tradewind.training_data"))[0]
    assert (data["data"]["result"]["pnl"], data["label"]) == (-5, "bad_decision")
    (row,) = await rig.rows("SELECT * FROM tradewind.judged_rows")
    assert (row["pnl_usd"], row["corrected"], row["status"]) == (3.5, True, "closed")
    second = await asked.post("/v1/decisions/d1/outcome", json={"closed_at": at(), "pnl": 1, "exit_reason": "roi"})
    assert second.json()["label"] == "good_decision"
    told = (await asked.get("/v1/decisions/d1")).json()
    assert (told["outcome"]["corrections"], told["outcome"]["pnl"]) == (2, 1.0)
    assert [e["kind"] for e in told["events"]] == ["open", "close", "correct", "correct"]
    assert told["events"][2]["body"]["by"] == "ann"  # both are kept, with who and why
    with pytest.raises(Exception, match="append-only"):
        await rig.rows("UPDATE tradewind.events SET body = '{}'")


async def test_voids_of_close_and_open(rig, asked) -> None:
    await report(asked, opening(event_id="o1"))
    await report(asked, event("close", total_pnl=3.5, event_id="c1"))
    why = {"by": "ann", "why": "another position"}
    refused = await report(asked, event("void", target="execution", **why), 409)  # a close would stand on nothing
    assert refused["error"]["code"] == "not_opened"
    await report(asked, event("void", target="c1", **why))
    row = await rig.row("d1")
    assert (row["holding"], row["released_by"]) == (True, None)
    (data,) = await rig.rows("SELECT * FROM tradewind.training_data")
    assert (data["status"], data["label"]) == ("pending", None)
    (judged,) = await rig.rows("SELECT * FROM tradewind.judged_rows")
    assert (judged["pnl_usd"], judged["corrected"]) == (3.5, True)
    again = await report(asked, event("void", target="c1", **why), 409)
    assert again["error"]["code"] == "unknown_event"
    assert (await report(asked, event("close", total_pnl=-2, event_id="c2")))["label"] == "bad_decision"
    await report(asked, event("void", target="outcome", **why))
    await report(asked, event("void", target="o1", **why))
    assert await rig.rows("SELECT * FROM tradewind.executions") == []
    assert not (await rig.row("d1"))["holding"]
    await report(asked, opening(event_id="o2", position_id="18"))  # and it may be reported anew
    assert (await rig.row("d1"))["holding"]


async def test_a_correction_keeps_the_bounds(rig, asked) -> None:
    await report(asked, opening())
    why = {"by": "ann", "why": "unit"}
    refused = await report(asked, event("correct", target="execution", notional_usd=600, **why), 422)
    assert (refused["error"]["code"], refused["error"]["field"]) == ("out_of_bounds", "notional_usd")
    assert "maxFill" in refused["error"]["remedy"]
    await report(asked, event("correct", target="execution", notional_usd=240, **why))
    assert float((await rig.rows("SELECT * FROM tradewind.executions"))[0]["filled_notional_usd"]) == 240


async def test_a_netting_id_that_comes_back(rig, asked) -> None:
    flat = {"account_state": {"positions": [], "permission_level": "L2"}}
    by = {"decision_id": None, "position_id": "BTC"}
    await report(asked, opening(position_id="BTC", at=at(seconds=-40)))
    first = event("close", **by, total_pnl=1, event_id="close-1", at=at(seconds=-30))
    await asked.post("/v1/decisions", json=ask("d2", **flat))
    await report(asked, opening("d2", position_id="BTC", at=at(seconds=-29)))
    # The close of the older one comes last, a second before the newer one opened, and comes twice.
    for _ in range(2):
        assert (await report(asked, {k: v for k, v in first.items() if v is not None}))["decision_id"] == "d1"
    last = event("close", None, position_id="BTC", total_pnl=-1)
    assert (await report(asked, last))["decision_id"] == "d2"
    assert (await report(asked, {k: v for k, v in first.items() if v is not None}))["decision_id"] == "d1"
    assert [float((await outcome(rig, name))["pnl_usd"]) for name in ("d1", "d2")] == [1, -1]


async def test_a_reversal_at_one_time(rig, asked) -> None:
    """Candle times: the old position ends when the new one begins, and is reported after it."""
    turn = at(seconds=-20)
    await report(asked, opening(position_id="BTC", at=at(seconds=-40)))
    flip = next(n for i in range(99) if draw_arm("exp-1", n := f"r{i}", 0.5) == "baseline")
    for arm in ("api", "v1"):
        rig.arms[arm].answer = OPEN | {"action": "open_short"}
    await asked.post("/v1/decisions", json=ask(flip))
    await report(asked, opening(flip, position_id="BTC", at=turn))
    closed = await report(asked, event("close", None, position_id="BTC", total_pnl=1, at=turn))
    assert closed["decision_id"] == "d1"


async def test_a_batch_stores_what_is_right(rig, asked) -> None:
    far = event("cash_flow", amount_usd=1, at=at(hours=8))
    batch = [
        opening(),
        far,
        "no report",
        None,
        event("cash_flow", amount_usd=0.5),
        event("close", "nobody", total_pnl=1),
    ]
    for body, times in ((batch, 1), ({"reports": batch}, 2)):
        said = await report(asked, body, 422)
        assert (said["accepted"], said["refused"]) == (2, 4)
        assert [r["status"] for r in said["results"]] == [200, 422, 422, 422, 200, 404]
        kept = await rig.rows("SELECT * FROM tradewind.refused_reports ORDER BY code")
        assert [(r["code"], r["times"]) for r in kept] == [
            ("invalid_request", times), ("invalid_request", times), ("time_in_future", times), ("unknown_decision", times),
        ]  # fmt: skip
    future = next(r for r in kept if r["code"] == "time_in_future")
    assert (future["decision_id"], future["field"], json.loads(future["body"])) == ("d1", "at", far)
    kinds = [e["kind"] for e in await rig.rows("SELECT kind FROM tradewind.events ORDER BY number")]
    assert kinds == ["open", "cash_flow"]


async def test_json_lines_forms_and_the_older_shapes(rig, asked) -> None:
    lines = "\n".join(json.dumps(e) for e in (opening(), event("cash_flow", amount_usd=1)))
    answer = await asked.post("/v1/reports", content=lines + "\n\n", headers={"content-type": "application/x-ndjson"})
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    form = {
        "decision_id": "d1",
        "event": "reduce",
        "at": at(),
        "notional_usd": "20",
        "pnl": "0.5",
        "fees": "",
        "exit_reason": "",
    }
    assert (await asked.post("/v1/reports", data=form)).status_code == 200
    execution = {
        "decision_id": "d1",
        "status": "opened",
        "opened_at": at(),
        "filled_notional_usd": 150,
        "position_id": 17,
    }
    await report(asked, execution)
    closed = await asked.post(
        "/v1/reports", data={"decision_id": "d1", "closed_at": at(), "pnl": "-1.5 USDT", "fees": "0.1 USDT"}
    )
    assert (closed.status_code, closed.json()["label"]) == (200, "acceptable_loss")
    assert float((await outcome(rig))["pnl_usd"]) == -1.5
    twice = await asked.post(
        "/v1/reports", content=b"event=close&event=open", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert (twice.status_code, twice.json()["error"]["field"]) == (422, "event")
    bodies: list[Any] = [[], {"reports": []}, 7, {}, {"decision_id": "d1"}]
    for body in bodies:
        assert (await asked.post("/v1/reports", json=body)).status_code == 422, body


@pytest.mark.parametrize("words", [None, "x" * 5000, "a\0b", "\ud800", 7, {"a": [1]}, "nan", "1e9999999", "", True])
async def test_words_never_lose_the_money(rig, asked, words) -> None:
    await report(asked, opening())
    body = json.dumps(event("close", total_pnl=2, exit_reason=words, event_id="c"))
    for _ in range(2):
        answer = await asked.post("/v1/reports", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200, answer.text
    stored = await outcome(rig)
    assert (float(stored["pnl_usd"]), stored["corrections"]) == (2, 0)
    assert 1 <= len(stored["exit_reason"]) <= 1000


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"total_pnl": 1e12}, "out_of_bounds", "total_pnl"),
        ({"total_pnl": -1e6}, "out_of_bounds", "total_pnl"),
        ({"total_pnl": True}, "invalid_request", "total_pnl"),
        ({"total_pnl": "much"}, "invalid_request", "total_pnl"),
        ({"total_pnl": 10**400}, "invalid_request", "total_pnl"),
        ({"total_pnl": 1, "pnl": 1}, "invalid_request", None),
        ({"total_pnl": 1, "fees": 50}, "out_of_bounds", "fees"),
        ({"total_pnl": 1, "\ud800": 1}, "invalid_request", "\ufffd"),
        ({"total_pnl": 1, "at": at(hours=8)}, "time_in_future", "at"),
        ({"total_pnl": 1, "at": at(hours=-8)}, "time_before_decision", "at"),
        ({"total_pnl": 1, "at": "2026-01-01T00:00:00"}, "invalid_request", "at"),
    ],
)
async def test_what_cannot_be_true_is_refused_and_kept(rig, asked, fields, code, field) -> None:
    await report(asked, opening())
    body = json.dumps(event("close") | fields)
    answer = await asked.post("/v1/reports", content=body, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, code), error
    assert field is None or error["field"] == field
    assert error["remedy"]
    (kept,) = await rig.rows("SELECT * FROM tradewind.refused_reports")
    assert (kept["code"], kept["times"], kept["decision_id"]) == (code, 1, "d1")
    assert (await rig.row("d1"))["holding"]


async def test_tiny_and_huge_numbers_break_nothing(rig, asked) -> None:
    await report(asked, opening(duration_hours=10**400))
    await report(asked, event("cash_flow", amount_usd="1e-20000"))
    await report(asked, event("close", total_pnl="-1e-999999", duration_hours="long"))
    assert float((await outcome(rig))["pnl_usd"]) == 0


async def test_an_event_id_says_one_thing(rig, asked) -> None:
    await report(asked, opening(event_id=7))
    for changed in ({"notional_usd": 118}, {"at": at(seconds=1)}, {"position_id": "18"}):
        differs = await report(asked, opening(event_id="7") | changed, 409)
        assert differs["error"]["code"] == "event_differs"
