"""Sensors and their place: the SQL of `Sensor` and `AreaSensor`.

Source: spec/data-model.md section 2. A sensor may lie in several areas; the first of them (lowest
area id) is its place, and the organization of that area owns it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aemos.storage.transaction import Row, Transaction, marks

_AT_ONCE = 1000  # SQLite takes a limited number of parameters


def find(tx: Transaction, sensor_id: int) -> Row | None:
    return tx.one("SELECT * FROM Sensor WHERE id = %s", (sensor_id,))


def find_by_uuid(tx: Transaction, uuid: str) -> Row | None:
    """@return: the oldest sensor of that uuid: an adopted database may hold several."""
    return tx.one("SELECT * FROM Sensor WHERE uuid = %s ORDER BY id LIMIT 1", (uuid,))


def listed(tx: Transaction, organization_id: int, area_id: int | None = None) -> list[Row]:
    """@return: the sensors of an organization, or of one of its areas, whatever their status."""
    inside = "SELECT x.sensorId FROM AreaSensor x JOIN Area a ON a.id = x.areaId"
    if area_id is None:
        return tx.all(
            f"SELECT * FROM Sensor WHERE id IN ({inside} WHERE a.organizationId = %s) ORDER BY id",
            (organization_id,),
        )
    return tx.all(
        f"SELECT * FROM Sensor WHERE id IN ({inside} WHERE a.organizationId = %s AND a.id = %s)"
        " ORDER BY id",
        (organization_id, area_id),
    )


def owner(tx: Transaction, sensor_id: int) -> int | None:
    """@return: the id of the organization that owns the sensor; None = it lies in no area."""
    found: int | None = tx.value(
        "SELECT a.organizationId FROM AreaSensor x JOIN Area a ON a.id = x.areaId"
        " WHERE x.sensorId = %s ORDER BY x.areaId LIMIT 1",
        (sensor_id,),
    )
    return found


def places(tx: Transaction, sensor_ids: Sequence[int]) -> dict[int, Row]:
    """@return: sensor id -> its place: `id`, `name`, `organizationId`, `organizationName`."""
    found: dict[int, Row] = {}
    for start in range(0, len(sensor_ids), _AT_ONCE):
        ids = tuple(sensor_ids[start : start + _AT_ONCE])
        rows = tx.all(
            "SELECT x.sensorId AS sensorId, a.id AS id, a.name AS name,"
            " a.organizationId AS organizationId, o.name AS organizationName"
            " FROM AreaSensor x JOIN Area a ON a.id = x.areaId"
            " LEFT JOIN Organization o ON o.id = a.organizationId"
            f" WHERE x.sensorId IN ({marks(ids)}) ORDER BY x.areaId DESC",
            ids,
        )
        found.update((row.pop("sensorId"), row) for row in rows)
    return found


def device_owners(tx: Transaction, uuid: str) -> set[int | None]:
    """@return: the owners of devices of this uuid; None among them = a device without owner."""
    rows = tx.all(
        "SELECT a.organizationId AS organizationId FROM Device d"
        " LEFT JOIN AreaDevice x ON x.deviceId = d.id LEFT JOIN Area a ON a.id = x.areaId"
        " WHERE d.uuid = %s",
        (uuid,),
    )
    return {row["organizationId"] for row in rows}


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new sensor. @raise DuplicateRow: the uuid is in use."""
    return tx.insert("Sensor", values)


def change(tx: Transaction, sensor_id: int, changes: Mapping[str, Any]) -> None:
    """Change columns; with none given, nothing. @raise DuplicateRow: the uuid is in use."""
    if changes:
        tx.update("Sensor", sensor_id, changes)


def put(tx: Transaction, sensor_id: int, area_id: int) -> None:
    """Place a sensor in this area and no other."""
    tx.execute("DELETE FROM AreaSensor WHERE sensorId = %s", (sensor_id,))
    tx.insert("AreaSensor", {"areaId": area_id, "sensorId": sensor_id})
