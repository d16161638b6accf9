"""A database that does not answer is found out by asking it, and everybody is told at once."""

import asyncio
import socket
from typing import Any

import psycopg
import pytest

from tradewind.core.world import DatabaseUnavailableError
from tradewind.shell.database import Beat, Database
from tradewind.shell.pulse import Pulse


@pytest.fixture
async def database(postgres_dsn: str) -> Any:
    async with Database(postgres_dsn, "tradewind") as found:
        yield found


class Told:
    """How often everything was looked at again."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


async def test_a_lock_is_found_out_and_no_turn_waits_for_it(database: Database, postgres_dsn: str) -> None:
    """Seen: for 75 s of a lock DatabaseReachable and Ready stood at True, and every namespace waited."""
    told = Told()
    pulse = Pulse(database, told)
    await pulse.once()
    assert (database.down, told.times) == (None, 0)
    async with await psycopg.AsyncConnection.connect(postgres_dsn) as holder:
        await holder.execute("LOCK TABLE tradewind.decisions IN ACCESS EXCLUSIVE MODE")
        await pulse.once()
        assert database.down is None, "one question without an answer may be a migration"
        await pulse.once()
        assert "pg_locks" in (database.down or "")
        assert told.times == 1
        await pulse.once()
        assert told.times == 1, "said once"
        with pytest.raises(DatabaseUnavailableError, match="pg_locks"):
            async with asyncio.timeout(1):
                await database.of_endpoint("trading", "trader", "u", ())
        await holder.rollback()
    await pulse.once()
    assert (database.down, told.times) == (None, 2)
    assert (await database.of_endpoint("trading", "trader", "u", ())).epochs == ()


async def test_a_turn_that_meets_a_lock_before_the_pulse_does_gives_up(database: Database, postgres_dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_dsn) as holder:
        await holder.execute("LOCK TABLE tradewind.decisions IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailableError, match="who holds it up"):
            async with asyncio.timeout(12):
                await database.of_endpoint("trading", "trader", None, ())
        await holder.rollback()
    assert (await database.of_endpoint("trading", "trader", None, ())).in_position == frozenset()


async def test_a_server_that_says_nothing_is_found_out() -> None:
    """Connections are taken and never answered: as behind a partition, or a process that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with Database(f"postgresql://u:p@127.0.0.1:{port}/x", "tradewind") as database:
            told = Told()
            pulse = Pulse(database, told)
            await pulse.once()
            await pulse.once()
            assert "does not answer" in (database.down or "")
            assert told.times == 1


async def test_a_server_that_knows_less_than_before_is_news(database: Database, postgres_dsn: str) -> None:
    told = Told()
    pulse = Pulse(database, told)
    async with await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True) as connection:
        row = "(installation, namespace, endpoint, experiment_uid, block, candidate_weight, reason) VALUES ('tradewind', 'n', 'e', 'u', 0, 0.5, 'Fixed')"
        await connection.execute(f"INSERT INTO tradewind.epochs {row}")
        await pulse.once()
        await connection.execute("DELETE FROM tradewind.epochs")
        await pulse.once()
    assert told.times == 1


async def test_a_database_without_the_schema_answers(empty_postgres_dsn: str) -> None:
    async with Database(empty_postgres_dsn, "tradewind") as database:
        assert await database.beat() == Beat(None, 0, 0)


def test_another_server_or_a_younger_state_does_not_follow() -> None:
    assert Beat(None, 2, 5).follows(Beat(None, 2, 5))
    assert Beat(None, 3, 9).follows(Beat(None, 2, 5))
    assert not Beat(None, 1, 5).follows(Beat(None, 2, 5))
    assert not Beat(None, 2, 4).follows(Beat(None, 2, 5))
