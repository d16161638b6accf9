"""The operator, the migration and the snapshots with a database that speaks TLS: the right CA, a wrong one, none."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tls_server import TLSServer, speaking_tls
from tradewind import migrations
from tradewind.core.world import DatabaseUnavailableError
from tradewind.shell.database import Database


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TLSServer]:
    with speaking_tls(tmp_path_factory.mktemp("tls")) as found:
        yield found


def verify(monkeypatch: pytest.MonkeyPatch, ca: Path) -> None:
    """What chart and Endpoint set in a pod for `database.tls`."""
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(ca))


async def test_the_right_ca_is_accepted_and_the_connection_is_encrypted(
    server: TLSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = server.dsn()
    verify(monkeypatch, server.ca)
    migrations.upgrade(dsn)
    async with Database(dsn, "tradewind") as database:
        assert (await database.of_endpoint("trading", "trader", None, ())).promotion is None
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert found == (True,)


@pytest.mark.parametrize(
    ("ca", "host", "says"),
    [
        ("other", "localhost", "not signed by the CA in database.tls; put the CA of this server there"),
        ("right", "127.0.0.1", "for another host name; name that host in the DSN"),
        ("none", "localhost", "no CA to verify the server by; set database.tls"),
    ],
)
async def test_what_is_wrong_with_the_certificates_is_said_with_the_remedy(
    server: TLSServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ca: str, host: str, says: str
) -> None:
    dsn = server.dsn(host)
    verify(monkeypatch, {"right": server.ca, "other": server.other_ca, "none": tmp_path / "ca.crt"}[ca])
    with pytest.raises(migrations.UnreachableDatabaseError, match=says):
        migrations.connect(dsn)
    async with Database(dsn, "tradewind") as database:
        with pytest.raises(DatabaseUnavailableError, match=says):
            await database.of_endpoint("trading", "trader", None, ())


async def test_a_server_without_tls_is_refused(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, server: TLSServer
) -> None:
    verify(monkeypatch, server.ca)
    async with Database(postgres_dsn, "tradewind") as database:
        with pytest.raises(DatabaseUnavailableError, match="has TLS switched off; switch it on there"):
            await database.of_endpoint("trading", "trader", None, ())
