"""Two operators, or two clusters, on one database under one name: one has it, and the other writes nothing. Shards have it together."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tradewind import migrations
from tradewind.core.world import DatabaseUnavailableError
from tradewind.migrations import tenants
from tradewind.shell.claims import _CLAIM_SHARD, LEASE_SECONDS, Claim
from tradewind.shell.cluster import ClusterError
from tradewind.shell.database import Database
from tradewind.shell.pulse import Pulse
from tradewind.shell.shards import UNDIVIDED, Shard


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def claim(cluster: str, holder: str, clock: Clock | None = None, shard: Shard = UNDIVIDED) -> Claim:
    async def uid() -> str:
        return cluster

    return Claim("tradewind", holder, uid, clock or Clock(), shard=shard)


def operator(dsn: str, cluster: str, holder: str, clock: Clock | None = None, shard: Shard = UNDIVIDED) -> Database:
    return Database(dsn, "tradewind", claim(cluster, holder, clock, shard))


def of_shard(dsn: str, index: int, count: int = 2, *, among: Iterable[str] = (), pod: str | None = None) -> Database:
    return operator(dsn, "uid", f"ns/{pod or f'pod-{index}-of-{count}'}", shard=Shard(index, count, tuple(among)))


async def refusal(database: Database) -> DatabaseUnavailableError | None:
    try:
        await database.of_endpoint("trading", "trader", "u", ())
    except DatabaseUnavailableError as error:
        return error
    return None


def end_leases(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE tradewind.installations SET held_until = now() - interval '1 second'")
        connection.execute("UPDATE tradewind.operator_shards SET held_until = now() - interval '1 second'")


def leases(dsn: str) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Who has the installation, and who has which shard, by what the database says now."""
    with psycopg.connect(dsn) as connection:
        of_all = connection.execute(
            "SELECT holder FROM tradewind.installations WHERE held_until > clock_timestamp()"
        ).fetchall()
        of_each = connection.execute(
            "SELECT shard, holder FROM tradewind.operator_shards WHERE held_until > clock_timestamp() ORDER BY shard"
        ).fetchall()
    return of_all, of_each


async def test_another_cluster_under_the_same_name_is_refused_for_good(postgres_dsn: str) -> None:
    async with operator(postgres_dsn, "uid-a", "a/op") as ours, operator(postgres_dsn, "uid-b", "b/op") as theirs:
        assert await refusal(ours) is not None, "nothing is asked before the installation is claimed"
        await ours.beat()
        await theirs.beat()
        assert await refusal(ours) is None
        end_leases(postgres_dsn)  # its operator is down: it is still that cluster's
        await theirs.beat()
        told = await refusal(theirs)
        assert told is not None
        assert told.taken
        assert "another cluster's (uid-a" in str(told)
        assert "set another `installation`" in str(told)
        await ours.beat()
        assert await refusal(ours) is None
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.execute("SELECT cluster_uid, holder FROM tradewind.installations").fetchall() == [
            ("uid-a", "a/op")
        ]


async def test_of_two_operators_of_a_cluster_one_decides_and_the_other_has_it_after_the_lease(
    postgres_dsn: str,
) -> None:
    async with operator(postgres_dsn, "uid", "ns/one") as one, operator(postgres_dsn, "uid", "ns/two") as two:
        await one.beat()
        await two.beat()
        assert await refusal(one) is None
        assert "operator ns/one of this cluster decides" in str(await refusal(two))
        assert two.claim is not None
        assert two.claim.waits
        end_leases(postgres_dsn)
        await two.beat()
        assert await refusal(two) is None
        await one.beat()
        assert "operator ns/two" in str(await refusal(one))


async def test_an_operator_that_ends_leaves_the_lease_to_the_next(postgres_dsn: str) -> None:
    async with operator(postgres_dsn, "uid", "ns/one") as one:
        await one.beat()
    async with operator(postgres_dsn, "uid", "ns/two") as two:
        await two.beat()
        assert await refusal(two) is None


async def test_an_operator_that_was_away_longer_than_its_lease_asks_nothing_before_it_has_it_again(
    postgres_dsn: str,
) -> None:
    """As a process that was stopped, or a node that slept: its clock tells it, before the database could."""
    clock = Clock()
    async with operator(postgres_dsn, "uid", "ns/one", clock) as one:
        await one.beat()
        clock.now += LEASE_SECONDS
        assert "is not claimed" in str(await refusal(one))
        await one.beat()
        assert await refusal(one) is None


