"""Reads who may sign in: sensors and devices with tokens, variables and organization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aemos.model import PrincipalKind
from aemos.storage.transaction import Transaction, marks

# A sensor or device belongs to the organization of its first area (spec/data-model.md, AreaSensor).
_SENSOR_ORGANIZATION = (
    "(SELECT a.organizationId FROM AreaSensor x JOIN Area a ON a.id = x.areaId"
    " WHERE x.sensorId = s.id ORDER BY x.areaId LIMIT 1)"
)
_DEVICE_ORGANIZATION = (
    "(SELECT a.organizationId FROM AreaDevice x JOIN Area a ON a.id = x.areaId"
    " WHERE x.deviceId = d.id ORDER BY x.areaId LIMIT 1)"
)


def load(tx: Transaction, uuid: str) -> dict[str, Any] | None:
    """Everything about one uuid: a sensor's if there is one, else a device's.

    @return: `{"kind": "sensor"|"device", "id", "uuid", "name", "organizationId", "tokens": [{"id",
        "digest" | "token", "expiresAt"}], "variables": [{"id", "variableName", "datatype"}]}`;
        active tokens only.
    """
    row = _exact(
        tx.all(
            f"SELECT s.id, s.uuid, s.name, {_SENSOR_ORGANIZATION} AS organizationId"
            " FROM Sensor s WHERE s.uuid = %s ORDER BY s.id",
            (uuid,),
        ),
        uuid,
    )
    if row is not None:
        tokens = tx.all(
            "SELECT id, token, expiresAt FROM DeviceToken"
            " WHERE sensorId = %s AND status = 'active'",
            (row["id"],),
        )
        variables = tx.all(
            "SELECT id, variableName, datatype FROM TelemetryData"
            " WHERE sensorId = %s ORDER BY id DESC",
            (row["id"],),
        )
        return {**row, "kind": "sensor", "tokens": tokens, "variables": variables}
    row = _exact(
        tx.all(
            f"SELECT d.id, d.uuid, d.name, {_DEVICE_ORGANIZATION} AS organizationId"
            " FROM Device d WHERE d.uuid = %s ORDER BY d.id",
            (uuid,),
        ),
        uuid,
    )
    if row is None:
        return None
    tokens = tx.all(
        "SELECT id, digest, expires_at AS expiresAt FROM device_credential"
        " WHERE device_id = %s AND status = 'active'",
        (row["id"],),
    )
    return {**row, "kind": "device", "tokens": tokens, "variables": []}


def uuid_of_token(tx: Transaction, token: str, digest: str) -> str | None:
    """@return: the uuid of the sensor or device that this active token belongs to."""
    rows = tx.all(
        "SELECT s.uuid, t.token FROM DeviceToken t JOIN Sensor s ON s.id = t.sensorId"
        " WHERE t.token = %s AND t.status = 'active'",
        (token,),
    )
    for row in rows:
        if row["token"] == token:  # MySQL's default collation ignores case, a token does not
            return str(row["uuid"])
    found = tx.value(
        "SELECT d.uuid FROM device_credential c JOIN Device d ON d.id = c.device_id"
        " WHERE c.digest = %s AND c.status = 'active'",
        (digest,),
    )
    return None if found is None else str(found)


def active_tokens(tx: Transaction, kind: PrincipalKind, ids: Sequence[int]) -> list[dict[str, Any]]:
    """@param ids: of sensors or of devices, as `kind` says.

    @return: `{"holder", "token" | "digest", "expiresAt"}` of their active tokens; `holder` is the
        id.
    """
    if not ids:
        return []
    if kind is PrincipalKind.SENSOR:
        rows = "sensorId AS holder, token, expiresAt FROM DeviceToken WHERE sensorId"
    else:
        rows = "device_id AS holder, digest, expires_at AS expiresAt FROM device_credential"
        rows += " WHERE device_id"
    return tx.all(f"SELECT {rows} IN ({marks(ids)}) AND status = 'active'", tuple(ids))


def organizations_of(
    tx: Transaction, kind: PrincipalKind, ids: Sequence[int]
) -> dict[int, int | None]:
    """@param ids: of sensors or of devices, as `kind` says.

    @return: id -> organization id; what is gone is missing.
    """
    if not ids:
        return {}
    owner = f"{_SENSOR_ORGANIZATION} AS organizationId FROM Sensor s WHERE s.id"
    if kind is PrincipalKind.DEVICE:
        owner = f"{_DEVICE_ORGANIZATION} AS organizationId FROM Device d WHERE d.id"
    rows = tx.all(f"SELECT id, {owner} IN ({marks(ids)})", tuple(ids))
    return {row["id"]: row["organizationId"] for row in rows}


def organization_of_variable(tx: Transaction, telemetry_id: int) -> int | None:
    """@return: the organization that owns a `TelemetryData` row, if it has one."""
    found = tx.value(
        f"SELECT {_SENSOR_ORGANIZATION}"
        " FROM TelemetryData t JOIN Sensor s ON s.id = t.sensorId WHERE t.id = %s",
        (telemetry_id,),
    )
    return None if found is None else int(found)


def organization_of_device(tx: Transaction, device_id: int) -> int | None:
    """@return: the organization that owns a `Device` row, if it has one."""
    found = tx.value(f"SELECT {_DEVICE_ORGANIZATION} FROM Device d WHERE d.id = %s", (device_id,))
    return None if found is None else int(found)


def things() -> str:
    """@return: a query for all sensors and devices: `kind`, `id`, `uuid`, `name`, `status`,
    `organizationId`.
    """
    return (
        "SELECT 'sensor' AS kind, s.id AS id, s.uuid AS uuid, s.name AS name, s.status AS status,"
        f" {_SENSOR_ORGANIZATION} AS organizationId FROM Sensor s"
        " UNION ALL SELECT 'device', d.id, d.uuid, d.name, d.status,"
        f" {_DEVICE_ORGANIZATION} FROM Device d"
    )


def owned(column: str, organizations: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """@return: a condition with its parameters: `column` is the uuid of a sensor or device of one
    of these organizations.
    """
    if not organizations:
        return "1 = 0", ()
    places = ", ".join(["%s"] * len(organizations))
    sensors = f"SELECT s.uuid FROM Sensor s WHERE {_SENSOR_ORGANIZATION} IN ({places})"
    devices = f"SELECT d.uuid FROM Device d WHERE {_DEVICE_ORGANIZATION} IN ({places})"
    return f"{column} IN ({sensors}) OR {column} IN ({devices})", (*organizations, *organizations)


def uuids_of(tx: Transaction, organizations: Sequence[int]) -> set[str]:
    """@return: the uuids of all sensors and devices of these organizations."""
    if not organizations:
        return set()
    places = ", ".join(["%s"] * len(organizations))
    rows = tx.all(
        f"SELECT s.uuid FROM Sensor s WHERE {_SENSOR_ORGANIZATION} IN ({places})"
        f" UNION SELECT d.uuid FROM Device d WHERE {_DEVICE_ORGANIZATION} IN ({places})",
        (*organizations, *organizations),
    )
    return {row["uuid"] for row in rows}


def _exact(rows: Sequence[dict[str, Any]], uuid: str) -> dict[str, Any] | None:
    return next((row for row in rows if row["uuid"] == uuid), None)
