"""When something that happens in quiet hours is told."""

from __future__ import annotations

import pytest

from aemos.model import Instant
from aemos.services.alarms.forms import QuietHours
from aemos.services.alarms.quiet_hours import when_heard

NIGHT = QuietHours(start="22:00", end="06:00", timeZone="Europe/Berlin")
EARLY = QuietHours(start="01:00", end="02:30", timeZone="Europe/Berlin")
NOON = QuietHours(start="12:00", end="13:00", timeZone="Asia/Kolkata")


@pytest.mark.parametrize(
    ("quiet", "at", "told"),
    [
        # over midnight, in winter (UTC+1)
        (NIGHT, "2026-01-10T20:59:59Z", "2026-01-10T20:59:59Z"),
        (NIGHT, "2026-01-10T21:00:00Z", "2026-01-11T05:00:00Z"),
        (NIGHT, "2026-01-11T03:00:00Z", "2026-01-11T05:00:00Z"),
        (NIGHT, "2026-01-11T05:00:00Z", "2026-01-11T05:00:00Z"),
        # the night in which summer time begins has an hour less, that in which it ends one more
        (NIGHT, "2026-03-28T21:30:00Z", "2026-03-29T04:00:00Z"),
        (NIGHT, "2026-10-24T20:30:00Z", "2026-10-25T05:00:00Z"),
        # 02:30 is left out: it ends when the clock has gone on
        (EARLY, "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"),
        # 02:30 comes twice: the first, and for what happens after it by the clock the second
        (EARLY, "2026-10-25T00:10:00Z", "2026-10-25T00:30:00Z"),
        (EARLY, "2026-10-25T00:40:00Z", "2026-10-25T00:40:00Z"),
        (EARLY, "2026-10-25T01:10:00Z", "2026-10-25T01:30:00Z"),
        # within one day, in a zone with half an hour
        (NOON, "2026-06-01T06:30:00Z", "2026-06-01T07:30:00Z"),
        (NOON, "2026-06-01T06:29:59Z", "2026-06-01T06:29:59Z"),
    ],
)
def test_it_is_told_when_the_quiet_hours_end(quiet: QuietHours, at: str, told: str) -> None:
    assert when_heard(quiet, Instant.parse(at)) == Instant.parse(told)


def test_without_quiet_hours_it_is_told_at_once() -> None:
    assert when_heard(None, Instant(5)) == 5
