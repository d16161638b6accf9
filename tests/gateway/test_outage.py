"""The database goes away, really: both policies, the spool, and a server that accepts and never answers."""

import asyncio
import signal
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from gateway_process import Process
from gateway_rig import HOLD, ask, build_rig, cut_off, until

from tradewind.gateway.app import create_app
from tradewind.gateway.database import DatabaseDownError


@pytest.fixture
async def outage_rig(stoppable_postgres, tmp_path, arms_server):
    rig = await build_rig(stoppable_postgres.dsn("tradewind"), tmp_path, *arms_server)
    rig.settings = replace(rig.settings, database_timeout=1)
    yield rig
    await rig._stack.aclose()


async def recovered(client):
    gateway = client.app.state.gateway
    await until(lambda: gateway.database.up and not gateway.spool.pending)


async def test_champion_answers_unlogged_and_is_taken_in_afterwards(outage_rig, stoppable_postgres):
    rig = outage_rig
    gateway = await rig.gateway()
    rig.publish(experiment=rig.experiment(candidateWeight="0.5"))
    await rig.seen()
    before = await gateway.post("/v1/decisions", json=ask("before"))
    rig.arms["v1"].sleeps(0.6)
    rig.arms["api"].sleeps(0.6)
    midway = asyncio.create_task(gateway.post("/v1/decisions", json=ask("midway")))
    await until(lambda: len(rig.arms["api"].seen) + len(rig.arms["v1"].seen) > 1)
    await asyncio.to_thread(stoppable_postgres.stop)
    started = time.perf_counter()
    midway_answer = await midway
    assert midway_answer.status_code == 200
    rig.arms["v1"].behave = rig.arms["api"].behave = None
    first = await gateway.post("/v1/decisions", json=ask("d1"))
    assert time.perf_counter() - started < 4
    started = time.perf_counter()
    ids = [f"e{n}" for n in range(10)]
    answers = await asyncio.gather(*(gateway.post("/v1/decisions", json=ask(i)) for i in ids))
    assert time.perf_counter() - started < 2  # known to be down: nobody waits for it
    assert {a.status_code for a in (first, *answers)} == {200}
    assert {(a.json()["_model_used"], a.json()["_arm"]) for a in (first, *answers)} == {("api", None)}
    asked = len(rig.arms["api"].seen)
    assert (await gateway.post("/v1/decisions", json=ask("d1"))).content == first.content
    assert (await gateway.post("/v1/decisions", json=ask("before"))).content == before.content
    assert len(rig.arms["api"].seen) == asked
    other = await gateway.post("/v1/decisions", json=ask("d1", scope={"symbol": "ETH"}))
    assert (other.status_code, other.json()["error"]["code"]) == (422, "decision_id_reused")
    retried = (await gateway.post("/v1/decisions", json=ask("d1", market_data={"BTC": {"price": 2}}))).json()
    assert retried == first.json() | {"_replayed": True}
    report = await gateway.post("/v1/decisions/before/execution", json={"status": "rejected"})
    assert (report.status_code, report.headers["retry-after"]) == (503, "1")
    assert (await gateway.get("/readyz")).status_code == 200
    assert "tradewind_spool_records 12.0" in (await gateway.get("/metrics")).text
    await asyncio.to_thread(stoppable_postgres.start)
    await recovered(gateway)
    rows = {r["decision_id"]: r for r in await rig.rows()}
    assert set(rows) == {"before", "midway", "d1", *ids}
    assert {r["state"] for r in rows.values()} == {"answered"}
    barred = {i for i, r in rows.items() if r["bar_from_evidence"] == "database_outage"}
    assert barred == {"midway", "d1", *ids}
    assert rows["midway"]["arm"] == midway_answer.json()["_arm"]  # drawn and committed before: the arm stays
    evidence = await rig.rows("SELECT decision_id FROM tradewind.judged_rows WHERE candidate_weight < 1")
    assert [r["decision_id"] for r in evidence] == ["before"]
    assert (await gateway.post("/v1/decisions", json=ask("d1"))).content == first.content  # now from the database
    opened = {
        "status": "opened",
        "opened_at": datetime.now(UTC).isoformat(),
        "filled_notional_usd": 100,
        "position_id": "p",
    }
    assert (await gateway.post("/v1/decisions/d1/execution", json=opened)).status_code == 200


