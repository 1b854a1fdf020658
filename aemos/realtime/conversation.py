"""What a client of Socket.IO says and hears: namespaces, rooms, events (spec/realtime.md)."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos.errors import AemosError, StorageUnavailable, Unauthenticated
from aemos.model import ANONYMOUS
from aemos.realtime import socketio
from aemos.realtime.engineio import MalformedPacket
from aemos.realtime.hub import Event
from aemos.realtime.notifications import EVERYBODY, meant_for_strangers
from aemos.realtime.recovery import Left, Recovery
from aemos.realtime.session import Sessions
from aemos.realtime.socketio import Packet, PacketType

NAMESPACES = ("/", "/api/v1")
"""The second is an alias: the dashboard asks for it when its server address ends so."""

_MAX_ADDRESSES = 10_000


class Link(Protocol):
    """The Engine.IO session below a conversation."""

    address: str
    token: str
    """That came with the request, "" = none: for clients that send it there and not in `auth`."""

    def send(self, packet: bytes, subject: str = "") -> None:
        """Send an encoded packet."""

    def hold(self, wanted: bool) -> None:
        """Let the client wait, or go on."""

    def close(self, reason: str, silent: bool = False) -> None:
        """End the session."""


def event_packet(event: Event, namespace: str) -> bytes:
    """@return: the packet of an event, for `Event.encoded`.

    No offset follows the data, by which clients could say how far they have heard: handlers of
    other languages than JavaScript take no argument more than they were written for.
    """
    head = f'42{socketio.prefix(namespace)}["{event.name}",'
    return b"%b%b]" % (head.encode(), event.json())


class Conversations:
    """What all conversations share."""

    log = Logger()

    def __init__(self, sessions: Sessions) -> None:
        settings = sessions.settings.socket_io
        self.sessions, self.settings, self.clock = sessions, settings, sessions.clock
        self.recovery = Recovery(sessions.clock, settings.recovery, settings.max_connections)
        self.recovered = 0
        self.recoverable: dict[str, Participant] = {}
        """Those who are here, by the private id with which they may come back."""
        self._refused_at: dict[str, None] = {}

    def begin(self, link: Link) -> Conversation:
        """@return: the conversation over a new Engine.IO session."""
        return Conversation(self, link)

    def refused(self, address: str, room: str, reason: str) -> None:
        """Log a room that was not joined, once per address."""
        if address not in self._refused_at:
            if len(self._refused_at) >= _MAX_ADDRESSES:
                del self._refused_at[next(iter(self._refused_at))]
            self._refused_at[address] = None
            self.log.info(
                "{address} may not join {room}: {reason}; more of it is not logged",
                address=address,
                room=room,
                reason=reason,
            )


class Conversation:
    """One client. Its packets are dealt with one after the other, and it waits meanwhile."""

    def __init__(self, shared: Conversations, link: Link) -> None:
        self._shared, self._link = shared, link
        self._decoder = socketio.Decoder()
        self._packets: deque[Packet] = deque()
        self._working = False
        self._held = False
        self._participants: dict[str, Participant] = {}
        self._checkpoint = self._reached = ""  # ids of events
        self._patience: IDelayedCall | None = shared.clock.callLater(
            shared.settings.connect_timeout, link.close, "no namespace was entered in time"
        )

    # What the link tells: `engine.Conversation`

    def received(self, message: str | bytes) -> None:
        """Part of `Conversation` of the engine."""
        try:
            packet = self._decoder.feed(message)
        except MalformedPacket as error:
            self._link.close(f"parse error, {error}")
            return
        if packet is None:
            return
        self._packets.append(packet)
        if not self._working:
            self._working = True
            ensureDeferred(self._work()).addErrback(self._failed)
            if self._working:
                self._held = True
                self._link.hold(True)

    def checkpoint(self) -> None:
        """Part of `Conversation` of the engine."""
        self._checkpoint = self._shared.sessions.hub.last_id()

    def reached(self) -> None:
        """Part of `Conversation` of the engine."""
        self._reached = self._checkpoint

    def closed(self, reason: str, silent: bool) -> None:
        """Part of `Conversation` of the engine."""
        self._packets.clear()
        self._be_patient_no_more()
        participants, self._participants = self._participants, {}
        heard = self._reached if silent else self._shared.sessions.hub.last_id()
        for participant in participants.values():
            participant.gone(heard)
        self._shared.log.info(
            "Socket.IO client at {address} is gone: {reason}",
            address=self._link.address,
            reason=reason,
        )

    # Packets

    async def _work(self) -> None:
        try:
            while self._packets:
                await self._handle(self._packets.popleft())
        finally:
            self._working = False
            if self._held:
                self._held = False
                self._link.hold(False)

    def _failed(self, failure: Failure) -> None:
        self._shared.log.failure("a Socket.IO packet was lost", failure)
        self._link.close("a fault of the server")

    async def _handle(self, packet: Packet) -> None:
        if packet.type is PacketType.CONNECT:
            await self._enter(packet)
            return
        participant = self._participants.get(packet.namespace)
        if participant is None or packet.type is PacketType.CONNECT_ERROR:
            self._link.close("a packet for a namespace that was not entered")
        elif packet.type is PacketType.DISCONNECT:
            del self._participants[packet.namespace]
            participant.leave()
        elif packet.type is PacketType.EVENT or packet.type is PacketType.BINARY_EVENT:
            await participant.take(packet)

    async def _enter(self, packet: Packet) -> None:
        name = packet.namespace
        if name not in NAMESPACES:
            self._refuse(name, {"message": "Invalid namespace"})
            return
        if name in self._participants:
            self._link.close("a namespace was entered twice")
            return
        participant = self._participants[name] = Participant(self._shared, self._link, name)
        try:
            await participant.enter(packet.data or {})
        except StorageUnavailable as error:
            # One that is refused does not come back by itself; one whose transport closes does.
            self._link.close(str(error))
        except AemosError as error:
            if self._participants.pop(name, None) is not None:
                participant.leave()
            self._refuse(name, {"message": str(error), "data": {"code": error.code}})
        else:
            self._be_patient_no_more()

    def _refuse(self, namespace: str, data: dict[str, Any]) -> None:
        packet = Packet(PacketType.CONNECT_ERROR, namespace, data)
        self._link.send(b"4" + packet.encode().encode())

    def _be_patient_no_more(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None and patience.active():
            patience.cancel()


class Participant:
    """A client in one namespace; `session.Door` of its session."""

    def __init__(self, shared: Conversations, link: Link, namespace: str) -> None:
        self._shared, self._link, self._namespace = shared, link, namespace
        self._sessions = shared.sessions
        self._session = shared.sessions.open(self)
        self._sid = secrets.token_urlsafe(15)
        self._pid = secrets.token_urlsafe(24) if shared.recovery.enabled else ""
        self._since = ""
        self._joined: dict[str, str] = {}
        self._entered = False

    async def enter(self, auth: dict[str, Any]) -> None:
        """Find out who it is, and whether it was here before; then answer.

        @raise AemosError: it may not enter.
        """
        token = auth.get("token") or self._link.token
        if token:
            if not isinstance(token, str):
                raise Unauthenticated("the token is not valid")
            await self._session.authenticate(token)
        missed = () if self._session.ended else await self._come_back(auth)
        if self._session.ended:  # the connection broke while something was looked up
            return
        anonymous = self._session.principal is ANONYMOUS
        self._sessions.hub.join(
            self._session, EVERYBODY, meant_for_strangers if anonymous else None
        )
        self._since = self._since or self._session.last_id()
        if self._pid:
            self._shared.recoverable[self._pid] = self
        # All in one reactor turn: no event comes before the answer or between those missed.
        self._entered = True
        answer = {"sid": self._sid, "pid": self._pid} if self._pid else {"sid": self._sid}
        self._send(Packet(PacketType.CONNECT, self._namespace, answer))
        for event, room in missed:
            self.send_event(event, room)

    async def _come_back(self, auth: dict[str, Any]) -> Sequence[tuple[Event, str]]:
        """Join the rooms of before.

        @return: what happened there meanwhile. If that is not known any more, the client is a new
            one; its rooms are joined all the same, since the dashboard does not join them again.
        """
        pid = auth.get("pid")
        principal = self._session.principal.key
        before = self._shared.recoverable.get(pid) if isinstance(pid, str) else None
        if before is not None and before.principal == principal:
            # The client has noticed that its connection is broken before the server did.
            before.replace()
        left = self._shared.recovery.take(pid, principal)
        if left is None:
            return ()
        rooms: Sequence[str] = ()
        if left.rooms:
            rooms, _ = await self._session.join(left.rooms)
        if self._session.ended:
            self._shared.recovery.keep(str(pid), left)
            return ()
        self._joined = dict.fromkeys(rooms, self._session.last_id())
        found = self._session.missed((*rooms, EVERYBODY), left.since, entered=left.rooms)
        if found.gap is not None:
            return ()
        self._sid, self._pid = left.sid, str(pid)
        self._since, self._joined = left.since, {room: left.rooms[room] for room in rooms}
        self._shared.recovered += 1
        return found.events

    @property
    def principal(self) -> str:
        """The key of who it is."""
        return self._session.principal.key

    def replace(self) -> None:
        """The client is back over another connection."""
        self._link.close("the client came back", silent=True)

    def leave(self) -> None:
        """The client has left the namespace, or has never got in."""
        if self._shared.recoverable.get(self._pid) is self:
            del self._shared.recoverable[self._pid]
        self._entered = False
        self._sessions.hub.leave(self._session, EVERYBODY)
        self._session.end()

    def gone(self, heard: str) -> None:
        """The connection is gone; the client may come back.

        @param heard: an id of an event: it has got those before.
        """
        if self._entered and self._pid:
            session = self._session
            rooms = {room: self._joined.get(room, self._since) for room in session.rooms}
            since = max(heard, self._since)
            left = Left(self._sid, session.principal.key, rooms, since)
            self._shared.recovery.keep(self._pid, left)
        self.leave()

    async def take(self, packet: Packet) -> None:
        """Deal with an event of the client; those that are not known are passed over."""
        name, *arguments = packet.data
        rooms = _rooms(arguments)
        if name == "join":
            answer = await self._join(rooms)
        elif name == "leave":
            left = await self._session.leave(rooms)
            for room in left:
                self._joined.pop(room, None)
            answer = {"rooms": left}
        else:
            return
        if packet.id is not None:
            self._send(Packet(PacketType.ACK, self._namespace, [answer], packet.id))

    async def _join(self, rooms: Sequence[str]) -> dict[str, list[str]]:
        try:
            granted, refused = await self._session.join(rooms)
        except Unauthenticated as error:
            for room in rooms:
                self._shared.refused(self._link.address, room, str(error))
            return {"rooms": [], "refused": list(rooms)}
        now = self._session.last_id()
        for room in granted:
            self._joined.setdefault(room, now)
        for refusal in refused:
            self._shared.refused(self._link.address, refusal.room, refusal.message)
        return {"rooms": granted, "refused": [refusal.room for refusal in refused]}

    # What the session tells: `session.Door`

    def send_event(self, event: Event, room: str) -> None:
        """Part of `Door`."""
        if self._entered:
            packet = event.encoded(event_packet, self._namespace)
            self._link.send(packet, f"{event.name}:{event.subject}")

    def rooms_lost(self, rooms: Sequence[str]) -> None:
        """Part of `Door`: the protocol has no word for it."""
        for room in rooms:
            self._joined.pop(room, None)
        self._shared.log.info(
            "{user} may not be in {rooms} any more",
            user=self._session.principal.key,
            rooms=", ".join(rooms),
        )

    def session_over(self, code: str, reason: str) -> None:
        """Part of `Door`: the client comes back by itself, and is asked for its token again."""
        self._link.close(f"{code}, {reason}")

    def _send(self, packet: Packet) -> None:
        self._link.send(b"4" + packet.encode().encode())


def _rooms(arguments: Sequence[Any]) -> list[str]:
    """@return: the rooms that `join` and `leave` name: a text or a list; all else is ignored."""
    first = arguments[0] if arguments else None
    named = first if isinstance(first, list) else [first]
    return [room for room in named if isinstance(room, str)]
