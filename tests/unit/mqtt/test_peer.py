"""What a transport tells about who is at its other end."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, ISSLTransport
from twisted.internet.testing import StringTransport
from zope.interface import directlyProvides

from aemos.mqtt.peer import peer_of


@pytest.mark.parametrize(
    ("address", "private"),
    [
        (IPv4Address("TCP", "127.0.0.1", 5), True),
        (IPv4Address("TCP", "127.8.0.1", 5), True),
        (IPv6Address("TCP", "::1", 5), True),
        (IPv6Address("TCP", "::ffff:127.0.0.1", 5), True),
        (UNIXAddress("/run/aemos.sock"), True),
        (IPv4Address("TCP", "10.0.0.1", 5), False),
        (IPv6Address("TCP", "fe80::1%eth0", 5), False),
        (IPv6Address("TCP", "::ffff:10.0.0.1", 5), False),
    ],
)
def test_plain_text_is_private_on_this_machine_only(address: IAddress, private: bool) -> None:
    peer = peer_of(StringTransport(), address)
    assert (peer.private, peer.over) == (private, "tcp")


def test_whatever_comes_over_tls_is_private() -> None:
    transport = StringTransport()
    directlyProvides(transport, ISSLTransport)
    address = IPv4Address("TCP", "10.0.0.1", 5)
    assert (peer_of(transport, address).private, peer_of(transport, address).over) == (True, "tls")
    peer = peer_of(transport, address, websocket=True)
    assert (peer.private, peer.over, str(peer)) == (True, "wss", "10.0.0.1:5")
