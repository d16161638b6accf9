"""More is asked than can be answered: what is taken in is answered, the rest is told at once, and the gateway counts as alive."""

import asyncio
import contextlib
import json
import socket
import urllib.error
import urllib.request
from typing import Any

import httpx
import pytest
from gateway_process import Process
from gateway_rig import Rig, ask, until

from tradewind.gateway.admission import Admission, Limit, Share
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.liveness import STUCK_SECONDS, Heartbeat, answering
from tradewind.gateway.metrics import Metrics


def asked(name: str, **extra: Any) -> dict[str, Any]:
    """A question in a scope of its own: in one scope they wait in turn."""
    return ask(name, scope={"symbol": "BTC", "book": name}, **extra)


async def closed(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Held:
    """An arm that answers nobody until it is freed."""

    def __init__(self, rig: Rig, name: str = "api") -> None:
        self.arm, self.freed = rig.arms[name], asyncio.Event()
        rig.document["arms"][name]["timeoutSeconds"] = 20
        rig.publish()

        async def behave(_: dict[str, Any]) -> None:
            while not self.freed.is_set():  # noqa: ASYNC110 - of another loop
                await asyncio.sleep(0.01)

        self.arm.behave = behave


async def test_what_does_not_fit_is_refused_at_once_and_all_is_normal_afterwards(rig: Rig) -> None:
    gateway = await rig.gateway(max_decisions=3, openai=True)
    await rig.trade(gateway, "before", "p1", scope={"symbol": "BTC", "book": "before"})
    held = Held(rig)
    await rig.seen()
    before = len(held.arm.seen)
    under_way = [asyncio.create_task(gateway.post("/v1/decisions", json=asked(f"d{n}"))) for n in range(3)]
    await until(lambda: len(held.arm.seen) == before + 3)

    shed = await gateway.post("/v1/decisions", json=asked("d3"))
    error = shed.json()["error"]
    assert (shed.status_code, error["code"]) == (503, "overloaded")
    assert shed.headers["retry-after"] == str(error["retry_after_seconds"])
    unread = await gateway.post("/v1/decisions", content=b"{")  # nobody parses what is not begun
    assert unread.json()["error"]["code"] == "overloaded"
    chat = await gateway.post("/v1/chat/completions", json={})
    assert (chat.status_code, chat.json()["error"]["code"]) == (503, "overloaded")
    assert chat.json()["error"]["type"] == "server_error"

    for path in ("/healthz", "/readyz"):  # others have no more room either: nobody is to be taken out
        assert (await gateway.get(path)).status_code == 200
    assert (await rig.close(gateway, "before")).status_code == 200
    assert (await gateway.get("/v1/decisions/before")).json()["outcome"]["pnl"] == 2.5
    metrics = (await gateway.get("/metrics")).text
    assert 'tradewind_shed_total{share="decisions"} 3.0' in metrics
    assert "tradewind_decisions_in_work 3.0" in metrics
    assert {row["decision_id"] for row in await rig.rows()} == {"before", "d0", "d1", "d2"}

    held.freed.set()
    assert {answer.status_code for answer in await asyncio.gather(*under_way)} == {200}
    assert (await gateway.post("/v1/decisions", json=asked("d3"))).status_code == 200
    assert "tradewind_decisions_in_work 0.0" in (await gateway.get("/metrics")).text


async def test_a_repetition_of_what_is_in_work_asks_nobody(rig: Rig) -> None:
    gateway = await rig.gateway()
    held = Held(rig)
    await rig.seen()
    first = asyncio.create_task(gateway.post("/v1/decisions", json=asked("d")))
    await until(lambda: held.arm.seen)
    again = [await gateway.post("/v1/decisions", json=asked("d")) for _ in range(5)]
    assert {(a.status_code, a.json()["error"]["code"]) for a in again} == {(409, "in_progress")}
    fresh = await gateway.post("/v1/decisions", json=asked("d", market_data={"BTC": {"price": 1}}))
    assert fresh.json()["error"]["code"] == "in_progress"
    other = await gateway.post("/v1/decisions", json=ask("d", scope={"symbol": "ETH"}))
    assert (other.status_code, other.json()["error"]["code"]) == (422, "decision_id_reused")
    held.freed.set()
    answer = await first
    assert (answer.status_code, len(held.arm.seen)) == (200, 1)
    assert (await gateway.post("/v1/decisions", json=asked("d"))).content == answer.content


async def test_a_sender_of_half_a_body_takes_no_room(rig: Rig) -> None:
    url = httpx.URL(await rig.served(max_decisions=1))
    head = "POST /v1/decisions HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"
    senders = [await asyncio.open_connection(url.host, url.port) for _ in range(4)]
    for _, writer in senders:
        writer.write(head.encode())
        await writer.drain()
    async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
        assert (await client.post("/v1/decisions", json=ask("d"))).status_code == 200
    await closed(*(writer for _, writer in senders))


# --- the limit -------------------------------------------------------------------------------------------------------


def test_the_limit_shrinks_while_work_stands_in_line_and_grows_while_it_is_used() -> None:
    limit = Limit(200)
    limit.look(0.2, 200)
    assert limit.value == 200
    limit.look(1.5, 200)
    assert limit.value == 160
    limit.look(10, 160)  # far behind
    assert limit.value == 80
    for _ in range(20):
        limit.look(10, limit.value)
    assert limit.value == 16  # somebody is always answered
    limit.look(0.5, 3)
    assert limit.value == 16  # nobody wanted more
    looks = 0
    while limit.value < 200:
        limit.look(0.5, limit.value)
        looks += 1
    assert looks < 40  # four a second: normal within ten


def test_a_wait_that_is_not_of_our_making_shrinks_nothing() -> None:
    limit = Limit(200)
    limit.look(10, 2)
    assert limit.value == 200


def test_slow_arms_are_no_reason_to_take_in_less_but_a_slow_loop_or_database_is() -> None:
    def room(late: float, statement: float | None) -> int:
        admission = Admission(Metrics(), most=100, late_statement=0.25)
        taken = [admission.room(Share.DECISIONS) for _ in range(100)]
        for each in taken:
            each.__enter__()
        for _ in range(5):
            if statement is not None:
                admission.took(statement)
            admission.tick(late)
        for each in taken:
            each.__exit__(None, None, None)
        return admission._limit.value

    assert room(0.001, 0.003) == 100
    assert room(0.001, None) == 100  # nobody asked the database: all wait for arms
    assert room(0.08, 0.003) == 80
    assert room(0.001, 0.3) == 80


def test_each_share_has_its_own_room() -> None:
    admission = Admission(Metrics(), most=1, late_statement=0.25)
    with admission.room(Share.DECISIONS):
        with pytest.raises(ApiError) as caught:
            admission.demand_room(Share.DECISIONS)
        assert caught.value.code is ErrorCode.OVERLOADED
        for share in (Share.REPORTS, Share.READS):
            with admission.room(share):
                pass
    admission.demand_room(Share.DECISIONS)


# --- liveness --------------------------------------------------------------------------------------------------------


def probed(port: int, path: str = "/healthz") -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_liveness_is_the_heartbeat_of_the_event_loop_and_nothing_else() -> None:
    now = 1000.0
    heartbeat = Heartbeat(lambda: now)
    with answering(heartbeat, "127.0.0.1", 0) as port:
        assert probed(port) == 200  # it starts
        assert probed(port, "/metrics") == 404
        now += STUCK_SECONDS - 1
        assert probed(port) == 200  # busy
        now += 2
        assert probed(port) == 503  # stuck
        heartbeat.beat()
        assert probed(port) == 200
        with socket.create_connection(("127.0.0.1", port)):  # one that says nothing holds up nobody
            assert probed(port) == 200


async def test_a_replica_that_is_full_is_alive_and_its_event_loop_beats(rig: Rig) -> None:
    heartbeat = Heartbeat(lambda: 0.0)
    beats: list[None] = []
    heartbeat.beat = lambda: beats.append(None)  # type: ignore[method-assign]
    gateway = await rig.gateway(max_decisions=1)
    gateway.app.state.gateway.heartbeat = heartbeat  # type: ignore[attr-defined]
    held = Held(rig)
    await rig.seen()
    first = asyncio.create_task(gateway.post("/v1/decisions", json=asked("d")))
    await until(lambda: held.arm.seen)
    assert (await gateway.post("/v1/decisions", json=asked("e"))).status_code == 503
    beats.clear()
    await until(lambda: len(beats) > 2)
    held.freed.set()
    assert (await first).status_code == 200


# --- connections -----------------------------------------------------------------------------------------------------

HALVES = {
    "nothing": b"",
    "half a line": b"POST /v1/dec",
    "half a head": b"POST /v1/decisions HTTP/1.1\r\nhost: g\r\n",
    "a head without its body": b"POST /v1/decisions HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\n",
    "half a body": b"POST /v1/decisions HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\n{",
    "half a chunk": b"POST /v1/decisions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
    "a body that nobody wants": b"POST /nowhere HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\n{",
    "empty lines": b"\r\n\r\n",
}


async def test_half_requests_are_closed_and_whole_ones_answered(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        health = probe.getsockname()[1]
    process = Process(rig, TRADEWIND_REQUEST_TIMEOUT_SECONDS="0.5", TRADEWIND_HEALTH_PORT=str(health))
    url = httpx.URL(process.url)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
            await process.ready(client)
            assert await asyncio.to_thread(probed, health) == 200
            kept_reader, kept = await asyncio.open_connection(url.host, url.port)
            whole = b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n"
            kept.write(whole)
            assert (await kept_reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
            halves = {name: await asyncio.open_connection(url.host, url.port) for name in HALVES}
            for name, (_, writer) in halves.items():
                writer.write(HALVES[name])
                await writer.drain()
            async with asyncio.timeout(30):
                said = {name: await reader.read() for name, (reader, _) in halves.items()}  # until it is closed
            assert {name for name, text in said.items() if b"408" not in text} <= {"a body that nobody wants"}
            assert b"404" in said["a body that nobody wants"]
            kept.write(whole)  # one that is idle between whole requests is kept
            assert (await kept_reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
            assert (await client.post("/v1/decisions", json=ask("d"))).status_code == 200
            await closed(kept, *(writer for _, writer in halves.values()))
    finally:
        process.process.kill()
        process.process.wait()
    assert "Exception in ASGI application" not in process.log.read_text()


async def test_there_are_only_so_many_connections(rig: Rig) -> None:
    process = Process(rig, TRADEWIND_REQUEST_TIMEOUT_SECONDS="60", TRADEWIND_MAX_CONNECTIONS="3")
    url = httpx.URL(process.url)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
            await process.ready(client)
        idle = [await asyncio.open_connection(url.host, url.port) for _ in range(3)]
        async with asyncio.timeout(20):
            while True:  # the connections of `ready` may be closed a moment later
                reader, writer = await asyncio.open_connection(url.host, url.port)
                try:
                    async with asyncio.timeout(1):
                        said = await reader.read()
                    break
                except TimeoutError:
                    idle.append((reader, writer))
        assert said.startswith(b"HTTP/1.1 503")
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"
        await closed(writer, *(each for _, each in idle))
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client, asyncio.timeout(20):
            while True:
                try:
                    if (await client.post("/v1/decisions", json=ask("d"))).status_code == 200:
                        break
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)
    finally:
        process.process.kill()
        process.process.wait()
