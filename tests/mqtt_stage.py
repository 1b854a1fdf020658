"""The whole MQTT door on in-memory transports and a clock, with small services behind it.

What it judges and admits is decided by plain rules that a test can change; nothing is a mock.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from aemos.config.schema import Mqtt
from aemos.errors import AemosError, Unauthenticated
from aemos.model import (
    ACCEPTED,
    ANONYMOUS,
    Burst,
    BurstDone,
    Code,
    Done,
    Instant,
    Message,
    Principal,
    PrincipalKind,
    Verdict,
)
from aemos.mqtt.announcements import Announcements
from aemos.mqtt.broker import Broker
from aemos.mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    Publish,
    PubRec,
    PubRel,
    Rules,
    SubAck,
    Subscribe,
    Will,
    decode,
)
from aemos.mqtt.protocol import MqttFactory, MqttProtocol
from aemos.mqtt.wire import Splitter
from aemos.services.events import Events, MessageRefused
from aemos.storage import migrate
from aemos.storage.dialects.sqlite import SQLite, SQLiteConnection
from aemos.storage.transaction import Transaction, in_transaction
from aemos.storage.writer import Unit

ROOT = Principal(PrincipalKind.USER, "root@x.example", 1, administrator=True)
REFUSED = Verdict(Code.INVALID_DATA_STREAM, "no such reading")


def sensor(name: str, **changes: Any) -> Principal:
    """@return: the principal of a sensor."""
    return Principal(PrincipalKind.SENSOR, name, 7, {1: frozenset()}, **changes)


@attrs.define
class Door:
    """A yes-or-no question that is answered at once, or when the test says so."""

    waiting: list[Callable[[], object]] = attrs.field(factory=list)
    later: bool = False

    def answer(self, call: Callable[[], object]) -> None:
        if self.later:
            self.waiting.append(call)
        else:
            call()

    def open(self, count: int | None = None) -> None:
        """Answer what waits, the first `count` or all."""
        calls = self.waiting[:count]
        del self.waiting[: len(calls)]
        for call in calls:
            call()


class MemoryRouter:
    """Accepts every message, except payloads that hold `refuse`; `door` may make it wait."""

    def __init__(self, events: Events) -> None:
        self.handled: list[Message] = []
        self.denied: list[Message] = []
        self.door = Door()
        self._events = events

    def handle(self, message: Message, done: Done) -> None:
        self.handled.append(message)
        verdict = REFUSED if b"refuse" in message.payload else ACCEPTED
        self.door.answer(lambda: self._finish(message, verdict, done))

    def handle_burst(self, burst: Burst, done: BurstDone) -> None:
        verdicts: list[Verdict] = []

        def decided(verdict: Verdict) -> None:
            verdicts.append(verdict)
            if len(verdicts) == len(burst.payloads):
                done(verdicts)

        for message in burst.apart():
            self.handle(message, decided)

    def refuse(self, message: Message, verdict: Verdict, done: Done) -> None:
        self.denied.append(message)
        self._finish(message, verdict, done)

    def _finish(self, message: Message, verdict: Verdict, done: Done) -> None:
        if not verdict.accepted:
            self._events.publish(MessageRefused(message, verdict))
        done(verdict)


class MemoryLogin:
    """Knows principals by user name; the password is `pw`. No user name: anonymous."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {"root": ROOT}
        self.failure: AemosError | None = None
        self.door = Door()

    def authenticate(
        self,
        username: str | None,
        password: bytes | None,
        private: bool,
        done: Callable[[Principal | AemosError], object],
    ) -> None:
        self.door.answer(lambda: done(self._who(username, password)))

    def certified(
        self, name: str, username: str | None, done: Callable[[Principal | AemosError], object]
    ) -> None:
        self.door.answer(lambda: done(self._who(name, b"pw")))

    def refresh(
        self, principal: Principal, done: Callable[[Principal | AemosError], object]
    ) -> None:
        if principal is ANONYMOUS:
            done(principal)
            return
        now = [known for known in self.known.values() if known.key == principal.key]
        self.door.answer(lambda: done(self.failure or (now or [Unauthenticated("revoked")])[0]))

    def _who(self, username: str | None, password: bytes | None) -> Principal | AemosError:
        if self.failure is not None:
            return self.failure
        if username is None:
            return ANONYMOUS
        if username in self.known and password == b"pw":
            return self.known[username]
        return Unauthenticated("unknown name or wrong token")


