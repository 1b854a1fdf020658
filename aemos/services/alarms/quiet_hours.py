"""Quiet hours by the clocks of a time zone, over midnight and over the changes of summer time."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from aemos.model import Instant
from aemos.services.alarms.forms import QuietHours


def when_heard(quiet: QuietHours | None, at: Instant) -> Instant:
    """@return: the time itself, or the end of the quiet hours in which it lies."""
    if quiet is None:
        return at
    zone = ZoneInfo(quiet.timeZone)
    local = at.datetime().astimezone(zone)
    start, end = time.fromisoformat(quiet.start), time.fromisoformat(quiet.end)
    now = local.time()
    over_midnight = start > end
    if over_midnight:
        if end <= now < start:
            return at
    elif not start <= now < end:
        return at
    day = local.date()
    if over_midnight and now >= start:
        day += timedelta(days=1)
    for fold in (0, 1):
        # A time that the end of summer time brings twice: the first of them that lies ahead.
        ends = _instant(datetime.combine(day, end, zone).replace(fold=fold))
        if ends > at:
            return ends
    return at


def _instant(moment: datetime) -> Instant:
    return Instant.of(moment.astimezone(UTC).timestamp())
