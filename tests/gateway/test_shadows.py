"""The arm that was not drawn: asked beside the drawn one, stored as what it was, and never noticed by the caller."""

import asyncio
import itertools
import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi.responses import JSONResponse, Response
from gateway_process import Process
from gateway_rig import HOLD, OPEN, T0, Rig, ask, until

from tradewind.gateway import shadow as shadow_module
from tradewind.gateway.database import DatabaseDownError
from tradewind.trading.assignment import draw_arm, has_shadow
from tradewind.trading.error_kinds import WRONG_IN_ITSELF, AnswerState, ErrorKind, Unasked, answer_state

SHADOWS = "SELECT * FROM tradewind.shadows ORDER BY decided_at, decision_id"


def ids(arm: str, prefix: str = "d") -> Iterator[str]:
    """Ids that are drawn for an arm, without end."""
    names = (f"{prefix}{n}" for n in itertools.count())
    return (name for name in names if draw_arm("exp-1", name, 0.5) == arm)


async def shadows(rig: Rig, number: int) -> list[dict[str, Any]]:
    """All rows once there are so many."""
    async with asyncio.timeout(15):
        while len(rows := await rig.rows(SHADOWS)) < number:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)
    return rows


async def run(rig: Rig, shadow: str = "candidate", **changes: Any) -> None:
    rig.publish(experiment=rig.experiment(shadow=shadow, **changes))
    await rig.seen()


def said(answer: httpx.Response) -> dict[str, Any]:
    """An answer without its id and time."""
    return {name: value for name, value in answer.json().items() if name not in ("decision_id", "_latency_ms")}


async def test_the_candidate_is_asked_beside_the_baseline_and_the_api_never_twice(rig, gateway):
    await run(rig)
    rig.arms["v1"].answer = dict(HOLD)
    baseline, candidate = next(ids("baseline")), next(ids("candidate"))
    answer = await gateway.post("/v1/decisions", json=ask(baseline))
    (row,) = await shadows(rig, 1)
    other = await gateway.post("/v1/decisions", json=ask(candidate, scope={"symbol": "BTC", "book": "b"}))
    assert (answer.json()["_model_used"], other.json()["_model_used"]) == ("api", "v1")
    assert (row["decision_id"], row["arm"], row["version"], row["sha256"]) == (baseline, "candidate", "v1", "ab" * 32)
    assert (row["state"], row["answer"]["action"], row["answered_by"]) == ("answered", "hold", "v1")
    instance = rig.arms["v1"].seen[0]["instances"][0]
    assert row["shown"].items() <= instance.items()
    assert instance["limits"] == {"max_leverage": 3, "max_size_usd": 100.0}
    assert row["probabilities"] == {"hold": 0.25, "open_long": 0.75}
    assert row["latency_ms"] > 0
    await asyncio.sleep(0.1)
    assert len(await rig.rows(SHADOWS)) == 1
    assert (len(rig.arms["api"].seen), len(rig.arms["v1"].seen)) == (1, 2)
    told = (await gateway.get(f"/v1/decisions/{baseline}")).json()["shadow"]
    assert (told["state"], told["version"], told["answer"], told["withheld"]) == ("answered", "v1", None, True)
    assert (await gateway.get(f"/v1/decisions/{candidate}")).json()["shadow"] is None
    metrics = (await gateway.get("/metrics")).text
    assert 'tradewind_shadows_total{state="answered",version="v1"} 1.0' in metrics
    assert 'tradewind_arm_seconds_count{role="shadow",version="v1"} 1.0' in metrics


async def test_both_asks_whoever_was_not_drawn_at_its_price_and_with_fewer_fields(rig, gateway):
    await run(rig, "both")
    candidate = next(ids("candidate"))
    body = ask(candidate)
    body["account_state"]["name"] = "Ana"
    await gateway.post("/v1/decisions", json=body)
    (row,) = await shadows(rig, 1)
    assert (row["arm"], row["version"], row["reported_model"]) == ("baseline", "api", "chat-7/fp_1")
    assert (row["cost_cny"], (await rig.row(candidate))["cost_cny"]) == (Decimal("0.5"), None)
    assert "name" not in row["shown"]["account_state"]


