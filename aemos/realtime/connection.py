"""WebSockets on the HTTP server's port: what all realtime doors need of Autobahn's protocol."""

from __future__ import annotations

from collections.abc import Callable
from socket import socket
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.tcp import Connection as TcpConnection
from twisted.web.server import Request

from aemos.websockets import with_options

_CLOSE_TIMEOUT = 2.0  # seconds for the peer to answer a close frame


class Connection(WebSocketServerProtocol):
    """A WebSocket that throttles and ends itself; a door says what it carries.

    `writable` is told whether the socket takes more, `goodbye` has to close it because the server
    stops, `gone` is told that it is lost.
    """

    factory: ConnectionFactory
    transport: Any  # a TCP or TLS connection: more interfaces than one annotation can name
    _aemos_cut_off: IDelayedCall | None = None
    _aemos_plain = False
    _aemos_socket: socket | None = None
    _aemos_unsent = False
    _aemos_full = False
    _aemos_pong: bytes | None = None

    def writable(self, ready: bool) -> None:
        """To be overridden."""
        raise NotImplementedError

    def goodbye(self) -> None:
        """To be overridden."""
        raise NotImplementedError

    def gone(self, reason: str) -> None:
        """To be overridden."""
        raise NotImplementedError

    # What Autobahn and the transport tell

    def connectionMade(self) -> None:
        """Part of `IProtocol`: the HTTP server has read the request and hands over."""
        self.factory.connections.add(self)
        self._aemos_plain = isinstance(self.transport, TcpConnection) and not self.transport.TLS
        if not self._aemos_plain:
            self.transport.registerProducer(self, True)
        super().connectionMade()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The connection is gone, opened or not."""
        if self._aemos_cut_off is not None and self._aemos_cut_off.active():
            self._aemos_cut_off.cancel()
        self.gone(reason or f"close code {code}")
        self.factory.connection_closed(self)

    def onPing(self, payload: bytes) -> None:
        """A client that takes nothing gets only the newest answer (RFC 6455 section 5.5.3)."""
        if self._aemos_full:
            self._aemos_pong = payload
        else:
            self.sendPong(payload)  # type: ignore[no-untyped-call]

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """All ways of closing meet here: a peer that does not answer is cut off."""
        super().sendCloseFrame(code, reasonUtf8, isReply)
        if self._aemos_cut_off is None:
            self._aemos_cut_off = self.factory.clock.callLater(_CLOSE_TIMEOUT, self.abort)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Send what Autobahn sends; what its own method adds for its log costs more than that."""
        self.send(data)

    def pauseProducing(self) -> None:
        """Part of `IPushProducer`."""
        self._aemos_full = True
        self.writable(False)

    def resumeProducing(self) -> None:
        """Part of `IPushProducer`, and of `IPullProducer` on a plain connection."""
        if self._aemos_plain:
            if not self._aemos_unsent:
                return  # just registered
            self._aemos_unsent = False
            self._aemos_socket = self.transport.socket
            self.transport.unregisterProducer()
        self._aemos_full = False
        pong, self._aemos_pong = self._aemos_pong, None
        if pong is not None:
            self.sendPong(pong)  # type: ignore[no-untyped-call]
        self.writable(not self._aemos_full)

    def stopProducing(self) -> None:
        """Part of `IPushProducer`: the connection is lost, `onClose` follows."""

    # What a door asks for

    def send(self, octets: bytes) -> None:
        """Write complete frames.

        On a plain connection with the socket itself, which spares a third of what an event costs,
        unless the transport still holds what came before; it gets what does not fit, too.
        """
        if self._aemos_socket is not None and not self._aemos_unsent:
            try:
                sent = self._aemos_socket.send(octets)
            except OSError:
                # Full, or broken: the transport finds out which and reports a loss in its own time.
                sent = 0
            if sent == len(octets):
                return
            octets = octets[sent:]
        self.transport.write(octets)
        if self._aemos_plain and not self._aemos_unsent:
            # A pull producer is asked for more once at registration, then whenever all was sent.
            self.transport.registerProducer(self, False)
            self._aemos_unsent = True
            self.pauseProducing()

    def read(self, wanted: bool) -> None:
        """Read on from the client, or let it wait."""
        if wanted:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    def close(self, status: int, reason: str) -> None:
        """Send a close frame and end soon, whatever the client does."""
        # A paused transport would not read the answer to the close frame.
        self.transport.resumeProducing()
        self.sendCloseFrame(status, reason.encode())

    def abort(self) -> None:
        """End at once."""
        self.transport.abortConnection()


class ConnectionFactory(WebSocketServerFactory):
    """Makes connections, and closes them when the server stops."""

    def __init__(self, reactor: IReactorTime, max_message: int) -> None:
        """@param max_message: bytes of the largest message from a client."""
        super().__init__(server="", reactor=reactor)  # type: ignore[no-untyped-call]
        # Without Autobahn's own timers: they would take the global reactor, and the HTTP server has
        # read the whole request before a connection gets here.
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxMessagePayloadSize=max_message,
            maxFramePayloadSize=max_message,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            failByDrop=False,
            allowNullOrigin=True,
        )
        self.protocol = with_options(self.protocol, self)
        self.clock = reactor
        self.connections: set[Connection] = set()
        self._stopped: Deferred[None] | None = None

    @property
    def stopping(self) -> bool:
        """@return: whether `stop` was called."""
        return self._stopped is not None

    def stop(self) -> Deferred[None]:
        """Accept nobody any more and close all connections.

        @return: fires when they are gone; those that do not answer are cut off after two seconds.
        """
        if self._stopped is None:
            self._stopped = Deferred()
            for connection in tuple(self.connections):
                connection.goodbye()
            if not self.connections:
                self._stopped.callback(None)
        return self._stopped

    def connection_closed(self, connection: Connection) -> None:
        """Called by a connection when it is gone."""
        self.connections.discard(connection)
        if self._stopped is not None and not self.connections and not self._stopped.called:
            self._stopped.callback(None)


class Upgrade(WebSocketResource):
    """Hands an HTTP request over to a factory of WebSockets."""

    def render(self, request: Request) -> bytes | int:
        """Part of `IResource`."""
        transport: Any = request.channel.transport
        if transport is not None:
            # The HTTP server throttles itself by this transport; from now on the connection does.
            transport.unregisterProducer()
        result: bytes | int = super().render(request)  # type: ignore[no-untyped-call]
        return result


def asks_for_websocket(request: Request) -> bool:
    """@return: whether the client wants to leave HTTP for a WebSocket."""
    return bool((request.getHeader(b"upgrade") or b"").lower() == b"websocket")


def bearer(authorization: str | None) -> str:
    """@return: the token in an `Authorization` header, which browsers cannot send; "" = none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Flushes:
    """Calls of one reactor turn, made together at its end."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._wanted: list[Callable[[], object]] = []

    def soon(self, flush: Callable[[], object]) -> None:
        """Call `flush` at the end of this reactor turn."""
        if not self._wanted:
            self._clock.callLater(0, self._flush)
        self._wanted.append(flush)

    def _flush(self) -> None:
        wanted, self._wanted = self._wanted, []
        for flush in wanted:
            flush()
