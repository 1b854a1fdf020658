"""Engine.IO sessions: packets to and from one client, whatever carries them just now.

A session outlives its transports: it begins with long polling or a WebSocket, and may move from the
one to the other without losing or reordering a packet (spec/realtime.md section 6.1). What is to be
sent gathers in a bounded outbox and leaves once per reactor turn, while the transport takes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from aemos.config.schema import Realtime
from aemos.realtime.connection import Flushes
from aemos.realtime.engineio import (
    NOOP,
    PING,
    PROBE,
    PROBE_ANSWER,
    Packet,
    PacketType,
    handshake,
)
from aemos.realtime.outbox import Outbox

_UPGRADE_TIMEOUT = 10.0  # seconds for a client to move to a WebSocket


class Transport(Protocol):
    """What carries the packets of a session."""

    name: str

    @property
    def ready(self) -> bool:
        """Whether packets can be written now; when that comes true, `carrier_ready` is called."""

    def write(self, packets: Sequence[bytes]) -> None:
        """Send encoded packets, in order."""

    def read(self, wanted: bool) -> None:
        """Read on from the client, or let it wait."""

    def end(self) -> None:
        """Close after what was written; the session is over, or has moved."""


class Conversation(Protocol):
    """What is said in a session."""

    def received(self, message: str | bytes) -> None:
        """The client sent a message."""

    def checkpoint(self) -> None:
        """Something was sent, behind all else, that the client cannot but react to."""

    def reached(self) -> None:
        """It has: what was sent before the last checkpoint has arrived."""

    def closed(self, reason: str, silent: bool) -> None:
        """The session is over: nothing can be sent any more.

        @param silent: what was sent since the last checkpoint that was reached may not have
            arrived.
        """


class EngineSession:
    """One client. Ends when it leaves, breaks the protocol, or does not answer a ping in time."""

    def __init__(self, engine: Engine, transport: Transport, address: str, token: str) -> None:
        """@param address: of the client, for the log. @param token: that came with its request."""
        self._engine, self._transport = engine, transport
        self._clock, settings = engine.clock, engine.settings
        self._interval = settings.socket_io.ping_interval_ms / 1000
        self._timeout = settings.socket_io.ping_timeout_ms / 1000
        self._outbox = Outbox(settings.max_buffer)
        self._answers = 0  # bytes that wait of packets without a subject
        self._max_answers = max(settings.max_buffer, settings.socket_io.max_payload)
        self._probe: Transport | None = None
        self._probe_timer: IDelayedCall | None = None
        self._moving = False
        self._held = False
        self._timer = self._clock.callLater(self._interval, self._ping)
        self.sid = secrets.token_urlsafe(15)
        self.address, self.token = address, token
        self.ended = False
        self.dropped = 0
        self._conversation = engine.converse(self)
        self.send(
            handshake(
                self.sid,
                ["websocket"] if transport.name == "polling" else [],
                settings.socket_io.ping_interval_ms,
                settings.socket_io.ping_timeout_ms,
                settings.socket_io.max_payload,
            )
        )

    @property
    def carrier(self) -> Transport:
        """The transport of now."""
        return self._transport

    # What the conversation asks for

    def send(self, packet: bytes, subject: str = "") -> None:
        """Send an encoded packet; to a slow client it may be dropped for a newer one of `subject`.

        Packets without a subject always get there, as long as the client listens at all.
        """
        if self.ended:
            return
        if not subject:
            if self._answers > self._max_answers:
                self.flush()
            if self._answers > self._max_answers:
                self.close("the client does not listen")
                return
            self._answers += len(packet)
        if not self._outbox:
            self._engine.flushes.soon(self.flush)
        self._outbox.add(packet, subject)

    def hold(self, wanted: bool) -> None:
        """Let the client wait with what it sends, or go on."""
        self._held = wanted
        if not self.ended:
            self._transport.read(not wanted)

    def close(self, reason: str, silent: bool = False) -> None:
        """End the session; what waits is sent if the transport takes it just now.

        @param silent: the client has not been heard of, so nobody knows what got there.
        """
        if self.ended:
            return
        self.flush()
        self.ended = True
        self._timer.cancel()
        self._end_probe()
        self._engine.forget(self)
        self._transport.end()
        self._conversation.closed(reason, silent or bool(self._outbox))

    def flush(self) -> None:
        """Write what waits, if the transport takes it."""
        if self._outbox and not self.ended and self._transport.ready:
            packets, dropped = self._outbox.take()
            self._answers = 0
            self.dropped += dropped
            self._engine.dropped += dropped
            self._transport.write(packets)
            if self._polling:
                self._conversation.checkpoint()

    @property
    def _polling(self) -> bool:
        return self._transport.name == "polling"

    # What the transports tell

    def received(self, packet: Packet, transport: Transport) -> None:
        """A transport of this session got a packet."""
        if self.ended:
            return
        if transport is self._probe:
            self._probed(packet, transport)
        elif transport is not self._transport:
            return
        elif packet.type is PacketType.MESSAGE:
            self._conversation.received(packet.data)
        elif packet.type is PacketType.PONG:
            self._timer.cancel()
            self._timer = self._clock.callLater(self._interval, self._ping)
            if not self._polling:
                self._conversation.reached()
        elif packet.type is PacketType.CLOSE:
            self.close("transport close")
        elif packet.type is PacketType.PING:
            self.close("in this version of the protocol the server pings")

    def carrier_ready(self, transport: Transport) -> None:
        """A transport takes packets again."""
        if transport is self._transport:
            if self._polling:  # who polls again has got the last answer
                self._conversation.reached()
            self.flush()
            if self._moving and transport.ready:
                # The client is about to move, and waits for its last poll to be answered.
                transport.write([NOOP])

    def lost(self, transport: Transport, reason: str) -> None:
        """A transport is gone: with the one of now, the session is."""
        if transport is self._probe:
            self._end_probe()
        elif transport is self._transport:
            self.close(reason)

    def offer(self, transport: Transport) -> bool:
        """Take a WebSocket that the client may move to.

        @return: whether that is possible; False = it is on a WebSocket, or moving to one already.
        """
        if self.ended or self._probe is not None or not self._polling:
            return False
        self._probe = transport
        self._probe_timer = self._clock.callLater(_UPGRADE_TIMEOUT, self._end_probe)
        return True

    def _probed(self, packet: Packet, transport: Transport) -> None:
        if packet == PROBE and not self._moving:
            self._moving = True
            transport.write([PROBE_ANSWER])
            self.carrier_ready(self._transport)
        elif packet.type is PacketType.UPGRADE and self._moving:
            # The client sends it when its last poll and its last POST are answered: whatever was
            # written has arrived, and whatever comes now was sent later.
            left, self._transport, self._probe = self._transport, transport, None
            self._end_probe()
            if left.ready:
                left.write([NOOP])
            left.end()
            transport.read(not self._held)
            self.flush()
        else:
            self._end_probe()

    def _end_probe(self) -> None:
        if self._probe_timer is not None and self._probe_timer.active():
            self._probe_timer.cancel()
        probe, self._probe, self._probe_timer, self._moving = self._probe, None, None, False
        if probe is not None:
            probe.end()

    def _ping(self) -> None:
        self._timer = self._clock.callLater(self._timeout, self._unanswered)
        self.send(PING)
        if not self._polling:
            self._conversation.checkpoint()

    def _unanswered(self) -> None:
        # While the client is let wait (for the database, say) its answer is not read.
        self._timer = self._clock.callLater(self._timeout, self._unanswered)
        if not self._held:
            self.close("ping timeout", silent=True)


class Engine:
    """All sessions, found by their id."""

    def __init__(
        self,
        settings: Realtime,
        clock: IReactorTime,
        converse: Callable[[EngineSession], Conversation],
    ) -> None:
        """@param converse: begins the conversation of a new session."""
        self.settings, self.clock, self.converse = settings, clock, converse
        self.flushes = Flushes(clock)
        self.dropped = 0
        self.stopping = False
        self._sessions: dict[str, EngineSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def full(self) -> bool:
        """@return: whether nobody more is taken."""
        return self.stopping or len(self._sessions) >= self.settings.socket_io.max_connections

    def begin(self, transport: Transport, address: str, token: str = "") -> EngineSession:
        """@return: a new session over this transport."""
        session = EngineSession(self, transport, address, token)
        self._sessions[session.sid] = session
        return session

    def find(self, sid: str) -> EngineSession | None:
        """@return: the session of that id, None = there is none (any more)."""
        return self._sessions.get(sid)

    def forget(self, session: EngineSession) -> None:
        """Called by a session when it is over."""
        self._sessions.pop(session.sid, None)

    def stop_polling(self) -> None:
        """Take nobody any more, and end the sessions that HTTP requests wait for.

        Sessions on WebSockets end with these: clients connect again when the transport closes, but
        not when the server disconnects them from their namespace.
        """
        self.stopping = True
        for session in tuple(self._sessions.values()):
            if session.carrier.name == "polling":
                session.close("the server is stopping")