@pytest.mark.parametrize("mode", ["none", "candidate", "both"])
async def test_only_a_draw_has_a_shadow(rig, gateway, mode):
    await run(rig, mode)
    await rig.trade(gateway, next(ids("baseline")), "p1")
    count = 0 if mode == "none" else 1
    await shadows(rig, count)
    await gateway.post("/v1/decisions", json=ask("inside", position_id="p1"))
    rig.publish(experiment=None)
    await rig.seen()
    await gateway.post("/v1/decisions", json=ask("champion", scope={"symbol": "ETH"}))
    await asyncio.sleep(0.2)
    assert len(await rig.rows(SHADOWS)) == count


def goes_wrong(rig: Rig, kind: ErrorKind) -> None:
    arm, target = rig.arms["v1"], rig.document["arms"]["v1"]

    def says(response: Response) -> None:
        async def behave(_: dict) -> Response:
            return response

        arm.behave = behave

    def chats(content: object = "", **choice: object) -> None:
        target["protocol"] = "openai"
        says(
            JSONResponse(
                {"choices": [{"message": {"content": content, "refusal": choice.pop("refusal", None)}, **choice}]}
            )
        )

    match kind:
        case ErrorKind.EMPTY:
            chats()
        case ErrorKind.LENGTH:
            chats(json.dumps(OPEN), finish_reason="length")
        case ErrorKind.REFUSAL:
            chats(refusal="I give no advice")
        case ErrorKind.CONTENT_FILTER:
            chats(finish_reason="content_filter")
        case ErrorKind.STATUS:
            arm.status(500)
        case ErrorKind.INVALID_JSON:
            says(Response("<html>"))
        case ErrorKind.INVALID_DECISION:
            says(JSONResponse({"predictions": [OPEN | {"action": "dance"}]}))
        case ErrorKind.OVER_LIMIT:
            says(JSONResponse({"predictions": [OPEN | {"leverage": 100}]}))
        case ErrorKind.TIMEOUT:
            arm.sleeps(30)
        case ErrorKind.TRANSPORT | ErrorKind.BREAKER_OPEN:
            target["baseURL"] = "http://127.0.0.1:9"
        case ErrorKind.UNAVAILABLE:
            target["credentialFile"] = str(rig.folder / "nowhere")


@pytest.mark.parametrize("kind", list(ErrorKind))
async def test_each_fault_has_its_row_and_the_caller_sees_nothing_of_it(rig: Rig, kind: ErrorKind) -> None:
    gateway = await rig.gateway(breaker_failures=1, breaker_open_seconds=60)
    names = ids("baseline")
    await run(rig, "none")
    plain = await gateway.post("/v1/decisions", json=ask(next(names)))
    goes_wrong(rig, kind)
    await run(rig)
    asked = 1
    if kind is ErrorKind.BREAKER_OPEN:
        await gateway.post("/v1/decisions", json=ask(next(names), scope={"symbol": "BTC", "book": "first"}))
        asked = len(await shadows(rig, 1)) + 1
    started = time.perf_counter()
    answer = await gateway.post("/v1/decisions", json=ask(next(names), scope={"symbol": "BTC", "book": "b"}))
    took = time.perf_counter() - started
    row = (await shadows(rig, asked))[-1]
    assert (row["state"], row["error_kind"]) == (answer_state(kind), kind)
    assert took < 0.9  # the shadow's timeout is 1 s
    assert said(answer) == said(plain)
    # What would have stood in for it, had it been drawn.
    stands = ("hold", "safe") if kind in WRONG_IN_ITSELF else (None, None)
    assert (row["answer"] and row["answer"]["action"], row["answered_by"]) == stands
    errors = f'tradewind_arm_errors_total{{kind="{kind}",role="shadow",version="v1"}} 1.0'
    assert errors in (await gateway.get("/metrics")).text


