"""The sending end of a connection: gathers what one turn of the reactor writes and sends it once.

Twisted's own `write` arms the reactor for every reply. On a plain TCP connection this sends with
the socket itself at the end of the turn, and leaves to the transport only what did not fit. TLS and
WebSocket connections write to their transport, also once a turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.tcp import Connection as TcpConnection
from twisted.logger import Logger
from zope.interface import implementer

_FLUSH_AT = 64 * 1024
"""More than this is sent at once instead of at the end of the turn."""


class Turn:
    """Collects what has to be done once at the end of this turn of the reactor.

    First acknowledgements are released, since they are written to outboxes, then the outboxes that
    were written to are emptied.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._releases: list[Callable[[], object]] = []
        self._outboxes: list[Outbox] = []
        self._called = False

    def add(self, outbox: Outbox) -> None:
        """Empty it."""
        self._outboxes.append(outbox)
        if not self._called:
            self._called = True
            self._clock.callLater(0, self._end)

    def release(self, release: Callable[[], object]) -> None:
        """Call this, before any outbox is emptied."""
        self._releases.append(release)
        if not self._called:
            self._called = True
            self._clock.callLater(0, self._end)

    def _end(self) -> None:
        while self._releases:
            releases, self._releases = self._releases, []
            for release in releases:
                try:
                    release()
                except Exception:
                    self._log.failure("releasing acknowledgements failed")
        outboxes, self._outboxes = self._outboxes, []
        self._called = False
        for outbox in outboxes:
            try:
                outbox.end_turn()
            except Exception:
                self._log.failure("sending to {peer} failed", peer=outbox.peer)
                outbox.abort()


class Transport(Protocol):
    """What an outbox needs of a Twisted transport (TCP, TLS, or the one below a WebSocket)."""

    def write(self, data: bytes, /) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def registerProducer(self, producer: Any, streaming: bool, /) -> None: ...
    def unregisterProducer(self) -> None: ...


@implementer(IPushProducer)
class Outbox:
    """Sends through the transport's `write`, pausing while the transport says that it is full.

    `unsent` counts the bytes that neither socket nor transport has taken, `sent` all that were
    taken, `packets` how many packets were written. `on_drained` is called
    after a turn in which everything went out, so that what waits behind the outbox can follow.
    """

    __slots__ = (
        "_blocked",
        "_closed",
        "_parts",
        "_transport",
        "_turn",
        "on_drained",
        "packets",
        "peer",
        "sent",
        "unsent",
    )

    def __init__(self, transport: Transport, turn: Turn, peer: str) -> None:
        self.peer = peer
        self.unsent = 0
        self.sent = 0
        self.packets = 0
        self.on_drained: Callable[[], object] | None = None
        self._transport = transport
        self._turn = turn
        self._parts: list[bytes] = []
        self._blocked = False
        self._closed = False
        self._register()

    def write(self, data: bytes, packets: int = 1) -> None:
        """Send soon. After `close` it is forgotten."""
        if self._closed:
            return
        self.packets += packets
        if not self._parts:
            self._turn.add(self)
        self._parts.append(data)
        self.unsent += len(data)
        if self.unsent > _FLUSH_AT and not self._blocked:
            self.flush()

    def flush(self) -> None:
        """Send now what can be sent now."""
        if self._parts and not self._blocked and not self._closed:
            self._send(self._take())

    def end_turn(self) -> None:
        """Send, and tell `on_drained` if nothing is left."""
        if self._parts and not self._blocked and not self._closed:
            self._send(self._take())
        if not self.unsent and self.on_drained is not None:
            self.on_drained()

    def has_room(self, limit: int) -> bool:
        """Whether no more than `limit` bytes are unsent once everything possible was sent."""
        self.flush()
        return self.unsent <= limit

    def close(self) -> None:
        """Send what is left, then end the connection."""
        if not self._closed:
            self._closed = True
            self.on_drained = None
            if self._parts:
                self._transport.write(self._take())
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def abort(self) -> None:
        """End the connection without sending what is left."""
        self.lost()
        self._transport.abortConnection()

    def lost(self) -> None:
        """The connection is gone; there is nobody to send to."""
        self._closed = True
        self._parts.clear()
        self.on_drained = None

    def pause_reading(self) -> None:
        """Take nothing more from the peer for now."""
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        """Go on taking from the peer."""
        if not self._closed:
            self._transport.resumeProducing()

    # ------------------------------------------------------------------ called by the transport

    def pauseProducing(self) -> None:
        """The transport is full."""
        self._blocked = True

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self._blocked = False
        self.end_turn()

    def stopProducing(self) -> None:
        """The transport is gone."""
        self.lost()

    # ------------------------------------------------------------------

    def _register(self) -> None:
        self._transport.registerProducer(self, True)

    def _take(self) -> bytes:
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self.sent += len(data)
        return data

    def _send(self, data: bytes) -> None:
        self.unsent = 0
        self._transport.write(data)


class SocketOutbox(Outbox):
    """The outbox of a plain TCP connection: `socket.send`, the transport for what does not fit."""

    __slots__ = ("_in_transport", "_socket")

    def __init__(self, transport: TcpConnection, turn: Turn, peer: str) -> None:
        super().__init__(transport, turn, peer)
        self._socket = transport.socket
        self._in_transport = 0

    def resumeProducing(self) -> None:
        """The transport has sent everything that it had."""
        if self._in_transport:
            self.unsent -= self._in_transport
            self._in_transport = 0
            self._blocked = False
            self._transport.unregisterProducer()
            self.end_turn()

    def _register(self) -> None:
        """The transport is told of a producer only while it holds something."""

    def _send(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except OSError:
            # Full, or broken: the transport finds out which and reports a loss in its own time.
            sent = 0
        self.unsent = left = len(data) - sent
        if left:
            self._blocked = True
            self._transport.write(data[sent:])
            # A pull producer is asked for more once at registration, then whenever all was sent.
            self._transport.registerProducer(self, False)
            self._in_transport = left


def outbox_for(transport: Transport, turn: Turn, peer: str) -> Outbox:
    """@return: the fastest outbox that suits the transport."""
    if isinstance(transport, TcpConnection) and not transport.TLS:
        return SocketOutbox(transport, turn, peer)
    return Outbox(transport, turn, peer)