async def test_one_id_is_asked_once_though_no_database_keeps_its_questions_apart(outage_rig, stoppable_postgres):
    """Else both would be answered, and the answers may differ."""
    rig = outage_rig
    gateway = await rig.gateway()
    await asyncio.to_thread(stoppable_postgres.stop)
    await until(lambda: not gateway.app.state.gateway.database.up)
    rig.arms["api"].sleeps(0.5)
    asked = len(rig.arms["api"].seen)
    answers = await asyncio.gather(*(gateway.post("/v1/decisions", json=ask("twice")) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert {a.json()["error"]["code"] for a in answers if a.status_code == 409} == {"in_progress"}
    assert len(rig.arms["api"].seen) == asked + 1


@pytest.mark.parametrize("when", ["while it is asked", "after its answer"])
async def test_a_database_that_comes_back_between_two_of_one_id_makes_no_second_answer(rig, gateway, when):
    """The first waited in vain and is the champion's; the draw of the second is committed a moment later."""
    database = gateway.app.state.gateway.database
    assign, waiting, comes = database.assign, asyncio.Event(), asyncio.Event()

    async def slow(parameters):
        if not waiting.is_set():
            waiting.set()
            await asyncio.sleep(0.2)
            raise DatabaseDownError
        await comes.wait()
        return await assign(parameters)

    async def kept_away(parameters, **_):
        raise DatabaseDownError  # what is spooled stays there for now

    database.assign, database.ingest = slow, kept_away
    rig.arms["api"].sleeps(0.5)
    first = asyncio.create_task(gateway.post("/v1/decisions", json=ask("d")))
    await waiting.wait()
    second = asyncio.create_task(gateway.post("/v1/decisions", json=ask("d")))
    await until(lambda: rig.arms["api"].seen)
    if when == "after its answer":
        await first
    comes.set()
    answers = await first, await second
    assert len(rig.arms["api"].seen) == 1
    if when == "after its answer":
        assert answers[1].json() == answers[0].json()
    else:
        assert (answers[1].status_code, answers[1].json()["error"]["code"]) == (409, "in_progress")
    assert answers[0].status_code == 200
    del database.assign, database.ingest
    await recovered(gateway)
    row = await rig.row("d")
    assert (row["state"], row["answer"]["action"], row["bar_from_evidence"]) == (
        "answered",
        "open_long",
        "database_outage",
    )
    assert not await rig.rows("SELECT * FROM tradewind.conflicting_answers")
    assert (await gateway.post("/v1/decisions", json=ask("d"))).json() == answers[0].json()


async def test_refuse(outage_rig, stoppable_postgres):
    rig = outage_rig
    rig.publish(onDatabaseOutage="refuse")
    gateway = await rig.gateway()
    await asyncio.to_thread(stoppable_postgres.stop)
    started = time.perf_counter()
    response = await gateway.post("/v1/decisions", json=ask("d1"))
    assert time.perf_counter() - started < 3
    assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")
    assert response.headers["retry-after"] == "1"
    assert (await gateway.get("/readyz")).status_code == 503
    assert rig.arms["api"].seen == []
    rig.publish(onDatabaseOutage="champion", clock="replay")  # a replay is never unlogged
    await rig.seen()
    response = await gateway.post("/v1/decisions", json=ask("d1", as_of="2026-01-01T00:00:00Z"))
    assert response.status_code == 503
    assert (await gateway.get("/readyz")).status_code == 503


async def test_a_full_spool_refuses(outage_rig, stoppable_postgres):
    gateway = await outage_rig.gateway(spool_max_bytes=2500)
    await asyncio.to_thread(stoppable_postgres.stop)
    statuses = [(await gateway.post("/v1/decisions", json=ask(f"d{n}"))).status_code for n in range(6)]
    assert (statuses[0], statuses[-1]) == (200, 503)
    assert statuses == sorted(statuses)


async def test_a_restart_of_the_database_costs_no_request(outage_rig, stoppable_postgres):
    rig = outage_rig
    gateway = await rig.gateway()
    await asyncio.gather(
        *(gateway.post("/v1/decisions", json=ask(f"w{n}", scope={"symbol": "BTC", "book": str(n)})) for n in range(8))
    )
    await asyncio.to_thread(stoppable_postgres.stop)
    await asyncio.to_thread(stoppable_postgres.start)
    responses = await asyncio.gather(
        *(gateway.post("/v1/decisions", json=ask(f"d{n}", scope={"symbol": "BTC", "book": str(n)})) for n in range(8))
    )
    assert {r.status_code for r in responses} == {200}
    await recovered(gateway)
    assert len(await rig.rows("SELECT * FROM tradewind.decisions WHERE decision_id LIKE 'd%'")) == 8


async def test_a_spool_left_by_a_killed_gateway_is_taken_in_by_the_next(outage_rig, stoppable_postgres):
    rig = outage_rig
    gateway = await rig.gateway()
    await asyncio.to_thread(stoppable_postgres.stop)
    answer = await gateway.post("/v1/decisions", json=ask("d1"))
    await rig._stack.aclose()
    spool = rig.settings.spool_dir
    (spool / "decisions.jsonl").rename(spool / "decisions.ingesting.jsonl")  # it died while taking it in
    with (spool / "decisions.jsonl").open("ab") as file:
        file.write(b'{"decision_id":"cut o')  # and this line was never answered
    await asyncio.to_thread(stoppable_postgres.start)
    rig.clients.clear()
    rig.arms["api"].answer = dict(HOLD)
    gateway = await rig.gateway()
    await recovered(gateway)
    assert (await gateway.post("/v1/decisions", json=ask("d1"))).content == answer.content


async def test_a_server_that_accepts_and_never_answers(rig):
    with socket.create_server(("127.0.0.1", 0), backlog=50) as hole:  # the kernel accepts, nobody reads
        app = create_app(replace(rig.settings, dsn=f"postgresql://u:s3cret@127.0.0.1:{hole.getsockname()[1]}/x"))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://g") as client,
        ):
            await until(lambda: app.state.gateway.watcher.current)
            started = time.perf_counter()
            response = await client.post("/v1/decisions", json=ask("d1"))
            assert (response.status_code, response.json()["_model_used"]) == (200, "api")
            assert time.perf_counter() - started < 1


async def test_a_server_that_freezes_with_our_connections(outage_rig, stoppable_postgres):
    rig = outage_rig
    rig.publish(experiment=rig.experiment(candidateWeight="0.5"))
    gateway = await rig.gateway()
    await gateway.post("/v1/decisions", json=ask("before"))
    stoppable_postgres.freeze()
    try:
        started = time.perf_counter()
        answers = await asyncio.gather(*(gateway.post("/v1/decisions", json=ask(f"d{n}")) for n in range(4)))
        assert 0.9 < time.perf_counter() - started < 3  # the deadline, and the arm
        assert {(a.status_code, a.json()["_model_used"], a.json()["_arm"]) for a in answers} == {(200, "api", None)}
    finally:
        stoppable_postgres.freeze(thaw=True)
    await recovered(gateway)
    # Some assignments were committed after all, when nobody waited for them: still one answer each, the one that was given.
    for answer in answers:
        decision_id = answer.json()["decision_id"]
        row = await rig.row(decision_id)
        assert (row["state"], row["answered_by"], row["bar_from_evidence"]) == ("answered", "api", "database_outage")
        again = await gateway.post("/v1/decisions", json=ask(decision_id))
        assert again.json() | {"_arm": None, "_experiment": None, "_epoch": None} == answer.json()
    assert len(await rig.rows("SELECT * FROM tradewind.judged_rows WHERE candidate_weight < 1")) == 1


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_replica_that_is_told_to_go_in_an_outage_writes_what_it_gave(
    outage_rig, stoppable_postgres, comes_back
):
    """Its disk may go with it. Where the database stays away it ends all the same, and says what is lost."""
    rig = outage_rig
    gateway = Process(rig, TRADEWIND_SPOOL_GRACE_SECONDS="60" if comes_back else "1")
    try:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20, trust_env=False) as client:
            await gateway.ready(client)
            await asyncio.to_thread(stoppable_postgres.stop)
            answer = await client.post("/v1/decisions", json=ask("d1"))
        assert answer.status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        if comes_back:
            await asyncio.sleep(1)
            assert gateway.process.poll() is None
            await asyncio.to_thread(stoppable_postgres.start)
        assert await asyncio.to_thread(gateway.process.wait, 40) == 0
    finally:
        gateway.process.kill()
        gateway.process.wait()
    if comes_back:
        assert answer.json().items() >= (await rig.row("d1"))["answer"].items()
    lost = "ends with decisions that the database does not have" in gateway.log.read_text()
    assert lost is not comes_back


