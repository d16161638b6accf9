"""Two operators, or two clusters, on one database under one name: one has it, and the other writes nothing."""

from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tradewind import migrations
from tradewind.core.world import DatabaseUnavailableError
from tradewind.migrations import tenants
from tradewind.shell.claims import LEASE_SECONDS, Claim
from tradewind.shell.cluster import ClusterError
from tradewind.shell.database import Database
from tradewind.shell.pulse import Pulse


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def claim(cluster: str, holder: str, clock: Clock | None = None) -> Claim:
    async def uid() -> str:
        return cluster

    return Claim("tradewind", holder, uid, clock or Clock())


def operator(dsn: str, cluster: str, holder: str, clock: Clock | None = None) -> Database:
    return Database(dsn, "tradewind", claim(cluster, holder, clock))


async def refusal(database: Database) -> DatabaseUnavailableError | None:
    try:
        await database.of_endpoint("trading", "trader", "u", ())
    except DatabaseUnavailableError as error:
        return error
    return None


def end_leases(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE tradewind.installations SET held_until = now() - interval '1 second'")


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


async def test_a_schema_of_before_is_said_to_be_missing(empty_postgres_dsn: str) -> None:
    migrations.upgrade(empty_postgres_dsn, "0017")
    async with operator(empty_postgres_dsn, "uid", "ns/one") as one:
        await one.beat()
        told = await refusal(one)
        assert told is not None
        assert told.schema_missing
        migrations.upgrade(empty_postgres_dsn)
        await one.beat()
        assert await refusal(one) is None


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
