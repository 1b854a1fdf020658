"""Thins a fast variable out: the newest value of each, once in so many milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from aemos.realtime.hub import Event

Send = Callable[[Event, str], object]

PACED = "new-datastream"
"""The only event that is thinned out: of all others each one counts."""


class Pace:
    """Sends one event of each variable in a window of time: the first, and then the newest.

    The first event of an idle variable goes out at once; those that follow before the window ends
    wait for its end, where the newest of each variable is the first one of the next window.
    """

    def __init__(self, clock: IReactorTime, window: int, send: Send) -> None:
        """@param window: milliseconds. @param send: is given what is to go out."""
        self._clock, self._window, self._send = clock, window / 1000, send
        self._sent: set[str] = set()
        self._held: dict[str, tuple[Event, str]] = {}
        self._timer: IDelayedCall | None = None

    def offer(self, event: Event, room: str) -> None:
        """Send this event now, later, or never because a newer one has come."""
        if event.name != PACED:
            self._send(event, room)
        elif event.subject in self._sent:
            self._held[event.subject] = (event, room)
        else:
            self._sent.add(event.subject)
            if self._timer is None:
                self._timer = self._clock.callLater(self._window, self._next_window)
            self._send(event, room)

    def stop(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held.clear()

    def _next_window(self) -> None:
        held, self._held = self._held, {}
        self._sent = set(held)
        self._timer = None
        if held:
            self._timer = self._clock.callLater(self._window, self._next_window)
        for event, room in held.values():
            self._send(event, room)


class Paces:
    """Which rooms of one session have a pace; the others hear everything."""

    def __init__(self, clock: IReactorTime, send: Send) -> None:
        self._clock, self._send = clock, send
        self._by_room: dict[str, Pace] = {}

    def set(self, rooms: Iterable[str], window: int | None) -> None:
        """Give these rooms a pace of their own together.

        @param window: milliseconds; None = no pace.
        """
        rooms = tuple(rooms)
        self.forget(rooms)
        if window is not None:
            pace = Pace(self._clock, window, self._pass_on)
            self._by_room.update(dict.fromkeys(rooms, pace))

    def forget(self, rooms: Iterable[str]) -> None:
        """The session is not in these rooms any more; what is held for them is not sent."""
        gone = {pace for room in rooms if (pace := self._by_room.pop(room, None)) is not None}
        for pace in gone.difference(self._by_room.values()):
            pace.stop()

    def deliver(self, event: Event, room: str) -> None:
        """Send an event of this room at its pace."""
        pace = self._by_room.get(room)
        if pace is None:
            self._send(event, room)
        else:
            pace.offer(event, room)

    def stop(self) -> None:
        """Send nothing more that is held."""
        self.forget(tuple(self._by_room))

    def _pass_on(self, event: Event, room: str) -> None:
        if room in self._by_room:
            self._send(event, room)
