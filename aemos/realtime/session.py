"""Who is behind a live connection, and in which rooms it may be: the same for every realtime door.

A door opens a session for each connection and is told through `Door` what happens. The session
holds the principal, asks `authorization` before it joins a room, asks again when rights change, and
ends when its token expires or is revoked (promises P4 and P5 of the design).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from aemos.config.schema import Realtime
from aemos.errors import AemosError, Unauthenticated
from aemos.model import ANONYMOUS, Instant, Principal, PrincipalKind
from aemos.realtime.hub import Event, Hub, Missed, Wanted, is_room
from aemos.services.events import Events, UserChanged


class Authentication(Protocol):
    """`aemos.services.auth`, as far as sessions need it."""

    def principal_for_token(self, token: str) -> Coroutine[Any, Any, Principal]:
        """@raise Unauthenticated: the token is not, or no longer, valid."""


class Authorization(Protocol):
    """`aemos.services.authorization`, as far as sessions need it."""

    def may_join(self, principal: Principal, room: str, done: Callable[[bool], object]) -> None:
        """Call `done` once, now or later."""


class Door(Protocol):
    """What a session tells the connection that it belongs to."""

    def send_event(self, event: Event, room: str) -> None:
        """Pass one event on to the client."""

    def rooms_lost(self, rooms: Sequence[str]) -> None:
        """The session left these rooms because it may not be there any more."""

    def session_over(self, code: str, reason: str) -> None:
        """Close the connection; `code` is a word for programs, `reason` a sentence."""


@attrs.frozen(slots=True)
class Refusal:
    """A room that was not joined, and why."""

    room: str
    code: str
    message: str


class Session:
    """One connection's principal and rooms; made by `Sessions.open`, ended by `end`."""

    _log = Logger()

    def __init__(self, sessions: Sessions, door: Door) -> None:
        self._sessions = sessions
        self._door = door
        self._token = ""
        self._expiry: IDelayedCall | None = None
        # Joins and changes of the principal take turns, so that nobody joins by rights of the past.
        self._lock = DeferredLock()
        self.principal: Principal = ANONYMOUS
        self.rooms: set[str] = set()
        self.ended = False

    async def authenticate(self, token: str) -> Principal:
        """Become who the token (a JWT) says; again with a newer token before the first one expires.

        @raise Unauthenticated: the token is not valid; the session stays what it was.
        @raise StorageUnavailable: nobody can tell just now.
        """
        async with self._turn():
            principal = await self._sessions.auth.principal_for_token(token)
            self._token = token
            await self._become(principal)
            return self.principal

    async def join(
        self, rooms: Iterable[str], wanted: Wanted | None = None
    ) -> tuple[list[str], list[Refusal]]:
        """Join what may be joined.

        @param wanted: which events of these rooms, from now on; None = all.
        @return: the rooms that the session is in now, and those refused. A room that does not exist
            is refused like a foreign one: its existence is nobody else's business.
        @raise Unauthenticated: no token yet, and nothing is open to anonymous sessions.
        """
        async with self._turn():
            if self.principal is ANONYMOUS and not self._sessions.settings.anonymous:
                raise Unauthenticated("authenticate first")
            granted: list[str] = []
            refused: list[Refusal] = []
            asked: list[str] = []
            for room in dict.fromkeys(rooms):
                if room in self.rooms:
                    granted.append(room)
                elif not is_room(room):
                    refused.append(Refusal(room, "bad_room", "not the name of a room"))
                elif len(self.rooms) + len(asked) >= self._sessions.settings.max_rooms:
                    refused.append(Refusal(room, "too_many_rooms", "realtime.max_rooms is reached"))
                else:
                    asked.append(room)
            for room, allowed in zip(asked, await self._may_join(asked), strict=True):
                if allowed:
                    granted.append(room)
                else:
                    refused.append(Refusal(room, "forbidden", "no such room for you"))
            if not self.ended:
                self.rooms.update(granted)
                for room in granted:
                    self._sessions.hub.join(self, room, wanted)
            return granted, refused

    def missed(
        self,
        rooms: Sequence[str],
        after: str,
        overlap: int = 0,
        *,
        entered: Mapping[str, str] | None = None,
    ) -> Missed:
        """What the session would have heard in these rooms, which it is in, after an event.

        To be asked in the reactor turn in which `join` answers: nothing is missing then. Arguments
        and answer as `Hub.missed` has them.
        """
        found = self._sessions.hub.missed(self, rooms, after, overlap, entered=entered)
        seen = [each for each in found.events if self._hears(*each)]
        return Missed(seen, found.gap)

    def last_id(self) -> str:
        """@return: an id to give as the last one seen by a client that has seen no event yet."""
        return self._sessions.hub.last_id()

    async def leave(self, rooms: Iterable[str]) -> list[str]:
        """@return: the rooms that were left; those that the session is not in are passed over."""
        async with self._turn():
            return self._leave(rooms)

    def deliver(self, event: Event, room: str) -> None:
        """Part of `hub.Member`: pass on what the principal may see.

        A room's thing can move to another organization (a sensor to another area); the event tells.
        """
        if self._hears(event, room):
            self._door.send_event(event, room)
        elif not room.startswith("organization-") and not self._belongs(event):
            self._leave([room])
            self._door.rooms_lost([room])

    def dropped(self, count: int) -> None:
        """So many events were left out because the client was too slow."""
        self._sessions.dropped += count

    def _hears(self, event: Event, room: str) -> bool:
        # A room that is a number belongs to the user of that id: nobody else gets into it.
        return room.isdigit() or self._sessions.sees(self.principal, event)

    def _belongs(self, event: Event) -> bool:
        """@return: whether it is about something of an organization of this principal's.

        It may still lack the permission for this kind of event: one who may view devices but no
        sensors hears the states in the room of a device, and not its alarms.
        """
        return event.organization_id in self.principal.organizations

    def end(self) -> None:
        """Leave everything; the connection is gone or going. May be called twice."""
        self.ended = True
        self._leave(tuple(self.rooms))
        self._expire_at(None)
        self._sessions.forget(self)

    def refresh(self) -> None:
        """Bring the principal up to date; end the session if its token is good no more."""
        ensureDeferred(self._refresh()).addErrback(
            lambda failure: self._log.failure("a realtime session was lost", failure)
        )

    async def _refresh(self) -> None:
        async with self._turn():
            if self.ended or not self._token:
                return
            try:
                await self._become(await self._sessions.auth.principal_for_token(self._token))
            except AemosError as error:
                # Also when the database cannot tell: no revocation is lost in an outage, and a
                # client that comes back is asked again.
                self._door.session_over(error.code, str(error))
            except Exception:
                self._log.failure("cannot refresh a realtime session")
                self._door.session_over(AemosError.code, "the session could not be checked")

    async def _become(self, principal: Principal) -> None:
        if self.ended:
            return
        self._sessions.rename(self, principal)
        self.principal = principal
        self._expire_at(principal.expires_at)
        rooms = list(self.rooms)
        verdicts = await self._may_join(rooms)
        forbidden = (room for room, yes in zip(rooms, verdicts, strict=True) if not yes)
        if lost := self._leave(forbidden):
            self._door.rooms_lost(lost)

    def _leave(self, rooms: Iterable[str]) -> list[str]:
        left = [room for room in dict.fromkeys(rooms) if room in self.rooms]
        for room in left:
            self.rooms.discard(room)
            self._sessions.hub.leave(self, room)
        return left

    async def _may_join(self, rooms: Sequence[str]) -> Sequence[bool]:
        answers = []
        for room in rooms:
            answer: Deferred[bool] = Deferred()
            self._sessions.authorization.may_join(self.principal, room, answer.callback)
            answers.append(answer)
        return await gatherResults(answers)

    def _expire_at(self, moment: Instant | None) -> None:
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        self._expiry = None
        if moment is not None:
            delay = max(0.0, moment / 1000 - self._sessions.clock.seconds())
            self._expiry = self._sessions.clock.callLater(
                delay, self._door.session_over, "token_expired", "the token has expired"
            )

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        await self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()


