"""Areas and what lies in them: the SQL of `Area`, `AreaSensor` and `AreaDevice`.

Source: spec/data-model.md section 2. A list shows an `inactive` or `archived` area only when asked
for that status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aemos.storage.listing import ALL, Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction, marks

_VISIBLE = "status IS NULL OR status NOT IN ('inactive', 'archived')"


def find(tx: Transaction, area_id: int) -> Row | None:
    """@return: the row whatever its status, or None."""
    return tx.one("SELECT * FROM Area WHERE id = %s", (area_id,))


def listed(
    tx: Transaction, organization_ids: Sequence[int] | None, listing: Listing = ALL
) -> Listed:
    """@param organization_ids: None = all.

    @return: the visible areas, or those of one status, also a hidden one, if that is wanted.
    """
    condition = Condition()
    if not listing.status:
        condition.add(_VISIBLE)
    if organization_ids is not None:
        condition.one_of("organizationId", organization_ids)
    return listing_of(tx, "Area", condition, listing, ("name", "uuid", "description"))


def organizations(tx: Transaction, areas: Sequence[Row]) -> dict[int, Row]:
    """@return: the organizations that own these areas, by id."""
    ids = sorted({area["organizationId"] for area in areas if area["organizationId"] is not None})
    if not ids:
        return {}
    rows = tx.all(f"SELECT * FROM Organization WHERE id IN ({marks(ids)})", tuple(ids))
    return {row["id"]: row for row in rows}


def organization_exists(tx: Transaction, organization_id: int) -> bool:
    return tx.value("SELECT id FROM Organization WHERE id = %s", (organization_id,)) is not None


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new area."""
    return tx.insert("Area", values)


def change(tx: Transaction, area_id: int, changes: Mapping[str, Any]) -> None:
    if changes:
        tx.update("Area", area_id, changes)


def leave_parent(tx: Transaction, area_id: int) -> None:
    """Cut the ties of an area that moves to another organization, to its parent and children."""
    tied = tx.all(
        "SELECT id FROM Area WHERE (id = %s AND parentArea IS NOT NULL) OR parentArea = %s",
        (area_id, area_id),
    )
    for row in tied:
        tx.update("Area", row["id"], {"parentArea": None})


def is_within(tx: Transaction, area_id: int, ancestor_id: int) -> bool:
    """@return: whether `ancestor_id` is the area itself or one of those above it."""
    seen: set[int] = set()
    current: int | None = area_id
    while current is not None and current not in seen:
        if current == ancestor_id:
            return True
        seen.add(current)
        current = tx.value("SELECT parentArea FROM Area WHERE id = %s", (current,))
    return False


def identities(tx: Transaction, area_id: int) -> list[str]:
    """@return: the uuids of the sensors and devices that lie in the area."""
    rows = tx.all(
        "SELECT Sensor.uuid AS uuid FROM AreaSensor"
        " JOIN Sensor ON Sensor.id = AreaSensor.sensorId WHERE AreaSensor.areaId = %s"
        " UNION SELECT Device.uuid AS uuid FROM AreaDevice"
        " JOIN Device ON Device.id = AreaDevice.deviceId WHERE AreaDevice.areaId = %s",
        (area_id, area_id),
    )
    return [row["uuid"] for row in rows if row["uuid"]]