class MemoryRights:
    """Everything is allowed but topics that hold one of the words, for all or for one client."""

    def __init__(self) -> None:
        self.publish_denied: set[str] = {"denied"}
        self.subscribe_denied: set[str] = {"denied"}
        self.receive_denied: set[str] = set()
        self.door = Door()

    @property
    def filters_delivery(self) -> bool:
        return bool(self.receive_denied)

    def may_publish(
        self, principal: Principal, client_id: str, topic: str, done: Callable[[bool], object]
    ) -> None:
        allowed = not any(word in topic for word in self.publish_denied)
        self.door.answer(lambda: done(allowed))

    def may_subscribe(
        self, principal: Principal, client_id: str, filter: str, done: Callable[[bool], object]
    ) -> None:
        allowed = not any(word in filter for word in self.subscribe_denied)
        self.door.answer(lambda: done(allowed))

    def may_receive(self, principal: Principal, client_id: str, topic: str) -> bool:
        return not any(word in topic for word in self.receive_denied)


class MemoryRoom:
    """The writer's fill level as the test sets it."""

    max_batch = 500

    def __init__(self) -> None:
        self._full = False
        self._waiting: list[Callable[[], object]] = []

    @property
    def full(self) -> bool:
        return self._full

    @full.setter
    def full(self, full: bool) -> None:
        self._full = full
        if not full:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()

    def when_room(self, callback: Callable[[], object]) -> None:
        if self._full:
            self._waiting.append(callback)
        else:
            callback()


class MemoryDatabase:
    """SQLite in memory; what is submitted is committed in the next turn, or when the test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.door = Door()
        self.units = 0
        self._dialect = SQLite(":memory:")
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, factory=SQLiteConnection
        )
        _template().backup(self._connection)

    @property
    def writer(self) -> MemoryDatabase:
        return self

    def submit(self, unit: Unit) -> None:
        self.units += 1
        self.door.answer(lambda: self.clock.callLater(0, self._commit, unit))

    def read(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return maybeDeferred(self.run, function, *args)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run `function(tx, *args)` in a transaction. @return: its result."""
        now = Instant.of(self.clock.seconds())
        return in_transaction(self._connection, self._dialect, now, function, *args)

    def _commit(self, unit: Unit) -> None:
        def store(tx: Transaction) -> None:
            for rows, items in unit.parts:
                rows.store(tx, items)

        self.run(store)
        unit.done(None)


@functools.cache
def _template() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=SQLiteConnection)
    migrate.migrate(connection, SQLite(":memory:"), Instant(0), migrate.available(SQLite("")))
    return connection


class ClosingTransport(StringTransport):
    """A StringTransport whose connection ends as a real one does, telling the protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: MqttProtocol | None = None
        self.lingering = False

    def loseConnection(self) -> None:
        super().loseConnection()
        if not self.lingering:
            self._tell()

    def abortConnection(self) -> None:
        super().abortConnection()
        self._tell()

    def unregisterProducer(self) -> None:
        self.producer = None

    def _tell(self) -> None:
        self.connected = False
        if self.protocol is not None:
            protocol, self.protocol = self.protocol, None
            protocol.connectionLost(Failure(ConnectionDone()))


_UNHURRIED = {
    "refusal_time": 0.0,
    "publish_rate": 0.0,
    "publish_bytes": 0.0,
    "trusted_networks": (),
}
"""No waiting for a clock that stands still."""


class Client:
    """The far end: sends packets or bytes, reads what the server has sent."""

    def __init__(self, stage: Stage, level: int = 4, address: IPv4Address | None = None) -> None:
        self._stage = stage
        self._splitter = Splitter(limit=1 << 28)
        self._rules = Rules(level, strict_text=False)
        self.transport = ClosingTransport()
        if address is not None:
            self.transport.peerAddr = address
        protocol = stage.factory.buildProtocol(address)
        assert protocol is not None
        self.protocol = self.transport.protocol = protocol
        protocol.makeConnection(self.transport)

    def send(self, *packets: Packet | bytes) -> None:
        """Send everything in one read of the server, and let it answer."""
        self.feed(b"".join(p if isinstance(p, bytes) else p.encode() for p in packets))

    def feed(self, data: bytes) -> None:
        self.protocol.dataReceived(data)
        self._stage.turn()

    def take(self) -> bytes:
        """@return: the bytes that the server has sent since the last look."""
        self._stage.turn()
        raw = self.transport.value()
        self.transport.clear()
        return raw

    def packets(self) -> list[Packet]:
        """@return: the same as packets."""
        found = []
        raw = self.take()
        if self._splitter.feed(raw):
            for first, buffer, start, end in self._splitter.packets():
                found.append(decode(first, buffer[start:end], self._rules))
        return found

    def publishes(self) -> list[Publish]:
        """@return: the PUBLISHes among them."""
        return [packet for packet in self.packets() if isinstance(packet, Publish)]

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection."""
        return self.transport.disconnecting or not self.transport.connected

    def drop(self) -> None:
        """Lose the connection without DISCONNECT."""
        self.transport._tell()
        self._stage.turn()

    def subscribe(self, *filters: tuple[str, int], packet_id: int = 1) -> list[Packet]:
        """@return: what comes back, SUBACK first."""
        self.send(Subscribe(packet_id, filters))
        answer = self.packets()
        assert isinstance(answer[0], SubAck)
        return answer


