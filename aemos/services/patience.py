"""What the silence of a sensor or device means, by what is known of it (docs/devices.rst)."""

from __future__ import annotations

import attrs

from aemos.config.schema import Presence as Settings
from aemos.model import Instant
from aemos.services.intervals import Interval
from aemos.storage.presence import LATE, OFFLINE, ONLINE, SILENT

NEVER = float("inf")

_LATE_AFTER, _SILENT_AFTER = 2, 5  # intervals
_SHORT = 30.0  # seconds: a session that says nothing about whether its client stays connected
_JUST = 2.0  # seconds in which a message may come to be known after its session has ended
_LONG_AGO = Instant(0)


@attrs.define(slots=True, eq=False)
class Thing:
    """What is known of one uuid; times in reactor seconds, -inf = never."""

    uuid: str
    presence: str | None = None  # None: it was told nowhere yet
    since: Instant = _LONG_AGO
    seen_at: float = -NEVER  # the last sign of life
    message_at: float = -NEVER  # the last message in this run of the server
    judged_from: float = 0.0  # silence counts from here on
    interval: Interval = attrs.field(factory=Interval)
    sessions: int = 0
    connected_at: float = 0.0  # the newest of them
    stays: bool = False  # uses to stay connected, so that the end of its session means something
    left_at: float = -NEVER  # the end of its last session in this run of the server
    due: float = NEVER  # when it is judged again
    written_at: float = -NEVER

    @property
    def last_seen(self) -> Instant | None:
        """`seen_at` as others are told it."""
        return None if self.seen_at == -NEVER else Instant.of(self.seen_at)

    def spoke(self, now: float) -> None:
        """A message of it is known since now."""
        gap = now - self.message_at
        if 0 < gap < NEVER:  # the clock may have been set back
            self.interval.learn(gap)
        self.message_at = now
        if not self.sessions and now - self.left_at > _JUST:
            self.stays = False  # it gets along without a session

    def connected(self, now: float) -> None:
        """It has one more session."""
        self.sessions += 1
        self.connected_at = now

    def left(self, now: float, lasted: float, *, spoke: bool) -> None:
        """A session ended that `lasted` so many seconds; did it publish anything in it?"""
        self.sessions = max(0, self.sessions - 1)
        self.stays = self._lasting(lasted, spoke=spoke)
        self.left_at = self.seen_at = now

    def stays_connected(self, now: float) -> bool:
        """`stays`, as far as a session that is open tells already."""
        if not self.sessions:
            return self.stays
        return self._lasting(now - self.connected_at, spoke=False)

    def _lasting(self, lasted: float, *, spoke: bool) -> bool:
        interval = self.interval.seconds
        if interval is None:
            return not spoke or lasted > _SHORT
        return lasted > max(_SHORT, _LATE_AFTER * interval)


@attrs.frozen
class Patience:
    """How long silence is taken; nothing counts before `settled_at`."""

    settings: Settings
    settled_at: float = -NEVER

    def verdict(self, thing: Thing, now: float) -> str:
        """@return: what the thing is by its silence up to now."""
        if now >= self._gone_at(thing):
            return OFFLINE
        late, silent = self._limits(thing)
        if now >= silent:
            return SILENT if thing.sessions else OFFLINE
        return LATE if now >= late else ONLINE

    def next_look(self, thing: Thing, now: float) -> float:
        """@return: when the verdict may be another one next, if nothing is heard."""
        moments = (*self._limits(thing), self._gone_at(thing))
        return min((moment for moment in moments if moment > now), default=NEVER)

    def _limits(self, thing: Thing) -> tuple[float, float]:
        """@return: when it is late, and when it is silent."""
        interval = thing.interval.seconds
        if interval is None:
            if thing.sessions or thing.stays:
                return NEVER, NEVER  # it need not say anything
            interval = self.settings.assumed_interval
        start = thing.judged_from + self.settings.grace
        return start + _LATE_AFTER * interval, start + _SILENT_AFTER * interval

    def _gone_at(self, thing: Thing) -> float:
        """@return: when the end of its session counts."""
        if thing.sessions or not thing.stays:
            return NEVER
        return max(thing.left_at, self.settled_at) + self.settings.grace