async def test_whoever_gets_the_installation_looks_at_everything(postgres_dsn: str) -> None:
    told: list[None] = []
    async with operator(postgres_dsn, "uid", "ns/one") as one, operator(postgres_dsn, "uid", "ns/two") as two:
        await one.beat()
        pulse = Pulse(two, lambda: told.append(None))
        await pulse.once()
        assert told == []
        end_leases(postgres_dsn)
        await pulse.once()
        assert len(told) == 1


async def says_what_is_missing(one: Database, dsn: str) -> None:
    """On a schema of before, and until it is of today."""
    await one.beat()
    told = await refusal(one)
    assert told is not None
    assert told.schema_missing
    migrations.upgrade(dsn)
    await one.beat()
    assert await refusal(one) is None


async def test_a_schema_of_before_is_said_to_be_missing(empty_postgres_dsn: str) -> None:
    migrations.upgrade(empty_postgres_dsn, "0017")
    async with operator(empty_postgres_dsn, "uid", "ns/one") as one:
        await says_what_is_missing(one, empty_postgres_dsn)


async def test_an_operator_with_a_tenants_role_is_told_which_it_needs(postgres_dsn: str) -> None:
    made = tenants.add(postgres_dsn, "tradewind", "trading", password="t")
    try:
        async with operator(tenants.tenant_dsn(postgres_dsn, made.role, "t"), "uid", "ns/one") as one:
            await one.beat()
            assert "needs the owner of the schema" in str(await refusal(one))
    finally:
        tenants.remove(postgres_dsn, "tradewind", "trading")


async def test_a_cluster_that_does_not_say_who_it_is_claims_nothing(postgres_dsn: str) -> None:
    async def unknown() -> str:
        raise ClusterError("namespaces is forbidden", 403)

    async with Database(postgres_dsn, "tradewind", Claim("tradewind", "ns/one", unknown)) as one:
        await one.beat()
        assert "kube-system cannot be read" in str(await refusal(one))


async def test_the_lease_is_let_go_of_though_tasks_of_the_pool_were_cancelled(postgres_dsn: str) -> None:
    """kopf, at its end, cancels every task that is younger than it: the next operator would wait for the lease to run out."""
    before = asyncio.all_tasks()
    async with operator(postgres_dsn, "uid", "ns/one") as ending:
        await ending.beat()
        assert await refusal(ending) is None
        for task in asyncio.all_tasks() - before:
            task.cancel()
        await asyncio.sleep(0)
    async with operator(postgres_dsn, "uid", "ns/two") as next_one:
        await next_one.beat()
        assert await refusal(next_one) is None


async def test_who_is_cancelled_while_it_ends_is_cancelled(postgres_dsn: str) -> None:
    async def ends() -> None:
        async with operator(postgres_dsn, "uid", "ns/one"):
            await asyncio.Event().wait()

    task = asyncio.create_task(ends())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_installation_of_a_cluster_that_is_gone_can_be_given_to_another(postgres_dsn: str) -> None:
    async with operator(postgres_dsn, "uid-a", "a/op") as ours:
        await ours.beat()
        with pytest.raises(tenants.TenantError, match="a/op holds"):
            tenants.forget_cluster(postgres_dsn, "tradewind")
    assert tenants.forget_cluster(postgres_dsn, "tradewind")
    assert not tenants.forget_cluster(postgres_dsn, "tradewind")
    async with operator(postgres_dsn, "uid-b", "b/op") as theirs:
        await theirs.beat()
        assert await refusal(theirs) is None


async def test_a_person_who_reads_claims_nothing(postgres_dsn: str) -> None:
    async with Database(postgres_dsn, "tradewind") as database:
        assert await refusal(database) is None
    with psycopg.connect(postgres_dsn) as connection:
        found: Any = connection.execute("SELECT count(*) FROM tradewind.installations").fetchone()
    assert found == (0,)


# --- several operators of one installation -------------------------------------------------------------------------------------

OF_THE_LAST_RELEASE = """
INSERT INTO tradewind.installations AS i (installation, cluster_uid, holder, held_until)
VALUES (%(installation)s, %(cluster)s, %(holder)s, clock_timestamp() + make_interval(secs => %(lease)s))
ON CONFLICT (installation) DO UPDATE
   SET holder = excluded.holder, held_until = excluded.held_until, seen_at = clock_timestamp()
 WHERE i.cluster_uid = excluded.cluster_uid AND (i.holder = excluded.holder OR i.held_until < clock_timestamp())
RETURNING 1
"""
"""How operators claimed before there were shards, word for word (commit 489d4f7): charts are rolled back to them."""


