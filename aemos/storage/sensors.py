"""Sensors and their place: the SQL of `Sensor`.

Source: spec/data-model.md section 2; `aemos.storage.places` tells what a place is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aemos.storage.listing import ALL, Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.places import SENSORS
from aemos.storage.transaction import Row, Transaction


def find(tx: Transaction, sensor_id: int) -> Row | None:
    return tx.one("SELECT * FROM Sensor WHERE id = %s", (sensor_id,))


def find_by_uuid(tx: Transaction, uuid: str) -> Row | None:
    """@return: the oldest sensor of that uuid: an adopted database may hold several."""
    return tx.one("SELECT * FROM Sensor WHERE uuid = %s ORDER BY id LIMIT 1", (uuid,))


def listed(
    tx: Transaction, organization_id: int, area_id: int | None = None, listing: Listing = ALL
) -> Listed:
    """@return: the sensors of an organization, or of one of its areas, whatever their status."""
    inside = (
        "id IN (SELECT x.sensorId FROM AreaSensor x JOIN Area a ON a.id = x.areaId"
        " WHERE a.organizationId = %s"
    )
    condition = Condition()
    if area_id is None:
        condition.add(f"{inside})", organization_id)
    else:
        condition.add(f"{inside} AND a.id = %s)", organization_id, area_id)
    return listing_of(tx, "Sensor", condition, listing, ("name", "uuid", "description"))


def owner(tx: Transaction, sensor_id: int) -> int | None:
    """@return: the id of the organization that owns the sensor; None = it lies in no area."""
    return SENSORS.owner(tx, sensor_id)


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
