"""A small MQTT 3.1.1 client that publishes with QoS 1 and counts what was acknowledged."""

from __future__ import annotations

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos.errors import Unauthenticated, Unavailable
from aemos.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    MalformedPacket,
    PingReq,
    PubAck,
    Publish,
    decode,
)
from aemos.mqtt.wire import Splitter

_KEEP_ALIVE = 30  # seconds
_PATIENCE = 10.0  # seconds until a CONNACK must have come
_LARGEST_ID = 0xFFFF


async def connect(
    clock: IReactorTime, endpoint: IStreamClientEndpoint, username: str, password: str
) -> Client:
    """Connect and sign in.

    @raise Unauthenticated: refused. @raise Unavailable: nobody there, or not an MQTT server.
    """
    client = Client(
        clock, Connect(username=username, password=password.encode(), keep_alive=_KEEP_ALIVE)
    )
    try:
        await connectProtocol(endpoint, client)
    except Exception as error:
        raise Unavailable(f"no connection: {error}") from error
    try:
        await client.accepted.addTimeout(_PATIENCE, clock)
    except TimeoutError:
        client.transport.abortConnection()
        raise Unavailable(f"no CONNACK within {_PATIENCE:g} s") from None
    return client


class Client(Protocol):
    """One connection. `acknowledged` counts the PUBACKs."""

    transport: ITCPTransport
    _log = Logger()

    def __init__(self, clock: IReactorTime, greeting: Connect) -> None:
        self._greeting = greeting
        self._splitter = Splitter()
        self._unacknowledged: dict[int, Deferred[None]] = {}
        self._next_id = 1
        self._reason: Exception | None = None
        self._closed: Deferred[None] = Deferred()
        self._pings = LoopingCall(self._ping)
        self._pings.clock = clock
        self.accepted: Deferred[None] = Deferred()
        self.acknowledged = 0

    @property
    def waiting(self) -> int:
        """How many messages were sent and not acknowledged."""
        return len(self._unacknowledged)

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        """@return: fires at the PUBACK; fails with `Unavailable` if the connection ends before."""
        if self._reason is not None:
            raise Unavailable(f"not connected: {self._reason}")
        packet_id = self._free_id()
        acknowledged = self._unacknowledged[packet_id] = Deferred()
        self.transport.write(Publish(topic, payload, qos=1, packet_id=packet_id).encode())
        return acknowledged

    def disconnect(self) -> Deferred[None]:
        """Say goodbye. @return: fires when the connection is closed."""
        if self._reason is not None:
            return succeed(None)
        self.transport.write(Disconnect().encode())
        self.transport.loseConnection()
        return self._closed

    def connectionMade(self) -> None:
        """Sign in."""
        self.transport.write(self._greeting.encode())

    def dataReceived(self, data: bytes) -> None:
        """Take packets; only CONNACK and PUBACK mean something to this client."""
        if not self._splitter.feed(data):
            return
        try:
            for first, buffer, start, end in self._splitter.packets():
                packet = decode(first, buffer[start:end])
                if isinstance(packet, PubAck):
                    self._take_ack(packet)
                elif isinstance(packet, ConnAck):
                    self._take_answer(packet)
        except MalformedPacket as error:
            self._reason = error
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail whatever still waits."""
        if self._pings.running:
            self._pings.stop()
        error = self._reason = self._reason or Unavailable(reason.getErrorMessage())
        if not self.accepted.called:
            self.accepted.errback(error)
        waiting, self._unacknowledged = self._unacknowledged, {}
        for acknowledged in waiting.values():
            acknowledged.errback(Unavailable(f"connection lost: {error}"))
        self._closed.callback(None)

    def _take_answer(self, answer: ConnAck) -> None:
        if self.accepted.called:
            return
        if answer.return_code:
            self._reason = Unauthenticated(f"refused with CONNACK {answer.return_code}")
            self.transport.loseConnection()
            return
        self._pings.start(_KEEP_ALIVE, now=False).addErrback(self._fail)
        self.accepted.callback(None)

    def _take_ack(self, ack: PubAck) -> None:
        acknowledged = self._unacknowledged.pop(ack.packet_id, None)
        if acknowledged is not None:
            self.acknowledged += 1
            acknowledged.callback(None)

    def _ping(self) -> None:
        self.transport.write(PingReq().encode())

    def _fail(self, failure: Failure) -> None:
        self._log.failure("the keep-alive of a client failed", failure)
        self.transport.abortConnection()

    def _free_id(self) -> int:
        if len(self._unacknowledged) >= _LARGEST_ID:
            raise Unavailable("65,535 messages wait for their acknowledgement")
        while self._next_id in self._unacknowledged:
            self._next_id = self._next_id % _LARGEST_ID + 1
        packet_id, self._next_id = self._next_id, self._next_id % _LARGEST_ID + 1
        return packet_id
