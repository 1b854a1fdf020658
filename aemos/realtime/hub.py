"""Rooms and live events: who hears what, whichever door it listens at.

The hub knows no socket, no token and no wire format. Doors let their sessions join rooms (after
asking for permission, see `aemos.realtime.session`); `aemos.realtime.feed` turns what services
publish into events, and the hub hands each to the members of its rooms, once per member.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from aemos import json
from aemos.config.schema import Realtime
from aemos.model import Instant
from aemos.realtime.replay import Replay

Wire = TypeVar("Wire")

_ROOM = re.compile(
    r"(?:(?:telemetry|device|organization)-)?[1-9][0-9]{0,17}|device-uuid-[\w.-]{1,64}", re.ASCII
)
_ID = re.compile(r"[0-9a-f]{14}")


def is_room(name: str) -> bool:
    """@return: whether `name` is written like a room (docs/realtime.rst)."""
    return _ROOM.fullmatch(name) is not None


def is_event_id(text: str) -> bool:
    """@return: whether `text` is written like `Event.id`."""
    return _ID.fullmatch(text) is not None


@attrs.define(slots=True, eq=False)
class Event:
    """One thing that happened, as every door tells it.

    `id` is opaque; ids compare as text in the order of happening, also over restarts. `data` is the
    payload of spec/realtime.md section 4. `organization_id` is the tenant that owns it (None: only
    System Admins see it), `permission` what a member of an organization's room must hold there. A
    newer event of the same `subject` makes this one outdated. `uuid` and `telemetry_id` say which
    sensor or device and which variable it is about.
    """

    id: str
    name: str
    data: Mapping[str, Any]
    organization_id: int | None
    subject: str
    permission: str = "sensor.view"
    uuid: str | None = None
    telemetry_id: int | None = None
    _json: bytes = attrs.field(default=b"", init=False)
    _encoded: dict[object, object] = attrs.field(factory=dict, init=False)

    def json(self) -> bytes:
        """@return: `data` as JSON, made once."""
        if not self._json:
            self._json = json.encode(self.data)
        return self._json

    def encoded(self, form: Callable[[Event, str], Wire], room: str) -> Wire:
        """@return: `form(self, room)`, made once and shared by all members that need the same."""
        key = (form, room)
        if key not in self._encoded:
            self._encoded[key] = form(self, room)
        return cast(Wire, self._encoded[key])

    def rest(self) -> None:
        """Keep no encodings for members that may never come."""
        self._encoded.clear()


Wanted = Callable[[Event], bool]
"""Whether a member that joined a room wants this event of it."""


class Member(Protocol):
    """Who can be in a room; compared by identity."""

    def deliver(self, event: Event, room: str) -> None:
        """Take one event; `room` is the one that brought it here. May leave rooms, never waits."""


@attrs.define(slots=True, eq=False)
class Room:
    """The members of a room with what they want of it (None = all).

    Events are recorded for those who come back since the id `since`; `ends` is when an empty room
    is given up, in reactor seconds.
    """

    since: str
    members: dict[Member, Wanted | None] = attrs.field(factory=dict)
    ends: float = 0.0


@attrs.frozen(slots=True)
class Missed:
    """What happened in some rooms after an event: what is still known, each with its room.

    `gap` is set when more happened than is known: from the event asked about to the moment since
    when nothing is missing.
    """

    events: Sequence[tuple[Event, str]]
    gap: tuple[Instant, Instant] | None


class Hub:
    """Room -> members. An event in whose rooms nobody is costs a look into a dict."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, settings: Realtime) -> None:
        self._clock, self._linger = clock, settings.replay_seconds
        self._replay: Replay[Event] = Replay(settings.replay_events, settings.replay_bytes)
        self._last_id = 0
        self._empty: dict[str, Room] = {}  # rooms that members may come back to, oldest first
        self.heard: dict[str, Room] = {}
        """The rooms that somebody is in, or was in a moment ago: nobody else may change it."""
        self.events_sent = 0
        self.deliveries = 0
        self.told: Callable[[], object] = lambda: None
        """Called for each event, for the figures."""

    @property
    def rooms(self) -> int:
        """How many rooms have members."""
        return len(self.heard) - len(self._empty)

    @property
    def replayable(self) -> int:
        """How many events are kept for those who come back."""
        return len(self._replay)

    def join(self, member: Member, room: str, wanted: Wanted | None = None) -> None:
        """Tell `member` from now on what happens in `room`, or what it wants of that.

        Joining again changes what is wanted.
        """
        self._give_up()
        found = self.heard.get(room)
        if found is None:
            found = self.heard[room] = Room(self._next_id())
        self._empty.pop(room, None)
        found.members[member] = wanted

    def leave(self, member: Member, room: str) -> None:
        """Undo `join`; nothing changes if it is not there."""
        found = self.heard.get(room)
        if found is None or member not in found.members:
            return
        del found.members[member]
        if not found.members:
            found.ends = self._clock.seconds() + self._linger
            self._empty[room] = found
        self._give_up()

    def last_id(self) -> str:
        """@return: an id that is greater than those of all events so far."""
        return self._next_id()

    def missed(
        self,
        member: Member,
        rooms: Sequence[str],
        after: str,
        overlap: int = 0,
        *,
        entered: Mapping[str, str] | None = None,
    ) -> Missed:
        """What a member that is in these rooms would have heard after the event of this id.

        A room is recorded while it has members and for `realtime.replay_seconds` after that.

        @param overlap: milliseconds before that event to include.
        @param entered: room -> an id of when the member had entered it, if that was later.
        """
        joined = {room: found for room in rooms if (found := self.heard.get(room)) is not None}
        later = {room: at for room, at in (entered or {}).items() if at > after}
        known_since = self._replay.forgotten
        for name, room in joined.items():
            if room.since > later.get(name, after):
                known_since = max(known_since, room.since)
        gap = None
        if after < known_since:
            gap = (_time_of(after), _time_of(known_since))
        first = f"{max(0, int(after, 16) - overlap * 1000):014x}"
        return Missed(list(self._matching(member, joined, first, later)), gap)

    def _matching(
        self, member: Member, joined: Mapping[str, Room], after: str, later: Mapping[str, str]
    ) -> Iterator[tuple[Event, str]]:
        for event, rooms in self._replay.after(after):
            for room in rooms:
                if room in joined and event.id > later.get(room, after):
                    wanted = joined[room].members.get(member)
                    if wanted is None or wanted(event):
                        yield event, room
                        break

    def tell(
        self,
        name: str,
        rooms: Sequence[str],
        data: Mapping[str, Any],
        *,
        organization_id: int | None,
        subject: str,
        permission: str,
        uuid: str | None = None,
        telemetry_id: int | None = None,
    ) -> None:
        """Hand an event to everybody in these rooms who wants it; arguments as `Event` has them.

        Whoever calls has looked whether one of the rooms is in `heard`. The first matching room
        counts for a member of several.
        """
        event = Event(
            self._next_id(), name, data, organization_id, subject, permission, uuid, telemetry_id
        )
        hearing: dict[Member, str] = {}  # members may leave meanwhile
        for room in rooms:
            found = self.heard.get(room)
            if found is not None:
                for member, wanted in found.members.items():
                    if member not in hearing and (wanted is None or wanted(event)):
                        hearing[member] = room
        self.events_sent += 1
        self.told()
        self.deliveries += len(hearing)
        for member, room in hearing.items():
            try:
                member.deliver(event, room)
            except Exception:
                self._log.failure("delivering {event} failed", event=name)
        if self._linger:
            event.rest()
            self._replay.add(event.id, event, rooms, len(event.json()))
        if self._empty:
            self._give_up()

    def _give_up(self) -> None:
        """Forget the rooms that have been empty for long enough."""
        now = self._clock.seconds()
        while self._empty:
            name, room = next(iter(self._empty.items()))
            if room.ends > now:
                return
            del self._empty[name], self.heard[name]

    def _next_id(self) -> str:
        """Microseconds since 1970, always at least one more than before, as 14 hex digits.

        Made of the time so that ids of a later run are greater, and so that an id tells when.
        """
        self._last_id = max(self._last_id + 1, int(self._clock.seconds() * 1_000_000))
        return f"{self._last_id:014x}"


def _time_of(event_id: str) -> Instant:
    return Instant(int(event_id, 16) // 1000)
