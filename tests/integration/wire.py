"""A plain socket to the running server: bytes out, bytes in, with or without TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl

from aemos.mqtt.packets import Connect, PingReq, PingResp
from tests.integration.server import Sensor, Server

_PATIENCE = 15.0  # seconds
PING, PONG = PingReq().encode(), PingResp().encode()


class Wire:
    """A connected socket, read with patience; leaving its context closes it."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        connected.settimeout(_PATIENCE)

    @classmethod
    def to(cls, server: Server, port: str = "mqtt") -> Wire:
        """@return: a connection to one of the server's ports."""
        return cls(socket.create_connection(("127.0.0.1", server.ports[port]), _PATIENCE))

    def encrypted(self, context: ssl.SSLContext) -> Wire:
        """@return: the same connection after a TLS handshake."""
        return Wire(context.wrap_socket(self.socket, server_hostname="localhost"))

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def read(self, size: int) -> bytes:
        """@return: exactly so many bytes, or what came before the end."""
        data = b""
        while len(data) < size and (more := self.socket.recv(size - len(data))):
            data += more
        return data

    def rest(self) -> bytes:
        """@return: what comes before the server closes."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while more := self.socket.recv(4096):
                data += more
        return data

    def finish(self) -> None:
        """Send the end of the stream; reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    def check(self) -> None:
        """Make sure that the server answers here."""
        self.send(PING)
        assert self.read(2) == PONG

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def hello(sensor: Sensor, client_id: str = "wire", *, level: int = 4) -> bytes:
    """@return: a CONNECT that is accepted."""
    token = sensor.token.encode()
    return Connect(client_id, level, username=sensor.uuid, password=token).encode()
