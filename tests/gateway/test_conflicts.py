"""Two replicas, one of them without the database, answer one id: both answers are kept, and a real position is known."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from gateway_rig import HOLD, OPEN, Rig, ask, cut_off, until

from tradewind.gateway.conflicts import same_act
from tradewind.shell.database import Database
from tradewind.trading.assignment import Arm, draw_arm

SHORT = OPEN | {"action": "open_short"}


def drawn_for(arm: Arm) -> str:
    return next(name for name in (f"d{n}" for n in range(1000)) if draw_arm("exp-1", name, 0.5) is arm)


async def taken_in(rig: Rig) -> httpx.AsyncClient:
    """The replica reaches the database again."""
    client = await rig.gateway(spool_dir=rig.folder / "other", replica="other")
    gateway = client.app.state.gateway  # type: ignore[attr-defined]
    await until(lambda: not gateway.spool.pending and not (rig.folder / "other" / "decisions.ingesting.jsonl").exists())
    return client


async def answered_twice(rig: Rig, stored: dict[str, Any], other: dict[str, Any], name: str = "d") -> httpx.AsyncClient:
    """The same id, asked at a replica and at one that is cut off."""
    gateway = await rig.gateway()
    rig.arms["api"].answer = dict(stored)
    first = await gateway.post("/v1/decisions", json=ask(name))
    assert (first.status_code, first.json()["action"]) == (200, stored["action"])
    rig.arms["api"].answer = dict(other)
    async with cut_off(rig) as away:
        second = await away.post("/v1/decisions", json=ask(name))
        assert (second.status_code, second.json()["action"]) == (200, other["action"])
    return await taken_in(rig)


def opened(**extra: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"status": "opened", "opened_at": now, "filled_notional_usd": 118.5, "position_id": "p1"} | extra


async def test_the_answer_that_the_database_lacks_is_kept_barred_and_reportable(rig: Rig) -> None:
    rig.publish(experiment=rig.experiment(candidateWeight="0.5"))
    gateway = await rig.gateway()
    await rig.seen()
    name = drawn_for(Arm.CANDIDATE)
    asked, freed = asyncio.Event(), asyncio.Event()

    async def slow(_: dict[str, Any]) -> None:
        asked.set()
        while not freed.is_set():  # noqa: ASYNC110 - of another loop
            await asyncio.sleep(0.01)

    rig.arms["v1"].answer, rig.arms["v1"].behave = dict(HOLD), slow
    first = asyncio.create_task(gateway.post("/v1/decisions", json=ask(name)))
    await until(asked.is_set)
    async with cut_off(rig) as away:  # the client gave up on the first replica, and asks another one
        got = (await away.post("/v1/decisions", json=ask(name))).json()
        assert (got["action"], got["_model_used"], got["_arm"]) == ("open_long", "api", None)
        again = (await away.post("/v1/decisions", json=ask(name))).json()  # a repetition is no second answer
        assert again == got
    freed.set()
    assert (await first).json()["action"] == "hold"
    other = await taken_in(rig)

    row = await rig.row(name)
    assert (row["answer"]["action"], row["answered_by"], row["arm"]) == ("hold", "v1", "candidate")
    assert (row["bar_from_evidence"], row["holding"], row["position_action"]) == (
        "conflicting_answers",
        True,
        "open_long",
    )
    kept = await rig.rows("SELECT * FROM tradewind.conflicting_answers")
    assert [(k["answer"]["action"], k["answered_by"]) for k in kept] == [("open_long", "api")]
    assert not await rig.rows("SELECT * FROM tradewind.judged_rows WHERE decision_id = %s", name)
    lost = await rig.rows("SELECT reason FROM tradewind.lost_decisions WHERE decision_id = %s", name)
    assert [row["reason"] for row in lost] == ["conflict"]
    metrics = (await other.get("/metrics")).text
    assert "tradewind_conflicting_answers_total 1.0" in metrics
    assert 'tradewind_lost_decisions_total{reason="conflict"} 1.0' in metrics

    listed = (await gateway.get("/v1/decisions", params={"state": "unreported"})).json()["decisions"]
    assert [d["decision_id"] for d in listed] == [name]
    report = await gateway.post(f"/v1/decisions/{name}/execution", json=opened())
    assert report.status_code == 200, report.text
    told = (await gateway.get(f"/v1/decisions/{name}")).json()
    assert (told["position"]["side"], told["answer"]["action"]) == ("long", "hold")
    assert [(a["answer"]["action"], a["_model_used"]) for a in told["conflicting_answers"]] == [("open_long", "api")]
    assert (await rig.close(gateway, name)).status_code == 200
    assert (await gateway.get("/v1/performance")).json()["versions"] == {}  # it is no version's trade
    assert not await rig.rows("SELECT * FROM tradewind.training_data WHERE decision_id = %s", name)
    async with Database(rig.dsn, "tradewind") as database:
        found = (await database.of_endpoint("ns", "trader", None, ())).conflicts
        assert found is not None
        assert (found.decisions, found.unreported, found.newest) == (1, 0, name)
        stored = await database.evidence("ns", "trader", "exp-1", datetime(2026, 1, 1, tzinfo=UTC))
        assert stored.lost.decision_id.tolist() == [name]


async def test_the_next_question_of_the_scope_continues_the_position_of_the_other_answer(rig: Rig) -> None:
    client = await answered_twice(rig, HOLD, OPEN)
    account = ask()["account_state"] | {"positions": [{"position_id": "p1", "symbol": "BTC", "size": 1}]}
    assert (await client.post("/v1/decisions/d/execution", json=opened())).status_code == 200
    rig.arms["api"].answer = dict(OPEN)
    follow_up = await client.post("/v1/decisions", json=ask("e", account_state=account))
    assert follow_up.status_code == 200
    row = await rig.row("e")
    assert (row["parent_decision_id"], row["flipped_from"]) == ("d", None)  # more of the same, and no flip of a hold


async def test_a_side_tells_which_of_two_openings_a_position_is_of(rig: Rig) -> None:
    client = await answered_twice(rig, OPEN, SHORT)
    told = await client.post("/v1/decisions/d/execution", json=opened(side="short"))
    assert told.status_code == 200, told.text
    assert (await rig.row("d"))["position_action"] == "open_short"
    assert (await client.get("/v1/decisions/d")).json()["position"]["side"] == "short"
    now = datetime.now(UTC).isoformat()
    void = {"decision_id": "d", "event": "void", "target": "execution", "by": "me", "why": "mistaken", "at": now}
    assert (await client.post("/v1/reports", json=void)).status_code == 200
    event = {
        "decision_id": "d",
        "event": "open",
        "position_id": "p2",
        "price": 100,
        "quantity": 1,
        "side": "short",
        "at": now,
    }
    assert (await client.post("/v1/reports", json=event)).status_code == 200
    close = {"decision_id": "d", "event": "close", "price": 90, "at": datetime.now(UTC).isoformat()}
    assert (await client.post("/v1/reports", json=close)).status_code == 200
    assert (await client.get("/v1/decisions/d")).json()["outcome"]["pnl"] == 10  # a short one earned


async def test_without_a_side_nobody_guesses_what_prices_earned(rig: Rig) -> None:
    client = await answered_twice(rig, OPEN, SHORT)
    now = datetime.now(UTC).isoformat()
    event = {"decision_id": "d", "event": "open", "position_id": "p1", "price": 100, "quantity": 1, "at": now}
    assert (await client.post("/v1/reports", json=event)).status_code == 200
    close = {"decision_id": "d", "event": "close", "price": 90, "at": datetime.now(UTC).isoformat()}
    assert (await client.post("/v1/reports", json=close)).status_code == 200
    told = (await client.get("/v1/decisions/d")).json()
    assert (told["position"]["side"], told["outcome"]) == (None, None)
    row = await rig.row("d")
    assert (row["released_by"], row["position_action"]) == ("unpriced", None)


async def test_a_side_that_nobody_answered_is_refused(rig: Rig, gateway: httpx.AsyncClient) -> None:
    assert (await gateway.post("/v1/decisions", json=ask("d"))).json()["action"] == "open_long"
    refused = await gateway.post("/v1/decisions/d/execution", json=opened(side="short"))
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["field"]) == (422, "out_of_bounds", "side")
    assert (await gateway.post("/v1/decisions/d/execution", json=opened(side="long"))).status_code == 200


async def test_an_answer_beside_a_decision_that_failed_is_reportable(rig: Rig) -> None:
    rig.arms["api"].status(500)
    rig.arms["safe"].status(500)
    gateway = await rig.gateway()
    failed = await gateway.post("/v1/decisions", json=ask("d"))
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "no_answer")
    rig.arms["api"].behave = rig.arms["safe"].behave = None
    async with cut_off(rig) as away:
        assert (await away.post("/v1/decisions", json=ask("d"))).json()["action"] == "open_long"
    client = await taken_in(rig)
    assert (await rig.row("d"))["bar_from_evidence"] == "conflicting_answers"
    assert (await client.post("/v1/decisions/d/execution", json=opened())).status_code == 200
    assert (await rig.close(client, "d")).status_code == 200


async def test_the_same_answer_twice_is_no_conflict_and_no_evidence(rig: Rig) -> None:
    """Else whether the arms agree would decide what is evidence."""
    await answered_twice(rig, OPEN, OPEN | {"reasoning": "other words", "confidence": 0.1})
    assert not await rig.rows("SELECT * FROM tradewind.conflicting_answers")
    assert (await rig.row("d"))["bar_from_evidence"] == "database_outage"


async def test_a_spool_that_is_taken_in_twice_is_one_conflict(rig: Rig) -> None:
    gateway = await rig.gateway()
    rig.arms["api"].answer = dict(HOLD)
    assert (await gateway.post("/v1/decisions", json=ask("d"))).status_code == 200
    rig.arms["api"].answer = dict(OPEN)
    async with cut_off(rig) as away:
        assert (await away.post("/v1/decisions", json=ask("d"))).status_code == 200
        assert (await away.post("/v1/decisions", json=ask("alone"))).status_code == 200
    file = rig.folder / "other" / "decisions.jsonl"
    content = file.read_bytes()
    assert len(content.splitlines()) == 2
    file.write_bytes(content + content)  # it died after it was taken in, and before the file was deleted
    client = await taken_in(rig)
    assert len(await rig.rows("SELECT * FROM tradewind.conflicting_answers")) == 1
    assert "tradewind_conflicting_answers_total 1.0" in (await client.get("/metrics")).text
    assert (await rig.row("alone"))["bar_from_evidence"] == "database_outage"


async def test_a_record_of_the_very_answer_that_was_stored_leaves_it_evidence(
    rig: Rig, gateway: httpx.AsyncClient
) -> None:
    """The write was heard of by nobody, so that the answer was spooled, too."""
    assert (await gateway.post("/v1/decisions", json=ask("d"))).status_code == 200
    row = await rig.row("d")
    record = {
        name: row[name]
        for name in (
            "state", "answered_by", "answer", "probabilities", "latency_ms", "fallback", "error_kind", "error_detail",
            "reported_model", "shown", "decision_id", "position_id",
        )
    }  # fmt: skip
    record |= {
        "cost_cny": None, "request_hash": row["request_hash"].hex(), "request": row["request"], "symbol": "BTC", "book": "",
        "version": "api", "sha256": None, "decided_at": row["decided_at"].isoformat(),
    }  # fmt: skip
    (rig.folder / "other").mkdir()
    (rig.folder / "other" / "decisions.jsonl").write_text(json.dumps(record) + "\n")
    await taken_in(rig)
    assert (await rig.row("d"))["bar_from_evidence"] is None
    assert not await rig.rows("SELECT * FROM tradewind.conflicting_answers")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (OPEN | {"reasoning": "x", "confidence": 0.2}, True),
        (OPEN | {"size_usd": 60}, True),
        (OPEN | {"size_usd": 61.0}, False),
        (OPEN | {"stop_loss_pct": 0.03}, False),
        (OPEN | {"leverage": 3}, False),
        (SHORT, False),
        (HOLD, False),
    ],
)
def test_answers_are_the_same_if_a_trading_system_does_the_same(other: dict[str, Any], *, same: bool) -> None:
    assert same_act(OPEN, other) is same
    assert same_act(HOLD, HOLD | {"leverage": 3, "stop_loss_pct": 0.1})