def test_no_word_is_without_a_state() -> None:
    assert {kind: answer_state(kind) for kind in ErrorKind} == {
        kind: AnswerState.FAILED if kind in WRONG_IN_ITSELF else AnswerState.ABSENT for kind in ErrorKind
    }
    assert {answer_state(why) for why in Unasked} == {answer_state("of a newer gateway")} == {AnswerState.ABSENT}
    assert answer_state(None) is AnswerState.ANSWERED


@pytest.mark.parametrize("api_fails", [False, True])
async def test_where_the_drawn_arm_is_the_fallback_its_answer_stands_and_it_is_not_asked_again(rig, gateway, api_fails):
    rig.arms["v1"].status(500)
    if api_fails:
        rig.arms["api"].status(500)
    rig.document["fallback"] = "api"
    await run(rig)
    await gateway.post("/v1/decisions", json=ask(next(ids("baseline"))))
    (row,) = await shadows(rig, 1)
    assert row["state"] == "failed"
    assert row["answered_by"] == (None if api_fails else "api")
    assert (row["answer"] or {}).get("action") == (None if api_fails else "open_long")
    assert len(rig.arms["api"].seen) == 1


async def test_a_share_is_drawn_by_hash_and_the_rest_is_no_pair(rig, gateway):
    await run(rig, "both", shadowShare="0.3")
    names = [f"s{n}" for n in range(40)]
    for name in names:
        await gateway.post("/v1/decisions", json=ask(name, scope={"symbol": "BTC", "book": name}))
    rows = {row["decision_id"]: row for row in await shadows(rig, len(names))}
    wanted = {name: has_shadow("exp-1", name, 0.3) for name in names}
    assert {name: row["state"] == "answered" for name, row in rows.items()} == wanted
    assert 4 <= sum(wanted.values()) <= 20
    assert {row["error_kind"] for name, row in rows.items() if not wanted[name]} == {"not_asked"}


def test_the_share_has_nothing_to_do_with_the_draw() -> None:
    names = [f"n{n}" for n in range(20_000)]
    both = sum(has_shadow("u", n, 0.3) and draw_arm("u", n, 0.3) == "candidate" for n in names) / len(names)
    assert abs(both - 0.09) < 0.01
    assert all(has_shadow("u", n, 1) and not has_shadow("u", n, 0) for n in names[:100])


async def test_too_many_at_a_time_are_shed_and_the_drawn_ones_answered(rig, gateway, monkeypatch):
    monkeypatch.setattr(gateway.app.state.gateway.decider._shadows, "_most", 2)
    rig.arms["v1"].sleeps(0.5)
    await run(rig)
    names = list(itertools.islice(ids("baseline"), 6))
    answers = [
        await gateway.post("/v1/decisions", json=ask(name, scope={"symbol": "BTC", "book": name})) for name in names
    ]
    assert {answer.status_code for answer in answers} == {200}
    rows = await shadows(rig, 6)
    assert sorted((row["state"], row["error_kind"]) for row in rows if row["error_kind"]) == [("absent", "shed")] * 4
    assert len(rig.arms["v1"].seen) == 2
    assert shadow_module.MOST_UNDER_WAY < 100  # connections of an arm's client


async def test_a_flip_has_the_shadow_of_its_second_draw(rig, gateway):
    await run(rig, "both")
    first = next(ids("baseline"))
    await rig.trade(gateway, first, "p1")
    await shadows(rig, 1)
    rig.arms["api"].answer = rig.arms["v1"].answer = OPEN | {"action": "open_short"}
    name = next(ids("candidate"))
    positions = [{"position_id": "p1", "symbol": "BTC"}]
    body = ask(name, account_state={"balance": 600.0, "positions": positions, "permission_level": "L2"})
    answer = (await gateway.post("/v1/decisions", json=body)).json()
    assert (answer["_arm"], answer["_flipped"]) == ("candidate", first)
    row = (await shadows(rig, 2))[-1]
    assert (row["decision_id"], row["arm"], row["answer"]["action"]) == (name, "baseline", "open_short")
    assert row["shown"]["account_state"]["positions"] == []  # the old position has ended for both
    assert (len(rig.arms["api"].seen), len(rig.arms["v1"].seen)) == (3, 2)


