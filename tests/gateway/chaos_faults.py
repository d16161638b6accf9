"""What may befall gateways and their database, each with a begin and an end. `REPLICA` concern one replica, `ALL` everybody."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import psycopg
from chaos_replica import LEASE_SECONDS, fill

if TYPE_CHECKING:
    from chaos import World

Fault = Callable[["World", int], AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def killed(world: "World", which: int) -> AsyncIterator[None]:
    """SIGKILL; the next process finds the spool that this one left."""
    replica = world.replicas[which]
    replica.kill()
    yield
    replica.start()
    await replica.ready(world.session)


@contextlib.asynccontextmanager
async def killed_with_its_disk(world: "World", which: int) -> AsyncIterator[None]:
    """A pod that is deleted in an outage takes its spool with it, as the docs say: what lay there is lost, and nothing else."""
    replica = world.replicas[which]
    replica.proxy.mode = "refuse"
    await asyncio.sleep(2)
    replica.kill()
    world.lost |= replica.spooled()
    replica.empty_spool()
    yield
    replica.proxy.mode = "pass"
    replica.start()
    await replica.ready(world.session)


@contextlib.asynccontextmanager
async def killed_in_an_outage(world: "World", which: int) -> AsyncIterator[None]:
    replica = world.replicas[which]
    replica.proxy.mode = "hang"
    await asyncio.sleep(2.5)
    replica.kill()
    replica.proxy.mode = "pass"
    yield
    replica.start()
    await replica.ready(world.session)


@contextlib.asynccontextmanager
async def frozen(world: "World", which: int) -> AsyncIterator[None]:
    """It stops for longer than its leases last, and goes on as if nothing had been."""
    world.replicas[which].freeze()
    try:
        await asyncio.sleep(LEASE_SECONDS)
        yield
    finally:
        world.replicas[which].freeze(thaw=True)


@contextlib.asynccontextmanager
async def _network(world: "World", which: int, mode: str) -> AsyncIterator[None]:
    proxy = world.replicas[which].proxy
    proxy.mode = mode  # type: ignore[assignment]
    try:
        yield
    finally:
        proxy.mode = "pass"


def refused(world: "World", which: int) -> AbstractAsyncContextManager[None]:
    """A partition that says so: connections break and cannot be made."""
    return _network(world, which, "refuse")


def silent(world: "World", which: int) -> AbstractAsyncContextManager[None]:
    """A partition that does not: connections stay, and what was sent arrives when it is over."""
    return _network(world, which, "hang")


def cut_off_half_way(world: "World", which: int) -> AbstractAsyncContextManager[None]:
    """Statements are carried out, and their answers break off."""
    return _network(world, which, "cut")


@contextlib.asynccontextmanager
async def spool_full(world: "World", which: int) -> AsyncIterator[None]:
    """An outage on a full disk. Without the right to mount one the spool's own bound stands for it."""
    replica = world.replicas[which]
    filler = fill(replica.spool) if replica.has_disk else replica.spool / "decisions.refused.jsonl"
    if not replica.has_disk:
        filler.write_bytes(b"x" * 2**23)
    replica.proxy.mode = "refuse"
    try:
        yield
    finally:
        replica.proxy.mode = "pass"
        filler.unlink()


@contextlib.asynccontextmanager
async def _clock(world: "World", which: int, seconds: float) -> AsyncIterator[None]:
    file = world.replicas[which].clock
    file.write_text(str(seconds))
    try:
        yield
    finally:
        file.unlink()


def clock_ahead(world: "World", which: int) -> AbstractAsyncContextManager[None]:
    """By less than the clock skew that reports may have; the weights are over for it."""
    return _clock(world, which, 45)


def clock_behind(world: "World", which: int) -> AbstractAsyncContextManager[None]:
    """Weights are valid for it for longer than for the others."""
    return _clock(world, which, -45)


@contextlib.asynccontextmanager
async def locked(world: "World", _: int) -> AsyncIterator[None]:
    """Somebody alters the table and does not come to an end."""
    async with await psycopg.AsyncConnection.connect(world.dsn) as connection:
        await connection.execute("LOCK TABLE tradewind.decisions IN ACCESS EXCLUSIVE MODE")
        yield
        await connection.rollback()


@contextlib.asynccontextmanager
async def read_only(world: "World", _: int) -> AsyncIterator[None]:
    """As after a failover to a standby: reads are answered, writes are not."""
    await world.administer("ALTER DATABASE tradewind SET default_transaction_read_only = on", world.break_connections)
    try:
        yield
    finally:
        off = (
            "SET default_transaction_read_only = off",
            "ALTER DATABASE tradewind RESET default_transaction_read_only",
        )
        await world.administer(*off, world.break_connections)


@contextlib.asynccontextmanager
async def database_full(world: "World", _: int) -> AsyncIterator[None]:
    """The disk that the decisions lie on has no room left."""
    if world.disk is None:
        world.skipped.add("database_full: no disk of its own can be mounted here")
        yield
        return
    filler = fill(world.disk)
    try:
        yield
    finally:
        filler.unlink()


@contextlib.asynccontextmanager
async def crowded(world: "World", _: int) -> AsyncIterator[None]:
    """Others have all connections but two."""
    await world.administer(f'ALTER ROLE "{world.role}" CONNECTION LIMIT 2', world.break_connections)
    try:
        yield
    finally:
        await world.administer(f'ALTER ROLE "{world.role}" CONNECTION LIMIT -1')


@contextlib.asynccontextmanager
async def crashed(world: "World", _: int) -> AsyncIterator[None]:
    """The server is gone at once and comes back from its log."""
    await asyncio.to_thread(world.server.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(world.server.start)


@contextlib.asynccontextmanager
async def stalled(world: "World", _: int) -> AsyncIterator[None]:
    """The server stops answering with all its connections open."""
    world.server.freeze()
    try:
        yield
    finally:
        world.server.freeze(thaw=True)


@contextlib.asynccontextmanager
async def api_server_away(world: "World", _: int) -> AsyncIterator[None]:
    """Nothing is published: the weights run out."""
    world.operator.away = True
    try:
        await asyncio.sleep(world.away)
        yield
    finally:
        world.operator.away = False


@contextlib.asynccontextmanager
async def operator_killed(world: "World", _: int) -> AsyncIterator[None]:
    """After the next epoch was stored and before it is published."""
    world.operator.killed_between = 3.0
    yield


REPLICA: tuple[Fault, ...] = (
    killed, killed_with_its_disk, killed_in_an_outage, frozen, refused, silent, cut_off_half_way, spool_full, clock_ahead, clock_behind,
)  # fmt: skip
ALL: tuple[Fault, ...] = (
    locked, read_only, database_full, crowded, crashed, stalled, api_server_away, operator_killed,
)  # fmt: skip
