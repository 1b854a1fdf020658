"""A time keeps its millisecond on the way to MySQL and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pymysql.constants import FIELD_TYPE

from aemos.model import Instant
from aemos.storage.dialects.mysql_values import CONVERSIONS, instant_literal

_FIRST, _LAST = Instant.parse("1000-01-01T00:00:00Z"), Instant.parse("9999-12-31T23:59:59.999Z")
_read = CONVERSIONS[FIELD_TYPE.DATETIME]


@given(st.integers(_FIRST, _LAST).map(Instant))
def test_a_literal_reads_back_as_the_same_time(at: Instant) -> None:
    assert _read(instant_literal(at).strip("'")) == at


@given(st.integers(_FIRST, _LAST).map(Instant))
def test_iso_text_reads_back_as_the_same_time(at: Instant) -> None:
    assert Instant.parse(at.iso()) == at


def test_whole_seconds_microseconds_and_zero_dates_are_read() -> None:
    assert _read("2026-01-01 12:00:00") == Instant.parse("2026-01-01T12:00:00Z")
    assert _read(b"2026-01-01 12:00:00.123456") == Instant.parse("2026-01-01T12:00:00.123Z")
    assert _read("0000-00-00 00:00:00") is None
