"""Time slots as people mean them: hours, days and weeks of a time zone, also when clocks change.

A day is a day of the wall clock, so it has 23 hours when summer time begins and 25 when it ends;
slots of an hour or less that repeat on the wall clock stay apart. Weeks begin on Monday.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from aemos.errors import BadRequest
from aemos.model import Instant

HOUR = 3_600_000
DAY = 24 * HOUR
"""Milliseconds."""

_WEEK = 7 * DAY
_MONDAY = 4 * DAY  # 1970-01-05; day 0 was a Thursday
_UNITS = {"s": 1000, "m": 60_000, "h": HOUR, "d": DAY, "w": _WEEK}
_WIDTH = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_EPOCH = datetime(1970, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)
_LAST = Instant.parse("9999-12-30T00:00:00Z")  # beyond it a local time may have no year
_FIRST = Instant.parse("0001-01-03T00:00:00Z")


@attrs.frozen
class Buckets:
    """Slots of `width` milliseconds on the wall clock of `zone`."""

    width: int
    zone: ZoneInfo

    @classmethod
    def parse(cls, width: str, zone: str) -> Buckets:
        """@param width: `30s`, `5m`, `1h`, `1d`, `1w`. @param zone: a name of the IANA database.

        @raise BadRequest: one of them is not.
        """
        found = _WIDTH.fullmatch(width)
        if found is None:
            raise BadRequest(
                'Invalid query parameters: "bucket" must be a number and one of s, m, h, d, w'
            )
        try:
            return cls(int(found[1]) * _UNITS[found[2]], ZoneInfo(zone))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadRequest('Invalid query parameters: "tz" must be a time zone') from None

    def slot(self, at: Instant, end: Instant) -> tuple[Instant, Instant]:
        """@return: when the slot begins that this moment lies in, and until when it can be told
        that later moments lie in the same: not beyond `end`, nor beyond a change of the clocks.
        """
        offset = self._offset(at)
        until = Instant(self._floor(at + offset) + self.width - offset)
        return self.start_of(at), self._unchanged(at, min(until, end))

    def start_of(self, at: Instant) -> Instant:
        """@return: when the slot begins that this moment lies in."""
        offset = self._offset(at)
        local = self._floor(at + offset)
        start = Instant(local - offset)
        if self._offset(start) == offset:
            return start
        # The clocks were changed since it began: ask the zone when its wall clock showed `local`.
        wall = (_EPOCH + local * _MILLISECOND).replace(tzinfo=self.zone)
        return Instant(local - _milliseconds(wall.utcoffset()))

    def _floor(self, local: int) -> int:
        anchor = _MONDAY if self.width % _WEEK == 0 else 0
        return local - (local - anchor) % self.width

    def _offset(self, at: Instant) -> int:
        moment = min(max(at, _FIRST), _LAST).datetime().astimezone(self.zone)
        return _milliseconds(moment.utcoffset())

    def _unchanged(self, start: Instant, end: Instant) -> Instant:
        """@return: when the clocks change next, `end` if not before.

        Zones keep a change for weeks (the shortest, of Ramadan, for four); so looking once a week
        misses none.
        """
        offset = self._offset(start)
        before, after = start, start
        while self._offset(after) == offset:
            if after >= end:
                return end
            before, after = after, min(Instant(after + _WEEK), end)
        while after - before > 1:
            middle = Instant((before + after) // 2)
            before, after = (middle, after) if self._offset(middle) == offset else (before, middle)
        return after


def _milliseconds(offset: timedelta | None) -> int:
    return 0 if offset is None else offset // _MILLISECOND
