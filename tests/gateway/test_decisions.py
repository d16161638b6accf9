"""Asking for decisions: assignment, repetition, follow-ups, history, fallback."""

import asyncio
import json
import os
import signal
import socket
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi.responses import JSONResponse
from gateway_rig import HOLD, OPEN, ask, until

from tradewind.trading.assignment import draw_arm


async def test_answer_and_row_of_the_champion(rig, gateway):
    response = await gateway.post("/v1/decisions", json=ask("d1"))
    assert response.status_code == 200
    body = response.json()
    assert body.pop("_latency_ms") > 0
    assert body == {
        "decision_id": "d1", **OPEN, "_model_used": "api", "_arm": None, "_experiment": None, "_epoch": None, "_fallback": False,
    }  # fmt: skip
    row = await rig.row("d1")
    assert (row["state"], row["drawn_version"], row["answered_by"], row["arm"]) == ("answered", "api", "api", None)
    assert row["reported_model"] == "chat-7/fp_1"
    assert float(row["cost_cny"]) == 0.5
    assert row["answer"] == OPEN
    asked = rig.arms["api"].seen[0]
    assert (asked["model"], asked["temperature"], asked["response_format"]) == (
        "deepseek-chat",
        0,
        {"type": "json_object"},
    )
    assert "size_usd at most 100" in asked["messages"][0]["content"]
    assert "Symbol: BTC" in asked["messages"][1]["content"]
    assert rig.arms["api"].headers[0]["authorization"] == "Bearer sk-very-secret"


async def test_a_repetition_gets_the_same_bytes_and_another_body_422(rig, gateway):
    rig.publish(champion="v1")
    await rig.seen()
    first = await gateway.post("/v1/decisions", json=ask("d1"))
    rig.arms["v1"].answer = dict(HOLD)
    again = await gateway.post("/v1/decisions", json=ask("d1"))
    assert (again.status_code, again.content) == (200, first.content)
    assert first.json()["_probabilities"] == {"hold": 0.25, "open_long": 0.75}
    assert len(rig.arms["v1"].seen) == 1
    other = await gateway.post("/v1/decisions", json=ask("d1", scope={"symbol": "ETH"}))
    assert (other.status_code, other.json()["error"]["code"]) == (422, "decision_id_reused")


async def test_fifty_duplicates_over_two_replicas_ask_once(rig, gateway):
    twin = await rig.gateway(replica="r1")
    rig.arms["api"].sleeps(0.2)
    responses = await asyncio.gather(*((gateway, twin)[i % 2].post("/v1/decisions", json=ask("d1")) for i in range(50)))
    assert len(rig.arms["api"].seen) == 1
    assert sorted({r.status_code for r in responses}) == [200, 409]
    assert sum(r.status_code == 200 for r in responses) == 1
    assert all(r.headers["retry-after"] == "1" for r in responses if r.status_code == 409)
    later = await asyncio.gather(*((gateway, twin)[i % 2].post("/v1/decisions", json=ask("d1")) for i in range(20)))
    assert {r.content for r in later} == {next(r.content for r in responses if r.status_code == 200)}


async def test_shares_follow_the_hash_and_rows_carry_the_weight(rig, gateway):
    rig.publish(experiment=rig.experiment(candidateWeight="0.25"))
    await rig.seen()
    ids = [f"d{i}" for i in range(200)]
    for start in range(0, 200, 20):
        await asyncio.gather(
            *(
                gateway.post("/v1/decisions", json=ask(i, scope={"symbol": "BTC", "book": i}))
                for i in ids[start : start + 20]
            )
        )
    rows = await rig.rows()
    assert {r["decision_id"]: r["arm"] for r in rows} == {i: draw_arm("exp-1", i, 0.25) for i in ids}
    share = sum(r["arm"] == "candidate" for r in rows) / 200
    assert abs(share - 0.25) < 0.11  # 3.5 standard errors
    assert {(r["candidate_weight"], r["epoch"], r["block"], r["experiment_uid"]) for r in rows} == {
        (0.25, 7, 0, "exp-1")
    }
    assert len(await rig.rows("SELECT * FROM tradewind.judged_rows WHERE candidate_weight < 1")) == 200
    versions = {r["arm"]: (r["drawn_version"], r["drawn_sha256"]) for r in rows}
    assert versions == {"baseline": ("api", None), "candidate": ("v1", "ab" * 32)}


