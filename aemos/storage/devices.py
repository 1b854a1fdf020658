"""Devices: the SQL of `Device`.

Source: spec/data-model.md section 2; `aemos.storage.places` tells where a device lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aemos.storage.listing import ALL, Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction


def find(tx: Transaction, device_id: int) -> Row | None:
    return tx.one("SELECT * FROM Device WHERE id = %s", (device_id,))


def find_by_uuid(tx: Transaction, uuid: str) -> Row | None:
    """@return: the oldest device of that uuid: an adopted database may hold several."""
    return tx.one("SELECT * FROM Device WHERE uuid = %s ORDER BY id LIMIT 1", (uuid,))


def listed(
    tx: Transaction, organization_id: int, area_id: int | None = None, listing: Listing = ALL
) -> Listed:
    """@return: the devices of an organization, or of one of its areas, whatever their status."""
    inside = (
        "id IN (SELECT x.deviceId FROM AreaDevice x JOIN Area a ON a.id = x.areaId"
        " WHERE a.organizationId = %s"
    )
    condition = Condition()
    if area_id is None:
        condition.add(f"{inside})", organization_id)
    else:
        condition.add(f"{inside} AND a.id = %s)", organization_id, area_id)
    return listing_of(tx, "Device", condition, listing, ("name", "uuid", "description"))


def sensor_owners(tx: Transaction, uuid: str) -> set[int | None]:
    """@return: the owners of sensors of this uuid; None among them = a sensor without owner."""
    rows = tx.all(
        "SELECT a.organizationId AS organizationId FROM Sensor s"
        " LEFT JOIN AreaSensor x ON x.sensorId = s.id LEFT JOIN Area a ON a.id = x.areaId"
        " WHERE s.uuid = %s",
        (uuid,),
    )
    return {row["organizationId"] for row in rows}


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new device. @raise DuplicateRow: the uuid is in use."""
    return tx.insert("Device", values)


def change(tx: Transaction, device_id: int, changes: Mapping[str, Any]) -> None:
    """Change columns; with none given, nothing. @raise DuplicateRow: the uuid is in use."""
    if changes:
        tx.update("Device", device_id, changes)
