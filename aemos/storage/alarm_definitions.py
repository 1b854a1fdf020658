"""What alarms watch for: the SQL of `alarm_definition`, and of the sensors that are watched."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aemos.storage.listing import Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction, marks

_AT_ONCE = 500  # values in one IN (...)


def find(tx: Transaction, definition_id: int) -> Row | None:
    return tx.one("SELECT * FROM alarm_definition WHERE id = %s", (definition_id,))


def listed(tx: Transaction, organizations: Sequence[int] | None, listing: Listing) -> Listed:
    """@param organizations: None = of all."""
    condition = Condition()
    if organizations is not None:
        condition.one_of("organization_id", organizations)
    return listing_of(tx, "alarm_definition", condition, listing, ("name", "variable_name"))


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new definition."""
    stamps = {"created_at": tx.now, "updated_at": tx.now}
    return tx.insert("alarm_definition", {**values, **stamps})


def change(tx: Transaction, definition_id: int, changes: Mapping[str, Any]) -> None:
    tx.update("alarm_definition", definition_id, {**changes, "updated_at": tx.now})


def delete(tx: Transaction, definition_id: int) -> None:
    tx.delete("alarm_definition", {"id": definition_id})


def all_ids(tx: Transaction) -> list[int]:
    """@return: the ids of all definitions."""
    return [row["id"] for row in tx.all("SELECT id FROM alarm_definition ORDER BY id")]


def in_use(tx: Transaction, definition_ids: Collection[int]) -> list[Row]:
    """@return: those that are enabled, each with `of_variable`, the name of its one variable."""
    if not definition_ids:
        return []
    return tx.all(
        "SELECT d.*, t.variableName AS of_variable FROM alarm_definition d"
        " LEFT JOIN TelemetryData t ON t.id = d.telemetry_id"
        f" WHERE d.enabled = 1 AND d.id IN ({marks(definition_ids)}) ORDER BY d.id",
        tuple(definition_ids),
    )


def watched_sensors(
    tx: Transaction, organizations: Collection[int], uuids: Collection[str]
) -> list[Row]:
    """@return: `id`, `uuid`, `name`, `createdAt`, `area_id`, `area`, `organization_id` of the
    sensors of these organizations, and of those with these uuids, that are not out of use.

    A sensor lies where its first area says (spec/data-model.md, AreaSensor).
    """
    condition = Condition()
    if organizations:
        condition.add(f"a.organizationId IN ({marks(organizations)})", *organizations)
    if uuids:
        condition.add(f"s.uuid IN ({marks(uuids)})", *uuids)
    if not condition.parts:
        return []
    return tx.all(
        "SELECT s.id AS id, s.uuid AS uuid, s.name AS name, s.createdAt AS createdAt,"
        " a.id AS area_id, a.name AS area, a.organizationId AS organization_id"
        " FROM Sensor s JOIN AreaSensor x ON x.sensorId = s.id JOIN Area a ON a.id = x.areaId"
        " WHERE x.areaId = (SELECT MIN(y.areaId) FROM AreaSensor y WHERE y.sensorId = s.id)"
        " AND (s.status IS NULL OR s.status NOT IN ('inactive', 'retired'))"
        f" AND a.organizationId IS NOT NULL AND ({' OR '.join(condition.parts)}) ORDER BY s.id",
        condition.params,
    )


def variables_of(tx: Transaction, sensor_ids: Sequence[int]) -> dict[int, dict[int, str]]:
    """@return: sensor id -> variable id -> its name."""
    found: dict[int, dict[int, str]] = {}
    for start in range(0, len(sensor_ids), _AT_ONCE):
        part = sensor_ids[start : start + _AT_ONCE]
        rows = tx.all(
            "SELECT id, sensorId, variableName FROM TelemetryData"
            f" WHERE sensorId IN ({marks(part)}) ORDER BY id",
            part,
        )
        for row in rows:
            if row["variableName"]:
                found.setdefault(row["sensorId"], {})[row["id"]] = row["variableName"]
    return found
