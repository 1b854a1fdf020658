"""Questions to the history of readings: ranges, latest values, sums over a stretch of time.

All of them walk the index on (telemetryDataId, recievedAt), whose entries end with the id in both
dialects, so a page or a latest value costs the same however long the history is. A reading without
a time (an adopted database may hold some) is in no range.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import attrs

from aemos.model import Instant
from aemos.storage.dialects import expressions
from aemos.storage.transaction import Row, Transaction, marks

_AT_ONCE = 500  # values in one IN (...)


@attrs.frozen
class Position:
    """Where a page ended: the time and id of its last reading."""

    at: Instant
    id: int


@attrs.frozen
class Range:
    """Readings from `start` (inclusive) to `end` (exclusive), after `after` in their order."""

    start: Instant | None = None
    end: Instant | None = None
    after: Position | None = None
    descending: bool = False


def page(
    tx: Transaction, variable_id: int, within: Range, limit: int, offset: int = 0
) -> list[Row]:
    """@return: readings of one variable in order of (recievedAt, id), or the reverse.

    First the ids, out of the index alone, then their rows. Asked for the rows at once, MariaDB
    walks all readings of the variable before a cursor, and every database reads the rows that an
    offset skips.
    """
    where, params = _within(variable_id, within)
    direction = "DESC" if within.descending else "ASC"
    return tx.all(
        f"SELECT d.* FROM (SELECT id FROM DataStream WHERE {where}"
        f" ORDER BY recievedAt {direction}, id {direction} LIMIT %s OFFSET %s) page"
        f" JOIN DataStream d ON d.id = page.id ORDER BY d.recievedAt {direction}, d.id {direction}",
        (*params, limit, offset),
    )


def undated(tx: Transaction, variable_id: int, after: int, limit: int) -> list[Row]:
    """@return: readings of one variable without a time, with ids above `after`, in order of ids."""
    return tx.all(
        "SELECT * FROM DataStream WHERE telemetryDataId = %s AND recievedAt IS NULL AND id > %s"
        " ORDER BY id LIMIT %s",
        (variable_id, after, limit),
    )


def count(tx: Transaction, variable_id: int, within: Range) -> int:
    """@return: how many readings the range holds."""
    where, params = _within(variable_id, within)
    return int(tx.value(f"SELECT COUNT(*) FROM DataStream WHERE {where}", params))


def _within(variable_id: int, within: Range) -> tuple[str, list[Any]]:
    wheres, params = ["telemetryDataId = %s", "recievedAt IS NOT NULL"], [variable_id]
    if within.start is not None:
        wheres.append("recievedAt >= %s")
        params.append(within.start)
    if within.end is not None:
        wheres.append("recievedAt < %s")
        params.append(within.end)
    if within.after is not None:
        sign = "<" if within.descending else ">"
        # Not (recievedAt, id) > (...): MySQL does not walk an index by that. The first condition
        # is the range of the index, the second skips what the last page showed of that time.
        wheres.append(f"recievedAt {sign}= %s AND (recievedAt {sign} %s OR id {sign} %s)")
        params += within.after.at, within.after.at, within.after.id
    return " AND ".join(wheres), params


def extent(tx: Transaction, variable_id: int) -> tuple[Instant, Instant] | None:
    """@return: the times of the oldest and newest reading of a variable."""
    row = tx.one(
        # Two questions: SQLite finds one end of an index at once, but not both.
        "SELECT (SELECT MIN(recievedAt) FROM DataStream WHERE telemetryDataId = %s) AS oldest,"
        " (SELECT MAX(recievedAt) FROM DataStream WHERE telemetryDataId = %s) AS newest",
        (variable_id, variable_id),
    )
    if row is None or row["oldest"] is None:
        return None
    return Instant(row["oldest"]), Instant(row["newest"])


def latest(tx: Transaction, variable_ids: Sequence[int]) -> dict[int, Row]:
    """@return: variable id -> its reading with the newest time, of several the last stored.

    Each costs one step into the end of the index and one look at the row.
    """
    newest = list(_newest_ids(tx, variable_ids))
    found: dict[int, Row] = {}
    for part in _parts(newest):
        rows = tx.all(f"SELECT * FROM DataStream WHERE id IN ({marks(part)})", part)
        found.update((row["telemetryDataId"], row) for row in rows)
    return found


def _newest_ids(tx: Transaction, variable_ids: Sequence[int]) -> Iterator[int]:
    for part in _parts(variable_ids):
        rows = tx.all(
            "SELECT (SELECT d.id FROM DataStream d WHERE d.telemetryDataId = t.id"
            " ORDER BY d.recievedAt DESC, d.id DESC LIMIT 1) AS id"
            f" FROM TelemetryData t WHERE t.id IN ({marks(part)})",
            part,
        )
        yield from (row["id"] for row in rows if row["id"] is not None)


def variables_of_areas(tx: Transaction, area_ids: Sequence[int], limit: int) -> list[Row]:
    """@return: the variables of the sensors that lie in these areas, by id."""
    if not area_ids:
        return []
    return tx.all(
        "SELECT * FROM TelemetryData WHERE sensorId IN"
        f" (SELECT sensorId FROM AreaSensor WHERE areaId IN ({marks(area_ids)}))"
        " ORDER BY id LIMIT %s",
        (*area_ids, limit),
    )


def variables_of_organization(tx: Transaction, organization_id: int, limit: int) -> list[Row]:
    """@return: the variables of the sensors that lie in areas of an organization, by id."""
    return tx.all(
        "SELECT * FROM TelemetryData WHERE sensorId IN (SELECT x.sensorId FROM AreaSensor x"
        " JOIN Area a ON a.id = x.areaId WHERE a.organizationId = %s) ORDER BY id LIMIT %s",
        (organization_id, limit),
    )


def areas_of_device(tx: Transaction, device_id: int) -> list[Row] | None:
    """@return: `id` and `organizationId` of the areas of a device, by id; None = no such device."""
    if tx.value("SELECT id FROM Device WHERE id = %s", (device_id,)) is None:
        return None
    return tx.all(
        "SELECT a.id AS id, a.organizationId AS organizationId FROM AreaDevice x"
        " JOIN Area a ON a.id = x.areaId WHERE x.deviceId = %s ORDER BY a.id",
        (device_id,),
    )


@attrs.define
class Summary:
    """What some readings come to; `numbers` of them (of `count`) are numbers.

    `first` and `last` are the texts of the oldest and newest, None = not looked up yet.
    """

    count: int
    numbers: int
    total: float | None
    low: float | None
    high: float | None
    first_at: Instant
    last_at: Instant
    first: str | None = None
    last: str | None = None

    def add(self, other: Summary) -> None:
        """Take other readings in as well."""
        self.count += other.count
        self.numbers += other.numbers
        self.total = _joined(sum, self.total, other.total)
        self.low = _joined(min, self.low, other.low)
        self.high = _joined(max, self.high, other.high)
        if other.first_at < self.first_at:
            self.first_at, self.first = other.first_at, other.first
        if other.last_at >= self.last_at:
            self.last_at, self.last = other.last_at, other.last


def _joined(function: Any, one: float | None, other: float | None) -> float | None:
    given = [value for value in (one, other) if value is not None]
    return float(function(given)) if given else None


_FIGURES = {
    "total": "COUNT({0}) AS numbers, SUM({0}) AS total",
    "low": "MIN({0}) AS low",
    "high": "MAX({0}) AS high",
}


def summary(
    tx: Transaction, variable_id: int, start: Instant, end: Instant, figures: Collection[str]
) -> Summary | None:
    """Sum up the readings from `start` (inclusive) to `end` (exclusive).

    One statement for each slot, not one with GROUP BY for all: the database would sort every
    reading by its slot, which takes several times as long as all the rest.

    @param figures: of `total low high`: what is wanted of the numbers. Reading values as numbers
        takes time as well.
    @return: None = there are none.
    """
    number = expressions.number(tx.dialect, "value")
    columns = "".join(f", {_FIGURES[figure].format(number)}" for figure in sorted(figures))
    row = tx.one(
        "SELECT COUNT(*) AS readings, MIN(recievedAt) AS oldest, MAX(recievedAt) AS newest"
        f"{columns} FROM DataStream"
        " WHERE telemetryDataId = %s AND recievedAt >= %s AND recievedAt < %s",
        (variable_id, start, end),
    )
    if row is None or not row["readings"]:
        return None
    return Summary(
        row["readings"],
        row.get("numbers", 0),
        row.get("total"),
        row.get("low"),
        row.get("high"),
        Instant(row["oldest"]),
        Instant(row["newest"]),
    )


def next_time(tx: Transaction, variable_id: int, start: Instant) -> Instant | None:
    """@return: the time of the first reading that is not before `start`."""
    found = tx.value(
        "SELECT MIN(recievedAt) AS recievedAt FROM DataStream"
        " WHERE telemetryDataId = %s AND recievedAt >= %s",
        (variable_id, start),
    )
    return None if found is None else Instant(found)


def values_at(
    tx: Transaction, variable_id: int, times: Sequence[Instant], *, last: bool
) -> dict[Instant, str]:
    """@return: time -> the value stored then; of several the first or `last` by id."""
    found: dict[Instant, str] = {}
    for part in _parts(times):
        rows = tx.all(
            "SELECT recievedAt, value FROM DataStream WHERE telemetryDataId = %s"
            f" AND recievedAt IN ({marks(part)}) ORDER BY recievedAt, id {'' if last else 'DESC'}",
            (variable_id, *part),
        )
        found.update((row["recievedAt"], row["value"]) for row in rows)
    return found


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
