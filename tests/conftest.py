"""What every test gets: hygiene, and a database of either kind."""

from __future__ import annotations

import contextlib
import functools
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor, tcp
from twisted.logger import LogLevel, globalLogPublisher

from aemos.config import schema
from aemos.model import Instant
from aemos.storage import migrate
from aemos.storage.database import Database, open_database
from aemos.storage.location import dialect_of
from tests.mariadb import MariaDB
from tests.parts import need

_FEW = 5_000
"""Objects that are looked at after each test; looking at all that there are takes far longer."""


def pytest_collection_finish() -> None:
    """What is imported by now stays: collecting garbage after each test need not look at it."""
    _pass_over()


def _pass_over() -> None:
    """Let the collector never look again at what is there now."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def hygiene(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Fail a test that leaves a timer or a listening port behind, or an error nobody looked at.

    pytest-twisted notices none of these. A test that provokes errors takes them out of the list
    that this gives.
    """
    if len(gc.get_objects()) > _FEW:  # imported or kept by earlier tests
        _pass_over()
    problems: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_level") is LogLevel.critical:
            failure = event.get("log_failure")
            text = str(event.get("log_format"))
            problems.append(text if failure is None else f"{text}\n{failure.getTraceback()}")

    timers, ports = set(reactor.getDelayedCalls()), _listening()
    globalLogPublisher.addObserver(observe)
    try:
        yield problems
        gc.collect()  # an error nobody handled is logged when its Deferred goes
    finally:
        globalLogPublisher.removeObserver(observe)
    problems += [f"timer left behind: {call}" for call in set(reactor.getDelayedCalls()) - timers]
    problems += [f"port left behind: {port}" for port in _listening() - ports]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def _listening() -> set[tcp.Port]:
    return {reader for reader in reactor.getReaders() if isinstance(reader, tcp.Port)}


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A running MariaDB server; skips (in CI: fails) where none is installed."""
    need("mariadbd")
    server = MariaDB()
    try:
        server.install()
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "mysql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of either kind in which there is nothing, not even a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'aemos.sqlite'}"
        return
    server: MariaDB = request.getfixturevalue("mariadb")
    name = server.new_database()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=["sqlite", "mysql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of either kind with nothing in it but what migrations make."""
    with migrated(request, tmp_path) as url:
        yield url


@contextlib.contextmanager
def migrated(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Lend a database of the kind `request.param` to a fixture: its URL.

    There is nothing in it but what migrations make, which took place before.
    """
    if request.param == "sqlite":
        path = folder / "aemos.sqlite"
        path.write_bytes(_migrated_file())
        yield f"sqlite:///{path}"
        return
    server: MariaDB = request.getfixturevalue("mariadb")
    name = server.borrow()
    if name is None:
        name = server.new_database()
        _migrate(server.url(name))
        server.keep(name)
    yield server.url(name)
    server.give_back(name)


@functools.cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "aemos.sqlite"
        _migrate(f"sqlite:///{path}")
        return path.read_bytes()


def _migrate(url: str) -> None:
    dialect = dialect_of(settings_for(url))
    with contextlib.closing(dialect.connect(writing=True)) as connection:
        migrate.migrate(connection, dialect, Instant.of(time.time()))


@pytest_twisted.async_yield_fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started database of either kind, migrated, with nothing in it but roles and permissions."""
    database = open_database(reactor, settings_for(database_url))
    await database.start()
    yield database
    await database.stop()


def settings_for(url: str, **changes: Any) -> schema.Settings:
    """Settings for a database that is impatient enough for tests."""
    section = {"url": url, "retry_delay": 0.05, **changes}
    return schema.Settings(database=schema.Database(**section))