class Sessions:
    """All live sessions of all realtime doors, found by their user when its rights change."""

    def __init__(
        self,
        hub: Hub,
        auth: Authentication,
        authorization: Authorization,
        events: Events,
        settings: Realtime,
        clock: IReactorTime,
    ) -> None:
        """`auth` must have subscribed to `UserChanged` before, if it remembers principals."""
        self.hub, self.auth, self.authorization = hub, auth, authorization
        self.settings, self.clock = settings, clock
        self.dropped = 0  # events that clients were too slow for
        self._all: set[Session] = set()
        self._by_user: defaultdict[int, set[Session]] = defaultdict(set)
        events.subscribe(UserChanged, self._user_changed)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def full(self) -> bool:
        """@return: whether `realtime.max_connections` is reached."""
        return len(self._all) >= self.settings.max_connections

    def open(self, door: Door) -> Session:
        """@return: a new anonymous session; its door must call `end` when the connection closes."""
        session = Session(self, door)
        self._all.add(session)
        return session

    def sees(self, principal: Principal, event: Event) -> bool:
        """@return: whether this principal may see what the event is about."""
        if principal.administrator:
            return True
        if principal.kind is PrincipalKind.ANONYMOUS:
            listed = self.settings.anonymous
            return "all" in listed or str(event.organization_id) in listed
        owner = event.organization_id
        return owner is not None and principal.may(event.permission, owner)

    def rename(self, session: Session, principal: Principal) -> None:
        """Find `session` by `principal` from now on (told before the session becomes it)."""
        self._unlist(session)
        if principal.kind is PrincipalKind.USER:
            self._by_user[principal.id].add(session)

    def forget(self, session: Session) -> None:
        """Undo `open`."""
        self._all.discard(session)
        self._unlist(session)

    def _unlist(self, session: Session) -> None:
        of_user = self._by_user.get(session.principal.id)
        if of_user is not None:
            of_user.discard(session)
            if not of_user:
                del self._by_user[session.principal.id]

    def _user_changed(self, event: UserChanged) -> None:
        for session in tuple(self._by_user.get(event.user_id, ())):
            session.refresh()
