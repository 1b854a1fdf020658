"""One conversation on the live channel `/ws/v1`: JSON messages in and out (docs/realtime.rst)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos.errors import AemosError
from aemos.model import ANONYMOUS, Instant, Principal
from aemos.realtime import frames
from aemos.realtime.hub import Event
from aemos.realtime.outbox import Outbox
from aemos.realtime.pace import Paces
from aemos.realtime.session import Sessions

_CLOSE_STATUS = {
    "going_away": 1001,
    "unauthenticated": 4401,
    "token_expired": 4401,
    "authenticate_timeout": 4408,
}
_TRY_AGAIN_LATER = 1013

# One message is one text frame with one JSON object; "type" says which. A client may put a "ref"
# into any of its messages and finds it in the answer.
#
#   client                                        server
#   {"type":"authenticate","token":JWT}           {"type":"authenticated","user":{...},
#                                                  "organizations":[1],"expires":TIME}
#   {"type":"subscribe","rooms":[...],            {"type":"subscribed","rooms":[...],"last":ID,
#    "events":[...],"variables":[...],             "refused":[{"room","code","message"}]}
#    "uuids":[...],"every":MS,"after":ID}         {"type":"gap","rooms":[...],"from":TIME,"to":TIME}
#                                                 and the events that were missed
#   {"type":"unsubscribe","rooms":[...]}          {"type":"unsubscribed","rooms":[...]}
#   {"type":"ping"}                               {"type":"pong","time":TIME}
#
#   what the server says by itself:
#     {"type":"event","id":ID,"event":NAME,"room":ROOM,"data":{...}}
#     {"type":"unsubscribed","rooms":[...],"code":"forbidden"}    rights have changed
#     {"type":"dropped","count":N}     the client was too slow for N events; the newest of each
#                                      variable are those that were sent
#     {"type":"error","code":WORD,"message":SENTENCE}
#
# The token may come as second subprotocol instead (Sec-WebSocket-Protocol: aemos.v1, JWT), for
# browsers; in the query string, where logs would keep it, it is refused. A connection without a
# token that joins nothing is closed after `realtime.authenticate_timeout`.


@attrs.define(slots=True)
class Traffic:
    """What one connection sent and received; `dropped` are the events that it was too slow for."""

    messages: int = 0
    events: int = 0
    octets: int = 0
    dropped: int = 0


class Socket(Protocol):
    """The WebSocket under a channel."""

    peer: str | None

    def write(self, octets: bytes) -> None:
        """Send complete frames."""

    def ping(self) -> None:
        """Ask for a sign of life."""

    def read(self, wanted: bool) -> None:
        """Read on from the client, or let it wait."""

    def close(self, status: int, reason: str) -> None:
        """Send a close frame and end soon, whatever the client does."""

    def abort(self) -> None:
        """End at once."""


class Channel:
    """Passes what the client says to its session, and what the session hears to the client.

    What is to be sent gathers in a bounded outbox that is written once per reactor turn, while the
    socket takes it. From a client that does not read, the server does not read either.
    """

    _log = Logger()

    def __init__(
        self, socket: Socket, sessions: Sessions, flush_soon: Callable[[Channel], object]
    ) -> None:
        """@param flush_soon: asked to call `flush` at the end of the reactor turn."""
        self._socket, self._flush_soon = socket, flush_soon
        self._settings, self._clock = sessions.settings, sessions.clock
        self._session = sessions.open(self)
        self._outbox = Outbox(self._settings.max_buffer)
        self._paces = Paces(self._clock, self._send_now)
        self._writable = True
        self._open = False
        self._pending = 0
        self._heard_at = self._clock.seconds()
        self._timers: dict[str, IDelayedCall] = {}
        self._reason = ""
        self.traffic = Traffic()

    @property
    def principal(self) -> Principal:
        """Who is at the other end, as of now."""
        return self._session.principal

    # What the socket tells

    def opened(self, token: str) -> None:
        """The handshake is done; `token` came with it, "" = none."""
        self._open = True
        self._after("join", self._settings.authenticate_timeout, self._check_joined)
        self._after("ping", self._settings.ping_interval, self._check_alive)
        if token:
            self._start(self._authenticate_offered(token))

    def heard(self) -> None:
        """Some octets came in: the client lives."""
        self._heard_at = self._clock.seconds()

    def received(self, payload: bytes) -> None:
        """One message of the client."""
        self.traffic.messages += 1
        self._start(self._handle(payload))

    def writable(self, ready: bool) -> None:
        """Whether the socket takes more just now."""
        self._writable = ready
        self._choose_reading()
        if ready:
            self.flush()

    def closed(self, reason: str) -> None:
        """The connection is gone."""
        self._open = False
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._paces.stop()
        self._log.info(
            "realtime connection of {user} at {peer} closed: {reason}; {traffic}",
            user=self.principal.key,
            peer=self._socket.peer,
            reason=self._reason or reason,
            traffic=self.traffic,
        )
        self._session.end()

    # What the client says

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        # Nothing more is read until it is done, so that what waits here stays bounded.
        self._pending += 1
        self._choose_reading()

        def done(result: object) -> None:
            self._pending -= 1
            self._choose_reading()
            if isinstance(result, Failure):
                self._log.failure("a realtime message was lost", result)

        ensureDeferred(coroutine).addBoth(done)

    async def _handle(self, payload: bytes) -> None:
        ref: frames.Ref = None
        try:
            try:
                message = frames.parse(payload)
            except AemosError:
                ref = frames.ref_of(payload)
                raise
            ref = message.ref
            if isinstance(message, frames.Subscribe):
                await self._subscribe(message)
            else:
                self._send(await self._reply(message))
        except AemosError as error:
            self._send_error(error.code, str(error), ref)
        except Exception:
            self._log.failure("a realtime message failed")
            self._send_error(AemosError.code, "internal error", ref)

    async def _subscribe(self, wish: frames.Subscribe) -> None:
        wish.check()
        granted, refused = await self._session.join(wish.rooms, wish.wanted())
        # From here on in one turn of the reactor: no event comes between what was missed and now.
        missed = None
        if wish.after is not None:
            missed = self._session.missed(granted, wish.after, wish.every or 0)
        self._paces.set(granted, wish.every)
        reasons = [attrs.asdict(refusal) for refusal in refused]
        last = self._session.last_id()
        self._send(frames.answer("subscribed", wish.ref, rooms=granted, last=last, refused=reasons))
        if missed is not None:
            if missed.gap is not None:
                start, end = missed.gap
                self._send(frames.answer("gap", rooms=granted, **{"from": start, "to": end}))
            for event, room in missed.events:
                self.send_event(event, room)

    async def _reply(
        self, message: frames.Authenticate | frames.Unsubscribe | frames.Ping
    ) -> bytes:
        match message:
            case frames.Authenticate(token=token, ref=ref):
                return _authenticated(await self._session.authenticate(token), ref)
            case frames.Unsubscribe(rooms=rooms, ref=ref):
                left = await self._session.leave(rooms)
                self._paces.forget(left)
                return frames.answer("unsubscribed", ref, rooms=left)
            case frames.Ping(ref=ref):
                return frames.answer("pong", ref, time=Instant.of(self._clock.seconds()))

    async def _authenticate_offered(self, token: str) -> None:
        try:
            self._send(_authenticated(await self._session.authenticate(token), None))
        except AemosError as error:
            # Whoever offers a token with the handshake does not mean to go on without one.
            self.session_over(error.code, str(error))

    # What the session tells: `session.Door`

    def send_event(self, event: Event, room: str) -> None:
        """Part of `Door`."""
        self._paces.deliver(event, room)

    def _send_now(self, event: Event, room: str) -> None:
        self.traffic.events += 1
        self._send(event.encoded(frames.event_frame, room), event.subject)

    def rooms_lost(self, rooms: Sequence[str]) -> None:
        """Part of `Door`."""
        self._paces.forget(rooms)
        self._send(frames.answer("unsubscribed", rooms=rooms, code="forbidden"))

    def session_over(self, code: str, reason: str) -> None:
        """Part of `Door`: tell the client why, then close."""
        if not self._open:
            return
        self._reason = f"{code}, {reason}"
        self._session.end()
        self._send_error(code, reason, None)
        self._write()
        self._open = False
        self._socket.close(_CLOSE_STATUS.get(code, _TRY_AGAIN_LATER), code)

    # Sending

    def flush(self) -> None:
        """Write what waits, if the socket takes it."""
        if self._open and self._writable and self._outbox:
            self._write()

    def _write(self) -> None:
        waiting, dropped = self._outbox.take()
        if dropped:
            self.traffic.dropped += dropped
            self._session.dropped(dropped)
            waiting.append(frames.answer("dropped", count=dropped))
        octets = b"".join(waiting)
        self.traffic.octets += len(octets)
        self._socket.write(octets)

    def _send(self, frame: bytes, subject: str = "") -> None:
        if self._open and self._writable and not self._outbox:
            self._flush_soon(self)
        self._outbox.add(frame, subject)

    def _send_error(self, code: str, message: str, ref: frames.Ref) -> None:
        self._send(frames.answer("error", ref, code=code, message=message))

    def _choose_reading(self) -> None:
        if self._open:
            self._socket.read(self._writable and not self._pending)

    # Time

    def _after(self, name: str, delay: float, function: Callable[[], object]) -> None:
        self._timers[name] = self._clock.callLater(delay, function)

    def _check_joined(self) -> None:
        if self.principal is ANONYMOUS and not self._session.rooms:
            self.session_over("authenticate_timeout", "no token and no room in time")

    def _check_alive(self) -> None:
        interval = self._settings.ping_interval
        silent = self._clock.seconds() - self._heard_at
        # While a message waits (for the database, say) nothing is read, so nothing can be heard.
        if silent >= 2 * interval and not self._pending:
            self._reason = "no sign of life"
            self._socket.abort()
            return
        if silent >= interval:
            self._socket.ping()
        self._after("ping", interval, self._check_alive)


def _authenticated(principal: Principal, ref: frames.Ref) -> bytes:
    user = {
        "id": principal.id,
        "email": principal.name,
        "administrator": principal.administrator,
    }
    return frames.answer(
        "authenticated",
        ref,
        user=user,
        organizations=sorted(principal.organizations),
        expires=principal.expires_at,
    )