async def test_missing_id_is_generated(gateway):
    bodies = [(await gateway.post("/v1/decisions", json=ask())).json() for _ in range(2)]
    assert len({b["decision_id"] for b in bodies}) == 2


def holding(*positions):
    """An account that states these positions as open."""
    stated = [{"position_id": position, "symbol": "BTC", "side": "long"} for position in positions]
    return {"balance": 600.0, "permission_level": "L2", "positions": stated}


def candidate_id(weight: float = 0.5, arm: str = "candidate") -> str:
    return next(i for i in (f"id-{n}" for n in range(1000)) if draw_arm("exp-1", i, weight) == arm)


async def test_a_follow_up_inherits_across_weights_and_the_end_of_the_experiment(rig, gateway):
    rig.publish(experiment=rig.experiment())
    await rig.seen()
    opener = candidate_id()
    await rig.trade(gateway, opener, "p1")
    rig.publish(experiment=rig.experiment(candidateWeight="0", epoch=8))
    await rig.seen()
    named = (await gateway.post("/v1/decisions", json=ask("f1", position_id="p1"))).json()
    unnamed = (await gateway.post("/v1/decisions", json=ask("f2", account_state=holding("p1")))).json()
    elsewhere = (await gateway.post("/v1/decisions", json=ask("other", scope={"symbol": "BTC", "book": "b"}))).json()
    rig.publish(experiment=None)
    await rig.seen()
    after = (await gateway.post("/v1/decisions", json=ask("f3", account_state=holding("p1")))).json()
    for body in (named, unnamed, after):
        assert (body["_arm"], body["_epoch"], body["_model_used"], body["_experiment"]) == (
            "candidate",
            7,
            "v1",
            "exp-1",
        )
    assert (elsewhere["_arm"], elsewhere["_epoch"]) == ("baseline", 8)
    rows = {r["decision_id"]: r for r in await rig.rows()}
    assert {rows[f]["parent_decision_id"] for f in ("f1", "f2", "f3")} == {opener}
    assert {rows[f]["candidate_weight"] for f in ("f1", "f2", "f3")} == {0.5}
    evidence = [
        r["decision_id"]
        for r in await rig.rows("SELECT decision_id FROM tradewind.judged_rows WHERE candidate_weight < 1")
    ]
    assert evidence == [opener]
    assert (await rig.close(gateway, opener)).status_code == 200
    fresh = (await gateway.post("/v1/decisions", json=ask("fresh"))).json()
    assert (fresh["_arm"], fresh["_model_used"]) == (None, "api")


async def test_a_position_of_the_champion_stays_with_it_when_an_experiment_starts(rig, gateway):
    await rig.trade(gateway, "d1", "p1")
    rig.publish(experiment=rig.experiment(candidateWeight="1"))
    await rig.seen()
    body = (await gateway.post("/v1/decisions", json=ask("f1", account_state=holding("p1")))).json()
    assert (body["_arm"], body["_model_used"]) == (None, "api")


async def test_unknown_and_closed_positions_and_several_in_a_scope(rig, gateway):
    unknown = await gateway.post("/v1/decisions", json=ask("x", position_id="nope"))
    assert (unknown.status_code, unknown.json()["error"]["field"]) == (422, "position_id")
    await rig.trade(gateway, "d1", "p1")
    elsewhere = await gateway.post("/v1/decisions", json=ask("x", position_id="p1", scope={"symbol": "ETH"}))
    assert elsewhere.json()["error"]["code"] == "position_not_open"
    await rig.trade(gateway, "d2", "p2", account_state=holding("p1"))  # a follow-up that opened another
    stated = await gateway.post("/v1/decisions", json=ask("y", account_state=holding("p1")))
    assert stated.status_code == 200
    assert (await gateway.post("/v1/decisions", json=ask("y2", position_id="p2"))).status_code == 200
    rows = {r["decision_id"]: r["parent_decision_id"] for r in await rig.rows()}
    assert rows == {"d1": None, "d2": "d1", "y": "d1", "y2": "d2"}  # refused requests leave no row
    await rig.close(gateway, "d1")
    closed = await gateway.post("/v1/decisions", json=ask("z", position_id="p1"))
    assert (closed.status_code, closed.json()["error"]["code"]) == (422, "position_not_open")


