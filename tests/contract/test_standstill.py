"""A database that is there and does nothing: hangs, is locked, was moved or altered (P1, P6)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from aemos.errors import RowRefused, StartError, StorageUnavailable
from aemos.storage.database import Database, open_database
from aemos.storage.dialects.sqlite import FileMoved, SQLite
from tests.conftest import settings_for
from tests.mariadb import MariaDB
from tests.rows import plant, reading, store, until, values


@pytest.fixture
def hung_port() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


async def test_a_server_that_greets_nobody_counts_as_away_after_the_connect_timeout(
    hung_port: int,
) -> None:
    url = f"mysql://user:secret@127.0.0.1:{hung_port}/name"
    database = open_database(reactor, settings_for(url, connect_timeout=1.0, query_timeout=60.0))
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        await database.read(lambda tx: tx.value("SELECT 1"))
    with pytest.raises(StartError):
        await database.start()
    assert time.monotonic() - began < 5
    await database.stop()


async def test_a_server_that_hangs_keeps_nobody_from_stopping(mariadb: MariaDB) -> None:
    name = mariadb.new_database()
    settings = settings_for(mariadb.url(name), connect_timeout=1.0, query_timeout=60.0, pool_size=2)
    database = open_database(reactor, settings)
    await database.start()
    variable = await database.transact(plant)
    answered: list[object] = []
    os.kill(mariadb.pid, signal.SIGSTOP)
    try:
        waiting = [database.read(lambda tx: tx.value("SELECT 1")) for _ in range(4)]
        for one in waiting:
            one.addBoth(answered.append)
        stored = store(database, reading(variable))
        stored.addBoth(answered.append)
        began = time.monotonic()
        await database.stop(grace=0.1)
        assert time.monotonic() - began < 8
    finally:
        os.kill(mariadb.pid, signal.SIGCONT)
    await until(lambda: len(answered) == len(waiting))  # the reading is never acknowledged
    assert not stored.called


async def test_a_locked_table_is_no_readiness_and_costs_nothing(mariadb: MariaDB) -> None:
    name = mariadb.new_database()
    database = open_database(reactor, settings_for(mariadb.url(name)))
    await database.start()
    variable = await database.transact(plant)
    with contextlib.closing(mariadb.connect(name)) as other:
        other.cursor().execute("LOCK TABLES DataStream WRITE")
        stored = store(database, reading(variable))
        with pytest.raises(StorageUnavailable, match="commits nothing"):
            await database.ping()
        # The server would let the statement wait for a day.
        await until(lambda: database.writer.away_since is not None)
        assert not stored.called
        other.cursor().execute("UNLOCK TABLES")
    assert await stored is None
    await database.ping()
    assert await values(database) == ["1"]
    await database.stop()


async def test_a_busy_database_answers_a_ping(database: Database) -> None:
    variable = await database.transact(plant)
    answers = [store(database, reading(variable, number)) for number in range(50)]
    await database.ping()
    assert await gatherResults(answers) == [None] * 50


async def test_who_waits_behind_a_lock_of_another_process_waits_no_longer_than_the_first(
    tmp_path: Path,
) -> None:
    path = tmp_path / "aemos.sqlite"
    database = Database(reactor, SQLite(str(path), busy_timeout=1.0), settings_for(""))
    await database.start()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        outcomes = [database.transact(plant) for _ in range(10)]
        for outcome in outcomes:
            with pytest.raises(StorageUnavailable):
                await outcome
        assert time.monotonic() - began < 5  # not 10
        other.execute("ROLLBACK")
    await database.transact(plant)
    await database.stop()


async def test_nothing_is_acknowledged_into_a_file_that_was_moved_away(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "data" / "aemos.sqlite", tmp_path / "elsewhere"
    database = open_database(reactor, settings_for(f"sqlite:///{path}"))
    await database.start()
    variable = await database.transact(plant)
    assert await store(database, reading(variable, "before")) is None
    path.parent.rename(elsewhere)
    stored = store(database, reading(variable, "meanwhile"))
    await until(lambda: database.writer.away_since is not None)
    assert not stored.called
    with pytest.raises(StorageUnavailable):
        await database.transact(plant)
    with pytest.raises(FileMoved):
        database.dialect.connect(writing=True)
    assert not path.parent.exists()  # no new database, without tables, in its place
    elsewhere.rename(path.parent)
    assert await stored is None
    assert await values(database) == ["before", "meanwhile"]
    await database.stop()


@pytest.mark.parametrize(
    ("alter", "mend"),
    [
        ("ALTER TABLE DataStream RENAME TO Old", "ALTER TABLE Old RENAME TO DataStream"),
        (
            "ALTER TABLE DataStream RENAME COLUMN value TO old",
            "ALTER TABLE DataStream RENAME COLUMN old TO value",
        ),
    ],
)
async def test_readings_wait_for_a_table_that_was_altered_by_hand(
    database: Database, alter: str, mend: str
) -> None:
    variable = await database.transact(plant)
    await database.transact(lambda tx: tx.execute(alter))
    answers: list[RowRefused | None] = []
    store(database, reading(variable)).addCallback(answers.append)
    await until(lambda: database.writer.away_since is not None)
    assert answers == []
    with contextlib.closing(database.dialect.connect(writing=True)) as other:
        other.cursor().execute(mend)
    await until(lambda: answers == [None])
    assert await values(database) == ["1"]


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says", b"\0" * 8192])
async def test_a_file_that_is_no_database_stops_the_start_with_a_line(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "aemos.sqlite"
    path.write_bytes(content)
    database = open_database(reactor, settings_for(f"sqlite:///{path}"))
    with pytest.raises(StartError, match="cannot be opened"):
        await database.start()
    await database.stop()
    assert path.read_bytes() == content


async def test_a_folder_that_cannot_be_made_stops_the_start_with_a_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    url = f"sqlite:///{tmp_path / 'data' / 'aemos.sqlite'}"
    database = open_database(reactor, settings_for(url))
    with pytest.raises(StartError, match="cannot be opened"):
        await database.start()
    await database.stop()
