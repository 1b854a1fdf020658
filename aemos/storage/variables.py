"""The variables of sensors: the SQL of `TelemetryData`.

Source: spec/data-model.md section 2. The name is unique for a sensor by convention only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aemos.storage.listing import ALL, Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction, marks

_SEARCHED = ("variableName", "datatype")


def find(tx: Transaction, variable_id: int) -> Row | None:
    return tx.one("SELECT * FROM TelemetryData WHERE id = %s", (variable_id,))


def find_by_name(tx: Transaction, sensor_id: int, name: str) -> Row | None:
    """@return: the oldest variable of that name."""
    return tx.one(
        "SELECT * FROM TelemetryData WHERE sensorId = %s AND variableName = %s ORDER BY id LIMIT 1",
        (sensor_id, name),
    )


def of_sensor(tx: Transaction, sensor_id: int) -> list[Row]:
    """@return: all variables of a sensor, by id."""
    return tx.all("SELECT * FROM TelemetryData WHERE sensorId = %s ORDER BY id", (sensor_id,))


def listed_of_sensor(tx: Transaction, sensor_id: int, listing: Listing) -> Listed:
    condition = Condition()
    condition.add("sensorId = %s", sensor_id)
    return listing_of(tx, "TelemetryData", condition, listing, _SEARCHED)


def listed(
    tx: Transaction, organization_ids: Sequence[int] | None, listing: Listing = ALL
) -> Listed:
    """@param organization_ids: None = all, also those of sensors without an organization."""
    condition = Condition()
    if organization_ids is not None:
        places = Condition()
        places.one_of("a.organizationId", organization_ids)
        condition.add(
            "sensorId IN (SELECT x.sensorId FROM AreaSensor x JOIN Area a ON a.id = x.areaId"
            f" WHERE {places.sql})",
            *places.params,
        )
    return listing_of(tx, "TelemetryData", condition, listing, _SEARCHED)


def sensors_of(tx: Transaction, variables: Sequence[Row]) -> dict[int, Row]:
    """@return: the sensors of these variables, by id."""
    ids = sorted({row["sensorId"] for row in variables if row["sensorId"] is not None})
    if not ids:
        return {}
    rows = tx.all(f"SELECT * FROM Sensor WHERE id IN ({marks(ids)})", tuple(ids))
    return {row["id"]: row for row in rows}


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new variable. @raise MissingReference: no such sensor."""
    return tx.insert("TelemetryData", values)


def change(tx: Transaction, variable_id: int, changes: Mapping[str, Any]) -> None:
    if changes:
        tx.update("TelemetryData", variable_id, changes)


def has_readings(tx: Transaction, variable_id: int) -> bool:
    found = tx.value("SELECT id FROM DataStream WHERE telemetryDataId = %s LIMIT 1", (variable_id,))
    return found is not None


def delete(tx: Transaction, variable_id: int) -> None:
    """@raise MissingReference: readings of the variable are stored."""
    tx.delete("TelemetryData", {"id": variable_id})