async def test_the_bytes_of_an_answer_and_of_its_repetition_do_not_know_of_the_shadow(rig, gateway):
    rig.arms["v1"].sleeps(0.4)
    await run(rig)
    body = ask(next(ids("baseline")))
    first = await gateway.post("/v1/decisions", json=body)
    during = await gateway.post("/v1/decisions", json=body)
    await shadows(rig, 1)
    after = await gateway.post("/v1/decisions", json=body)
    assert first.content == during.content == after.content
    assert len(rig.arms["v1"].seen) == 1


async def test_what_a_version_is_shown_does_not_depend_on_the_draw_at_hand(rig, gateway):
    """Positions, history with real and paper outcomes: the same document for the drawn arm and for the shadow."""
    await run(rig, "both")
    names = {arm: ids(arm, "past") for arm in ("baseline", "candidate")}
    for arm, position in (("baseline", "p1"), ("candidate", "p2"), ("candidate", "p3"), ("baseline", "p4")):
        past = next(names[arm])
        await rig.trade(gateway, past, position)
        assert (await rig.close(gateway, past, pnl=1.5)).status_code == 200
    rows = await shadows(rig, 4)
    for row in rows:
        await paper(rig, row, 0.02, datetime.now(UTC))
    held = {"baseline": "q1", "candidate": "q2"}
    for arm, position in held.items():
        await rig.trade(gateway, next(ids(arm, "held")), position, scope={"symbol": "BTC", "book": arm})
    await shadows(rig, 6)
    positions = [{"position_id": p, "symbol": "BTC", "book": a} for a, p in held.items()]
    state = {"balance": 600.0, "positions": positions, "permission_level": "L2"}
    shown: dict[str, list[Any]] = {"api": [], "v1": []}
    for arm in ("baseline", "candidate"):
        name = next(ids(arm, "now"))
        answer = await gateway.post("/v1/decisions", json=ask(name, account_state=state, scope={"symbol": "BTC"}))
        assert answer.json()["_arm"] == arm
        row = (await rig.rows("SELECT * FROM tradewind.decisions WHERE decision_id = %s", name))[0]
        beside = (await shadows(rig, 7))[-1]
        shown[row["drawn_version"]].append(row["shown"])
        shown[beside["version"]].append(beside["shown"])
        await rig.rows("DELETE FROM tradewind.decisions WHERE decision_id = %s", name)
    for version, (one, other) in shown.items():
        assert one == other, version
        assert [p["position_id"] for p in one["account_state"]["positions"]] == [
            held["baseline" if version == "api" else "candidate"]
        ]
        results = [entry["result"]["pnl"] for entry in one["recent_history"]]
        # 60 USD twice levered at 2 % on paper, 1.5 in reality; the last three, oldest first.
        assert results == ([2.4, 2.4, 1.5] if version == "api" else [1.5, 1.5, 2.4])


async def paper(rig: Rig, row: dict[str, Any], ret: float, known_at: datetime) -> None:
    await rig.rows(
        "INSERT INTO tradewind.papers (installation, namespace, endpoint, decision_id, arm, ret, exit_reason, exit_at, "
        "known_at, source) VALUES (%s, %s, %s, %s, %s, %s, 'take_profit', %s, %s, 'request')",
        row["installation"], row["namespace"], row["endpoint"], row["decision_id"], row["arm"], ret, known_at, known_at,
    )  # fmt: skip