async def test_history_and_positions_are_the_arms_own(rig, gateway):
    rig.publish(experiment=rig.experiment(candidateWeight="0.5"))
    await rig.seen()
    ids = [f"h{i}" for i in range(12)]
    mine = [i for i in ids if draw_arm("exp-1", i, 0.5) == "candidate"]
    rig.arms["api"].answer = OPEN | {"confidence": 0.11}
    rig.arms["v1"].answer = OPEN | {"confidence": 0.22}
    for n, decision_id in enumerate(ids):
        await rig.trade(gateway, decision_id, f"p{n}", scope={"symbol": "BTC", "book": ""})
        await rig.close(gateway, decision_id, pnl=float(n))
    held = [{"position_id": f"p{n}", "side": "long"} for n in range(12)] + [{"side": "by hand", "symbol": "SOL"}]
    account = {"balance": 1, "permission_level": "L2", "positions": held, "tax_number": "4711"}
    last = next(i for i in (f"q{n}" for n in range(99)) if draw_arm("exp-1", i, 0.5) == "candidate")
    lies = [{"action": "of the other arm"}]
    await gateway.post("/v1/decisions", json=ask(last, account_state=account, recent_history=lies))
    shown = rig.arms["v1"].seen[-1]["instances"][0]
    assert [h["confidence"] for h in shown["recent_history"]] == [0.22] * 3
    assert [h["result"]["pnl"] for h in shown["recent_history"]] == [float(ids.index(i)) for i in mine[-3:]]
    assert [p.get("position_id") for p in shown["account_state"]["positions"]] == [f"p{ids.index(i)}" for i in mine] + [
        None
    ]
    assert shown["account_state"]["tax_number"] == "4711"  # our own model sees all of it
    assert shown["limits"] == {"max_leverage": 3, "max_size_usd": 100.0}
    stored = (await rig.row(last))["shown"]
    assert stored == {name: shown[name] for name in ("market_data", "account_state", "recent_history")}
    await gateway.post(f"/v1/decisions/{last}/execution", json={"status": "not_filled"})
    base = next(i for i in (f"q{n}" for n in range(99)) if draw_arm("exp-1", i, 0.5) == "baseline")
    await gateway.post("/v1/decisions", json=ask(base, account_state=account))
    prompt = rig.arms["api"].seen[-1]["messages"][1]["content"]
    assert "4711" not in prompt
    assert "0.22" not in prompt
    assert "tax_number" not in (await rig.row(base))["shown"]["account_state"]


@pytest.mark.parametrize(
    ("break_arm", "kind"),
    [
        (lambda arm: arm.status(500), "status"),
        (lambda arm: arm.sleeps(3), "timeout"),
        (lambda arm: arm.content("not json"), "invalid_json"),
        (lambda arm: arm.content(" \n"), "empty"),
        (lambda arm: arm.content('{"action":"hold","action":"open_long"}'), "invalid_json"),
        (lambda arm: arm.content(json.dumps(OPEN | {"size_usd": float("nan")})), "invalid_json"),
        (lambda arm: arm.content(json.dumps(OPEN | {"size_usd": "60 USD"})), "invalid_decision"),
        (lambda arm: arm.content(json.dumps(OPEN | {"reasoning": "\0"})), "invalid_decision"),
        (lambda arm: arm.answer.update(symbol="ETH"), "invalid_decision"),
        (lambda arm: arm.answer.update(size_usd=101.0), "over_limit"),
        (lambda arm: arm.answer.update(leverage=4), "over_limit"),
    ],
)
async def test_the_fallback_answers_and_the_drawn_arm_is_blamed(rig, gateway, break_arm, kind):
    rig.publish(experiment=rig.experiment(candidateWeight="0.5"))
    await rig.seen()
    break_arm(rig.arms["api"])
    decision_id = candidate_id(arm="baseline")
    body = (await gateway.post("/v1/decisions", json=ask(decision_id))).json()
    assert (body["action"], body["_model_used"], body["_fallback"], body["_arm"]) == ("hold", "safe", True, "baseline")
    row = await rig.row(decision_id)
    assert (row["drawn_version"], row["answered_by"], row["fallback"], row["error_kind"]) == ("api", "safe", True, kind)
    assert row["state"] == "answered"
    (evidence,) = await rig.rows("SELECT * FROM tradewind.judged_rows WHERE candidate_weight < 1")
    assert (evidence["arm"], evidence["error_kind"], evidence["status"]) == ("baseline", kind, "hold")
    assert evidence["answered_at"] is not None
    assert "secret" not in (row["error_detail"] or "")