@pytest.mark.parametrize("drawn", [False, True])
async def test_a_replica_that_starts_anew_in_an_outage_knows_what_it_answered(rig, drawn):
    """Else a repetition would have a second answer, though the first lies on its disk."""
    if drawn:  # it was committed, and the answer could not be
        rig.publish(experiment=rig.experiment(candidateWeight="1"))
        client = await rig.gateway()
        await rig.seen()

        async def away(*_):
            raise DatabaseDownError

        client.app.state.gateway.database.finish = client.app.state.gateway.database.ingest = away
        first = await client.post("/v1/decisions", json=ask("d"))
        assert first.json()["_arm"] == "candidate"
        spool = rig.settings.spool_dir
    else:
        async with cut_off(rig) as client:
            first = await client.post("/v1/decisions", json=ask("d"))
        spool = rig.folder / "other"
    assert first.status_code == 200
    record = (
        (spool / "decisions.jsonl").read_bytes() if not drawn else b"".join(f.read_bytes() for f in spool.iterdir())
    )
    (rig.folder / "other").mkdir(exist_ok=True)
    (rig.folder / "other" / "decisions.jsonl").write_bytes(record + b'{"decision_id": "half a')
    async with cut_off(rig) as client:
        again = await client.post("/v1/decisions", json=ask("d"))
        other = await client.post("/v1/decisions", json=ask("d", scope={"symbol": "ETH"}))
    assert again.content == first.content
    assert (other.status_code, other.json()["error"]["code"]) == (422, "decision_id_reused")
    assert len(rig.arms["v1" if drawn else "api"].seen) == 1


async def test_a_column_that_is_added_is_no_outage(rig, gateway):
    """The server refuses statements that connections have prepared: `cached plan must not change result type`."""
    for number in range(10):  # prepared from the sixth on
        assert (await gateway.post("/v1/decisions", json=ask(f"before-{number}"))).status_code == 200
    await rig.rows("ALTER TABLE tradewind.decisions ADD COLUMN of_the_test int")
    try:
        for number in range(20):
            answer = await gateway.post("/v1/decisions", json=ask(f"after-{number}"))
            assert answer.status_code == 200
        assert {row["bar_from_evidence"] for row in await rig.rows()} == {None}
        assert len(await rig.rows()) == 30
    finally:
        await rig.rows("ALTER TABLE tradewind.decisions DROP COLUMN of_the_test")
