"""One process answers for several Endpoints: each by its own tokens, routing and limits, and what befalls one leaves the others alone."""

import asyncio
import contextlib
import copy
import json
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from gateway_process import Process
from gateway_rig import HOLD, Arm, Rig, ask, build_rig, until
from psycopg_pool import PoolTimeout

from tradewind.gateway.guests import all_settings
from tradewind.gateway.pool import Pool
from tradewind.gateway.readiness import START_SECONDS, Readiness
from tradewind.gateway.settings import SettingsError

GUEST = "eth"
TOKEN, GUEST_TOKEN = "token-of-trader", "token-of-eth"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Two:
    """A process with the rig's Endpoint `trader` and the guest `eth`, whose champion is the arm v1."""

    def __init__(self, rig: Rig, **environment: str) -> None:
        self.rig, self.port = rig, free_port()
        self.document = copy.deepcopy(rig.document) | {"endpoint": GUEST, "champion": "v1"}
        self.publish()
        for name, token in ((TOKEN, "trader.token"), (GUEST_TOKEN, "eth.token")):
            (rig.folder / token).write_text(f"{name}\n")
        guest = {
            "TRADEWIND_ENDPOINT": GUEST,
            "TRADEWIND_ROUTING": f"file:{rig.folder / 'eth.json'}",
            "TRADEWIND_PORT": str(self.port),
            "TRADEWIND_SPOOL_DIR": str(rig.folder / "spool-of-eth"),
            "TRADEWIND_AUTH_TOKEN_FILE": str(rig.folder / "eth.token"),
        }
        own = {
            "TRADEWIND_AUTH": "",
            "TRADEWIND_AUTH_TOKEN_FILE": str(rig.folder / "trader.token"),
            "TRADEWIND_REPLICA": "pod-1",
            "TRADEWIND_GUESTS": json.dumps([guest]),
        }
        self.process = Process(rig, **(own | environment))

    def publish(self, **changes: Any) -> None:
        """Writes the guest's routing document."""
        now = datetime.now(UTC)
        self.document |= changes
        self.document["generation"] += 1
        self.document |= {
            "publishedAt": now.isoformat(),
            "expiresAt": (now + timedelta(seconds=30)).isoformat(),
        }
        scratch = self.rig.folder / "eth.tmp"
        scratch.write_text(json.dumps(self.document))
        scratch.replace(self.rig.folder / "eth.json")

    def client(self, endpoint: str, token: str) -> httpx.AsyncClient:
        url = self.process.url if endpoint == "trader" else f"http://127.0.0.1:{self.port}"
        return httpx.AsyncClient(
            base_url=url, timeout=20, trust_env=False, headers={"Authorization": f"Bearer {token}"}
        )

    @contextlib.asynccontextmanager
    async def clients(self) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
        """Callers of both, once both are ready."""
        async with self.client("trader", TOKEN) as trader, self.client(GUEST, GUEST_TOKEN) as guest:
            await self.process.ready(trader)
            await self.process.ready(guest)
            yield trader, guest

    def stop(self) -> None:
        self.process.process.kill()
        self.process.process.wait()


@contextlib.asynccontextmanager
async def both(rig: Rig, **environment: str) -> AsyncIterator[tuple[Two, httpx.AsyncClient, httpx.AsyncClient]]:
    rig.arms["v1"].answer = dict(HOLD)
    two = Two(rig, **environment)
    try:
        async with two.clients() as (trader, guest):
            yield two, trader, guest
    finally:
        two.stop()


