"""A world of gateways, database, operator and clients, the faults that befall it by a seed, and its end in peace.

Belongs here: what runs, and when which fault begins. Does not belong here: the faults (chaos_faults.py), what clients do
(chaos_clients.py), and what must hold (chaos_checks.py).
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from chaos_clients import TRIES_SECONDS, Client, Ledger
from chaos_faults import Fault
from chaos_operator import Operator
from chaos_proxy import Proxy
from chaos_replica import Replica, arms, free_port, mount, unmount
from gateway_rig import build_rig, tenant_dsn
from psycopg import conninfo

from tradewind.shell.database import Database
from workshop.postgres import PostgresServer

REPLICAS = 3
OWNER = "tradewind"


@dataclass
class World:
    """What runs.

    Attributes:
        dsn: of the owner, past all proxies.
        disk: where the decisions lie, if it is a disk of their own.
        away: seconds for which the API server goes, beyond the validity of weights.
        lost: decisions that lay in a spool that was thrown away.
        skipped: faults that this machine cannot have, and why.
        story: the faults that began, the newest last.
    """

    server: PostgresServer
    dsn: str
    role: str
    replicas: list[Replica]
    operator: Operator
    session: aiohttp.ClientSession
    ledger: Ledger
    clients: list[Client]
    disk: Path | None
    away: float
    lost: frozenset[str] = frozenset()
    skipped: set[str] = field(default_factory=set)
    story: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def break_connections(self) -> str:
        return f"""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE usename IN ('{self.role}', '{OWNER}') AND datname = 'tradewind' AND pid <> pg_backend_pid()"""

    async def administer(self, *statements: str) -> None:
        for _ in range(20):  # a crash may be under way in the other lane
            try:
                async with await psycopg.AsyncConnection.connect(
                    self.server.dsn("postgres"), autocommit=True
                ) as connection:
                    for statement in statements:
                        await connection.execute(statement)  # type: ignore[arg-type]
                return
            except psycopg.OperationalError:
                await asyncio.sleep(0.5)
        raise AssertionError(f"the database does not take {statements}")

    def note(self, text: str) -> None:
        self.story.append(f"{time.monotonic() - self.began:7.1f} s  {text}")

    def last_words(self) -> str:
        return "\n".join(self.story[-12:])


@contextlib.asynccontextmanager
async def world(
    server: PostgresServer,
    folder: Path,
    *,
    seed: int,
    clients: int,
    valid: float,
    block: float,
    away: float,
    megabytes: int,
) -> AsyncIterator[World]:
    """Three replicas that are ready, on `server` with the schema in database `tradewind`.

    Args:
        valid: seconds for which a weight is valid without being renewed.
        block: seconds of one weight.
        megabytes: of the disk that decisions lie on.
    """
    dsn = server.dsn("tradewind")
    tenant = tenant_dsn(dsn)
    port = free_port()
    answering = arms(port, seed)
    disk = server.folder / "small"
    mounted = mount(disk, megabytes)
    replicas: list[Replica] = []
    try:
        if mounted:
            server._give(disk)
            server.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("ALTER TABLE tradewind.decisions SET TABLESPACE small")
        rig = await build_rig(dsn, folder, {}, f"http://127.0.0.1:{port}")
        document: dict[str, Any] = rig.document | {"fallback": "safe"}
        for arm in document["arms"].values():
            arm["timeoutSeconds"] = 1.0
        async with contextlib.AsyncExitStack() as stack:
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=TRIES_SECONDS)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
            for number in range(REPLICAS):
                proxy = await stack.enter_async_context(Proxy(server.port, seed + number))
                replicas.append(Replica(f"r{number}", folder / f"r{number}", tenant, proxy))
            database = await stack.enter_async_context(Database(dsn, "tradewind"))
            operator = Operator(database, document, replicas, seed=seed, block=block, valid=valid)
            ledger = Ledger()
            bots = [Client(n, replicas, session, ledger, seed=seed, patience=30) for n in range(clients)]
            role = str(conninfo.conninfo_to_dict(tenant)["user"])
            made = World(
                server, dsn, role, replicas, operator, session, ledger, bots, disk if mounted else None, valid + away
            )
            await operator.turn()
            for replica in replicas:
                replica.start()
            for replica in replicas:
                await replica.ready(session)
            yield made
    finally:
        for replica in replicas:
            replica.remove()
        answering.kill()
        answering.wait()
        if mounted:
            server.stop()
            unmount(disk)


async def befall(made: World, lanes: Sequence[Sequence[Fault]], *, seed: int, lasting: tuple[float, float]) -> None:
    """The faults of each lane one after the other, lanes at the same time; then all is well again."""
    chance = random.Random(seed)
    targets = iter([chance.sample(range(REPLICAS), REPLICAS) for _ in range(1 + sum(map(len, lanes)))])

    async def lane(faults: Sequence[Fault]) -> None:
        for number, fault in enumerate(faults):
            which, seconds = next(targets)[number % REPLICAS], chance.uniform(*lasting)
            made.note(f"{fault.__name__} {made.replicas[which].name} for {seconds:.1f} s")
            async with fault(made, which):
                await asyncio.sleep(seconds)
            await asyncio.sleep(chance.uniform(0.5, 1.5))

    await asyncio.gather(*map(lane, lanes))
    made.note("peace")


async def peace(made: World, seconds: float = 90) -> None:
    """Waits until every replica is ready, every spool is written and every report has arrived.

    Raises:
        TimeoutError: they do not come to it, since a record cannot be written, for example.
    """
    async with asyncio.timeout(seconds):
        for replica in made.replicas:
            await replica.ready(made.session)
        while [replica for replica in made.replicas if replica.spooled()]:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.2)
    await asyncio.gather(*(client.flush(seconds) for client in made.clients))
