"""The small MQTT client, packet by packet."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from aemos.errors import AemosError, Unauthenticated, Unavailable
from aemos.mqtt.client import Client
from aemos.mqtt.packets import ConnAck, Connect, Disconnect, PingReq, PubAck, Publish

GREETING = Connect(username="u-1", password=b"token", keep_alive=30)


class Line:
    """A client with both ends of its connection in hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        self.client = Client(self.clock, GREETING)
        self.client.makeConnection(self.transport)

    def sent(self) -> bytes:
        value = self.transport.value()
        self.transport.clear()
        return value

    def accept(self) -> None:
        self.client.dataReceived(ConnAck().encode())
        self.sent()

    def lose(self) -> None:
        self.client.connectionLost(Failure(ConnectionDone()))


def error_of(deferred: Deferred[None]) -> AemosError:
    failures: list[Failure] = []
    deferred.addErrback(failures.append)
    (failure,) = failures
    assert isinstance(failure.value, AemosError)
    return failure.value


def test_it_greets_and_is_accepted() -> None:
    line = Line()
    assert line.sent() == GREETING.encode()
    assert not line.client.accepted.called
    line.client.dataReceived(ConnAck().encode())
    assert line.client.accepted.called
    line.lose()


def test_a_refusal_closes_the_connection() -> None:
    line = Line()
    line.client.dataReceived(ConnAck(return_code=5).encode())
    assert line.transport.disconnecting
    line.lose()
    error = error_of(line.client.accepted)
    assert isinstance(error, Unauthenticated)
    assert "5" in str(error)


def test_a_publish_is_done_when_it_is_acknowledged() -> None:
    line = Line()
    line.accept()
    first, second = line.client.publish("a/b", b"1"), line.client.publish("a/b", b"2")
    assert line.sent() == (
        Publish("a/b", b"1", qos=1, packet_id=1).encode()
        + Publish("a/b", b"2", qos=1, packet_id=2).encode()
    )
    line.client.dataReceived(PubAck(2).encode())
    assert (first.called, second.called) == (False, True)
    assert (line.client.waiting, line.client.acknowledged) == (1, 1)
    line.client.dataReceived(PubAck(1).encode()[:1])
    line.client.dataReceived(PubAck(1).encode()[1:])
    assert first.called
    line.lose()


def test_a_packet_id_in_flight_is_not_used_again() -> None:
    line = Line()
    line.accept()
    kept = line.client.publish("a", b"")
    for packet_id in range(2, 0x10000):
        line.client.publish("a", b"")
        line.client.dataReceived(PubAck(packet_id).encode())
    line.sent()
    line.client.publish("a", b"")
    assert line.sent() == Publish("a", b"", qos=1, packet_id=2).encode()
    assert not kept.called
    line.client.dataReceived(PubAck(1).encode() + PubAck(2).encode())
    line.lose()


def test_a_lost_connection_fails_what_waits_and_what_comes_later() -> None:
    line = Line()
    line.accept()
    waiting = line.client.publish("a", b"")
    line.lose()
    assert isinstance(error_of(waiting), Unavailable)
    with pytest.raises(Unavailable):
        line.client.publish("a", b"")


def test_a_silent_connection_is_kept_alive() -> None:
    line = Line()
    line.accept()
    line.clock.advance(29.9)
    assert line.sent() == b""
    line.clock.advance(0.2)
    assert line.sent() == PingReq().encode()
    line.lose()
    line.clock.advance(60)
    assert line.sent() == b""


def test_goodbye_is_said_and_waited_for() -> None:
    line = Line()
    line.accept()
    gone = line.client.disconnect()
    assert line.sent() == Disconnect().encode()
    assert line.transport.disconnecting
    assert not gone.called
    line.lose()
    assert gone.called
    assert line.client.disconnect().called


@pytest.mark.parametrize("garbage", [b"\x00\x00", b"\xff" * 6, b"\x40\x03\x00\x01\x00"])
def test_garbage_closes_the_connection(garbage: bytes) -> None:
    line = Line()
    line.client.dataReceived(garbage)
    assert line.transport.disconnected
    line.lose()
    error_of(line.client.accepted)
