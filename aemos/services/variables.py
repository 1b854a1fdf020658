"""The variables of sensors, called telemetry data on the wire (spec/http-api.md section 4.7)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs

from aemos.errors import Conflict, MissingReference, NotFound
from aemos.model import Principal
from aemos.services import access
from aemos.services.events import Events, IdentityChanged
from aemos.storage import sensors, variables
from aemos.storage.database import Database
from aemos.storage.listing import ALL, Listed, Listing
from aemos.storage.transaction import Row, Transaction


@attrs.define
class Variables:
    """Lists, makes, changes and deletes variables; rights are those on their sensors."""

    _database: Database
    _events: Events

    async def listed(self, by: Principal, listing: Listing = ALL) -> Listed:
        """@return: the variables of all sensors that `by` may see, each with its `Sensor`."""
        organizations = access.scope(by, "sensor.view")

        def with_sensors(tx: Transaction, rows: list[Row]) -> list[Row]:
            owners = variables.sensors_of(tx, rows)
            return [{**row, "Sensor": owners.get(row["sensorId"])} for row in rows]

        def read(tx: Transaction) -> Listed:
            return variables.listed(tx, organizations, listing).map(partial(with_sensors, tx))

        return await self._database.read(read)

    async def of_sensor(self, by: Principal, sensor_id: int, listing: Listing = ALL) -> Listed:
        """@raise NotFound: no such sensor. @raise Forbidden: no sensor.view in its organization."""

        def read(tx: Transaction) -> Listed:
            sensor_for(tx, by, "sensor.view", sensor_id)
            return variables.listed_of_sensor(tx, sensor_id, listing)

        return await self._database.read(read)

    async def get(self, by: Principal, variable_id: int) -> Row:
        """@return: the variable and its `Sensor`. @raise: as `variable_for`."""

        def read(tx: Transaction) -> Row:
            row, sensor = variable_for(tx, by, "sensor.view", variable_id)
            return {**row, "Sensor": sensor}

        return await self._database.read(read)

    async def create(self, by: Principal, values: Mapping[str, Any]) -> Row:
        """@param values: `variableName`, `datatype` and `sensorId`.

        @raise NotFound: no such sensor. @raise Forbidden: no sensor.update in its organization.
        """

        def write(tx: Transaction) -> tuple[Row, Row]:
            sensor = sensor_for(tx, by, "sensor.update", values["sensorId"])
            return sensor, _existing(tx, variables.create(tx, values))

        sensor, row = await self._database.transact(write)
        self._announce(sensor)
        return row

    async def change(self, by: Principal, variable_id: int, changes: Mapping[str, Any]) -> Row:
        """Change some columns; a new `sensorId` needs sensor.update for both sensors.

        @raise NotFound, Forbidden: as `variable_for`, and for the new sensor as `create`.
        """

        def write(tx: Transaction) -> tuple[Row | None, Row | None, Row]:
            _, before = variable_for(tx, by, "sensor.update", variable_id)
            after = before
            if "sensorId" in changes:
                after = sensor_for(tx, by, "sensor.update", changes["sensorId"])
            variables.change(tx, variable_id, changes)
            return before, after, _existing(tx, variable_id)

        before, after, row = await self._database.transact(write)
        self._announce(before, after)
        return row

    async def delete(self, by: Principal, variable_id: int) -> None:
        """@raise Conflict: readings of it are stored: history is never lost by the way.

        @raise NotFound, Forbidden: as `variable_for`.
        """

        def write(tx: Transaction) -> Row | None:
            _, sensor = variable_for(tx, by, "sensor.update", variable_id)
            if variables.has_readings(tx, variable_id):
                raise MissingReference("readings are stored")
            variables.delete(tx, variable_id)
            return sensor

        try:
            self._announce(await self._database.transact(write))
        except MissingReference:
            raise Conflict("Telemetry data has stored readings and cannot be deleted") from None

    def _announce(self, *owners: Row | None) -> None:
        for uuid in dict.fromkeys(sensor["uuid"] for sensor in owners if sensor is not None):
            if uuid:
                self._events.publish(IdentityChanged(uuid))


def sensor_for(tx: Transaction, by: Principal, permission: str, sensor_id: int | None) -> Row:
    """Find a sensor that `by` holds `permission` for.

    @raise NotFound: there is none. @raise Forbidden: not held in the organization that owns it.
    """
    sensor = None if sensor_id is None else sensors.find(tx, sensor_id)
    if sensor is None:
        raise NotFound("Sensor not found")
    access.require(by, permission, sensors.owner(tx, sensor["id"]))
    return sensor


def variable_for(
    tx: Transaction, by: Principal, permission: str, variable_id: int
) -> tuple[Row, Row | None]:
    """Find a variable that `by` holds `permission` for, and its sensor (None: it has lost its own).

    @raise NotFound: there is none. @raise Forbidden: not held in the organization that owns it.
    """
    row = _existing(tx, variable_id)
    sensor_id: int | None = row["sensorId"]
    access.require(by, permission, None if sensor_id is None else sensors.owner(tx, sensor_id))
    return row, None if sensor_id is None else sensors.find(tx, sensor_id)


def _existing(tx: Transaction, variable_id: int) -> Row:
    row = variables.find(tx, variable_id)
    if row is None:
        raise NotFound(f"Telemetry data with ID {variable_id} not found")
    return row
