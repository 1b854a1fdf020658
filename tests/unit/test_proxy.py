"""PROXY headers: bytes, and who is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from aemos.proxy import BadHeader, Header, ProxyFactory, parse

V2 = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = IPv4Address("TCP", "192.0.2.7", 40000)
SIX = IPv6Address("TCP", "2001:db8::7", 40000)
LINE = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 1883\r\n"
ADDRESSES_4 = b"\xc0\0\2\7\xc0\0\2\1\x9c\x40\x07\x5b"
ADDRESSES_6 = b"\x20\1\x0d\xb8" + b"\0" * 11 + b"\7" + b"\0" * 16 + b"\x9c\x40\x07\x5b"

GOOD = [
    (LINE, FOUR),
    (b"PROXY TCP6 2001:db8::7 ::1 40000 1883\r\n", SIX),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN whatever 1 2 3\r\n", None),
    (V2 + b"\x21\x11\0\x0c" + ADDRESSES_4, FOUR),
    (V2 + b"\x21\x21\0\x24" + ADDRESSES_6, SIX),
    (V2 + b"\x21\x11\0\x0f" + ADDRESSES_4 + b"\x04\0\0", FOUR),  # with an extension
    (V2 + b"\x20\0\0\0", None),  # LOCAL: a health check
    (V2 + b"\x21\0\0\0", None),
    (V2 + b"\x21\x31\0\xd8" + b"/" * 216, None),  # a unix socket
]
BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\x10\x0d\0\4MQTT",
    b"PROXY\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 40000\r\n",
    b"PROXY TCP4 2001:db8::7 ::1 40000 1883\r\n",
    b"PROXY TCP5 192.0.2.7 192.0.2.1 40000 1883\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 70000 1883\r\n",
    b"PROXY TCP4 host 192.0.2.1 4 1883\r\n",
    b"PROXY " + b"x" * 101,
    V2 + b"\x11\x11\0\x0c" + ADDRESSES_4,
    V2 + b"\x22\x11\0\x0c" + ADDRESSES_4,
    V2 + b"\x21\x11\0\x04" + ADDRESSES_4,
    V2 + b"\x21\x11\xff\xff",
]


@pytest.mark.parametrize(("raw", "source"), GOOD)
def test_header_is_read_once_it_is_complete(raw: bytes, source: IAddress | None) -> None:
    for size in range(len(raw)):
        assert parse(raw[:size]) is None
    assert parse(raw + b"\x10\x0d") == Header(source, len(raw))


@pytest.mark.parametrize("raw", BAD)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(BadHeader):
        parse(raw)


@given(st.binary(), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2, V2 + b"\x21\x11"]))
def test_any_bytes_give_a_header_or_the_one_error(rest: bytes, start: bytes) -> None:
    try:
        header = parse(start + rest)
    except BadHeader:
        return
    assert header is None or header.size <= len(start + rest)


class Above(Protocol):
    def __init__(self, address: IAddress | None) -> None:
        self.address = address
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: object = None) -> None:
        self.lost = True


class Door:
    """A proxy factory, the protocols above it, and connections to it."""

    def __init__(self, *networks: str) -> None:
        self.above: list[Above] = []
        self.clock = Clock()
        door = self

        class Inner(Factory):
            def buildProtocol(self, addr: IAddress | None) -> Above:
                door.above.append(Above(addr))
                return door.above[-1]

        self.factory = ProxyFactory(Inner(), networks, self.clock, 10)

    def connect(self, host: str) -> tuple[Protocol, StringTransport]:
        transport = StringTransport()
        protocol = self.factory.buildProtocol(IPv4Address("TCP", host, 1))
        protocol.makeConnection(transport)
        return protocol, transport


def test_protocol_above_is_made_for_the_client_and_gets_what_follows_the_header() -> None:
    door = Door("10.0.0.0/8")
    protocol, transport = door.connect("10.1.2.3")
    for byte in LINE:
        assert door.above == []
        protocol.dataReceived(bytes((byte,)))
    protocol.dataReceived(b"after")
    (above,) = door.above
    assert (above.address, above.received) == (FOUR, b"after")
    assert above.transport is transport
    protocol.connectionLost()
    assert above.lost
    assert door.clock.getDelayedCalls() == []


def test_bytes_behind_the_header_in_the_same_read_are_not_lost() -> None:
    door = Door("10.0.0.0/8")
    protocol, _ = door.connect("10.1.2.3")
    protocol.dataReceived(LINE + b"with it")
    assert door.above[0].received == b"with it"


def test_header_of_a_balancer_that_is_not_named_is_not_looked_at() -> None:
    door = Door("10.0.0.0/8")
    protocol, _ = door.connect("192.0.2.9")
    protocol.dataReceived(LINE)
    (above,) = door.above
    assert (above.address, above.received) == (IPv4Address("TCP", "192.0.2.9", 1), LINE)


def test_health_check_of_the_balancer_comes_from_itself() -> None:
    door = Door("10.0.0.0/8")
    protocol, _ = door.connect("10.1.2.3")
    protocol.dataReceived(V2 + b"\x20\0\0\0")
    assert door.above[0].address == IPv4Address("TCP", "10.1.2.3", 1)


@pytest.mark.parametrize("data", [b"\x10\x0d", b"PROXY"])
def test_connection_without_a_header_in_time_is_closed(data: bytes) -> None:
    door = Door("10.0.0.0/8")
    protocol, transport = door.connect("::ffff:10.1.2.3")
    protocol.dataReceived(data)
    door.clock.advance(10)
    assert transport.disconnecting or transport.aborting
    assert door.above == []
    protocol.connectionLost()
    assert door.clock.getDelayedCalls() == []