class Stage:
    """A broker with its services; makes clients."""

    def __init__(
        self,
        database: MemoryDatabase | None = None,
        events: Events | None = None,
        login: Any = None,
        rights: Any = None,
        clock: Clock | None = None,
        **settings: Any,
    ) -> None:
        """@param database: what an earlier stage left behind; it is that server's next start.

        @param login, rights: others than the plain ones, which work by that clock.
        """
        self.clock = clock or Clock()
        self.clock.advance(1_700_000_000 - self.clock.seconds())
        self.events = events or Events()
        self.router = MemoryRouter(self.events)
        self.login: Any = login or MemoryLogin()
        self.rights: Any = rights or MemoryRights()
        self.room = MemoryRoom()
        self.settings = Mqtt(**{**_UNHURRIED, **settings})
        self.database = database or MemoryDatabase()
        self.database.clock = self.clock
        self._assigned = 0
        self.broker = Broker(
            router=self.router,
            login=self.login,
            authorization=self.rights,
            events=self.events,
            settings=self.settings,
            reactor=self.clock,
            writer=self.room,
            database=self.database,
            new_client_id=self._assign,
        )
        Announcements(self.broker, self.settings).listen(self.events)
        self.factory = MqttFactory(self.broker)
        if database is not None:
            self.start()

    def start(self) -> None:
        """Take up what is stored."""
        started = ensureDeferred(self.broker.start())
        assert started.called

    def _assign(self) -> str:
        self._assigned += 1
        return f"auto-{self._assigned}"

    def turn(self) -> None:
        """Let pass some turns of the reactor, in which no time passes."""
        for _ in range(20):
            self.clock.advance(0)

    def open(self, level: int = 4) -> Client:
        """@return: a client that has not sent anything yet."""
        return Client(self, level)

    def client(
        self,
        client_id: str = "c",
        *,
        clean: bool = True,
        present: bool = False,
        level: int = 4,
        user: str | None = None,
        keep_alive: int = 0,
        will: Will | None = None,
    ) -> Client:
        """@return: a client that was accepted, its CONNACK read."""
        client = self.open(level)
        password = b"pw" if user is not None else None
        client.send(Connect(client_id, level, clean, keep_alive, will, user, password))
        raw = client.take()
        assert raw[:4] == ConnAck(0, present).encode(), raw
        client.transport.write(raw[4:])
        return client

    def finish(self, client: Client, publish: Publish) -> None:
        """Do the subscriber's part of a QoS 1 or 2 delivery."""
        if publish.qos == 1:
            client.send(b"\x40\x02" + publish.packet_id.to_bytes(2, "big"))
        elif publish.qos == 2:
            client.send(PubRec(publish.packet_id))
            assert PubRel(publish.packet_id) in client.packets()
            client.send(b"\x70\x02" + publish.packet_id.to_bytes(2, "big"))