async def test_no_paper_of_what_is_to_come_is_shown(rig, gateway):
    rig.arms["api"].answer = dict(HOLD)  # else it holds the scope
    rig.publish(clock="replay", experiment=replayed(rig))
    await rig.seen()
    await gateway.post("/v1/decisions", json=ask(next(ids("baseline")), as_of=at(1)))
    (row,) = await shadows(rig, 1)
    await paper(rig, row, -0.01, T0 + timedelta(hours=5))
    history = []
    for name, hour in zip(ids("candidate", "q"), (4.9, 5), strict=False):
        await gateway.post("/v1/decisions", json=ask(name, as_of=at(hour), scope={"symbol": "BTC"}))
        history.append(rig.arms["v1"].seen[-1]["instances"][0]["recent_history"][0]["result"])
        await rig.rows("DELETE FROM tradewind.decisions WHERE decision_id = %s", name)
    assert history == [None, {"profitable": False, "pnl": -1.2, "exit_reason": "take_profit"}]


def at(hours: float) -> str:
    return (T0 + timedelta(hours=hours)).isoformat()


def replayed(rig: Rig, shadow: str = "candidate") -> dict[str, Any]:
    blocks = [{"block": b, "epoch": b + 1, "candidateWeight": "0.5"} for b in range(3)]
    return rig.experiment(mode="Replay", t0=T0.isoformat(), blocks=blocks, shadow=shadow)


async def test_in_a_replay_the_answer_comes_after_its_shadow(rig, gateway, monkeypatch):
    monkeypatch.setattr(gateway.app.state.gateway.decider._shadows, "_most", 0)  # nothing is shed there
    rig.arms["v1"].sleeps(0.3)
    rig.publish(clock="replay", experiment=replayed(rig))
    await rig.seen()
    started = time.perf_counter()
    await gateway.post("/v1/decisions", json=ask(next(ids("baseline")), as_of=at(1)))
    assert [row["state"] for row in await rig.rows(SHADOWS)] == ["answered"]
    assert time.perf_counter() - started > 0.3


async def killed_and_repeated(rig: Rig, body: dict[str, Any], *, replay: bool) -> tuple[httpx.Response, list[Any]]:
    """Asks a process that is killed while the shadow is asked, and another one until it answers."""
    rig.arms["v1"].sleeps(30)
    rig.document["arms"]["v1"]["timeoutSeconds"] = 30
    if not replay:
        rig.arms["api"].sleeps(30)
        rig.document["arms"]["api"]["timeoutSeconds"] = 30
    rig.publish()
    process = Process(rig, TRADEWIND_DECISION_TIMEOUT_SECONDS="60")
    try:
        async with httpx.AsyncClient(base_url=process.url, timeout=30, trust_env=False) as client:
            await process.ready(client)
            asked = asyncio.create_task(client.post("/v1/decisions", json=body))
            await until(lambda: rig.arms["v1"].seen and rig.arms["api"].seen)
            await asyncio.sleep(0.2)
            process.process.kill()
            with pytest.raises(httpx.HTTPError):
                await asked
    finally:
        process.process.kill()
        process.process.wait()
    assert await rig.rows(SHADOWS) == []
    for arm in rig.arms.values():
        arm.behave = None
    await rig.rows("UPDATE tradewind.decisions SET asking_until = clock_timestamp()")  # the lease of the dead one
    heir = await rig.gateway(replica="heir")
    answer = await heir.post("/v1/decisions", json=body)
    await asyncio.sleep(0.3)
    again = await heir.post("/v1/decisions", json=body)
    assert again.content == answer.content
    return answer, await rig.rows(SHADOWS)


async def test_a_replay_that_was_killed_asks_the_missing_shadow_again(rig: Rig) -> None:
    rig.publish(clock="replay", experiment=replayed(rig))
    answer, rows = await killed_and_repeated(rig, ask(next(ids("baseline")), as_of=at(1)), replay=True)
    assert answer.json()["_arm"] == "baseline"
    assert [(row["state"], row["answer"]["action"]) for row in rows] == [("answered", "open_long")]


