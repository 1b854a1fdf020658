"""Stored readings, read and edited one by one: the SQL of `DataStream` beside the writer's.

Source: spec/data-model.md section 2. Lists have a stable order, so that pages neither repeat nor
skip a row while new readings come in at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aemos.model import Instant
from aemos.storage.transaction import Row, Transaction, marks

_OF_ORGANIZATIONS = (
    "telemetryDataId IN (SELECT t.id FROM TelemetryData t"
    " JOIN AreaSensor x ON x.sensorId = t.sensorId JOIN Area a ON a.id = x.areaId"
    " WHERE a.organizationId IN ({}))"
)


def find(tx: Transaction, reading_id: int) -> Row | None:
    return tx.one("SELECT * FROM DataStream WHERE id = %s", (reading_id,))


def page(
    tx: Transaction, organization_ids: Sequence[int] | None, limit: int, offset: int
) -> tuple[list[Row], int]:
    """@return: readings of these organizations (None = all) by id, and how many there are."""
    return _page(tx, *_within(organization_ids), "id", limit, offset)


def newest_id(tx: Transaction) -> int:
    """@return: the largest id of all readings, 0 if there are none."""
    return int(tx.value("SELECT MAX(id) FROM DataStream") or 0)


def after(
    tx: Transaction, organization_ids: Sequence[int] | None, reading_id: int, width: int
) -> tuple[list[Row], int]:
    """Read the next stretch of ids: that costs the same wherever it lies, as no LIMIT would.

    @return: readings of these organizations (None = all) among the `width` ids that follow, by id;
        and the id with which the next stretch goes on.
    """
    first = tx.value("SELECT MIN(id) FROM DataStream WHERE id > %s", (reading_id,))
    begin = reading_id if first is None else first
    where, params = _within(organization_ids)
    rows = tx.all(
        f"SELECT * FROM DataStream WHERE {where} AND id >= %s AND id < %s ORDER BY id",
        (*params, begin, begin + width),
    )
    return rows, begin + width - 1


def _within(organization_ids: Sequence[int] | None) -> tuple[str, tuple[int, ...]]:
    if organization_ids is None:
        return "1 = 1", ()
    if not organization_ids:
        return "1 = 0", ()
    return _OF_ORGANIZATIONS.format(marks(organization_ids)), tuple(organization_ids)


def page_of_variable(
    tx: Transaction, variable_id: int, limit: int, offset: int
) -> tuple[list[Row], int]:
    """@return: readings of one variable, oldest first, and how many there are.

    The order is that of the index on (telemetryDataId, recievedAt), whose entries end with the id.
    """
    return _page(tx, "telemetryDataId = %s", (variable_id,), "recievedAt, id", limit, offset)


def _page(
    tx: Transaction, where: str, params: tuple[Any, ...], order: str, limit: int, offset: int
) -> tuple[list[Row], int]:
    rows = tx.all(
        f"SELECT * FROM DataStream WHERE {where} ORDER BY {order} LIMIT %s OFFSET %s",
        (*params, limit, offset),
    )
    if len(rows) < limit and (rows or offset == 0):
        return rows, offset + len(rows)  # the last page tells the total: no need to count
    return rows, tx.value(f"SELECT COUNT(*) FROM DataStream WHERE {where}", params)


def variables_of(tx: Transaction, readings: Sequence[Row]) -> dict[int, Row]:
    """@return: the variables of these readings, by id."""
    ids = sorted({row["telemetryDataId"] for row in readings if row["telemetryDataId"] is not None})
    if not ids:
        return {}
    rows = tx.all(f"SELECT * FROM TelemetryData WHERE id IN ({marks(ids)})", tuple(ids))
    return {row["id"]: row for row in rows}


def find_same(tx: Transaction, variable_id: int, at: Instant, value: str) -> Row | None:
    """@return: the first reading of that variable, time and value: the original of a repeat."""
    return tx.one(
        "SELECT * FROM DataStream WHERE telemetryDataId = %s AND recievedAt = %s AND value = %s"
        " ORDER BY id LIMIT 1",
        (variable_id, at, value),
    )


def change(tx: Transaction, reading_id: int, changes: Mapping[str, Any]) -> None:
    """Change columns; with none given, nothing. @raise MissingReference: no such variable."""
    if changes:
        tx.update("DataStream", reading_id, changes)


def delete(tx: Transaction, reading_id: int) -> None:
    tx.delete("DataStream", {"id": reading_id})