async def test_an_arm_that_is_not_there_and_a_failed_decision(rig, gateway):
    arms = rig.document["arms"]
    rig.publish(arms=arms | {"api": arms["api"] | {"baseURL": "http://127.0.0.1:9", "maxRetries": 1}})
    await rig.seen()
    assert (await gateway.post("/v1/decisions", json=ask("d1"))).json()["_model_used"] == "safe"
    assert (await rig.row("d1"))["error_kind"] == "transport"
    rig.arms["safe"].status(503)
    first = await gateway.post("/v1/decisions", json=ask("d2"))
    again = await gateway.post("/v1/decisions", json=ask("d2"))
    for response in (first, again):
        assert (response.status_code, response.json()["error"]["code"]) == (503, "no_answer")
        assert "retry-after" not in response.headers  # final for this id: the same request never succeeds
    assert (await rig.row("d2"))["state"] == "failed"
    assert len(rig.arms["safe"].seen) == 2  # once for d1, once for d2: a failure is stored like an answer
    report = await gateway.post("/v1/decisions/d2/execution", json={"status": "rejected"})
    assert (report.status_code, report.json()["error"]["code"]) == (409, "no_answer")


async def test_an_open_breaker_changes_who_answers_never_the_draw(rig):
    gateway = await rig.gateway(breaker_failures=3, breaker_open_seconds=0.4)
    rig.publish(experiment=rig.experiment(candidateWeight="0.5"))
    await rig.seen()
    ids = [i for i in (f"b{n}" for n in range(40)) if draw_arm("exp-1", i, 0.5) == "candidate"][:6]
    rig.arms["v1"].status(500)
    for decision_id in ids[:5]:
        await gateway.post("/v1/decisions", json=ask(decision_id))
    rows = {r["decision_id"]: r for r in await rig.rows()}
    assert [rows[i]["error_kind"] for i in ids[:5]] == ["status"] * 3 + ["breaker_open"] * 2
    assert {(rows[i]["arm"], rows[i]["drawn_version"], rows[i]["answered_by"]) for i in ids[:5]} == {
        ("candidate", "v1", "safe")
    }
    assert len(rig.arms["v1"].seen) == 3
    rig.arms["v1"].behave = None
    await asyncio.sleep(0.45)
    assert (await gateway.post("/v1/decisions", json=ask(ids[5]))).json()["_model_used"] == "v1"


async def test_past_its_expiry_the_candidate_gets_nothing(rig, gateway):
    soon = datetime.now(UTC) + timedelta(seconds=0.8)
    rig.publish(experiment=rig.experiment(candidateWeight="1"), expiresAt=soon.isoformat())
    await rig.seen()
    assert (await gateway.post("/v1/decisions", json=ask("d1"))).json()["_arm"] == "candidate"
    await asyncio.sleep(1)
    assert (await gateway.post("/v1/decisions", json=ask("d2"))).json()["_arm"] == "baseline"
    assert (await rig.row("d2"))["candidate_weight"] == 0
    assert await rig.rows("SELECT * FROM tradewind.judged_rows WHERE candidate_weight < 1") == []


async def test_weights_are_effective_within_a_second_and_reported(rig, gateway):
    started = asyncio.get_running_loop().time()
    rig.publish(experiment=rig.experiment(epoch=42))
    await rig.seen()
    assert asyncio.get_running_loop().time() - started < 1
    for _ in range(100):
        rows = await rig.rows("SELECT * FROM tradewind.gateway_replicas")
        if rows and rows[0]["epoch"] == 42:
            break
        await asyncio.sleep(0.02)
    assert (rows[0]["replica"], rows[0]["epoch"], rows[0]["generation"]) == ("r0", 42, rig.document["generation"])


async def test_a_broken_or_foreign_document_changes_nothing(rig, gateway):
    good = rig.document["generation"]
    rig.routing_file.write_text("{broken")
    await asyncio.sleep(0.3)
    rig.publish(endpoint="another")
    await asyncio.sleep(0.3)
    assert gateway.app.state.gateway.watcher.current.generation == good
    assert (await gateway.post("/v1/decisions", json=ask("d1"))).status_code == 200


