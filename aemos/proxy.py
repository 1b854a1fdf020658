"""The PROXY protocol, versions 1 and 2: who is behind the balancer that a connection came from.

Twisted's `haproxy:` endpoints believe everybody, tell the address only after the protocol above was
connected, and need the first bytes in one piece; this does none of that.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv6Address as IpV6
from ipaddress import ip_address, ip_network
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LONGEST_LINE = 107  # version 1, with its end
_LONGEST_HEADER = 4096  # version 2; an address with every extension that is defined takes less
_FAMILIES = {0x11: ("!4s4sHH", IPv4Address), 0x21: ("!16s16sHH", IPv6Address)}

Source = IPv4Address | IPv6Address


class BadHeader(Exception):
    """The bytes are no PROXY header; the text says what is wrong with them."""


@attrs.frozen
class Header:
    """`source` is who connected to the balancer, None if it is the balancer itself or unknown;
    `size` is how many bytes the header has."""

    source: Source | None
    size: int


def parse(data: bytes) -> Header | None:
    """@return: the header that `data` begins with; None while it is not complete.

    @raise BadHeader: it begins with something else.
    """
    if data[:12] == _SIGNATURE[: len(data)]:
        return _binary(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _line(data)
    raise BadHeader("no PROXY header")


def _line(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _LONGEST_LINE)
    if end < 0:
        if len(data) >= _LONGEST_LINE:
            raise BadHeader("a line that does not end")
        return None
    words = data[:end].split(b" ")
    size = end + 2
    if words[1:2] == [b"UNKNOWN"]:
        return Header(None, size)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise BadHeader("not PROXY, TCP4 or TCP6, two addresses and two ports")
    try:
        address, port = ip_address(words[2].decode("ascii")), int(words[4])
    except ValueError:
        raise BadHeader("an address that is none") from None
    if address.version != int(words[1][-1:]) or not 0 <= port <= 0xFFFF:
        raise BadHeader("an address of another kind than announced")
    kind = IPv6Address if address.version == 6 else IPv4Address
    return Header(kind("TCP", str(address), port), size)


def _binary(data: bytes) -> Header | None:
    if len(data) < 16:
        return None
    what, family, length = struct.unpack_from("!BBH", data, 12)
    size = 16 + length
    if what >> 4 != 2 or what & 15 > 1:
        raise BadHeader("neither LOCAL nor PROXY of version 2")
    if size > _LONGEST_HEADER:
        raise BadHeader(f"{size} bytes are too many")
    if len(data) < size:
        return None
    if what & 15 == 0 or family not in _FAMILIES:
        return Header(None, size)  # a health check, or an address that we have no word for
    layout, kind = _FAMILIES[family]
    if length < struct.calcsize(layout):
        raise BadHeader("it ends within the addresses")
    source, _, port, _ = struct.unpack_from(layout, data, 16)
    return Header(kind("TCP", str(ip_address(source)), port), size)


class ProxyFactory(Factory):
    """Lets the connections of named networks begin with a PROXY header; all others must not."""

    noisy = False

    def __init__(
        self,
        factory: IProtocolFactory,
        networks: Sequence[str],
        clock: IReactorTime,
        patience: float,
    ) -> None:
        """@param factory: of the protocols above; it is given the address that the header names.

        @param patience: seconds that the header may take.
        """
        self.factory: Any = factory
        self.clock, self.patience = clock, patience
        self._networks = [ip_network(network, strict=False) for network in networks]

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self._is_balancer(getattr(addr, "host", "")):
            return ProxyProtocol(self, addr)
        return self.factory.buildProtocol(addr)

    def doStart(self) -> None:
        self.factory.doStart()

    def doStop(self) -> None:
        self.factory.doStop()

    def _is_balancer(self, host: str) -> bool:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IpV6) and address.ipv4_mapped:
            return any(address.ipv4_mapped in network for network in self._networks)
        return any(address in network for network in self._networks)


class ProxyProtocol(Protocol):
    """Reads the header, then is no more than a name for the protocol above."""

    _log = Logger()
    factory: ProxyFactory
    transport: Any  # TCP or a unix socket

    def __init__(self, factory: ProxyFactory, balancer: IAddress | None) -> None:
        self.factory = factory
        self._balancer = balancer
        self._received = b""
        self._above: IProtocol | None = None
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._timer = self.factory.clock.callLater(
            self.factory.patience, self._refuse, "it did not come in time"
        )

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        try:
            header = parse(self._received)
        except BadHeader as error:
            self._refuse(str(error))
            return
        if header is not None:
            rest, self._received = self._received[header.size :], b""
            self._hand_over(header.source or self._balancer, rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        above, self._above = self._above, None
        if above is not None:
            del self.dataReceived  # the end of a cycle
            above.connectionLost(reason)

    def _hand_over(self, source: IAddress | None, rest: bytes) -> None:
        self._stop_waiting()
        above = self.factory.factory.buildProtocol(source)
        if above is None:
            self.transport.abortConnection()
            return
        self._above = above
        above.makeConnection(self.transport)
        # Some protocols set theirs when they are connected: asked for only now.
        self.dataReceived = above.dataReceived  # type: ignore[method-assign]
        if rest:
            above.dataReceived(rest)

    def _refuse(self, why: str) -> None:
        self._stop_waiting()
        self._log.warn(
            "connection from {balancer} closed: PROXY header: {why}",
            balancer=getattr(self._balancer, "host", "?"),
            why=why,
        )
        self.transport.abortConnection()

    def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