def claimed_by_the_last_release(dsn: str) -> bool:
    given = {"installation": "tradewind", "cluster": "uid", "holder": "ns/old-pod", "lease": LEASE_SECONDS}
    with psycopg.connect(dsn) as connection:
        return connection.execute(OF_THE_LAST_RELEASE, given).fetchone() is not None


async def test_all_shards_of_a_layout_hold_the_installation_and_each_its_own_lease(postgres_dsn: str) -> None:
    async with of_shard(postgres_dsn, 0) as one, of_shard(postgres_dsn, 1) as two:
        for database in (one, two, one, two):
            await database.beat()
        assert await refusal(one) is await refusal(two) is None
        assert leases(postgres_dsn) == (
            [("ns/2-shards-by-label",)],
            [(0, "ns/pod-0-of-2"), (1, "ns/pod-1-of-2")],
        )


@pytest.mark.parametrize("other", [(3, ()), (2, ("a", "b"))], ids=["of another number", "of namespaces that are named"])
async def test_another_layout_waits_and_has_it_after_the_lease(
    postgres_dsn: str, other: tuple[int, tuple[str, ...]]
) -> None:
    count, among = other
    async with of_shard(postgres_dsn, 0) as old, of_shard(postgres_dsn, 1, count, among=among, pod="new") as new:
        await old.beat()
        await new.beat()
        assert "operator ns/2-shards-by-label of this cluster decides" in str(await refusal(new))
        assert new.claim is not None
        assert new.claim.waits, "not even a status is written"
        assert leases(postgres_dsn)[1] == [(0, "ns/pod-0-of-2")], "who waits has no lease of its own either"
        end_leases(postgres_dsn)
        await new.beat()
        assert await refusal(new) is None
        await old.beat()
        assert f"operator ns/{count}-shards-" in str(await refusal(old))


async def test_of_two_pods_with_one_index_one_decides_and_the_other_has_it_after_its_lease(postgres_dsn: str) -> None:
    async with (
        of_shard(postgres_dsn, 0) as other,
        of_shard(postgres_dsn, 1, pod="first") as first,
        of_shard(postgres_dsn, 1, pod="second") as second,
    ):
        for database in (other, first, second):
            await database.beat()
        assert await refusal(first) is None
        assert "operator ns/first of this cluster decides as shard 1/2" in str(await refusal(second))
        assert second.claim is not None
        assert second.claim.waits
        with psycopg.connect(postgres_dsn) as connection:  # the first one is gone; the other shard goes on
            connection.execute("UPDATE tradewind.operator_shards SET held_until = now() WHERE shard = 1")
        await other.beat()
        await second.beat()
        assert await refusal(second) is None
        await first.beat()
        assert "operator ns/second" in str(await refusal(first))


@pytest.mark.parametrize("first", ["one", "several"])
async def test_a_single_operator_and_shards_exclude_each_other(postgres_dsn: str, first: str) -> None:
    async with operator(postgres_dsn, "uid", "ns/one") as one, of_shard(postgres_dsn, 0) as shard:
        has_it, waits = (one, shard) if first == "one" else (shard, one)
        await has_it.beat()
        await waits.beat()
        assert await refusal(has_it) is None
        assert "decides for installation 'tradewind'; this one waits" in str(await refusal(waits))
        end_leases(postgres_dsn)
        await waits.beat()
        await has_it.beat()
        assert await refusal(waits) is None
        assert await refusal(has_it) is not None


async def test_an_operator_of_the_last_release_excludes_shards_and_is_excluded(postgres_dsn: str) -> None:
    async with of_shard(postgres_dsn, 0) as shard:
        assert claimed_by_the_last_release(postgres_dsn)
        await shard.beat()
        assert "operator ns/old-pod" in str(await refusal(shard))
        end_leases(postgres_dsn)
        await shard.beat()
        assert await refusal(shard) is None
        assert not claimed_by_the_last_release(postgres_dsn)
        end_leases(postgres_dsn)
        assert claimed_by_the_last_release(postgres_dsn)


async def test_the_shard_that_ends_last_leaves_the_installation_to_whoever_comes(postgres_dsn: str) -> None:
    """As an upgrade to another number does, in which nobody waits for a lease while weights run out."""
    async with of_shard(postgres_dsn, 0, 3, pod="next") as following:
        async with of_shard(postgres_dsn, 1) as two:
            async with of_shard(postgres_dsn, 0) as one:
                await one.beat()
                await two.beat()
            assert leases(postgres_dsn) == ([("ns/2-shards-by-label",)], [(1, "ns/pod-1-of-2")])
            await following.beat()
            assert "2-shards-by-label" in str(await refusal(following))
        await following.beat()
        assert await refusal(following) is None


