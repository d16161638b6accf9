"""A real PostgreSQL for the tests, started from its binaries.

Fixtures:
    postgres_server   (session) the running server: `.dsn(database)`, `.create_database()`, `.stop()`, `.start()`.
    postgres_dsn      (test)    DSN of a database with the newest schema and no rows. One a process, emptied after each test:
                      5 ms, where a database of its own took 120 ms and most of the kernel's time. Tests change no schema in it.
    empty_postgres_dsn (test)   DSN of a fresh database without a schema.
    stoppable_postgres (test)   a server of the test's own with the schema in database `tradewind`, to stop and start.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from xdist.scheduler import LoadScopeScheduling

from tradewind import migrations

PASSWORD = "s3cret-of-the-tests"
_TORCH_FOLDERS = ("predictor", "training")
_TORCH_FILES = ("test_train.py", "test_base_model.py")
_COSTLY = {"postgres_server", "stopped_postgres", "scratch"}
"""Fixtures of a PostgreSQL, and of a whole checkout in which all checks run once more."""
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}


def postgres_bin() -> Path:
    """Folder of `initdb` and `postgres`: the newest Debian installation, else PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    if found is None:
        pytest.fail("PostgreSQL is not installed: `apt-get install postgresql` (or put initdb and postgres on PATH)")
    return Path(found).parent


def _as_user() -> tuple[list[str], int | None]:
    """Prefix and uid to run the server as somebody else than root, which it refuses to be."""
    if os.geteuid() != 0:
        return [], None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"], user.pw_uid
    pytest.fail("running as root and neither user postgres nor nobody exists; PostgreSQL refuses to run as root")


@dataclass
class PostgresServer:
    """A server on a loopback port, in a folder of its own."""

    folder: Path
    port: int
    prefix: list[str]
    uid: int | None
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls) -> "PostgresServer":
        """A running server without any database of ours."""
        server = cls._in_a_folder()
        password = server.folder / "password"
        password.write_text(PASSWORD)
        server._give(password)
        initdb = [*server.prefix, str(postgres_bin() / "initdb"), "-D", str(server.folder / "data"), "-U", "tradewind",
                  "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C", "--no-sync",
                  "--no-instructions"]  # fmt: skip
        subprocess.run(initdb, check=True, capture_output=True, cwd="/")
        server.start()
        return server

    @classmethod
    def copy_of(cls, other: "PostgresServer") -> "PostgresServer":
        """A running server with the data of one that is stopped: a quarter of the time that making one takes."""
        server = cls._in_a_folder()
        subprocess.run(["cp", "-a", str(other.folder / "data"), str(server.folder / "data")], check=True)
        server.start()
        return server

    @classmethod
    def _in_a_folder(cls) -> "PostgresServer":
        folder = Path(tempfile.mkdtemp(prefix="tradewind-pg-", dir="/tmp"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            server = cls(folder, probe.getsockname()[1], *_as_user())
        server._give(folder)
        return server

    def _give(self, path: Path) -> None:
        if self.uid is not None:
            os.chown(path, self.uid, -1)

    def start(self) -> None:
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [*self.prefix, str(postgres_bin() / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
                   "-c", "listen_addresses=127.0.0.1", "-k", str(self.folder), *options]  # fmt: skip
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        log.close()
        for _ in range(200):
            try:
                psycopg.connect(self.dsn("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None:
                    break
                self.process_wait(0.05)
        pytest.fail(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def process_wait(self, seconds: float) -> None:
        assert self.process is not None
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Immediate shutdown, like a lost node: connections break, nothing is flushed. SIGINT shuts down in order."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None

    def freeze(self, *, thaw: bool = False) -> None:
        """Stops (or continues) every process of the server: connections stay open and nothing answers."""
        assert self.process is not None
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, parent = int(entry.parent.name), int(entry.read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if self.process.pid in (pid, parent):
                os.kill(pid, signal.SIGCONT if thaw else signal.SIGSTOP)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, database: str) -> str:
        return f"postgresql://tradewind:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def create_database(self, name: str | None = None) -> str:
        """A new database; its name."""
        name = name or f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def empty_database(self, name: str) -> None:
        """Breaks every connection to a database, and empties each table of the schema."""
        tables = (
            "SELECT string_agg('tradewind.' || tablename, ', ') FROM pg_tables WHERE schemaname = 'tradewind' "
            f"AND tablename <> '{migrations.VERSION_TABLE}'"
        )
        with psycopg.connect(self.dsn(name), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [name],
            )
            (found,) = connection.execute(tables).fetchone() or ("",)  # type: ignore[call-overload]
            connection.execute(f"TRUNCATE {found} RESTART IDENTITY CASCADE")  # type: ignore[call-overload]

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer.create()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def migrated_database(postgres_server: PostgresServer) -> str:
    name = postgres_server.create_database(name="tradewind")
    migrations.upgrade(postgres_server.dsn(name))
    return name


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer, migrated_database: str) -> Iterator[str]:
    yield postgres_server.dsn(migrated_database)
    postgres_server.empty_database(migrated_database)


@pytest.fixture
def empty_postgres_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    name = postgres_server.create_database()
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def stopped_postgres() -> Iterator[PostgresServer]:
    server = PostgresServer.create()
    server.create_database(name="tradewind")
    migrations.upgrade(server.dsn("tradewind"))
    server.stop(signal.SIGINT)
    yield server
    server.remove()


@pytest.fixture
def stoppable_postgres(stopped_postgres: PostgresServer) -> Iterator[PostgresServer]:
    server = PostgresServer.copy_of(stopped_postgres)
    yield server
    server.remove()


def _needs_torch(file: Path) -> bool:
    return file.parent.name in _TORCH_FOLDERS or file.name in _TORCH_FILES


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only what needs no cluster, PostgreSQL, Chromium or torch")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("--fast") and _needs_torch(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        left_out = [item for item in items if _needs_much(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _needs_much(item: pytest.Item) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    return bool(marks & {"e2e", "slow", "browser"} or _COSTLY.intersection(getattr(item, "fixturenames", ())))


class ByFile(LoadScopeScheduling):
    """xdist's work units: a file, whose tests share their fixtures; and all files together that need torch.

    Importing torch and what builds on it costs more than most files; one process does it, and forks the others' servers.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        return "torch" if _needs_torch(file) else str(file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)