async def test_killed_while_asking_another_takes_over_the_same_arm(rig, gateway, tmp_path):
    arms = rig.document["arms"]
    rig.publish(experiment=rig.experiment(candidateWeight="0.5"), arms=arms)
    await rig.seen()
    rig.arms["v1"].sleeps(0.8)
    decision_id = candidate_id()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {
        "TRADEWIND_DSN": rig.dsn, "TRADEWIND_ROUTING": f"file:{rig.routing_file}", "TRADEWIND_NAMESPACE": "ns",
        "TRADEWIND_ENDPOINT": "trader", "TRADEWIND_AUTH": "disabled", "TRADEWIND_HOST": "127.0.0.1", "TRADEWIND_PORT": port,
        "TRADEWIND_ROUTING_TRUST": "unsigned",
        "TRADEWIND_SPOOL_DIR": str(tmp_path / "spool2"),
    }  # fmt: skip
    victim = await asyncio.create_subprocess_exec(sys.executable, "-m", "tradewind.gateway", env=environment)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(200):
            try:
                if (await client.get("/readyz")).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)  # until its first probe of the database has come back
        asking = asyncio.create_task(client.post("/v1/decisions", json=ask(decision_id)))
        await until(lambda: rig.arms["v1"].seen or asking.done())
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        with pytest.raises(httpx.TransportError):
            await asking
    row = await rig.row(decision_id)
    assert (row["state"], row["arm"]) == ("assigned", "candidate")
    busy = await gateway.post("/v1/decisions", json=ask(decision_id))
    assert busy.status_code == 409
    await rig.rows(
        "UPDATE tradewind.decisions SET asking_until = now() - interval '1 second'"
    )  # instead of waiting for it
    rig.publish(experiment=rig.experiment(candidateWeight="0", epoch=9))  # a fresh draw would be the baseline
    await rig.seen()
    responses = await asyncio.gather(*(gateway.post("/v1/decisions", json=ask(decision_id)) for _ in range(10)))
    winners = [r for r in responses if r.status_code == 200]
    assert len(winners) == 1
    assert (winners[0].json()["_arm"], winners[0].json()["_epoch"]) == ("candidate", 7)
    assert (await rig.row(decision_id))["asks"] == 2
    assert len(rig.arms["v1"].seen) == 2


async def test_a_slow_gateway_that_was_overtaken_gives_the_stored_answer(rig, gateway):
    twin = await rig.gateway(replica="r1")
    answers = iter([OPEN | {"confidence": 0.1}, OPEN | {"confidence": 0.9}])

    async def first_slow(_):
        answer = next(answers)
        if answer["confidence"] == 0.1:
            await asyncio.sleep(0.6)
        return JSONResponse({"choices": [{"message": {"content": json.dumps(answer)}}]})

    rig.arms["api"].behave = first_slow
    slow = asyncio.create_task(gateway.post("/v1/decisions", json=ask("d1")))
    await until(lambda: rig.arms["api"].seen)
    await rig.rows("UPDATE tradewind.decisions SET asking_until = now() - interval '1 second'")
    quick = await twin.post("/v1/decisions", json=ask("d1"))
    assert quick.json()["confidence"] == 0.9
    assert (await slow).content == quick.content


async def test_abandoned_assignments_fail_in_the_end(rig):
    gateway = await rig.gateway(abandoned_after=0.2)
    await gateway.post("/v1/decisions", json=ask("d1"))
    await rig.rows(
        "UPDATE tradewind.decisions SET state = 'assigned', answer = NULL, asking_until = now() - interval '1 hour'"
    )
    await asyncio.sleep(0.6)
    row = await rig.row("d1")
    assert (row["state"], row["error_kind"], row["error_detail"]) == ("failed", "unavailable", "abandoned")


async def test_the_whole_decision_has_a_deadline_with_time_for_the_fallback(rig):
    gateway = await rig.gateway(decision_timeout=0.8)
    rig.arms["api"].sleeps(5)
    started = asyncio.get_running_loop().time()
    body = (await gateway.post("/v1/decisions", json=ask("d1"))).json()
    assert body["_model_used"] == "safe"
    assert 0.35 < asyncio.get_running_loop().time() - started < 0.95
    assert (await rig.row("d1"))["error_kind"] == "timeout"
