"""The WebSocket under the live channel: Autobahn's protocol on the HTTP server's port."""

from __future__ import annotations

from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.server import Request

from aemos import json
from aemos.realtime.channel import Channel
from aemos.realtime.session import Sessions

SUBPROTOCOL = "aemos.v1"

_UNSUPPORTED_DATA = 1003
_CLOSE_TIMEOUT = 2.0  # seconds for the peer to answer a close frame


class ChannelProtocol(WebSocketServerProtocol):
    """Gives a `Channel` its WebSocket; holds nothing else, since Autobahn's class is large."""

    factory: ChannelFactory
    transport: Any  # a TCP or TLS connection: more interfaces than one annotation can name
    channel: Channel
    _aemos_token = ""
    _aemos_cut_off: IDelayedCall | None = None

    # What Autobahn and the transport tell

    def connectionMade(self) -> None:
        """Part of `IProtocol`: the HTTP server has read the request and hands over."""
        self.channel = Channel(self, self.factory.sessions, self.factory.flush_soon)
        self.factory.connections.add(self)
        self.transport.registerProducer(self, True)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        """Part of `IProtocol`."""
        self.channel.heard()
        super().dataReceived(data)

    def onConnect(self, request: Any) -> str | None:
        """Choose the subprotocol; what is offered beside ours is the token."""
        if SUBPROTOCOL not in request.protocols:
            return None
        self._aemos_token = next((each for each in request.protocols if each != SUBPROTOCOL), "")
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

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The connection is gone, opened or not."""
        if self._aemos_cut_off is not None and self._aemos_cut_off.active():
            self._aemos_cut_off.cancel()
        self.channel.closed(reason or f"close code {code}")
        self.factory.connection_closed(self)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """All ways of closing meet here: a peer that does not answer is cut off."""
        super().sendCloseFrame(code, reasonUtf8, isReply)
        if self._aemos_cut_off is None:
            self._aemos_cut_off = self.factory.clock.callLater(_CLOSE_TIMEOUT, self.abort)

    def pauseProducing(self) -> None:
        """Part of `IPushProducer`."""
        self.channel.writable(False)

    def resumeProducing(self) -> None:
        """Part of `IPushProducer`."""
        self.channel.writable(True)

    def stopProducing(self) -> None:
        """Part of `IPushProducer`: the connection is lost, `onClose` follows."""

    # What the channel asks for: `channel.Socket`

    def write(self, octets: bytes) -> None:
        """Part of `Socket`."""
        self.sendData(octets)

    def ping(self) -> None:
        """Part of `Socket`."""
        self.sendPing()

    def read(self, wanted: bool) -> None:
        """Part of `Socket`."""
        if wanted:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    def close(self, status: int, reason: str) -> None:
        """Part of `Socket`."""
        # A paused transport would not read the answer to the close frame.
        self.transport.resumeProducing()
        self.sendCloseFrame(status, reason.encode())

    def abort(self) -> None:
        """Part of `Socket`."""
        self.transport.abortConnection()


class ChannelFactory(WebSocketServerFactory):
    """Makes the connections of `/ws/v1`, flushes them, and closes them when the server stops."""

    protocol = ChannelProtocol  # type: ignore[assignment]  # Autobahn wants a class, not a callable

    def __init__(self, sessions: Sessions, reactor: IReactorTime) -> None:
        super().__init__(server="", reactor=reactor)  # type: ignore[no-untyped-call]
        # Without Autobahn's own timers: they would take the global reactor, and the HTTP server has
        # read the whole request before a connection gets here.
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxMessagePayloadSize=sessions.settings.max_message,
            maxFramePayloadSize=sessions.settings.max_message,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            failByDrop=False,
            allowNullOrigin=True,
        )
        self.sessions, self.clock = sessions, reactor
        self.connections: set[ChannelProtocol] = set()
        self._unflushed: list[Channel] = []
        self._stopped: Deferred[None] | None = None

    @property
    def stopping(self) -> bool:
        """@return: whether `stop` was called."""
        return self._stopped is not None

    def flush_soon(self, channel: Channel) -> None:
        """Call `channel.flush` at the end of this reactor turn, together with all others."""
        if not self._unflushed:
            self.clock.callLater(0, self._flush)
        self._unflushed.append(channel)

    def _flush(self) -> None:
        channels, self._unflushed = self._unflushed, []
        for channel in channels:
            channel.flush()

    def stop(self) -> Deferred[None]:
        """Accept nobody any more and close all connections.

        @return: fires when they are gone; those that do not answer are cut off after two seconds.
        """
        if self._stopped is None:
            self._stopped = Deferred()
            for connection in tuple(self.connections):
                connection.channel.session_over("going_away", "the server is stopping")
            if not self.connections:
                self._stopped.callback(None)
        return self._stopped

    def connection_closed(self, connection: ChannelProtocol) -> None:
        """Called by a connection when it is gone."""
        self.connections.discard(connection)
        if self._stopped is not None and not self.connections and not self._stopped.called:
            self._stopped.callback(None)


class ChannelResource(WebSocketResource):
    """What the HTTP site serves at `/ws/v1`."""

    def __init__(self, factory: ChannelFactory) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self._channels = factory

    def render(self, request: Request) -> bytes | int:
        """Part of `IResource`: refuse what cannot become a connection, hand over the rest."""
        if (request.getHeader(b"upgrade") or b"").lower() != b"websocket":
            request.responseHeaders.setRawHeaders(b"upgrade", [b"websocket"])
            return _refuse(request, 426, "this is a WebSocket, see docs/realtime.rst")
        if {b"token", b"access_token"} & set(request.args or ()):
            return _refuse(request, 400, "a token in an address gets into logs: send it inside")
        if self._channels.stopping or self._channels.sessions.full:
            request.responseHeaders.setRawHeaders(b"retry-after", [b"5"])
            return _refuse(request, 503, "no more realtime connections just now")
        transport: Any = request.channel.transport
        if transport is not None:
            # The HTTP server throttles itself by this transport; from now on the channel does.
            transport.unregisterProducer()
        result: bytes | int = super().render(request)  # type: ignore[no-untyped-call]
        return result


def _refuse(request: Request, status: int, message: str) -> bytes:
    request.setResponseCode(status)
    request.responseHeaders.setRawHeaders(b"content-type", [b"application/json; charset=utf-8"])
    return json.encode({"status": "fail", "statusCode": status, "message": message})
