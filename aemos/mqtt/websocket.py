"""MQTT over WebSocket (MQTT 3.1.1 chapter 6): the same `Connection` below Autobahn's protocol."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from aemos.mqtt.broker import Broker
from aemos.mqtt.connection import Connection
from aemos.mqtt.counters import CloseReason
from aemos.mqtt.outbox import Outbox, Transport, Turn
from aemos.mqtt.peer import peer_of
from aemos.websockets import with_options

SUBPROTOCOLS = frozenset({"mqtt", "mqttv3.1"})

_NORMAL, _UNSUPPORTED_DATA = 1000, 1003
_LONGEST_REQUEST = 16 * 1024
"""Bytes of the handshake that are gathered, as much as web servers usually take."""


class WebSocketOutbox(Outbox):
    """Sends pongs, too: to a client that takes nothing only the newest (RFC 6455 section 5.5.3)."""

    __slots__ = ("_pong",)

    def __init__(self, transport: Transport, turn: Turn, peer: str) -> None:
        self._pong: Callable[[], object] | None = None
        super().__init__(transport, turn, peer)

    def answer(self, pong: Callable[[], object]) -> None:
        """Call this, which sends a pong, as soon as the transport has room."""
        if self._blocked:
            self._pong = pong
        else:
            pong()

    def resumeProducing(self) -> None:
        pong, self._pong = self._pong, None
        if pong is not None:
            pong()
        super().resumeProducing()


class MqttWebSocket(WebSocketServerProtocol):
    """Frames around the byte stream of one connection.

    Binary frames are one stream, however packets lie in them [MQTT-6.0.0-2]; they are passed on as
    they arrive, so a large frame takes no memory. Control frames do not count as signs of life. For
    its outbox this is the transport.
    """

    factory: MqttWebSocketFactory
    transport: Any  # TCP or TLS: more interfaces than one annotation can name
    connection: Connection
    outbox: WebSocketOutbox
    address: IAddress | None = None
    _aemos_status = _NORMAL

    # ------------------------------------------------------------------ from below

    def connectionMade(self) -> None:
        """Part of `IProtocol`: the time for handshake and CONNECT starts together."""
        broker = self.factory.broker
        super().connectionMade()
        address = self.address or self.transport.getPeer()
        peer = peer_of(self.transport, address, websocket=True)
        self.outbox = WebSocketOutbox(self, broker.turn, peer.name)
        self.connection = Connection(broker, self.outbox, peer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Part of `IProtocol`."""
        super().connectionLost(reason)
        self.connection.lost(reason.getErrorMessage())

    def processHandshake(self) -> None:
        """Part of Autobahn, which by itself gathers a request of any length."""
        if len(self.data) > _LONGEST_REQUEST:
            self.failHandshake("the request is too long", 431)
        else:
            super().processHandshake()

    def onConnect(self, request: Any) -> str:
        """Choose the first subprotocol offered that we speak [MQTT-6.0.0-4]; any path will do."""
        for offered in request.protocols:
            if offered in SUBPROTOCOLS:
                return str(offered)
        raise ConnectionDeny(400, "the subprotocol must be mqtt or mqttv3.1")

    def onPing(self, payload: bytes) -> None:
        """A client may ask faster than it takes the answers."""
        self.outbox.answer(partial(self.sendPong, payload))

    def onMessageBegin(self, isBinary: bool) -> None:
        """A data frame of a new message [MQTT-6.0.0-1]."""
        if not isBinary:
            self._aemos_status = _UNSUPPORTED_DATA
            self.connection.close(CloseReason.MALFORMED, "a text frame [MQTT-6.0.0-1]")

    def onMessageFrameBegin(self, length: int) -> None:
        """The length of a frame means nothing to MQTT."""

    def onMessageFrameData(self, payload: bytes) -> None:
        """Some bytes of a frame, unmasked."""
        self.connection.receive(payload)

    def onMessageFrameEnd(self) -> None:
        """Neither does its end."""

    def onMessageEnd(self) -> None:
        """Nor that of the message."""

    def _closeConnection(self, abort: bool = False) -> None:
        # A transport with a producer would wait for it instead of closing.
        self.transport.unregisterProducer()
        super()._closeConnection(abort)

    # ------------------------------------------------------------------ transport of the outbox

    def write(self, data: bytes) -> None:
        """One binary frame."""
        if self.state == self.STATE_OPEN:
            self.sendMessage(data, True)  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        """Say why in a close frame, then end the connection behind it."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(self._aemos_status)
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """End the connection at once."""
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """Stop reading."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self.transport.resumeProducing()


class MqttWebSocketFactory(WebSocketServerFactory):
    """Makes a protocol for each client, up to the limit of connections of the broker."""

    protocol = MqttWebSocket  # type: ignore[assignment]  # Autobahn wants a class, not a callable
    noisy = False

    def __init__(self, broker: Broker) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            server="", protocols=sorted(SUBPROTOCOLS), reactor=broker.clock
        )
        # Autobahn's own timers are off: the connection has its own. Sizes are checked by packet.
        # Its page for browsers tells its version.
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxMessagePayloadSize=0,
            maxFramePayloadSize=0,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            failByDrop=False,
            allowNullOrigin=True,
            webStatus=False,
        )
        self.protocol = with_options(self.protocol, self)
        self.broker = broker

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Part of `IProtocolFactory`: None turns the client away."""
        if not self.broker.admits(addr):
            return None
        protocol: Any = super().buildProtocol(addr)
        protocol.address = addr
        return protocol
