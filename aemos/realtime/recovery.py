"""Clients of Socket.IO that lost their connection and may come back to where they were."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.internet.interfaces import IReactorTime


@attrs.frozen(slots=True)
class Left:
    """What a client had when it went.

    `principal` is the key of who it was: only the same one may come back. `rooms` are those it was
    in, each with an event id of when it had joined; `since` is an id up to which it has heard all.
    """

    sid: str
    principal: str
    rooms: Mapping[str, str]
    since: str


class Recovery:
    """Remembers those who left for a while, by the private id that only they know.

    Rooms are joined anew with the rights of then, and events are asked from the hub: nothing here
    lets anybody in.
    """

    def __init__(self, clock: IReactorTime, seconds: float, limit: int) -> None:
        """@param limit: how many are remembered; the one that left first is forgotten first."""
        self._clock, self._seconds, self._limit = clock, seconds, limit
        self._left: dict[str, tuple[float, Left]] = {}

    def __len__(self) -> int:
        return len(self._left)

    @property
    def enabled(self) -> bool:
        return self._seconds > 0

    def keep(self, pid: str, left: Left) -> None:
        """Remember a client that left."""
        self._forget_old()
        self._left[pid] = (self._clock.seconds() + self._seconds, left)
        if len(self._left) > self._limit:
            del self._left[next(iter(self._left))]

    def take(self, pid: object, principal: str) -> Left | None:
        """@return: what the client with this private id left, once; None = start anew."""
        self._forget_old()
        kept = self._left.get(pid) if isinstance(pid, str) else None
        if kept is None or kept[1].principal != principal:
            return None
        del self._left[pid]  # type: ignore[arg-type]
        return kept[1]

    def _forget_old(self) -> None:
        now = self._clock.seconds()
        while self._left:
            pid, (ends, _) = next(iter(self._left.items()))
            if ends > now:
                return
            del self._left[pid]
