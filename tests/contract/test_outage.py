"""The database may go away: nothing is reported stored that is not, and all resumes (P1, P6)."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.logger import capturedLogs
from twisted.protocols import portforward

from aemos.errors import RowRefused, StartError, StorageUnavailable
from aemos.storage.database import Database, open_database
from aemos.storage.dialects.sqlite import SQLite, SQLiteConnection
from aemos.storage.transaction import Transaction
from tests.conftest import settings_for
from tests.mariadb import MariaDB
from tests.rows import plant, reading, store, until, values


@pytest.fixture
def own_server() -> Iterator[MariaDB]:
    """A server that this test may kill."""
    server = MariaDB()
    try:
        server.install()
        server.start()
        yield server
    finally:
        server.stop()


async def test_a_killed_server_loses_nothing_and_writing_resumes(own_server: MariaDB) -> None:
    database = open_database(reactor, settings_for(own_server.url(own_server.new_database())))
    await database.start()
    variable = await database.transact(plant)
    stored: list[int] = []
    submitted = 0

    def submit() -> None:
        nonlocal submitted
        number, submitted = submitted, submitted + 1
        store(database, reading(variable, number)).addCallback(
            lambda error: stored.append(number) if error is None else None
        )

    def keep_on(count: int) -> Callable[[], bool]:
        def enough() -> bool:
            if submitted - len(stored) < 200:
                submit()
            return len(stored) >= count

        return enough

    await until(keep_on(100))
    own_server.kill()
    await until(lambda: database.writer.away_since is not None)
    with pytest.raises(StorageUnavailable):
        await database.ping()
    with pytest.raises(StorageUnavailable):
        await database.read(lambda tx: tx.value("SELECT 1"))
    with pytest.raises(StorageUnavailable):
        await database.transact(plant)
    before = len(stored)
    for _ in range(50):
        submit()
    own_server.start()
    await until(lambda: len(stored) == submitted)
    assert len(stored) > before
    assert stored == list(range(submitted))
    assert await values(database) == [str(number) for number in stored]  # each one once
    assert database.writer.away_since is None
    await database.ping()
    await database.stop()


async def test_what_cannot_be_committed_in_the_grace_is_never_answered(
    own_server: MariaDB,
) -> None:
    database = open_database(reactor, settings_for(own_server.url(own_server.new_database())))
    await database.start()
    variable = await database.transact(plant)
    own_server.kill()
    answered: list[object] = []
    store(database, reading(variable)).addCallback(answered.append)
    await database.stop(grace=0.2)
    assert answered == []


async def test_a_server_that_is_not_there_stops_the_start(unused_port: int) -> None:
    url = f"mysql://user:secret@127.0.0.1:{unused_port}/name"
    database = open_database(reactor, settings_for(url))
    with pytest.raises(StartError, match="cannot be opened") as raised:
        await database.start()
    assert "secret" not in str(raised.value)
    await database.stop()


@pytest.fixture
def unused_port() -> int:
    port: IListeningPort = reactor.listenTCP(0, ClientFactory(), interface="127.0.0.1")  # type: ignore[attr-defined]
    number = port.getHost().port
    pytest_twisted.blockon(port.stopListening())
    return int(number)


class Wire:
    """A TCP proxy in front of the server that cuts a connection at its next COMMIT.

    `cut` is "reply": the server gets the COMMIT, its answer is lost; "request": the COMMIT itself
    is lost; "" passes everything.
    """

    def __init__(self, server: MariaDB) -> None:
        self.cut = ""
        self.cuts = 0
        wire = self

        class Upstream(portforward.ProxyClient):
            def dataReceived(self, data: bytes) -> None:
                if self.peer.committing:
                    wire.cut_off(self, self.peer)
                else:
                    super().dataReceived(data)

        class UpstreamFactory(portforward.ProxyClientFactory):
            noisy = False
            protocol = Upstream

        class Downstream(portforward.ProxyServer):
            clientProtocolFactory = UpstreamFactory
            committing = False

            def dataReceived(self, data: bytes) -> None:
                if wire.cut and data.endswith((b"\x03COMMIT", b"; COMMIT AND CHAIN")):
                    if wire.cut == "request":
                        wire.cut_off(self, self.peer)
                        return
                    self.committing = True
                super().dataReceived(data)

        class Factory(portforward.ProxyFactory):
            noisy = False
            protocol = Downstream

            def buildProtocol(self, addr: IAddress) -> Protocol:
                built: Protocol = super().buildProtocol(addr)
                wire.open.append(built)
                return built

        self.open: list[Protocol] = []
        self.port: IListeningPort = reactor.listenTCP(  # type: ignore[attr-defined]
            0, Factory("127.0.0.1", server.port), interface="127.0.0.1"
        )

    def cut_off(self, *ends: Protocol) -> None:
        self.cut = ""
        self.cuts += 1
        for end in ends:
            end.transport.abortConnection()  # type: ignore[union-attr]

    async def close(self) -> None:
        await self.port.stopListening()
        await until(lambda: not any(end.transport.connected for end in self.open))  # type: ignore[union-attr]


@pytest_twisted.async_yield_fixture
async def wire(mariadb: MariaDB) -> AsyncIterator[Wire]:
    wire = Wire(mariadb)
    yield wire
    await wire.close()


@pytest_twisted.async_yield_fixture
async def behind(wire: Wire, mariadb: MariaDB) -> AsyncIterator[Database]:
    """A database behind the wire."""
    url = mariadb.url(mariadb.new_database(), wire.port.getHost().port)
    database = open_database(reactor, settings_for(url))
    await database.start()
    yield database
    await database.stop()


@pytest.mark.parametrize("cut", ["reply", "request"])
async def test_a_commit_that_breaks_off_stores_each_row_once(
    wire: Wire, behind: Database, cut: str
) -> None:
    variable = await behind.transact(plant)
    await store(behind, reading(variable, "first"))
    for number in range(5):
        wire.cut = cut
        item = reading(variable, number)
        assert await store(behind, item) is None
        assert await behind.read(
            lambda tx, item=item: tx.value("SELECT value FROM DataStream WHERE id = %s", (item.id,))
        ) == str(number)
    assert wire.cuts == 5
    assert await values(behind) == ["first", "0", "1", "2", "3", "4"]


async def test_a_transaction_whose_commit_breaks_off_is_not_repeated(
    wire: Wire, behind: Database
) -> None:
    wire.cut = "reply"
    with pytest.raises(StorageUnavailable):
        await behind.transact(plant)
    assert await behind.read(lambda tx: tx.value("SELECT COUNT(*) FROM Sensor")) == 1


async def test_connections_that_the_server_dropped_when_idle_are_replaced(
    mariadb: MariaDB,
) -> None:
    url = mariadb.url(mariadb.new_database())
    database = open_database(reactor, settings_for(url, ping_after=0, pool_size=1))
    await database.start()
    variable = await database.transact(plant)
    await store(database, reading(variable, "before"))
    # What `wait_timeout` does to them, without the wait.
    name = url.rpartition("/")[2]
    processes = "SELECT id FROM information_schema.PROCESSLIST WHERE db = %s"
    for (process,) in mariadb.execute(processes, (name,)):
        mariadb.execute(f"KILL {process}")
    await until(lambda: not mariadb.execute(processes, (name,)))
    assert await values(database) == ["before"]
    await database.transact(plant)
    with capturedLogs() as said:
        assert await store(database, reading(variable, "after")) is None
    assert [event["log_format"] for event in said] == []  # nobody takes it for an outage
    assert await values(database) == ["before", "after"]
    await database.stop()


async def test_a_real_idle_time_out_is_survived_without_pings(mariadb: MariaDB) -> None:
    mariadb.execute("SET GLOBAL wait_timeout = 1")
    try:
        url = mariadb.url(mariadb.new_database())
        database = open_database(reactor, settings_for(url, ping_after=3600, pool_size=1))
        await database.start()
        variable = await database.transact(plant)
        await store(database, reading(variable, "before"))
        name = url.rpartition("/")[2]
        processes = "SELECT id FROM information_schema.PROCESSLIST WHERE db = %s"
        await until(lambda: not mariadb.execute(processes, (name,)))
        assert await values(database) == ["before"]
        await until(lambda: not mariadb.execute(processes, (name,)))
        await database.transact(plant)
        assert await store(database, reading(variable, "after")) is None
        await database.stop()
    finally:
        mariadb.execute("SET GLOBAL wait_timeout = DEFAULT")


class Disk(SQLite):
    """A SQLite file on a disk that may fill up: SQLite itself refuses more pages than `pages`."""

    pages = 1_000_000

    def connect(self, *, writing: bool, patient: bool = False) -> SQLiteConnection:
        connection = super().connect(writing=writing, patient=patient)
        assert isinstance(connection, SQLiteConnection)
        connection.execute(f"PRAGMA max_page_count = {self.pages}")
        return connection


async def test_a_full_disk_makes_writing_wait_and_reading_go_on(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path / "aemos.sqlite"), busy_timeout=0.05)
    database = Database(reactor, disk, settings_for(""))
    await database.start()
    variable = await database.transact(plant)
    # Connections made from now on may not add a page; the writer opens one after its first failure.
    disk.pages = 1
    fill = [reading(variable, "x" * 50) for _ in range(20_000)]
    with contextlib.closing(sqlite3.connect(tmp_path / "aemos.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")  # makes the writer lose its connection with "locked"
        answer = store(database, *fill)
        answered: list[object] = []
        answer.addCallback(answered.append)
        await until(lambda: database.writer.away_since is not None)
        other.execute("ROLLBACK")
    await until(lambda: database.writer.queued == len(fill))
    assert answered == []
    with pytest.raises(StorageUnavailable):
        await database.transact(plant)
    with pytest.raises(StorageUnavailable):
        await database.ping()
    assert await values(database) == []
    disk.pages = 1_000_000
    await until(lambda: answered == [None])
    assert len(await values(database)) == len(fill)
    await database.transact(plant)
    await database.stop()


async def test_transactions_that_wait_behind_a_batch_fail_when_the_disk_is_full(
    tmp_path: Path,
) -> None:
    disk = Disk(str(tmp_path / "aemos.sqlite"), busy_timeout=0.05)
    database = Database(reactor, disk, settings_for(""))
    await database.start()
    variable = await database.transact(plant)
    with contextlib.closing(sqlite3.connect(tmp_path / "aemos.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        stored = store(database, reading(variable))
        waiting = database.transact(plant)
        with pytest.raises(StorageUnavailable):
            await waiting
        other.execute("ROLLBACK")
    assert await stored is None
    await database.stop()


async def test_a_locked_row_is_waited_for_and_not_refused(mariadb: MariaDB) -> None:
    """A lock time-out is nobody's fault: the unit is tried again until the lock is gone."""
    name = mariadb.new_database()
    database = open_database(reactor, settings_for(mariadb.url(name)))
    await database.start()
    variable = await database.transact(plant)
    with contextlib.closing(mariadb.connect(name)) as other:
        other.begin()
        other.cursor().execute("SELECT * FROM TelemetryData FOR UPDATE")
        answers: list[RowRefused | None] = []
        for number in range(2):
            store(database, reading(variable, number)).addCallback(answers.append)
        await until(lambda: database.writer.away_since is not None)
        assert answers == []
        other.rollback()
    await until(lambda: answers == [None] * 2)
    assert await values(database) == ["0", "1"]
    await database.stop()


async def test_a_deadlock_is_tried_again(mariadb: MariaDB) -> None:
    database = open_database(reactor, settings_for(mariadb.url(mariadb.new_database())))
    await database.start()
    variable = await database.transact(plant)
    answers: list[Deferred[RowRefused | None]] = []
    sensors = [await database.transact(plant) for _ in range(2)]

    def cross(tx: Transaction, order: list[int]) -> None:
        for sensor in order:
            tx.execute("UPDATE TelemetryData SET datatype = 'x' WHERE id = %s", (sensor,))

    both = [sensors, list(reversed(sensors))]
    for number in range(30):
        answers.append(store(database, reading(variable, number)))
    await gatherResults([database.transact(cross, order) for order in both * 10])
    assert await gatherResults(answers) == [None] * 30
    await database.stop()
