"""What the embedded database's image does at its start: nobody is a superuser who comes from outside."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tradewind import migrations
from tradewind.migrations import tenants
from workshop import postgres
from workshop.waiting import wait_for

SCRIPT = Path(__file__).parents[2] / "images" / "postgres" / "entrypoint.sh"


class Pod:
    """The image's program on a folder; the socket's folder is /tmp, as in the image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, password: str) -> None:
        prefix, _ = postgres._as_user()
        environment = {
            "PATH": f"{postgres.binaries()}:/usr/bin:/bin",
            "PGDATA": str(self.folder / "pgdata"),
            "POSTGRES_PASSWORD": password,
        }
        command = [*prefix, "/bin/sh", str(SCRIPT), "-p", str(self.port), "-c", "fsync=off"]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd="/")
        wait_for("PostgreSQL to start", lambda: self.refusal("tradewind", password), lambda told: not told, seconds=60)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            self.process = None

    def dsn(self, user: str, password: str, host: str = "127.0.0.1") -> str:
        return f"host={host} port={self.port} user={user} password={password} dbname=tradewind"

    def refusal(self, user: str, password: str) -> str:
        try:
            psycopg.connect(self.dsn(user, password), connect_timeout=5).close()
        except psycopg.OperationalError as error:
            return str(error)
        return ""


@pytest.fixture
def pod() -> Iterator[Pod]:
    folder = Path(tempfile.mkdtemp(prefix="tradewind-image-", dir="/tmp"))
    _, uid = postgres._as_user()
    if uid is not None:
        os.chown(folder, uid, -1)
    made = Pod(folder)
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


def powers(dsn: str) -> tuple[object, ...] | None:
    query = "SELECT rolsuper, rolbypassrls, rolreplication, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchone()


def programs_refused(dsn: str) -> None:
    for attempt in (
        "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'",
        "CREATE TEMP TABLE t (x text); COPY t FROM PROGRAM 'id'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "ALTER ROLE tradewind SUPERUSER",
    ):
        with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(attempt)


def test_the_owner_is_no_superuser_and_the_superuser_comes_by_the_socket_alone(pod: Pod) -> None:
    pod.start("first")
    owner = pod.dsn("tradewind", "first")
    assert powers(owner) == (False, False, False, True)
    assert "rejects" in pod.refusal("postgres", "first")
    with psycopg.connect(pod.dsn("postgres", "", "/tmp")) as connection:
        assert connection.execute("SELECT rolname FROM pg_authid WHERE rolsuper").fetchall() == [("postgres",)]
        assert connection.execute("SELECT rolpassword FROM pg_authid WHERE rolsuper").fetchall() == [(None,)]
    migrations.upgrade(owner)
    made = tenants.add(owner, "tradewind", "trading", password="t")
    assert powers(pod.dsn(made.role, "t")) == (False, False, False, False)
    for attempt in ("CREATE TEMP TABLE t (x int)", "CREATE TABLE public.t (x int)", "CREATE SCHEMA mine"):
        with (
            psycopg.connect(pod.dsn(made.role, "t")) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(attempt)
    programs_refused(owner)
    pod.stop()
    pod.start("second")
    assert "password" in pod.refusal("tradewind", "first")
    assert not pod.refusal(made.role, "t")


def test_the_superuser_of_an_earlier_version_becomes_the_owner_and_its_clients_stay(pod: Pod) -> None:
    """Seen: the DSN that was shared was a superuser's. It goes on working, for gateways that run, and is none any more."""
    prefix, _ = postgres._as_user()
    secret = pod.folder / "password"
    secret.write_text("first")
    secret.chmod(0o644)
    initdb = [*prefix, str(postgres.binaries() / "initdb"), "-D", str(pod.folder / "pgdata"), "-U", "tradewind",
              "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync"]  # fmt: skip
    subprocess.run(initdb, check=True, capture_output=True, cwd="/")
    create = [*prefix, str(postgres.binaries() / "postgres"), "--single", "-D", str(pod.folder / "pgdata"), "postgres"]
    subprocess.run(create, check=True, capture_output=True, cwd="/", input=b"CREATE DATABASE tradewind\n")
    server = postgres.PostgresServer(pod.folder, pod.port, prefix, None, {})
    (pod.folder / "data").symlink_to(pod.folder / "pgdata")
    server.process = subprocess.Popen(
        [*prefix, str(postgres.binaries() / "postgres"), "-D", str(pod.folder / "pgdata"), "-p", str(pod.port), "-k",
         str(pod.folder), "-c", "listen_addresses=127.0.0.1"], cwd="/", stderr=subprocess.DEVNULL)  # fmt: skip
    dsn = pod.dsn("tradewind", "first")
    wait_for("PostgreSQL to start", lambda: pod.refusal("tradewind", "first"), lambda told: not told, seconds=60)
    migrations.upgrade(dsn, "0017")
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO tradewind.replay_clock VALUES ('tradewind', 'trading', 'trader', now())")
    server.stop()
    pod.start("first")
    assert powers(dsn) == (False, False, False, True)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM tradewind.replay_clock").fetchone() == (1,)
    migrations.upgrade(dsn)
    assert migrations.current(dsn) == migrations.head()
    made = tenants.add(dsn, "tradewind", "trading", password="t")
    with psycopg.connect(pod.dsn(made.role, "t")) as connection:
        assert connection.execute("SELECT count(*) FROM tradewind.replay_clock").fetchone() == (1,)
