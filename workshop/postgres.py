"""A real PostgreSQL for tests and benchmarks, started from its binaries on a loopback port.

with running() as server:
    migrations.upgrade(server.dsn(server.create_database()))
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psycopg

from tradewind import migrations
from workshop.progress import StepError
from workshop.waiting import wait_for

PASSWORD = "s3cret-of-the-tests"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}
_AS_USERS_HAVE_IT = {"autovacuum": "on", "autovacuum_naptime": "2s"}
"""Statistics follow the rows within seconds: a benchmark has minutes, a user's server days."""


@contextmanager
def running(
    *, autovacuum: bool = False, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator["PostgresServer"]:
    """A server of the block's own, without any database of ours; with autovacuum for what is timed."""
    server = PostgresServer.create({**(_AS_USERS_HAVE_IT if autovacuum else {}), **settings})
    try:
        yield server
    finally:
        server.remove()


def binaries() -> Path:
    """Folder of `initdb` and `postgres`: the newest Debian installation, else PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    if found is None:
        raise StepError(
            "PostgreSQL is not installed", "`apt-get install postgresql`, or put initdb and postgres on PATH"
        )
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
    raise StepError("PostgreSQL refuses to run as root", "add a user named postgres or nobody")


@dataclass
class PostgresServer:
    """A server on a loopback port, in a folder of its own."""

    folder: Path
    port: int
    prefix: list[str]
    uid: int | None
    settings: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls, settings: Mapping[str, str] = MappingProxyType({})) -> "PostgresServer":
        """A running server without any database of ours; `settings` beside those of all."""
        server = cls._in_a_folder(settings)
        password = server.folder / "password"
        password.write_text(PASSWORD)
        server._give(password)
        initdb = [*server.prefix, str(binaries() / "initdb"), "-D", str(server.folder / "data"), "-U", "tradewind",
                  "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C", "--no-sync",
                  "--no-instructions"]  # fmt: skip
        subprocess.run(initdb, check=True, capture_output=True, cwd="/")
        server.start()
        return server

    @classmethod
    def copy_of(cls, other: "PostgresServer") -> "PostgresServer":
        """A running server with the data of one that is stopped: a quarter of the time that making one takes."""
        server = cls._in_a_folder(other.settings)
        subprocess.run(["cp", "-a", str(other.folder / "data"), str(server.folder / "data")], check=True)
        server.start()
        return server

    @classmethod
    def _in_a_folder(cls, settings: Mapping[str, str]) -> "PostgresServer":
        folder = Path(tempfile.mkdtemp(prefix="tradewind-pg-", dir="/tmp"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            server = cls(folder, probe.getsockname()[1], *_as_user(), settings)
        server._give(folder)
        return server

    def _give(self, path: Path) -> None:
        if self.uid is not None:
            os.chown(path, self.uid, -1)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        """Start it and wait until it takes connections. Errors: StepError."""
        options = [part for name, value in {**_SETTINGS, **self.settings}.items() for part in ("-c", f"{name}={value}")]
        command = [*self.prefix, str(binaries() / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
                   "-c", "listen_addresses=127.0.0.1", "-k", str(self.folder), *options]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        wait_for("PostgreSQL to start", self._refusal, lambda told: not told, seconds=30, every=0.05, log=self.log)

    def _refusal(self) -> str:
        assert self.process is not None
        try:
            psycopg.connect(self.dsn("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if self.process.poll() is not None:
                raise StepError("PostgreSQL ended at once", "see its log", self.log) from error
            return str(error)
        return ""

    def keep_statistics(self) -> None:
        """From now on statistics follow the rows, also between crashes, which forget how much has changed."""
        self.stop(signal.SIGINT)
        self.settings = {**self.settings, **_AS_USERS_HAVE_IT, "autovacuum_analyze_scale_factor": "0.01"}
        self.start()

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
            connection.execute(statement)

    def create_database(self, name: str | None = None) -> str:
        """A new database; its name."""
        name = name or f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def empty_database(self, name: str) -> None:
        """Breaks every connection to a database, and empties each table of the schema but that of roles."""
        tables = (
            "SELECT string_agg('tradewind.' || tablename, ', ') FROM pg_tables WHERE schemaname = 'tradewind' "
            f"AND tablename NOT IN ('{migrations.VERSION_TABLE}', 'tenants')"
        )
        with psycopg.connect(self.dsn(name), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [name],
            )
            (found,) = connection.execute(tables).fetchone() or ("",)
            connection.execute(f"TRUNCATE {found} RESTART IDENTITY CASCADE")

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