async def test_a_live_shadow_of_a_gateway_that_was_killed_stays_missing(rig: Rig) -> None:
    rig.publish(experiment=rig.experiment(shadow="both"))
    answer, rows = await killed_and_repeated(rig, ask(next(ids("candidate"))), replay=False)
    assert (answer.status_code, rows) == (200, [])
    assert len(rig.arms["api"].seen) == 1  # the dead one's question: it may have been billed


async def test_a_shadow_under_way_is_stored_after_the_signal(rig: Rig) -> None:
    rig.document["arms"]["v1"]["timeoutSeconds"] = 3
    rig.publish(experiment=rig.experiment(shadow="candidate"))
    rig.arms["v1"].sleeps(1.5)
    process = Process(rig, TRADEWIND_DECISION_TIMEOUT_SECONDS="4", TRADEWIND_DATABASE_TIMEOUT_SECONDS="5")
    try:
        async with httpx.AsyncClient(base_url=process.url, timeout=20, trust_env=False) as client:
            await process.ready(client)
            answer = await client.post("/v1/decisions", json=ask(next(ids("baseline"))))
        assert answer.status_code == 200
        process.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.process.wait, 20) in (0, -signal.SIGTERM)
    finally:
        process.process.kill()
        process.process.wait()
    assert [row["state"] for row in await rig.rows(SHADOWS)] == ["answered"]


async def test_what_does_not_end_in_time_is_stored_as_cut_off(rig, gateway):
    rig.arms["v1"].sleeps(30)
    rig.document["arms"]["v1"]["timeoutSeconds"] = 20
    await run(rig)
    await gateway.post("/v1/decisions", json=ask(next(ids("baseline"))))
    await gateway.app.state.gateway.decider._shadows.close(0.1)
    (row,) = await rig.rows(SHADOWS)
    assert (row["state"], row["error_kind"], row["answer"]) == ("absent", "cut_off", None)


async def test_a_fault_of_our_own_in_a_shadow_is_not_the_callers(rig, gateway, monkeypatch):
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(shadow_module, "shown_to", broken)
    await run(rig)
    answer = await gateway.post("/v1/decisions", json=ask(next(ids("baseline"))))
    (row,) = await shadows(rig, 1)
    assert (answer.status_code, row["state"], row["error_kind"]) == (200, "absent", "unavailable")


async def test_an_answer_that_went_to_the_spool_has_no_shadow(rig, gateway, monkeypatch):
    async def down(*_: Any) -> bool:
        raise DatabaseDownError

    monkeypatch.setattr(gateway.app.state.gateway.database, "finish", down)
    await run(rig)
    name = next(ids("baseline"))
    assert (await gateway.post("/v1/decisions", json=ask(name))).status_code == 200
    async with asyncio.timeout(15):
        while (await rig.row(name))["state"] == "assigned":  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    assert (await rig.row(name))["bar_from_evidence"] == "database_outage"
    assert await rig.rows(SHADOWS) == []


async def test_a_row_that_cannot_be_stored_takes_no_other_with_it(rig, gateway, monkeypatch):
    monkeypatch.setattr(shadow_module, "_TOGETHER_SECONDS", 0.5)
    good, bad = itertools.islice(ids("baseline"), 2)
    right = shadow_module.Shadow.columns

    def columns(shadow: shadow_module.Shadow, *args: Any) -> dict[str, Any]:
        made = right(shadow, *args)
        return made | {"state": "odd"} if made["decision_id"] == bad else made

    monkeypatch.setattr(shadow_module.Shadow, "columns", columns)
    await run(rig)
    for name in (bad, good):
        await gateway.post("/v1/decisions", json=ask(name, scope={"symbol": "BTC", "book": name}))
    assert [row["decision_id"] for row in await shadows(rig, 1)] == [good]
