"""The sending end against real sockets: order, partial sends, back-pressure, closing."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from aemos.mqtt.outbox import Outbox, SocketOutbox, Turn, outbox_for


class Server(Protocol):
    """Keeps the outbox of its one connection."""

    outbox: SocketOutbox

    def connectionMade(self) -> None:
        outbox = outbox_for(self.transport, Turn(reactor), "peer")
        assert isinstance(outbox, SocketOutbox)
        self.outbox = outbox
        self.factory.made.callback(self)  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.outbox.lost()
        self.factory.lost.callback(None)  # type: ignore[union-attr]


def turn() -> Deferred[None]:
    """@return: fires a turn of the reactor later."""
    later: Deferred[None] = Deferred()
    reactor.callLater(0.005, later.callback, None)
    return later


async def until(condition: Callable[[], bool]) -> None:
    deadline = reactor.seconds() + 5
    while not condition():
        assert reactor.seconds() < deadline, "waited in vain"
        await turn()


@pytest_twisted.async_yield_fixture
async def listening() -> AsyncIterator[tuple[Any, Any]]:
    factory = Factory.forProtocol(Server)
    factory.noisy = False
    factory.made, factory.lost = Deferred(), Deferred()  # type: ignore[attr-defined]
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    yield factory, port
    await port.stopListening()


class Far:
    """The client: a plain socket that reads when it is told to."""

    def __init__(self, port: Any) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port.getHost().port))
        self.socket.setblocking(False)
        self.data = bytearray()
        self.ended = False

    def read(self) -> None:
        try:
            while chunk := self.socket.recv(65536):
                self.data += chunk
            self.ended = True
        except BlockingIOError:
            pass


async def test_everything_arrives_in_order_though_the_socket_takes_it_in_pieces(
    listening: tuple[Any, Any],
) -> None:
    factory, port = listening
    far = Far(port)
    server = await factory.made
    drained: list[int] = []
    server.outbox.on_drained = lambda: drained.append(1)
    sent = bytearray()
    for number in range(3000):
        data = b"%06d" % number * 300
        sent += data
        server.outbox.write(data)
    assert server.outbox.unsent > 1_000_000
    await turn()
    assert not drained
    server.outbox.write(b"last")

    def all_read() -> bool:
        far.read()
        return len(far.data) == len(sent) + 4

    await until(all_read)
    assert far.data == sent + b"last"
    await until(lambda: bool(drained))
    assert server.outbox.unsent == 0
    server.outbox.write(b"again")
    await until(lambda: far.read() or far.data.endswith(b"again"))
    assert server.transport.producer is None
    far.socket.close()
    await factory.lost


async def test_close_sends_what_is_left_first(listening: tuple[Any, Any]) -> None:
    factory, port = listening
    far = Far(port)
    server = await factory.made
    for _ in range(100):
        server.outbox.write(b"x" * 50_000)
    server.outbox.close()
    server.outbox.write(b"too late")
    await until(lambda: far.read() or far.ended)
    assert far.data == b"x" * 5_000_000
    far.socket.close()
    await factory.lost


async def test_writing_to_a_peer_that_is_gone_ends_the_connection(
    listening: tuple[Any, Any],
) -> None:
    factory, port = listening
    far = Far(port)
    server = await factory.made
    server.transport.stopReading()
    far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.socket.close()
    for _ in range(3):
        server.outbox.write(b"x" * 100)
        await turn()
    await factory.lost
    server.outbox.write(b"x")


def test_what_one_turn_writes_is_sent_at_its_end_and_at_once() -> None:
    clock, transport = Clock(), StringTransport()
    outbox = Outbox(transport, Turn(clock), "peer")
    writes: list[bytes] = []
    transport.write = writes.append  # type: ignore[method-assign, assignment]
    outbox.write(b"a")
    outbox.write(b"b")
    assert writes == []
    clock.advance(0)
    assert writes == [b"ab"]
    assert outbox.sent == 2


def test_a_lot_is_not_gathered_until_the_end_of_the_turn() -> None:
    clock, transport = Clock(), StringTransport()
    outbox = Outbox(transport, Turn(clock), "peer")
    outbox.write(b"x" * 70_000)
    assert len(transport.value()) == 70_000
    clock.advance(0)


def test_full_transport_holds_the_outbox_until_it_has_room() -> None:
    clock, transport = Clock(), StringTransport()
    outbox = Outbox(transport, Turn(clock), "peer")
    transport.producer.pauseProducing()
    outbox.write(b"x" * 100_000)
    clock.advance(0)
    assert transport.value() == b""
    assert outbox.unsent == 100_000
    assert not outbox.has_room(1000)
    transport.producer.resumeProducing()
    assert len(transport.value()) == 100_000
    assert outbox.unsent == 0
