"""The rows of the demo farm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from aemos.storage.transaction import Transaction

ON_OFF = ("on", "off")


@attrs.frozen
class NewUser:
    """A user to be: the name of its role, its e-mail and the hash of its password."""

    role: str
    email: str
    hashed: str


@attrs.frozen
class NewSensor:
    """A sensor to be: its token is in clear, its variables are floats."""

    name: str
    uuid: str
    token: str
    variables: tuple[str, ...]


@attrs.frozen
class NewPump:
    """An actuator to be, with one state that is `on` or `off`."""

    name: str
    uuid: str
    state: str


def is_empty(tx: Transaction) -> bool:
    """@return: whether the database holds no organization and no user."""
    return (
        tx.one("SELECT id FROM Organization LIMIT 1") is None
        and tx.one("SELECT id FROM User LIMIT 1") is None
    )


def create(
    tx: Transaction,
    organization: str,
    area: str,
    users: Sequence[NewUser],
    sensors: Sequence[NewSensor],
    pump: NewPump,
) -> None:
    """Insert everything."""
    organization_id = tx.insert(
        "Organization", {"name": organization, "status": "active", "isParent": True}
    )
    area_id = tx.insert(
        "Area", {"name": area, "organizationId": organization_id, "status": "active"}
    )
    for user in users:
        _user(tx, user, organization_id)
    for sensor in sensors:
        _sensor(tx, sensor, area_id)
    _pump(tx, pump, area_id)


def organization_of(tx: Transaction, uuid: str) -> int | None:
    """@return: the organization that a sensor is in, None if there is no such sensor."""
    found = tx.value(
        "SELECT a.organizationId FROM Sensor s JOIN AreaSensor x ON x.sensorId = s.id"
        " JOIN Area a ON a.id = x.areaId WHERE s.uuid = %s",
        (uuid,),
    )
    return None if found is None else int(found)


def variables_of(tx: Transaction, uuid: str) -> Mapping[str, int]:
    """@return: the variables of a sensor, name -> id."""
    rows = tx.all(
        "SELECT t.variableName, t.id FROM TelemetryData t JOIN Sensor s ON s.id = t.sensorId"
        " WHERE s.uuid = %s ORDER BY t.id",
        (uuid,),
    )
    return {row["variableName"]: row["id"] for row in rows}


def _user(tx: Transaction, user: NewUser, organization_id: int) -> None:
    role_id = tx.value("SELECT id FROM Role WHERE name = %s", (user.role,))
    values: dict[str, Any] = {
        "userName": user.role,
        "email": user.email,
        "password": user.hashed,
        "status": True,
    }
    membership = {
        "userId": tx.insert("User", values),
        "organizationId": organization_id,
        "role": role_id,
        "status": "active",
    }
    tx.insert("OrganizationUser", membership)


def _sensor(tx: Transaction, sensor: NewSensor, area_id: int) -> None:
    values = {"name": sensor.name, "uuid": sensor.uuid, "status": "active"}
    sensor_id = tx.insert("Sensor", values)
    tx.insert("AreaSensor", {"areaId": area_id, "sensorId": sensor_id})
    for name in sensor.variables:
        variable = {"variableName": name, "datatype": "float", "sensorId": sensor_id}
        tx.insert("TelemetryData", variable)
    tx.insert("DeviceToken", {"token": sensor.token, "sensorId": sensor_id, "status": "active"})


def _pump(tx: Transaction, pump: NewPump, area_id: int) -> None:
    state = {
        "stateName": pump.state,
        "dataType": "string",
        "defaultValue": "off",
        "allowedValues": list(ON_OFF),
    }
    device_id = tx.insert(
        "Device",
        {
            "name": pump.name,
            "uuid": pump.uuid,
            "status": "active",
            "deviceType": "actuator",
            "communicationProtocol": "mqtt",
            "isCritical": False,
            "controlModes": "manual,remote",
            "capabilities": {pump.state: state},
        },
    )
    tx.insert("AreaDevice", {"areaId": area_id, "deviceId": device_id})
    state_id = tx.insert(
        "DeviceState", {**state, "deviceId": device_id, "status": "active", "createdAt": tx.now}
    )
    instance = {
        "deviceStateId": state_id,
        "value": "off",
        "fromTimestamp": tx.now,
        "initiatedBy": "system",
    }
    tx.insert("DeviceStateInstance", instance)