async def test_a_shards_successor_need_not_wait(postgres_dsn: str) -> None:
    async with of_shard(postgres_dsn, 0) as other:
        async with of_shard(postgres_dsn, 1, pod="first") as first:
            await other.beat()
            await first.beat()
        async with of_shard(postgres_dsn, 1, pod="second") as second:
            await second.beat()
            assert await refusal(second) is None


async def test_a_shard_that_begins_while_the_last_one_ends_keeps_the_installation(postgres_dsn: str) -> None:
    """Its lease is not to be seen yet by the one that asks whether it is the last."""
    given = {
        "installation": "tradewind",
        "cluster": "uid",
        "holder": "ns/beginning",
        "shard": 1,
        "lease": LEASE_SECONDS,
    }
    ending = claim("uid", "ns/ending", shard=Shard(0, 2))
    async with await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True) as connection:
        await ending.renew(connection)
        with psycopg.connect(postgres_dsn) as beginning:
            beginning.execute(_CLAIM_SHARD, given | {"layout": "ns/2-shards-by-label"})
            letting_go = asyncio.create_task(ending.let_go(connection))
            done, _ = await asyncio.wait({letting_go}, timeout=0.5)
            assert not done, "it waits for the row that the other one writes"
            beginning.commit()
        await letting_go
    assert leases(postgres_dsn) == ([("ns/2-shards-by-label",)], [(1, "ns/beginning")])


async def test_the_common_lease_ends_with_the_last_of_the_shards_and_never_before(postgres_dsn: str) -> None:
    """A claim that was held up brings an older end than that of a shard that was not."""
    async with of_shard(postgres_dsn, 0) as one, of_shard(postgres_dsn, 1) as two:
        await one.beat()
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute("UPDATE tradewind.installations SET held_until = now() + interval '1 minute'")
        await two.beat()
        with psycopg.connect(postgres_dsn) as connection:
            row = connection.execute(
                "SELECT held_until > now() + interval '50 s' FROM tradewind.installations"
            ).fetchone()
        assert row == (True,)


async def test_a_shard_that_was_away_longer_than_its_lease_asks_nothing_before_it_has_it_again(
    postgres_dsn: str,
) -> None:
    clock = Clock()
    async with operator(postgres_dsn, "uid", "ns/one", clock, Shard(0, 2)) as one:
        await one.beat()
        clock.now += LEASE_SECONDS
        assert "is not claimed" in str(await refusal(one))
        await one.beat()
        assert await refusal(one) is None


async def test_a_single_operator_neither_needs_nor_writes_the_leases_of_shards(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("ALTER TABLE tradewind.operator_shards RENAME TO gone")
    try:
        async with operator(postgres_dsn, "uid", "ns/one") as one:
            await one.beat()
            assert await refusal(one) is None
    finally:
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute("ALTER TABLE tradewind.gone RENAME TO operator_shards")
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM tradewind.operator_shards").fetchone() == (0,)
        assert connection.execute(
            "SELECT holder, held_until <= clock_timestamp() FROM tradewind.installations"
        ).fetchall() == [("ns/one", True)]


async def test_shards_on_a_schema_of_before_are_told_what_is_missing(empty_postgres_dsn: str) -> None:
    migrations.upgrade(empty_postgres_dsn, "0019")
    async with of_shard(empty_postgres_dsn, 0) as one:
        await says_what_is_missing(one, empty_postgres_dsn)


async def test_another_cluster_is_refused_whether_it_has_shards_or_not(postgres_dsn: str) -> None:
    async with of_shard(postgres_dsn, 0) as ours, operator(postgres_dsn, "other", "b/op", shard=Shard(0, 2)) as theirs:
        await ours.beat()
        end_leases(postgres_dsn)
        await theirs.beat()
        assert "another cluster's (uid" in str(await refusal(theirs))
        await ours.beat()
        with pytest.raises(tenants.TenantError, match="ns/2-shards-by-label holds"):
            tenants.forget_cluster(postgres_dsn, "tradewind")
    assert tenants.forget_cluster(postgres_dsn, "tradewind")
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM tradewind.operator_shards").fetchone() == (0,)
    async with operator(postgres_dsn, "other", "b/op", shard=Shard(0, 2)) as theirs:
        await theirs.beat()
        assert await refusal(theirs) is None
