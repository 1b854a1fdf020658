"""Who is at the other end of a connection, as far as the transport tells."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

import attrs
from cryptography.x509 import Certificate
from twisted.internet.interfaces import ISSLTransport

from aemos.tls import certificate_of, common_name


def _nothing() -> None:
    return None


@attrs.frozen(slots=True)
class Peer:
    """`name` is what logs show, `host` the address ("" = a unix socket), `over` the transport.

    `private` tells whether nobody on the way can read what is sent: TLS, or this very machine.
    `certificate` gives the one that the client has shown and proved, after the handshake.
    """

    name: str
    host: str
    over: str
    private: bool
    certificate: Callable[[], Certificate | None] = _nothing

    def certified(self) -> str:
        """@return: the name that a client certificate proves; "" = none."""
        return common_name(self.certificate())

    def __str__(self) -> str:
        return self.name


def host_of(address: object) -> str:
    """@return: the IP address without the port; "" for what has none."""
    return str(getattr(address, "host", None) or "")


def peer_name(address: object) -> str:
    """@return: `host:port`, or what a unix socket has for it."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    return f"{host}:{port}" if host is not None else str(getattr(address, "name", None) or "local")


def peer_of(transport: object, address: object, *, websocket: bool = False) -> Peer:
    """Look at a transport and the address that it gives for the peer."""
    host = host_of(address)
    encrypted = ISSLTransport.providedBy(transport)
    words = ("ws", "wss") if websocket else ("tcp", "tls")
    return Peer(
        name=peer_name(address),
        host=host,
        over=words[encrypted],
        private=encrypted or not host or _is_loopback(host),
        certificate=partial(certificate_of, transport) if encrypted else _nothing,
    )


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
