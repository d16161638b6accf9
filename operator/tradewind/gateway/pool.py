"""The connections of one process to PostgreSQL, which the Endpoints that it answers for share.

Belongs here: the pool, how it connects, and how much of it one Endpoint may have. Does not belong here: statements, deadlines and
outages (database.py).

An Endpoint whose statements stand in line must not leave its neighbours without a connection: where there are several, each has
half of the pool at most. What waits for its share waits as for a connection, and its own admission takes in less.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tradewind.gateway.settings import Settings


class Pool:
    """All connections of a process, at most `pool_size`.

    Args:
        settings: of the process; its replica is told to the server.
        endpoints: how many share it.
    """

    def __init__(self, settings: Settings, endpoints: int = 1) -> None:
        self._share = settings.pool_size if endpoints == 1 else max(1, settings.pool_size // 2)
        self._users = 0
        self._pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
            settings.dsn,
            min_size=min(2, settings.pool_size),
            max_size=settings.pool_size,
            timeout=settings.database_timeout,
            reconnect_timeout=0,  # the probe asks anew; a growing back-off would delay recovery
            max_idle=300,
            open=False,
            configure=_configure,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": 5,
                "application_name": f"tradewind-gateway {settings.replica}"[:63],
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 10_000,
            },
        )

    def share(self) -> "Share":
        """What one Endpoint may have of it."""
        return Share(self, self._share)

    async def open(self) -> None:
        """One more Endpoint uses it; the first starts connecting. Does not wait for the server."""
        self._users += 1
        if self._users == 1:
            await self._pool.open(wait=False)

    async def close(self) -> None:
        """One Endpoint less uses it; with the last one every connection is closed."""
        self._users -= 1
        if self._users == 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self._pool.close(timeout=2)

    async def check(self) -> None:
        """Replaces connections that are dead."""
        await self._pool.check()

    def connection(self, seconds: float) -> contextlib.AbstractAsyncContextManager[AsyncConnection[DictRow]]:
        """A connection, waited for at most so long.

        Raises:
            PoolTimeout: all are in use.
        """
        return self._pool.connection(timeout=seconds)


class Share:
    """What one Endpoint has of a pool: so many connections at a time."""

    def __init__(self, pool: Pool, most: int) -> None:
        self._pool = pool
        self._room = asyncio.Semaphore(most)
        self.open, self.close, self.check = pool.open, pool.close, pool.check

    @contextlib.asynccontextmanager
    async def connection(self, seconds: float) -> AsyncIterator[AsyncConnection[DictRow]]:
        """A connection, waited for at most so long.

        Raises:
            PoolTimeout: as many as it may have are in use, or all are.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        try:
            async with asyncio.timeout_at(until):
                await self._room.acquire()
        except TimeoutError:
            raise PoolTimeout("this Endpoint's share of the connections is in use") from None
        try:
            async with self._pool.connection(max(0.001, until - clock())) as connection:
                yield connection
        finally:
            self._room.release()


async def _configure(connection: AsyncConnection[DictRow]) -> None:
    await connection.execute("SET timezone = 'UTC'")
    # A statement reads a few rows, in a millisecond: compiling it takes the server hundreds of them, each time anew.
    await connection.execute("SET jit = off")
    # By an index always: a plan that was made when the tables were small is kept while they grow.
    await connection.execute("SET enable_seqscan = off")