async def comes(condition: Callable[[], Awaitable[Any]]) -> None:
    """Waits for something that another process brings about."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)


async def metrics_have(client: httpx.AsyncClient, line: str) -> bool:
    return line in (await client.get("/metrics")).text


def of_book(name: str) -> dict[str, Any]:
    return ask(name, scope={"symbol": "BTC", "book": name})


class Held:
    """An arm that answers nobody until it is freed."""

    def __init__(self, arm: Arm) -> None:
        self.arm, self.freed = arm, asyncio.Event()

        async def behave(_: dict[str, Any]) -> None:
            while not self.freed.is_set():  # noqa: ASYNC110 - of another loop
                await asyncio.sleep(0.01)

        arm.behave = behave


async def test_each_answers_by_its_own_routing_and_tokens_and_stores_its_own_rows(rig: Rig) -> None:
    async with both(rig) as (two, trader, guest):
        mine, theirs = [await each.post("/v1/decisions", json=ask("one-id")) for each in (trader, guest)]
        assert (mine.json()["_model_used"], theirs.json()["_model_used"]) == ("api", "v1")
        for endpoint, token in (("trader", GUEST_TOKEN), (GUEST, TOKEN)):
            async with two.client(endpoint, token) as wrong:
                refused = await wrong.post("/v1/decisions", json=ask("x"))
                assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
                read = await wrong.get("/v1/decisions/one-id")
                assert read.status_code == 401
        rows = await rig.rows("SELECT endpoint, answered_by FROM tradewind.decisions WHERE decision_id = 'one-id'")
        assert {(row["endpoint"], row["answered_by"]) for row in rows} == {("trader", "api"), (GUEST, "v1")}
        reported = "SELECT 1 FROM tradewind.gateway_replicas WHERE endpoint = %s AND replica = 'pod-1'"
        for endpoint in ("trader", GUEST):
            await comes(lambda endpoint=endpoint: rig.rows(reported, endpoint))  # type: ignore[misc]
        counted = [(await each.get("/metrics")).text for each in (trader, guest)]
        assert all('tradewind_decisions_total{arm="none",result="answered"} 1.0' in text for text in counted)
        assert (await trader.get("/readyz/pod")).status_code == 200
        assert (await guest.get("/readyz/pod")).status_code == 404
    logged = [json.loads(line) for line in two.process.log.read_text().splitlines() if line.startswith("{")]
    assert {line["endpoint"] for line in logged if line["event"] == "routing"} == {"trader", GUEST}


async def test_a_stuck_arm_and_a_full_house_of_one_leave_the_other_alone(rig: Rig) -> None:
    rig.document["arms"]["api"]["timeoutSeconds"] = 20
    rig.publish()
    async with both(rig, TRADEWIND_MAX_DECISIONS="3") as (_, trader, guest):
        held = Held(rig.arms["api"])
        before = len(held.arm.seen)
        under_way = [asyncio.create_task(trader.post("/v1/decisions", json=of_book(f"d{n}"))) for n in range(3)]
        await until(lambda: len(held.arm.seen) >= before + 3)
        assert (await trader.post("/v1/decisions", json=of_book("d3"))).status_code == 503
        async with asyncio.timeout(15):
            answers = await asyncio.gather(*(guest.post("/v1/decisions", json=of_book(f"e{n}")) for n in range(20)))
        assert [answer.status_code for answer in answers] == [200] * 20
        held.freed.set()
        assert [(await task).status_code for task in under_way] == [200] * 3


async def test_a_stop_of_one_takes_nothing_from_a_candidate_of_the_other(rig: Rig) -> None:
    """Both have a candidate that thinks: the guest's is stopped, and its champion answers; the other's goes on to its end."""
    rig.document["arms"]["safe"]["timeoutSeconds"] = rig.document["arms"]["v1"]["timeoutSeconds"] = 20
    rig.publish(experiment=rig.experiment(candidateWeight="1"))
    async with both(rig) as (two, trader, guest):
        candidate = rig.experiment(uid="exp-2", name="safe-against-v1", baseline="v1", candidate="safe")
        two.publish(experiment=candidate | {"candidateWeight": "1"})
        candidate_of_trader, candidate_of_guest = Held(rig.arms["v1"]), Held(rig.arms["safe"])
        generation = f"tradewind_routing_generation {float(two.document['generation'])}"
        await comes(lambda: metrics_have(guest, generation))
        mine = asyncio.create_task(trader.post("/v1/decisions", json=of_book("mine")))
        theirs = asyncio.create_task(guest.post("/v1/decisions", json=of_book("theirs")))
        await until(lambda: candidate_of_trader.arm.seen and candidate_of_guest.arm.seen)
        rig.arms["v1"].behave = None  # the guest's champion answers; who was asked before still waits
        two.publish(experiment=None)
        answered = (await theirs).json()
        assert (answered["_model_used"], answered["_arm"]) == ("v1", None)
        assert not mine.done()
        candidate_of_trader.freed.set()
        kept = (await mine).json()
        assert (kept["_model_used"], kept["_arm"]) == ("v1", "candidate")
        candidate_of_guest.freed.set()


async def test_in_an_outage_each_does_as_it_says_and_the_pod_stays_ready(
    stoppable_postgres: Any, tmp_path: Path, arms_server: Any
) -> None:
    rig = await build_rig(stoppable_postgres.dsn("tradewind"), tmp_path, *arms_server)
    rig.publish(onDatabaseOutage="refuse")
    async with both(rig, TRADEWIND_DATABASE_TIMEOUT_SECONDS="1") as (two, trader, guest):
        two.publish(onDatabaseOutage="champion")
        await asyncio.to_thread(stoppable_postgres.stop)
        await comes(lambda: metrics_have(guest, "tradewind_database_up 0.0"))
        await comes(lambda: metrics_have(trader, "tradewind_database_up 0.0"))
        assert (await trader.get("/readyz")).status_code == 503
        assert (await trader.post("/v1/decisions", json=of_book("refused"))).status_code == 503
        assert (await guest.post("/v1/decisions", json=of_book("spooled"))).json()["_model_used"] == "v1"
        assert (await trader.get("/readyz/pod")).status_code == 200
        assert list((rig.folder / "spool-of-eth").glob("decisions*.jsonl"))
        await asyncio.to_thread(stoppable_postgres.start)
        await comes(lambda: rig.rows("SELECT 1 FROM tradewind.decisions WHERE decision_id = 'spooled'"))
    (row,) = await rig.rows("SELECT endpoint, state FROM tradewind.decisions WHERE decision_id = 'spooled'")
    assert (row["endpoint"], row["state"]) == (GUEST, "answered")


async def test_the_signal_ends_all_and_loses_no_decision_of_any(rig: Rig) -> None:
    rig.document["arms"]["api"]["timeoutSeconds"] = rig.document["arms"]["v1"]["timeoutSeconds"] = 20
    rig.publish()
    async with both(rig) as (two, trader, guest):
        held = Held(rig.arms["api"]), Held(rig.arms["v1"])
        before = [len(each.arm.seen) for each in held]
        asked = [
            asyncio.create_task(each.post("/v1/decisions", json=of_book(f"last-{n}")))
            for n, each in enumerate((trader, guest))
        ]
        await until(lambda: all(len(h.arm.seen) > b for h, b in zip(held, before, strict=True)))
        two.process.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        for each in held:
            each.freed.set()
        assert [(await task).status_code for task in asked] == [200, 200]
        assert await asyncio.to_thread(two.process.process.wait, 30) == 0
    states = {row["endpoint"]: row["state"] for row in await rig.rows()}
    assert states == {"trader": "answered", GUEST: "answered"}


async def test_a_port_that_is_taken_ends_the_process_and_not_half_of_it(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        two = Two(rig)
        two.stop()
        guests = [
            {
                "TRADEWIND_ENDPOINT": GUEST, "TRADEWIND_ROUTING": f"file:{rig.folder / 'eth.json'}", "TRADEWIND_AUTH": "disabled",
                "TRADEWIND_PORT": str(taken.getsockname()[1]), "TRADEWIND_SPOOL_DIR": str(rig.folder / "s"),
            }
        ]  # fmt: skip
        process = Process(rig, TRADEWIND_GUESTS=json.dumps(guests))
        assert await asyncio.to_thread(process.process.wait, 60) != 0


async def test_an_endpoint_has_half_of_the_connections_at_most(rig: Rig) -> None:
    """One whose statements stand in line waits for its own share; its neighbour gets a connection at once."""
    pool = Pool(replace(rig.settings, pool_size=4), endpoints=2)
    busy, other = pool.share(), pool.share()
    await busy.open()
    await other.open()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(busy.connection(10))
        with pytest.raises(PoolTimeout):
            await stack.enter_async_context(busy.connection(0.2))
        async with other.connection(10) as connection:
            assert await (await connection.execute("SELECT 1")).fetchone()
    await busy.close()
    async with other.connection(10) as connection:  # the last one closes it
        assert await (await connection.execute("SELECT 1")).fetchone()
    await other.close()


def endpoint(name: str, reason: str | None = None, *, routed: bool = True) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(endpoint=name),
        watcher=SimpleNamespace(current="document" if routed else None),
        ready=lambda: reason if routed else "routing not seen",
    )


def test_a_pod_is_ready_while_any_of_its_endpoints_can_answer() -> None:
    now = 0.0
    assert Readiness([endpoint("a"), endpoint("b", "database does not answer")], lambda: now).ready() is None
    nobody = Readiness([endpoint("a", "x"), endpoint("b", "y")], lambda: now).ready()
    assert nobody == "a: x; b: y"
    starting = Readiness([endpoint("a"), endpoint("b", routed=False)], lambda: now)
    assert starting.ready() == "waits for the routing of b"
    now = START_SECONDS
    assert starting.ready() is None


BASE = {
    "TRADEWIND_DSN": "postgresql://u:p@db/x", "TRADEWIND_ROUTING": "file:/r/trader", "TRADEWIND_ROUTING_TRUST": "unsigned",
    "TRADEWIND_NAMESPACE": "ns", "TRADEWIND_ENDPOINT": "trader", "TRADEWIND_AUTH_TOKEN_FILE": "/t/trader",
    "TRADEWIND_DECISION_TIMEOUT_SECONDS": "7", "TRADEWIND_POOL_SIZE": "9", "TRADEWIND_HEALTH_PORT": "8081",
}  # fmt: skip
ONE = {
    "TRADEWIND_ENDPOINT": "eth", "TRADEWIND_ROUTING": "file:/r/eth", "TRADEWIND_PORT": "20001", "TRADEWIND_SPOOL_DIR": "/s/eth",
    "TRADEWIND_AUTH_TOKEN_FILE": "/t/eth",
}  # fmt: skip


def given(*guests: Any) -> dict[str, str]:
    return BASE | {"TRADEWIND_GUESTS": json.dumps(list(guests))}


def test_a_guest_has_the_process_s_settings_and_never_those_of_its_endpoint() -> None:
    own, guest = all_settings(given(ONE))
    assert (guest.dsn, guest.pool_size, guest.namespace) == (own.dsn, 9, "ns")
    assert (own.decision_timeout, guest.decision_timeout) == (7, 20)
    assert guest.auth_token_file == Path("/t/eth")
    assert all_settings(BASE) == (own,)
    without = {key: value for key, value in ONE.items() if key != "TRADEWIND_AUTH_TOKEN_FILE"}
    with pytest.raises(SettingsError, match=r"TRADEWIND_GUESTS\[0\]: TRADEWIND_AUTH_TOKEN_FILE is not set"):
        all_settings(given(without))


@pytest.mark.parametrize(
    ("guests", "says"),
    [
        ("{}", "TRADEWIND_GUESTS is not a JSON list"),
        ("[[", "TRADEWIND_GUESTS is not a JSON list"),
        (json.dumps([ONE] * 64), "at most 63"),
        ('["x"]', r"TRADEWIND_GUESTS\[0\] is not an object of variables"),
        (json.dumps([ONE | {"TRADEWIND_PORT": 20001}]), r"\[0\] is not an object of variables with texts"),
        (json.dumps([ONE | {"TRADEWIND_DSN": "x"}]), r"\[0\]: TRADEWIND_DSN is not a variable of a guest"),
        (json.dumps([ONE | {"TRADEWIND_PORT": ""}]), r"\[0\]: TRADEWIND_PORT is not set"),
        (json.dumps([ONE | {"TRADEWIND_BREAKER_FAILURES": "0"}]), r"\[0\]: TRADEWIND_BREAKER_FAILURES is '0'"),
        (json.dumps([ONE | {"TRADEWIND_ENDPOINT": "trader"}]), r"\[0\]: TRADEWIND_ENDPOINT is that of the process"),
        (json.dumps([ONE, ONE | {"TRADEWIND_ENDPOINT": "sol"}]), r"\[1\]: TRADEWIND_ROUTING is that of TRADEWIND_GUESTS\[0\]"),
        (json.dumps([ONE | {"TRADEWIND_PORT": "8081"}]), r"\[0\]: TRADEWIND_PORT 8081 is TRADEWIND_HEALTH_PORT"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_guest_is_named_by_its_place(guests: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        all_settings(BASE | {"TRADEWIND_GUESTS": guests})
