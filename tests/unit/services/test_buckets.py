"""Time slots of a wall clock, checked against the zone itself."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aemos.errors import BadRequest
from aemos.model import Instant
from aemos.services.buckets import DAY, HOUR, Buckets

ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca"]


def begin(bucket: str, zone: str, at: str) -> str:
    return Buckets.parse(bucket, zone).start_of(Instant.parse(at)).iso()


@pytest.mark.parametrize(
    ("bucket", "zone", "at", "expected"),
    [
        ("1d", "Europe/Berlin", "2026-07-01T21:59:59.999Z", "2026-06-30T22:00:00.000Z"),
        ("1d", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00.000Z"),
        ("1d", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00.000Z"),
        ("1h", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T00:00:00.000Z"),
        ("1h", "Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25T01:00:00.000Z"),
        ("2h", "Europe/Berlin", "2026-03-29T01:30:00Z", "2026-03-29T01:00:00.000Z"),
        ("1h", "Asia/Kolkata", "2026-01-01T00:00:00Z", "2025-12-31T23:30:00.000Z"),
        ("1w", "UTC", "2026-01-04T23:59:59Z", "2025-12-29T00:00:00.000Z"),
        ("1w", "UTC", "2026-01-05T00:00:00Z", "2026-01-05T00:00:00.000Z"),
        ("1d", "UTC", "1969-12-31T23:00:00Z", "1969-12-31T00:00:00.000Z"),
    ],
)
def test_a_slot_begins_on_the_wall_clock(bucket: str, zone: str, at: str, expected: str) -> None:
    assert begin(bucket, zone, at) == expected


@pytest.mark.parametrize("bucket", ["", "0m", "1", "h", "1y", "-1h", "1.5h", "9999999d"])
def test_a_width_that_is_none_is_refused(bucket: str) -> None:
    with pytest.raises(BadRequest, match="bucket"):
        Buckets.parse(bucket, "UTC")


@pytest.mark.parametrize("zone", ["", "Nowhere", "../../etc/passwd", "/etc/passwd", "\0"])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(BadRequest, match="tz"):
        Buckets.parse("1h", zone)


@given(
    start=st.integers(1_600_000_000_000, 1_800_000_000_000),
    length=st.integers(1, 400 * DAY),
    zone=st.sampled_from(ZONES),
    width=st.sampled_from([3 * HOUR, DAY, 7 * DAY, 300 * DAY]),
)
@settings(deadline=None, max_examples=30)
def test_slots_cover_a_range_and_end_where_the_clocks_change(
    start: int, length: int, zone: str, width: int
) -> None:
    buckets = Buckets(width, ZoneInfo(zone))
    end = Instant(start + length)
    at = Instant(start)
    while at < end:
        begin, until = buckets.slot(at, end)
        assert begin <= at < until <= end
        assert begin == buckets.start_of(at) == buckets.start_of(Instant(until - 1))
        offsets = {
            Instant(moment).datetime().astimezone(buckets.zone).utcoffset()
            for moment in (at, (at + until) // 2, until - 1)
        }
        assert len(offsets) == 1
        at = until
    assert at == end


@given(moment=st.integers(1_600_000_000_000, 1_800_000_000_000), zone=st.sampled_from(ZONES))
@settings(deadline=None, max_examples=200)
def test_a_day_begins_at_the_first_moment_of_its_date(moment: int, zone: str) -> None:
    buckets = Buckets(DAY, ZoneInfo(zone))
    begin = buckets.start_of(Instant(moment))
    date = Instant(moment).datetime().astimezone(buckets.zone).date()
    assert begin <= moment
    assert begin.datetime().astimezone(buckets.zone).date() == date
    before = Instant(begin - 1).datetime().astimezone(buckets.zone).date()
    assert before == date - timedelta(days=1)
