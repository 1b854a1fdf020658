"""Server-Sent Events: the events of `/ws/v1` as one endless answer (docs/realtime.rst)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from aemos import json
from aemos.errors import BadRequest, Forbidden, Unauthenticated, Unavailable
from aemos.model import Instant
from aemos.realtime.frames import event_message
from aemos.realtime.hub import Event
from aemos.realtime.outbox import Outbox
from aemos.realtime.pace import Paces
from aemos.realtime.session import Refusal, Sessions
from aemos.realtime.tickets import Tickets
from aemos.realtime.wishes import Wish

_RETRY = b"retry: 2000\n\n"  # milliseconds after which a browser connects again
_HEARTBEAT = b":\n\n"


def event_block(event: Event, room: str) -> bytes:
    """@return: an event as the stream has it, for `Event.encoded`."""
    message = event_message(event, room)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.name.encode(), message)


def _block(name: str, fields: Mapping[str, Any], event_id: str = "") -> bytes:
    head = f"id: {event_id}\n" if event_id else ""
    data = json.encode({"type": name, **fields})
    return b"%bevent: %b\ndata: %b\n\n" % (head.encode(), name.encode(), data)


class EventStream:
    """One client: what is to be sent gathers in a bounded outbox until `chunks` takes it."""

    def __init__(self, streams: EventStreams) -> None:
        self._streams, self._clock = streams, streams.sessions.clock
        self._session = streams.sessions.open(self)
        settings = streams.sessions.settings
        self._interval = settings.ping_interval
        self._outbox = Outbox(settings.max_buffer)
        self._paces = Paces(self._clock, self._send_event)
        self._over = False
        self._waiting: Deferred[None] | None = None
        self._waking = False
        self._timer: IDelayedCall | None = None

    async def begin(self, token: str, rooms: Sequence[str], wish: Wish) -> None:
        """Sign in (unless the token is empty) and join.

        @raise Unauthenticated: the token is not valid, or nobody may join without one.
        @raise Forbidden: none of the rooms may be joined.
        @raise BadRequest: none of the rooms is written like one.
        """
        if token:
            await self._session.authenticate(token)
        granted, refused = await self._session.join(rooms, wish.wanted())
        if not granted:
            raise _reason(refused)
        self._outbox.add(_RETRY)
        missed = None
        if wish.after is not None:
            missed = self._session.missed(granted, wish.after, wish.every or 0)
        self._paces.set(granted, wish.every)
        reasons = [attrs.asdict(refusal) for refusal in refused]
        answer = {"rooms": granted, "refused": reasons}
        self._send(_block("subscribed", answer, self._session.last_id()))
        if missed is not None:
            if missed.gap is not None:
                start, end = missed.gap
                self._send(_block("gap", {"rooms": granted, "from": start, "to": end}))
            for event, room in missed.events:
                self.send_event(event, room)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The answer, as it comes; ends with the session, or when `end` is called."""
        try:
            while True:
                if not self._outbox and not self._over:
                    await self._something()
                waiting, dropped = self._outbox.take()
                if dropped:
                    self._session.dropped(dropped)
                    waiting.append(_block("dropped", {"count": dropped}))
                if waiting:
                    yield b"".join(waiting)
                if self._over and not self._outbox:
                    return
        finally:
            self.end()

    def end(self) -> None:
        """Send nothing more; may be called twice."""
        self._over = True
        self._session.end()
        self._paces.stop()
        self._streams.open_streams.discard(self)
        self._wake_soon()

    # What the session tells: `session.Door`

    def send_event(self, event: Event, room: str) -> None:
        """Part of `Door`."""
        self._paces.deliver(event, room)

    def rooms_lost(self, rooms: Sequence[str]) -> None:
        """Part of `Door`."""
        self._paces.forget(rooms)
        self._send(_block("unsubscribed", {"rooms": rooms, "code": "forbidden"}))

    def session_over(self, code: str, reason: str) -> None:
        """Part of `Door`."""
        self._send(_block("end", {"code": code, "message": reason}))
        self.end()

    # ------------------------------------------------------------------

    def _send_event(self, event: Event, room: str) -> None:
        self._send(event.encoded(event_block, room), event.subject)

    def _send(self, block: bytes, subject: str = "") -> None:
        if not self._over:
            self._outbox.add(block, subject)
            self._wake_soon()

    async def _something(self) -> None:
        """Wait until there is something to be sent."""
        waiting = self._waiting = Deferred()
        self._in(self._interval, self._beat)
        await waiting

    def _beat(self) -> None:
        self._outbox.add(_HEARTBEAT)
        self._wake()

    def _wake_soon(self) -> None:
        # At the end of the reactor turn, so that all events of the turn leave together.
        if self._waiting is not None and not self._waking:
            self._waking = True
            self._in(0, self._wake)

    def _wake(self) -> None:
        self._in(None, self._wake)
        self._waking = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _in(self, delay: float | None, function: Callable[[], None]) -> None:
        """Call later, in place of what was to be called; None = call nothing."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if delay is None else self._clock.callLater(delay, function)


class EventStreams:
    """Opens streams, for the route that serves them (`aemos.http.routes.events`)."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.open_streams: set[EventStream] = set()
        self._tickets = Tickets(sessions.clock)
        self._stopping = False

    def ticket(self, token: str) -> tuple[str, Instant]:
        """@return: what opens one stream in place of this token, and until when."""
        return self._tickets.issue(token)

    async def open(
        self, token: str, ticket: str, rooms: Sequence[str], wish: Mapping[str, object]
    ) -> EventStream:
        """@param token: a JWT; "" = see what the ticket stands for; neither = anonymous.

        @param wish: the fields of `wishes.Wish`; numbers may be text.
        @raise Unavailable: too many connections, or the server is stopping.
        @raise BadRequest: the wish has another shape. @raise: as `EventStream.begin`.
        """
        if self._stopping or self.sessions.full:
            raise Unavailable("no more realtime connections just now")
        if ticket and not token:
            token = self._tickets.redeem(ticket) or ""
            if not token:
                raise Unauthenticated("the ticket was used, or is older than 30 seconds")
        try:
            wanted = msgspec.convert(wish, Wish, strict=False)
        except msgspec.ValidationError as error:
            raise BadRequest(f"Invalid query parameters: {error}") from None
        wanted.check()
        stream = EventStream(self)
        self.open_streams.add(stream)
        try:
            await stream.begin(token, rooms, wanted)
        except BaseException:
            stream.end()
            raise
        return stream

    def stop(self) -> None:
        """End all streams, and open no more."""
        self._stopping = True
        for stream in tuple(self.open_streams):
            stream.session_over("going_away", "the server is stopping")


def _reason(refused: Sequence[Refusal]) -> BadRequest | Forbidden:
    if all(refusal.code == "bad_room" for refusal in refused):
        return BadRequest("none of the rooms is written like one")
    return Forbidden("no such room for you")
