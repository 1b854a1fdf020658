"""The WebSocket under the live channel: Autobahn's protocol on the HTTP server's port."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from aemos import json
from aemos.realtime.channel import Channel
from aemos.realtime.connection import (
    Connection,
    ConnectionFactory,
    Flushes,
    Upgrade,
    asks_for_websocket,
    bearer,
)
from aemos.realtime.session import Sessions

SUBPROTOCOL = "aemos.v1"

_UNSUPPORTED_DATA = 1003


class ChannelProtocol(Connection):
    """Gives a `Channel` its WebSocket; holds nothing else, since Autobahn's class is large."""

    factory: ChannelFactory
    channel: Channel
    _aemos_token = ""

    # What Autobahn and the transport tell

    def connectionMade(self) -> None:
        """Part of `IProtocol`: the HTTP server has read the request and hands over."""
        self.channel = Channel(self, self.factory.sessions, self.factory.flush_soon)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        """Part of `IProtocol`."""
        self.channel.heard()
        super().dataReceived(data)

    def onConnect(self, request: Any) -> str | None:
        """Choose the subprotocol; what is offered beside ours is the token.

        Clients that can set headers may send it there.
        """
        self._aemos_token = bearer(request.headers.get("authorization"))
        if SUBPROTOCOL not in request.protocols:
            return None
        offered = (each for each in request.protocols if each != SUBPROTOCOL)
        self._aemos_token = next(offered, self._aemos_token)
        return SUBPROTOCOL

    def onOpen(self) -> None:
        """The handshake is done."""
        token, self._aemos_token = self._aemos_token, ""
        self.channel.opened(token)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """One message is complete."""
        if isBinary:
            self.close(_UNSUPPORTED_DATA, "messages are text frames with JSON")
        else:
            self.channel.received(payload)

    def writable(self, ready: bool) -> None:
        """Part of `Connection`."""
        self.channel.writable(ready)

    def goodbye(self) -> None:
        """Part of `Connection`."""
        self.channel.session_over("going_away", "the server is stopping")

    def gone(self, reason: str) -> None:
        """Part of `Connection`."""
        self.channel.closed(reason)

    # What the channel asks for, beside `Connection`: `channel.Socket`

    def write(self, octets: bytes) -> None:
        """Part of `Socket`."""
        self.send(octets)

    def ping(self) -> None:
        """Part of `Socket`."""
        self.sendPing()


class ChannelFactory(ConnectionFactory):
    """Makes the connections of `/ws/v1` and flushes them."""

    protocol = ChannelProtocol  # type: ignore[assignment]  # Autobahn wants a class, not a callable

    def __init__(self, sessions: Sessions, reactor: IReactorTime) -> None:
        super().__init__(reactor, sessions.settings.max_message)
        self.sessions = sessions
        self._flushes = Flushes(reactor)

    def flush_soon(self, channel: Channel) -> None:
        """Call `channel.flush` at the end of this reactor turn, together with all others."""
        self._flushes.soon(channel.flush)


class ChannelResource(Upgrade):
    """What the HTTP site serves at `/ws/v1`."""

    def __init__(self, factory: ChannelFactory) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self._channels = factory

    def render(self, request: Request) -> bytes | int:
        """Part of `IResource`: refuse what cannot become a connection, hand over the rest."""
        if not asks_for_websocket(request):
            request.responseHeaders.setRawHeaders(b"upgrade", [b"websocket"])
            return _refuse(request, 426, "this is a WebSocket, see docs/realtime.rst")
        if {b"token", b"access_token"} & set(request.args or ()):
            return _refuse(request, 400, "a token in an address gets into logs: send it inside")
        if self._channels.stopping or self._channels.sessions.full:
            request.responseHeaders.setRawHeaders(b"retry-after", [b"5"])
            return _refuse(request, 503, "no more realtime connections just now")
        return super().render(request)


def _refuse(request: Request, status: int, message: str) -> bytes:
    # Twisted has no phrase for 426.
    request.setResponseCode(status, b"Upgrade Required" if status == 426 else None)
    request.responseHeaders.setRawHeaders(b"content-type", [b"application/json; charset=utf-8"])
    return json.encode({"status": "fail", "statusCode": status, "message": message})
