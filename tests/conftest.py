"""A real PostgreSQL for the tests, started from its binaries.

Fixtures:
    postgres_server   (session) the running server: `.dsn(database)`, `.create_database()`, `.stop()`, `.start()`.
    postgres_dsn      (test)    DSN of a database with the newest schema and no rows. One a process, emptied after each test:
                      5 ms, where a database of its own took 120 ms and most of the kernel's time. Tests change no schema in it.
    empty_postgres_dsn (test)   DSN of a fresh database without a schema.
    stoppable_postgres (test)   a server of the test's own with the schema in database `tradewind`, to stop and start.
"""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tradewind import migrations
from workshop.postgres import PostgresServer, running

_TORCH_FOLDERS = ("predictor", "training")
_TORCH_FILES = ("test_train.py", "test_base_model.py", "test_tiny_llama.py")
_COSTLY = {"postgres_server", "stopped_postgres", "scratch", "store_rig"}
"""Fixtures of a PostgreSQL or an S3 server, and of a whole checkout in which all checks run once more."""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running() as server:
        yield server


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
    with running() as server:
        server.create_database(name="tradewind")
        migrations.upgrade(server.dsn("tradewind"))
        server.stop(signal.SIGINT)
        yield server


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
    costly = _needs_torch(collection_path) or collection_path.name == "test_benchmarks.py"
    return True if config.getoption("--fast") and costly else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        left_out = [item for item in items if _needs_much(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _needs_much(item: pytest.Item) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    return bool(marks & {"e2e", "slow", "browser", "whole"} or _COSTLY.intersection(getattr(item, "fixturenames", ())))


class ByFile(LoadScopeScheduling):
    """xdist's work units: a file, whose tests share their fixtures; and all files together that need torch.

    Importing torch and what builds on it costs more than most files; one process does it, and forks the others' servers.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        return "torch" if _needs_torch(file) else str(file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)
