"""What remains of readings that were deleted: one row for each hour and day of a variable (UTC).

A reading is either in `DataStream` or in its roll-ups, never in both: it is added to them and
deleted in one transaction. So a summary is that of the readings plus that of the roll-ups, and a
reading that comes late, for a time long deleted, is simply added when its turn comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from aemos.model import Instant
from aemos.storage.queries import Summary
from aemos.storage.transaction import Row, Transaction, marks

HOURLY, DAILY = 1, 24
"""The kinds of roll-ups, by their hours."""

_HOUR = 3_600_000
_KEY = ("telemetry_id", "hours", "start_at")
_AT_ONCE = 500

# As `dialects.expressions.number`.
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?\s*", re.ASCII)


def fold_before(tx: Transaction, variable_id: int, before: Instant, limit: int) -> int:
    """Roll up the oldest readings of a variable that are older than `before`.

    @param limit: of readings. @return: how many were rolled up; less than `limit` = no more.
    """
    rows = tx.all(
        "SELECT * FROM DataStream WHERE telemetryDataId = %s AND recievedAt < %s"
        f" ORDER BY recievedAt, id LIMIT %s{tx.dialect.for_update}",
        (variable_id, before, limit),
    )
    return _fold(tx, rows)


def fold_oldest(tx: Transaction, limit: int) -> int:
    """Roll up the readings, of whatever variable, that were stored first. @return: how many."""
    rows = tx.all(
        "SELECT * FROM DataStream WHERE telemetryDataId IS NOT NULL AND recievedAt IS NOT NULL"
        f" ORDER BY id LIMIT %s{tx.dialect.for_update}",
        (limit,),
    )
    return _fold(tx, rows)


def _fold(tx: Transaction, rows: Sequence[Row]) -> int:
    added: dict[tuple[int, int, Instant], Summary] = {}
    for row in rows:
        at: Instant = row["recievedAt"]
        for hours in (HOURLY, DAILY):
            key = (row["telemetryDataId"], hours, Instant(at - at % (hours * _HOUR)))
            one = _of_reading(row)
            if key in added:
                added[key].add(one)
            else:
                added[key] = one
    for key, summary in added.items():
        _add(tx, key, summary)
    ids = [row["id"] for row in rows]
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        tx.execute(f"DELETE FROM DataStream WHERE id IN ({marks(part)})", part)
    return len(rows)


def _of_reading(row: Row) -> Summary:
    text: str | None = row["value"]
    number = float(text) if text is not None and _NUMBER.fullmatch(text) else None
    at: Instant = row["recievedAt"]
    return Summary(1, int(number is not None), number, number, number, at, at, text, text)


def _add(tx: Transaction, key: tuple[int, int, Instant], summary: Summary) -> None:
    row = tx.one(
        "SELECT * FROM reading_rollup WHERE telemetry_id = %s AND hours = %s AND start_at = %s"
        f"{tx.dialect.for_update}",
        key,
    )
    if row is not None:
        stored = _summary(row)
        stored.add(summary)
        summary = stored
    tx.upsert(
        "reading_rollup",
        _KEY,
        {
            **dict(zip(_KEY, key, strict=True)),
            "readings": summary.count,
            "numbers": summary.numbers,
            "total": summary.total,
            "low": summary.low,
            "high": summary.high,
            "first_at": summary.first_at,
            "first_value": summary.first,
            "last_at": summary.last_at,
            "last_value": summary.last,
        },
    )


def extent(tx: Transaction, variable_id: int) -> tuple[Instant, Instant] | None:
    """@return: when the first and the last roll-up of a variable begin."""
    row = tx.one(
        "SELECT MIN(start_at) AS first_at, MAX(start_at) AS last_at FROM reading_rollup"
        " WHERE telemetry_id = %s",
        (variable_id,),
    )
    return None if row is None or row["first_at"] is None else (row["first_at"], row["last_at"])


def within(
    tx: Transaction, variable_id: int, start: Instant, end: Instant
) -> Iterator[tuple[Instant, Summary]]:
    """The roll-ups that begin in a range, as fine as they are there: of each day its hours, or
    the day itself where hours are missing that were deleted.

    @return: (when it begins, what is in it), in order within each kind.
    """
    hours = _day_by_day(_read(tx, variable_id, HOURLY, _midnight(start), end))
    for day, summary in _read(tx, variable_id, DAILY, _midnight(start), end):
        fine = hours.get(day, [])
        # A range may end within the day: then the hours after it were not read.
        last = day + DAILY * _HOUR > end
        if last:
            fine = _day_by_day(
                _read(tx, variable_id, HOURLY, day, Instant(day + DAILY * _HOUR))
            ).get(day, [])
        if sum(one.count for _, one in fine) == summary.count:
            yield from ((at, one) for at, one in fine if start <= at < end)
        elif start <= day:
            yield day, summary


def _read(
    tx: Transaction, variable_id: int, hours: int, start: Instant, end: Instant
) -> list[tuple[Instant, Summary]]:
    rows = tx.all(
        "SELECT * FROM reading_rollup WHERE telemetry_id = %s AND hours = %s"
        " AND start_at >= %s AND start_at < %s ORDER BY start_at",
        (variable_id, hours, start, end),
    )
    return [(row["start_at"], _summary(row)) for row in rows]


def _day_by_day(
    hours: Iterable[tuple[Instant, Summary]],
) -> dict[Instant, list[tuple[Instant, Summary]]]:
    days: dict[Instant, list[tuple[Instant, Summary]]] = {}
    for at, summary in hours:
        days.setdefault(_midnight(at), []).append((at, summary))
    return days


def _midnight(at: Instant) -> Instant:
    return Instant(at - at % (DAILY * _HOUR))


def _summary(row: Row) -> Summary:
    return Summary(
        row["readings"],
        row["numbers"],
        row["total"],
        row["low"],
        row["high"],
        row["first_at"],
        row["last_at"],
        row["first_value"],
        row["last_value"],
    )


def forget_before(
    tx: Transaction, variable_id: int, hours: int, before: Instant, limit: int
) -> int:
    """Delete the oldest roll-ups of one kind that began before a time. @return: how many."""
    rows = tx.all(
        "SELECT start_at FROM reading_rollup WHERE telemetry_id = %s AND hours = %s"
        " AND start_at < %s ORDER BY start_at LIMIT %s",
        (variable_id, hours, before, limit),
    )
    if rows:
        tx.execute(
            "DELETE FROM reading_rollup WHERE telemetry_id = %s AND hours = %s AND start_at <= %s",
            (variable_id, hours, rows[-1]["start_at"]),
        )
    return len(rows)
